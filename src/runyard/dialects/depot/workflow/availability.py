"""Which contexts and functions an expression may use in which place, and the check of one text.

The table is GitHub's "context availability" (actions.md §4). Called by the readers for every text with `${{
}}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache

from runyard.dialects.depot.workflow.findings import Findings, nearest
from runyard.dialects.depot.workflow.nodes import Text
from runyard.syntax.expressions import (
    ExpressionError,
    condition_functions,
    condition_references,
    functions_in,
    references,
)
from runyard.syntax.expressions.evaluator import walk
from runyard.syntax.expressions.parser import Call, parse
from runyard.syntax.expressions.template import Piece, errors_in, split
from runyard.syntax.yamltree import Mark

_STATUS = frozenset(("always", "cancelled", "success", "failure"))
_HASH = frozenset(("hashfiles",))
_TRIGGER = frozenset(("github", "inputs", "vars"))
_GATE = _TRIGGER | {"needs"}
_JOB = _GATE | {"strategy", "matrix"}
_STEP_IF = _JOB | {"job", "runner", "env", "steps"}
_STEP = _STEP_IF | {"secrets"}


class Place(Enum):
    """Where an expression stands: allowed contexts, and functions beyond the plain ones."""

    RUN_NAME = ("run-name", _TRIGGER, frozenset[str]())
    ROOT_ENV = ("env", _TRIGGER | {"secrets"}, frozenset[str]())
    JOB_IF = ("jobs.<id>.if", _GATE, _STATUS)
    STRATEGY = ("jobs.<id>.strategy", _GATE, frozenset[str]())
    JOB = ("a key of a job", _JOB, frozenset[str]())
    JOB_ENV = ("jobs.<id>.env", _JOB | {"secrets"}, frozenset[str]())
    DEFAULTS = ("defaults.run", _JOB | {"env"}, frozenset[str]())
    OUTPUTS = ("jobs.<id>.outputs", _STEP, frozenset[str]())
    CONTAINER_ENV = ("jobs.<id>.container.env", _STEP - {"steps"}, frozenset[str]())
    CREDENTIALS = ("credentials", _STEP - {"steps", "job", "runner"}, frozenset[str]())
    CALL_OUTPUT = ("on.workflow_call.outputs", _TRIGGER | {"jobs"}, frozenset[str]())
    ENVIRONMENT_URL = ("environment.url", _STEP - {"secrets"}, frozenset[str]())
    STEP = ("a key of a step", _STEP, _HASH)
    STEP_IF = ("jobs.<id>.steps.if", _STEP_IF, _STATUS | _HASH)

    @property
    def contexts(self) -> frozenset[str]:
        """Names of contexts that may be used."""
        return self.value[1]

    @property
    def functions(self) -> frozenset[str]:
        """Lower-case names of functions that may be used beyond the plain ones."""
        return self.value[2]


_PLAIN = frozenset(("contains", "startswith", "endswith", "format", "join", "tojson", "fromjson", "case"))


def check(findings: Findings, text: Text, place: Place) -> None:
    """Every `${{ }}` of a text can be read and uses only what is there."""
    if not text.is_late:
        return
    try:
        _names(findings, text, place, references(text.value), functions_in(text.value))
    except ExpressionError:
        _unreadable(findings, text, errors_in(text.value))


def hint_for(error: ExpressionError) -> str:
    """What people mean who write the languages that this one looks like."""
    symbol = _SYMBOL.match(error.message)
    return next((hint for start, hint in _HABITS.items() if symbol and symbol[1].startswith(start)), "")


_SYMBOL = re.compile(r"Unexpected symbol: '(.+)'\. Located")
_HABITS = {
    '"': "texts stand in single quotes",
    "=": "equality is ==",
    "+": "there is no arithmetic; format('{0}{1}', a, b) joins texts",
    "?": "write `condition && a || b`",
    "&": "`and` is &&",
    "|": "`or` is ||",
}


def check_condition(findings: Findings, text: Text, place: Place) -> None:
    """The same for an `if`, which may be a bare expression."""
    if not text.value.strip():
        return
    try:
        names, functions = condition_references(text.value), condition_functions(text.value)
        _names(findings, text, place, names, functions)
        if place is Place.STEP_IF and functions & {"success", "failure"}:
            _no_arguments(findings, text)
    except ExpressionError as error:
        _unreadable(findings, text, errors_in(text.value) or [error])


def _unreadable(findings: Findings, text: Text, errors: Iterable[ExpressionError]) -> None:
    for error in errors:
        findings.error(mark_of(text, error.offset), error.message, hint_for(error))


def _no_arguments(findings: Findings, text: Text) -> None:
    """success() and failure() name jobs; a step has none to name."""
    parts = (
        [(part.node, part.offset) for part in split(text.value) if isinstance(part, Piece)]
        if text.is_late
        else [(parse(text.value), 0)]
    )
    for tree, offset in parts:
        for node in walk(tree):
            if isinstance(node, Call) and node.name in ("success", "failure") and node.arguments:
                message = f"Too many parameters supplied: '{node.spelled}'"
                findings.error(
                    mark_of(text, offset + node.offset), message, "only the `if` of a job names jobs"
                )


@lru_cache(maxsize=4096)
def _foreign(
    paths: frozenset[str], functions: frozenset[str], place: Place
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The contexts and the functions among these that the place does not have."""
    roots = {path.split(".", 1)[0] for path in paths}
    return tuple(sorted(roots - place.contexts)), tuple(sorted(functions - _PLAIN - place.functions))


def _names(
    findings: Findings, text: Text, place: Place, paths: frozenset[str], functions: frozenset[str]
) -> None:
    contexts, unknown = _foreign(paths, functions, place)
    for root in contexts:
        where = f"Unrecognized named-value: '{root}'. It may not be used in {place.value[0]}"
        findings.error(mark_of(text, _place(text, root)), where, nearest(root, place.contexts))
    for function in unknown:
        where = f"Unrecognized function: '{function}'. It may not be used in {place.value[0]}"
        findings.error(mark_of(text, _place(text, function)), where)


def _place(text: Text, name: str) -> int:
    """Where a name stands first as a word of its own inside an expression, else the text's start."""
    start = max(text.value.find("${{"), 0)
    found = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", re.IGNORECASE).search(text.value, start)
    return found.start() if found else 0


def mark_of(text: Text, offset: int) -> Mark:
    """Where a character of a scalar stands; exact for one-line scalars, by line for block scalars."""
    at = text.at
    before = text.value[:offset]
    if text.block:
        return Mark(at.line + 1 + before.count("\n"), 0, at.file)
    return at if "\n" in text.value else Mark(at.line, at.column + offset, at.file)
