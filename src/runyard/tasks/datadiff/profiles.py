# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""Column profiles of both sides, for those who asked (Datafold's `run_profiles`): nulls, distinct values,
range, mean, and a histogram of numbers.

A side's figures take one scan, and one more where there are histograms: their bins span the range of both
sides, so that the two can be laid over each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from runyard.tasks.datadiff.duck import Duck
from runyard.tasks.datadiff.grammar import Grammar
from runyard.tasks.datadiff.kinds import NUMBERS, STRINGS, Column, Kind
from runyard.tasks.datadiff.locating import Located
from runyard.tasks.datadiff.pairing import Pairing

BINS = 10
CELL_CHARS = 500
_EXACT_ROWS = (
    1_000_000  # above it DuckDB estimates distinct values, as exact ones would take the memory of the columns
)
_SUMMABLE = 1e290  # of which 10^18 rows have a sum
_COLUMNS_AT_ONCE = 100  # PostgreSQL's select lists end at 1,664 expressions
_ORDERED = NUMBERS | STRINGS | {Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.ZONED}
_COUNTED = _ORDERED | {Kind.BOOLEAN, Kind.UUID}
Json = dict[str, Any]
Item = TypeVar("Item")


def profiled(sides: tuple[Located, Located], pairing: Pairing, *, values: bool) -> Json:
    """{t1, t2: {columns: {name: {total, nulls, distinct, min, max, mean, …}}}, histograms: {name: {edges,
    counts [A, B]}}}; names are A's.

    A superset of the published ApiTableProfile. Without `values` counts alone. CouldNot where a database
    cannot reckon with a column.
    """
    columns = _columns(sides[0], pairing, 0), _columns(sides[1], pairing, 1)
    tables = [_table(side, chosen, values=values) for side, chosen in zip(sides, columns, strict=True)]
    edges = {name: found for name in columns[0] | columns[1] if (found := _edges(name, tables))}
    counts = [_bins(side, chosen, edges) for side, chosen in zip(sides, columns, strict=True)]
    histograms = {
        name: {"edges": found, "counts": [side.get(name) for side in counts]} for name, found in edges.items()
    }
    for table in tables:
        for name in histograms.keys() & table.keys():
            table[name]["histogram_bins"] = BINS
    return {"t1": {"columns": tables[0]}, "t2": {"columns": tables[1]}, "histograms": histograms}


def _columns(side: Located, pairing: Pairing, index: int) -> dict[str, Column]:
    """All columns that take part, those too that are not compared, by the name of the report."""
    shared = [*pairing.key, *pairing.values, *pairing.schema.retyped]
    found = {p.name: (p.a, p.b)[index] for p in shared}
    alone = (pairing.schema.only_a, pairing.schema.only_b)[index]
    return found | {c.name: c for c in side.columns if c.name in alone and c.name not in found}


def _table(side: Located, columns: Mapping[str, Column], *, values: bool) -> dict[str, Json]:
    (rows,) = _one(side, ["count(*)"])
    exact = not isinstance(side.engine, Duck) or rows <= _EXACT_ROWS
    found = {}
    for some in _groups(list(columns.items()), _COLUMNS_AT_ONCE):
        row = _one(side, [sql for _, column in some for sql in _measures(side, column, exact=exact)])
        for (name, _), (filled, distinct, low, high, mean) in zip(some, _groups(row, 5), strict=True):
            found[name] = {
                "total": int(rows),
                "nulls": int(rows) - int(filled),
                "distinct": None if distinct is None else int(distinct),
                "min": low if values else None,
                "max": high if values else None,
                "mean": _number(mean) if values else None,
                "histogram_bins": 0,
                "top_values_count": 0,
            }
    return found


def _measures(side: Located, column: Column, *, exact: bool) -> Iterator[str]:
    """Five expressions: values that are not null, distinct ones, smallest, largest, mean; NULL where the type
    has none."""
    grammar = side.engine.grammar
    value = f"t.{grammar.quoted(column.name)}"
    kind = Kind.BOOLEAN if column.base == "tinyint(1)" else column.kind  # MySQL's
    yield f"count({value})"
    same = grammar.comparable(value, column, frozenset({column.kind}))
    distinct = f"count(DISTINCT {same})" if exact else f"approx_count_distinct({same})"
    yield distinct if kind in _COUNTED else "NULL"
    for end in ("min", "max"):
        shown = grammar.first_chars(grammar.as_text(f"{end}({value})"), CELL_CHARS)
        yield shown if kind in _ORDERED else "NULL"
    yield _mean(grammar, value, column) if kind in NUMBERS and column.base != "oid" else "NULL"


def _mean(grammar: Grammar, value: str, column: Column) -> str:
    """NULL where a value is so large that the sum of such could overflow, which PostgreSQL and Redshift meet
    with an error."""
    if column.kind is not Kind.FLOAT:
        return f"avg({value})"
    small = f"abs({value}) < {_literal(_SUMMABLE)}"
    return (
        f"CASE WHEN {grammar.count_if(f'NOT {small}')} = 0 THEN avg(CASE WHEN {small} THEN {value} END) END"
    )


def _one(side: Located, expressions: Sequence[str]) -> tuple[Any, ...]:
    return side.engine.one(
        f"SELECT {', '.join(expressions)} FROM {side.input.relation} AS t WHERE {side.input.where}"
    )


def _groups(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _number(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None


def _edges(name: str, tables: Sequence[Mapping[str, Json]]) -> list[float] | None:
    """BINS + 1 numbers over the range of both sides; None for what is no number, not finite, or one value
    only."""
    ends = [table[name] for table in tables if name in table and table[name]["mean"] is not None]
    if not ends:
        return None
    low, high = min(float(e["min"]) for e in ends), max(float(e["max"]) for e in ends)
    width = (high - low) / BINS
    if not (math.isfinite(low) and 0 < width < math.inf):
        return None
    return [*(low + width * i for i in range(BINS)), high]


def _bins(
    side: Located, columns: Mapping[str, Column], edges: Mapping[str, list[float]]
) -> dict[str, list[int]]:
    """How many values lie in each bin; the outer two are open, because an edge was rounded on its way through
    text."""
    found: dict[str, list[int]] = {}
    for some in _groups([n for n in columns if n in edges], _COLUMNS_AT_ONCE):
        row = _one(side, [sql for n in some for sql in _shares(side, columns[n], edges[n])])
        found |= {n: list(map(int, counts)) for n, counts in zip(some, _groups(row, BINS), strict=True)}
    return found


def _shares(side: Located, column: Column, edges: Sequence[float]) -> Iterator[str]:
    grammar = side.engine.grammar
    value = f"t.{grammar.quoted(column.name)}"
    for i in range(BINS):
        lower = [f"{value} >= {_literal(edges[i])}"] if i else []
        upper = [f"{value} < {_literal(edges[i + 1])}"] if i < BINS - 1 else []
        yield grammar.count_if(" AND ".join(lower + upper))


def _literal(number: float) -> str:
    """A floating point number in every database: without an exponent some would take it for a decimal of many
    digits."""
    text = repr(number)
    return text if "e" in text else f"{text}E0"
