"""Data tests as models declare them: `test: name { explore_source: explore { column … filters sorts limit }
assert: name { expression … } }`.

Source: Google's page on the `test` parameter; an explore_source of a test is that of a native derived table
without derived columns and binds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runyard.tasks.lookml.language.model import Explore, Model
from runyard.tasks.lookml.language.references import filter_items
from runyard.tasks.lookml.language.tree import Node, items

ROW_LIMIT = 5000
"""Looker's limit of rows for a query that names none."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """One assert; `expression` is None when it has none."""

    name: str
    node: Node
    expression: Node | None


@dataclass(frozen=True, slots=True)
class DataTest:
    """One test. Fields are named `alias.field` of the explore; `columns` is (column, field)."""

    name: str
    model: Model
    explore: str
    node: Node
    source: Node | None
    columns: tuple[tuple[str, str], ...] = ()
    filters: tuple[tuple[str, str], ...] = ()
    sorts: tuple[tuple[str, bool], ...] = ()  # (field, descending)
    limit: int | None = None
    assertions: tuple[Assertion, ...] = ()

    @property
    def file(self) -> str:
        """The file that declares it."""
        return self.node.file.path

    @property
    def line(self) -> int:
        """Its line there."""
        return self.node.line

    def target(self) -> Explore | None:
        """Its explore."""
        return self.model.explore(self.explore) if self.explore else None


def tests(models: Sequence[Model]) -> list[DataTest]:
    """Every test that a model sees, by model and then in order of declaration; the first of several with one
    name counts."""
    found: dict[tuple[str, str], DataTest] = {}
    for model in models:
        for node in model.nodes("test"):
            found.setdefault((model.name, node.value), read(model, node))
    return list(found.values())


def read(model: Model, node: Node) -> DataTest:
    """One `test` block."""
    source = node.get("explore_source")
    explore = model.explore(source.value) if source is not None else None
    base = explore.alias if explore is not None else source.value if source is not None else ""
    columns = (
        tuple((c.value, _full(c.text("field") or c.value, base)) for c in source.all("column"))
        if source is not None
        else ()
    )
    by_column = dict(columns)
    return DataTest(
        name=node.value,
        model=model,
        explore=source.value if source is not None else "",
        node=node,
        source=source,
        columns=columns,
        filters=tuple((_full(name, base), value) for name, value, _ in filter_items(source))
        if source is not None
        else (),
        sorts=tuple(_sorts(source, base, by_column)) if source is not None else (),
        limit=_limit(source),
        assertions=tuple(Assertion(a.value, a, a.get("expression")) for a in node.all("assert")),
    )


def _full(name: str, base: str) -> str:
    return name if "." in name else f"{base}.{name}"


def _sorts(source: Node, base: str, columns: dict[str, str]) -> Iterator[tuple[str, bool]]:
    """`sorts: [orders.id: desc]`; a column's own name means its field."""
    for block in source.all("sorts"):
        for item in items(block):
            name = item.key if item.key and item.key != "sorts" else item.value
            direction = item.value if name == item.key else ""
            yield _full(columns.get(name, name), base), direction.lower() == "desc"


def _limit(source: Node | None) -> int | None:
    text = source.text("limit") if source is not None else ""
    return int(text) if text.isdecimal() and len(text) < 10 else None
