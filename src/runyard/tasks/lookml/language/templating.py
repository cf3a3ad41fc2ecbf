"""Liquid in LookML, through python-liquid without files and under budgets. Used by `sql.liquid` (to render)
and the validators (to parse).

What a tag means in a query is asked of `Facts`. With no filter set, as in Looker's SQL validator, `{%
condition %}` is `1=1`, `{% date_start %}` and `{% date_end %}` are NULL. Looker reads tags as laxly as Ruby's
Liquid; `_strict` puts its usual liberties right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from liquid.template import BoundTemplate

MAX_TEMPLATE = 1 << 20


class LiquidProblem(Exception):
    """The template cannot be read or rendered; `line` counts from 1 inside the template."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class Facts(Protocol):
    """What a template may ask about its query."""

    user_attributes: Mapping[str, str]

    @property
    def names(self) -> Mapping[str, object]:
        """The objects that it may name."""

    def parameter(self, name: str) -> str:
        """The SQL literal of a parameter."""

    def condition(self, name: str, body: str) -> str:
        """The filter of a field applied to SQL."""

    def bound(self, name: str, which: str) -> str:
        """The SQL literal of a date filter's `start` or `end`."""


def is_template(text: str) -> bool:
    """Whether the text has any Liquid in it."""
    return "{%" in text or "{{" in text


_TEST = re.compile(r"\{%-?\s*+(?:if|elsif|unless|case|when)\b([^%]*+)%\}")
_LIBERTIES = re.compile(r"""'[^']*+'|"[^"]*+"|#[^\n]*+|\$\{|\{\{|\}\}|[{}()]""")


def _strict(text: str) -> str:
    """The text with what Ruby's Liquid overlooks in tests blanked out: `(a)`, `{{ a }}`, `${a}` and `# …`
    inside a tag. Offsets stay."""
    if not any(sign in text for sign in ("(", "{{", "${", "#")):
        return text
    return _TEST.sub(_without_liberties, text)


def _without_liberties(tag: re.Match[str]) -> str:
    start, end = tag.start(1) - tag.start(), tag.end(1) - tag.start()
    whole = tag.group()
    return whole[:start] + _LIBERTIES.sub(_blank, whole[start:end]) + whole[end:]


def _blank(found: re.Match[str]) -> str:
    text = found.group()
    return text if text[0] in "'\"" else " " * len(text)


_TAG = re.compile(r"\{[{%][^{}%]*+")
_BLANKS = re.compile(r"\s{400}")


def _refuse_blanks(text: str) -> None:
    """python-liquid looks at white space inside a tag once for each of its characters."""
    for tag in _TAG.finditer(text):
        if _BLANKS.search(tag.group()):
            raise LiquidProblem("too much white space in a tag", text.count("\n", 0, tag.start()) + 1)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> BoundTemplate:
    from runyard.tasks.lookml.language.liquid_tags import ENVIRONMENT

    strict = _strict(text)
    _refuse_blanks(strict)
    return ENVIRONMENT.from_string(strict)


def check(text: str) -> None:
    """Raises LiquidProblem when the text is not valid Liquid."""
    _guarded(text, lambda: _parsed(text))


def render(text: str, facts: Facts) -> str:
    """The template's text for these facts; raises LiquidProblem."""
    from runyard.tasks.lookml.language.liquid_tags import rendered

    return str(_guarded(text, lambda: rendered(_parsed(text), facts.names, facts.user_attributes, facts)))


def _guarded(text: str, work: Callable[[], object]) -> object:
    from runyard.tasks.lookml.language.liquid_tags import Broken, guarded

    if len(text) > MAX_TEMPLATE:
        raise LiquidProblem("the template is too large", 1)
    try:
        return guarded(work)
    except Broken as broken:
        raise LiquidProblem(str(broken), text.count("\n", 0, broken.start) + 1) from None
    except RecursionError:
        raise LiquidProblem("the template is nested too deeply", 1) from None
    except (ValueError, TypeError, ArithmeticError, IndexError) as error:
        raise LiquidProblem(f"the template cannot be rendered: {error}", 1) from None
