"""The grammar of string filters: `FOO`, `FOO%`, `-FOO`, `EMPTY`, `NULL`, `"a,b"`, `^%`; comma means OR.
Called by `filters`.

Unquoted white space around an item is cut at commas but kept at the ends of the whole expression (Looker's
published grammar keeps it).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from runyard.tasks.lookml.sql.dialects import Dialect, literal
from runyard.tasks.lookml.sql.filter_text import X, any_and_none

_ESCAPE = "^"


@dataclass(frozen=True, slots=True)
class Term:
    """One item. `kind` is equal, like, null or blank; a `like` value has its literal `%`, `_` and `^` escaped
    by `^`."""

    kind: str
    value: str = ""
    is_negated: bool = False


def condition(text: str, folds_case: bool, dialect: Dialect) -> str:
    """The condition on the mark X."""
    terms = parse(text)
    include = [_test(t, folds_case, dialect) for t in terms if not t.is_negated]
    exclude = [_test(t, folds_case, dialect) for t in terms if t.is_negated]
    return any_and_none(include, exclude)


def parse(text: str) -> list[Term]:
    """The items of an expression; empty ones are dropped."""
    words = _split(text)
    last = len(words) - 1
    trimmed = [_trim(w, cuts_start=i > 0, cuts_end=i < last) for i, w in enumerate(words)]
    return [_term(w) for w in trimmed if w and w != "-"]


def _split(text: str) -> list[str]:
    """At commas outside quotes that are not escaped; quotes count only at an item's start."""
    words, start, at, inside = [], 0, 0, False
    while at < len(text):
        sign = text[at]
        if inside:
            if sign == "\\":
                at += 1
            elif sign == '"':
                inside = False
        elif sign == "^":
            at += 1
        elif sign == '"' and text[start:at].strip() in ("", "-"):
            inside = True
        elif sign == ",":
            words.append(text[start:at])
            start = at + 1
        at += 1
    return [*words, text[start:]]


def _trim(word: str, *, cuts_start: bool, cuts_end: bool) -> str:
    if cuts_start:
        word = word.lstrip()
    if cuts_end:
        cut = word.rstrip()
        word = cut + " " if cut.endswith("^") and len(cut) < len(word) else cut
    return word


def _term(word: str) -> Term:
    is_negated = word.startswith("-")
    bare = word[1:] if is_negated else word
    upper = bare.strip().upper()
    if upper in ("NULL", "EMPTY"):
        return Term("null" if upper == "NULL" else "blank", "", is_negated)
    stripped = bare.strip()
    if len(stripped) >= 2 and stripped.startswith('"') and stripped.endswith('"'):
        return Term("equal", _unquoted(stripped[1:-1]), is_negated)
    return _pattern(bare, is_negated)


def _unquoted(text: str) -> str:
    return text.replace('\\"', '"').replace("\\\\", "\\")


def _pattern(word: str, is_negated: bool) -> Term:
    """Equality, or LIKE when an unescaped wildcard stands in the word."""
    like, plain, is_wild, at = "", "", False, 0
    while at < len(word):
        sign = word[at]
        if sign == "^" and at + 1 < len(word):
            at += 1
            like += f"^{word[at]}" if word[at] in "%_^" else word[at]
            plain += word[at]
        elif sign in "%_":
            is_wild = True
            like += sign
        else:
            like += "^^" if sign == "^" else sign
            plain += sign
        at += 1
    return Term("like", like, is_negated) if is_wild else Term("equal", plain, is_negated)


def _test(term: Term, folds_case: bool, dialect: Dialect) -> str:
    match term.kind:
        case "null":
            return f"{X} IS NULL"
        case "blank":
            return f"({X} IS NULL OR {X} = '')"
    value = term.value.upper() if folds_case else term.value
    x = f"UPPER({X})" if folds_case else X
    if term.kind == "equal":
        return f"{x} = {literal(value, dialect)}"
    if dialect == "bigquery":  # which has no ESCAPE: its patterns are escaped by backslashes
        return f"{x} LIKE {literal(_backslashed(value), dialect)}"
    return f"{x} LIKE {literal(value, dialect)} ESCAPE '^'"


def _backslashed(pattern: str) -> str:
    """A pattern escaped by `^` as one that is escaped by backslashes."""
    return re.sub(r"\^(.)|\\", lambda m: {None: "\\\\", "^": "^"}.get(m[1], f"\\{m[1]}"), pattern)
