"""Jobs that become others once their needs are done: late matrices, parts of the graph, and fields that are
templates."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.engine import control
from runyard.model.errors import Conflict, Invalid
from runyard.model.plan import (
    Concurrency,
    Drawn,
    Gate,
    Given,
    JobPlan,
    Labels,
    Need,
    Plan,
    Unfold,
    When,
    WorkflowPlan,
)
from runyard.model.state import Outcome, Reason, State
from runyard.model.work import SecretVariable

FAILED = Outcome.FAILED
IF_ALL_WELL = Gate(expression="success()")


def late(job: Any, matrix: Any, **more: Any) -> JobPlan:
    """A job `m` whose matrix comes from `a`."""
    leg = more.pop("leg", {})
    plan = Unfold((job("m", **leg),), matrix=matrix, **more.pop("unfold", {}))
    return job("m", needs=("a",), gate=IF_ALL_WELL, claimable=False, unfold=plan, **more)


def calling(job: Any, *jobs: JobPlan, **more: Any) -> JobPlan:
    plan = Unfold(jobs, calls=True, **more.pop("unfold", {}))
    return job("c", gate=IF_ALL_WELL, claimable=False, unfold=plan, **more)


def test_a_matrix_from_an_output(house: Any, job: Any) -> None:
    run = house.accept(
        job("a"),
        late(job, {"v": "${{ fromJSON(needs.a.outputs.list) }}", "include": [{"extra": "${{ 'x' }}"}]}),
        job("z", needs=("m",), gate=IF_ALL_WELL),
    )
    assert house.shown(run) == {"a": "queued", "m": "waiting", "z": "waiting"}
    house.work(outputs={"list": '["p", 2]'})
    assert house.shown(run) == {
        "a": "passed",
        "m": "running",
        "z": "waiting",
        "m (p, x)": "queued",
        "m (2, x)": "queued",
    }
    first = house.claim()
    assert first.facts["matrix"] == {"v": "p", "extra": "x"}
    assert first.facts["strategy"] == {
        "fail-fast": True,
        "job-index": 0,
        "job-total": 2,
        "max-parallel": 2,
    }
    assert first.facts["needs"]["a"]["outputs"] == {"list": '["p", 2]'}
    house.finish(first, outputs={"o": "1", "only": "first"})
    assert house.shown(run)["m"] == "running"
    house.work(outputs={"o": "2", "only": ""})
    assert house.shown(run)["m"] == "passed"
    got = house.claim()
    assert got.job.key == "z"
    assert got.facts["needs"] == {"m": {"result": "success", "outputs": {"o": "2", "only": "first"}}}
    house.finish(got)
    assert house.run(run).outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("text", "outcome", "said"),
    [
        ("[]", "errored", "does not contain any values"),
        ("7", "errored", "must be a sequence"),
        ("nonsense", "errored", "cannot be unfolded"),
        (str(list(range(300))), "errored", "more than 256"),
        (str([{"n": n} for n in range(3)]).replace("'", '"'), "running", ""),
    ],
)
def test_what_a_matrix_may_turn_out_to_be(house: Any, job: Any, text: str, outcome: str, said: str) -> None:
    run = house.accept(
        job("a"), late(job, {"v": "${{ fromJSON(needs.a.outputs.o) }}"}), job("z", needs=("m",))
    )
    house.work(outputs={"o": text})
    latest = house.latest(run)
    assert house.shown(run)["m"] == outcome
    assert said in latest["m"].message
    if outcome == "errored":
        assert latest["m"].reason is Reason.BAD_PLAN
        assert house.run(run).state is State.DONE and house.shown(run)["z"] == "skipped"


def test_a_matrix_that_excludes_everything_is_skipped(house: Any, job: Any) -> None:
    whole = '${{ fromJSON(\'{"v": [1], "exclude": [{"v": 1}]}\') }}'
    run = house.accept(job("a"), late(job, whole))
    house.work()
    assert house.shown(run) == {"a": "passed", "m": "skipped"}


def test_fail_fast_and_max_parallel_hold_for_late_legs(house: Any, job: Any) -> None:
    unfold = {"max_parallel": "${{ 2 }}", "fail_fast": "${{ true }}"}
    run = house.accept(job("a"), late(job, {"v": [1, 2, 3]}, unfold=unfold))
    house.work()
    assert [house.shown(run)[f"m ({n})"] for n in (1, 2, 3)] == ["queued", "queued", "waiting"]
    house.work(FAILED)
    assert house.shown(run) == {
        "a": "passed",
        "m": "failed",
        "m (1)": "failed",
        "m (2)": "canceled",
        "m (3)": "canceled",
    }
    assert house.latest(run)["m (2)"].reason is Reason.FAIL_FAST


def test_a_retried_leg_opens_the_job_and_what_was_skipped_behind_it(house: Any, job: Any) -> None:
    run = house.accept(job("a"), late(job, {"v": [1]}), job("z", needs=("m",), gate=IF_ALL_WELL))
    house.work()
    house.work(FAILED)
    assert house.shown(run) == {"a": "passed", "m": "failed", "z": "skipped", "m (1)": "failed"}
    house.do(control.retry, house.latest(run)["m (1)"].id, house.now)
    assert house.shown(run) == {"a": "passed", "m": "running", "z": "waiting", "m (1)": "queued"}
    house.work()
    assert house.shown(run)["m"] == "passed" and house.shown(run)["z"] == "queued"


@pytest.mark.parametrize("whole", [False, True])
def test_a_retry_of_the_job_or_the_run_retries_what_failed(house: Any, job: Any, whole: bool) -> None:
    run = house.accept(job("a"), late(job, {"v": [1, 2]}, unfold={"fail_fast": False}))
    house.work()
    house.work()
    house.work(FAILED)
    assert house.shown(run) == {"a": "passed", "m": "failed", "m (1)": "passed", "m (2)": "failed"}
    if whole:
        house.do(control.retry_run, run.id, house.now)
    else:
        house.do(control.retry, house.latest(run)["m"].id, house.now)
    assert house.shown(run) == {"a": "passed", "m": "running", "m (1)": "passed", "m (2)": "queued"}
    house.work()
    assert house.run(run).outcome is Outcome.PASSED


def test_a_cancel_of_the_job_ends_with_what_it_made(house: Any, job: Any) -> None:
    run = house.accept(job("a"), late(job, {"v": [1, 2]}))
    house.work()
    got = house.claim()
    house.do(control.cancel_attempt, house.latest(run)["m"].id, house.now)
    assert house.shown(run) == {"a": "passed", "m": "running", "m (1)": "stopping", "m (2)": "canceled"}
    house.finish(got, Outcome.CANCELED)
    assert house.shown(run)["m"] == "canceled"
    assert house.run(run).outcome is Outcome.CANCELED


def test_a_part_of_the_graph_with_inputs_outputs_and_names(house: Any, job: Any) -> None:
    part = (
        job("b", gate=IF_ALL_WELL, context={"github": {"job": "b"}}),
        job("d", needs=("b",), gate=Gate(expression="inputs.deep && needs.b.outputs.o == '1'")),
        job("e", gate=Gate(expression="!inputs.deep")),
    )
    unfold = {
        "inputs": {
            "tag": Given("v${{ needs.a.outputs.tag }}"),
            "deep": Given("${{ 1 == 1 }}", "boolean"),
            "n": Given("${{ '7' }}", "number"),
        },
        "outputs": {"whole": "${{ jobs.b.outputs.o }}-${{ inputs.tag }}-${{ jobs.e.result }}"},
    }
    caller = calling(job, *part, unfold=unfold, needs=("a",), name="Call", context={"github": {"sha": "s"}})
    run = house.accept(job("a"), caller, job("z", needs=("c",), gate=IF_ALL_WELL))
    house.work(outputs={"tag": "1.2"})
    assert house.shown(run) == {
        "a": "passed",
        "c": "running",
        "z": "waiting",
        "c / b": "queued",
        "c / d": "waiting",
        "c / e": "skipped",
    }
    assert {job.name for job in house.jobs(run).values()} == {
        "a",
        "Call",
        "z",
        "Call / b",
        "Call / d",
        "Call / e",
    }
    got = house.claim()
    assert got.facts["inputs"] == {"tag": "v1.2", "deep": True, "n": 7}
    assert got.facts["github"] == {"sha": "s", "job": "b"}
    assert got.facts["needs"] == {}
    house.finish(got, outputs={"o": "1"})
    got = house.claim()
    assert got.job.key == "c / d" and got.facts["needs"]["b"]["outputs"] == {"o": "1"}
    house.finish(got)
    got = house.claim()
    assert got.facts["needs"]["c"] == {"result": "success", "outputs": {"whole": "1-v1.2-skipped"}}


def test_calls_within_calls_and_matrices_of_calls(house: Any, job: Any) -> None:
    inner = JobPlan(
        key="i",
        name="i",
        claimable=False,
        gate=IF_ALL_WELL,
        unfold=Unfold((job("deep"),), calls=True, inputs={"y": Given("${{ inputs.x }}!")}),
    )
    unfold = {"matrix": {"x": ["1", "2"]}, "inputs": {"x": Given("${{ matrix.x }}")}, "max_parallel": 1.0}
    run = house.accept(calling(job, inner, job("last", needs=("i",), gate=IF_ALL_WELL), unfold=unfold))
    assert house.shown(run) == {
        "c": "running",
        "c (1) / i": "running",
        "c (1) / last": "waiting",
        "c (2) / i": "waiting",
        "c (2) / last": "waiting",
        "c (1) / i / deep": "queued",
    }
    got = house.claim()
    assert got.facts["inputs"] == {"y": "1!"} and "matrix" not in got.facts
    house.finish(got)
    assert house.work() == "c (1) / last"
    assert house.work() == "c (2) / i / deep"
    assert house.work() == "c (2) / last"
    assert house.shown(run)["c"] == "passed"


def test_a_failing_leg_of_calls_stops_the_others(house: Any, job: Any) -> None:
    unfold = {"matrix": {"x": [1, 2]}}
    run = house.accept(calling(job, job("p"), job("q", needs=("p",), gate=IF_ALL_WELL), unfold=unfold))
    house.work(FAILED)
    assert house.shown(run) == {
        "c": "failed",
        "c (1) / p": "failed",
        "c (1) / q": "skipped",
        "c (2) / p": "canceled",
        "c (2) / q": "canceled",
    }


def test_secrets_are_handed_down_by_name_only(house: Any, job: Any) -> None:
    for key in ("KEY", "OTHER"):
        sealed = house.vault.seal(f"the {key}")
        house.do(lambda tx, k=key, s=sealed: tx.add(SecretVariable(0, k, s, house.project.id, kind="secret")))
    token = {"secrets.GITHUB_TOKEN": "${{ attempt.token }}"}
    leaf = job("x", late=token)
    inner = job("i", claimable=False, unfold=Unfold((leaf,), calls=True))
    names = {"mine": "${{ secrets[inputs.which] }}", "token": "${{ secrets.GITHUB_TOKEN }}"}
    outer = Unfold((inner,), calls=True, secrets=names, inputs={"a": Given("b")})
    run = house.accept(
        job("c", claimable=False, unfold=outer, context={"inputs": {"which": "KEY"}}), job("plain")
    )
    assert house.shown(run)["c / i / x"] == "queued"
    found = {got.job.key: got for got in (house.claim(), house.claim())}
    assert found["plain"].facts["secrets"] == {"KEY": "the KEY", "OTHER": "the OTHER"}
    mine = found["c / i / x"]
    assert mine.facts["secrets"] == {"mine": "the KEY", "token": mine.token, "GITHUB_TOKEN": mine.token}
    assert {"the KEY", "the OTHER", mine.token} <= set(mine.masks)


def test_fields_that_wait_for_needs(house: Any, job: Any) -> None:
    drawn = Drawn(
        name="Deploy ${{ needs.a.outputs.to }}",
        timeout_minutes="${{ needs.a.outputs.minutes }}",
        allow_failure="${{ needs.a.outputs.to == 'prod' }}",
        group="g-${{ needs.a.outputs.to }}",
        labels=Labels(("${{ fromJSON(needs.a.outputs.on) }}",), "self-hosted", ("linux",)),
        suffix=" (1)",
    )
    run = house.accept(
        job("a"), job("b", needs=("a",), gate=IF_ALL_WELL, drawn=drawn, concurrency=Concurrency(""))
    )
    house.work(outputs={"to": "prod", "minutes": "1.5", "on": '["self-hosted", "big", "Linux"]'})
    found = house.jobs(run)["b"]
    assert (found.name, found.plan.timeout_s, found.plan.allow_failure) == ("Deploy prod (1)", 90, True)
    assert found.plan.tags == ("big",) and found.plan.concurrency.group == "g-prod"
    held = house.accept(job("o", concurrency=Concurrency("g-prod")))
    assert house.shown(held) == {"o": "concurrency"}
    house.work(FAILED)
    assert house.run(run).outcome is Outcome.PASSED and house.shown(held) == {"o": "queued"}


@pytest.mark.parametrize(
    "drawn",
    [
        Drawn(timeout_minutes="${{ needs.a.outputs.o }}"),
        Drawn(timeout_minutes="${{ 0 }}"),
        Drawn(group="${{ needs.a.outputs.none }}"),
        Drawn(labels=Labels(("${{ needs.a.outputs.none }}",))),
        Drawn(name="${{ fromJSON(needs.a.outputs.o) }}"),
    ],
)
def test_a_field_that_cannot_be_filled_in_ends_its_job(house: Any, job: Any, drawn: Drawn) -> None:
    run = house.accept(job("a"), job("b", needs=("a",), gate=IF_ALL_WELL, drawn=drawn))
    house.work(outputs={"o": "many"})
    assert house.shown(run)["b"] == "errored"
    assert "cannot be filled in" in house.latest(run)["b"].message


def test_a_run_never_grows_beyond_its_limit(house: Any, job: Any) -> None:
    from dataclasses import replace

    house.terms = replace(house.terms, jobs_per_run=5)
    run = house.accept(job("a"), late(job, {"v": [1, 2, 3, 4]}))
    house.work()
    assert house.shown(run)["m"] == "errored"
    assert "at most 5 are allowed" in house.latest(run)["m"].message


def test_parts_of_the_graph_are_checked_before_anything_is_stored(house: Any, job: Any) -> None:
    with pytest.raises(Invalid, match="does not exist"):
        house.accept(calling(job, job("b", needs=(Need("nobody"),))))


def test_a_job_that_unfolds_may_wait_for_its_group(house: Any, job: Any) -> None:
    first = house.accept(job("o", concurrency=Concurrency("g")))
    plan = Plan((WorkflowPlan("w", jobs=(calling(job, job("b"), concurrency=Concurrency("g")),)),))
    second = house.accept(plan=plan)
    assert house.shown(second) == {"c": "concurrency"}
    house.work()
    assert house.run(first).outcome is Outcome.PASSED
    assert house.shown(second) == {"c": "running", "c / b": "queued"}
    third = house.accept(
        plan=Plan(
            (WorkflowPlan("w", jobs=(job("n", concurrency=Concurrency("g", cancel_in_progress=True)),)),)
        )
    )
    assert house.shown(second) == {"c": "canceled", "c / b": "canceled"}
    assert house.shown(third) == {"n": "queued"}


def test_a_retried_part_waits_until_the_group_of_its_maker_is_free(house: Any, job: Any) -> None:
    run = house.accept(calling(job, job("b"), concurrency=Concurrency("g")))
    house.work(FAILED)
    other = house.accept(plan=Plan((WorkflowPlan("w", jobs=(job("o", concurrency=Concurrency("g")),)),)))
    assert house.shown(other) == {"o": "queued"}
    house.do(control.retry, house.latest(run)["c / b"].id, house.now)
    assert house.shown(run) == {"c": "concurrency", "c / b": "waiting"}
    assert house.work() == "o"
    assert house.shown(run) == {"c": "running", "c / b": "queued"}
    house.work()
    assert house.run(run).outcome is Outcome.PASSED


def test_a_manual_part_cannot_be_played_before_its_maker_runs(house: Any, job: Any) -> None:
    manual = job("b", gate=Gate(when=When.MANUAL))
    run = house.accept(calling(job, job("a"), manual, concurrency=Concurrency("g")))
    assert house.shown(run) == {"c": "running", "c / a": "queued", "c / b": "manual"}
    house.do(control.cancel_run, run.id, house.now)
    house.accept(plan=Plan((WorkflowPlan("w", jobs=(job("o", concurrency=Concurrency("g")),)),)))
    house.do(control.retry_run, run.id, house.now)
    assert house.shown(run) == {"c": "concurrency", "c / a": "waiting", "c / b": "waiting"}
    with pytest.raises(Conflict):
        house.do(control.play, house.latest(run)["c / b"].id, house.now)
    assert house.work() == "o"
    assert house.shown(run) == {"c": "running", "c / a": "queued", "c / b": "manual"}


def test_a_leg_that_lost_a_waiting_job_has_not_begun(house: Any, job: Any) -> None:
    unfold = {"matrix": {"x": ["1", "2"]}, "max_parallel": 1.0}
    last = job("q", needs=("p",), gate=IF_ALL_WELL)
    run = house.accept(calling(job, job("p"), last, unfold=unfold))
    house.do(control.cancel_job, house.jobs(run)["c (2) / q"].id, house.now)
    assert house.shown(run)["c (2) / p"] == "waiting"
    assert [house.work() for _ in range(3)] == ["c (1) / p", "c (1) / q", "c (2) / p"]


def test_retried_legs_obey_max_parallel(house: Any, job: Any) -> None:
    unfold = {"max_parallel": "${{ 1 }}", "fail_fast": False}
    run = house.accept(job("a"), late(job, {"v": [1, 2, 3]}, unfold=unfold))
    house.work()
    house.work(FAILED)
    assert house.shown(run)["m (2)"] == "queued"
    house.do(control.retry, house.latest(run)["m (1)"].id, house.now)
    assert house.shown(run)["m (1)"] == "waiting"
    assert [house.work() for _ in range(3)] == ["m (2)", "m (1)", "m (3)"]
    assert house.run(run).outcome is Outcome.PASSED
