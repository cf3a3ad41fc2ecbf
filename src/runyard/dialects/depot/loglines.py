"""An attempt's log bytes as Depot's numbered lines, with the step each belongs to. Called by `logs`.

A cursor is `<byte offset>.<lines so far of that step>`, so any page or stream can go on from any line without
state. A line's time is when the server got the piece of log in which it begins; of logs from before that was
kept, when its step began.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runyard.engine.sealing import Times
from runyard.model.errors import Invalid
from runyard.model.work import Attempt, Step

_CURSOR = re.compile(r"(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,11})\Z")
MAX_LINE_BYTES = 256 * 1024
"""A longer line is sent in pieces of this size."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next line begins, and how many lines of its step came before."""

    offset: int = 0
    line: int = 0

    def __str__(self) -> str:
        return f"{self.offset}.{self.line}"

    @classmethod
    def of(cls, text: str) -> Cursor:
        """A cursor from a client; Invalid when it is none of ours."""
        if not text:
            return cls()
        match = _CURSOR.match(text)
        if match is None:
            raise Invalid("The page token or cursor is not one of this server's.")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its newline; `next` is the cursor after it."""

    body: str
    number: int
    step_key: str
    step_id: str
    step_name: str
    at: int
    next: Cursor


def lines(
    data: bytes, start: Cursor, attempt: Attempt, steps: Sequence[Step], times: Times = (), *, last: bool
) -> Iterator[Line]:
    """The whole lines in `data`, which begins at `start`; with `last` also an unfinished one at its end.
    `times` as `views.log_times` has them."""
    clock = _Clock(times)
    # In the order of the log, not of the steps: what one in the background said comes when the job waits for
    # it.
    begun = sorted(
        (step for step in steps if step.log_start is not None), key=lambda step: step.log_start or 0
    )
    cursor = start
    at = 0
    while at < len(data):
        end = data.find(b"\n", at, at + MAX_LINE_BYTES)
        if end < 0:
            if len(data) - at < MAX_LINE_BYTES and not last:
                return
            stop = following = min(len(data), at + MAX_LINE_BYTES)
        else:
            stop, following = end, end + 1
        step = _step_at(begun, cursor.offset)
        number = cursor.line + 1
        came_at = clock.at(cursor.offset)
        offset = cursor.offset + following - at
        # The count starts again where the next line belongs to another step.
        cursor = Cursor(offset, number if _step_at(begun, offset) is step else 0)
        body = data[at:stop].decode("utf-8", "replace").removesuffix("\r")
        yield _line(body, number, step, attempt, cursor, came_at)
        at = following


class _Clock:
    """Times by offset, for offsets that only grow."""

    def __init__(self, times: Times) -> None:
        self._times = times
        self._next = 0
        self._now: int | None = None

    def at(self, offset: int) -> int | None:
        """When the byte there arrived."""
        if self._now is None and self._times:
            self._next = bisect_right(self._times, offset, key=lambda pair: pair[0])
            self._now = self._times[self._next - 1][1] if self._next else None
        while self._next < len(self._times) and self._times[self._next][0] <= offset:
            self._now = self._times[self._next][1]
            self._next += 1
        return self._now


def _line(
    body: str, number: int, step: Step | None, attempt: Attempt, following: Cursor, came_at: int | None
) -> Line:
    if step is None:
        return Line(body, number, "", "", "", came_at or attempt.started_at or attempt.created_at, following)
    began = came_at or step.started_at or attempt.started_at or attempt.created_at
    # Steps without an id of the user's have a made one that begins with two underscores.
    own = "" if step.key.startswith("__") else step.key
    return Line(body, number, step.key, own, step.name, began, following)


def _step_at(steps: Sequence[Step], offset: int) -> Step | None:
    """The innermost step whose bytes hold this offset: a step that waits for others has their output within
    its own."""
    found = None
    for step in steps:
        if step.log_start is not None and step.log_start <= offset:
            found = step if step.log_end is None or offset < step.log_end else found
    return found
