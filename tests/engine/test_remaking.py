"""A job that unfolds and begins again: legs that stay, come, go and come back."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.engine import control
from runyard.engine.ports import AttemptFilter, Page
from runyard.engine.views import run_tree
from runyard.model.errors import Conflict
from runyard.model.plan import Gate, Given, JobPlan, Unfold
from runyard.model.state import Outcome, State

FAILED = Outcome.FAILED
IF_ALL_WELL = Gate(expression="success()")


def made_of(job: Any, **more: Any) -> tuple[JobPlan, ...]:
    """`m` has a leg for each value that `a` names; `z` needs it."""
    unfold = Unfold((job("m"),), matrix={"v": "${{ fromJSON(needs.a.outputs.list) }}"}, **more)
    m = job("m", needs=("a",), gate=IF_ALL_WELL, claimable=False, unfold=unfold)
    return job("a"), m, job("z", needs=("m",), gate=IF_ALL_WELL)


def rerun(house: Any, run: Any) -> None:
    ids = [
        house.jobs(run)[key].id for key, a in house.latest(run).items() if a.outcome is not Outcome.SKIPPED
    ]
    house.do(control.retry_jobs, run.id, ids, house.now)


def work_all(house: Any) -> list[str]:
    done = []
    while (got := house.claim()) is not None:
        house.finish(got)
        done.append(got.job.key)
    return done


def test_a_rerun_makes_the_legs_that_the_new_outputs_name(house: Any, job: Any) -> None:
    run = house.accept(*made_of(job, fail_fast=False))
    house.work(outputs={"list": "[1, 2]"})
    house.work()
    house.work(FAILED)
    assert house.shown(run) == {
        "a": "passed",
        "m": "failed",
        "z": "skipped",
        "m (1)": "passed",
        "m (2)": "failed",
    }
    rerun(house, run)
    waits = dict.fromkeys(("m", "z", "m (1)", "m (2)"), "waiting")
    assert house.shown(run) == {"a": "queued", **waits}
    house.work(outputs={"list": "[3, 1]"})
    assert house.shown(run) == {
        "a": "passed",
        "m": "running",
        "z": "waiting",
        "m (1)": "queued",
        "m (3)": "queued",
    }
    found = [house.claim(), house.claim()]
    told = {got.job.key: (got.facts["matrix"]["v"], got.facts["strategy"]["job-index"]) for got in found}
    assert told == {"m (1)": (1, 1), "m (3)": (3, 0)}
    for got in found:
        house.finish(got)
    assert house.work() == "z"
    assert house.run(run).outcome is Outcome.PASSED  # the leg that failed counts no more
    assert [a.number for a in house.tries(run, "m (1)")] == [1, 2]
    assert "m (2)" not in {view.job.key for view in house.look(lambda tx: run_tree(tx, run.id)).jobs}


def test_a_retired_leg_stays_as_history_that_nobody_can_start(house: Any, job: Any) -> None:
    run = house.accept(*made_of(job))
    house.work(outputs={"list": "[1]"})
    house.work(FAILED)
    gone = house.latest(run)["m (1)"]
    rerun(house, run)
    house.work(outputs={"list": "[2]"})
    tries = [a for _, a in house.look(lambda tx: tx.attempts(AttemptFilter(job_id=gone.job_id), Page()))]
    assert [(a.number, a.outcome, a.latest) for a in tries] == [
        (2, Outcome.CANCELED, False),
        (1, Outcome.FAILED, False),
    ]
    assert "does not ask for this job any more" in tries[0].message
    for verb in (control.retry, control.play):
        with pytest.raises(Conflict):
            house.do(verb, tries[0].id, house.now)
    with pytest.raises(Conflict):
        house.do(control.retry_jobs, run.id, [gone.job_id], house.now)
    assert house.do(control.cancel_job, gone.job_id, house.now) == tries[0]
    assert house.do(control.cancel_attempt, gone.id, house.now).outcome is FAILED
    assert work_all(house) == ["m (2)", "z"]


def test_a_leg_that_is_asked_for_again_comes_back(house: Any, job: Any) -> None:
    run = house.accept(*made_of(job))
    for text in ("[1, 2]", "[2]", "[2, 1]"):
        house.work(outputs={"list": text})
        assert work_all(house)[-1] == "z"
        if text != "[2, 1]":
            rerun(house, run)
    assert [a.number for a in house.tries(run, "m (1)")] == [1, 2, 3]  # the second was taken back unbegun
    assert house.latest(run)["m (1)"].outcome is Outcome.PASSED


@pytest.mark.parametrize("text", ["nonsense", "[]"])
def test_outputs_that_make_nothing_leave_no_leg_behind(house: Any, job: Any, text: str) -> None:
    run = house.accept(*made_of(job))
    house.work(outputs={"list": "[1, 2]"})
    work_all(house)
    rerun(house, run)
    house.work(outputs={"list": text})
    assert house.shown(run) == {"a": "passed", "m": "errored", "z": "skipped"}
    assert house.run(run).state is State.DONE


def test_a_maker_that_is_skipped_the_second_time_has_no_legs(house: Any, job: Any) -> None:
    a, m, z = made_of(job)
    run = house.accept(a, m, z)
    house.work(outputs={"list": "[1]"})
    house.work()
    house.work()
    rerun(house, run)
    house.work(FAILED)
    assert house.shown(run) == {"a": "failed", "m": "skipped", "z": "skipped"}
    house.do(control.retry, house.latest(run)["a"].id, house.now)
    house.work(outputs={"list": "[1]"})
    assert work_all(house) == ["m (1)", "z"] and house.run(run).outcome is Outcome.PASSED


def test_a_retry_of_the_maker_alone_keeps_what_passed(house: Any, job: Any) -> None:
    run = house.accept(*made_of(job, fail_fast=False))
    house.work(outputs={"list": "[1, 2]"})
    house.work()
    house.work(FAILED)
    house.do(control.retry, house.latest(run)["m"].id, house.now)
    assert house.queued(run) == ["m (2)"]


def test_a_maker_whose_need_was_done_again_makes_all_its_legs_again(house: Any, job: Any) -> None:
    run = house.accept(*made_of(job, fail_fast=False))
    house.work(outputs={"list": "[1, 2]"})
    house.work()
    house.work(FAILED)
    house.do(control.retry, house.latest(run)["a"].id, house.now)
    house.work(outputs={"list": "[1, 4]"})
    assert house.shown(run)["m"] == "failed"  # nobody asked it again yet
    house.do(control.retry, house.latest(run)["m"].id, house.now)
    assert house.queued(run) == ["m (1)", "m (4)"]


def test_calls_get_the_inputs_of_now_down_to_the_last_level(house: Any, job: Any) -> None:
    inner = Unfold((job("x"),), matrix={"v": "${{ fromJSON(inputs.i) }}"})
    outer = Unfold(
        (JobPlan("i", "i", claimable=False, unfold=inner),),
        calls=True,
        inputs={"i": Given("${{ needs.a.outputs.list }}")},
    )
    call = job("c", needs=("a",), gate=IF_ALL_WELL, claimable=False, unfold=outer)
    run = house.accept(job("a"), call)
    house.work(outputs={"list": "[1, 2]"})
    assert work_all(house) == ["c / i (1)", "c / i (2)"]
    rerun(house, run)
    assert house.queued(run) == ["a"]  # nothing below begins before its maker does
    house.work(outputs={"list": "[2, 3]"})
    assert work_all(house) == ["c / i (2)", "c / i (3)"]
    assert list(house.shown(run)) == ["a", "c", "c / i", "c / i (2)", "c / i (3)"]


def test_retried_makers_within_makers_obey_max_parallel(house: Any, job: Any) -> None:
    """Simulation seed 10116: a maker went on with its part although its own leg had no room."""
    inner = JobPlan("i", "i", claimable=False, gate=IF_ALL_WELL, unfold=Unfold((job("x"),), calls=True))
    unfold = Unfold((inner,), matrix={"v": [1, 2, 3]}, calls=True, fail_fast=False, max_parallel=1.0)
    run = house.accept(job("c", claimable=False, gate=IF_ALL_WELL, unfold=unfold))
    for _ in range(3):
        house.work(FAILED)
    house.do(control.retry_run, run.id, house.now)
    assert house.queued(run) == ["c (1) / i / x"]
    house.do(control.cancel_run, run.id, house.now)
    for key in ("c (2) / i / x", "c (3) / i / x"):
        house.do(control.retry, house.latest(run)[key].id, house.now)
    assert house.queued(run) == ["c (2) / i / x"]
    assert work_all(house) == ["c (2) / i / x", "c (3) / i / x"]
    shown = house.shown(run)
    assert (shown["c (2) / i"], shown["c (3) / i"], shown["c"]) == ("passed", "passed", "canceled")


def test_a_maker_retried_while_its_parts_are_still_stopping_waits_for_them(house: Any, job: Any) -> None:
    from dataclasses import replace

    from runyard.model.plan import Concurrency, Plan, WorkflowPlan

    rule = Concurrency("g", cancel_in_progress=True)
    a, m, z = made_of(job)
    run = house.accept(a, replace(m, concurrency=rule), z)
    house.work(outputs={"list": "[1]"})
    got = house.claim()
    other = house.accept(plan=Plan((WorkflowPlan("w", jobs=(job("o", concurrency=rule),)),)))
    assert house.shown(run) == {"a": "passed", "m": "canceled", "z": "skipped", "m (1)": "stopping"}
    house.do(control.cancel_run, other.id, house.now)
    house.do(control.retry, house.latest(run)["m"].id, house.now)
    assert house.shown(run)["m"] == "running" and house.shown(run)["m (1)"] == "stopping"
    house.finish(got, Outcome.CANCELED)
    assert house.shown(run)["m"] == "canceled"
    house.do(control.retry, house.latest(run)["m"].id, house.now)
    assert work_all(house) == ["m (1)", "z"] and house.run(run).outcome is Outcome.PASSED
