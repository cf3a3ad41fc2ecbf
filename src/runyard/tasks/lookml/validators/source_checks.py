"""Checks of derived tables: the views that their SQL names, the explore and fields of native ones. Called by
`checks` for each view."""

from __future__ import annotations

from collections.abc import Iterator

from runyard.tasks.lookml.language.findings import Finding, Severity, nearest
from runyard.tasks.lookml.language.model import Explore, Model, View
from runyard.tasks.lookml.language.references import references
from runyard.tasks.lookml.language.tree import Node
from runyard.tasks.lookml.sql.measures import filter_items
from runyard.tasks.lookml.validators import filter_checks


def of_sql(view: View, model: Model) -> Iterator[Finding]:
    """Views that the SQL of a derived table names."""
    block = view.derived
    if block is None:
        return
    for raw in block.all("sql"):
        for reference in references(raw):
            owner, _, short = reference.name.rpartition(".")
            if short == "SQL_TABLE_NAME" and owner not in model.views.roots:
                place = reference.node.file.place(reference.at)
                message = f'unknown view "{owner}" in the derived table of "{view.name}"'
                yield _found(
                    view, reference.node, "unknown_view", message, nearest(owner, model.views.roots), place
                )


def of_source(model: Model, name: str) -> Iterator[Finding]:
    """The explore, fields and filters of a native derived table."""
    view = model.view(name)
    if view is not None and view.derived is not None:
        for source in view.derived.all("explore_source"):
            yield from _source(view, source, model)


def _source(view: View, source: Node, model: Model) -> Iterator[Finding]:
    explore = model.explore(source.value)
    user = f'the derived table of "{view.name}"'
    if explore is None:
        guess = nearest(source.value, model.explores.roots)
        yield _found(view, source, "unknown_explore", f'unknown explore "{source.value}" in {user}', guess)
        return
    named = [(c.text("field") or c.value, c.get("field") or c) for c in source.all("column")]
    named += [(name, node) for name, _, node in filter_items(source)]
    for name, node in named:
        if explore.find(name) is None and not explore.is_open(name.rpartition(".")[0] or explore.alias):
            message = f'unknown field "{name}" in {user}'
            yield _found(view, node, "unknown_field", message, _guess(name, explore))
    yield from filter_checks.of_source(explore, source, user)


def _guess(name: str, explore: Explore) -> str:
    owner, _, short = name.rpartition(".")
    target = explore.views.get(owner or explore.alias)
    if target is None:
        near = nearest(owner, explore.views)
        return f"{near}.{short}" if near else ""
    guess = nearest(short, target.fields)
    return f"{owner or explore.alias}.{guess}" if guess else ""


def _found(
    view: View, node: Node, code: str, message: str, suggestion: str, place: tuple[int, int] | None = None
) -> Finding:
    line, column = place or node.place
    return Finding(
        code, message, Severity.ERROR, node.file.path, line, column, field=view.name, suggestion=suggestion
    )
