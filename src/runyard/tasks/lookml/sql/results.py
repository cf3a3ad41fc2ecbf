"""Measures that are worked out on a query's rows, in their order: running_total, percent_of_total,
percent_of_previous. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from runyard.tasks.lookml.sql.query import Query

Row = tuple[Any, ...]


def finish(query: Query, rows: Sequence[Row]) -> list[Row]:
    """The rows with every column of `query.post` worked out down the column; other columns stay. Shares are
    in percent, NULL where nothing to divide by is there."""
    columns = [[row[i] for row in rows] for i in range(len(query.columns))]
    for index, kind in query.post.items():
        columns[index] = _KINDS[kind](columns[index])
    return list(zip(*columns, strict=True)) if rows else []


def _running(values: list[Any]) -> list[Any]:
    total, found = None, []
    for value in values:
        if value is not None:
            total = value if total is None else total + value
        found.append(total)
    return found


def _of_total(values: list[Any]) -> list[Any]:
    total = sum(v for v in values if v is not None)
    return [_share(v, total) for v in values]


def _of_previous(values: list[Any]) -> list[Any]:
    """Looker compares a row with the one below it, since rows are sorted descending as a rule: the last has
    nothing to compare with."""
    return [_share(v, below) for v, below in zip(values, [*values[1:], None], strict=True)]


def _share(value: Any, whole: Any) -> Any:
    if value is None or whole is None or not whole:
        return None
    exact = isinstance(value, Decimal | int) and isinstance(whole, Decimal | int)
    return Decimal(value) * 100 / Decimal(whole) if exact else float(value) * 100 / float(whole)


_KINDS: dict[str, Callable[[list[Any]], list[Any]]] = {
    "running_total": _running,
    "percent_of_total": _of_total,
    "percent_of_previous": _of_previous,
}
