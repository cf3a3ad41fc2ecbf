"""Lines for a terminal. Used by the commands that say what stands in a stranger's files, or how those are
called."""

from __future__ import annotations


def printable(line: str) -> str:
    """A stranger's text without what could steer the terminal or begin another line."""
    return line if line.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
