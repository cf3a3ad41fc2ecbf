"""One SQL query for fields of an explore, with joins, filters, derived tables and a source map. Used by the
validators and `lookml sql`.

`build` pulls in exactly the joins that the fields and filters need; `Query.locate` leads from a place in the
SQL back to the LookML.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from runyard.tasks.lookml.language.model import Join
from runyard.tasks.lookml.sql.assembly import Parts, Wanted, assemble, clauses
from runyard.tasks.lookml.sql.compiler import Context, FieldCompiler
from runyard.tasks.lookml.sql.expressions import Expression, Piece, Unresolved, plain
from runyard.tasks.lookml.sql.joins import fanned, needed
from runyard.tasks.lookml.sql.measures import POST_QUERY
from runyard.tasks.lookml.sql.periods import assemble_periods, has_periods
from runyard.tasks.lookml.sql.selection import Filters, chosen

__all__ = ["Query", "Wanted", "build", "probe"]


@dataclass(frozen=True)
class Query:
    """SQL and the pieces it was made of, by start offset.

    `columns` are the fields' names (`alias.field`) in output order; `post` maps a column's index to the type
    that `results.finish` works out on the rows (running_total, percent_of_total, percent_of_previous).
    """

    sql: str
    starts: Sequence[int]
    pieces: Sequence[Piece]
    columns: tuple[str, ...] = ()
    post: Mapping[int, str] = field(default_factory=dict)

    def locate(self, offset: int) -> Piece | None:
        """The LookML that made the SQL at this offset, its line moved on by the lines between; None for our
        own text."""
        index = bisect_right(self.starts, offset) - 1
        if index < 0:
            return None
        piece = self.pieces[index]
        if not piece.file:
            # Our own text stands between pieces of the same field; the nearest one before it on the same line
            # is where to look.
            return None
        inside = self.sql[self.starts[index] : min(offset, self.starts[index] + len(piece.text))]
        return piece._replace(line=piece.line + inside.count("\n"))

    def line_origins(self) -> list[Piece]:
        """For each line of the SQL the first LookML in it; a Piece without a file where the line is all our
        own."""
        found: list[Piece] = []
        at = 0
        for line in self.sql.split("\n"):
            end = at + len(line)
            inside = range(
                max(0, bisect_right(self.starts, at) - 1), bisect_right(self.starts, max(at, end - 1))
            )
            own = (self.locate(max(at, self.starts[i])) for i in inside if self.pieces[i].text.strip())
            found.append(next((p for p in own if p is not None), Piece(line)))
            at = end + 1
        return found

    def offset(self, line: int, column: int) -> int:
        """The offset of a line and column of the SQL, both from 1."""
        at = 0
        for _ in range(line - 1):
            at = self.sql.find("\n", at) + 1
        return at + max(0, column - 1)


def build(
    context: Context,
    wanted: Sequence[Wanted],
    limit: int | None = None,
    *,
    filters: Mapping[str, str] | None = None,
    sorts: Sequence[tuple[str, bool]] = (),
    where: str = "",
) -> Query:
    """A SELECT of these fields that can be run.

    `filters` are filter expressions by `alias.field`: on dimensions they restrict rows, on measures groups,
    on parameters they are the value. `sorts` are (`alias.field`, is_descending) of selected fields. `where`
    is SQL of our own, such as `1=2`. The explore's always_filter, conditionally_filter and access_filter
    apply as in Looker. Raises Unresolved, with file and line, when something has no SQL.
    """
    whole = expression(context, wanted, limit, filters=filters, sorts=sorts, where=where)
    post = {i: f.type for i, (_, f) in enumerate(wanted) if f.kind == "measure" and f.type in POST_QUERY}
    return as_query(whole, tuple(f"{a}.{f.name}" for a, f in wanted), post)


def probe(compiler: FieldCompiler, wanted: Sequence[Wanted], joins: Sequence[Join] | None = None) -> Query:
    """The validator's query: `wanted` without ever a row. With `joins` given: exactly these joins, whether a
    field needs them or not."""
    columns = [compiler.selected(a, f) for a, f in wanted]
    used = needed(compiler, columns) if joins is None else list(joins)
    parts = Parts(list(wanted), columns, used, where=[plain("1=2")], limit=0)
    return as_query(assemble(compiler, parts, _nested), tuple(f"{a}.{f.name}" for a, f in wanted))


def expression(
    context: Context,
    wanted: Sequence[Wanted],
    limit: int | None = None,
    *,
    filters: Mapping[str, str] | None = None,
    sorts: Sequence[tuple[str, bool]] = (),
    where: str = "",
    labels: Sequence[str] | None = None,
) -> Expression:
    """The same as an expression; `labels` name the columns otherwise than `alias.field`."""
    found = chosen(context.explore, dict(filters or {}))
    context = replace(
        context,
        selected=frozenset(f"{a}.{f.name}" for a, f in wanted),
        parameters={**context.parameters, **found.parameters},
        filters=found.texts,
    )
    if has_periods(wanted):
        return assemble_periods(
            context,
            wanted,
            limit,
            sorts,
            labels,
            lambda c, w, names: _single(c, w, None, found, (), where, names),
        )
    return _single(context, wanted, limit, found, sorts, where, labels)


def _single(
    context: Context,
    wanted: Sequence[Wanted],
    limit: int | None,
    found: Filters,
    sorts: Sequence[tuple[str, bool]],
    where: str,
    labels: Sequence[str] | None,
) -> Expression:
    """One SELECT; compiled a second time with symmetric aggregates when its joins repeat rows that measures
    read."""
    compiler = FieldCompiler(context)
    parts = _parts(compiler, wanted, found, where)
    if any(f.kind == "measure" for _, f in [*wanted, *found.measures]):
        multiplied = fanned(compiler, parts.joins)
        if multiplied:
            compiler = FieldCompiler(replace(context, fanned=multiplied))
            parts = _parts(compiler, wanted, found, where)
    return assemble(compiler, replace(parts, limit=limit, sorts=list(sorts), labels=labels), _nested)


def _parts(compiler: FieldCompiler, wanted: Sequence[Wanted], found: Filters, where: str) -> Parts:
    columns = [compiler.selected(a, f) for a, f in wanted]
    tests, having = clauses(compiler, found)
    joins = needed(compiler, [*columns, *tests, *having])
    return Parts(
        list(wanted), columns, joins, where=[*([plain(where)] if where else []), *tests], having=having
    )


def _nested(
    context: Context,
    wanted: Sequence[Wanted],
    labels: Sequence[str],
    filters: Mapping[str, str],
    sorts: Sequence[tuple[str, bool]],
    limit: int | None,
) -> Expression:
    """A whole query as part of another one: a native derived table."""
    bad = next((f for _, f in wanted if f.kind == "measure" and f.type in POST_QUERY), None)
    if bad is not None:
        message = f'"{bad.id}" of type {bad.type} is worked out after the query and cannot be a column of a derived table'
        raise Unresolved(message, bad.node.file.path, bad.node.line)
    inner = expression(context, wanted, limit, filters=filters, sorts=sorts, labels=labels)
    return Expression(inner.pieces)


def as_query(whole: Expression, columns: tuple[str, ...], post: Mapping[int, str] | None = None) -> Query:
    """The text with the offsets of its pieces."""
    starts, at = [], 0
    for piece in whole.pieces:
        starts.append(at)
        at += len(piece.text)
    return Query(whole.text, starts, whole.pieces, columns, post or {})
