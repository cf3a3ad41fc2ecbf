"""A finding: one thing that is wrong in a LookML project, with its place. Made by the parser and every check,
read by reports.

Also the one spelling adviser: `nearest` gives the closest known name for a mistyped one, in bounded time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice


class Severity(StrEnum):
    """How bad, in Looker's words; order of `RANK`."""

    FATAL = "fatal"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.ERROR: 2, Severity.FATAL: 3}


@dataclass(frozen=True, slots=True)
class Finding:
    """Lines and columns count from 1; 0 means unknown. `explores` lists `model/explore` where the finding
    depends on the explore."""

    code: str
    message: str
    severity: Severity = Severity.ERROR
    file: str = ""
    line: int = 0
    column: int = 0
    model: str = ""
    explore: str = ""
    field: str = ""
    suggestion: str = ""
    explores: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = (
            ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])
            if self.file
            else "project"
        )
        return f"{where}: {self.severity.value}: {hinted(self.message, self.suggestion)} [{self.code}]"


def hinted(message: str, suggestion: str) -> str:
    """The message and, as a sentence of its own, what was probably meant."""
    stop = "" if message.endswith((".", "?", "!")) else "."
    return f"{message}{stop} Did you mean {suggestion}?" if suggestion else message


def at_least(finding: Finding, threshold: Severity) -> bool:
    """Whether the finding is as bad as the threshold or worse."""
    return RANK[finding.severity] >= RANK[threshold]


MAX_NAMES = 5000
MAX_LENGTH = 120


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name with the fewest edits from `name`, or "" when none is close (a third of its length, at
    most 4 edits)."""
    if not name or len(name) > MAX_LENGTH:
        return ""
    best, limit = "", min(4, len(name) // 3) + 1
    for other in islice(known, MAX_NAMES):
        if other == name or abs(len(other) - len(name)) >= limit or len(other) > MAX_LENGTH:
            continue
        edits = _distance(name.lower(), other.lower(), limit)
        if edits < limit:
            best, limit = other, edits
            if edits <= 1:
                break
    return best


def _distance(a: str, b: str, limit: int) -> int:
    """Edits (insert, delete, change, swap of neighbours) from a to b; anything ≥ limit once it cannot be
    less."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        new = [i]
        for j, y in enumerate(b, 1):
            cost = min(row[j] + 1, new[j - 1] + 1, row[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            new.append(cost)
        if min(new) >= limit:
            return limit
        before, row = row, new
    return row[-1]
