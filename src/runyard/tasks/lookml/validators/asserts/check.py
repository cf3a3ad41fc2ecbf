"""What is wrong with a data test before a query runs: its explore, fields, filters and expressions. Part of
the LookML validator."""

from __future__ import annotations

from collections.abc import Iterator

from runyard.tasks.lookml.language.findings import Finding, Severity, nearest
from runyard.tasks.lookml.language.model import Explore, Model
from runyard.tasks.lookml.language.references import filter_items
from runyard.tasks.lookml.language.tree import Node, items
from runyard.tasks.lookml.lexp.evaluate import problems
from runyard.tasks.lookml.lexp.parser import parse
from runyard.tasks.lookml.lexp.tree import LexpError
from runyard.tasks.lookml.validators import filter_checks
from runyard.tasks.lookml.validators.asserts.tests import Assertion, DataTest, read

_FOREIGN = ("derived_column", "bind_filters", "bind_all_filters")
_KNOWN = ("explore_source", "assert")


def of_model(model: Model) -> Iterator[Finding]:
    """Every finding about the model's tests."""
    seen: dict[str, Node] = {}
    for node in model.nodes("test"):
        first = seen.setdefault(node.value, node)
        if first is not node:
            yield _found(
                read(model, node),
                node,
                "duplicate",
                f'there is already a test named "{node.value}" ({first.file.path}:{first.line})',
            )
        else:
            yield from _test(read(model, node))


def _test(test: DataTest) -> Iterator[Finding]:
    if test.source is None:
        yield _found(test, test.node, "missing", f'test "{test.name}" has no explore_source')
        return
    if not test.assertions:
        yield _found(test, test.node, "missing", f'test "{test.name}" has no assert')
    for child in test.node.children:
        if child.key not in _KNOWN:
            message = f'unknown parameter "{child.key}" in test "{test.name}"'
            yield _found(test, child, "unknown_parameter", message, nearest(child.key, _KNOWN))
    for child in test.source.all(*_FOREIGN):
        message = f'{child.key} has no place in the explore_source of test "{test.name}"'
        yield _found(test, child, "unknown_parameter", message)
    explore = test.target()
    if explore is None:
        guess = nearest(test.explore, test.model.explores.roots)
        message = f'unknown explore "{test.explore}" in test "{test.name}"'
        yield _found(test, test.source, "unknown_explore", message, guess)
        return
    if not test.columns:
        yield _found(test, test.source, "missing", f'the explore_source of test "{test.name}" has no column')
    yield from _fields(test, test.source, explore)
    yield from filter_checks.of_source(explore, test.source, f'test "{test.name}"')
    for assertion in test.assertions:
        yield from _expression(test, assertion)


def _fields(test: DataTest, source: Node, explore: Explore) -> Iterator[Finding]:
    """Fields of columns, filters and sorts."""
    columns = {c.value for c in source.all("column")}
    named = [(c.text("field") or c.value, c.get("field") or c) for c in source.all("column")]
    named += [(name, node) for name, _, node in filter_items(source)]
    named += [
        (i.key or i.value, i)
        for b in source.all("sorts")
        for i in items(b)
        if (i.key or i.value) not in columns
    ]
    for name, node in named:
        owner = name.rpartition(".")[0] or explore.alias
        if explore.find(name) is not None or explore.is_open(owner):
            continue
        view = explore.views.get(owner)
        short = name.rpartition(".")[2]
        guess = nearest(short, view.fields) if view is not None else nearest(owner, explore.views)
        suggestion = f"{owner}.{guess}" if view is not None and guess else f"{guess}.{short}" if guess else ""
        yield _found(test, node, "unknown_field", f'unknown field "{name}" in test "{test.name}"', suggestion)


def _expression(test: DataTest, assertion: Assertion) -> Iterator[Finding]:
    node = assertion.expression
    if node is None or not node.value.strip():
        yield _found(
            test,
            assertion.node,
            "missing",
            f'assert "{assertion.name}" of test "{test.name}" has no expression',
        )
        return
    where = f'assert "{assertion.name}" of test "{test.name}"'
    try:
        tree = parse(node.value)
    except LexpError as problem:
        yield _located(test, node, problem, f"{where}: {problem.message}")
        return
    for found in problems(tree, [field for _, field in test.columns]):
        yield _located(test, node, found, f"{where}: {found.message}")


def _located(test: DataTest, node: Node, problem: LexpError, message: str) -> Finding:
    line, column = node.file.place(min(node.value_at + problem.at, len(node.file.text)))
    return _finding(test, node, "expression", message, problem.suggestion, (line, column))


def _found(test: DataTest, node: Node, code: str, message: str, suggestion: str = "") -> Finding:
    return _finding(test, node, code, message, suggestion, node.place)


def _finding(
    test: DataTest, node: Node, code: str, message: str, suggestion: str, place: tuple[int, int]
) -> Finding:
    return Finding(
        code,
        message,
        Severity.ERROR,
        node.file.path,
        *place,
        test.model.name,
        test.explore,
        suggestion=suggestion,
    )
