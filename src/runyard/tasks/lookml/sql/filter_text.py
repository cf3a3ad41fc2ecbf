"""What the grammars of filter expressions share: the mark that stands for the filtered SQL, and how terms are
put together."""

from __future__ import annotations

from collections.abc import Iterable

X = "\0"
"""Stands for the filtered expression in the texts that the grammars make."""


class BadFilter(Exception):
    """The filter expression is not of its type's grammar; the message says what was expected."""


def any_and_none(include: Iterable[str], exclude: Iterable[str]) -> str:
    """Any of the included and none of the excluded. Excluding keeps NULL, as Looker's `<> … OR … IS NULL`
    does."""
    wanted, unwanted = list(dict.fromkeys(include)), list(dict.fromkeys(exclude))
    parts = [either(wanted)] if wanted else []
    parts += [f"NOT COALESCE({test}, FALSE)" for test in unwanted]
    return " AND ".join(parts) or "1=1"


def either(tests: list[str]) -> str:
    """One of the tests."""
    return tests[0] if len(tests) == 1 else "(" + " OR ".join(tests) + ")"
