"""The one state machine: what an attempt may become, and the words for why.

Only an Attempt changes state; a Job shows its latest attempt, Workflow and Run are folds (`model/fold.py`).
`MOVES` is the whole table; the store repeats its invariants as CHECKs.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a piece of work is."""

    WAITING = "waiting"  # its gate has not been asked yet
    HELD = "held"  # waits for a person, a time or a concurrency group
    QUEUED = "queued"  # any matching runner may claim it
    RUNNING = "running"  # a runner holds a lease
    STOPPING = "stopping"  # as running, but told to end
    DONE = "done"  # final; outcome is set


class Outcome(StrEnum):
    """How a piece of work ended; set exactly when its state is DONE."""

    PASSED = "passed"
    FAILED = "failed"  # the work said no
    ERRORED = "errored"  # we could not do the work
    CANCELED = "canceled"
    SKIPPED = "skipped"


class Hold(StrEnum):
    """What a HELD attempt waits for."""

    MANUAL = "manual"
    DELAYED = "delayed"
    CONCURRENCY = "concurrency"


class Reason(StrEnum):
    """Why an attempt ended as it did; empty when the outcome says it all."""

    NONE = ""
    SCRIPT = "script"  # a step exited with non-zero
    TIMEOUT = "timeout"  # the job's time limit
    OUT_OF_MEMORY = "out_of_memory"
    RUNNER_LOST = "runner_lost"  # the lease ran out
    RUNNER_SYSTEM = "runner_system"  # sandbox, disk, network of the runner
    RUNNER_UNSUPPORTED = "runner_unsupported"
    IMAGE_UNAVAILABLE = "image_unavailable"
    CHECKOUT = "checkout"  # the commit could not be laid out
    MISSING_DEPENDENCY = "missing_dependency"  # an artifact that a need promised is gone
    LOG_TOO_BIG = "log_too_big"
    STUCK = "stuck"  # no runner took it in time
    BAD_PLAN = "bad_plan"  # a late expression did not hold
    DOWNSTREAM_MISSING = (
        "downstream_missing"  # the project or run that a bridge names is not there for its user
    )
    DOWNSTREAM_FORBIDDEN = "downstream_forbidden"  # its user may not start runs there
    DOWNSTREAM_REFUSED = "downstream_refused"  # the other run could not be compiled, or had nothing to run
    DOWNSTREAM_TOO_DEEP = "downstream_too_deep"
    DOWNSTREAM_LOOP = "downstream_loop"  # runs that start each other in a circle
    BY_USER = "by_user"  # someone canceled
    SUPERSEDED = "superseded"  # a newer run or group member took its place
    FAIL_FAST = "fail_fast"  # a sibling of its matrix failed
    GATE = "gate"  # its condition said no


MOVES: dict[State, frozenset[State]] = {
    State.WAITING: frozenset({State.HELD, State.QUEUED, State.DONE}),
    State.HELD: frozenset({State.QUEUED, State.DONE}),
    State.QUEUED: frozenset({State.RUNNING, State.DONE}),
    State.RUNNING: frozenset({State.STOPPING, State.DONE}),
    State.STOPPING: frozenset({State.DONE}),
    State.DONE: frozenset(),
}

LEASED = frozenset({State.RUNNING, State.STOPPING})
OPEN = frozenset(State) - {State.DONE}


def may_move(before: State, after: State) -> bool:
    """Whether the machine has this arrow."""
    return after in MOVES[before]


_VERBS: dict[tuple[State, State], str] = {
    (State.WAITING, State.HELD): "gate open, but manual, delayed or its concurrency group is taken",
    (State.WAITING, State.QUEUED): "gate open",
    (State.WAITING, State.DONE): "skipped, canceled, or its gate is broken",
    (State.HELD, State.QUEUED): "played, time has come, group is free",
    (State.HELD, State.DONE): "canceled",
    (State.QUEUED, State.RUNNING): "claimed",
    (State.QUEUED, State.DONE): "canceled, stuck, or cannot be handed out",
    (State.RUNNING, State.STOPPING): "canceled or out of time; its runner is told",
    (State.RUNNING, State.DONE): "finished, or its runner was lost",
    (State.STOPPING, State.DONE): "finished, forced, or its runner was lost",
}


def states_page() -> str:
    """docs/states.md."""
    arrows = [(a, b) for a in State for b in State if b in MOVES[a]]
    lines = [
        "# The life of an attempt",
        "",
        "Made from `MOVES` in `src/runyard/model/state.py` by `python -m runyard.model.state`; a test keeps it up to date.",
        "Only attempts change state. A retry is a new attempt; jobs, workflows and runs are folds (`model/fold.py`).",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> waiting",
        *(f"    {a} --> {b}: {_VERBS[a, b]}" for a, b in arrows),
        "    done --> [*]",
        "```",
        "",
        "| from | to | when |",
        "|---|---|---|",
        *(f"| {a} | {b} | {_VERBS[a, b]} |" for a, b in arrows),
        "",
        f"Outcomes, only with `done`: {', '.join(f'`{o}`' for o in Outcome)}.",
        f"What a `held` attempt waits for: {', '.join(f'`{h}`' for h in Hold)}.",
        f"Reasons: {', '.join(f'`{r}`' for r in Reason if r)}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    import sys

    sys.stdout.write(states_page())
