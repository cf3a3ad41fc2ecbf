"""The tree of LookML text: nodes that keep file and offset of everything, so that every later finding has a
place.

Made by `parser`, merged by `merge`, read by everyone else. A node is never changed once its file is parsed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """What stands after the colon."""

    WORD = "word"  # yes, view.field, 12
    TEXT = "text"  # "quoted"
    RAW = "raw"  # up to ;;
    LIST = "list"  # [a, b] or [a: "x", …]
    BLOCK = "block"  # name { … } or { … }


@dataclass(eq=False)
class SourceFile:
    """One file of the project; `path` is relative to the project's root, with forward slashes."""

    path: str
    text: str = field(repr=False)
    _starts: list[int] = field(default_factory=list, repr=False)

    def place(self, offset: int) -> tuple[int, int]:
        """(line, column) of an offset, both from 1."""
        if not self._starts:
            starts, at = [0], self.text.find("\n")
            while at >= 0:
                starts.append(at + 1)
                at = self.text.find("\n", at + 1)
            self._starts = starts
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


_LEAD = re.compile(r'[^\s:#"]*+(?:\s++|#[^\n]*+)*+:(?:\s++|#[^\n]*+)*+"?+')
_RAW_LEAD = re.compile(r'[^\s:#"]*+(?:\s++|#[^\n]*+)*+:\s*+')
_NO_CHILDREN: tuple[Node, ...] = ()


class Node:
    """`key: value`. A block's `value` is its name (may be empty); a list's items are children (key "" for
    plain items).

    `at` is the offset of the key. Written without dataclass, and leaves share one empty tuple: a project has
    a million of these.
    """

    __slots__ = ("at", "children", "file", "key", "kind", "value")

    def __init__(
        self,
        file: SourceFile,
        key: str,
        at: int,
        kind: Kind,
        value: str = "",
        children: Sequence[Node] = _NO_CHILDREN,
    ) -> None:
        self.file = file
        self.key = key
        self.at = at
        self.kind = kind
        self.value = value
        self.children = children

    def __repr__(self) -> str:
        return f"Node({self.key!r}, {self.value!r}, {self.kind.value}, {self.file.path}:{self.line}, {len(self.children)} children)"

    @property
    def value_at(self) -> int:
        """The offset of the value's first character (inside the quotes for TEXT); worked out, since few
        ask."""
        if not self.key:
            return self.at + (self.kind is Kind.TEXT)
        # In raw SQL a "#" or a quote is the first character of the value.
        lead = _RAW_LEAD if self.kind is Kind.RAW else _LEAD
        found = lead.match(self.file.text, self.at)
        return found.end() if found else self.at

    def get(self, key: str) -> Node | None:
        """The last child of that key: later parameters win."""
        for child in reversed(self.children):
            if child.key == key:
                return child
        return None

    def all(self, *keys: str) -> Iterator[Node]:
        """Every child with one of these keys, in order."""
        return (child for child in self.children if child.key in keys)

    def text(self, key: str, default: str = "") -> str:
        """The value of the last child of that key."""
        found = self.get(key)
        return found.value if found is not None else default

    def words(self, key: str) -> list[str]:
        """The plain items of a list parameter (a lone word counts as a list of one)."""
        found = self.get(key)
        return [item.value for item in items(found)] if found is not None else []

    def is_yes(self, key: str) -> bool:
        """Whether a yes/no parameter says yes."""
        return self.text(key).lower() in ("yes", "true")

    @property
    def place(self) -> tuple[int, int]:
        """(line, column) of the key, or of the value for list items."""
        return self.file.place(self.at)

    @property
    def line(self) -> int:
        """The key's line."""
        return self.place[0]


def items(node: Node) -> Sequence[Node]:
    """A list's items; a scalar stands for a list of itself."""
    return node.children if node.kind is Kind.LIST else [node]


_NAMED_WORDS = """
    dimension dimension_group measure filter parameter set join view explore test aggregate_table column
    derived_column query datagroup access_grant named_value_format map_layer assert constant
    local_dependency remote_dependency
"""
NAMED = frozenset(_NAMED_WORDS.split())
"""Blocks that have a name; children of the same key and name are one thing."""

FIELD_KEYS = ("dimension", "dimension_group", "measure", "filter", "parameter")
