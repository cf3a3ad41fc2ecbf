"""Warnings about what runs but hardly does what its author meant. Called by `compile.check` only; a plan never waits for it.

Strangers' text spliced into a script (reliability.md A1 to A3), an `if` that is always true, `needs` and `steps` that do not exist.
"""

from __future__ import annotations

from collections.abc import Iterator

from runyard.dialects.depot.workflow.document import JobDoc, StepDoc, WorkflowDoc
from runyard.dialects.depot.workflow.findings import Findings, nearest
from runyard.dialects.depot.workflow.nodes import Text, is_whole
from runyard.syntax.expressions import ExpressionError, references

_STRANGERS = frozenset("body default_branch email head_ref label message name page_name ref title".split())  # noqa: SIM905 - GitHub's own list, as it is written


def lint(doc: WorkflowDoc, findings: Findings) -> None:
    """Adds warnings for every job of a document that was read without errors."""
    for job in doc.jobs.values():
        if job.condition is not None:
            _condition(job.condition, findings)
        _needs(job, findings)
        known: set[str] = set()
        every = {step.id for step in job.steps if step.id}
        for step in job.steps:
            _step(step, known, every, findings)
            if step.id:
                known.add(step.id)


def _step(step: StepDoc, known: set[str], every: set[str], findings: Findings) -> None:
    if step.condition is not None:
        _condition(step.condition, findings)
    if step.run is not None:
        for path in sorted(filter(_is_strangers, _paths(step.run))):
            message = f"`{path}` is text of strangers and becomes part of this script"
            findings.warning(step.run.at, message, "pass it through `env` and quote the variable")
    for text in _step_texts(step):
        for name in sorted(_seconds(text, "steps") - {other.lower() for other in known}):
            later = name in {other.lower() for other in every}
            message = f"no earlier step of this job has the id '{name}'"
            findings.warning(text.at, message, "it comes later" if later else nearest(name, known))


def _is_strangers(path: str) -> bool:
    """Inputs of a dispatch are given by people who may write to the repository."""
    if not path.startswith("github.event.") or path.startswith("github.event.inputs."):
        return path == "github.head_ref"
    return path.rpartition(".")[2] in _STRANGERS


def _needs(job: JobDoc, findings: Findings) -> None:
    named = {need.value.lower() for need in job.needs}
    for text in _job_texts(job):
        for name in sorted(_seconds(text, "needs") - named):
            message = f"'{name}' is not among the needs of job '{job.id}', so this is empty"
            findings.warning(text.at, message, nearest(name, named))


def _condition(text: Text, findings: Findings) -> None:
    if text.is_late and not is_whole(text.value):
        findings.warning(
            text.at, "this `if` is always true: there is text around its ${{ }}", "remove the ${{ }}"
        )


def _job_texts(job: JobDoc) -> Iterator[Text]:
    yield from filter(None, (_wrapped(job.condition), job.name))
    yield from (*job.env.values(), *job.outputs.values(), *job.runs_on.labels)
    for step in job.steps:
        yield from _step_texts(step)


def _step_texts(step: StepDoc) -> Iterator[Text]:
    yield from filter(None, (_wrapped(step.condition), step.name, step.run, step.cwd))
    yield from (*step.env.values(), *step.inputs.values())


def _seconds(text: Text, root: str) -> set[str]:
    """The `x` of every `root.x` that a text names."""
    found = {path.split(".")[1].lower() for path in _paths(text) if path.startswith(f"{root}.")}
    return found - {"*"}


def _wrapped(condition: Text | None) -> Text | None:
    """An `if` as a text whose expression is marked, so that a bare one is read too."""
    if condition is None or condition.is_late or not condition.value.strip():
        return condition
    return Text("${{" + condition.value + "}}", condition.at, condition.block)


def _paths(text: Text) -> frozenset[str]:
    """Contexts that a text names."""
    try:
        return references(text.value) if text.is_late else frozenset()
    except ExpressionError:
        return frozenset()
