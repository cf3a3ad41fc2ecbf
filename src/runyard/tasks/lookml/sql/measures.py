"""What a measure's type makes of its SQL, with symmetric aggregates where joins multiply rows. Called by `compiler`.

When the query's joins fan a view out (`Context.fanned`), its aggregates count each primary key once. DuckDB: over a list of distinct
(key, value) pairs; PostgreSQL: the distinct sum of value plus a hash of the key, minus the hashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runyard.tasks.lookml.language.model import Field
from runyard.tasks.lookml.language.tree import Kind, Node
from runyard.tasks.lookml.sql import filters
from runyard.tasks.lookml.sql.expressions import Expression, Unresolved, filled, joined, literal

if TYPE_CHECKING:
    from runyard.tasks.lookml.sql.compiler import FieldCompiler

_AGGREGATES_WORDS = """
    count count_distinct sum sum_distinct average average_distinct min max median percentile list date
"""
AGGREGATES = frozenset(_AGGREGATES_WORDS.split())
"""Types that aggregate; they may refer to dimensions only."""
CALCULATED = frozenset({"number", "string", "yesno"})
KEYED = frozenset({"count", "sum", "average"})
"""Types that need a primary key when rows are multiplied; the others do not change with repetition (or name their own key)."""

_PG_HASH = "(('x' || MD5(CAST(\1 AS VARCHAR)))::bit(64)::bigint::DECIMAL(65, 0) * 18446744073709551616 + ('x' || SUBSTR(MD5(CAST(\1 AS VARCHAR)), 17))::bit(64)::bigint::DECIMAL(65, 0))"


def measure(compiler: FieldCompiler, alias: str, wanted: Field) -> Expression:
    """The aggregate as it stands in a SELECT list."""
    kind = wanted.type
    if kind in CALCULATED:
        return compiler.sql(alias, wanted)
    if kind not in AGGREGATES:
        raise _refuse(wanted, f'a measure of type "{kind}" is not compiled to SQL here')
    test = _filter(compiler, alias, wanted)
    if kind == "count":
        return _count(compiler, alias, wanted, test)
    listed = wanted.node.get("list_field") if kind == "list" else None
    x = (
        compiler.field(*compiler.lookup(listed.value, alias, listed, wanted.view))
        if listed
        else compiler.sql(alias, wanted)
    )
    kept = joined("CASE WHEN ", test, " THEN ", x, " END") if test else x
    if kind.endswith("_distinct") and kind != "count_distinct":
        return _keyed(
            compiler, kind.removesuffix("_distinct"), kept, compiler.raw(alias, wanted, "sql_distinct_key")
        )
    if kind in KEYED and alias in compiler.context.fanned:
        return _keyed(compiler, kind, kept, _key(compiler, alias, wanted))
    return _simple(compiler, kind, kept, wanted)


def _simple(compiler: FieldCompiler, kind: str, x: Expression, wanted: Field) -> Expression:
    match kind:
        case "count_distinct":
            return x.wrapped("COUNT(DISTINCT ", ")")
        case "sum":
            return x.wrapped("COALESCE(SUM(", "), 0)")
        case "average":
            return x.wrapped("AVG(", ")")
        case "min" | "max":
            return x.wrapped(f"{kind.upper()}(", ")")
        case "date":
            return x
        case "list":
            return x.wrapped("STRING_AGG(DISTINCT CAST(", " AS VARCHAR), '|RECORD|')")
    rank = "0.5"
    if kind == "percentile":
        rank = str(float(wanted.node.text("percentile", "50")) / 100)
    return x.wrapped(f"PERCENTILE_CONT({rank}) WITHIN GROUP (ORDER BY ", ")")


def _count(compiler: FieldCompiler, alias: str, wanted: Field, test: Expression | None) -> Expression:
    if alias in compiler.context.fanned:
        key = _key(compiler, alias, wanted)
        return joined(
            "COUNT(DISTINCT ", joined("CASE WHEN ", test, " THEN ", key, " END") if test else key, ")"
        )
    return joined("COUNT(CASE WHEN ", test, " THEN 1 END)") if test else joined("COUNT(*)")


def _key(compiler: FieldCompiler, alias: str, wanted: Field) -> Expression:
    key = wanted.view.primary_key
    if key is None:
        raise _refuse(
            wanted, f'"{wanted.id}" is multiplied by a join, and view "{wanted.view.name}" has no primary_key'
        )
    return compiler.field(alias, key)


def _keyed(compiler: FieldCompiler, kind: str, x: Expression, key: Expression) -> Expression:
    """A sum or average over one value per key."""
    marks = {"\0": x, "\1": key}
    if kind not in ("sum", "average"):
        raise Unresolved(f'"{kind}_distinct" is not compiled to SQL here', "", 0)
    if compiler.context.dialect == "duckdb":
        total = filled("list_sum(list_transform(list(DISTINCT {'k': \1, 'v': \0}), lambda s: s.v))", marks)
    else:
        value = "CAST(FLOOR(COALESCE(\0, 0) * (1000000 * 1.0)) AS DECIMAL(65, 0))"
        total = filled(
            f"((SUM(DISTINCT {value} + {_PG_HASH}) - SUM(DISTINCT {_PG_HASH})) / 1000000.0)", marks
        )
    if kind == "sum":
        return total.wrapped("COALESCE(", ", 0)")
    return joined(total, filled(" / NULLIF(COUNT(DISTINCT CASE WHEN \0 IS NOT NULL THEN \1 END), 0)", marks))


def filter_items(node: Node) -> list[tuple[str, str, Node]]:
    """(field, expression, node) of both forms: `filters: [f: "x"]` and `filters: { field: f value: "x" }`."""
    found = []
    for block in node.all("filters"):
        if block.kind is Kind.LIST:
            found += [(i.key, i.value, i) for i in block.children if i.key]
        elif block.get("field"):
            found.append((block.text("field"), block.text("value"), block))
    return found


def _filter(compiler: FieldCompiler, alias: str, wanted: Field) -> Expression | None:
    parts: list[Expression | str] = []
    for name, text, node in filter_items(wanted.node):
        there_alias, there = compiler.lookup(name, alias, node, wanted.view)
        kind = "date" if there.part else there.type
        found = (
            filters.condition(compiler.field(there_alias, there), kind, text)
            if filters.is_supported(kind)
            else None
        )
        if found is None:
            raise Unresolved(
                f"the filter expression {literal(text)} on {name} is not compiled to SQL here",
                node.file.path,
                node.line,
            )
        parts += [" AND ", "(", found, ")"]
    return joined(*parts[1:]) if parts else None


def _refuse(wanted: Field, message: str) -> Unresolved:
    return Unresolved(message, wanted.node.file.path, wanted.node.line)
