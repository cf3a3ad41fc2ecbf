"""Lists of patterns in gitignore's syntax: which paths (or names) they leave out. On RE2 like all strangers'
patterns. Called by dialects and tasks.

The last pattern that matches a path, or a folder that it lies in, decides; `!` takes back. Unlike git, which
never looks into a folder that it left out, `*` then `!dbt/*` brings the files of `dbt` back: Datafold
documents exactly that list. Raises `PatternError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runyard.syntax.patterns import Pattern, PatternError, path_glob

MAX_LINES = 1000


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: Pattern
    ignores: bool
    folders_only: bool


class Ignores:
    """A compiled list. Blank lines and `#` comments say nothing."""

    def __init__(self, lines: Sequence[str]) -> None:
        if len(lines) > MAX_LINES:
            raise PatternError(f"at most {MAX_LINES} patterns are read")
        self._rules = [rule for rule in map(_rule, lines) if rule is not None]

    def ignores(self, path: str) -> bool:
        """Whether the path is left out."""
        parts = path.strip("/").split("/")
        folders = ["/".join(parts[:n]) for n in range(1, len(parts))]
        whole = "/".join(parts)
        for rule in reversed(self._rules):
            own = not rule.folders_only and rule.pattern.found_in(whole)
            if own or any(rule.pattern.found_in(folder) for folder in folders):
                return rule.ignores
        return False

    def ignores_all(self, paths: Sequence[str]) -> bool:
        """Whether there are paths, and every one is left out."""
        return bool(paths) and all(map(self.ignores, paths))


def _rule(line: str) -> _Rule | None:
    text = line.rstrip("\r\n")
    while text.endswith(" ") and not text.endswith("\\ "):
        text = text[:-1]
    if not text or text.startswith("#"):
        return None
    takes_back = text.startswith("!")
    text = text.removeprefix("!")
    folders_only = text.endswith("/")
    text = text.rstrip("/")
    if not text:
        return None
    anchored = "/" in text
    text = text.removeprefix("/").replace("{", "\\{").replace("}", "\\}")
    if text.endswith("/**"):
        text += "/*"
    return _Rule(path_glob(text if anchored else f"**/{text}"), not takes_back, folders_only)
