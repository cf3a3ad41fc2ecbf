"""When two values differ, as SQL. One expression per column; both databases understand what is written here.

Floats: NaN equals NaN and -0 equals 0 in both databases already. PostgreSQL's char(n) ignores trailing blanks by itself. Times with a zone are
instants in both. json has no equality in PostgreSQL, so jsonb stands in; other types without one are compared by their text.
"""

from __future__ import annotations

from collections.abc import Callable

from runyard.tasks.datadiff.kinds import NUMBERS, Column, Kind
from runyard.tasks.datadiff.pairing import Pair
from runyard.tasks.datadiff.spec import Spec, Tolerance

# typname → no operator class, or `=` compares something else (boxes by area)
_BY_TEXT = frozenset(
    {"xml", "point", "polygon", "path", "line", "lseg", "box", "circle", "_json", "_xml", "refcursor"}
)
_STRINGS = frozenset({Kind.STRING, Kind.FIXED})


def differs(pair: Pair, index: int, spec: Spec, dialect: str) -> str:
    """A boolean expression (never NULL) over a.c<index> and b.c<index>."""
    kinds = {pair.a.kind, pair.b.kind}
    a, b = (
        _comparable(column, f"{side}.c{index}", spec, dialect, kinds)
        for side, column in (("a", pair.a), ("b", pair.b))
    )
    if dialect == "duckdb" and kinds == {Kind.DECIMAL} and "VARCHAR" in (pair.a.exact, pair.b.exact):
        a, b = _number_text(a), _number_text(b)
    if dialect == "postgres" and pair.a.kind is Kind.STRING and pair.a.base != "citext":
        b += ' COLLATE "C"'  # the two columns may be declared with different collations, which would be an error
    plain = f"{a} IS DISTINCT FROM {b}"
    close = _closeness(pair, spec)
    if close is None:
        return plain
    return f"({plain} AND NOT coalesce({close(a, b)}, false))"


def _number_text(value: str) -> str:
    """The canonical text of a number: PostgreSQL's numeric without precision was fetched so, being wider than any DECIMAL."""
    plain = f"({value})::VARCHAR"
    return f"CASE WHEN contains({plain}, '.') THEN rtrim(rtrim({plain}, '0'), '.') ELSE {plain} END"


def _comparable(column: Column, value: str, spec: Spec, dialect: str, kinds: set[Kind]) -> str:
    if dialect == "postgres":
        if column.base == "json":
            return f"{value}::jsonb"
        if column.base in _BY_TEXT:
            return f"{value}::text"
    if column.kind in _STRINGS:
        if Kind.FIXED in kinds and dialect == "duckdb":
            value = f"rtrim({value}, ' ')"  # char(n) was fetched; its blanks mean nothing
        if spec.ignore_case:
            value = f"lower({value})"
        if spec.null_is_empty:
            value = f"coalesce({value}, '')"
    if column.kind is Kind.ARRAY and spec.sort_arrays:
        if dialect == "duckdb":
            return f"list_sort({value})"
        return f"(CASE WHEN {value} IS NULL THEN NULL ELSE ARRAY(SELECT unnest({value}) ORDER BY 1) END)"
    return value


def _closeness(pair: Pair, spec: Spec) -> Callable[[str, str], str] | None:
    """A second look at unequal values: within the tolerance asked for?"""
    named = next((t for n, t in spec.tolerances.items() if n.casefold() == pair.name.casefold()), None)
    tolerance = named or (spec.tolerance if pair.a.kind is Kind.FLOAT else None)
    if tolerance is not None and pair.a.kind in NUMBERS:
        return lambda a, b: _within(tolerance, a, b)
    if spec.datetime_digits is not None and pair.a.kind in (Kind.TIMESTAMP, Kind.ZONED):
        span = f"{10.0**-spec.datetime_digits:.6f}"
        # ±infinity cannot be subtracted; the CASE keeps both databases from trying
        return lambda a, b: (
            f"CASE WHEN isfinite({a}) AND isfinite({b}) THEN abs(extract(epoch FROM {a}) - extract(epoch FROM {b})) < {span} END"
        )
    return None


def _within(tolerance: Tolerance, a: str, b: str) -> str:
    span = repr(float(tolerance.value))
    if tolerance.mode == "relative":
        span = f"({span} * abs({a}))"
    return f"{b} BETWEEN {a} - {span} AND {a} + {span}"  # not abs(a-b): that overflows where this does not
