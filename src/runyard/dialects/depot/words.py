"""Depot's words: lower-case statuses of jobs, and of what is above and below them. Called by shapes and
filters.

`SAY` is a job's word. Runs, workflows, executions and attempts know neither `waiting` nor `skipped` (depot.md
§2): `PARENT` says what they say instead. Both are total; a test enumerates the product.
"""

from __future__ import annotations

from collections.abc import Mapping

from runyard.dialects import Status, Words
from runyard.model.state import Hold, Outcome, Reason, State
from runyard.model.work import Attempt

SAY: Mapping[Status, str] = {
    (State.WAITING, None, None): "waiting",
    (State.HELD, None, Hold.MANUAL): "waiting",
    (State.HELD, None, Hold.DELAYED): "waiting",
    (State.HELD, None, Hold.CONCURRENCY): "waiting",
    (State.QUEUED, None, None): "queued",
    (State.RUNNING, None, None): "running",
    (State.STOPPING, None, None): "running",
    (State.DONE, Outcome.PASSED, None): "finished",
    (State.DONE, Outcome.FAILED, None): "failed",
    (State.DONE, Outcome.ERRORED, None): "failed",
    (State.DONE, Outcome.CANCELED, None): "cancelled",
    (State.DONE, Outcome.SKIPPED, None): "skipped",
}

HEAR: Mapping[str, tuple[tuple[State, Outcome | None], ...]] = {
    "waiting": ((State.WAITING, None), (State.HELD, None)),
    "queued": ((State.QUEUED, None),),
    "running": ((State.RUNNING, None), (State.STOPPING, None)),
    "finished": ((State.DONE, Outcome.PASSED),),
    "failed": ((State.DONE, Outcome.FAILED), (State.DONE, Outcome.ERRORED)),
    "cancelled": ((State.DONE, Outcome.CANCELED),),
    "skipped": ((State.DONE, Outcome.SKIPPED),),
}

WORDS = Words(say=SAY, hear=HEAR)

PARENT: Mapping[str, str] = {
    "waiting": "queued",
    "queued": "queued",
    "running": "running",
    "finished": "finished",
    "failed": "failed",
    "cancelled": "cancelled",
    "skipped": "finished",
}

PARENT_HEAR: Mapping[str, tuple[tuple[State, Outcome | None], ...]] = {
    "queued": (*HEAR["queued"], *HEAR["waiting"]),
    "running": HEAR["running"],
    "finished": (*HEAR["finished"], *HEAR["skipped"]),
    "failed": HEAR["failed"],
    "cancelled": HEAR["cancelled"],
}


CONCLUSION: Mapping[Outcome, str] = {
    Outcome.PASSED: "success",
    Outcome.FAILED: "failure",
    Outcome.ERRORED: "failure",
    Outcome.CANCELED: "cancelled",
    Outcome.SKIPPED: "skipped",
}


def conclusion(attempt: Attempt) -> str:
    """How it ended, in diagnoses and metrics; empty while it has not (contracts/depot.md §2)."""
    if attempt.outcome is None:
        return ""
    is_late = attempt.reason is Reason.TIMEOUT and attempt.outcome is not Outcome.PASSED
    return "timed_out" if is_late else CONCLUSION[attempt.outcome]


def job_word(state: State, outcome: Outcome | None, hold: Hold | None) -> str:
    """A job's status."""
    return SAY[(state, outcome, hold or Hold.MANUAL if state is State.HELD else None)]


def parent_word(state: State, outcome: Outcome | None, hold: Hold | None) -> str:
    """The status of a run, workflow, execution or attempt."""
    return PARENT[job_word(state, outcome, hold)]
