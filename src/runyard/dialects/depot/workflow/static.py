"""Rendering what is known at the trigger. Called by `build` and `steps` for keys whose value the plan needs
now.

A text that asks for facts of later (needs, secrets, steps) is refused with its place, not guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from runyard.dialects.depot.workflow.findings import Findings
from runyard.dialects.depot.workflow.nodes import Text
from runyard.syntax import yamltree
from runyard.syntax.expressions import (
    ExpressionError,
    Value,
    references,
    render_value,
    to_string,
    truthy,
)
from runyard.syntax.expressions.values import to_number


@dataclass(frozen=True, slots=True)
class Static:
    """Facts of the trigger (and of one matrix leg), and where to say what cannot be rendered with them."""

    findings: Findings
    facts: Mapping[str, Any]

    def knows(self, text: Text) -> bool:
        """Whether a text asks only for facts that are here."""
        return not self._missing(text)

    def value(self, text: Text, what: str) -> Value:
        """The typed value of a text; a finding and null when it asks for more."""
        if not text.is_late:
            return text.value
        if missing := self._missing(text):
            self.findings.error(
                text.at,
                f"{what} that depends on `{missing}` is not served yet",
                "only facts of the trigger are known",
            )
            return None
        try:
            return render_value(text.value, self.facts)
        except ExpressionError as error:
            if not self.is_sampled(text):
                self.findings.error(text.at, error.message)
            return None

    def is_sampled(self, text: Text) -> bool:
        """Whether a text's value comes from samples."""
        return bool(_roots(text) & self.findings.sampled)

    def text(self, text: Text, what: str) -> str:
        """The value as a string."""
        return to_string(self.value(text, what))

    def boolean(self, value: bool | Text, what: str) -> bool:
        """A boolean or a text that makes one."""
        if isinstance(value, bool):
            return value
        found = self.value(value, what)
        return found.lower() == "true" if isinstance(found, str) else truthy(found)

    def number(self, value: float | Text, what: str) -> float:
        """A number or a text that makes one; a finding when it does not."""
        if isinstance(value, float):
            return value
        before = len(self.findings.problems)
        found = to_number(self.value(value, what))
        if found != found or found in (float("inf"), float("-inf")):
            if len(self.findings.problems) == before and not self.is_sampled(value):
                self.findings.error(value.at, f"{what} must be a number")
            return 0.0
        return found

    def plain(self, node: yamltree.Node, what: str) -> Any:
        """A whole tree with every text in it rendered."""
        match node:
            case yamltree.Mapping():
                return {key: self.plain(entry.value, what) for key, entry in node.entries.items()}
            case yamltree.Sequence():
                return [self.plain(item, what) for item in node.items]
            case yamltree.Tagged():
                return None
            case yamltree.Scalar():
                if not isinstance(node.value, str):
                    return node.value
                return self.value(Text(node.value, node.at), what)

    def _missing(self, text: Text) -> str:
        return min(_roots(text) - self.facts.keys(), default="")


def _roots(text: Text) -> frozenset[str]:
    """The contexts that a text names; none for one that cannot be read (that is found where it is
    checked)."""
    return _named(text.value) if text.is_late else frozenset()


@lru_cache(maxsize=2048)
def _named(text: str) -> frozenset[str]:
    try:
        return frozenset(path.split(".", 1)[0] for path in references(text))
    except ExpressionError:
        return frozenset()


def texts(node: yamltree.Node) -> Iterator[Text]:
    """Every text of a tree."""
    for part in yamltree.walk(node):
        if isinstance(part, yamltree.Scalar) and isinstance(part.value, str):
            yield Text(part.value, part.at)


def uses_matrix(text: Text) -> bool:
    """Whether a text names the matrix."""
    return "matrix" in _roots(text)
