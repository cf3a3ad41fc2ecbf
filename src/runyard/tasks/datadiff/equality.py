"""When two values differ, as SQL: one boolean expression per compared column, in the words of the database's
grammar.

Floats: NaN equals NaN and -0 equals 0 in the databases already. Times with a zone are instants. Unequal
values get a second look where a tolerance, a time precision or a rule was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from runyard.tasks.datadiff.grammar import Grammar
from runyard.tasks.datadiff.kinds import NUMBERS, STRINGS, Column, Kind, datatype_name
from runyard.tasks.datadiff.pairing import Pair
from runyard.tasks.datadiff.spec import Spec, Tolerance

A, B = "{a}", "{b}"
_WIDE = frozenset(
    {"VARCHAR", "HUGEINT", "UHUGEINT"}
)  # numbers that no DECIMAL holds are compared by their canonical text


def comparable(pair: Pair, raw: tuple[str, str], spec: Spec, grammar: Grammar) -> tuple[str, str]:
    """Both values in the forms whose inequality means a difference."""
    kinds = frozenset({pair.a.kind, pair.b.kind})
    a, b = (
        _comparable(column, value, spec, grammar, kinds)
        for column, value in zip((pair.a, pair.b), raw, strict=True)
    )
    return _across(pair, kinds, a, b) if grammar.name == "duckdb" else (a, b)


def differs(pair: Pair, index: int, spec: Spec, grammar: Grammar) -> str:
    """A boolean expression (never NULL) over a.c<index> and b.c<index>."""
    raw = f"a.c{index}", f"b.c{index}"
    a, b = comparable(pair, raw, spec, grammar)
    plain = grammar.differ(a, b)
    second = list(_second_looks(pair, spec, grammar, raw, (a, b)))
    if not second:
        return plain
    return f"({plain} AND NOT coalesce({' OR '.join(f'({s})' for s in second)}, false))"


def _across(pair: Pair, kinds: frozenset[Kind], a: str, b: str) -> tuple[str, str]:
    """Columns that were fetched: a number too wide for a DECIMAL came as text; MySQL has no booleans but
    small integers."""
    if kinds <= {Kind.DECIMAL, Kind.INTEGER} and {pair.a.exact, pair.b.exact} & _WIDE and pair.a != pair.b:
        return _number_text(a), _number_text(b)
    if kinds == {Kind.BOOLEAN, Kind.INTEGER}:
        return f"({a})::INTEGER", f"({b})::INTEGER"
    if Kind.UUID in kinds and len(kinds) > 1:
        return f"lower(({a})::VARCHAR)", f"lower(({b})::VARCHAR)"
    return a, b


def _number_text(value: str) -> str:
    """The canonical text of a number: PostgreSQL's numeric without precision was fetched so, being wider than
    any DECIMAL."""
    plain = f"({value})::VARCHAR"
    return f"CASE WHEN contains({plain}, '.') THEN rtrim(rtrim({plain}, '0'), '.') ELSE {plain} END"


def _comparable(column: Column, value: str, spec: Spec, grammar: Grammar, kinds: frozenset[Kind]) -> str:
    if column.kind is Kind.ARRAY and spec.sort_arrays:
        return grammar.sorted_array(value, column)
    if column.kind in STRINGS and spec.ignore_case:
        value = grammar.lowered(value)
    value = grammar.comparable(value, column, kinds)
    if column.kind in STRINGS and spec.null_is_empty:
        value = f"coalesce({value}, '')"
    return value


def _second_looks(
    pair: Pair, spec: Spec, grammar: Grammar, raw: tuple[str, str], values: tuple[str, str]
) -> Iterator[str]:
    """Conditions under which unequal values count as equal all the same."""
    tolerance = _tolerance(pair, spec)
    if tolerance is not None and pair.a.kind in NUMBERS:
        yield _within(tolerance, *values)
    if spec.datetime_digits is not None and {pair.a.kind, pair.b.kind} <= {Kind.TIMESTAMP, Kind.ZONED}:
        a, b = values
        span = 10 ** (6 - spec.datetime_digits)
        # ±infinity cannot be subtracted; the CASE keeps the database from trying
        yield (
            f"CASE WHEN {grammar.finite(a)} AND {grammar.finite(b)} "
            f"THEN abs({grammar.microseconds(a)} - {grammar.microseconds(b)}) < {span} END"
        )
    for rule in spec.rules:
        named = rule.column.casefold() in (pair.name.casefold(), pair.b.name.casefold())
        if named if rule.column else rule.type == datatype_name(pair.a):
            yield rule.equal_if.replace(A, raw[0]).replace(B, raw[1])


def _tolerance(pair: Pair, spec: Spec) -> Tolerance | None:
    """A column's own, then its type's, then the general one for floats."""
    named = next((t for n, t in spec.tolerances.items() if n.casefold() == pair.name.casefold()), None)
    general = spec.tolerance if Kind.FLOAT in (pair.a.kind, pair.b.kind) else None
    return named or spec.tolerances_by_type.get(pair.a.kind.value) or general


def _within(tolerance: Tolerance, a: str, b: str) -> str:
    span = repr(float(tolerance.value))
    if tolerance.mode == "relative":
        span = f"({span} * abs({a}))"
    return f"{b} BETWEEN {a} - {span} AND {a} + {span}"  # not abs(a-b): that overflows where this does not
