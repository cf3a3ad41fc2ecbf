"""Puts a SELECT together: WITH, columns, FROM, joins, WHERE, GROUP BY, HAVING, ORDER BY, LIMIT. Called by
`query` and `periods`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runyard.tasks.lookml.language.model import Explore, Field, Join, View
from runyard.tasks.lookml.language.tree import Node
from runyard.tasks.lookml.sql.compiler import Context, FieldCompiler
from runyard.tasks.lookml.sql.dimensions import moment
from runyard.tasks.lookml.sql.expressions import Expression, Unresolved, joined, label
from runyard.tasks.lookml.sql.filter_dates import moment as literal_moment
from runyard.tasks.lookml.sql.joins import on
from runyard.tasks.lookml.sql.measures import tested
from runyard.tasks.lookml.sql.native import native_sql
from runyard.tasks.lookml.sql.selection import Filters

Wanted = tuple[str, Field]
"""(alias, field)"""
Sorts = Sequence[tuple[str, bool]]
Nested = Callable[
    [Context, Sequence[Wanted], Sequence[str], Mapping[str, str], Sorts, int | None], Expression
]
"""Builds the query of a native derived table: (context, fields, labels, filters, sorts, limit)."""


@dataclass(frozen=True)
class Parts:
    """What a SELECT is made of."""

    wanted: list[Wanted]
    columns: list[Expression]
    joins: list[Join]
    where: list[Expression] = field(default_factory=list)
    having: list[Expression] = field(default_factory=list)
    sorts: Sorts = ()
    limit: int | None = None
    labels: Sequence[str] | None = None


def clauses(compiler: FieldCompiler, filters: Filters) -> tuple[list[Expression], list[Expression]]:
    """The conditions of the query's filters and the explore's access filters: (on rows, on groups)."""
    rows: list[Expression] = []
    groups: list[Expression] = []
    for one in filters.items:
        if one.field.kind == "filter":
            # A filter-only field restricts through templates; its own `sql`, if any, is the condition that it
            # adds.
            node = one.field.node.get("sql")
            if node is not None:
                rows.append(compiler.expand(node, one.alias, one.field.id, one.field.view))
            continue
        test = tested(compiler, one.alias, one.field, one.text, one.node)
        (groups if one.field.kind == "measure" else rows).append(test)
    for alias, time in compiler.context.until_now:
        rows.append(moment(compiler, alias, time).wrapped("", f" < {literal_moment(compiler.context.now)}"))
    explore = compiler.context.explore
    for block in explore.node.all("access_filter"):
        rows += _access(compiler, explore, block)
    return rows, groups


def _access(compiler: FieldCompiler, explore: Explore, block: Node) -> list[Expression]:
    """The rows that the user's attribute lets through; a run without that attribute sees all."""
    value = compiler.context.user_attributes.get(block.text("user_attribute"), "")
    name = block.get("field")
    if not value or name is None:
        return []
    alias, wanted = compiler.lookup(name.value, explore.alias, name, explore.views.get(explore.alias))
    return [tested(compiler, alias, wanted, value, block)]


def assemble(compiler: FieldCompiler, parts: Parts, nested: Nested) -> Expression:
    """The whole SELECT, with the derived tables it reads in WITH."""
    body = select(compiler, parts)
    return joined(*with_clause(compiler, body.tables, nested), body)


def select(compiler: FieldCompiler, parts: Parts) -> Expression:
    """The SELECT without WITH."""
    out: list[Expression | str] = ["SELECT\n  "]
    names = _names(compiler, parts)
    for index, (name, column) in enumerate(zip(names, parts.columns, strict=True)):
        out += [",\n  " if index else "", column, f" AS {name}"]
    if not parts.columns:
        out.append("1 AS probe")
    out += ["\nFROM ", _from(compiler)]
    out += [_join(compiler, join) for join in parts.joins]
    out += _conditions("WHERE", [*parts.where, *_own_tests(compiler, parts.joins)])
    grouped = [str(i) for i, (_, f) in enumerate(parts.wanted, 1) if f.kind == "dimension"]
    explore = compiler.context.explore
    if grouped and not explore.node.is_yes("cancel_grouping_fields"):
        out.append(f"\nGROUP BY {', '.join(grouped)}")
    always = explore.node.get("sql_always_having")
    having = [
        *parts.having,
        *(
            [compiler.condition(always)]
            if always and any(f.kind == "measure" for _, f in parts.wanted)
            else []
        ),
    ]
    out += _conditions("HAVING", having)
    out += _order(compiler, parts)
    if parts.limit is not None:
        out.append(f"\nLIMIT {parts.limit}")
    return joined(*out)


def _names(compiler: FieldCompiler, parts: Parts) -> list[str]:
    if parts.labels is not None:
        return [compiler.name(n) for n in parts.labels]
    return [label(a, f.name, compiler.context.dialect) for a, f in parts.wanted]


def _conditions(word: str, tests: Sequence[Expression]) -> list[Expression | str]:
    out: list[Expression | str] = [f"\n{word} "] if tests else []
    for index, test in enumerate(tests):
        out += ["\n  AND " if index else "", "(", test, ")"]
    return out


