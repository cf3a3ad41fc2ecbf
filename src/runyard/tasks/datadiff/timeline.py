# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""A column of time: the interval as a condition on both sides, and how many rows and differences each minute
… year has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from runyard.tasks.datadiff.duck import Duck
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.grammar import DUCKDB
from runyard.tasks.datadiff.kinds import Column, Kind
from runyard.tasks.datadiff.locating import Located
from runyard.tasks.datadiff.names import match
from runyard.tasks.datadiff.pairing import Pair
from runyard.tasks.datadiff.spec import Spec
from runyard.tasks.datadiff.statements import CHANGED, ONLY_A, ONLY_B, Builder

MOST_BUCKETS = 10_000


def within(spec: Spec, sides: tuple[Located, Located]) -> tuple[Located, Located]:
    """The sides with the interval on their rows."""
    if spec.time is None:
        return sides
    return _narrowed(spec, sides[0], 0), _narrowed(spec, sides[1], 1)


def _narrowed(spec: Spec, side: Located, index: int) -> Located:
    assert spec.time is not None  # noqa: S101 - the caller's check
    column = _column(spec, side.columns, index)
    grammar = side.engine.grammar
    value = f"t.{grammar.quoted(column.name)}"
    parts = []
    for moment, sign in ((spec.time.start, ">="), (spec.time.end, "<")):
        if moment is not None:
            parts.append(f"{value} {sign} {grammar.moment(_moment(moment, column), column)}")
    return replace(side, input=replace(side.input, interval=" AND ".join(parts)))


def _column(spec: Spec, columns: Sequence[Column], index: int) -> Column:
    assert spec.time is not None  # noqa: S101 - the caller's check
    wish = spec.time.column
    if index == 1:
        wish = next((b for a, b in spec.mapping if a.casefold() == wish.casefold()), wish)
    name = match(wish, (c.name for c in columns))
    found = next((c for c in columns if c.name == name), None)
    if found is None or found.kind not in (Kind.DATE, Kind.TIMESTAMP, Kind.ZONED):
        raise CouldNot(Fault.NO_COLUMN, f"{wish!r} is no column of dates or times on side {'AB'[index]}.")
    return found


def _moment(text: str, column: Column) -> str:
    """ISO 8601 as every database reads it, in UTC; a date column takes the day."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise CouldNot(Fault.BAD_SPEC, f"{text!r} is not a moment like 2026-11-21T13:00:00Z.") from None
    if found.tzinfo is not None:
        found = found.astimezone(UTC).replace(tzinfo=None)
    if column.kind is Kind.DATE:
        return found.strftime("%Y-%m-%d")
    return found.isoformat(sep=" ", timespec="microseconds") + ("+00:00" if column.kind is Kind.ZONED else "")


def counted(
    spec: Spec, sides: tuple[Located, Located], builder: Builder, duck: Duck
) -> list[dict[str, Any]] | None:
    """[{at, rows [a, b], only_a, only_b, changed}] in order; None when the column is not compared. At most
    MOST_BUCKETS."""
    assert spec.time is not None and spec.time.aggregate is not None  # noqa: S101 - the caller's check
    unit = spec.time.aggregate
    name = _column(spec, sides[0].columns, 0).name
    where = _in_diff(builder, name)
    if where is None:
        return None
    found: dict[str | None, dict[str, Any]] = {}

    def bucket(at: Any) -> dict[str, Any]:
        key = None if at is None else str(at)[:19].replace(" ", "T")
        return found.setdefault(key, {"at": key, "rows": [0, 0], "only_a": 0, "only_b": 0, "changed": 0})

    for index, side in enumerate(sides):
        grammar = side.engine.grammar
        value = f"t.{grammar.quoted(_column(spec, side.columns, index).name)}"
        rows = side.engine.rows(
            f"SELECT at_, count(*) FROM (SELECT {grammar.since(value, unit)} AS at_ FROM {side.input.relation} AS t "
            f"WHERE {side.input.where}) AS s GROUP BY at_ ORDER BY at_ LIMIT {MOST_BUCKETS}"
        )
        for at, count in rows:
            bucket(_day(at))["rows"][index] = int(count)
    since = DUCKDB.since(f"TRY_CAST({where} AS TIMESTAMP)", unit)
    counts = ", ".join(f"count(*) FILTER (WHERE status = '{s}')" for s in (ONLY_A, ONLY_B, CHANGED))
    for at, only_a, only_b, changed in duck.rows(
        f"SELECT {since} AS at_, {counts} FROM diff GROUP BY at_ ORDER BY at_ LIMIT {MOST_BUCKETS}"
    ):
        bucket(_day(at)).update(only_a=only_a, only_b=only_b, changed=changed)
    return sorted(found.values(), key=lambda b: b["at"] or "")[:MOST_BUCKETS]


def _day(at: Any) -> Any:
    """The beginning of a bucket with its time of day, which a date lacks."""
    return f"{at} 00:00:00" if at is not None and len(str(at)) == 10 else at


def _in_diff(builder: Builder, name: str) -> str | None:
    def at(pairs: Sequence[Pair]) -> int | None:
        return next((i for i, p in enumerate(pairs) if p.a.name == name), None)

    value, key = at(builder.pairing.values), at(builder.pairing.key)
    if value is not None:
        return f"coalesce(a{value}, b{value})"
    return f"k{key}" if key is not None else None
