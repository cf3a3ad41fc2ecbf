"""Lines of a log that a runner stamped (gitlab-runner's FF_TIMESTAMPS): `2026-11-21T20:35:31.143087Z 01O
text`. Where the sixth sign of the mark is `+` instead of a blank the text goes on with the line before it,
whose end is none (seen with gitlab-runner 17.9 and 18.6)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z) [0-9a-f]{2}[OE]([ +])")


def is_stamped(line: bytes) -> bool:
    """Whether the line begins with a stamp."""
    return line[:1].isdigit() and _STAMP.match(line) is not None


def goes_on(line: bytes) -> bool:
    """Whether the line belongs to the one before it."""
    found = _STAMP.match(line) if line[:1].isdigit() else None
    return found is not None and found[2] == b"+"


def joined(lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """(when it was written, or "", and the line) with stamps taken off and parts put together."""
    held: tuple[str, bytes] | None = None
    for line in lines:
        found = _STAMP.match(line) if line[:1].isdigit() else None
        text = line if found is None else line[found.end() :]
        if held is not None and found is not None and found[2] == b"+":
            held = held[0], held[1] + text
            continue
        if held is not None:
            yield held
        held = "" if found is None else found[1].decode(), text
    if held is not None:
        yield held
