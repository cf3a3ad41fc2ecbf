"""A query of Looker's API as SQL, and its rows in the formats that clients ask for. Called by routes_queries;
pure but for the LookML it reads.

Kept as Records of kind `looker.query`. `filter_expression` may compare two numbers (`1=2`, as validators
write it); Looker's expression language is otherwise for data tests.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from runyard.dialects.looker.refusals import invalid, missing_field
from runyard.model.errors import Invalid, NotFound
from runyard.tasks.lookml.databases import Refusal, Rows
from runyard.tasks.lookml.language.findings import hinted
from runyard.tasks.lookml.language.model import Explore, Field
from runyard.tasks.lookml.sql.compiler import context_of
from runyard.tasks.lookml.sql.dialects import Dialect
from runyard.tasks.lookml.sql.expressions import Unresolved
from runyard.tasks.lookml.sql.query import Query, build
from runyard.tasks.lookml.sql.results import finish

KIND = "looker.query"
MAX_FIELDS, MAX_ROWS, DEFAULT_ROWS = 2000, 5000, 500
MAX_TEXT = 4096
FORMATS = frozenset({"sql", "json", "json_bi", "json_detail", "csv"})
_NEVER = re.compile(r"\s*(\d{1,9})\s*=\s*(\d{1,9})\s*")
NO_FIELDS = "Must query at least one dimension or measure"
Json = dict[str, Any]


def written(body: Mapping[str, Any]) -> Json:
    """A query's data from a create body; Unprocessable by field."""
    data: Json = {}
    for name in ("model", "view"):
        if not isinstance(body.get(name), str) or not body[name]:
            raise missing_field(name)
        data[name] = body[name][:300]
    for name in ("fields", "sorts", "pivots"):
        data[name] = _words(body.get(name), name)
    filters = body.get("filters") or {}
    if not isinstance(filters, dict) or len(filters) > 200 or not all(_fine(v) for v in filters.values()):
        raise invalid("filters", "filters must map field names to filter expressions.")
    data["filters"] = filters
    expression = body.get("filter_expression") or ""
    if not isinstance(expression, str) or (expression and not _NEVER.fullmatch(expression)):
        raise invalid(
            "filter_expression", "filter_expression is served as a comparison of numbers, like 1=2."
        )
    data["filter_expression"] = expression
    data["limit"] = _limit(body.get("limit"))
    if data["pivots"]:
        raise invalid("pivots", "Pivots are not served.")
    return data


