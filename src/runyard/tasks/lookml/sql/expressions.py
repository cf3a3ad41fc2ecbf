"""SQL with a source map: an Expression is pieces of SQL that know the file, line and field they came from.
Pure text.

It also carries what it needs: aliases of the explore and derived tables. Anything that cannot become SQL
raises Unresolved with its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from runyard.tasks.lookml.sql.dialects import Dialect

MAX_SQL = 4 << 20
_SIMPLE = re.compile(r'[\w."]+|\d+')
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_RESERVED_WORDS = """
    all analyse analyze and any array as asc both case cast check collate column constraint create cross
    current_date current_time default desc distinct do else end except false fetch filter for foreign
    freeze from full grant group having in initially inner intersect into is join lateral leading left
    like limit natural not null offset on only or order outer primary qualify references returning right
    select some table then to trailing true union unique user using values view when where window with
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())


class Unresolved(Exception):
    """A reference or template that cannot become SQL."""

    def __init__(self, message: str, file: str, line: int, column: int = 0, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.suggestion = suggestion


class Piece(NamedTuple):
    """SQL text and where it came from; `line` is the line of its first character, 0 for text of our own.

    This and Expression are tuples, because a query has thousands of them and tuples are made in a third of
    the time of frozen dataclasses.
    """

    text: str
    file: str = ""
    line: int = 0
    field: str = ""


class Expression(NamedTuple):
    """SQL with what it needs: `aliases` of the explore, `tables` are derived views to be put in WITH."""

    pieces: tuple[Piece, ...]
    aliases: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()

    @property
    def text(self) -> str:
        """The SQL alone."""
        return "".join([p.text for p in self.pieces])

    def wrapped(self, before: str, after: str) -> Expression:
        """With our own text around it."""
        return Expression((Piece(before), *self.pieces, Piece(after)), self.aliases, self.tables)

    def grouped(self) -> Expression:
        """In parentheses unless it is a plain name or number."""
        text = self.text
        return self if _SIMPLE.fullmatch(text) or _is_grouped(text) else self.wrapped("(", ")")


def _is_grouped(text: str) -> bool:
    """Whether one pair of parentheses holds it all. Text with quotes or comments is not judged."""
    if not (text.startswith("(") and text.endswith(")")) or any(
        sign in text for sign in ("'", '"', "--", "/*")
    ):
        return False
    depth = 0
    for index, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if not depth:
            return index == len(text) - 1
    return False


def plain(text: str) -> Expression:
    """SQL of our own."""
    return Expression((Piece(text),))


_TEXT = attrgetter("text")


def joined(*parts: Expression | str) -> Expression:
    """One expression out of several; strings are our own text."""
    pieces: list[Piece] = []
    aliases: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()
    for part in parts:
        if isinstance(part, str):
            pieces.append(Piece(part))
        else:
            pieces += part.pieces
            # Nearly always they are there already; a union would be a new set each time.
            if not part.aliases <= aliases:
                aliases |= part.aliases
            if not part.tables <= tables:
                tables |= part.tables
    if sum(map(len, map(_TEXT, pieces))) > MAX_SQL:
        raise Unresolved("the SQL becomes too large", "", 0)
    return Expression(tuple(pieces), aliases, tables)


def quoted(name: str) -> str:
    """A name as SQL: bare where that is safe, so that SQL written by people (which names it bare) means the
    same."""
    if _NAME.fullmatch(name.lower()) and name.lower() not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


@lru_cache(maxsize=4096)
def identifier(name: str, dialect: Dialect) -> str:
    """The same in a dialect: BigQuery quotes with backticks."""
    found = quoted(name)
    if dialect == "bigquery" and found.startswith('"'):
        return "`" + name.replace("`", "") + "`"
    return found


def label(alias: str, name: str, dialect: Dialect) -> str:
    """The name of an output column, quoted: `"view.field"`; BigQuery allows no dots there, so
    `view_field`."""
    if dialect == "bigquery":
        return f"`{alias}_{name}`".replace("``", "`")
    return '"' + f"{alias}.{name}".replace('"', '""') + '"'


_MARKED = re.compile("([\0\1\2\3])")


def filled(text: str, marks: Mapping[str, Expression]) -> Expression:
    """Our text with expressions in place of one-character marks."""
    parts = _MARKED.split(text)
    return joined(*(marks.get(p, p) for p in parts if p))
