"""A report's errors as flat rows, the same for all validators: what texts, JUnit, SARIF and Markdown are made
of. Reads the JSON of `report`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runyard.tasks.lookml.language.findings import hinted

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One error. `subject` is what it is about (a field, a test, a tile); `level` error, warning or note;
    `sql` with its place when a database spoke."""

    rule: str
    level: str
    message: str
    subject: str = ""
    explore: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    sql: str = ""
    sql_line: int = 0
    sql_column: int = 0
    fingerprint: str = ""


_LEVELS = {"fatal": "error", "error": "error", "warning": "warning", "warn": "warning", "info": "note"}


def rows(report: Report) -> Iterator[Row]:
    """Every error of a report, in its order."""
    match report["validator"]:
        case "lookml":
            return (_finding(f) for f in report["findings"])
        case "style":
            return (_style(f) for f in report["findings"])
        case "sql":
            return (_sql(t, e) for t in report["tested"] for e in t["errors"])
        case "assert":
            return (_assert(t, e) for t in report["tested"] for e in t["errors"])
    return (_content(t, e) for t in report["tested"] for e in t["errors"])


def _finding(one: Report) -> Row:
    explore = f"{one['model']}/{one['explore']}" if one["explore"] else ""
    return Row(
        f"lookml/{one['code']}", _LEVELS[one["severity"]], hinted(one["message"], one["suggestion"]), one["field"] or one["explore"] or one["code"], explore,
        one["file"], one["line"], one["column"],
    )  # fmt: skip


def _style(one: Report) -> Row:
    return Row(
        f"style/{one['code']}", _LEVELS[one["severity"]], one["message"], one["entity_name"] or one["code"], "",
        one["file"], one["line"], one["column"], fingerprint=one["error_id"],
    )  # fmt: skip


def _sql(tested: Report, one: Report) -> Row:
    explore = f"{tested['model']}/{tested['explore']}"
    return Row(
        "sql", "error", one["message"], one["dimension"] or explore, explore, one["file"], one["line"], 0,
        one["sql"], one.get("sql_line", 0), one.get("sql_column", 0),
    )  # fmt: skip


def _assert(tested: Report, one: Report) -> Row:
    subject = f"{one['test']} · {one['assertion']}" if one["assertion"] else one["test"]
    return Row(
        "assert",
        "error",
        one["message"],
        subject,
        f"{tested['model']}/{tested['explore']}",
        one["file"],
        one["line"],
        sql=one["sql"],
    )


def _content(tested: Report, one: Report) -> Row:
    subject = " · ".join(t for t in (one["title"] or one["content_id"], one["element"]) if t)
    explore = f"{tested['model']}/{tested['explore']}" if tested["model"] or tested["explore"] else ""
    return Row("content", "error", one["message"], subject or one["file"], explore, one["file"], one["line"])


def excerpt(row: Row, around: int = 2) -> str:
    """The lines of SQL around the place that the database named, with a caret under it; "" without a
    place."""
    lines = row.sql.split("\n")
    if not 0 < row.sql_line <= len(lines):
        return ""
    shown: list[str] = []
    first = max(1, row.sql_line - around)
    for number, text in enumerate(lines[first - 1 : row.sql_line + around], first):
        start = max(0, row.sql_column - 100) if number == row.sql_line and row.sql_column > 120 else 0
        shown.append(f"{number:>4} | {text[start : start + 160]}")
        if number == row.sql_line and row.sql_column:
            shown.append(" " * (7 + row.sql_column - 1 - start) + "^")
    return "\n".join(shown)
