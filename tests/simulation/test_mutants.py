"""The simulation notices when the engine is wrong: each hand-made mutant below must break a check within a
few fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sim_world import history

from runyard.engine import (
    board,
    control,
    dispatch,
    ending,
    flow,
    gates,
    groups,
    moves,
    rooms,
    settle,
    trigger,
    turns,
    unfolding,
    upkeep,
)  # fmt: skip
from runyard.engine.flow import Flow
from runyard.model.fold import COMPLETED, Word, composite
from runyard.model.plan import When
from runyard.model.state import LEASED, Outcome, Reason, State

Patch = pytest.MonkeyPatch
SEEDS = range(1000, 1032)
STEPS = 60
MUTANTS: dict[str, Callable[[Patch], None]] = {}


def mutant(make: Callable[[Patch], None]) -> Callable[[Patch], None]:
    MUTANTS[make.__name__] = make
    return make


def everywhere(patch: Patch, name: str, value: Any) -> None:
    """Replaces a function in every engine module that imported it."""
    for module in (board, control, dispatch, ending, gates, groups, moves, settle, trigger, upkeep):
        if hasattr(module, name):
            patch.setattr(module, name, value)


@mutant
def token_is_not_checked(patch: Patch) -> None:
    def leased(tx: Any, attempt_id: int, token: str) -> Any:
        attempt = tx.get(moves.Attempt, attempt_id)
        return attempt if attempt is not None and attempt.state in LEASED else None

    patch.setattr(dispatch, "leased", leased)


@mutant
def overlap_is_appended_twice(patch: Patch) -> None:
    real = dispatch.log

    def log(tx: Any, attempt_id: int, token: str, offset: int, data: bytes, *rest: Any) -> Any:
        attempt = tx.get(moves.Attempt, attempt_id)
        return real(
            tx, attempt_id, token, min(max(offset, attempt.log_bytes), attempt.log_bytes), data, *rest
        )

    patch.setattr(dispatch, "log", log)


@mutant
def a_gap_in_the_log_is_accepted(patch: Patch) -> None:
    real = dispatch.log

    def log(tx: Any, attempt_id: int, token: str, offset: int, *rest: Any) -> Any:
        return real(tx, attempt_id, token, min(offset, tx.get(moves.Attempt, attempt_id).log_bytes), *rest)

    patch.setattr(dispatch, "log", log)


@mutant
def skipped_needs_count_as_success(patch: Patch) -> None:
    table = {when: words | {Word.SKIPPED} for when, words in gates._AFTER_NEEDS.items()}
    patch.setattr(gates, "_AFTER_NEEDS", table)


@mutant
def settle_forgets_to_skip(patch: Patch) -> None:
    real = gates.decide

    def decide(flow: Any, node: Any) -> Any:
        answer = real(flow, node)
        return gates.WAIT if answer.answer is gates.Answer.SKIP else answer

    everywhere(patch, "decide", decide)


@mutant
def needs_are_not_awaited(patch: Patch) -> None:
    def before(words: frozenset[Word], *, dag: bool = False) -> Word:
        return composite(words & COMPLETED, dag=dag)

    patch.setattr(gates, "composite", before)


@mutant
def on_failure_runs_after_success(patch: Patch) -> None:
    patch.setitem(gates._AFTER_STAGE, When.ON_FAILURE, frozenset(COMPLETED))


@mutant
def retry_ignores_its_maximum(patch: Patch) -> None:
    def _retries(tx: Any, job: Any, ended: Any) -> bool:
        return (
            bool(job.plan.retry.max)
            and ended.number < 9
            and ended.outcome in (Outcome.FAILED, Outcome.ERRORED)
        )

    patch.setattr(ending, "_retries", _retries)


@mutant
def a_lost_job_comes_back_for_ever(patch: Patch) -> None:
    patch.setattr(ending, "_losses", lambda tx, job: 0)


@mutant
def a_lost_job_never_comes_back(patch: Patch) -> None:
    patch.setattr(ending, "_losses", lambda tx, job: 99)


@mutant
def a_second_finish_settles_again(patch: Patch) -> None:
    real = dispatch.finish

    def finish(tx: Any, attempt_id: int, token: str, end: Any, now: int) -> Any:
        attempt = tx.get(moves.Attempt, attempt_id)
        if attempt is not None and attempt.state is State.DONE and attempt.token_hash:
            tx.save(replace(attempt, exit_code=end.exit_code, coverage=1.0))
        return real(tx, attempt_id, token, end, now)

    patch.setattr(dispatch, "finish", finish)


@mutant
def concurrency_is_ignored(patch: Patch) -> None:
    def enter(board: Any, node: Any) -> None:
        board.move(node, State.QUEUED)

    everywhere(patch, "enter", enter)


@mutant
def a_group_is_never_released(patch: Patch) -> None:
    patch.setattr(settle, "release", lambda *a: set())


@mutant
def other_runs_are_not_settled(patch: Patch) -> None:
    def _others(b: Any) -> None:
        for group in b.groups:
            groups.release(b.tx, b.run.project_id, group, b.now)

    patch.setattr(settle, "_others", _others)


@mutant
def max_parallel_is_ignored(patch: Patch) -> None:
    patch.setattr(settle, "has_room", lambda flow, node: True)


@mutant
def a_failure_stops_nobody(patch: Patch) -> None:
    patch.setattr(settle, "_consequences", lambda board: board.failed.clear())


@mutant
def a_stopping_job_may_pass(patch: Patch) -> None:
    patch.setattr(dispatch, "_told", lambda attempt, end: (end.outcome, end.reason))


@mutant
def the_queue_row_stays(patch: Patch) -> None:
    real = moves.move

    class Keeps:
        def __init__(self, tx: Any) -> None:
            self.tx = tx

        def __getattr__(self, name: str) -> Any:
            return (lambda *a: None) if name == "dequeue" else getattr(self.tx, name)

    everywhere(patch, "move", lambda tx, *a, **k: real(Keeps(tx), *a, **k))


@mutant
def tolerance_ignores_exit_codes(patch: Patch) -> None:
    patch.setattr(
        moves, "is_tolerated", lambda plan, outcome, code: plan.allow_failure and outcome in moves._BAD_ENDS
    )


@mutant
def the_clock_is_not_forgiven(patch: Patch) -> None:
    patch.setattr(upkeep, "forgive", lambda *a: 0)


@mutant
def a_superseded_attempt_comes_back(patch: Patch) -> None:
    patch.setattr(ending, "stopped_as", lambda attempt: (Outcome.ERRORED, Reason.RUNNER_LOST))


@mutant
def folds_are_not_written(patch: Patch) -> None:
    patch.setattr(settle, "_folded_run", lambda run, rows, now: run)


@mutant
def idempotency_keys_are_ignored(patch: Patch) -> None:
    real = trigger.accept

    def accept(tx: Any, ask: Any, *rest: Any) -> Any:
        return real(tx, replace(ask, idempotency_key=""), *rest)

    patch.setattr(trigger, "accept", accept)


@mutant
def a_retry_finds_room_everywhere(patch: Patch) -> None:
    patch.setattr(ending, "has_room", lambda flow, node: True)


@mutant
def legs_of_several_jobs_have_no_limit(patch: Patch) -> None:
    patch.setattr(rooms, "_leg_has_room", lambda flow, node: True)


@mutant
def a_leg_between_two_of_its_jobs_gives_its_place_away(patch: Patch) -> None:
    def _is_at_work(leg: Any) -> bool:
        return bool({node.attempt.state for node in leg} - {State.WAITING, State.DONE})

    patch.setattr(turns, "_is_at_work", _is_at_work)


@mutant
def an_ended_run_leaves_what_awaits_jobs(patch: Patch) -> None:
    for module in (settle, control):
        patch.setattr(module, "end_empty", lambda board, outcome: None)


@mutant
def an_ended_job_leaves_what_it_has_made(patch: Patch) -> None:
    real = unfolding._leave

    def _leave(board: Any, flow: Any, node: Any) -> None:
        if node.attempt.outcome is not Outcome.CANCELED:
            real(board, flow, node)

    patch.setattr(unfolding, "_leave", _leave)


@mutant
def an_end_forgets_its_followers(patch: Patch) -> None:
    patch.setattr(Flow, "_mark_followers", lambda flow, node: None)


@mutant
def an_end_forgets_the_next_stage(patch: Patch) -> None:
    patch.setattr(Flow, "_mark_stages_after", lambda flow, stage: None)


@mutant
def nobody_hears_of_a_free_place(patch: Patch) -> None:
    patch.setattr(turns.Turns, "changed", lambda lines, node: iter(()))


@mutant
def a_queued_leg_takes_no_place(patch: Patch) -> None:
    patch.setattr(flow, "_TAKES_A_PLACE", flow._TAKES_A_PLACE - {Word.PENDING})


@mutant
def a_group_is_free_at_every_glance(patch: Patch) -> None:
    patch.setattr(groups, "_free_at_a_glance", lambda tx, node, rule: True)


@mutant
def nobody_is_next_at_a_glance(patch: Patch) -> None:
    patch.setattr(groups, "_next_at_a_glance", lambda tx, project_id, group, mode: [])


def survives() -> bool:
    """The twin is left out: that it differs would say nothing of the other checks."""
    try:
        for seed in SEEDS:
            history(seed, STEPS, twin=False)
    except AssertionError:  # nothing else counts: a mutant that only crashes proves no check
        return False
    return True


def test_the_engine_as_it_is_survives_the_same_seeds() -> None:
    assert survives()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_of_the_engine_is_noticed(name: str, monkeypatch: Patch) -> None:
    MUTANTS[name](monkeypatch)
    assert not survives(), f"the simulation did not notice that {name.replace('_', ' ')}"
