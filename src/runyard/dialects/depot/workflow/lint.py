"""Warnings about what runs but hardly does what its author meant. Called by `compile.check` only; a plan
never waits for it.

The expressions of every place are judged by what they give there (`inference`): properties that do not exist,
objects used as texts, strangers' text spliced into a script (reliability.md A1 to A3). `lint_jobs` and
`lint_events` look at what is not an expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runyard.dialects.depot.workflow import contexts, lint_events, lint_jobs
from runyard.dialects.depot.workflow.availability import mark_of
from runyard.dialects.depot.workflow.document import JobDoc, StepDoc, WorkflowDoc
from runyard.dialects.depot.workflow.findings import Findings
from runyard.dialects.depot.workflow.inference import Inference, flowing, shown
from runyard.dialects.depot.workflow.lint_actions import LocalActions
from runyard.dialects.depot.workflow.nodes import Text, is_whole
from runyard.dialects.depot.workflow.value_shapes import Shape
from runyard.model.trigger import Files
from runyard.syntax import yamltree
from runyard.syntax.expressions import (
    ExpressionError,
    Status,
    condition,
    condition_functions,
    condition_references,
)
from runyard.syntax.expressions.parser import Node, parse
from runyard.syntax.expressions.template import Piece, split

_STRANGERS = frozenset("body default_branch email head_ref label message name page_name ref title".split())  # noqa: SIM905 - GitHub's own list, as it is written
_OLD = {
    "set-output": 'echo "name=value" >> "$GITHUB_OUTPUT"',
    "save-state": 'echo "name=value" >> "$GITHUB_STATE"',
    "set-env": 'echo "name=value" >> "$GITHUB_ENV"',
    "add-path": 'echo "folder" >> "$GITHUB_PATH"',
}
_OLD_COMMAND = re.compile(r"::(set-output\s+name=|save-state\s+name=|set-env\s+name=|add-path::)")


def lint(doc: WorkflowDoc, findings: Findings, files: Files) -> None:
    """Adds warnings for every part of a document that was read without errors. `files`: the repository that
    it lies in."""
    lint_events.lint(doc, findings)
    on = doc.triggers
    called = on.call.inputs if "workflow_call" in on.events else None
    by_calls = on.call.secrets if on.events == {"workflow_call"} and on.call.secrets else None
    everywhere = contexts.of_file(on.inputs if "workflow_dispatch" in on.events else None, called, by_calls)
    whole = _Place(findings, everywhere)
    group = doc.concurrency.group if doc.concurrency is not None else None
    for text in filter(None, (doc.run_name, *doc.env.values(), group)):
        whole.text(text)
    outputs = _Place(findings, {**everywhere, **contexts.of_jobs(doc.jobs)})
    for text in on.call.outputs.values():
        outputs.text(text)
    by_name = {name.lower(): job for name, job in doc.jobs.items()}
    for job in doc.jobs.values():
        lint_jobs.lint(job, findings)
        place = _Place(findings, {**everywhere, **contexts.of_job(job, by_name)})
        _job(job, place, LocalActions.of(job, files, findings))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where expressions see these contexts."""

    findings: Findings
    shapes: Mapping[str, Shape]

    def text(self, text: Text, *, whole: bool = False) -> None:
        """Every expression of a text. `whole`: one expression may give anything (a matrix, a condition); else
        it must become a text."""
        for node, offset in _expressions(text) if text.is_late else ():
            shape = self.judge(text, node, offset)
            if not whole and shape.kind in ("object", "array", "null"):
                self.say(text, offset + node.offset, f"{shown(node)} is {_an(shape.kind)}, of which a text makes '{shape.kind.title()}'",
                    "toJSON() shows what is in it")  # fmt: skip

    def condition(self, text: Text) -> None:
        """An `if`."""
        if text.is_late and not is_whole(text.value):
            self.findings.warning(
                text.at, "this `if` is always true: there is text around its ${{ }}", "remove the ${{ }}"
            )
        if text.is_late:
            self.text(text, whole=True)
        try:
            if not text.is_late:
                self.judge(text, parse(text.value), 0)
            if not text.is_late or is_whole(text.value):
                self._constant(text)
        except ExpressionError:
            return  # found where it was read

    def _constant(self, text: Text) -> None:
        if condition_references(text.value) or condition_functions(text.value):
            return
        word, hint = ("true", "remove it") if condition(text.value, {}, Status()) else ("false", "")
        self.findings.warning(text.at, f"this `if` is always {word}: it depends on nothing", hint)

    def judge(self, text: Text, node: Node, offset: int) -> Shape:
        """The shape of an expression, its complaints said."""
        inference = Inference(self.shapes)
        shape = inference.of(node)
        for message, at, hint in inference.complaints:
            self.say(text, offset + at, message, hint)
        return shape

    def say(self, text: Text, offset: int, message: str, hint: str = "") -> None:
        """A warning at a character of a text."""
        self.findings.warning(mark_of(text, offset), message, hint)


