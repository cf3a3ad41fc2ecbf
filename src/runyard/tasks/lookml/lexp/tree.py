"""The tree of a Looker expression. `at` is an offset in the expression's text; `height` bounds how deep an
evaluation goes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TypeAlias

Value: TypeAlias = "Decimal | str | bool | date | datetime | list[Value] | None"


class LexpError(Exception):
    """What is wrong with an expression, at an offset of its text; `suggestion` is the nearest known word."""

    def __init__(self, message: str, at: int = 0, suggestion: str = "") -> None:
        super().__init__(message)
        self.message, self.at, self.suggestion = message, at, suggestion


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """A number, a text, yes, no or null."""

    at: int
    value: Value
    height: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class FieldName:
    """`${view.field}`."""

    at: int
    name: str
    height: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class FilterText:
    """A filter expression between backticks, the second argument of matches_filter."""

    at: int
    text: str
    height: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """An operator, in lower case (`and`, `or`, `not`, `neg`, `+`, `=`, …), and its operands."""

    at: int
    operator: str
    operands: tuple[Expression, ...]
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A function by its lower-case name."""

    at: int
    name: str
    arguments: tuple[Expression, ...]
    height: int


Expression: TypeAlias = Literal | FieldName | FilterText | Operation | Call


def walk(expression: Expression) -> list[Expression]:
    """Every node, parents first."""
    found: list[Expression] = []
    stack: list[Expression] = [expression]
    while stack:
        node = stack.pop()
        found.append(node)
        if isinstance(node, Operation):
            stack.extend(reversed(node.operands))
        elif isinstance(node, Call):
            stack.extend(reversed(node.arguments))
    return found
