"""Annotations of a job's steps, as its page lists them: what `::error file=…::` and problem matchers found.
Read from rows that a runner wrote, so any shape is possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runyard.model.work import Step

SHOWN = 50
MESSAGE_CHARS = 500
MARKS = {"error": "failed", "warning": "warned", "notice": "running"}  # by level, the colour


@dataclass(frozen=True, slots=True)
class Note:
    """One. `place` is file, line and column as far as they are known."""

    level: str
    mark: str
    place: str
    message: str


def notes(steps: Sequence[Step]) -> list[Note]:
    """Those of all steps in their order, errors before warnings before notices."""
    found = []
    for step in steps:
        rows = step.extra.get("annotations")
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, Mapping) and row.get("level") in MARKS and row.get("message"):
                found.append(_note(row))
    return sorted(found, key=lambda note: list(MARKS).index(note.level))[:SHOWN]


def _note(row: Mapping[str, object]) -> Note:
    parts = [str(row.get(key) or "")[:300] for key in ("file", "line", "col")]
    level = str(row["level"])
    title = f"{row['title']}: " if row.get("title") else ""
    place = ":".join(part for part in parts if part) if parts[0] else ""
    return Note(level, MARKS[level], place, f"{title}{row['message']}"[:MESSAGE_CHARS])
