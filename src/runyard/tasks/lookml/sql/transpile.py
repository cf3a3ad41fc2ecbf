"""Fragments of a project's SQL said in another dialect, through sqlglot: for projects written for a warehouse
and checked on a local database.

A fragment is transpiled by itself, with its `${}` references standing as names, so that the source map stays
and our own text around it is never touched. Called by `compiler`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from runyard.tasks.lookml.sql.dialects import Dialect

Form = Literal["expression", "table", "query", "join"]
"""What a fragment is: a value or condition, what stands in FROM, a whole SELECT, or join clauses."""

_REFERENCE = re.compile(r"\$\{([^}$]*+)\}")
_NAME = re.compile(r'[`"]?runyard_(\d+)_ref[`"]?')
_AROUND = {
    "expression": ("SELECT ", ""),
    "table": ("SELECT 1 FROM ", ""),
    "query": ("", ""),
    "join": ("SELECT 1 FROM runyard_base ", ""),
}


class Untranslatable(Exception):
    """sqlglot cannot read or say the fragment; `line` counts from 1 inside it."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@lru_cache(maxsize=65_536)
def fragment(text: str, read: Dialect, write: Dialect, form: Form) -> tuple[tuple[bool, str], ...]:
    """(is a reference, text) in order. Raises Untranslatable with sqlglot's own words."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    names: list[str] = []

    def name(found: re.Match[str]) -> str:
        names.append(found.group(1).strip())
        return f"runyard_{len(names) - 1}_ref"

    before, after = _AROUND[form]
    try:
        made = sqlglot.transpile(before + _REFERENCE.sub(name, text) + after, read=read, write=write)
    except (SqlglotError, RecursionError, ValueError) as error:
        line = getattr(error, "errors", None) or [{}]
        message = str(line[0].get("description") or type(error).__name__)
        raise Untranslatable(
            f"the SQL cannot be read as {read}: {message}", int(line[0].get("line") or 1)
        ) from None
    if len(made) != 1:
        raise Untranslatable(f"the SQL is {len(made)} statements, one is expected", 1)
    return _pieces(made[0].removeprefix(before).removesuffix(after), names)


def _pieces(text: str, names: list[str]) -> tuple[tuple[bool, str], ...]:
    pieces: list[tuple[bool, str]] = []
    at = 0
    for found in _NAME.finditer(text):
        if found.start() > at:
            pieces.append((False, text[at : found.start()]))
        pieces.append((True, names[int(found.group(1))]))
        at = found.end()
    if at < len(text):
        pieces.append((False, text[at:]))
    return tuple(pieces)
