"""What people ask of work that is already there, once and twice."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.engine import control, dispatch
from runyard.engine.ports import ArtifactFilter, AttemptFilter, Page
from runyard.engine.views import attempt_view, run_tree
from runyard.model.errors import Conflict, NotFound
from runyard.model.plan import Concurrency, Gate, Order, Plan, Retry, Variable, When, WorkflowPlan
from runyard.model.state import Hold, Outcome, Reason, State
from runyard.model.work import Artifact, Run

MANUAL = Gate(When.MANUAL)


def test_cancel_ends_what_waits_and_stops_what_runs(house: Any, job: Any) -> None:
    run = house.accept(job("a"), job("b"), job("c", needs=("a",)), job("m", gate=MANUAL))
    house.claim()
    assert house.do(control.cancel_run, run.id, house.now, house.user.id).state is State.STOPPING
    assert house.shown(run) == {"a": "stopping", "b": "canceled", "c": "canceled", "m": "canceled"}
    before = house.latest(run)
    house.do(control.cancel_run, run.id, house.now + 5)
    assert house.latest(run) == before
    forced = house.do(control.force_cancel, before["a"].id, house.now)
    assert (forced.outcome, forced.reason) == (Outcome.CANCELED, Reason.BY_USER)
    assert house.do(control.force_cancel, before["a"].id, house.now) == forced
    assert house.run(run).outcome is Outcome.CANCELED


def test_force_cancel_is_only_for_what_is_stopping(house: Any, job: Any) -> None:
    run = house.accept(job("a"))
    with pytest.raises(Conflict):
        house.do(control.force_cancel, house.latest(run)["a"].id, house.now)


def test_one_workflow_or_one_job_can_be_canceled(house: Any, job: Any) -> None:
    plan = Plan((WorkflowPlan("one", jobs=(job("a"),)), WorkflowPlan("two", jobs=(job("b"), job("c")))))
    run = house.accept(plan=plan)
    flows = house.look(lambda tx: tx.workflows(run.id))
    house.do(control.cancel_workflow, flows[0].id, house.now)
    house.do(control.cancel_job, house.jobs(run)["b"].id, house.now)
    assert house.shown(run) == {"a": "canceled", "b": "canceled", "c": "queued"}
    assert house.run(run).state is State.RUNNING


def test_a_retry_is_a_new_attempt_and_asks_skipped_dependants_again(house: Any, job: Any) -> None:
    run = house.accept(job("a"), job("b", needs=("a",)), job("c", needs=("b",)))
    house.work(Outcome.FAILED)
    old = house.latest(run)
    new = house.do(control.retry, old["a"].id, house.now, house.user.id, (Variable("X", "1"),))
    assert (new.number, new.state, new.actor_id) == (2, State.QUEUED, house.user.id)
    assert house.run(run).state is State.QUEUED
    assert {k: a.number for k, a in house.latest(run).items()} == {"a": 2, "b": 2, "c": 2}
    assert house.look(lambda tx: attempt_view(tx, old["b"].id)).attempt.outcome is Outcome.SKIPPED
    got = house.claim()
    assert got.variables == (Variable("X", "1"),)
    house.finish(got)
    house.work()
    house.work()
    assert house.run(run).outcome is Outcome.PASSED
    tree = house.look(lambda tx: run_tree(tx, run.id))
    assert [[a.outcome for a in j.attempts] for j in tree.jobs][1] == [Outcome.SKIPPED, Outcome.PASSED]


def test_a_retry_of_what_is_open_old_or_skipped_is_refused(house: Any, job: Any) -> None:
    run = house.accept(job("a"), job("b", needs=("a",)))
    first = house.latest(run)["a"]
    with pytest.raises(Conflict, match="not retryable"):
        house.do(control.retry, first.id, house.now)
    house.work(Outcome.FAILED)
    with pytest.raises(Conflict):
        house.do(control.retry, house.latest(run)["b"].id, house.now)
    house.do(control.retry, first.id, house.now)
    with pytest.raises(Conflict):
        house.do(control.retry, first.id, house.now)
    with pytest.raises(NotFound):
        house.do(control.retry, 999, house.now)


def test_a_retried_job_waits_for_a_need_that_is_retried_too(house: Any, job: Any) -> None:
    run = house.accept(job("a"), job("b", needs=("a",)))
    house.work()
    house.work(Outcome.FAILED)
    house.do(control.retry, house.latest(run)["a"].id, house.now)
    house.do(control.retry, house.latest(run)["b"].id, house.now)
    assert house.shown(run) == {"a": "queued", "b": "waiting"}


def test_retrying_a_run_tries_all_that_failed_or_was_canceled_in_order(house: Any, job: Any) -> None:
    run = house.accept(
        job("ok"), job("bad"), job("after", needs=("bad",), gate=Gate(When.ALWAYS)), job("m", gate=MANUAL)
    )
    for end in (Outcome.PASSED, Outcome.FAILED, Outcome.FAILED):
        house.work(end)
    house.do(control.cancel_attempt, house.latest(run)["m"].id, house.now)
    house.do(control.retry_run, run.id, house.now)
    assert house.shown(run) == {"ok": "passed", "bad": "queued", "after": "waiting", "m": "manual"}
    before = house.latest(run)
    house.do(control.retry_run, run.id, house.now)
    assert house.latest(run) == before


def test_play_starts_a_manual_job_with_variables_once(house: Any, job: Any) -> None:
    run = house.accept(job("a", gate=MANUAL), job("b", needs=("a",)), job("c"))
    held = house.latest(run)["a"]
    assert (held.state, held.hold) == (State.HELD, Hold.MANUAL)
    given = (Variable("WHO", "me"),)
    played = house.do(control.play, held.id, house.now, house.user.id, given)
    assert (played.id, played.state, played.actor_id) == (held.id, State.QUEUED, house.user.id)
    assert house.do(control.play, held.id, house.now) == played
    with pytest.raises(Conflict, match="Unplayable"):
        house.do(control.play, house.latest(run)["c"].id, house.now)
    assert [house.claim().variables, house.claim().variables] == [given, ()]


def test_playing_an_optional_job_asks_those_again_that_were_skipped_for_it(house: Any, job: Any) -> None:
    run = house.accept(job("m", gate=MANUAL, allow_failure=True), job("d", needs=("m",)))
    assert house.shown(run) == {"m": "manual", "d": "skipped"}
    house.do(control.play, house.latest(run)["m"].id, house.now)
    house.work()
    assert house.shown(run) == {"m": "passed", "d": "queued"}


def test_a_played_job_waits_for_its_concurrency_group(house: Any, job: Any) -> None:
    rule = Concurrency("prod")
    run = house.accept(job("a", concurrency=rule), job("m", gate=MANUAL, concurrency=rule))
    house.do(control.play, house.latest(run)["m"].id, house.now)
    assert house.shown(run) == {"a": "queued", "m": "concurrency"}
    house.work()
    assert house.shown(run) == {"a": "passed", "m": "queued"}


def test_a_scheduled_job_can_be_made_manual(house: Any, job: Any) -> None:
    run = house.accept(job("a", gate=Gate(When.DELAYED, delay_s=60)), job("b"))
    held = house.latest(run)["a"]
    assert house.do(control.unschedule, held.id, house.now).hold is Hold.MANUAL
    house.do(control.unschedule, held.id, house.now)
    house.pass_s(120)
    assert house.shown(run) == {"a": "manual", "b": "queued"}
    with pytest.raises(Conflict):
        house.do(control.unschedule, house.latest(run)["b"].id, house.now)


def artifact(house: Any, got: Any, **more: Any) -> Artifact:
    row = Artifact(0, 0, 0, 0, "artifacts", "archive", "zip", "a.zip", 3, "1" * 64, "blob", **more)
    return house.do(dispatch.artifact, got.attempt_id, got.token, row, house.now)


def test_erase_takes_log_and_artifacts_and_only_of_what_has_ended(house: Any, job: Any) -> None:
    house.accept(job("a"))
    got = house.claim()
    house.do(dispatch.log, got.attempt_id, got.token, 0, b"secret", house.now, house.terms)
    artifact(house, got)
    with pytest.raises(Conflict, match="not erasable"):
        house.do(control.erase, got.attempt_id, house.now)
    house.finish(got)
    erased = house.do(control.erase, got.attempt_id, house.now, house.user.id)
    assert (erased.erased_at, erased.log_bytes) == (house.now, 0)
    assert house.do(control.erase, got.attempt_id, house.now + 9) == erased
    assert house.look(lambda tx: tx.log_chunks(got.attempt_id, 0, 99)) == []
    assert house.look(lambda tx: tx.artifacts(ArtifactFilter(attempt_id=got.attempt_id), Page())) == []


def test_kept_artifacts_never_expire(house: Any, job: Any) -> None:
    house.accept(job("a"))
    got = house.claim()
    with pytest.raises(NotFound):
        house.do(control.keep, got.attempt_id, house.now)
    artifact(house, got, expires_at=house.now + 1000)
    house.do(control.keep, got.attempt_id, house.now)
    rows = house.look(lambda tx: tx.artifacts(ArtifactFilter(attempt_id=got.attempt_id), Page()))
    assert [row.expires_at for row in rows] == [None]
    assert house.do(control.delete_artifacts, got.attempt_id) == 1


def test_a_deleted_run_is_gone_and_frees_its_group(house: Any, job: Any) -> None:
    rule = Concurrency("prod")
    first = house.accept(job("a", concurrency=rule), job("b"))
    second = house.accept(job("a", concurrency=rule))
    got = house.claim()
    house.do(control.delete_run, first.id, house.now)
    house.do(control.delete_run, first.id, house.now)
    assert house.look(lambda tx: tx.get(Run, first.id)) is None
    assert house.look(lambda tx: tx.attempts(AttemptFilter(run_id=first.id), Page())) == []
    assert house.shown(second) == {"a": "queued"}
    with pytest.raises(NotFound):
        house.finish(got)
    assert house.claim().run_id == second.id


def test_stage_jobs_that_were_skipped_come_back_with_a_retry(house: Any, job: Any) -> None:
    late = Gate(order=Order.STAGE)
    run = house.accept(job("a"), job("z", stage_index=1, gate=late), job("y", stage_index=2, gate=late))
    house.work(Outcome.FAILED)
    assert house.shown(run) == {"a": "failed", "z": "skipped", "y": "skipped"}
    house.do(control.retry_run, run.id, house.now)
    assert [house.work(), house.work(), house.work()] == ["a", "z", "y"]
    assert house.run(run).outcome is Outcome.PASSED


def test_a_skipped_attempt_takes_nothing_from_the_retry_rule(house: Any, job: Any) -> None:
    run = house.accept(job("a"), job("b", needs=("a",), retry=Retry(1, ("script",))))
    house.finish(house.claim(), Outcome.FAILED, reason=Reason.SCRIPT, exit_code=1)
    assert house.latest(run)["b"].outcome is Outcome.SKIPPED
    house.do(control.retry, house.latest(run)["a"].id, house.now)
    house.finish(house.claim())
    house.finish(house.claim(), Outcome.FAILED, reason=Reason.SCRIPT, exit_code=1)
    assert house.latest(run)["b"].number == 3 and house.latest(run)["b"].state is State.QUEUED


def test_a_canceled_workflow_still_runs_what_runs_always(house: Any, job: Any) -> None:
    run = house.accept(
        job("a", gate=Gate(expression="success()")),
        job("b", gate=Gate(expression="always()")),
        job("plain", needs=("a",), gate=Gate(expression="success()")),
        job("tidy", needs=("a",), gate=Gate(expression="always() && needs.a.result == 'cancelled'")),
        job("told", needs=("a",), gate=Gate(expression="cancelled()")),
        job("never", needs=("a",), gate=Gate(expression="!cancelled()")),
        job("after", needs=("tidy",), gate=Gate(expression="success()")),
    )
    got = house.claim()
    assert got.job.key == "a"
    house.do(control.cancel_run, run.id, house.now, house.user.id)
    house.do(control.cancel_run, run.id, house.now, house.user.id)
    assert house.shown(run) == {
        "a": "stopping",
        "b": "queued",
        "plain": "canceled",
        "tidy": "waiting",
        "told": "waiting",
        "never": "waiting",
        "after": "canceled",
    }
    house.finish(got, Outcome.CANCELED)
    shown = house.shown(run)
    assert (shown["tidy"], shown["told"], shown["never"]) == ("queued", "queued", "canceled")
    for _ in range(3):
        house.work()
    assert house.run(run).outcome is Outcome.CANCELED
    # A retry is a new beginning: the cancel counts no more.
    house.do(control.retry, house.latest(run)["a"].id, house.now, house.user.id)
    house.do(control.retry, house.latest(run)["plain"].id, house.now, house.user.id)
    house.work()
    assert house.shown(run)["plain"] == "queued"


def test_a_job_by_the_table_ends_with_the_cancel_of_its_run(house: Any, job: Any) -> None:
    run = house.accept(job("a"), job("b", gate=Gate(When.ALWAYS), needs=("a",)))
    house.do(control.cancel_run, run.id, house.now)
    assert house.shown(run) == {"a": "canceled", "b": "canceled"}
