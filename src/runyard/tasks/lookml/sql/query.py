"""One SQL query for fields of an explore, with joins, derived tables and a source map. Used by the SQL validator and `lookml sql`.

`build` pulls in exactly the joins that the fields need; `Query.locate` leads from a place in the SQL back to the LookML.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from runyard.tasks.lookml.language.model import Field, Join, View
from runyard.tasks.lookml.language.tree import Node
from runyard.tasks.lookml.sql.compiler import Context, FieldCompiler
from runyard.tasks.lookml.sql.expressions import Expression, Piece, Unresolved, joined, plain, quoted
from runyard.tasks.lookml.sql.joins import fanned, needed, on
from runyard.tasks.lookml.sql.native import native_sql

Wanted = tuple[str, Field]
"""(alias, field)"""


@dataclass(frozen=True)
class Query:
    """SQL and the pieces it was made of, by start offset."""

    sql: str
    starts: Sequence[int]
    pieces: Sequence[Piece]
    columns: tuple[str, ...] = ()

    def locate(self, offset: int) -> Piece | None:
        """The LookML that made the SQL at this offset, its line moved on by the lines between; None for our own text."""
        index = bisect_right(self.starts, offset) - 1
        if index < 0:
            return None
        piece = self.pieces[index]
        if not piece.file:
            # Our own text stands between pieces of the same field; the nearest one before it on the same line is where to look.
            return None
        inside = self.sql[self.starts[index] : min(offset, self.starts[index] + len(piece.text))]
        return replace(piece, line=piece.line + inside.count("\n"))

    def offset(self, line: int, column: int) -> int:
        """The offset of a line and column of the SQL, both from 1."""
        at = 0
        for _ in range(line - 1):
            at = self.sql.find("\n", at) + 1
        return at + max(0, column - 1)


def build(context: Context, wanted: Sequence[Wanted], limit: int | None = None) -> Query:
    """A SELECT of these fields that can be run. Raises Unresolved when one of them has no SQL."""
    context = replace(context, selected=frozenset(f"{a}.{f.name}" for a, f in wanted))
    compiler = FieldCompiler(context)
    columns = [compiler.selected(a, f) for a, f in wanted]
    joins = needed(compiler, columns)
    multiplied = fanned(compiler, joins)
    if any(f.kind == "measure" for _, f in wanted) and multiplied:
        compiler = FieldCompiler(replace(context, fanned=multiplied))
        columns = [compiler.selected(a, f) for a, f in wanted]
    return _assemble(compiler, list(zip(wanted, columns, strict=True)), joins, "", limit)


def probe(compiler: FieldCompiler, wanted: Sequence[Wanted], joins: Sequence[Join] | None = None) -> Query:
    """The validator's query: `wanted` without ever a row. With `joins` given: exactly these joins, whether a field needs them or not."""
    columns = [compiler.selected(a, f) for a, f in wanted]
    chosen = needed(compiler, columns) if joins is None else list(joins)
    return _assemble(compiler, list(zip(wanted, columns, strict=True)), chosen, "1=2", 0)


def _assemble(
    compiler: FieldCompiler,
    columns: list[tuple[Wanted, Expression]],
    joins: Sequence[Join],
    where: str,
    limit: int | None,
) -> Query:
    """SELECT … FROM … JOIN … WHERE … GROUP BY … LIMIT, with WITH in front."""
    parts: list[Expression | str] = ["SELECT\n  "]
    for index, ((alias, field), column) in enumerate(columns):
        parts += [",\n  " if index else "", column, f' AS "{_label(alias, field)}"']
    if not columns:
        parts.append("1 AS probe")
    parts += ["\nFROM ", _from(compiler)]
    parts += [_join(compiler, join) for join in joins]
    tests = _tests(compiler, joins)
    conditions: list[Expression | str] = []
    for test in ([plain(where)] if where else []) + tests:
        conditions += ["\n  AND " if conditions else "", "(", test, ")"]
    if conditions:
        parts += ["\nWHERE ", *conditions]
    grouped = [str(i) for i, ((_, f), _) in enumerate(columns, 1) if f.kind == "dimension"]
    if grouped and not compiler.context.explore.node.is_yes("cancel_grouping_fields"):
        parts.append(f"\nGROUP BY {', '.join(grouped)}")
    if limit is not None:
        parts.append(f"\nLIMIT {limit}")
    body = joined(*parts)
    whole = joined(*_with(compiler, body.tables), body)
    return _query(whole, tuple(_label(a, f) for (a, f), _ in columns))


