"""Text with `${{ … }}` inside, split into literal pieces and parsed expressions.

Called by the package's front. The end of an expression is the first `}}` outside of a `'…'` string, as in the
runner's template reader. Split results are cached by text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from runyard.syntax.expressions.errors import ExpressionError
from runyard.syntax.expressions.parser import Node, parse

OPEN = "${{"
CLOSE = "}}"


@dataclass(frozen=True, slots=True)
class Piece:
    """One `${{ … }}`: its tree, and where its inner text starts in the whole text."""

    node: Node
    offset: int


Part: TypeAlias = str | Piece


@lru_cache(maxsize=1024)
def split(text: str) -> tuple[Part, ...]:
    """Literal pieces and expressions in order; one Piece alone means that the whole text is one
    expression."""
    parts: list[Part] = []
    at = 0
    for start, inner, end in _spans(text):
        if start > at:
            parts.append(text[at:start])
        parts.append(Piece(_parsed(text, inner, end), inner))
        at = end + len(CLOSE)
    if at < len(text) or not parts:
        parts.append(text[at:])
    return tuple(parts)


def errors_in(text: str) -> list[ExpressionError]:
    """What is wrong with each expression of a text; `split` stops at the first."""
    found = []
    try:
        for _, inner, end in _spans(text):
            try:
                _parsed(text, inner, end)
            except ExpressionError as error:
                found.append(error)
    except ExpressionError as error:
        found.append(error)
    return found


def _spans(text: str) -> Iterator[tuple[int, int, int]]:
    """Of each expression: where it starts, where its inner text does, where that ends. ExpressionError for
    one that is not closed."""
    at = 0
    while (start := text.find(OPEN, at)) >= 0:
        inner = start + len(OPEN)
        end = closing(text, inner)
        if end < 0:
            raise ExpressionError(
                "The expression is not closed. An unescaped ${{ was found without }}", start
            )
        yield start, inner, end
        at = end + len(CLOSE)


def _parsed(text: str, inner: int, end: int) -> Node:
    try:
        return parse(text[inner:end])
    except ExpressionError as error:
        raise error.moved(inner) from None


def closing(text: str, at: int) -> int:
    """Where `}}` stands outside of strings, or -1."""
    while True:
        end = text.find(CLOSE, at)
        quote = text.find("'", at)
        if end < 0 or quote < 0 or end < quote:
            return end
        # A doubled quote closes one string and opens the next, which skips the same characters.
        after = text.find("'", quote + 1)
        if after < 0:
            return -1
        at = after + 1


def whole(text: str) -> Piece | None:
    """The only expression of a text that is nothing but one `${{ … }}`. Around it a blank or a line break, as
    `|` leaves one, makes a text of it (GitHub)."""
    parts = split(text)
    if len(parts) == 1 and isinstance(parts[0], Piece):
        return parts[0]
    return None
