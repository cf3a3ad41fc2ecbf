"""The only place that changes an attempt's state. Every verb of the engine moves attempts through `move`, so
the table is asked each time.

It keeps what hangs on the state in step: the queue's row, times that never run backwards, lease and token,
`tolerated`, and the bell.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runyard.engine.ports import Page, Tx
from runyard.model.errors import Conflict
from runyard.model.fold import Share
from runyard.model.plan import JobPlan
from runyard.model.state import LEASED, Hold, Outcome, State, may_move
from runyard.model.work import Attempt, Job, Record

NO_LEASE_AT = 1 << 52  # of a job that no runner holds: the year 144,683
BRIDGES = "engine.bridge"  # records: bridges whose run is to be made, by attempt id
_BAD_ENDS = frozenset({Outcome.FAILED, Outcome.ERRORED, Outcome.CANCELED})


def move(tx: Tx, job: Job, attempt: Attempt, state: State, now: int, **changes: Any) -> Attempt:
    """The attempt after its move, saved. Conflict when the machine has no such arrow."""
    if not may_move(attempt.state, state):
        raise Conflict(f"Attempt {attempt.id} is {attempt.state} and cannot become {state}.")
    values = {**_entering(attempt, state, now), **changes}
    if state is State.DONE:
        ended = values.get("outcome", attempt.outcome), values.get("exit_code", attempt.exit_code)
        values = {"token_hash": "", **values, "tolerated": is_tolerated(job.plan, *ended)}
    moved = replace(attempt, state=state, **values)
    tx.save(moved)
    if attempt.state is State.QUEUED:
        tx.dequeue(attempt.id)
    if state is State.QUEUED and job.plan.claimable:
        tx.enqueue(moved, job)
        tx.ring("queue")
    elif state is State.QUEUED:
        tx.ring("outside")
    if job.plan.bridge is not None:
        _noted(tx, attempt, state, now)
    if job.plan.environment is not None:
        _delivered(tx, job, moved, now)
    tx.ring(f"attempt:{attempt.id}")
    if attempt.state in LEASED:
        tx.ring(f"verdict:{attempt.id}")
    return moved


def _noted(tx: Tx, attempt: Attempt, state: State, now: int) -> None:
    """Bridges that wait for their run are found by a row of their own: among a hundred thousand queued
    attempts there are few."""
    key = str(attempt.id)
    if state is State.QUEUED:
        tx.add(Record(0, BRIDGES, attempt.project_id, key, created_at=now, updated_at=now))
    elif attempt.state is State.QUEUED:
        for row in tx.records(BRIDGES, attempt.project_id, key, Page(limit=1)):
            tx.remove(Record, row.id)


def _delivered(tx: Tx, job: Job, attempt: Attempt, now: int) -> None:
    from runyard.engine.environments import note  # it plays jobs, which come back here

    note(tx, job, attempt, now)


def rehold(tx: Tx, attempt: Attempt, hold: Hold, **changes: Any) -> Attempt:
    """A held attempt now waits for something else: a played job for its group, a scheduled one for a
    person."""
    if attempt.state is not State.HELD:
        raise Conflict(f"Attempt {attempt.id} is not held.")
    held = replace(attempt, **{"hold": hold, "run_after_at": None, **changes})
    tx.save(held)
    tx.ring(f"attempt:{attempt.id}")
    return held


def share(job: Job, attempt: Attempt) -> Share:
    """What a job contributes to its workflow's fold."""
    allowed = attempt.tolerated if attempt.state is State.DONE else job.plan.allow_failure
    return Share(attempt.state, attempt.outcome, attempt.hold, allowed)


def is_tolerated(plan: JobPlan, outcome: Outcome | None, exit_code: int | None) -> bool:
    """Whether this end leaves no trace on the parents but a warning (GitLab judges exit codes on the
    server)."""
    if outcome not in _BAD_ENDS:
        return False
    return plan.allow_failure or (
        outcome is Outcome.FAILED and exit_code is not None and exit_code in plan.allow_failure_exit_codes
    )


def is_failure(attempt: Attempt) -> bool:
    """An end that dependants and siblings must hear of."""
    return attempt.outcome in (Outcome.FAILED, Outcome.ERRORED) and not attempt.tolerated


def _entering(attempt: Attempt, state: State, now: int) -> dict[str, Any]:
    """Columns that follow from the new state. A clock that went back yields no negative duration (reliability
    §8 row 25)."""
    born = attempt.created_at
    match state:
        case State.QUEUED:
            return {"queued_at": max(now, born), "hold": None, "run_after_at": None}
        case State.RUNNING:
            return {"started_at": max(now, attempt.queued_at or born)}
        case State.DONE:
            return {
                "finished_at": max(now, attempt.started_at or attempt.queued_at or born),
                "hold": None,
                "run_after_at": None,
                "lease_until_at": None,
                "deadline_at": None,
            }
        case State.WAITING | State.HELD | State.STOPPING:
            return {}
