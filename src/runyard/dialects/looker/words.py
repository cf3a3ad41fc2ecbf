"""Looker's words: queued, running, passed, failed, errored, cancelled, skipped (and `unknown`, which we never
say). Called by shapes and search.

Both are total. A run that is done says more than its fold once the validators' reports are read: see
`results`.
"""

from __future__ import annotations

from collections.abc import Mapping

from runyard.dialects import Status, Words
from runyard.model.state import Hold, Outcome, State

SAY: Mapping[Status, str] = {
    (State.WAITING, None, None): "queued",
    (State.HELD, None, Hold.MANUAL): "queued",
    (State.HELD, None, Hold.DELAYED): "queued",
    (State.HELD, None, Hold.CONCURRENCY): "queued",
    (State.QUEUED, None, None): "queued",
    (State.RUNNING, None, None): "running",
    (State.STOPPING, None, None): "running",
    (State.DONE, Outcome.PASSED, None): "passed",
    (State.DONE, Outcome.FAILED, None): "failed",
    (State.DONE, Outcome.ERRORED, None): "errored",
    (State.DONE, Outcome.CANCELED, None): "cancelled",
    (State.DONE, Outcome.SKIPPED, None): "skipped",
}

HEAR: Mapping[str, tuple[tuple[State, Outcome | None], ...]] = {
    "queued": ((State.WAITING, None), (State.HELD, None), (State.QUEUED, None)),
    "running": ((State.RUNNING, None), (State.STOPPING, None)),
    "passed": ((State.DONE, Outcome.PASSED),),
    "failed": ((State.DONE, Outcome.FAILED),),
    "errored": ((State.DONE, Outcome.ERRORED), (State.DONE, Outcome.FAILED)),
    "cancelled": ((State.DONE, Outcome.CANCELED),),
    "skipped": ((State.DONE, Outcome.SKIPPED),),
    "unknown": (),
}

WORDS = Words(say=SAY, hear=HEAR)


def word(state: State, outcome: Outcome | None, hold: Hold | None) -> str:
    """The status of a run, validator or explore."""
    kept = (hold or Hold.MANUAL) if state is State.HELD else None
    return SAY[(state, outcome if state is State.DONE else None, kept)]
