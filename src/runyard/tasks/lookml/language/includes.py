"""What an `include` names: `/x` from the root, `x` from the including file's folder, `//other/x` from
`imported_projects/other`. Pure.

`*` stays in a folder, `**` does not; the suffix `.lkml` may be left out. Called by `project`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from runyard.syntax import patterns
from runyard.tasks.lookml.language.files import IMPORTED, home

MAX_PATTERN = 500
_ENDINGS = ("", ".lkml", ".lookml")


def pattern_from_root(pattern: str, path: str) -> str | None:
    """The pattern of an include in the file `path`, relative to the project's root; None when it leads
    outside."""
    if pattern.startswith("//"):
        joined = posixpath.join(IMPORTED, pattern[2:])
    elif pattern.startswith("/"):
        joined = posixpath.join(home(path), pattern.lstrip("/"))
    else:
        joined = posixpath.join(posixpath.dirname(path), pattern)
    # normpath would eat the "**/.." of a hostile pattern; such a pattern just names nothing.
    clean = posixpath.normpath(joined)
    return None if clean.startswith(("..", "/")) else clean


def matching(pattern: str, known: Sequence[str]) -> list[str]:
    """The known paths that a pattern from the root names, sorted. RE2: linear whatever the pattern says."""
    if "*" not in pattern:
        wanted = {pattern + e for e in _ENDINGS}
        return sorted(p for p in known if p in wanted)
    if len(pattern) > MAX_PATTERN:
        return []
    matcher = patterns.compile(f"^{_translate(pattern)}(?:\\.lkml|\\.lookml)?$")
    return sorted(p for p in known if matcher.found_in(p))


def _translate(pattern: str) -> str:
    """A glob as a regular expression."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            out.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            out.append(".*")
            at += 2
        elif pattern[at] == "*":
            out.append("[^/]*")
            at += 1
        else:
            out.append(re.escape(pattern[at]))
            at += 1
    return "".join(out)
