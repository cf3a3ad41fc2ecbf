"""The fold: what a parent's state is, given its children. Settle writes it, views and tests recompute it.

GitLab's composite rule (`Gitlab::Ci::Status::Composite`, contracts/gitlab.md §3.9), the richest of the four
vendors'. It depends only on the set of children's words, never on their order or number, so a set may be
folded piece by piece. The words below are the rule's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from runyard.model.state import Hold, Outcome, State


class Word(StrEnum):
    """A child as the composite rule sees it, and the rule's answer."""

    CREATED = "created"
    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "canceling"
    RESOURCE = "waiting_for_resource"
    MANUAL = "manual"
    SCHEDULED = "scheduled"
    SUCCESS = "success"
    SKIPPED = "skipped"
    CANCELED = "canceled"
    FAILED = "failed"
    ERRORED = "errored"  # ours: folds like FAILED, and marks the parent as errored
    OK_WARN = "ok_warn"  # failed or canceled, and allowed to
    IGNORED = "ignored"  # manual, and allowed to stay so


@dataclass(frozen=True, slots=True)
class Share:
    """A child's contribution. `allowed`: it may fail or stay manual without a trace on its parent."""

    state: State
    outcome: Outcome | None = None
    hold: Hold | None = None
    allowed: bool = False


@dataclass(frozen=True, slots=True)
class Folded:
    """A parent's columns."""

    state: State
    outcome: Outcome | None = None
    hold: Hold | None = None
    warnings: bool = False


_OPEN: dict[State, Word] = {
    State.WAITING: Word.CREATED,
    State.QUEUED: Word.PENDING,
    State.RUNNING: Word.RUNNING,
    State.STOPPING: Word.STOPPING,
}
_HELD: dict[Hold | None, Word] = {
    Hold.MANUAL: Word.MANUAL,
    Hold.DELAYED: Word.SCHEDULED,
    Hold.CONCURRENCY: Word.RESOURCE,
    None: Word.MANUAL,
}
_DONE: dict[Outcome | None, Word] = {
    Outcome.PASSED: Word.SUCCESS,
    Outcome.FAILED: Word.FAILED,
    Outcome.ERRORED: Word.ERRORED,
    Outcome.CANCELED: Word.CANCELED,
    Outcome.SKIPPED: Word.SKIPPED,
}
_ALLOWED: dict[Word, Word] = {
    Word.FAILED: Word.OK_WARN,
    Word.ERRORED: Word.OK_WARN,
    Word.CANCELED: Word.OK_WARN,
    Word.MANUAL: Word.IGNORED,
}

_SOFT = frozenset({Word.OK_WARN, Word.IGNORED})
_NOTHING = frozenset({Word.SKIPPED, Word.IGNORED})
_FINE = _SOFT | {Word.SUCCESS, Word.SKIPPED}
COMPLETED = frozenset({Word.SUCCESS, Word.FAILED, Word.ERRORED, Word.CANCELED, Word.SKIPPED})


def word(share: Share) -> Word:
    """The rule's word for one child."""
    if share.state is State.DONE:
        found = _DONE[share.outcome]
    elif share.state is State.HELD:
        found = _HELD[share.hold]
    else:
        found = _OPEN[share.state]
    return _ALLOWED.get(found, found) if share.allowed else found


def composite(words: frozenset[Word], *, dag: bool = False) -> Word:  # first match wins, numbered as in §3.9
    """One word for many. An empty set is a success; `dag` is the stricter reading for jobs with needs."""
    if dag and words & _NOTHING:
        return Word.SKIPPED  # 1
    if words and words <= _NOTHING:
        return Word.SKIPPED  # 2
    if words <= _FINE:
        return Word.SUCCESS  # 3
    if words <= _SOFT | {Word.CREATED}:
        return Word.CREATED  # 4
    if words <= _FINE | {Word.CANCELED}:
        return Word.CANCELED  # 6
    if words <= _SOFT | {Word.PENDING, Word.CREATED, Word.SKIPPED}:
        return Word.PENDING  # 7
    if words & {Word.RUNNING, Word.PENDING}:
        return Word.RUNNING  # 8
    for blocked in (Word.RESOURCE, Word.MANUAL, Word.SCHEDULED):
        if blocked in words:
            return blocked  # 9, 11, 12
    if Word.CREATED in words:
        return Word.RUNNING  # 14
    if Word.STOPPING in words:
        return Word.STOPPING  # 15
    return Word.ERRORED if Word.ERRORED in words else Word.FAILED  # 16; Looker: errored outranks failed


_PARENT: dict[Word, tuple[State, Outcome | None, Hold | None]] = {
    Word.CREATED: (State.WAITING, None, None),
    Word.PENDING: (State.QUEUED, None, None),
    Word.RUNNING: (State.RUNNING, None, None),
    Word.STOPPING: (State.STOPPING, None, None),
    Word.RESOURCE: (State.HELD, None, Hold.CONCURRENCY),
    Word.MANUAL: (State.HELD, None, Hold.MANUAL),
    Word.SCHEDULED: (State.HELD, None, Hold.DELAYED),
    Word.SUCCESS: (State.DONE, Outcome.PASSED, None),
    Word.SKIPPED: (State.DONE, Outcome.SKIPPED, None),
    Word.CANCELED: (State.DONE, Outcome.CANCELED, None),
    Word.FAILED: (State.DONE, Outcome.FAILED, None),
    Word.ERRORED: (State.DONE, Outcome.ERRORED, None),
}


def fold(shares: Iterable[Share]) -> Folded:
    """A parent's state from its children (a workflow from its jobs)."""
    return fold_words(frozenset(map(word, shares)))


def fold_words(words: frozenset[Word]) -> Folded:
    """The same for children already put into words."""
    state, outcome, hold = _PARENT[composite(words)]
    return Folded(state, outcome, hold, outcome is Outcome.PASSED and Word.OK_WARN in words)


def fold_parents(children: Iterable[Folded]) -> Folded:
    """A run from its workflows; a workflow's own fold passes through unchanged when it is alone."""
    children = tuple(children)
    state, outcome, hold = _PARENT[
        composite(frozenset(word(Share(c.state, c.outcome, c.hold)) for c in children))
    ]
    return Folded(state, outcome, hold, outcome is Outcome.PASSED and any(c.warnings for c in children))
