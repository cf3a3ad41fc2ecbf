"""Native derived tables: `explore_source` as SQL, with its filters, sorts, limit, bound filters and derived
columns. Called by `assembly`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from runyard.tasks.lookml.language.findings import nearest
from runyard.tasks.lookml.language.model import Explore, Field, View
from runyard.tasks.lookml.language.references import filter_items
from runyard.tasks.lookml.language.tree import Node, items
from runyard.tasks.lookml.sql.compiler import Context, FieldCompiler
from runyard.tasks.lookml.sql.expressions import Expression, Unresolved, joined

MAX_NESTED = 8
Nested = Callable[
    [
        Context,
        Sequence[tuple[str, Field]],
        Sequence[str],
        Mapping[str, str],
        Sequence[tuple[str, bool]],
        int | None,
    ],
    Expression,
]


def native_sql(compiler: FieldCompiler, view: View, source: Node, nested: Nested) -> Expression:
    """SELECT of the source's columns under their own names."""
    context = compiler.context
    model = context.explore.model
    explore = model.explore(source.value)
    if explore is None:
        guess = nearest(source.value, model.explores.roots)
        message = f'unknown explore "{source.value}" in explore_source'
        raise Unresolved(message, source.file.path, source.line, suggestion=guess)
    if context.depth >= MAX_NESTED:
        raise Unresolved("explore_source is nested too deeply, or circular", source.file.path, source.line)
    custom = source.get("expression_custom_filter")
    if custom is not None:
        raise Unresolved("expression_custom_filter is not compiled to SQL", custom.file.path, custom.line)
    wanted, names = _columns(explore, view, source)
    if not wanted:
        raise Unresolved(f'explore_source of "{view.name}" has no column', source.file.path, source.line)
    inner = nested(
        replace(
            context,
            explore=explore,
            depth=context.depth + 1,
            fanned=frozenset(),
            shifts={},
            timezone=source.text("timezone") or context.timezone,
        ),
        wanted,
        names,
        _filters(compiler, explore, source),
        sorts(source),
        limit(source),
    )
    derived = [(d.value, d.get("sql")) for d in source.all("derived_column")]
    parts: list[Expression | str] = []
    for name, sql in derived:
        if sql is not None:
            parts += [", ", compiler.expand(sql, view.name, view.name, view), f" AS {compiler.name(name)}"]
    return joined("SELECT *", *parts, " FROM (\n", inner, "\n) AS columns_of_source") if parts else inner


def _columns(explore: Explore, view: View, source: Node) -> tuple[list[tuple[str, Field]], list[str]]:
    wanted, names = [], []
    for column in source.all("column"):
        reference = column.text("field") or column.value
        field = explore.find(reference)
        if field is None:
            own = explore.views.get(reference.rpartition(".")[0] or explore.alias)
            guess = nearest(reference.rpartition(".")[2], own.fields if own else ())
            message = f'Unknown or inaccessible field "{reference}" in explore_source of "{view.name}".'
            raise Unresolved(message, column.file.path, column.line, suggestion=guess)
        wanted.append((reference.rpartition(".")[0] or explore.alias, field))
        names.append(column.value or field.name)
    return wanted, names


def _filters(compiler: FieldCompiler, explore: Explore, source: Node) -> dict[str, str]:
    """Its own filters, then those of the outer query that are bound to it; the outer value wins, as a bound
    filter's must."""
    found = {
        name if "." in name else f"{explore.alias}.{name}": text for name, text, _ in filter_items(source)
    }
    outer = compiler.context.filters
    if source.is_yes("bind_all_filters"):
        found |= {name: text for name, text in outer.items() if explore.find(name) is not None}
    for bind in source.all("bind_filters"):
        text = outer.get(bind.text("from_field"))
        target = bind.text("to_field")
        if text and target:
            found[target if "." in target else f"{explore.alias}.{target}"] = text
    return found


def sorts(source: Node) -> list[tuple[str, bool]]:
    """`sorts: [a.b: desc, c: asc]` of an explore_source."""
    block = source.get("sorts")
    return (
        [(i.key or i.value, i.key != "" and i.value.lower() == "desc") for i in items(block)] if block else []
    )


def limit(source: Node) -> int | None:
    """`limit` of an explore_source."""
    text = source.text("limit")
    return int(text) if text.isdigit() and len(text) < 10 else None
