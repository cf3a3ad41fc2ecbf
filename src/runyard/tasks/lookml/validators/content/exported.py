"""Dashboards and Looks exported as JSON: the answers of Looker's API (`GET /dashboards/{id}`, `/looks/{id}`),
as `gzr` saves them too.

A file holds one of them, a list, or `{"dashboards": […], "looks": […], "folders": […]}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from runyard.syntax import yamltree
from runyard.syntax.yamltree import Mark, Node, Scalar
from runyard.tasks.lookml.validators.content.items import (
    DASHBOARD,
    ELEMENT,
    FILTER,
    LOOK,
    Asked,
    Broken,
    Content,
    Element,
    Folder,
    Name,
    child,
    listed,
    query,
    text,
)

EXPORTS = "content"
"""The folder of a project where exports are looked for when nothing else is said."""
MAX_DEPTH = 60
MAX_NODES = 1_000_000


def contents(data: str | bytes, file: str) -> tuple[list[Content], list[Folder], list[Broken]]:
    """What one file holds."""
    try:
        source = data.decode() if isinstance(data, bytes) else data
        root = _Tree(source).node(json.loads(source), 0)
    except (ValueError, RecursionError) as problem:
        line = getattr(problem, "lineno", 1)
        return [], [], [Broken(file, line, f"not JSON that can be read: {getattr(problem, 'msg', problem)}")]
    found, folders = [], []
    for node, kind in _items(root):
        if kind == "folder":
            folders.append(_folder(node))
        else:
            one = _dashboard(node, file) if kind == DASHBOARD else _look(node, file)
            found.append(one)
            folders.append(one.folder)
    if not found and not folders:
        return [], [], [Broken(file, 1, "neither a dashboard (dashboard_elements) nor a Look (query)")]
    return found, folders, []


class _Tree:
    """JSON as yamltree nodes. A text's line is where it stands in the file first, after what was seen before
    it."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.nodes = 0
        self.at = 0
        self.line = 1

    def node(self, value: object, depth: int) -> Node:
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise ValueError("it is nested too deeply or too large")
        if isinstance(value, dict):
            entries = {}
            mark = Mark(self.line, 1)
            for key, inner in value.items():
                name = self._text(key)
                entries[key] = yamltree.Entry(name, self.node(inner, depth + 1))
            return yamltree.Mapping(mark, entries)
        if isinstance(value, list):
            return yamltree.Sequence(Mark(self.line, 1), tuple(self.node(v, depth + 1) for v in value))
        if isinstance(value, str):
            return self._text(value)
        shown = "" if value is None else str(value)
        return Scalar(
            Mark(self.line, 1), value if isinstance(value, bool | int | float) else None, shown, plain=True
        )

    def _text(self, value: str) -> Scalar:
        """json.loads keeps the order of the file, so each text is found by searching on from the one
        before."""
        found = self.source.find(json.dumps(value)[1:-1], self.at)
        if found < 0:
            found = self.source.find(json.dumps(value, ensure_ascii=False)[1:-1], self.at)
        if found >= 0:
            self.line += self.source.count("\n", self.at, found)
            self.at = found + len(value)
        return Scalar(Mark(self.line, 1), value, value, plain=False)


def _items(root: Node) -> Iterator[tuple[Node, str]]:
    groups = (("dashboards", DASHBOARD), ("looks", LOOK), ("folders", "folder"))
    for node in listed(root):
        inner = [(n, kind) for key, kind in groups for n in listed(child(node, key))]
        if child(node, "dashboard_elements") is not None:
            yield node, DASHBOARD
        elif child(node, "query") is not None:
            yield node, LOOK
        else:
            yield from inner


def _folder(node: Node | None) -> Folder:
    personal = any(text(child(node, key)) == "True" for key in ("is_personal", "is_personal_descendant"))
    return Folder(
        text(child(node, "id")), text(child(node, "name")), text(child(node, "parent_id")), personal
    )


def _look(node: Node, file: str) -> Content:
    asked = query(child(node, "query") or node, ("view", "explore"))
    title = text(child(node, "title"))
    element = Element(LOOK, title, node.at.line, (_dynamic(asked, child(node, "query")),) if asked else ())
    return Content(
        LOOK,
        text(child(node, "id")),
        title,
        file,
        node.at.line,
        _folder(child(node, "folder", "space")),
        [element],
        is_exported=True,
    )


def _dashboard(node: Node, file: str) -> Content:
    filters = listed(child(node, "dashboard_filters"))
    elements = [
        _tile(n) for n in listed(child(node, "dashboard_elements")) if text(child(n, "deleted")) != "True"
    ]
    elements += [_filter(n) for n in filters]
    names = frozenset(
        label for n in filters for label in (text(child(n, "name")), text(child(n, "title"))) if label
    )
    folder = _folder(child(node, "folder", "space"))
    return Content(
        DASHBOARD,
        text(child(node, "id")),
        text(child(node, "title")),
        file,
        node.at.line,
        folder,
        elements,
        names,
        is_exported=True,
    )


def _tile(node: Node) -> Element:
    title = text(child(node, "title")) or text(child(node, "title_text")) or text(child(node, "id"))
    maker = child(node, "result_maker")
    queries = [child(node, "query"), child(child(node, "look"), "query"), child(maker, "query")]
    queries += [child(n, "query") for n in listed(child(child(node, "merge_result"), "source_queries"))]
    found: dict[tuple[str, str], Asked] = {}
    for one in queries:
        asked = query(one, ("view", "explore")) if one is not None else None
        if one is not None and asked is not None:
            # The API repeats a tile's query in its result_maker.
            found.setdefault((asked.model, asked.explore), _dynamic(asked, one))
    listens = []
    for filterable in listed(child(maker, "filterables")):
        key = (text(child(filterable, "model")), text(child(filterable, "view")))
        for listen in listed(child(filterable, "listen")):
            name, field = child(listen, "dashboard_filter_name"), child(listen, "field")
            if name is not None and text(name):
                listens.append(Name(text(name), "listen", name.at.line))
            if field is not None and text(field) and key in found:
                asked = found[key]
                names = (*asked.names, Name(text(field), "listen", field.at.line))
                found[key] = Asked(asked.model, asked.explore, asked.line, names, asked.own)
    return Element(ELEMENT, title, node.at.line, tuple(found.values()), tuple(listens))


def _dynamic(asked: Asked, node: Node | None) -> Asked:
    """`dynamic_fields` is JSON inside a text in the API's answers."""
    field = child(node, "dynamic_fields")
    if not isinstance(field, Scalar) or not field.text:
        return asked
    try:
        inner = _Tree("").node(json.loads(field.text), 0)
    except (ValueError, RecursionError):
        return asked
    entries = {"model": yamltree.Entry(field, field), "dynamic_fields": yamltree.Entry(field, inner)}
    found = query(yamltree.Mapping(field.at, entries))
    names = tuple(Name(n.text, n.role, field.at.line) for n in found.names) if found else ()
    return Asked(
        asked.model, asked.explore, asked.line, asked.names + names, found.own if found else frozenset()
    )


def _filter(node: Node) -> Element:
    title = text(child(node, "title")) or text(child(node, "name"))
    field = child(node, "dimension", "field")
    model, explore = text(child(node, "model")), text(child(node, "explore"))
    asked: tuple[Asked, ...] = ()
    if model and explore and field is not None and text(field):
        asked = (
            Asked(
                model,
                explore,
                node.at.line,
                (Name(text(field), "field", field.at.line, text(child(node, "default_value"))),),
            ),
        )
    return Element(FILTER, title, node.at.line, asked)
