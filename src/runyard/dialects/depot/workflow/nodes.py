"""YAML nodes read as what the schema wants there, each mismatch one located finding in the vendor's words.

Called by the readers of this package. Every function answers something usable, so that reading goes on to the
next problem; a finding is the only sign of failure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from runyard.dialects.depot.workflow.findings import Findings, nearest
from runyard.syntax.expressions import ExpressionError, is_expression, to_string
from runyard.syntax.expressions.template import OPEN
from runyard.syntax.yamltree import Entry, Mapping, Mark, Node, Scalar, Sequence

ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}\Z")
# A dash makes a name that shells cannot read but processes can; GitHub's own starter workflows have some.
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


@dataclass(slots=True)  # not frozen for the reason that yamltree gives; nobody writes to one
class Text:
    """A scalar as text, and where it stands. `block` says that it starts on the line after its mark."""

    value: str
    at: Mark
    block: bool = False

    @property
    def is_late(self) -> bool:
        """Whether it holds a `${{ }}`."""
        return OPEN in self.value


def kind(node: Node) -> str:
    """The vendor's name of a node's type."""
    match node:
        case Mapping():
            return "mapping"
        case Sequence():
            return "sequence"
        case _:
            return "scalar"


@dataclass(frozen=True, slots=True)
class Reader:
    """Typed reading into one file's findings."""

    findings: Findings

    def mapping(self, node: Node, keys: Collection[str], required: Collection[str] = ()) -> Mapping | None:
        """A mapping with known keys only."""
        found = self.any_mapping(node)
        if found is None:
            return None
        meant = set()  # a wrong name for a key is blamed once, not also for what is missing
        for name in found.entries:
            if name not in keys:
                hint = nearest(name, keys)
                meant.add(hint)
                self.findings.error(found.key_at(name), f"Unexpected value '{name}'", hint)
        for name in required:
            if name not in found.entries and nearest(name, (name,)) not in meant:
                self.findings.error(found.at, f"Required property is missing: {name}")
        return found

    def any_mapping(self, node: Node) -> Mapping | None:
        """A mapping with keys of the user's; keys that differ only in case are one key to the vendor."""
        if not isinstance(node, Mapping):
            hint = "write `key: value` lines without `- `" if isinstance(node, Sequence) else ""
            self.findings.error(node.at, f"A {kind(node)} was not expected; expected a mapping", hint)
            return None
        if len({name.lower() for name in node.entries}) == len(node.entries):
            return node
        seen: dict[str, str] = {}
        for name, entry in node.entries.items():
            first = seen.setdefault(name.lower(), name)
            if first != name:
                self.findings.error(entry.key.at, f"'{name}' is already defined", f"as '{first}'")
        return node

    def entries(self, node: Node | None) -> Iterator[tuple[str, Entry]]:
        """The entries of a mapping of the user's names; nothing for an absent or empty one."""
        if node is None or (isinstance(node, Scalar) and node.value is None):
            return
        found = self.any_mapping(node)
        if found is not None:
            yield from found.entries.items()

    def items(self, node: Node) -> tuple[Node, ...]:
        """The items of a sequence."""
        if isinstance(node, Sequence):
            return node.items
        hint = "begin each item with `- `" if isinstance(node, Mapping) else ""
        self.findings.error(node.at, f"A {kind(node)} was not expected; expected a sequence", hint)
        return ()

    def text(self, node: Node) -> Text:
        """Any scalar as the text that the vendor makes of it (so `3.10` is 3.1)."""
        if not isinstance(node, Scalar):
            self.findings.error(node.at, f"A {kind(node)} was not expected")
            return Text("", node.at)
        value = node.value if isinstance(node.value, str) else to_string(node.value)
        return Text(value, node.at, block="\n" in value and not node.plain)

    def filled(self, node: Node, what: str) -> Text:
        """A text that must not be empty."""
        text = self.text(node)
        if isinstance(node, Scalar) and not text.value.strip():
            self.findings.error(node.at, f"{what} must not be empty")
        return text

    def texts(self, node: Node) -> list[Text]:
        """One scalar or a sequence of them."""
        if isinstance(node, Sequence):
            return [self.text(item) for item in node.items]
        return [self.text(node)]

    def identifier(self, scalar: Scalar, what: str) -> str:
        """A job's, step's or input's id."""
        name = scalar.text
        if not ID.match(name) or name.startswith("__"):
            self.findings.error(
                scalar.at,
                f"The {what} id '{name[:100]}' is invalid. It must start with a letter or _, contain only letters, "
                "digits, - and _, be shorter than 100 characters and not start with __",
            )
        return name

    def boolean(self, node: Node) -> bool | Text:
        """true or false, or a text with an expression."""
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        text = self.text(node)
        if isinstance(node, Scalar) and not is_whole(text.value):
            self.findings.error(node.at, f"Unexpected value '{text.value[:80]}'", "expected true or false")
            return False
        return text

    def number(self, node: Node) -> float | Text:
        """A number, or a text with an expression."""
        if (
            isinstance(node, Scalar)
            and isinstance(node.value, int | float)
            and not isinstance(node.value, bool)
        ):
            return float(node.value)
        text = self.text(node)
        if isinstance(node, Scalar) and not is_whole(text.value):
            self.findings.error(node.at, f"Unexpected value '{text.value[:80]}'", "expected a number")
            return 1.0  # within every range, so that it is blamed once
        return text

    def variables(self, node: Node | None) -> dict[str, Text]:
        """An `env` mapping. Keys become environment names, so they must be ones (reliability.md A4)."""
        found: dict[str, Text] = {}
        if isinstance(node, Scalar) and node.value is not None:
            text = self.text(node)
            if is_whole(text.value):
                self.findings.refused(node.at, "`env` as one expression")
            else:
                self.findings.error(node.at, f"Unexpected value '{text.value[:80]}'", "expected a mapping")
            return found
        for name, entry in self.entries(node):
            if not VARIABLE.match(name):
                message = f"'{name[:80]}' cannot be the name of an environment variable"
                self.findings.error(entry.key.at, message, "letters, digits, _ and - only")
            text = self.text(entry.value)
            if "\0" in text.value:
                self.findings.error(text.at, f"The value of '{name}' contains a NUL character")
            found[name] = text
        return found


def is_whole(text: str) -> bool:
    """Whether a text is one `${{ }}`, without failing on a broken one (that is found elsewhere)."""
    if not (text.startswith("${{") and text.endswith("}}")):
        return False
    try:
        return is_expression(text)
    except ExpressionError:
        return True
