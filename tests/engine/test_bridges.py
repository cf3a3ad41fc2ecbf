"""Jobs whose work is another run: started once, followed, canceled and opened again with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from runyard.engine import bridges, control
from runyard.engine.bridges import Order, Refusal
from runyard.engine.moves import BRIDGES
from runyard.engine.ports import Page, RunFilter
from runyard.model.access import Role
from runyard.model.plan import Bridge, Follow, Gate, Import, JobPlan, Plan, Variable, When, WorkflowPlan
from runyard.model.state import Outcome, Reason, State
from runyard.model.work import Artifact, Member, Project, Run, User

ALL = RunFilter()
CHILD = Bridge("parent_pipeline", Follow.DEPEND)


@pytest.fixture
def bridge(job: Any) -> Callable[..., JobPlan]:
    def make(key: str, rule: Bridge = CHILD, **more: Any) -> JobPlan:
        made: JobPlan = job(key, bridge=rule, claimable=False, **more)
        return made

    return make


@pytest.fixture
def start(house: Any, job: Any) -> Callable[..., list[Run]]:
    """Starts all that waits, with a plan of these jobs."""

    def work(*jobs: JobPlan) -> list[Run]:
        plan = Plan((WorkflowPlan("w", jobs=jobs or (job("inner"),)),))
        made = []
        for attempt_id in house.look(bridges.waiting):
            order = house.look(
                lambda tx, a=attempt_id: bridges.order(tx, a, house.now, house.vault, house.terms)
            )
            assert isinstance(order, Order), order
            ask = replace(
                house.trigger(source=order.source, ref=order.ref or "main"),
                project=order.project,
                variables=order.variables,
            )
            made.append(house.do(bridges.started, attempt_id, ask, plan, house.now, house.terms))
        return [run for run in made if run]

    return work


def test_a_bridge_runs_while_its_run_does_and_ends_as_it_ends(
    house: Any, job: Any, bridge: Any, start: Any
) -> None:
    run = house.accept(bridge("go"), job("after", needs=("go",)))
    [child] = start()
    assert house.latest(run)["go"].state is State.RUNNING
    assert (house.latest(run)["go"].extra["downstream_run_id"], child.extra["upstream"]["run_id"]) == (
        child.id,
        run.id,
    )
    assert house.work() == "inner"
    assert house.latest(run)["go"].outcome is Outcome.PASSED
    assert house.work() == "after"
    assert house.run(run).outcome is Outcome.PASSED


ENDS = [
    (Follow.DEPEND, Outcome.FAILED, Outcome.FAILED),
    (Follow.DEPEND, Outcome.CANCELED, Outcome.CANCELED),
    (Follow.MIRROR, Outcome.FAILED, Outcome.FAILED),
    (Follow.MIRROR, Outcome.CANCELED, Outcome.CANCELED),
]


@pytest.mark.parametrize(("follow", "end", "shown"), ENDS)
def test_what_a_bridge_shows(
    house: Any, bridge: Any, start: Any, follow: Follow, end: Outcome, shown: Outcome
) -> None:
    run = house.accept(bridge("go", replace(CHILD, follow=follow)))
    [child] = start()
    if end is Outcome.CANCELED:
        house.do(control.cancel_run, child.id, house.now)
    else:
        house.work(end)
    assert house.latest(run)["go"].outcome is shown


def test_a_bridge_that_follows_nothing_has_passed_at_once(
    house: Any, job: Any, bridge: Any, start: Any
) -> None:
    run = house.accept(bridge("go", replace(CHILD, follow=Follow.NONE)))
    [child] = start()
    assert house.run(run).outcome is Outcome.PASSED
    house.work(Outcome.FAILED)
    assert (house.run(run).outcome, house.run(child).outcome) == (Outcome.PASSED, Outcome.FAILED)


def test_only_one_run_is_made_however_often_and_by_whomever(
    house: Any, bridge: Any, start: Any, job: Any
) -> None:
    run = house.accept(bridge("go"))
    attempt = house.latest(run)["go"]
    plan = Plan((WorkflowPlan("w", jobs=(job("inner"),)),))
    first = house.do(bridges.started, attempt.id, house.trigger(), plan, house.now, house.terms)
    assert first is not None
    assert house.do(bridges.started, attempt.id, house.trigger(), plan, house.now, house.terms) is None
    house.do(bridges.failed, attempt.id, Reason.DOWNSTREAM_REFUSED, "late", house.now)
    assert house.latest(run)["go"].state is State.RUNNING
    assert house.look(bridges.waiting) == []
    assert len(house.look(lambda tx: tx.runs(ALL, Page(limit=100)))) == 2


def test_a_cancel_between_order_and_start_wins(house: Any, bridge: Any, job: Any) -> None:
    run = house.accept(bridge("go"))
    attempt = house.latest(run)["go"]
    house.do(control.cancel_run, run.id, house.now)
    plan = Plan((WorkflowPlan("w", jobs=(job("inner"),)),))
    assert house.do(bridges.started, attempt.id, house.trigger(), plan, house.now, house.terms) is None
    assert house.look(lambda tx: tx.records(BRIDGES, None, None, Page())) == []
    assert house.latest(run)["go"].outcome is Outcome.CANCELED


def test_a_cancel_reaches_the_children_in_the_same_transaction(
    house: Any, bridge: Any, start: Any, job: Any
) -> None:
    run = house.accept(bridge("go"), bridge("loose", replace(CHILD, follow=Follow.NONE)))
    first, second = start(bridge("deeper"), job("inner"))
    grandchildren = start()
    assert len(grandchildren) == 2
    house.do(control.cancel_run, run.id, house.now)
    for one in (first, second, *grandchildren):
        assert house.run(one).outcome is Outcome.CANCELED
    assert house.latest(run)["go"].outcome is Outcome.CANCELED


def test_a_cancel_leaves_other_projects_alone(house: Any, bridge: Any, start: Any) -> None:
    other = house.do(lambda tx: tx.add(Project(0, "group/other", "other")))
    house.do(_member, house.user, other, Role.DEVELOPER)
    house.do(_member, house.user, house.project, Role.DEVELOPER)
    run = house.accept(bridge("go", Bridge("pipeline", Follow.DEPEND, project="group/$NAME", variables=(Variable("A", "$B-x"),)), variables=(
        Variable("NAME", "other"), Variable("B", "b"))))  # fmt: skip
    [child] = start()
    assert (child.project_id, [(v.key, v.value) for v in child.variables]) == (other.id, [("A", "b-x")])
    house.do(control.cancel_run, run.id, house.now)
    assert house.latest(run)["go"].outcome is Outcome.CANCELED
    assert house.run(child).state is State.WAITING or house.run(child).state is State.QUEUED


def test_a_retried_job_of_the_child_opens_the_bridge_again(
    house: Any, job: Any, bridge: Any, start: Any
) -> None:
    run = house.accept(bridge("go"), job("after", needs=("go",)))
    [child] = start()
    house.work(Outcome.FAILED)
    assert house.shown(run) == {"go": "failed", "after": "skipped"}
    house.do(control.retry, house.latest(child)["inner"].id, house.now)
    assert (
        house.latest(run)["go"].state is State.RUNNING and house.latest(run)["after"].state is State.WAITING
    )
    house.work()
    house.work()
    assert house.run(run).outcome is Outcome.PASSED
    assert [a.outcome for a in house.tries(run, "go")] == [Outcome.FAILED, Outcome.PASSED]


def test_a_retried_bridge_makes_a_run_of_its_own(house: Any, bridge: Any, start: Any) -> None:
    run = house.accept(bridge("go"))
    [first] = start()
    house.work(Outcome.FAILED)
    house.do(control.retry, house.latest(run)["go"].id, house.now)
    [second] = start()
    assert second.id != first.id
    house.work()
    assert house.run(run).outcome is Outcome.PASSED


def test_a_manual_bridge_waits_to_be_played(house: Any, bridge: Any, start: Any) -> None:
    run = house.accept(bridge("go", gate=Gate(When.MANUAL)))
    assert start() == []
    house.do(control.play, house.latest(run)["go"].id, house.now, variables=(Variable("X", "1"),))
    assert len(start()) == 1


def test_a_run_that_could_not_be_made_fails_its_bridge(house: Any, bridge: Any) -> None:
    run = house.accept(bridge("go", allow_failure=True))
    house.do(bridges.failed, house.latest(run)["go"].id, Reason.DOWNSTREAM_REFUSED, "line 1: no", house.now)
    found = house.latest(run)["go"]
    assert (found.outcome, found.reason, found.message) == (
        Outcome.FAILED,
        Reason.DOWNSTREAM_REFUSED,
        "line 1: no",
    )
    assert house.run(run).warnings


def test_children_nest_two_deep_and_circles_end(house: Any, bridge: Any, start: Any) -> None:
    house.accept(bridge("go"))
    start(bridge("go"))
    [deepest] = start(bridge("go"))
    attempt = house.latest(deepest)["go"]
    refusal = house.look(lambda tx: bridges.order(tx, attempt.id, house.now, house.vault, house.terms))
    assert isinstance(refusal, Refusal) and refusal.reason is Reason.DOWNSTREAM_TOO_DEEP
    house.do(bridges.failed, attempt.id, refusal.reason, refusal.message, house.now)
    house.do(_member, house.user, house.project, Role.DEVELOPER)
    circle = Bridge("pipeline", project="group/app")
    house.accept(bridge("go", circle))
    for _ in range(2):
        start(bridge("go", circle))
    [last] = house.look(bridges.waiting)
    refusal = house.look(lambda tx: bridges.order(tx, last, house.now, house.vault, house.terms))
    assert isinstance(refusal, Refusal) and refusal.reason is Reason.DOWNSTREAM_LOOP


def test_who_may_not_run_there_starts_nothing(house: Any, bridge: Any) -> None:
    hidden = house.do(lambda tx: tx.add(Project(0, "secret/other", "other")))
    for level, reason in ((None, Reason.DOWNSTREAM_MISSING), (Role.REPORTER, Reason.DOWNSTREAM_FORBIDDEN)):
        if level is not None:
            house.do(_member, house.user, hidden, level)
        run = house.accept(bridge("go", Bridge("pipeline", project="secret/other")))
        attempt = house.latest(run)["go"]
        refusal = house.look(
            lambda tx, a=attempt: bridges.order(tx, a.id, house.now, house.vault, house.terms)
        )
        assert isinstance(refusal, Refusal) and refusal.reason is reason


def test_a_bridge_may_show_a_run_that_is_there(house: Any, job: Any, bridge: Any) -> None:
    house.do(_member, house.user, house.project, Role.REPORTER)
    there = house.accept(job("inner"))
    rule = Bridge("pipeline", Follow.MIRROR, project="group/app", existing=True)
    run = house.accept(bridge("shown", rule), ref="other")
    attempt = house.latest(run)["shown"]
    order = house.look(lambda tx: bridges.order(tx, attempt.id, house.now, house.vault, house.terms))
    assert isinstance(order, Order) and order.existing == there.id
    house.do(bridges.linked, attempt.id, order.existing, house.now)
    assert house.latest(run)["shown"].state is State.RUNNING
    house.work(Outcome.FAILED)
    assert house.latest(run)["shown"].outcome is Outcome.FAILED


def test_a_newer_commit_takes_the_children_along(house: Any, job: Any, bridge: Any, start: Any) -> None:
    plan = Plan((WorkflowPlan("w", jobs=(bridge("go", interruptible=True),)),), supersedes="conservative")
    old = house.accept(plan=plan)
    [child] = start(job("inner", interruptible=True))
    new = house.accept(plan=plan, sha="b" * 40)
    assert house.run(old).outcome is Outcome.CANCELED and house.run(child).outcome is Outcome.CANCELED
    assert house.run(new).state is not State.DONE
    [kid] = start(job("inner"))
    house.claim()
    house.accept(plan=plan, sha="c" * 40)
    assert house.run(new).state is not State.DONE and house.run(kid).state is State.RUNNING, (
        "what may not be interrupted has begun"
    )


def test_archives_of_the_family_may_be_fetched(house: Any, job: Any, bridge: Any, start: Any) -> None:
    run = house.accept(job("make"), bridge("go", needs=("make",)))
    made = house.claim()
    blob = Artifact(
        0, made.attempt_id, run.id, house.project.id, "a", "archive", "zip", "a.zip", 1, "s", "blob"
    )
    house.do(lambda tx: tx.add(blob))
    house.finish(made)
    attempt = house.latest(run)["go"]
    order = house.look(lambda tx: bridges.order(tx, attempt.id, house.now, house.vault, house.terms))
    assert isinstance(order, Order) and order.archives == {"make": "blob"}
    fetch = job(
        "inner", imports=(Import("make", run_id="$PARENT"),), variables=(Variable("PARENT", str(run.id)),)
    )
    start(fetch)
    got = house.claim()
    assert [(i.job_name, i.blob, i.from_need) for i in got.inputs] == [("make", "blob", True)]
    stranger = house.accept(job("far", imports=(Import("make", run_id=str(run.id)),)))
    assert house.claim() is None
    assert house.latest(stranger)["far"].reason is Reason.MISSING_DEPENDENCY
    optional = house.accept(job("far", imports=(Import("make", run_id=str(run.id), optional=True),)))
    assert house.work() == "far" and house.run(optional).outcome is Outcome.PASSED


def test_a_removed_run_is_removed_with_its_children(house: Any, bridge: Any, start: Any) -> None:
    run = house.accept(bridge("go"))
    [child] = start()
    house.do(control.delete_run, run.id, house.now)
    assert house.look(lambda tx: tx.get(Run, child.id)) is None


def test_children_of_earlier_attempts_are_removed_too(house: Any, bridge: Any, start: Any) -> None:
    run = house.accept(bridge("go"))
    [first] = start()
    house.do(control.cancel_run, run.id, house.now)
    house.do(control.retry, house.latest(run)["go"].id, house.now)
    [second] = start()
    assert first.id != second.id
    house.do(control.delete_run, run.id, house.now)
    assert [house.look(lambda tx, id=one.id: tx.get(Run, id)) for one in (first, second)] == [None, None]


def test_a_child_that_awaits_jobs_ends_its_bridge_when_it_is_removed(
    house: Any, job: Any, bridge: Any
) -> None:
    run = house.accept(bridge("go"))
    [attempt_id] = house.look(bridges.waiting)
    plan = Plan((WorkflowPlan("w", jobs=(job("inner"),)), WorkflowPlan("later", awaits=True)))
    child = house.do(bridges.started, attempt_id, house.trigger(), plan, house.now, house.terms)
    house.do(control.delete_run, child.id, house.now)
    assert house.shown(run) == {"go": "canceled"}
    assert house.run(run).state is State.DONE


def _member(tx: Any, user: User, project: Project, level: Role) -> None:
    tx.add(Member(0, user.id, level, project_id=project.id))