def _label(alias: str, field: Field) -> str:
    return f"{alias}.{field.name}".replace('"', '""')


def _query(whole: Expression, columns: tuple[str, ...]) -> Query:
    starts, at = [], 0
    for piece in whole.pieces:
        starts.append(at)
        at += len(piece.text)
    return Query(whole.text, starts, whole.pieces, columns)


def _from(compiler: FieldCompiler) -> Expression:
    explore = compiler.context.explore
    named = explore.node.get("sql_table_name")
    view = explore.views.get(explore.alias)
    if named is not None:
        table = compiler.expand(named, explore.alias, explore.name, view)
    elif view is None:
        message = f'unknown view "{explore.view_name}" of explore "{explore.name}"'
        raise Unresolved(message, explore.node.file.path, explore.node.line)
    else:
        table = compiler.table(view, explore.alias)
    return joined(table, f" AS {quoted(explore.alias)}")


_JOIN_WORDS = {
    "left_outer": "LEFT JOIN",
    "inner": "INNER JOIN",
    "full_outer": "FULL OUTER JOIN",
    "cross": "CROSS JOIN",
}


def _join(compiler: FieldCompiler, join: Join) -> Expression:
    """One join clause; a raw `sql:` join (UNNEST and the like) stands as written."""
    raw = join.node.get("sql")
    if raw is not None:
        return joined(
            "\n", compiler.expand(raw, join.alias, join.alias, compiler.context.explore.views.get(join.alias))
        )
    view = compiler.context.explore.views.get(join.alias)
    if view is None:
        raise Unresolved(
            f'unknown view "{join.view_name}" of join "{join.alias}"', join.node.file.path, join.node.line
        )
    words = _JOIN_WORDS.get(join.type)
    if words is None:
        raise Unresolved(f'unknown join type "{join.type}"', join.node.file.path, join.node.line)
    named = join.node.get("sql_table_name")
    table = (
        compiler.expand(named, join.alias, join.alias, view) if named else compiler.table(view, join.alias)
    )
    clause = joined(f"\n{words} ", table, f" AS {quoted(join.alias)}")
    return clause if join.type == "cross" else joined(clause, " ON ", on(compiler, join))


def _tests(compiler: FieldCompiler, joins: Iterable[Join]) -> list[Expression]:
    """What every query of the explore carries in WHERE."""
    explore = compiler.context.explore
    tests = []
    always = explore.node.get("sql_always_where")
    if always is not None:
        tests.append(compiler.expand(always, explore.alias, explore.name, explore.views.get(explore.alias)))
    for join in joins:
        where = join.node.get("sql_where")
        if where is not None:
            tests.append(compiler.expand(where, join.alias, join.alias, explore.views.get(join.alias)))
    return tests


def _with(compiler: FieldCompiler, tables: frozenset[str]) -> list[Expression | str]:
    """WITH clauses of the derived tables, each after those it reads."""
    order: dict[str, Expression] = {}
    for name in sorted(tables):
        _derive(compiler, name, order, [])
    parts: list[Expression | str] = []
    for name, sql in order.items():
        parts += [", " if parts else "WITH ", f"{quoted(name)} AS (\n", sql, "\n)"]
    return [*parts, "\n"] if parts else []


def _derive(compiler: FieldCompiler, name: str, order: dict[str, Expression], above: list[str]) -> None:
    if name in order:
        return
    view = compiler.context.explore.model.view(name)
    block = view.derived if view else None
    if view is None or block is None:
        return
    if name in above or len(above) > 40:
        chain = " → ".join([*above, name])
        raise Unresolved(f"circular derived tables: {chain}", block.file.path, block.line)
    sql = _derived_sql(compiler, view, block)
    for other in sorted(sql.tables):
        _derive(compiler, other, order, [*above, name])
    order[name] = sql


def _derived_sql(compiler: FieldCompiler, view: View, block: Node) -> Expression:
    raw = block.get("sql")
    if raw is not None:
        return compiler.expand(raw, view.name, view.name, view)
    source = block.get("explore_source")
    if source is not None:
        return native_sql(compiler, view, source, _nested)
    raise Unresolved(
        f'the derived table of "{view.name}" has no sql that can be inlined (sql_create, create_process)',
        block.file.path,
        block.line,
    )


def _nested(context: Context, wanted: Sequence[Wanted]) -> Expression:
    """A whole query as an expression."""
    built = build(context, wanted)
    return Expression(tuple(built.pieces))
