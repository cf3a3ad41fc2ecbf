"""What a style rule is, and what it looks at. A rule is data; `kinds` has one checker per `Kind`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from runyard.syntax.patterns import Pattern
from runyard.tasks.lookml.language.tree import Node


class Kind(StrEnum):
    """How a rule decides; the words of `custom_rules` in the newer form."""

    PATTERN_MATCH = "pattern_match"  # a name or a parameter's value matches a regular expression
    PROPERTY = "property"  # a parameter is there, or is not
    ORDER = "order"  # a block's children of one kind stand in alphabetical order
    FIRST_CHILD = "first_child"  # the child that passes the rule's filters stands first
    UNIQUE = "unique"  # no two of them have the same value


class Severity(StrEnum):
    """`disabled` rules are not run; `warn` findings do not fail the validator."""

    ERROR = "error"
    WARN = "warn"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Condition:
    """A parameter's value must match; with `negative` it must not. Without a pattern: it must be there."""

    parameter: str
    pattern: Pattern | None = None
    negative: bool = False

    def holds(self, node: Node) -> bool:
        """Whether the block fulfils it."""
        child = node.get(self.parameter)
        found = child is not None and (self.pattern is None or self.pattern.found_in(child.value))
        return found is not self.negative


@dataclass(frozen=True, slots=True)
class Rule:
    """`select` names kinds of blocks (`measure`), or a parameter of theirs (`measure.sql`). `filters` say
    which of them the rule is for."""

    code: str
    name: str
    title: str
    kind: Kind
    select: tuple[str, ...]
    filters: tuple[Condition, ...] = ()
    rationale: str = ""
    pattern: Pattern | None = None
    parameter: str = ""  # property: the parameter; unique: the parameter whose value is compared
    negative: bool = False
    refinements: bool = False  # whether refinements are held to it as well
    by_default: bool = True


@dataclass(frozen=True, slots=True)
class Entity:
    """A block of a file. `owner` is the view or explore that it stands in."""

    kind: str
    node: Node
    owner: Node | None = None

    @property
    def name(self) -> str:
        """As findings call it: `view.field`, `explore.join`, or its own name."""
        own = self.node.value.removeprefix("+")
        return f"{self.owner.value.removeprefix('+')}.{own}" if self.owner is not None else own

    @property
    def is_refinement(self) -> bool:
        """Whether it stands in (or is) a refinement."""
        return (self.owner or self.node).value.startswith("+")


FIELDS = ("dimension", "dimension_group", "measure", "filter", "parameter")


def entities(tree: Node) -> Iterator[Entity]:
    """Every block of a file that rules look at, in order."""
    yield Entity("file", tree)
    for node in tree.children:
        if node.key in ("view", "explore", "test", "datagroup"):
            yield Entity(node.key, node)
            for child in node.children:
                if child.key in (*FIELDS, "join", "set"):
                    yield Entity(child.key, child, node)
