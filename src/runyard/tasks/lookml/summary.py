"""A validator's result as Markdown, for people: what pages show of a job. Reads the JSON of `report`, so it serves failures too. Pure.

The same message at the same place is one row, however many dimensions it breaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ROWS = 200
_MARKS = {"passed": "✓", "failed": "✗", "errored": "⚠", "skipped": "»"}


def summary(result: Mapping[str, Any]) -> str:
    """Markdown of one result."""
    status = result["status"]
    lines = [f"**{_MARKS[status]} {status}**", ""]
    if result["problem"]:
        lines += [f"Could not validate: {_cell(result['problem'])}", ""]
    if result.get("tested"):
        lines += _table(("", "explore", "dimensions", "errors"), _explores(result["tested"]))
    found = [*_sql_errors(result.get("tested", ())), *_findings(result.get("findings", ()))]
    if found:
        lines += _table(("severity", "what", "where", "message"), found)
    return "\n".join(lines).rstrip() + "\n"


def _explores(tested: Sequence[Mapping[str, Any]]) -> Iterator[tuple[object, ...]]:
    for one in tested:
        note = one["skip_reason"] or one["problem"]
        errors = _cell(note) if note else len(one["errors"])
        yield (
            _MARKS[one["status"]],
            f"`{_cell(one['model'])}/{_cell(one['explore'])}`",
            one["dimensions"],
            errors,
        )


def _sql_errors(tested: Sequence[Mapping[str, Any]]) -> Iterator[tuple[object, ...]]:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for one in tested:
        for error in one["errors"]:
            place = _place(error)
            key = (f"{one['model']}/{one['explore']}", place, error["message"])
            groups.setdefault(key, []).append(error["dimension"])
    for (explore, place, message), dimensions in groups.items():
        first = dimensions[0] or explore
        more = f" and {len(dimensions) - 1} more" if len(dimensions) > 1 else ""
        yield "error", f"`{_cell(first)}`{more}", place, _cell(message)


def _findings(findings: Sequence[Mapping[str, Any]]) -> Iterator[tuple[object, ...]]:
    for one in findings:
        what = one["field"] or one["explore"] or one["code"]
        hint = f" (did you mean `{_cell(one['suggestion'])}`?)" if one["suggestion"] else ""
        yield one["severity"], f"`{_cell(what)}`", _place(one), _cell(one["message"]) + hint


def _place(one: Mapping[str, Any]) -> str:
    return f"`{_cell(one['file'])}:{one['line']}`" if one["file"] else ""


def _table(
    head: Sequence[str], rows: Iterator[tuple[object, ...]] | Sequence[tuple[object, ...]]
) -> list[str]:
    found = list(rows)
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in found[:ROWS]]
    more = [f"{len(found) - ROWS} more rows are in the report."] if len(found) > ROWS else []
    return [*lines, "", *more, *([""] if more else [])]


def _cell(text: object) -> str:
    """One cell of a table: nothing in it ends the cell, the row or the code."""
    clean = "".join(c if c.isprintable() else " " for c in str(text))
    return clean.replace("|", "\\|").replace("`", "'")[:400]
