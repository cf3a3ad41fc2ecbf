"""Checks of filter expressions: is the text one of the grammar of its field's type? Called by `checks`; the
fields' names are checked elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from runyard.tasks.lookml.language.findings import Finding, Severity
from runyard.tasks.lookml.language.model import Explore, Field, View
from runyard.tasks.lookml.language.tree import Node
from runyard.tasks.lookml.sql.filters import kind_of, problem
from runyard.tasks.lookml.sql.measures import filter_items

_CODE = "filter"


def of_view(view: View) -> Iterator[Finding]:
    """Filters of the view's measures on its own fields."""
    for field in view.fields.values():
        for name, text, node in filter_items(field.node) if field.kind == "measure" else ():
            owner, _, short = name.rpartition(".")
            if owner in ("", view.name):
                yield from _bad(view.fields.get(short), name, text, node, f'measure "{field.id}"')


def of_explore(explore: Explore) -> Iterator[Finding]:
    """Filters of measures on other views' fields; always_filter, conditionally_filter, and the filters of
    aggregate tables."""
    for _, field in explore.visible():
        for name, text, node in filter_items(field.node) if field.kind == "measure" else ():
            if name.rpartition(".")[0] not in ("", field.view.name):
                yield from _bad(explore.find(name), name, text, node, f'measure "{field.id}"')
    for key in ("always_filter", "conditionally_filter"):
        for block in explore.node.all(key):
            yield from _in(explore, block, f'{key} of explore "{explore.name}"')
    for table in explore.node.all("aggregate_table"):
        for query in table.all("query"):
            yield from _in(explore, query, f"aggregate_table {table.value}")


def of_source(explore: Explore, source: Node, user: str) -> Iterator[Finding]:
    """The filters of an explore_source."""
    yield from _in(explore, source, user)


def _in(explore: Explore, block: Node, user: str) -> Iterator[Finding]:
    for name, text, node in filter_items(block):
        yield from _bad(explore.find(name), name, text, node, user)


def _bad(field: Field | None, name: str, text: str, node: Node, user: str) -> Iterator[Finding]:
    """Texts with Liquid are known only when a query is made; a parameter's value is not a filter
    expression."""
    if field is None or field.kind == "parameter" or "{{" in text or "{%" in text:
        return
    wrong = problem(kind_of(field), text)
    if wrong:
        line, column = node.place
        message = f'bad filter expression "{text[:80]}" on "{name}" in {user}: {wrong}'
        yield Finding(_CODE, message, Severity.ERROR, node.file.path, line, column, field=field.id)
