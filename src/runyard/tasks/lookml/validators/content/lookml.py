"""LookML dashboards (`*.dashboard.lookml`, YAML): a list of `- dashboard: name`, each with elements and
filters."""

from __future__ import annotations

import re
from collections.abc import Mapping

from runyard.syntax import yamltree
from runyard.syntax.yamltree import Limits, Node, YamlError
from runyard.tasks.lookml.validators.content.items import (
    DASHBOARD,
    ELEMENT,
    FILTER,
    Asked,
    Broken,
    Content,
    Element,
    Name,
    child,
    listed,
    pairs,
    query,
    text,
)

SUFFIXES = (".dashboard.lookml", ".dashboard.lkml")
# What old exports are tagged with, and what YAML itself has tags for (`type: !!null ''` is common).
_TAGS = ["!ruby/hash:ActiveSupport::HashWithIndifferentAccess", "!ruby/hash:Hash"]
_TAGS += [f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "seq", "map")]
_LIMITS = Limits(max_bytes=8 << 20, nodes=1_000_000, tags=frozenset(_TAGS))
_CONSTANT = re.compile(r"@\{(\w+)\}")


def dashboards(
    data: str | bytes, file: str, constants: Mapping[str, str] | None = None
) -> tuple[list[Content], list[Broken]]:
    """The dashboards of one file, and what is wrong with it. The manifest's constants are put in for
    `@{NAME}`."""
    if constants and isinstance(data, str):
        data = _CONSTANT.sub(lambda m: constants.get(m[1], m[0]).replace("\n", " "), data)
    try:
        root = yamltree.load(data, file, _LIMITS)
    except YamlError as problem:
        return [], [Broken(file, problem.line, problem.message)]
    found, broken = [], []
    for node in listed(root):
        name = child(node, "dashboard")
        if name is None or not text(name):
            broken.append(Broken(file, node.at.line, "expected `- dashboard: name`"))
        else:
            found.append(_dashboard(node, text(name), file))
    return found, broken


def _dashboard(node: Node, name: str, file: str) -> Content:
    filters = listed(child(node, "filters"))
    elements = [_tile(n) for n in listed(child(node, "elements", "tiles"))]
    elements += [_filter(n) for n in filters]
    bases = tuple(Name(text(n), "extends", n.at.line) for n in listed(child(node, "extends")))
    names = frozenset(
        label for n in filters for label in (text(child(n, "name")), text(child(n, "title"))) if label
    )
    return Content(
        DASHBOARD,
        name,
        text(child(node, "title")) or name,
        file,
        node.at.line,
        elements=elements,
        filters=names,
        bases=bases,
    )


def _tile(node: Node) -> Element:
    title = text(child(node, "title")) or text(child(node, "name"))
    asked = [query(node), *(query(n) for n in listed(child(node, "merged_queries")))]
    listens, fields = [], []
    for key, value in pairs(child(node, "listen")):
        listens.append(Name(key.text, "listen", key.at.line))
        fields += [
            Name(part.strip(), "listen", value.at.line) for part in text(value).split(",") if part.strip()
        ]
    merged = child(node, "merged_queries") is not None
    return Element(
        ELEMENT,
        title,
        node.at.line,
        tuple(_with(a, () if merged else tuple(fields)) for a in asked if a),
        tuple(listens),
    )


def _with(asked: Asked, names: tuple[Name, ...]) -> Asked:
    return Asked(asked.model, asked.explore, asked.line, asked.names + names, asked.own)


def _filter(node: Node) -> Element:
    """A filter of the dashboard: field filters name a field of an explore."""
    title = text(child(node, "title")) or text(child(node, "name"))
    asked = query(node)
    field = child(node, "field", "dimension")
    value = child(node, "default_value")
    if asked is not None and field is not None and text(field):
        asked = _with(asked, (Name(text(field), "field", field.at.line, text(value)),))
    return Element(FILTER, title, node.at.line, (asked,) if asked else ())
