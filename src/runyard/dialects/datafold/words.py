"""Datafold's JobStatus, both directions. Three of its eight words are final: done, failed, cancelled
(contracts/datafold.md §6)."""

from __future__ import annotations

from runyard.dialects import Status, Words
from runyard.model.state import Hold, Outcome, State

SAY: dict[Status, str] = {
    (State.WAITING, None, None): "waiting",
    (
        State.HELD,
        None,
        Hold.MANUAL,
    ): "needs_confirmation",  # more diffs than the configuration starts by itself
    (State.HELD, None, Hold.DELAYED): "waiting",
    (State.HELD, None, Hold.CONCURRENCY): "waiting",
    (State.QUEUED, None, None): "queued",
    (State.RUNNING, None, None): "processing",
    (State.STOPPING, None, None): "processing",
    (State.DONE, Outcome.PASSED, None): "done",
    (State.DONE, Outcome.FAILED, None): "failed",
    (State.DONE, Outcome.ERRORED, None): "failed",
    (State.DONE, Outcome.CANCELED, None): "cancelled",
    (State.DONE, Outcome.SKIPPED, None): "done",
}

HEAR: dict[str, tuple[tuple[State, Outcome | None], ...]] = {
    "needs_confirmation": ((State.HELD, None),),
    "needs_authentication": (),  # nobody signs in to a warehouse here
    "waiting": ((State.WAITING, None), (State.HELD, None)),
    "queued": ((State.QUEUED, None),),
    "processing": ((State.RUNNING, None), (State.STOPPING, None)),
    "done": ((State.DONE, Outcome.PASSED), (State.DONE, Outcome.SKIPPED)),
    "failed": ((State.DONE, Outcome.FAILED), (State.DONE, Outcome.ERRORED)),
    "cancelled": ((State.DONE, Outcome.CANCELED),),
}

WORDS = Words(SAY, HEAR)
FINAL = frozenset({"done", "failed", "cancelled"})


def say(state: State, outcome: Outcome | None, hold: Hold | None) -> str:
    """The word for a run or job as it stands."""
    return SAY[state, outcome if state is State.DONE else None, hold if state is State.HELD else None]