def _job(job: JobDoc, place: _Place, actions: LocalActions) -> None:
    if job.condition is not None:
        place.condition(job.condition)
    for text in _job_texts(job):
        place.text(text)
    if job.matrix is not None:
        for part in yamltree.walk(job.matrix):
            if isinstance(part, yamltree.Scalar) and isinstance(part.value, str):
                place.text(Text(part.value, part.at), whole=True)
    if job.call is not None:
        for argument in job.call.inputs.values():
            place.text(argument.text, whole=True)
    known: dict[str, Shape] = {}  # of the steps that have run, by id in lower case
    here = _Place(place.findings, {**place.shapes, "steps": Shape("object", known)})
    later: dict[str, Shape] = {}  # of those in the background that nothing has waited for
    for step in job.steps:
        _step(step, here)
        shape = actions.shape(step)
        if step.control is not None:
            joined = (
                later if step.control.targets is None else {one.value.lower() for one in step.control.targets}
            )
            known.update({name: later.pop(name) for name in list(later) if name in joined})
        if step.id:
            (later if step.background else known)[step.id.lower()] = shape
    known.update(later)
    for text in job.outputs.values():
        here.text(text)


def _step(step: StepDoc, place: _Place) -> None:
    if step.condition is not None:
        place.condition(step.condition)
    for text in filter(
        None, (step.name, step.run, step.cwd, step.shell, *step.env.values(), *step.inputs.values())
    ):
        place.text(text)
    for typed in (step.timeout_minutes, step.continue_on_error):
        if isinstance(typed, Text):
            place.text(typed, whole=True)
    scripts = [step.run] if step.run is not None else []
    if step.uses is not None and step.uses.value.lower().startswith("actions/github-script@"):
        scripts += filter(None, [step.inputs.get("script")])
    for script in scripts:
        _strangers(script, place)
        for match in _OLD_COMMAND.finditer(script.value):
            name = re.match(r"[a-z-]+", match[1])
            word = name[0] if name else ""
            place.say(script, match.start(), f"the workflow command `{word}` is deprecated", _OLD[word])


def _strangers(script: Text, place: _Place) -> None:
    for node, offset in _expressions(script) if script.is_late else ():
        for path in flowing(node):
            name = _dotted(path)
            if _is_strangers(name):
                place.say(script, offset + path.offset, f"`{name}` is text of strangers and becomes part of this script",
                    "pass it through `env` and quote the variable")  # fmt: skip


def _is_strangers(path: str) -> bool:
    """Inputs of a dispatch are given by people who may write to the repository."""
    if not path.startswith("github.event.") or path.startswith("github.event.inputs."):
        return path == "github.head_ref"
    return path.rpartition(".")[2] in _STRANGERS


def _job_texts(job: JobDoc) -> Iterator[Text]:
    runs_on = job.runs_on
    yield from filter(
        None, (job.name, *job.env.values(), *runs_on.labels, runs_on.group, runs_on.size, runs_on.image)
    )
    if job.concurrency is not None:
        yield job.concurrency.group
    if job.environment is not None:
        yield job.environment.name
    for container in filter(None, (job.container, *job.services.values())):
        yield from (container.image, *container.env.values())


def _expressions(text: Text) -> list[tuple[Node, int]]:
    """Trees of a text's `${{ }}`, and where in the text their own offsets count from; none for one that
    cannot be read (that is found there)."""
    try:
        parts = split(text.value)
    except ExpressionError:
        return []
    return [(part.node, part.offset) for part in parts if isinstance(part, Piece)]


def _dotted(node: Node) -> str:
    return shown(node).strip("`").lower().replace(".*", "").replace("[…]", "")


def _an(kind: str) -> str:
    return {"object": "an object", "array": "an array"}.get(kind, kind)
