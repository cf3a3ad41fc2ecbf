"""matches_filter() of data tests: a filter expression held against fetched values, by the same SQL that
filters of queries become."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from runyard.tasks.lookml.lexp.evaluate import Matcher
from runyard.tasks.lookml.lexp.tree import LexpError, Value
from runyard.tasks.lookml.lexp.values import shown
from runyard.tasks.lookml.sql.filter_text import BadFilter, X
from runyard.tasks.lookml.sql.filters import Setting, condition_text

_TYPES = {"string": "VARCHAR", "number": "DOUBLE", "date": "TIMESTAMP", "yesno": "BOOLEAN"}


def matcher(now: datetime) -> Matcher:
    """A Matcher whose relative dates count from `now`."""
    return lambda text, column: _matches(text, column, now)


def _matches(text: str, column: Sequence[Value], now: datetime) -> list[Value]:
    kind = next((_kind(v) for v in column if v is not None), "string")
    try:
        condition = condition_text(kind, text, Setting(now), "duckdb")
    except BadFilter as bad:
        raise LexpError(f"bad filter expression `{text[:80]}`: {bad}") from None
    import duckdb

    known = list(dict.fromkeys(None if v is None else shown(v) for v in column))
    sql = f"SELECT COALESCE({condition.replace(X, 'v')}, FALSE) FROM (SELECT CAST(UNNEST($1::VARCHAR[]) AS {_TYPES[kind]}) AS v)"  # noqa: S608  our own compiler made the condition
    config: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": "false",
        "threads": "1",
    }
    try:
        with duckdb.connect(":memory:", config=config) as database:
            answers = [bool(row[0]) for row in database.execute(sql, [known]).fetchall()]
    except (duckdb.Error, RuntimeError) as error:
        message = str(error).strip().split("\n", 1)[0]
        raise LexpError(
            f"the filter expression `{text[:80]}` cannot be held against {kind} values: {message}"
        ) from None
    verdicts = dict(zip(known, answers, strict=True))
    return [verdicts[None if v is None else shown(v)] for v in column]


def _kind(value: Value) -> str:
    if isinstance(value, bool):
        return "yesno"
    return "number" if isinstance(value, Decimal) else "date" if isinstance(value, datetime) else "string"
