"""The part of a log that a page shows: its end, what came before an offset, or the lines around one. Called
by routes.

Lines are numbered as in the raw log, so a line's address means the same line in every part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runyard.engine.views import log_size
from runyard.http.logs import log_bytes
from runyard.http.services import Services
from runyard.model.state import State
from runyard.model.work import Attempt
from runyard.web.ansi import LogHtml

SHOWN_BYTES, SHOWN_LINES = 64 * 1024, 1000  # as HTML some 150 kB


@dataclass(frozen=True, slots=True)
class Window:
    """HTML lines, and where in the log they lie, in bytes."""

    lines: Sequence[str]
    skipped: int  # before the first of them
    left: int  # after the last of them
    next_byte: int  # the first byte of the first line that is not shown
    line: int  # the number of the last line that is shown


async def window(services: Services, attempt: Attempt, until: int, line: int) -> Window:
    """`until`: what came before this byte; else `line`: what lies around this line; both 0: the end."""
    size = log_size(attempt)
    end = min(until or size, size)
    if line and not until:
        end = await _end_after(services, attempt.id, line, size)
    number, start = await _whole_lines(services, attempt.id, max(0, end - SHOWN_BYTES))
    data = await _read(services, attempt.id, start, end)
    parts = data.split(b"\n")
    kept = parts[-SHOWN_LINES - 1 :]
    number += len(parts) - len(kept)
    shown = b"\n".join(kept)
    view = LogHtml(line=number)
    lines = list(view.feed(shown))
    if attempt.state is State.DONE or end < size:
        lines += view.rest()
    start += len(data) - len(shown)
    return Window(lines, start, size - end, start + len(shown) - len(view.pending), view.line)


async def _read(services: Services, attempt_id: int, start: int, end: int) -> bytes:
    return b"".join([piece async for piece in log_bytes(services, attempt_id, start, end)])


async def _whole_lines(services: Services, attempt_id: int, start: int) -> tuple[int, int]:
    """(lines before, offset of the last line that begins at or before `start`; within a line that is too long
    to be shown, `start`)."""
    lines, at, last = 0, 0, 0
    async for piece in log_bytes(services, attempt_id, 0, start):
        lines += piece.count(b"\n")
        cut = piece.rfind(b"\n")
        last = at + cut + 1 if cut >= 0 else last
        at += len(piece)
    return lines, last if start - last < SHOWN_BYTES else start


async def _end_after(services: Services, attempt_id: int, line: int, size: int) -> int:
    """Where a part ends that has the line in its middle; the log's end when it has no such line."""
    begin = await _begin_of(services, attempt_id, line, size)
    after = await _read(services, attempt_id, begin, min(size, begin + SHOWN_BYTES // 2))
    many = after.split(b"\n", SHOWN_LINES // 2)
    return begin + len(after) - (len(many[-1]) if len(many) > 1 else 0) if after else size


async def _begin_of(services: Services, attempt_id: int, line: int, size: int) -> int:
    left, at = line - 1, 0
    async for piece in log_bytes(services, attempt_id, 0, size):
        found = piece.count(b"\n")
        if left <= found:
            return at + len(b"\n".join(piece.split(b"\n", left)[:left])) + (left > 0)
        left, at = left - found, at + len(piece)
    return size
