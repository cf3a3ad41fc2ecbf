"""An attempt's log bytes as Depot's numbered lines, with the step each belongs to. Called by `logs`.

A cursor is `<byte offset>.<lines so far of that step>`, so any page or stream can go on from any line without state.
The log keeps no time per line, so a line's time is the start of its step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    data: bytes, start: Cursor, attempt: Attempt, steps: Sequence[Step], *, last: bool
) -> Iterator[Line]:
    """The whole lines in `data`, which begins at `start`; with `last` also an unfinished one at its end."""
    begun = [step for step in steps if step.log_start is not None]
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
        offset = cursor.offset + following - at
        # The count starts again where the next line belongs to another step.
        cursor = Cursor(offset, number if _step_at(begun, offset) is step else 0)
        body = data[at:stop].decode("utf-8", "replace").removesuffix("\r")
        yield _line(body, number, step, attempt, cursor)
        at = following


def _line(body: str, number: int, step: Step | None, attempt: Attempt, following: Cursor) -> Line:
    if step is None:
        return Line(body, number, "", "", "", attempt.started_at or attempt.created_at, following)
    began = step.started_at or attempt.started_at or attempt.created_at
    # Steps without an id of the user's have a made one that begins with two underscores.
    own = "" if step.key.startswith("__") else step.key
    return Line(body, number, step.key, own, step.name, began, following)


def _step_at(steps: Sequence[Step], offset: int) -> Step | None:
    """The step whose bytes hold this offset; steps that print at the same time do not exist."""
    found = None
    for step in steps:
        if step.log_start is not None and step.log_start <= offset:
            found = step if step.log_end is None or offset < step.log_end else None
    return found
