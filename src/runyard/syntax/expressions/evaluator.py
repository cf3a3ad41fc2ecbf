"""A tree and its contexts to a value.

Called by the package's front (`evaluate`, `condition`, `render`). Names are checked before anything is
evaluated, so `false && typo.x` is an error as it is at the vendor. Pure: the only ways out are the given
functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from runyard.syntax.expressions.budget import Budget
from runyard.syntax.expressions.errors import ExpressionError
from runyard.syntax.expressions.functions import BUILTINS
from runyard.syntax.expressions.parser import Call, Chain, Compare, Index, Literal, Name, Node, Not, Star
from runyard.syntax.expressions.values import (
    Filtered,
    Value,
    equal,
    folded,
    less,
    member,
    members,
    to_string,
    truthy,
)

Functions = Mapping[str, Callable[[Sequence[Value]], Value]]
"""Caller's functions by lower-case name, e.g. `hashfiles`."""

STATUS_FUNCTIONS = frozenset(("always", "success", "failure", "cancelled"))


@dataclass(frozen=True, slots=True)
class Status:
    """What success(), failure() and cancelled() answer; `results` serves `success('job')` at job level.

    `results` maps a job's name to `success`, `failure`, `cancelled` or `skipped`; names ignore case.
    """

    success: bool = True
    failure: bool = False
    cancelled: bool = False
    results: Mapping[str, str] = field(default_factory=dict)


def run(
    node: Node, context: Mapping[str, Any], functions: Functions, status: Status | None, budget: Budget
) -> Value:
    """The value of a tree; raises ExpressionError for unknown names, bad arguments and spent budgets."""
    keys: list[Value] = []
    inner = node
    while type(inner) is Index and type(inner.key) is Literal:
        keys.append(inner.key.value)
        inner = inner.of
    if type(inner) is Name:  # `a.b.c`, which is most of what is ever asked
        budget.spend(2 * len(keys) + 1, node.offset)
        return _along(inner, keys, context)
    evaluation = _Evaluation(context, functions, status, budget)
    evaluation.check(node)
    return evaluation.value(node)


def _along(name: Name, keys: list[Value], context: Mapping[str, Any]) -> Value:
    found, value = member(context, name.name)
    if not found:
        raise ExpressionError(f"Unrecognized named-value: '{name.name}'", name.offset)
    for key in reversed(keys):
        value = member(value, key)[1]
    return value


class _Evaluation:
    def __init__(
        self, context: Mapping[str, Any], functions: Functions, status: Status | None, budget: Budget
    ) -> None:
        self.context = context
        self.functions = functions
        self.status = status
        self.budget = budget

    def check(self, root: Node) -> None:
        for node in walk(root):
            if isinstance(node, Name):
                found, _ = member(self.context, node.name)
                if not found:
                    raise ExpressionError(f"Unrecognized named-value: '{node.name}'", node.offset)
            elif isinstance(node, Call) and not self.knows(node.name):
                raise ExpressionError(f"Unrecognized function: '{node.spelled}'", node.offset)

    def knows(self, name: str) -> bool:
        if name in STATUS_FUNCTIONS:
            return self.status is not None
        return name in BUILTINS or name in self.functions or name == "case"

    def value(self, node: Node) -> Value:
        self.budget.spend(1, node.offset)
        match node:
            case Literal():
                return node.value
            case Name():
                return member(self.context, node.name)[1]
            case Index():
                return self.index(node)
            case Star():
                return self.star(node)
            case Call():
                return self.call(node)
            case Not():
                return not truthy(self.value(node.of))
            case Compare():
                return compare(node.operator, self.value(node.left), self.value(node.right))
            case Chain():
                return self.chain(node)
            case _:
                assert_never(node)

    def chain(self, node: Chain) -> Value:
        stops_at = node.operator == "||"
        value: Value = None
        for item in node.members:
            value = self.value(item)
            if truthy(value) is stops_at:
                return value
        return value

    def index(self, node: Index) -> Value:
        of = self.value(node.of)
        key = self.value(node.key)
        if not isinstance(of, Filtered):
            return member(of, key)[1]
        self.budget.spend(len(of), node.offset)
        found = (member(item, key) for item in of)
        return Filtered(value for is_there, value in found if is_there)

    def star(self, node: Star) -> Value:
        of = self.value(node.of)
        if not isinstance(of, Filtered):
            visited = members(of)
            self.budget.spend(len(visited), node.offset)
            return Filtered(visited)
        flat = Filtered()
        for item in of:
            visited = members(item)
            self.budget.spend(len(visited) + 1, node.offset)
            flat.extend(visited)
        return flat

    def call(self, node: Call) -> Value:
        if node.name == "case":
            return self.case(node)
        if node.name in STATUS_FUNCTIONS:
            return self.status_of(node)
        arguments = [self.value(argument) for argument in node.arguments]
        if node.name in self.functions:
            return self.functions[node.name](arguments)
        return BUILTINS[node.name](arguments, self.budget, node.offset)

    def case(self, node: Call) -> Value:
        """Lazily: the first predicate that is true gives the value; a predicate must be a boolean."""
        *pairs, otherwise = node.arguments
        for predicate, value in zip(pairs[::2], pairs[1::2], strict=True):
            holds = self.value(predicate)
            if not isinstance(holds, bool):
                raise ExpressionError("A predicate of case() must be a boolean", predicate.offset)
            if holds:
                return self.value(value)
        return self.value(otherwise)

    def status_of(self, node: Call) -> bool:
        status = self.status
        assert status is not None  # noqa: S101 - `check` refused it
        names = [folded(to_string(self.value(argument))) for argument in node.arguments]
        results = {folded(name): result for name, result in status.results.items()}
        match node.name:
            case "always":
                return True
            case "cancelled":
                return status.cancelled
            case "success":
                return all(results.get(name) == "success" for name in names) if names else status.success
            case _:
                return any(results.get(name) == "failure" for name in names) if names else status.failure


def compare(operator: str, left: Value, right: Value) -> bool:
    """`>=` is "equal or greater", so an array is never `>=` but always `>=` itself, as at the vendor."""
    match operator:
        case "==":
            return equal(left, right)
        case "!=":
            return not equal(left, right)
        case "<":
            return less(left, right)
        case "<=":
            return less(left, right) or equal(left, right)
        case ">":
            return less(right, left)
        case _:
            return less(right, left) or equal(left, right)


def walk(root: Node) -> list[Node]:
    """Every node of a tree, parents first."""
    found: list[Node] = []
    todo = [root]
    while todo:
        node = todo.pop()
        found.append(node)
        todo.extend(reversed(children(node)))
    return found


def children(node: Node) -> list[Node]:
    """The nodes directly below."""
    match node:
        case Literal() | Name():
            return []
        case Index():
            return [node.of, node.key]
        case Star() | Not():
            return [node.of]
        case Call():
            return list(node.arguments)
        case Compare():
            return [node.left, node.right]
        case Chain():
            return list(node.members)
        case _:
            assert_never(node)
