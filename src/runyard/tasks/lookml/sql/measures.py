"""What a measure's type makes of its SQL. Called by `compiler`; aggregates that count each key once are in
`symmetric`.

`percent_of_total`, `percent_of_previous` and `running_total` are their inner measure here: the rest is worked
out on the rows (`results`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runyard.tasks.lookml.language.model import Field
from runyard.tasks.lookml.language.references import filter_items as filter_items
from runyard.tasks.lookml.language.tree import Node
from runyard.tasks.lookml.sql import filters, symmetric
from runyard.tasks.lookml.sql.dialects import Dialect, type_name
from runyard.tasks.lookml.sql.dimensions import moment
from runyard.tasks.lookml.sql.expressions import Expression, Unresolved, joined
from runyard.tasks.lookml.sql.filter_text import BadFilter

if TYPE_CHECKING:
    from runyard.tasks.lookml.sql.compiler import FieldCompiler

_AGGREGATES_WORDS = """
    count count_distinct sum sum_distinct average average_distinct min max median median_distinct percentile percentile_distinct list
"""
AGGREGATES = frozenset(_AGGREGATES_WORDS.split())
"""Types that aggregate; they may refer to dimensions only."""
CALCULATED = frozenset({"number", "string", "yesno", "int", "date", "date_time"})
POST_QUERY = frozenset({"percent_of_total", "percent_of_previous", "running_total"})
KEYED = frozenset({"count", "sum", "average", "median", "percentile"})
"""Types that need a primary key when rows are multiplied; the others do not change with repetition (or name
their own key)."""


def measure(compiler: FieldCompiler, alias: str, wanted: Field) -> Expression:
    """The aggregate as it stands in a SELECT list."""
    kind = wanted.type
    if kind in CALCULATED or kind in POST_QUERY:
        found = compiler.sql(alias, wanted)
        return found.wrapped("CAST(", " AS DATE)") if kind == "date" else found
    if kind == "period_over_period":
        return compiler.field(*based_on(compiler, alias, wanted))
    if kind not in AGGREGATES:
        raise _refuse(wanted, f'a measure of type "{kind}" is not compiled to SQL here')
    test = _filter(compiler, alias, wanted)
    if kind == "count":
        return _count(compiler, alias, wanted, test)
    x = _operand(compiler, alias, wanted)
    kept = joined("CASE WHEN ", test, " THEN ", x, " END") if test else x
    bare = kind.removesuffix("_distinct")
    is_fanned = kind in KEYED and alias in compiler.context.fanned
    if is_fanned or (kind.endswith("_distinct") and kind != "count_distinct"):
        named = wanted.node.get("sql_distinct_key") is not None and not is_fanned
        key = compiler.raw(alias, wanted, "sql_distinct_key") if named else _key(compiler, alias, wanted)
        return symmetric.aggregate(bare, kept, key, _rank(wanted), compiler.context.dialect)
    return _simple(kind, kept, wanted, compiler.context.dialect)


def based_on(compiler: FieldCompiler, alias: str, wanted: Field) -> tuple[str, Field]:
    """(alias, measure) that a period_over_period compares."""
    node = wanted.node.get("based_on")
    if node is None:
        raise _refuse(wanted, f'"{wanted.id}" of type period_over_period has no based_on')
    found = compiler.lookup(node.value, alias, node, wanted.view)
    if found[1].kind != "measure" or found[1].type == "period_over_period":
        raise _refuse(wanted, f'based_on of "{wanted.id}" is not a plain measure')
    return found


def _operand(compiler: FieldCompiler, alias: str, wanted: Field) -> Expression:
    listed = wanted.node.get("list_field") if wanted.type == "list" else None
    if listed is not None:
        return compiler.field(*compiler.lookup(listed.value, alias, listed, wanted.view))
    return compiler.sql(alias, wanted)


def _rank(wanted: Field) -> str:
    """The percentile as a share."""
    if not wanted.type.startswith("percentile"):
        return "0.5"
    text = wanted.node.text("percentile", "50")
    try:
        share = float(text) / 100
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise _refuse(wanted, f'percentile "{text}" of "{wanted.id}" is not a number from 0 to 100')
    return repr(round(share, 12))


def _simple(kind: str, x: Expression, wanted: Field, dialect: Dialect) -> Expression:
    match kind:
        case "count_distinct":
            return x.wrapped("COUNT(DISTINCT ", ")")
        case "sum":
            return x.wrapped("COALESCE(SUM(", "), 0)")
        case "average":
            return x.wrapped("AVG(", ")")
        case "min" | "max":
            return x.wrapped(f"{kind.upper()}(", ")")
        case "list":
            return _list(x, dialect)
    if dialect == "bigquery":
        return x.wrapped("APPROX_QUANTILES(", f", 1000)[OFFSET({round(float(_rank(wanted)) * 1000)})]")
    return x.wrapped(f"PERCENTILE_CONT({_rank(wanted)}) WITHIN GROUP (ORDER BY ", ")")


def _list(x: Expression, dialect: Dialect) -> Expression:
    """Distinct values in order, in one text."""
    if dialect in ("redshift", "snowflake"):
        text = x.wrapped("CAST(", " AS VARCHAR)")
        return joined("LISTAGG(DISTINCT ", text, ", '|RECORD|') WITHIN GROUP (ORDER BY ", text, ")")
    text = x.wrapped("CAST(", f" AS {type_name('VARCHAR', dialect)})")
    return joined("STRING_AGG(DISTINCT ", text, ", '|RECORD|' ORDER BY ", text, ")")


def _count(compiler: FieldCompiler, alias: str, wanted: Field, test: Expression | None) -> Expression:
    if alias in compiler.context.fanned:
        key = _key(compiler, alias, wanted)
        return joined(
            "COUNT(DISTINCT ", joined("CASE WHEN ", test, " THEN ", key, " END") if test else key, ")"
        )
    if alias != compiler.context.explore.alias and wanted.view.primary_key is not None:
        # A joined view's rows may be missing (LEFT JOIN): they are not counted, as in Looker, which counts
        # the key.
        key = _key(compiler, alias, wanted)
        return joined("COUNT(", joined("CASE WHEN ", test, " THEN ", key, " END") if test else key, ")")
    return joined("COUNT(CASE WHEN ", test, " THEN 1 END)") if test else joined("COUNT(*)")


def _key(compiler: FieldCompiler, alias: str, wanted: Field) -> Expression:
    key = wanted.view.primary_key
    if key is None:
        raise _refuse(
            wanted, f'"{wanted.id}" is multiplied by a join, and view "{wanted.view.name}" has no primary_key'
        )
    return compiler.field(alias, key)


def _filter(compiler: FieldCompiler, alias: str, wanted: Field) -> Expression | None:
    """The measure's own filters in one condition."""
    parts: list[Expression | str] = []
    for name, text, node in filter_items(wanted.node):
        there_alias, there = compiler.lookup(name, alias, node, wanted.view)
        parts += [" AND ", "(", tested(compiler, there_alias, there, text, node), ")"]
    return joined(*parts[1:]) if parts else None


def tested(compiler: FieldCompiler, alias: str, field: Field, text: str, node: Node) -> Expression:
    """A filter expression put on a field; Unresolved at `node` when it is not of the field's grammar."""
    x = moment(compiler, alias, field) if filters.is_raw_date(field) else compiler.field(alias, field)
    if alias not in x.aliases:
        x = Expression(x.pieces, x.aliases | {alias}, x.tables)
    try:
        return filters.condition(
            x, filters.kind_of(field), text, compiler.context.setting, compiler.context.dialect
        )
    except BadFilter as problem:
        raise Unresolved(f"filter on {alias}.{field.name}: {problem}", node.file.path, node.line) from None


def _refuse(wanted: Field, message: str) -> Unresolved:
    return Unresolved(message, wanted.node.file.path, wanted.node.line)
