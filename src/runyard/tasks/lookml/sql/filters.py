"""Looker filter expressions as SQL conditions, for measure filters: yes/no, numbers and strings. Called by `measures`.

Date expressions are not compiled here; they raise Unresolved, so that nobody mistakes a missing filter for a filter.
"""

from __future__ import annotations

import re

from runyard.tasks.lookml.sql.expressions import Expression, joined, literal

_NUMBER = re.compile(r"(>=|<=|<>|!=|=|>|<)?\s*(-?\d{1,30}(?:\.\d{1,30})?)")
_NUMERIC = frozenset({"number", "tier", "bin", "count", "sum", "average", "int"})


def is_supported(kind: str) -> bool:
    """Whether filters on a field of this type are compiled."""
    return not kind.startswith("date") and kind not in ("time", "duration", "location", "distance")


def condition(x: Expression, kind: str, text: str) -> Expression | None:
    """The condition that `text` puts on `x`; None when the expression is not understood."""
    if not text.strip():
        return joined("1=1")
    if kind == "yesno":
        word = text.strip().lower()
        if word in ("yes", "true"):
            return x
        return x.wrapped("NOT COALESCE(", ", FALSE)") if word in ("no", "false") else None
    if kind in _NUMERIC:
        return _number(x, text)
    return _string(x, text)


def _number(x: Expression, text: str) -> Expression | None:
    """`5`, `>1 AND <100`, `1, 3`, `NOT 5`, `NULL`, `NOT NULL`; comma means OR, NOT excludes."""
    include: list[Expression] = []
    exclude: list[Expression] = []
    negated = False
    for part in text.split(","):
        word = part.strip()
        if word[:4].upper() == "NOT ":
            word, negated = word[4:].strip(), True
        if word.upper() == "NULL":
            found: Expression | None = joined(x, " IS NULL")
        else:
            found = _all_of(x, [w.strip() for w in re.split(r"(?i)\s+and\s+", word, maxsplit=8)])
        if found is None:
            return None
        (exclude if negated else include).append(found)
    return _both(include, exclude)


def _all_of(x: Expression, words: list[str]) -> Expression | None:
    parts: list[Expression | str] = []
    for word in words:
        match = _NUMBER.fullmatch(word)
        if not match:
            return None
        sign = {"!=": "<>", None: "="}.get(match.group(1), match.group(1))
        parts += [" AND ", x, f" {sign} {match.group(2)}"]
    return joined(*parts[1:])


def _string(x: Expression, text: str) -> Expression:
    """Comma means OR; a leading `-` excludes; `%` and `_` are wild; NULL and EMPTY are words; `"a,b"` and `^` quote."""
    include: list[Expression] = []
    exclude: list[Expression] = []
    for word in _words(text):
        negated = word.startswith("-")
        bare = word[1:] if negated else word
        if bare == "NULL":
            found = joined(x, " IS NULL")
        elif bare == "EMPTY":
            found = joined("(", x, " IS NULL OR ", x, " = '')")
        else:
            found = _like(x, bare)
        (exclude if negated else include).append(found)
    return _both(include, exclude)


def _like(x: Expression, word: str) -> Expression:
    """Equality, or LIKE when an unescaped wildcard stands in the word."""
    out, plain, wild, escaped = "", "", False, False
    for sign in word:
        if escaped:
            out += f"^{sign}" if sign in "%_^" else sign
            plain += sign
            escaped = False
        elif sign == "^":
            escaped = True
        else:
            wild = wild or sign in "%_"
            out += sign
            plain += sign
    if wild:
        return joined(x, f" LIKE {literal(out)} ESCAPE '^'")
    return joined(x, f" = {literal(plain)}")


def _words(text: str) -> list[str]:
    """Split at commas outside quotes."""
    words, word, inside = [], "", False
    for sign in text:
        if sign == '"':
            inside = not inside
        elif sign == "," and not inside:
            words.append(word.strip())
            word = ""
        else:
            word += sign
    return [w for w in [*words, word.strip()] if w]


def _both(include: list[Expression], exclude: list[Expression]) -> Expression:
    """Any of the included and none of the excluded."""
    parts: list[Expression | str] = []
    if include:
        parts.append(_chain(include, " OR "))
    for found in exclude:
        parts += [" AND " if parts else "", found.wrapped("NOT COALESCE(", ", FALSE)")]
    return joined(*parts)


def _chain(found: list[Expression], word: str) -> Expression:
    parts: list[Expression | str] = [found[0]]
    for one in found[1:]:
        parts += [word, one]
    return joined("(", *parts, ")") if len(found) > 1 else found[0]
