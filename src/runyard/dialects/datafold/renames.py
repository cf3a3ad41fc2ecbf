"""Column renames that people tell in commit messages and comments: `datafold rename OLD NEW [model glob]` on
a line of its own. Pure.

Commits chain in order (a→b, b→c means a→c, each for the models that its glob names); a comment applies to the
whole change (contracts/datafold.md §8.5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runyard.syntax.patterns import PatternError, path_glob

MOST = 500
_LINE = re.compile(
    r"^\s*(?:/?datafold:?|X-Datafold:)\s+(?:remap|rename|remapped|renamed)\s+(\S+)\s+(\S+)(?:\s+(\S+))?\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Rename:
    """One column's old and new name, in models that `models` names (a glob; "" all)."""

    old: str
    new: str
    models: str = ""

    def is_about(self, model: str) -> bool:
        """Whether the glob names this model; a bare name or a dotted path."""
        if not self.models:
            return True
        try:
            glob = path_glob(self.models)
        except PatternError:
            return False
        return glob.found_in(model) or glob.found_in(model.rsplit(".", 1)[-1])


def told(text: str) -> list[Rename]:
    """The directives of one message."""
    found = (_LINE.match(line) for line in text[:100_000].splitlines())
    return [Rename(m[1], m[2], m[3] or "") for m in found if m]


def collect(messages: Iterable[str], comments: Iterable[str]) -> list[Rename]:
    """Every directive of a change: commits oldest first, then comments."""
    return [rename for text in (*messages, *comments) for rename in told(text)][:MOST]


def mapping(renames: Sequence[Rename], model: str) -> list[list[str]]:
    """[old, new] pairs for one model, chained."""
    now: dict[str, str] = {}  # the name before the change → the name after it
    for rename in renames:
        if not rename.is_about(model):
            continue
        before = next((old for old, new in now.items() if new == rename.old), rename.old)
        now[before] = rename.new
    return [[old, new] for old, new in now.items() if old != new]
