"""Gates, matrices, groups and their consequences, each by one small run."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from runyard.engine import control
from runyard.model.plan import Concurrency, Gate, Need, Order, Plan, Retry, When, WorkflowPlan
from runyard.model.state import Hold, Outcome, Reason, State

FAILED, PASSED = Outcome.FAILED, Outcome.PASSED


def stage(index: int, when: When = When.ON_SUCCESS) -> dict[str, Any]:
    return {"stage_index": index, "gate": Gate(when, Order.STAGE)}


@pytest.mark.parametrize("order", ["stage", "needs"])
@pytest.mark.parametrize(
    ("when", "after_passed", "after_failed", "after_canceled"),
    [
        (When.ON_SUCCESS, "queued", "skipped", "skipped"),
        (When.ON_FAILURE, "skipped", "queued", "skipped"),
        (When.ALWAYS, "queued", "queued", "skipped"),
        (When.MANUAL, "manual", "skipped", "skipped"),
        (When.DELAYED, "delayed", "skipped", "skipped"),
    ],
)
def test_gitlabs_table(
    house: Any, job: Any, order: str, when: When, after_passed: str, after_failed: str, after_canceled: str
) -> None:
    for end, wanted in ((PASSED, after_passed), (FAILED, after_failed), (None, after_canceled)):
        second = (
            job("b", **stage(1, when))
            if order == "stage"
            else job("b", needs=("a",), gate=Gate(when), stage_index=1)
        )
        run = house.accept(job("a"), second)
        if end is None:
            house.do(control.cancel_attempt, house.latest(run)["a"].id, house.now)
        else:
            house.work(end)
        assert house.shown(run)["b"] == wanted
        house.do(control.cancel_run, run.id, house.now)


def test_an_optional_manual_job_does_not_hold_later_stages(house: Any, job: Any) -> None:
    run = house.accept(
        job("a", allow_failure=True, **stage(0, When.MANUAL)), job("b", **stage(0)), job("c", **stage(1))
    )
    assert house.work() == "b"
    assert house.shown(run) == {"a": "manual", "b": "passed", "c": "queued"}
    house.work()
    assert house.run(run).outcome is PASSED


def test_a_blocking_manual_job_holds_the_run(house: Any, job: Any) -> None:
    run = house.accept(job("a", **stage(0, When.MANUAL)), job("b", **stage(1)))
    assert (house.run(run).state, house.run(run).hold) == (State.HELD, Hold.MANUAL)
    assert house.shown(run) == {"a": "manual", "b": "waiting"}


def test_skips_go_down_a_chain_in_one_settle_whatever_the_order_of_the_jobs(house: Any, job: Any) -> None:
    names = [f"j{i}" for i in range(50)]
    jobs = [job(name, needs=(names[i - 1],) if i else ()) for i, name in enumerate(names)]
    run = house.accept(*reversed(jobs))
    house.work(FAILED)
    assert set(house.shown(run).values()) == {"failed", "skipped"}
    assert house.run(run).outcome is FAILED


def test_a_tolerated_failure_lets_dependants_go_and_marks_the_run(house: Any, job: Any) -> None:
    run = house.accept(job("a", allow_failure_exit_codes=(3,)), job("b", needs=("a",)))
    house.work(FAILED, exit_code=3)
    house.work()
    assert (house.run(run).outcome, house.run(run).warnings) == (PASSED, True)


def test_expressions_decide_over_needs_and_context(house: Any, job: Any) -> None:
    def when(text: str) -> Gate:
        return Gate(expression=text)

    run = house.accept(
        job("a"),
        job(
            "yes",
            needs=("a",),
            gate=when("needs.a.outputs.go == 'x' && matrix.n == 1"),
            context={"matrix": {"n": 1}},
        ),
        job("no", needs=("a",), gate=when("needs.a.outputs.go == 'y'")),
        job("after", needs=("no",), gate=when("always()")),
        job("plain", needs=("no",), gate=when("success()")),
        job("failed", needs=("a",), gate=when("failure()")),
    )
    house.work(outputs={"go": "x"})
    assert house.shown(run) == {
        "a": "passed",
        "yes": "queued",
        "no": "skipped",
        "after": "queued",
        "plain": "skipped",
        "failed": "skipped",
    }


@pytest.mark.parametrize("text", ["ghost.x", "fromJSON('{')", "((", "toJSON(", "success() &&", "a" * 30_000])
def test_a_broken_expression_errs_its_own_job_and_nobody_elses(house: Any, job: Any, text: str) -> None:
    run = house.accept(job("a", gate=Gate(expression=text)), job("b"))
    bad = house.latest(run)["a"]
    assert (bad.outcome, bad.reason) == (Outcome.ERRORED, Reason.BAD_PLAN)
    assert "condition" in bad.message
    assert house.work() == "b"


def test_success_looks_at_every_ancestor(house: Any, job: Any) -> None:
    run = house.accept(
        job("a"),
        job("b", needs=("a",), gate=Gate(expression="always()")),
        job("c", needs=("b",), gate=Gate(expression="success()")),
        job("d", needs=("b",), gate=Gate(expression="failure()")),
    )
    house.work(FAILED)
    house.work()
    assert house.shown(run) == {"a": "failed", "b": "passed", "c": "skipped", "d": "queued"}


def legs(job: Any, count: int, **more: Any) -> list[Any]:
    return [job(f"m{i}", group="m", **more) for i in range(count)]


def test_a_need_on_a_matrix_means_all_legs_and_brings_their_outputs_together(house: Any, job: Any) -> None:
    gate = Gate(
        expression="needs.m.outputs.a == '1' && needs.m.outputs.b == '2' && needs.m.result == 'success'"
    )
    run = house.accept(*legs(job, 2), job("z", needs=("m",), gate=gate))
    house.work(outputs={"a": "1", "b": ""})
    assert house.shown(run)["z"] == "waiting"
    house.work(outputs={"a": "", "b": "2"})
    assert house.shown(run)["z"] == "queued"


def test_fail_fast_cancels_open_legs_once(house: Any, job: Any) -> None:
    run = house.accept(*legs(job, 4, fail_fast=True, max_parallel=2), job("other"))
    assert house.queued(run) == ["m0", "m1", "other"]
    got = house.claim()
    house.work(FAILED)
    assert house.shown(run) == {
        "m0": "stopping",
        "m1": "failed",
        "m2": "canceled",
        "m3": "canceled",
        "other": "queued",
    }
    assert house.finish(got, FAILED).outcome is Outcome.CANCELED
    again = house.do(control.retry, house.latest(run)["m2"].id, house.now)
    assert again.state is State.QUEUED, "a failure of the past cancels nothing new"


def test_max_parallel_lets_the_next_leg_start_when_one_ends(house: Any, job: Any) -> None:
    run = house.accept(*legs(job, 3, max_parallel=1))
    assert house.queued(run) == ["m0"]
    assert [house.work(), house.work(), house.work()] == ["m0", "m1", "m2"]


def test_one_failure_cancels_the_run_where_the_plan_says_so(house: Any, job: Any) -> None:
    plan = Plan(
        (WorkflowPlan("w", jobs=(job("a"), job("b"), job("c", needs=("b",)))),), cancel_on_failure=True
    )
    run = house.accept(plan=plan)
    house.work(FAILED)
    assert house.shown(run) == {"a": "failed", "b": "canceled", "c": "canceled"}


def test_a_group_has_one_member_at_work_oldest_first(house: Any, job: Any) -> None:
    runs = [house.accept(job("d", concurrency=Concurrency("prod"))) for _ in range(3)]
    assert [house.shown(r)["d"] for r in runs] == ["queued", "concurrency", "concurrency"]
    house.work()
    assert [house.shown(r)["d"] for r in runs] == ["passed", "queued", "concurrency"]
    house.do(control.cancel_run, runs[1].id, house.now)
    assert [house.shown(r)["d"] for r in runs] == ["passed", "canceled", "queued"]


def test_a_newcomer_cancels_the_member_at_work(house: Any, job: Any) -> None:
    rule = Concurrency("prod", cancel_in_progress=True)
    first = house.accept(job("d", concurrency=rule), job("e", needs=("d",)))
    got = house.claim()
    second = house.accept(job("d", concurrency=rule))
    assert (house.shown(first)["d"], house.shown(second)["d"]) == ("stopping", "concurrency")
    house.finish(got)
    assert (house.shown(first), house.shown(second)) == ({"d": "canceled", "e": "skipped"}, {"d": "queued"})
    assert house.latest(first)["d"].reason is Reason.SUPERSEDED


def test_only_the_newest_waits_where_one_may_wait(house: Any, job: Any) -> None:
    rule = Concurrency("prod", single_pending=True)
    runs = [house.accept(job("d", concurrency=rule)) for _ in range(3)]
    assert [house.shown(r)["d"] for r in runs] == ["queued", "canceled", "concurrency"]


def test_later_jobs_of_the_workflow_that_owns_a_group_take_nobodys_place(house: Any, job: Any) -> None:
    def flow() -> Plan:
        rule = Concurrency("main", single_pending=True)
        return Plan((WorkflowPlan("w", jobs=(job("a"), job("b", needs=("a",))), concurrency=rule),))

    first, second = house.accept(plan=flow()), house.accept(plan=flow())
    assert house.shown(second) == {"a": "concurrency", "b": "waiting"}
    house.finish(house.claim())
    assert (house.shown(first), house.shown(second)["a"]) == ({"a": "passed", "b": "queued"}, "concurrency")
    house.finish(house.claim())
    assert house.shown(second)["a"] == "queued"


def test_optional_needs_that_are_not_there_are_dropped(house: Any, job: Any) -> None:
    run = house.accept(job("a", needs=(Need("ghost", optional=True),)))
    assert house.shown(run) == {"a": "queued"}


@pytest.mark.parametrize(
    ("rule", "end", "tries"),
    [
        (Retry(2), {"exit_code": 1}, 3),
        (Retry(1, ("script",)), {"exit_code": 1}, 2),
        (Retry(1, ("runner_system",)), {"exit_code": 1}, 1),
        (Retry(1, (), (42,)), {"exit_code": 42}, 2),
        (Retry(1, (), (42,)), {"exit_code": 1}, 1),
        (Retry(2), {"reason": Reason.MISSING_DEPENDENCY}, 1),
    ],
)
def test_failed_jobs_are_tried_again_as_their_rule_says(
    house: Any, job: Any, rule: Retry, end: dict[str, Any], tries: int
) -> None:
    run = house.accept(job("a", retry=rule))
    for _ in range(tries):
        house.work(FAILED, **end)
    assert house.claim() is None
    attempts = house.tries(run, "a")
    assert [a.automatic for a in attempts] == [False] + [True] * (tries - 1)
    assert [a.latest for a in attempts] == [False] * (tries - 1) + [True]
    assert house.run(run).outcome is FAILED


def test_a_fan_out_of_a_thousand_jobs_is_one_quick_settle(house: Any, job: Any) -> None:
    house.accept(job("root"), *[job(f"j{i}", needs=("root",)) for i in range(1000)])
    got = house.claim()
    begun = time.process_time()
    house.finish(got)
    assert time.process_time() - begun < 1.0


def test_a_skip_of_a_thousand_jobs_in_a_chain_of_expressions_is_quick(house: Any, job: Any) -> None:
    jobs = [job("j0")]
    jobs += [
        replace(job(f"j{i}", needs=(f"j{i - 1}",)), gate=Gate(expression="success()")) for i in range(1, 1000)
    ]
    house.accept(*jobs)
    got = house.claim()
    begun = time.process_time()
    house.finish(got, FAILED)
    assert time.process_time() - begun < 2.0
