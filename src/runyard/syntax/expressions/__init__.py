"""The `${{ }}` language of Actions workflows: evaluate, render, decide conditions, list what a text refers
to.

The engine calls it for gates, the runner for step templates, the depot compiler to check availability. It
knows nothing of workflows: contexts are mappings, the status of a job or step is a `Status`, hashFiles is a
function of the caller. Parsed texts are cached; nothing is logged and no message contains a context's value.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from runyard.syntax.expressions.budget import Budget
from runyard.syntax.expressions.errors import ExpressionError
from runyard.syntax.expressions.evaluator import STATUS_FUNCTIONS, Functions, Status, run, walk
from runyard.syntax.expressions.parser import Call, Index, Literal, Name, Node, Star, parse
from runyard.syntax.expressions.template import OPEN, Piece, split, whole
from runyard.syntax.expressions.values import Value, to_string, truthy

__all__ = [
    "ExpressionError",
    "Functions",
    "Status",
    "Value",
    "condition",
    "condition_functions",
    "condition_references",
    "evaluate",
    "functions_in",
    "has_expression",
    "is_expression",
    "references",
    "render",
    "render_value",
    "to_string",
    "truthy",
    "with_late",
]

_NONE: Functions = {}


def has_expression(text: str) -> bool:
    """Whether a text has a `${{` at all; plain text needs no rendering."""
    return OPEN in text


def is_expression(text: str) -> bool:
    """Whether a text is exactly one `${{ … }}`, so that its value keeps its type."""
    return OPEN in text and whole(text) is not None


def evaluate(
    text: str, context: Mapping[str, Any], *, functions: Functions = _NONE, status: Status | None = None
) -> Value:
    """The value of a bare expression, or of one wrapped in `${{ }}`, or of a text that contains some."""
    if OPEN in text:
        return render_value(text, context, functions=functions, status=status)
    return run(parse(text), context, functions, status, Budget())


def render_value(
    text: str, context: Mapping[str, Any], *, functions: Functions = _NONE, status: Status | None = None
) -> Value:
    """One whole `${{ }}` keeps its type; any other text becomes a string."""
    if OPEN not in text:
        return text
    piece = whole(text)
    if piece is None:
        return render(text, context, functions=functions, status=status)
    return _value(piece, context, functions, status, Budget())


def render(
    text: str, context: Mapping[str, Any], *, functions: Functions = _NONE, status: Status | None = None
) -> str:
    """The text with every `${{ }}` replaced by its value as a string."""
    if OPEN not in text:
        return text
    budget = Budget()
    parts: list[str] = []
    size = 0
    for part in split(text):
        if isinstance(part, Piece):
            part = to_string(_value(part, context, functions, status, budget))
        size += len(part)
        budget.reserve(size, 0)
        parts.append(part)
    return budget.made("".join(parts), 0)


def condition(
    text: str | None, context: Mapping[str, Any], status: Status, *, functions: Functions = _NONE
) -> bool:
    """An `if:`; without a status function it means `success() && (…)`, and empty means `success()`."""
    if text is None or not text.strip():
        return status.success
    if not condition_functions(text) & STATUS_FUNCTIONS and not status.success:
        return False
    return truthy(evaluate(text, context, functions=functions, status=status))


@lru_cache(maxsize=2048)
def functions_in(text: str) -> frozenset[str]:
    """Lower-case names of the functions that a text's `${{ }}` call."""
    return _called(_nodes(text))


@lru_cache(maxsize=2048)
def references(text: str) -> frozenset[str]:
    """Dotted context paths in a text's `${{ }}`, e.g. `github.event.number`, `needs.*.result`; `x[0].y` is
    `x.*.y`."""
    return _referred(_nodes(text))


@lru_cache(maxsize=2048)
def condition_functions(text: str) -> frozenset[str]:
    """As `functions_in`, for a text that may be a bare expression."""
    return _called(_nodes(text) if OPEN in text else (parse(text),))


@lru_cache(maxsize=2048)
def condition_references(text: str) -> frozenset[str]:
    """As `references`, for a text that may be a bare expression."""
    return _referred(_nodes(text) if OPEN in text else (parse(text),))


def with_late(facts: Mapping[str, Any], late: Mapping[str, str]) -> dict[str, Any]:
    """The facts with every late place filled, in order; one that names facts not known yet is null for now.

    The claim calls it with what it knows and the runner again with more. Folders on the way are copied, never
    changed.
    """
    filled: dict[str, Any] = dict(facts)
    for path, template in late.items():
        try:
            value = render_value(template, filled)
        except ExpressionError:
            value = None
        *folders, name = path.split(".")
        at = filled
        for folder in folders:
            inner = at.get(folder)
            at[folder] = dict(inner) if isinstance(inner, Mapping) else {}
            at = at[folder]
        at[name] = value
    return filled


def _value(
    piece: Piece,
    context: Mapping[str, Any],
    functions: Functions,
    status: Status | None,
    budget: Budget,
) -> Value:
    try:
        return run(piece.node, context, functions, status, budget)
    except ExpressionError as error:
        raise error.moved(piece.offset) from None


def _nodes(text: str) -> tuple[Node, ...]:
    if OPEN not in text:
        return ()
    return tuple(part.node for part in split(text) if isinstance(part, Piece))


def _called(roots: tuple[Node, ...]) -> frozenset[str]:
    return frozenset(node.name for root in roots for node in walk(root) if isinstance(node, Call))


def _referred(roots: tuple[Node, ...]) -> frozenset[str]:
    found: set[str] = set()
    for root in roots:
        inner: set[int] = set()
        for node in walk(root):
            if id(node) in inner:
                continue
            path = _path(node, inner)
            if path is not None:
                found.add(path)
    return frozenset(found)


def _path(node: Node, inner: set[int]) -> str | None:
    """The dotted path that ends at a node; marks the nodes it passes. A computed key ends the path early."""
    names: list[str] = []
    while not isinstance(node, Name):
        inner.add(id(node))
        if isinstance(node, Star):
            names.append("*")
            node = node.of
        elif isinstance(node, Index):
            key = node.key
            names = [*names, _segment(key)] if isinstance(key, Literal) else []
            node = node.of
        else:
            return None
    inner.add(id(node))
    return ".".join([node.name.lower(), *reversed(names)])


def _segment(key: Literal) -> str:
    """A written key; which member of an array it is does not matter, so a number counts as all of them."""
    return key.value if isinstance(key.value, str) else "*"
