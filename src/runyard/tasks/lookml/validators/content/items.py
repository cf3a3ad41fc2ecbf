"""Content as the validator sees it: dashboards and Looks, the queries of their tiles, their filters, and the
folders they lie in.

Both readers make yamltree nodes first, so that every name has a line. Only names are looked at, never how
things are drawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from runyard.syntax import yamltree
from runyard.syntax.yamltree import Node, Scalar

DASHBOARD, LOOK = "dashboard", "look"
ELEMENT, FILTER = "dashboard_element", "dashboard_filter"
MAX_REFERENCES = 2000


@dataclass(frozen=True, slots=True)
class Name:
    """A field's name somewhere in content. `role` says where: fields, filters, sorts, …; `value` is a
    filter's expression."""

    text: str
    role: str
    line: int
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """One query: a tile's, a Look's, or that of a filter's field. `own` are the names that it defines itself
    (table calculations)."""

    model: str
    explore: str
    line: int
    names: tuple[Name, ...] = ()
    own: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Element:
    """A tile or a filter of a dashboard, or a Look's only part. `listens` are the dashboard filters it
    names."""

    type: str
    title: str
    line: int
    asked: tuple[Asked, ...] = ()
    listens: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of Looker's; `parent_id` "" at the top."""

    id: str
    name: str = ""
    parent_id: str = ""
    is_personal: bool = False


LOOKML_FOLDER = Folder("lookml", "LookML Dashboards")
"""Where Looker shows the dashboards that live in projects."""


@dataclass
class Content:
    """A dashboard or a Look. `is_exported`: from JSON, so it may belong to another project."""

    type: str
    id: str
    title: str
    file: str
    line: int
    folder: Folder = LOOKML_FOLDER
    elements: list[Element] = field(default_factory=list)
    filters: frozenset[str] = frozenset()
    bases: tuple[Name, ...] = ()
    is_exported: bool = False


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that cannot be read as content."""

    file: str
    line: int
    message: str


def text(node: Node | None) -> str:
    """A scalar's text, "" for anything else."""
    return node.text if isinstance(node, Scalar) and node.value is not None else ""


def child(node: Node | None, *keys: str) -> Node | None:
    """The first of these keys that a mapping has."""
    node = bare(node)
    found = (node.get(key) for key in keys) if isinstance(node, yamltree.Mapping) else ()
    return next((bare(n) for n in found if n is not None), None)


def bare(node: Node | None) -> Node | None:
    """The node without a tag: old exports carry Ruby's class names."""
    while isinstance(node, yamltree.Tagged):
        node = node.value
    return node


def listed(node: Node | None) -> list[Node]:
    """A list's items; one mapping or text stands for a list of itself."""
    node = bare(node)
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return []
    return (
        [n for i in node.items if (n := bare(i)) is not None]
        if isinstance(node, yamltree.Sequence)
        else [node]
    )


def pairs(node: Node | None) -> Iterator[tuple[Scalar, Node]]:
    """Keys and values of a mapping, or of every mapping of a list."""
    for one in listed(node):
        if isinstance(one, yamltree.Mapping):
            for entry in one.entries.values():
                value = bare(entry.value)
                if value is not None:
                    yield entry.key, value


_REFERENCE = re.compile(r"\$\{([\w.]+)")


def query(node: Node, explore_keys: tuple[str, ...] = ("explore",)) -> Asked | None:
    """What one query asks for; None when the node names no model and no explore (a text tile)."""
    model, explore = child(node, "model"), child(node, *explore_keys)
    if not text(model) and not text(explore):
        return None
    names: list[Name] = []
    for key in ("fields", "dimensions", "measures", "pivots", "fill_fields"):
        names += [Name(text(n), key, n.at.line) for n in listed(child(node, key))]
    names += [Name(k.text, "filters", k.at.line, text(v)) for k, v in pairs(child(node, "filters"))]
    for sort in listed(child(node, "sorts")):
        names.append(Name(text(sort).split(" ", 1)[0], "sorts", sort.at.line))
    own: set[str] = set()
    for dynamic in listed(child(node, "dynamic_fields")):
        names += _dynamic(dynamic, own)
    kept = tuple(n for n in names if n.text)[:MAX_REFERENCES]
    return Asked(text(model), text(explore), (explore or model or node).at.line, kept, frozenset(own))


def _dynamic(node: Node, own: set[str]) -> list[Name]:
    """A custom field or table calculation: its name goes to `own`, what it is made of comes back (unless it
    is switched off)."""
    for key in ("table_calculation", "measure", "dimension"):
        if name := text(child(node, key)):
            own.add(name)
    if text(child(node, "is_disabled")) == "true":
        return []
    found = [Name(text(n), "dynamic_fields", n.at.line) for n in listed(child(node, "based_on"))]
    found += [Name(k.text, "dynamic_fields", k.at.line) for k, _ in pairs(child(node, "filters"))]
    for key in ("expression", "filter_expression"):
        expression = child(node, key)
        if expression is not None:
            found += [
                Name(m[1], "dynamic_fields", expression.at.line)
                for m in _REFERENCE.finditer(text(expression))
            ]
    return found


class Folders:
    """The folders of exported content, and which of them options let through."""

    def __init__(self, known: Mapping[str, Folder]) -> None:
        self.known = known

    def line(self, folder: Folder) -> list[Folder]:
        """The folder and those above it."""
        found, seen = [folder], {folder.id}
        while (parent := self.known.get(found[-1].parent_id)) is not None and parent.id not in seen:
            seen.add(parent.id)
            found.append(parent)
        return found

    def lets(
        self, folder: Folder, include: tuple[str, ...], exclude: tuple[str, ...], *, no_personal: bool
    ) -> bool:
        """Whether content of this folder is to be validated; an excluded folder excludes those below it, and
        so does an included one include."""
        above = self.line(folder)
        ids = {f.id for f in above}
        if no_personal and any(f.is_personal for f in above):
            return False
        return not ids & set(exclude) and (not include or bool(ids & set(include)))
