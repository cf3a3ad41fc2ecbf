"""Warnings about a job beyond its expressions: labels of machines, matrix values that come twice, times that
are over at once, steps that do nothing. Called by `lint`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runyard.dialects.depot.workflow.document import ContainerDoc, JobDoc, StepDoc
from runyard.dialects.depot.workflow.findings import Findings, nearest
from runyard.dialects.depot.workflow.nodes import Text
from runyard.syntax import yamltree
from runyard.syntax.expressions import has_expression
from runyard.syntax.expressions.values import Value, equal

_HOSTED = re.compile(
    r"(?:ubuntu-(?:latest|\d\d\.04|slim)(?:-arm)?|windows-(?:latest|20\d\d|11-arm)|macos-(?:latest|\d\d)(?:-(?:large|xlarge|intel))?"
    r"|(?:ubuntu|windows|macos)-[a-z0-9.]+-\d+-cores?|depot-(?:ubuntu|windows|macos)-[a-z0-9.]+(?:-arm)?(?:-\d+)?"
    r"|self-hosted|linux|windows|macos|x64|arm|arm64|gpu)\Z"
)
_COMMON = (
    "ubuntu-latest",
    "ubuntu-24.04",
    "ubuntu-22.04",
    "depot-ubuntu-24.04",
    "depot-ubuntu-latest",
    "windows-latest",
    "macos-latest",
    "self-hosted",
)


def verify(job: JobDoc, findings: Findings) -> None:
    """Errors that GitHub's own parser gives: the kinds of nodes in a matrix."""
    match job.matrix:
        case None:
            return
        case yamltree.Sequence(at=at):
            findings.error(at, "A sequence was not expected; a matrix is a mapping or an expression")
        case yamltree.Mapping(entries=entries):
            for entry in entries.values():
                if isinstance(entry.value, yamltree.Mapping):
                    findings.error(entry.value.at, "A mapping was not expected; expected a sequence")
                elif isinstance(entry.value, yamltree.Scalar) and not _is_late(entry.value):
                    findings.error(
                        entry.value.at, f"Unexpected value '{entry.value.text[:80]}'", "expected a sequence"
                    )


def lint(job: JobDoc, findings: Findings) -> None:
    """Everything about one job."""
    _labels(job, findings)
    _matrix(job, findings)
    _time(job, findings)
    for container in filter(None, (job.container, *job.services.values())):
        _credentials(container, findings)
    if job.call is None and not job.steps and not findings.errors:  # else they may be there and not readable
        findings.warning(job.at, f"job '{job.id}' has no steps")
    for step in job.steps:
        _step(step, findings)


def _labels(job: JobDoc, findings: Findings) -> None:
    labels = [label for label in job.runs_on.labels if not label.is_late]
    names = [label.value.strip().lower() for label in labels]
    if "self-hosted" not in names and job.runs_on.group is None:
        for label, name in zip(labels, names, strict=True):
            if name and not _HOSTED.match(name):
                message = f"the label '{label.value[:80]}' is none of GitHub's or Depot's; without `self-hosted` it means any runner here"
                findings.warning(label.at, message, nearest(name, _COMMON))
    systems: dict[str, str] = {}
    for label, name in zip(labels, names, strict=True):
        for system in ("ubuntu", "windows", "macos"):
            if name.removeprefix("depot-").startswith(system):
                systems[system] = label.value
        if len(systems) > 1:
            findings.warning(
                label.at,
                f"the labels {' and '.join(systems.values())} are of different systems: no runner has both",
            )
            return


def _time(job: JobDoc, findings: Findings) -> None:
    if isinstance(job.timeout_minutes, float) and job.timeout_minutes <= 0:
        findings.warning(job.at, "`timeout-minutes` must be greater than 0")


def _matrix(job: JobDoc, findings: Findings) -> None:
    if not isinstance(job.matrix, yamltree.Mapping):
        return
    vectors = {
        key: entry.value for key, entry in job.matrix.entries.items() if key not in ("include", "exclude")
    }
    for key, vector in vectors.items():
        items = list(_plain_items(vector))
        for at, (node, value) in enumerate(items):
            if any(equal(value, other) for _, other in items[:at]):
                findings.warning(node.at, f"the value '{value}' comes twice in matrix '{key}'")
    exclude = job.matrix.get("exclude")
    if not isinstance(exclude, yamltree.Sequence):
        return
    for item in exclude.items:
        for key, entry in item.entries.items() if isinstance(item, yamltree.Mapping) else ():
            known = vectors.get(key)
            if (
                isinstance(known, yamltree.Sequence)
                and isinstance(entry.value, yamltree.Scalar)
                and not _is_late(known)
            ):
                values = [value for _, value in _plain_items(known)]
                wanted = entry.value.value
                if (
                    len(values) == len(known.items)
                    and not _is_late(entry.value)
                    and not any(equal(wanted, v) for v in values)
                ):
                    shown = ", ".join(map(str, values))
                    findings.warning(
                        entry.value.at,
                        f"'{wanted}' in `exclude` is no value of matrix '{key}'",
                        f"there are {shown}"[:200],
                    )


def _plain_items(node: yamltree.Node) -> Iterator[tuple[yamltree.Scalar, Value]]:
    for item in node.items if isinstance(node, yamltree.Sequence) else ():
        if isinstance(item, yamltree.Scalar) and not _is_late(item):
            yield item, item.value


def _is_late(node: yamltree.Node) -> bool:
    return any(isinstance(p, yamltree.Scalar) and has_expression(p.text) for p in yamltree.walk(node))


def _credentials(container: ContainerDoc, findings: Findings) -> None:
    password = getattr(container, "password", None)
    if isinstance(password, Text) and not password.is_late and password.value:
        findings.warning(
            password.at, "a password stands in the file for everybody to read", "take it from `secrets`"
        )


def _step(step: StepDoc, findings: Findings) -> None:
    if step.run is not None and not step.run.value.strip():
        findings.warning(step.run.at, "this script is empty")
