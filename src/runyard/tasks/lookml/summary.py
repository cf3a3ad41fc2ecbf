"""A validator's result as Markdown, for people: what pages show of a job. Reads the JSON of `report`, so it
serves failures too. Pure.

The same message at the same place is one row, however many dimensions it breaks. The SQL that a database
refused stands below with a caret, failing rows of data tests as tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runyard.tasks.lookml.rows import Row, excerpt, rows

ROWS = 200
EXCERPTS = 10
SAMPLES = 5
_MARKS = {"passed": "✓", "failed": "✗", "errored": "⚠", "skipped": "»"}


def summary(result: Mapping[str, Any]) -> str:
    """Markdown of one result."""
    status = result["status"]
    tag = ", incremental" if result.get("incremental") else ""
    lines = [f"**{_MARKS[status]} {status}{tag}**", ""]
    if result["problem"]:
        lines += [f"Could not validate: {_cell(result['problem'])}", ""]
    if note := result["summary"].get("note"):
        lines += [f"Note: {_cell(note)}.", ""]
    if result.get("tested"):
        lines += _explores(result["validator"], result["tested"])
    found = list(_merged(rows(result)))
    if found:
        lines += _table(("severity", "what", "where", "message"), [_row(row, more) for row, more in found])
    lines += _excerpts([row for row, _ in found])
    lines += _samples(result)
    return "\n".join(lines).rstrip() + "\n"


def _explores(validator: str, tested: Sequence[Mapping[str, Any]]) -> list[str]:
    head = {"sql": "fields", "assert": "tests", "content": "tiles"}[validator]
    cells = []
    for one in tested:
        note = one["skip_reason"] or one["problem"]
        errors = _cell(note) if note else len(one["errors"])
        name = (
            f"`{_cell(one['model'])}/{_cell(one['explore'])}`"
            if one["model"] or one["explore"]
            else "other content"
        )
        cells.append((_MARKS[one["status"]], name, _size(validator, one), errors))
    return _table(("", "explore", head, "errors"), cells)


def _size(validator: str, one: Mapping[str, Any]) -> int:
    """How much was tested of an explore."""
    if validator == "assert":
        return len(one["successes"]) + len({e["test"] for e in one["errors"]})
    return int(one["elements"] if validator == "content" else one["dimensions"] + one.get("measures", 0))


def _merged(found: Iterator[Row]) -> Iterator[tuple[Row, int]]:
    """Rows that say the same of the same place as one, with the number of the others."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in found:
        groups.setdefault((row.rule, row.explore, row.file, str(row.line), row.message), []).append(row)
    for group in groups.values():
        yield group[0], len(group) - 1


def _row(row: Row, others: int) -> tuple[object, ...]:
    more = f" and {others} more" if others else ""
    place = f"`{_cell(row.file)}:{row.line}`" if row.file else ""
    return row.level, f"`{_cell(row.subject)}`{more}", place, _cell(row.message)


def _excerpts(found: Sequence[Row]) -> list[str]:
    """The refused SQL, for the first few errors."""
    lines: list[str] = []
    shown = [(row, text) for row in found if (text := excerpt(row))]
    for row, text in shown[:EXCERPTS]:
        lines += [f"`{_cell(row.subject)}`: {_cell(row.message)}", "", "```", _plain(text), "```", ""]
    return lines


def _samples(result: Mapping[str, Any]) -> list[str]:
    """Failing rows of data tests."""
    if result.get("validator") != "assert":
        return []
    lines: list[str] = []
    errors = [e for t in result["tested"] for e in t["errors"] if e["rows"]]
    for error in errors[:EXCERPTS]:
        names = list(error["rows"][0])
        lines += [
            f"Failing rows of `{_cell(error['test'])}` · `{_cell(error['assertion'])}` ({error['failed_rows']}):",
            "",
        ]
        cells = [
            tuple("null" if r[n] is None else _cell(r[n]) for n in names) for r in error["rows"][:SAMPLES]
        ]
        lines += _table([_cell(n) for n in names], cells)
    return lines


def _table(head: Sequence[str], found: Sequence[tuple[object, ...]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in found[:ROWS]]
    more = [f"{len(found) - ROWS} more rows are in the report."] if len(found) > ROWS else []
    return [*lines, "", *more, *([""] if more else [])]


def _plain(text: str) -> str:
    """Lines for a code block: nothing in them ends it."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text).replace("`", "'")


def _cell(text: object) -> str:
    """One cell of a table: nothing in it ends the cell, the row or the code."""
    clean = "".join(c if c.isprintable() else " " for c in str(text))
    return clean.replace("|", "\\|").replace("`", "'")[:400]
