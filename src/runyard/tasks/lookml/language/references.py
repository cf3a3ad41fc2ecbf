"""The `${}` references and filters of LookML blocks, with their places. Linear scans; used by `model` and the
validators.

`${TABLE}` and `${EXTENDED}` are no references to anything and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from runyard.tasks.lookml.language.tree import Kind, Node

_RAW_WORDS = """
    sql sql_on sql_where sql_always_where sql_always_having sql_start sql_end sql_latitude sql_longitude sql_distinct_key sql_table_name
"""
RAW_WITH_REFERENCES = frozenset(_RAW_WORDS.split())
FIELD_PARTS = (
    "_in_query", "_is_selected", "_is_filtered", "_parameter_value", "_value", "_rendered_value", "_filterable_value", "_linked_value",
    "_name", "_label", "_sql", "_type",
)  # fmt: skip
"""What templates ask of a field."""
_REFERENCE = re.compile(r"\$\{([^}$]*+)\}")  # no name has a dollar, and so no brace is looked for twice


@dataclass(frozen=True, slots=True)
class Reference:
    """`${name}` at `start` of a parameter's value; a cast (`::date`) is taken off."""

    name: str
    node: Node
    start: int

    @property
    def at(self) -> int:
        """The offset of the `$`. Constants may have moved text, so it is never past the file's end."""
        return min(self.node.value_at + self.start, len(self.node.file.text))

    @property
    def place(self) -> tuple[int, int]:
        """(line, column) of the `$`."""
        return self.node.file.place(self.at)


def references(node: Node) -> Iterator[Reference]:
    """Every `${…}` of one raw parameter."""
    for found in _REFERENCE.finditer(node.value):
        name = found.group(1).strip()
        if name in ("TABLE", "EXTENDED"):
            continue
        yield Reference(field_name(name.partition("::")[0]), node, found.start())


def field_name(reference: str) -> str:
    """`x` of `x._sql`, `x._value` and so on: the field is what counts. Other names may begin with an
    underscore."""
    owner, dot, last = reference.rpartition(".")
    return owner if dot and last in FIELD_PARTS else reference


def in_block(block: Node) -> Iterator[Reference]:
    """The references of a field or join, including those in its `case`."""
    for child in block.children:
        if child.kind is Kind.RAW:
            if child.key in RAW_WITH_REFERENCES and "${" in child.value:
                yield from references(child)
        elif child.kind is Kind.BLOCK and child.key == "case":
            for when in child.all("when"):
                for sql in when.all("sql"):
                    yield from references(sql)


def filter_items(node: Node) -> list[tuple[str, str, Node]]:
    """(field, expression, node) of both forms: `filters: [f: "x"]` and `filters: { field: f value: "x" }`."""
    found: list[tuple[str, str, Node]] = []
    for block in node.children:
        if block.key != "filters":
            continue
        if block.kind is Kind.LIST:
            found += [(i.key, i.value, i) for i in block.children if i.key]
        elif block.get("field"):
            found.append((block.text("field"), block.text("value"), block))
    return found
