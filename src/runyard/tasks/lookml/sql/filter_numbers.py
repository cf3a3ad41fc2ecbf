"""The grammar of number filters: `5`, `NOT 5`, `>1 AND <100`, `[1,7)`, `1 to 5`, `NULL`; comma and OR mean
OR. Called by `filters`.

One NOT before a list covers the whole list (`NOT 66, 99, 4`); as soon as a later item has its own NOT, each
stands for itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from runyard.tasks.lookml.sql.filter_text import BadFilter, X, any_and_none

_NUMBER = r"[-+]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,3})?"
_SIGNED = re.compile(rf"(>=|<=|>|<|=)\s*({_NUMBER})")
_PLAIN = re.compile(_NUMBER)
_TO = re.compile(rf"({_NUMBER})?\s*to\s*({_NUMBER})?", re.IGNORECASE)
_INTERVAL = re.compile(rf"([(\[])\s*({_NUMBER}|-inf)?\s*,\s*({_NUMBER}|inf)?\s*([)\]])", re.IGNORECASE)
_NOT = re.compile(r"(?:not\b|!=|<>)\s*", re.IGNORECASE)
_AND = re.compile(r"\s*and\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Term:
    """One item: its test on X; a plain number may be covered by a NOT before it."""

    test: str
    is_negated: bool
    is_number: bool


def condition(text: str) -> str:
    """The condition on the mark X; BadFilter when an item is none of the grammar's."""
    terms = [_term(word) for word in _split(text) if word.strip()]
    if _is_covered(terms):
        terms = [Term(t.test, t.is_negated or t.is_number, t.is_number) for t in terms]
    return any_and_none([t.test for t in terms if not t.is_negated], [t.test for t in terms if t.is_negated])


def _is_covered(terms: list[Term]) -> bool:
    """Whether a single NOT is followed by a plain number: then it means all plain numbers."""
    negated = [i for i, t in enumerate(terms) if t.is_negated and t.is_number]
    return len(negated) == 1 and any(t.is_number and not t.is_negated for t in terms[negated[0] + 1 :])


def _split(text: str) -> list[str]:
    """At commas and OR outside brackets."""
    words, word = [], ""
    for token in re.split(r"([(\[\])]|,|\s*\bor\b\s*|(?<=\d)or\s*)", text, flags=re.IGNORECASE):
        is_border = token == "," or token.strip().lower() == "or"  # noqa: S105 - a word of the grammar, no secret
        if is_border and not (word.count("(") + word.count("[") > word.count(")") + word.count("]")):
            words.append(word)
            word = ""
        else:
            word += token
    return [*words, word]


def _term(word: str) -> Term:
    bare = word.strip()
    negation = _NOT.match(bare)
    if negation:
        bare = bare[negation.end() :]
    if bare.upper() == "NULL":
        return Term(f"{X} IS NULL", bool(negation), False)
    if _PLAIN.fullmatch(bare):
        return Term(f"{X} = {_number(bare)}", bool(negation), True)
    interval = _INTERVAL.fullmatch(bare)
    if interval:
        return Term(_between(*interval.groups()), bool(negation), False)
    found = _TO.fullmatch(bare)
    if found and (found.group(1) or found.group(2)):
        return Term(_between("[", found.group(1), found.group(2), "]"), bool(negation), False)
    tests = []
    for part in _AND.split(bare, maxsplit=8):
        signed = _SIGNED.fullmatch(part.strip())
        if not signed:
            raise BadFilter(
                f'"{word.strip()}" is not a number filter such as 5, >1 AND <100, [1,7), NOT 5 or NULL'
            )
        tests.append(f"{X} {signed.group(1)} {_number(signed.group(2))}")
    return Term(tests[0] if len(tests) == 1 else "(" + " AND ".join(tests) + ")", bool(negation), False)


def _between(opening: str, low: str | None, high: str | None, closing: str) -> str:
    tests = []
    if low and low.lower() != "-inf":
        tests.append(f"{X} {'>=' if opening == '[' else '>'} {_number(low)}")
    if high and high.lower() != "inf":
        tests.append(f"{X} {'<=' if closing == ']' else '<'} {_number(high)}")
    return "(" + " AND ".join(tests) + ")" if len(tests) > 1 else tests[0] if tests else f"{X} IS NOT NULL"


def _number(text: str) -> str:
    """`+5` and `5.` are written as databases read them."""
    text = text.removeprefix("+")
    return text + "0" if text.endswith(".") else text
