"""Values that exist in variants, each for some repositories, branches, environments or workflows: which one
holds where. Pure.

A condition names what must be so, with one or several values of which one must match; a key that nobody here
knows never matches. The variant with the most conditions wins, of equal ones the newest (depot.md §6: "the
most specific matching variant wins").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Conditions = Mapping[str, Sequence[str]]
KEYS = ("repository", "environment", "branch", "workflow")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where a value is asked for. `workflow` is the file's path; an empty text matches no condition."""

    repository: str
    branch: str = ""
    environment: str = ""
    workflow: str = ""

    def meet(self, conditions: Conditions) -> bool:
        """Whether every condition holds."""
        return all(any(self._is(key, value) for value in values) for key, values in conditions.items())

    def _is(self, key: str, value: str) -> bool:
        match key:
            case "repository":
                return value.lower() == self.repository.lower()
            case "branch":
                return self.branch != "" and stars_match(value, self.branch)
            case "environment":
                return value.lower() == self.environment.lower() != ""
            case "workflow":
                name = self.workflow.rpartition("/")[2]
                return self.workflow != "" and value in (self.workflow, name, name.rpartition(".")[0])
            case _:
                return False


def stars_match(pattern: str, text: str) -> bool:
    """Whether the text is what the pattern says; `*` stands for any text, everything else for itself. Linear
    in both."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    if not text.startswith(first):
        return False
    at = len(first)
    for piece in rest[:-1]:
        found = text.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return text.endswith(rest[-1]) and len(text) - len(rest[-1]) >= at


@dataclass(frozen=True, slots=True)
class Variant:
    """One value of a name. `rank` orders those with equally many conditions: later wins. `owned`: kept with
    the repository itself, which is a condition."""

    key: str
    value: str
    when: Conditions = field(default_factory=dict)
    rank: int = 0
    owned: bool = False


def chosen(variants: Iterable[Variant], at: Circumstances) -> dict[str, str]:
    """The value of every name that has one here."""
    best: dict[str, Variant] = {}
    for variant in variants:
        known = best.get(variant.key)
        if at.meet(variant.when) and (known is None or _weight(variant) > _weight(known)):
            best[variant.key] = variant
    return {key: variant.value for key, variant in best.items()}


def _weight(variant: Variant) -> tuple[int, int]:
    return len(variant.when) + variant.owned, variant.rank
