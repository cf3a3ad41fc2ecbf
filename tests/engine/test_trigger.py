"""Accept stores a plan whole or refuses it whole; a newer run supersedes; jobs may come later."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.engine import control, trigger
from runyard.engine.ports import Page, RunFilter
from runyard.model.errors import Invalid, NotFound
from runyard.model.plan import Concurrency, Plan, WorkflowPlan
from runyard.model.state import Hold, Outcome, Reason, State


def plan(*jobs: Any, **more: Any) -> Plan:
    return Plan((WorkflowPlan("w", jobs=jobs),), **more)


def test_the_roots_of_an_accepted_plan_are_queued(house: Any, job: Any) -> None:
    run = house.accept(job("a"), job("b", needs=("a",)))
    assert house.shown(run) == {"a": "queued", "b": "waiting"}
    assert (run.number, run.state) == (1, State.QUEUED)


def test_the_same_idempotency_key_gives_the_same_run(house: Any, job: Any) -> None:
    first = house.accept(job("a"), idempotency_key="k")
    assert house.accept(job("other"), idempotency_key="k").id == first.id
    assert house.accept(job("other"), idempotency_key="l").id != first.id
    assert house.accept(job("a")).number == 3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([("a", ("b",)), ("b", ("a",))], "wait for each other"),
        ([("a", ("a",))], "wait for each other"),
        ([("a", ("ghost",))], "'a' job needs 'ghost' job, but 'ghost' does not exist"),
        ([("a", ()), ("a", ())], "Two jobs have the key"),
    ],
)
def test_a_plan_that_could_never_end_is_refused_whole(house: Any, job: Any, keys: Any, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        house.accept(*[job(key, needs=needs) for key, needs in keys])
    assert house.look(lambda tx: tx.runs(RunFilter(), Page())) == []
    assert house.accept(job("a")).number == 1


def test_a_need_against_the_order_of_stages_is_a_circle(house: Any, job: Any) -> None:
    from runyard.model.plan import Gate, Order

    early = job("early", needs=("late",), stage_index=0)
    late = job("late", stage_index=1, gate=Gate(order=Order.STAGE))
    with pytest.raises(Invalid, match="wait for each other"):
        house.accept(early, late)


def test_too_many_jobs_are_refused(house: Any, job: Any) -> None:
    with pytest.raises(Invalid, match="2001 jobs; at most 2000"):
        house.accept(*[job(f"j{i}") for i in range(2001)])


def test_a_run_of_a_broken_file_is_stored_as_errored_with_the_message(house: Any) -> None:
    run = house.accept(plan=Plan((WorkflowPlan("w", error="ci.yml:3: no"),)))
    assert (run.state, run.outcome, run.error) == (State.DONE, Outcome.ERRORED, "ci.yml:3: no")
    assert run.finished_at == house.now


def test_a_skipped_plan_is_stored_and_runs_nothing(house: Any, job: Any) -> None:
    run = house.accept(plan=plan(job("a"), skipped=True))
    assert (run.state, run.outcome) == (State.DONE, Outcome.SKIPPED)
    assert house.claim() is None


def test_a_run_that_awaits_jobs_stays_open_until_they_come(house: Any, job: Any) -> None:
    run = house.accept(plan=Plan((WorkflowPlan("diffs", awaits=True),)))
    assert run.state is State.WAITING
    run = house.do(trigger.extend, run.id, "diffs", [job("a"), job("b", needs=("a",))], house.now)
    again = house.do(trigger.extend, run.id, "diffs", [job("a")], house.now)
    assert house.shown(again) == {"a": "queued", "b": "waiting"}
    with pytest.raises(NotFound):
        house.do(trigger.extend, run.id, "ghost", [job("a")], house.now)


def test_a_run_that_awaited_jobs_in_vain_is_concluded(house: Any) -> None:
    run = house.accept(plan=Plan((WorkflowPlan("diffs", awaits=True),)))
    assert house.do(control.conclude, run.id, house.now).outcome is Outcome.PASSED
    assert house.do(control.conclude, run.id, house.now).outcome is Outcome.PASSED


def test_a_newer_commit_supersedes_what_has_not_started(house: Any, job: Any) -> None:
    old = house.accept(plan=plan(job("a"), supersedes="conservative"))
    house.accept(job("a"), sha="b" * 40)
    assert house.latest(old)["a"].reason is Reason.SUPERSEDED
    assert house.run(old).outcome is Outcome.CANCELED


def test_a_started_job_that_may_not_be_interrupted_saves_its_run(house: Any, job: Any) -> None:
    old = house.accept(plan=plan(job("a"), job("b"), supersedes="conservative"))
    house.claim()
    house.accept(plan=plan(job("a"), supersedes="interruptible"), sha="b" * 40)
    assert house.shown(old) == {"a": "running", "b": "queued"}


def test_interruptible_supersedes_only_interruptible_jobs(house: Any, job: Any) -> None:
    old = house.accept(plan=plan(job("a", interruptible=True), job("b"), supersedes="interruptible"))
    house.claim()
    house.accept(plan=plan(job("a"), supersedes="conservative"), sha="b" * 40)
    assert house.shown(old) == {"a": "stopping", "b": "queued"}


def test_a_run_that_says_none_is_never_superseded(house: Any, job: Any) -> None:
    old = house.accept(job("a"))
    house.accept(plan=plan(job("a"), supersedes="conservative"), sha="b" * 40)
    assert house.shown(old) == {"a": "queued"}


@pytest.mark.parametrize("change", [{"ref": "other"}, {"dialect": "depot"}, {"tag": True}, {"sha": "a" * 40}])
def test_only_runs_of_the_same_branch_dialect_and_another_commit_are_superseded(
    house: Any, job: Any, change: Any
) -> None:
    old = house.accept(plan=plan(job("a"), supersedes="conservative"))
    house.accept(plan=plan(job("a"), supersedes="conservative"), **{"sha": "b" * 40, **change})
    assert house.shown(old) == {"a": "queued"}


def test_a_whole_workflow_is_one_member_of_its_concurrency_group(house: Any, job: Any) -> None:
    def one(*jobs: Any) -> Any:
        return house.accept(plan=Plan((WorkflowPlan("w", jobs=jobs, concurrency=Concurrency("deploy")),)))

    first, second = one(job("a"), job("b", needs=("a",))), one(job("a"))
    assert house.latest(second)["a"].hold is Hold.CONCURRENCY
    assert house.work() == "a"
    assert (house.shown(first), house.shown(second)) == ({"a": "passed", "b": "queued"}, {"a": "concurrency"})
    assert house.run(second).state is State.HELD
    house.work()
    assert house.shown(second) == {"a": "queued"}
    assert house.run(second).state is State.QUEUED


def test_a_workflow_at_work_takes_nobodys_place_with_its_later_jobs(house: Any, job: Any) -> None:
    rule = Concurrency("deploy", single_pending=True)

    def one(*jobs: Any) -> Any:
        return house.accept(plan=Plan((WorkflowPlan("w", jobs=jobs, concurrency=rule),)))

    first, second = one(job("a"), job("b", needs=("a",))), one(job("a"))
    house.work()
    assert (house.shown(first), house.shown(second)) == ({"a": "passed", "b": "queued"}, {"a": "concurrency"})
    third = one(job("a"))
    assert (house.shown(second), house.shown(third)) == ({"a": "canceled"}, {"a": "concurrency"})
