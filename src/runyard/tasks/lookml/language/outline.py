"""What the rest of a project needs to know of a file without its tree: includes, declarations, plain
parameters. Made by `project`, kept by `cache`.

A declaration knows its name, place, bases and the views it uses, so that models can be put together, and the
part of the project that a view or explore depends on can be named, from outlines alone; trees are parsed only
where something changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from runyard.tasks.lookml.language.findings import Finding, Severity
from runyard.tasks.lookml.language.tree import Kind, Node, items

Json = Any


@dataclass(slots=True)
class Declaration:
    """A top-level block. `index` is its position among the file's top-level nodes.

    `uses` are names of views for an explore, names of explores for a view's explore_source or a test;
    `aliases` the names that an explore gives to views.
    """

    key: str
    name: str
    path: str
    index: int
    line: int
    column: int
    extends: list[str] = field(default_factory=list)
    uses: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    is_closed: bool = False  # `final: yes`

    @property
    def place(self) -> tuple[int, int]:
        """(line, column) of the key."""
        return self.line, self.column


@dataclass(slots=True)
class Outline:
    """One file: `includes` are (pattern, line, column), `words` its plain top-level parameters."""

    includes: list[tuple[str, int, int]] = field(default_factory=list)
    blocks: list[Declaration] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def all(self, *keys: str) -> list[Declaration]:
        """The declarations of these kinds, in order."""
        return [b for b in self.blocks if b.key in keys]


def outline(tree: Node, findings: list[Finding]) -> Outline:
    """The outline of a parsed file."""
    found = Outline(findings=findings)
    for index, node in enumerate(tree.children):
        if node.key == "include":
            found.includes.append((node.value, *node.place))
        elif node.kind is Kind.BLOCK:
            found.blocks.append(_declaration(node, index))
        elif node.kind in (Kind.WORD, Kind.TEXT):
            found.words[node.key] = node.value
    return found


def _declaration(node: Node, index: int) -> Declaration:
    made = Declaration(node.key, node.value, node.file.path, index, *node.place)
    if node.key in ("view", "explore"):
        made.extends = extended_names(node)
        made.is_closed = node.is_yes("final")
    if node.key == "explore":
        bare = node.value.removeprefix("+")
        made.aliases = [node.text("view_name") or bare]
        made.uses = [v for v in (node.text("from"), node.text("view_name"), bare) if v]
        for join in node.all("join"):
            made.aliases.append(join.value)
            made.uses += [v for v in (join.text("from"), join.text("view_name"), join.value) if v]
    elif node.key in ("view", "test"):
        sources = node.all("explore_source") if node.key == "test" else _sources(node)
        made.uses = [source.value for source in sources]
    return made


def _sources(view: Node) -> list[Node]:
    return [source for table in view.all("derived_table") for source in table.all("explore_source")]


def extended_names(node: Node) -> list[str]:
    """The names in `extends` and in the old form `extends: name`; `+name` means the same as `name`."""
    names: list[str] = []
    for child in node.all("extends", "extends__all"):
        stack = [child]
        while stack:
            item = stack.pop()
            if item.kind is Kind.LIST:
                stack.extend(reversed(items(item)))
            elif item.value:
                names.append(item.value.removeprefix("+"))
    return names


def packed(found: Outline) -> Json:
    """The outline as JSON; without the path, which is the reader's."""
    return [
        found.includes,
        [
            [b.key, b.name, b.index, b.line, b.column, b.extends, b.uses, b.aliases, b.is_closed]
            for b in found.blocks
        ],
        found.words,
        [packed_finding(f) for f in found.findings],
    ]


def unpacked(data: Json, path: str) -> Outline:
    """The outline out of JSON; KeyError, TypeError or ValueError when it is not of our making."""
    includes, blocks, words, findings = data
    return Outline(
        [(str(p), int(line), int(column)) for p, line, column in includes],
        [Declaration(key, name, path, *rest) for key, name, *rest in blocks],
        dict(words),
        [unpacked_finding(f) for f in findings],
    )


_FIELDS = [f.name for f in fields(Finding)]


def packed_finding(finding: Finding) -> Json:
    """A finding as JSON."""
    return [getattr(finding, name) for name in _FIELDS]


def unpacked_finding(data: Json) -> Finding:
    """A finding out of JSON."""
    values = dict(zip(_FIELDS, data, strict=True))
    return Finding(
        **{**values, "severity": Severity(values["severity"]), "explores": tuple(values["explores"])}
    )
