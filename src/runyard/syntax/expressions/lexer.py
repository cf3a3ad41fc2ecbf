"""Text of one expression to tokens, after the Actions runner's lexical analyser.

Called by the parser only. Linear in the text; strings are `'…'` with `''` inside, numbers follow JavaScript's
`Number()` grammar, and a keyword after a dot is always a property name (so `x.true` is legal).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from runyard.syntax.expressions.errors import MAX_LENGTH, ExpressionError


class Kind(enum.Enum):
    """What a token is to the grammar."""

    LITERAL = "literal"
    NAME = "name"
    PROPERTY = "property"
    MARK = "mark"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `value` is the literal's value, `text` its spelling."""

    kind: Kind
    text: str
    offset: int
    value: object = None


_BOUNDARY = frozenset("()[],.!<>=&|'* \t\r\n\v\f")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")
_PAIRS = frozenset(("!=", "==", "<=", ">=", "&&", "||"))
_WORDS: dict[str, object] = {
    "true": True,
    "false": False,
    "null": None,
    "NaN": float("nan"),
    "Infinity": float("inf"),
}


def number(text: str) -> float:
    """JavaScript's `Number()` of a trimmed text; NaN when it is none."""
    if _DECIMAL.match(text):
        return float(text)
    body = text.lstrip("+-")
    if body == "Infinity" and len(text) - len(body) <= 1:
        return float("-inf") if text[0] == "-" else float("inf")
    digits = text[2:]
    try:
        if text[:2] in ("0x", "0X") and digits.isalnum():
            return float(int(digits, 16))
        if text[:2] in ("0o", "0O") and digits.isalnum():
            return float(int(digits, 8))
    except (ValueError, OverflowError):
        return float("nan")
    return float("nan")


def unexpected(what: str, token: str, offset: int, text: str) -> ExpressionError:
    """The runner's wording: `Unexpected symbol: 'x'. Located at position N within expression: …`."""
    shown = text if len(text) <= 200 else text[:200] + "…"
    return ExpressionError(
        f"{what}: '{token}'. Located at position {offset + 1} within expression: {shown}", offset
    )


def tokens(text: str) -> list[Token]:
    """All tokens and a closing END; raises at the first symbol that is none."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"Exceeded max expression length {MAX_LENGTH}", 0)
    found: list[Token] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char.isspace():
            at += 1
            continue
        if char == "'":
            token, at = _string(text, at)
        elif char in "+-" or char.isdigit() or (char == "." and _starts_number(found)):
            token, at = _number(text, at)
        elif char in _BOUNDARY or char in "{}":
            token, at = _mark(text, at)
        else:
            token, at = _word(text, at, found)
        found.append(token)
    found.append(Token(Kind.END, "", len(text)))
    return found


def _starts_number(before: list[Token]) -> bool:
    """A dot begins a number unless something that can be dereferenced stands before it."""
    if not before:
        return True
    last = before[-1]
    return last.kind is Kind.MARK and last.text not in (")", "]", "*")


def _string(text: str, start: int) -> tuple[Token, int]:
    at = start + 1
    parts: list[str] = []
    while True:
        end = text.find("'", at)
        if end < 0:
            raise unexpected("Unexpected symbol", text[start:], start, text)
        parts.append(text[at:end])
        if text[end + 1 : end + 2] != "'":
            return Token(Kind.LITERAL, text[start : end + 1], start, "".join(parts)), end + 1
        parts.append("'")
        at = end + 2


def _number(text: str, start: int) -> tuple[Token, int]:
    at = start + 1
    while at < len(text) and (text[at] == "." or text[at] not in _BOUNDARY):
        at += 1
    word = text[start:at]
    value = number(word)
    if value != value:
        raise unexpected("Unexpected symbol", word, start, text)
    return Token(Kind.LITERAL, word, start, value), at


def _mark(text: str, start: int) -> tuple[Token, int]:
    pair = text[start : start + 2]
    if pair in _PAIRS:
        return Token(Kind.MARK, pair, start), start + 2
    char = text[start]
    if char in "=&|{}":
        raise unexpected("Unexpected symbol", char, start, text)
    return Token(Kind.MARK, char, start), start + 1


def _word(text: str, start: int, before: list[Token]) -> tuple[Token, int]:
    at = start
    while at < len(text) and text[at] not in _BOUNDARY:
        at += 1
    word = text[start:at]
    if not _NAME.match(word):
        raise unexpected("Unexpected symbol", word, start, text)
    if before and before[-1].kind is Kind.MARK and before[-1].text == ".":
        return Token(Kind.PROPERTY, word, start), at
    if word in _WORDS:
        return Token(Kind.LITERAL, word, start, _WORDS[word]), at
    return Token(Kind.NAME, word, start), at
