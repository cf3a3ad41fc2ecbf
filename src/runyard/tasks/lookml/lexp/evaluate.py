"""Evaluates a Looker expression over fetched rows, a column at a time; and says beforehand what is wrong with
one. Pure.

`Rows` holds the columns by `view.field`. A comparison with null is null; AND, OR and NOT are three-valued;
`if` takes its else for null.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from runyard.tasks.lookml.language.findings import nearest
from runyard.tasks.lookml.lexp.scalars import SCALARS, apply
from runyard.tasks.lookml.lexp.tables import TABULAR, Column
from runyard.tasks.lookml.lexp.tree import (
    Call,
    Expression,
    FieldName,
    FilterText,
    LexpError,
    Literal,
    Operation,
    Value,
    walk,
)
from runyard.tasks.lookml.lexp.values import arithmetic, compare, kind

Matcher = Callable[[str, Column], Column]
"""(filter expression, values) → for each whether it passes; raises LexpError for a bad expression."""

# name → (least, most) arguments; evaluated below because they treat null in their own way.
_LOGIC = {
    "if": (3, 3),
    "case": (1, 200),
    "when": (2, 2),
    "coalesce": (1, 200),
    "is_null": (1, 1),
    "matches_filter": (2, 2),
    "now": (0, 0),
}
_ABSENT = {
    "rand": "a random number has no place in a data test",
    "running_row_total": "row totals need a pivot, and data tests have none",
}


@dataclass(frozen=True)
class Rows:
    """The result of a query. `count` rows; every column has that many values."""

    columns: Mapping[str, Column]
    count: int
    now: datetime
    matches: Matcher


def problems(expression: Expression, fields: Collection[str] | None) -> Iterator[LexpError]:
    """What can be said without rows: unknown functions, fields outside `fields` (None: any), wrong numbers of
    arguments, not a yes/no."""
    for node in walk(expression):
        if isinstance(node, FieldName) and fields is not None and node.name not in fields:
            message = f'field "{node.name}" is not a column of the test\'s explore_source'
            yield LexpError(message, node.at, nearest(node.name, fields))
        elif isinstance(node, Call):
            yield from _call_problems(node)
    if isinstance(expression, Operation) and expression.operator in ("+", "-", "*", "/", "neg"):
        yield LexpError("an assert must be yes or no, this is a number", expression.at)
    elif isinstance(expression, Literal | FilterText) and not isinstance(
        getattr(expression, "value", ""), bool
    ):
        yield LexpError("an assert must be yes or no, this is a constant", expression.at)


def _call_problems(node: Call) -> Iterator[LexpError]:
    found = [_LOGIC.get(node.name)]
    found += [(f.least, f.most) for table in (SCALARS, TABULAR) if (f := table.get(node.name))]
    ranges = [r for r in found if r]
    count = len(node.arguments)
    if not ranges:
        known = {*_LOGIC, *SCALARS, *TABULAR}
        reason = _ABSENT.get(node.name) or ("it needs a pivot" if node.name.startswith("pivot_") else "")
        message = (
            f'unknown function "{node.name}"'
            if not reason
            else f'the function "{node.name}" is not served: {reason}'
        )
        yield LexpError(message, node.at, "" if reason else nearest(node.name, known))
    elif not any(low <= count <= high for low, high in ranges):
        low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
        wanted = str(low) if low == high else f"{low} to {high}" if high < 200 else f"at least {low}"
        yield LexpError(f"{node.name}() takes {wanted} arguments, found {count}", node.at)


class Evaluation:
    """Evaluates expressions over one result."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def asserted(self, expression: Expression) -> list[bool | None]:
        """The assert's value per row; LexpError when it is not yes or no."""
        column = self.column(expression)
        for value in column:
            if value is not None and not isinstance(value, bool):
                raise LexpError(f"an assert must be yes or no, this is {kind(value)}", expression.at)
        return [value if isinstance(value, bool) else None for value in column]

    def column(self, node: Expression) -> Column:
        """The values of a node, one per row."""
        if isinstance(node, Literal):
            return [node.value] * self.rows.count
        if isinstance(node, FieldName):
            if node.name not in self.rows.columns:
                raise LexpError(f'field "{node.name}" is not a column of the test\'s explore_source', node.at)
            return list(self.rows.columns[node.name])
        if isinstance(node, FilterText):
            raise LexpError(
                "a filter expression stands only as the second argument of matches_filter()", node.at
            )
        return self._operation(node) if isinstance(node, Operation) else self._call(node)

    def _operation(self, node: Operation) -> Column:
        columns = [self.column(operand) for operand in node.operands]
        name, at = node.operator, node.at
        if name == "not":
            return [None if v is None else not v for v in self._truths(columns[0], at)]
        if name == "neg":
            zero = self.column(_ZERO)
            return [arithmetic("-", z, v, at) for z, v in zip(zero, columns[0], strict=True)]
        if name in ("and", "or"):
            left, right = (self._truths(c, at) for c in columns)
            combine = _and if name == "and" else _or
            return [combine(a, b) for a, b in zip(left, right, strict=True)]
        pairs = zip(*columns, strict=True)
        if name in ("+", "-", "*", "/"):
            return [arithmetic(name, a, b, at) for a, b in pairs]
        return [compare(name, a, b, at) for a, b in pairs]

    def _truths(self, column: Column, at: int) -> list[bool | None]:
        found: list[bool | None] = []
        for value in column:
            if value is not None and not isinstance(value, bool):
                raise LexpError(f"yes or no is needed here, found {kind(value)}", at)
            found.append(value)
        return found

    def _call(self, node: Call) -> Column:
        for problem in _call_problems(node):
            raise problem
        if node.name in _LOGIC:
            return self._logic(node)
        columns = [self.column(argument) for argument in node.arguments]
        tabular = TABULAR.get(node.name)
        if tabular is not None and tabular.least <= len(columns) <= tabular.most:
            return tabular.compute(columns, self.rows.count, node.at)
        scalar = SCALARS[node.name]
        return [
            apply(node.name, scalar, [c[row] for c in columns], node.at) for row in range(self.rows.count)
        ]

    def _logic(self, node: Call) -> Column:
        arguments, count = node.arguments, self.rows.count
        match node.name:
            case "now":
                return [self.rows.now] * count
            case "is_null":
                return [value is None for value in self.column(arguments[0])]
            case "coalesce":
                columns = [self.column(a) for a in arguments]
                return [next((c[row] for c in columns if c[row] is not None), None) for row in range(count)]
            case "if":
                return self._choice([(arguments[0], arguments[1])], arguments[2], node.at)
            case "case":
                return self._case(node)
            case "matches_filter":
                return self._matches(node)
        raise LexpError("when() stands only inside case()", node.at)

    def _case(self, node: Call) -> Column:
        whens: list[tuple[Expression, Expression]] = []
        for index, argument in enumerate(node.arguments):
            if isinstance(argument, Call) and argument.name == "when" and len(argument.arguments) == 2:
                whens.append((argument.arguments[0], argument.arguments[1]))
            elif index == len(node.arguments) - 1:
                return self._choice(whens, argument, node.at)
            else:
                raise LexpError(
                    "case() takes when(condition, value)s and at the end the value for else", argument.at
                )
        return self._choice(whens, None, node.at)

    def _choice(
        self, whens: list[tuple[Expression, Expression]], other: Expression | None, at: int
    ) -> Column:
        """The value behind the first condition that is yes."""
        found = self.column(other if other is not None else _NULL)
        for condition, value in reversed(whens):
            truths, values = self._truths(self.column(condition), at), self.column(value)
            found = [v if t else f for t, v, f in zip(truths, values, found, strict=True)]
        return found

    def _matches(self, node: Call) -> Column:
        value, text = node.arguments
        if not isinstance(text, FilterText | Literal) or not isinstance(wanted := _text_of(text), str):
            raise LexpError("the filter of matches_filter() stands between backticks", text.at)
        try:
            return self.rows.matches(wanted, self.column(value))
        except LexpError as problem:
            raise LexpError(problem.message, text.at) from None


_ZERO = Literal(0, Decimal(0))
_NULL = Literal(0, None)


def _text_of(node: FilterText | Literal) -> Value:
    return node.text if isinstance(node, FilterText) else node.value


def _and(left: bool | None, right: bool | None) -> bool | None:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def _or(left: bool | None, right: bool | None) -> bool | None:
    if left is True or right is True:
        return True
    return None if left is None or right is None else False