def _fine(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and "\0" not in value


def _words(value: Any, name: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_FIELDS or not all(_fine(v) for v in value):
        raise invalid(name, f"{name} must be a list of field names.")
    return list(value)


def _limit(value: Any) -> int:
    """Rows; Looker writes numbers as texts, and -1 for all of them, which here are MAX_ROWS."""
    text = str(DEFAULT_ROWS if value is None or value == "" else value)
    if not re.fullmatch(r"-1|\d{1,9}", text):
        raise invalid("limit", "limit must be a whole number.")
    return MAX_ROWS if text == "-1" else min(int(text), MAX_ROWS)


def shape(id: str, slug: str, data: Mapping[str, Any], server_url: str) -> Json:
    """Query."""
    url = f"{server_url}/api/4.0/queries/{id}/run/sql"
    return {
        "can": {"show": True, "run": True},
        "id": id,
        "model": data["model"],
        "view": data["view"],
        "fields": data["fields"],
        "pivots": None,
        "filters": data["filters"] or None,
        "filter_expression": data["filter_expression"] or None,
        "sorts": data["sorts"] or None,
        "limit": str(data["limit"]),
        "slug": slug,
        "client_id": slug,
        "share_url": url,
        "expanded_share_url": url,
        "url": f"/api/4.0/queries/{id}/run/sql",
        "query_timezone": "UTC",
        "total": False,
    }


@dataclass(frozen=True, slots=True)
class Statement:
    """What will be asked of a database. `problem` is set instead when the LookML does not give SQL."""

    connection: str
    dialect: Dialect
    fields: Sequence[tuple[str, str]]  # (name, category)
    query: Query | None = None
    problem: str = ""

    @property
    def sql(self) -> str:
        """Its text; "" without one."""
        return self.query.sql if self.query else ""


def fields_of(explore: Explore, names: Sequence[str]) -> list[tuple[str, Field]]:
    """(alias, field) of each name. Invalid without any; NotFound for one that the explore does not have."""
    if not names:
        raise Invalid(NO_FIELDS)
    found = []
    for name in names:
        field = explore.find(name)
        if field is None:
            raise NotFound(f'Unknown or inaccessible field "{name[:200]}" in explore "{explore.name}".')
        found.append((name.rpartition(".")[0] or explore.alias, field))
    return found


def compiled(
    explore: Explore, data: Mapping[str, Any], dialect: Dialect, written_for: Dialect | None = None
) -> Statement:
    """The statement of a query, transpiled when the project is written for another dialect."""
    wanted = fields_of(explore, data["fields"])
    named = [(f"{alias}.{field.name}", field.kind) for alias, field in wanted]
    connection = explore.model.connection
    settings = context_of(explore, dialect, written=written_for)
    never = _NEVER.fullmatch(data["filter_expression"])
    where = data["filter_expression"] if never else ""
    try:
        made = build(
            settings,
            wanted,
            data["limit"],
            filters=data["filters"],
            sorts=_sorts(data["sorts"], explore),
            where=where,
        )
    except Unresolved as problem:
        if problem.message.startswith("unknown view"):
            raise Invalid(f"View Not Found: {problem.message} ({problem.file}:{problem.line})") from None
        said = f"{hinted(problem.message, problem.suggestion)} ({problem.file}:{problem.line})"
        return Statement(connection, dialect, named, problem=said)
    return Statement(connection, dialect, named, made)


def _sorts(words: Sequence[str], explore: Explore) -> list[tuple[str, bool]]:
    """`view.field`, `view.field desc`, `view.field desc 0` (Looker numbers pivots there)."""
    found = []
    for word in words:
        name, *more = word.split()[:3] or [""]
        full = name if "." in name else f"{explore.alias}.{name}"
        found.append((full, bool(more) and more[0].lower() == "desc"))
    return found


def rendered(answer: Rows | Refusal | str, asked: Statement, format: str, id: str, seconds: float) -> Any:
    """A result's `data` in a format: Rows, a database's Refusal, or a sentence that says why there was no
    SQL."""
    if isinstance(answer, Rows):
        names = [name for name, _ in asked.fields]
        kept = finish(asked.query, answer.rows) if asked.query else answer.rows
        rows = [dict(zip(names, map(plain, row), strict=True)) for row in kept]
        return _results(rows, asked, format, id, seconds)
    message = answer if isinstance(answer, str) else answer.message
    line, column = (0, 0) if isinstance(answer, str) else (answer.line, answer.column)
    if format == "json_detail":
        place = {"line": line or None, "column": column or None, "character": None}
        error = {"message": message, "message_details": None, "sql_error_loc": place}
        return {"id": id, "runtime": seconds, "sql": asked.sql, "errors": [error], "data": [], "fields": {}}
    if format == "json_bi":
        return {"metadata": {"fields": {}, "sql": asked.sql}, "rows": [{"looker_error": message}]}
    return [{"looker_error": message}]


def _results(rows: list[Json], asked: Statement, format: str, id: str, seconds: float) -> Any:
    groups: dict[str, list[Json]] = {"dimensions": [], "measures": []}
    for name, category in asked.fields:
        groups["measures" if category == "measure" else "dimensions"].append({"name": name})
    if format == "json_bi":
        return {"metadata": {"fields": groups, "sql": asked.sql}, "rows": rows}
    if format == "json_detail":
        cells = [{name: {"value": value} for name, value in row.items()} for row in rows]
        return {
            "id": id,
            "runtime": seconds,
            "sql": asked.sql,
            "fields": groups,
            "data": cells,
            "truncated": False,
        }
    return rows


def plain(value: Any) -> Any:
    """A database's value as JSON has it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if value == value and abs(value) != float("inf") else None
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime() | date() | time():
            return value.isoformat(sep=" ") if isinstance(value, datetime) else value.isoformat()
        case timedelta():
            return value.total_seconds()
    return str(value)


def as_csv(rows: Sequence[Json]) -> str:
    """Rows as CSV with a head."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return out.getvalue()