def _order(compiler: FieldCompiler, parts: Parts) -> list[Expression | str]:
    """ORDER BY positions; a dimension with order_by_field sorts by that field's smallest value within the
    group."""
    out: list[Expression | str] = []
    explore = compiler.context.explore
    for name, is_descending in parts.sorts:
        full = name if "." in name else f"{explore.alias}.{name}"
        index = next((i for i, (a, f) in enumerate(parts.wanted) if f"{a}.{f.name}" == full), -1)
        if index < 0:
            raise Unresolved(
                f'the sort "{name}" is not among the selected fields',
                explore.node.file.path,
                explore.node.line,
            )
        alias, wanted = parts.wanted[index]
        other = wanted.node.get("order_by_field")
        by: Expression | str = str(index + 1)
        if other is not None:
            there = compiler.field(*compiler.lookup(other.value, alias, other, wanted.view))
            by = there.wrapped("MIN(", ")")
        out += [", " if out else "\nORDER BY ", by, " DESC" if is_descending else ""]
    return out


def _from(compiler: FieldCompiler) -> Expression:
    explore = compiler.context.explore
    named = explore.node.get("sql_table_name")
    view = explore.views.get(explore.alias)
    if named is not None:
        table = compiler.expand(named, explore.alias, explore.name, view, "table")
    elif view is None:
        message = f'unknown view "{explore.view_name}" of explore "{explore.name}"'
        raise Unresolved(message, explore.node.file.path, explore.node.line)
    else:
        table = compiler.table(view, explore.alias)
    return joined(table, f" AS {compiler.name(explore.alias)}")


_JOIN_WORDS = {
    "left_outer": "LEFT JOIN",
    "inner": "INNER JOIN",
    "full_outer": "FULL OUTER JOIN",
    "cross": "CROSS JOIN",
}


def _join(compiler: FieldCompiler, join: Join) -> Expression:
    """One join clause; a raw `sql:` join (UNNEST and the like) stands as written."""
    raw = join.node.get("sql")
    view = compiler.context.explore.views.get(join.alias)
    if raw is not None:
        return joined("\n", compiler.expand(raw, join.alias, join.alias, view, "join"))
    if view is None:
        raise Unresolved(
            f'unknown view "{join.view_name}" of join "{join.alias}"', join.node.file.path, join.node.line
        )
    words = _JOIN_WORDS.get(join.type)
    if words is None:
        raise Unresolved(f'unknown join type "{join.type}"', join.node.file.path, join.node.line)
    named = join.node.get("sql_table_name")
    table = (
        compiler.expand(named, join.alias, join.alias, view, "table")
        if named
        else compiler.table(view, join.alias)
    )
    clause = joined(f"\n{words} ", table, f" AS {compiler.name(join.alias)}")
    return clause if join.type == "cross" else joined(clause, " ON ", on(compiler, join))


def _own_tests(compiler: FieldCompiler, joins: Iterable[Join]) -> list[Expression]:
    """What every query of the explore carries in WHERE."""
    explore = compiler.context.explore
    always = explore.node.get("sql_always_where")
    tests = [compiler.condition(always)] if always is not None else []
    for join in joins:
        where = join.node.get("sql_where")
        if where is not None:
            tests.append(compiler.expand(where, join.alias, join.alias, explore.views.get(join.alias)))
    return tests


def with_clause(compiler: FieldCompiler, tables: frozenset[str], nested: Nested) -> list[Expression | str]:
    """WITH clauses of the derived tables, each after those it reads."""
    order: dict[str, Expression] = {}
    for name in sorted(tables):
        _derive(compiler, name, order, [], nested)
    parts: list[Expression | str] = []
    for name, sql in order.items():
        parts += [", " if parts else "WITH ", f"{compiler.name(name)} AS (\n", sql, "\n)"]
    return [*parts, "\n"] if parts else []


def _derive(
    compiler: FieldCompiler, name: str, order: dict[str, Expression], above: list[str], nested: Nested
) -> None:
    if name in order:
        return
    explore = compiler.context.explore
    view = explore.model.view(name)
    block = view.derived if view else None
    if view is None or block is None:
        return
    if name in above or len(above) > 40:
        chain = " → ".join([*above, name])
        raise Unresolved(f"circular derived tables: {chain}", block.file.path, block.line)
    sql = _derived_sql(compiler, view, block, nested)
    for other in sorted(sql.tables):
        _derive(compiler, other, order, [*above, name], nested)
    order[name] = sql


def _derived_sql(compiler: FieldCompiler, view: View, block: Node, nested: Nested) -> Expression:
    raw = block.get("sql")
    if raw is not None:
        return compiler.expand(raw, view.name, view.name, view, "query")
    source = block.get("explore_source")
    if source is not None:
        return native_sql(compiler, view, source, nested)
    raise Unresolved(
        f'the derived table of "{view.name}" has no sql that can be inlined (sql_create, create_process)',
        block.file.path,
        block.line,
    )
