"""The `${}` references in a raw parameter, with their places. Linear scan; used by `checks`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runyard.tasks.lookml.language.tree import Kind, Node

RAW_WITH_REFERENCES = (
    "sql", "sql_on", "sql_where", "sql_always_where", "sql_always_having", "sql_start", "sql_end", "sql_latitude", "sql_longitude",
    "sql_distinct_key", "sql_table_name",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reference:
    """`${name}` at an offset of the file; a cast (`::date`) is taken off."""

    name: str
    node: Node
    at: int

    @property
    def place(self) -> tuple[int, int]:
        """(line, column) of the `$`."""
        return self.node.file.place(self.at)


def references(node: Node) -> Iterator[Reference]:
    """Every `${…}` of one raw parameter. Constants may have moved text, so the place is never past the file's end."""
    text, at = node.value, 0
    while (start := text.find("${", at)) >= 0:
        end = text.find("}", start)
        if end < 0:
            return
        name = text[start + 2 : end].strip().partition("::")[0]
        # `${x._sql}`, `${x._value}`: the field is what counts.
        owner, dot, last = name.rpartition(".")
        name = owner if dot and last.startswith("_") else name
        yield Reference(name, node, min(node.value_at + start, len(node.file.text)))
        at = end + 1


def in_block(block: Node) -> Iterator[Reference]:
    """The references of a field or join, including those in its `case`."""
    for child in block.children:
        if child.kind is Kind.RAW and child.key in RAW_WITH_REFERENCES:
            yield from references(child)
        elif child.kind is Kind.BLOCK and child.key == "case":
            for when in child.all("when"):
                for sql in when.all("sql"):
                    yield from references(sql)
