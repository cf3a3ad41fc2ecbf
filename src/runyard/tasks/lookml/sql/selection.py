"""Which filters a query has: those asked for, and those that the explore adds (always_filter,
conditionally_filter, access_filter)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from runyard.tasks.lookml.language.findings import nearest
from runyard.tasks.lookml.language.model import Explore, Field
from runyard.tasks.lookml.language.references import filter_items
from runyard.tasks.lookml.language.tree import Node
from runyard.tasks.lookml.sql.expressions import Unresolved


@dataclass(slots=True)
class Filter:
    """An expression on a field of an alias; `node` is where a problem with it is reported."""

    alias: str
    field: Field
    text: str
    node: Node


@dataclass(slots=True)
class Filters:
    """All filters of a query, with parameters' values apart."""

    items: list[Filter] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def texts(self) -> dict[str, str]:
        """Expressions by `alias.field`, as templates ask for them."""
        return {f"{f.alias}.{f.field.name}": f.text for f in self.items}

    @property
    def measures(self) -> list[tuple[str, Field]]:
        """The measures that groups are restricted by."""
        return [(f.alias, f.field) for f in self.items if f.field.kind == "measure"]


def chosen(explore: Explore, asked: dict[str, str]) -> Filters:
    """The filters asked for, then the explore's own that they do not replace. Raises Unresolved for unknown
    fields."""
    found = Filters()
    for name, text in asked.items():
        _add(found, explore, name, text, explore.node)
    named = {f"{f.alias}.{f.field.name}" for f in found.items} | set(found.parameters)
    for name, text, node in _own(explore, named):
        if _full(explore, name) not in named:
            _add(found, explore, name, text, node)
    return found


def _full(explore: Explore, name: str) -> str:
    return name if "." in name else f"{explore.alias}.{name}"


def _own(explore: Explore, named: set[str]) -> Iterator[tuple[str, str, Node]]:
    for block in explore.node.all("always_filter"):
        yield from filter_items(block)
    for block in explore.node.all("conditionally_filter"):
        unless = {_full(explore, name) for name in block.words("unless")}
        if not unless & named:
            yield from filter_items(block)


def _add(found: Filters, explore: Explore, name: str, text: str, node: Node) -> None:
    alias, _, short = _full(explore, name).rpartition(".")
    view = explore.views.get(alias)
    field = view.fields.get(short) if view else None
    if field is None:
        guess = nearest(short, view.fields) if view else nearest(alias, explore.views)
        message = f'Unknown or inaccessible field "{alias}.{short}" in filters of explore "{explore.name}".'
        raise Unresolved(message, node.file.path, node.line, suggestion=guess)
    if field.kind == "parameter":
        found.parameters[f"{alias}.{short}"] = text
    elif text.strip():
        found.items.append(Filter(alias, field, text, node))
