"""One job of a workflow file. Called by `read`."""

from __future__ import annotations

from collections.abc import Sequence

from runyard.dialects.depot.workflow.availability import Place, check, check_condition
from runyard.dialects.depot.workflow.document import ControlDoc, JobDoc, RunsOn, StepDoc
from runyard.dialects.depot.workflow.findings import Findings, nearest
from runyard.dialects.depot.workflow.nodes import Reader, Text
from runyard.dialects.depot.workflow.read_call import read_call
from runyard.dialects.depot.workflow.read_container import read_container, read_services
from runyard.dialects.depot.workflow.read_keys import (
    read_concurrency,
    read_defaults,
    read_environment,
    read_permissions,
)
from runyard.dialects.depot.workflow.read_step import KEYS as STEP_KEYS
from runyard.dialects.depot.workflow.read_step import read_steps
from runyard.syntax import yamltree
from runyard.syntax.yamltree import Mark, Node

_KEYS = frozenset(
    [
        "runs-on",
        "needs",
        "if",
        "strategy",
        "name",
        "timeout-minutes",
        "cancel-timeout-minutes",
        "continue-on-error",
        "container",
        "services",
        "env",
        "environment",
        "permissions",
        "concurrency",
        "outputs",
        "defaults",
        "steps",
        "snapshot",
        "uses",
        "with",
        "secrets",
    ]
)
MAX_STEPS = 1000
SIZES = ("2x8", "4x16", "8x32", "16x64", "32x128", "64x256")


def read_job(reader: Reader, name: str, at: Mark, node: Node) -> JobDoc:
    """The job; an unusable one comes back empty, with findings."""
    job = reader.any_mapping(node)
    if job is None:
        return JobDoc(name, at)
    parts = {key: entry.value for key, entry in job.entries.items()}
    findings = reader.findings
    hints = {_strange(findings, job.key_at(key), key) for key in parts if key not in _KEYS}
    if "snapshot" in parts:
        findings.refused(job.key_at("snapshot"), "`jobs.<id>.snapshot`")
    call = read_call(reader, job) if "uses" in parts else None
    if "uses" not in parts:
        for key in ("with", "secrets"):
            if key in parts:
                findings.error(job.key_at(key), f"Unexpected value '{key}'", "only a job with `uses` has it")
        if "runs-on" not in parts and nearest("runs-on", ("runs-on",)) not in hints:
            findings.error(at, "Required property is missing: runs-on")
    permissions = read_permissions(reader, parts["permissions"]) if "permissions" in parts else None
    if "cancel-timeout-minutes" in parts:
        findings.warning(
            job.key_at("cancel-timeout-minutes"), "`cancel-timeout-minutes` is ignored: it is 5 here"
        )
    strategy = _strategy(reader, parts.get("strategy"))
    condition = reader.text(parts["if"]) if "if" in parts else None
    if condition is not None:
        check_condition(findings, condition, Place.JOB_IF)
    return JobDoc(
        id=name,
        at=at,
        name=_text(reader, parts.get("name"), Place.JOB),
        needs=_needs(reader, parts.get("needs")),
        condition=condition,
        runs_on=_runs_on(reader, parts.get("runs-on")),
        matrix=strategy[0],
        fail_fast=strategy[1],
        max_parallel=strategy[2],
        env=_variables(reader, parts.get("env"), Place.JOB_ENV),
        outputs=_variables_free(reader, parts.get("outputs"), Place.OUTPUTS),
        defaults=read_defaults(reader, parts.get("defaults")),
        timeout_minutes=_number(reader, parts.get("timeout-minutes"), Place.JOB),
        continue_on_error=_boolean(reader, parts.get("continue-on-error"), Place.JOB),
        concurrency=read_concurrency(reader, parts.get("concurrency"), Place.JOB),
        container=read_container(reader, parts.get("container")),
        services=read_services(reader, parts.get("services")),
        environment=read_environment(reader, parts.get("environment")),
        permissions=permissions,
        call=call,
        steps=_steps(reader, parts.get("steps")),
    )


def _strange(findings: Findings, at: Mark, key: str) -> str:
    """A key that no job has; answers the hint that it was given."""
    hint = "a key of a step; indent it under its `- `" if key in STEP_KEYS else nearest(key, _KEYS)
    findings.error(at, f"Unexpected value '{key}'", hint)
    return hint


def _steps(reader: Reader, node: Node | None) -> tuple[StepDoc, ...]:
    if node is None:
        return ()
    items = reader.items(node)
    if len(items) > MAX_STEPS:
        reader.findings.error(node.at, f"A job may have at most {MAX_STEPS} steps")
    found: list[StepDoc] = []
    ids: set[str] = set()
    read = [step for group, item in enumerate(items[:MAX_STEPS]) for step in read_steps(reader, item, group)]
    for step in read:
        if step.id and step.id.lower() in ids:
            reader.findings.error(step.at, f"The identifier '{step.id}' may not be used more than once")
        if step.control is not None:
            _targets(reader, step.control, found)
        ids.add(step.id.lower())
        found.append(step)
    return tuple(found)


def _targets(reader: Reader, control: ControlDoc, before: Sequence[StepDoc]) -> None:
    """What is waited for or canceled stands before; one that is not in the background has ended long since
    (GitHub takes that)."""
    known = {step.id: step for step in before if step.id}
    for target in control.targets or ():
        if target.value not in known:
            hint = nearest(target.value, [name for name, step in known.items() if step.background])
            reader.findings.error(target.at, f"Step references unknown step ID '{target.value[:80]}'", hint)
        elif not known[target.value].background:
            reader.findings.warning(target.at, f"the step '{target.value}' does not run in the background")


def _needs(reader: Reader, node: Node | None) -> tuple[Text, ...]:
    if node is None:
        return ()
    found: dict[str, Text] = {}
    for text in reader.texts(node):
        if text.value in found:
            reader.findings.warning(text.at, f"Job '{text.value}' is named twice in `needs`")
        elif text.value:
            found[text.value] = text
    return tuple(found.values())


def _runs_on(reader: Reader, node: Node | None) -> RunsOn:
    """A label, several, or GitHub's {group, labels}, or Depot's {size, image}."""
    if node is None:
        return RunsOn()
    if not isinstance(node, yamltree.Mapping):
        texts = reader.texts(node)
        if not any(text.value for text in texts):
            reader.findings.error(node.at, "`runs-on` must name a label")
        for text in texts:
            check(reader.findings, text, Place.JOB)
        return RunsOn(tuple(texts))
    found = reader.mapping(node, ("group", "labels", "size", "image"))
    if found is None:
        return RunsOn()
    labels = found.get("labels")
    texts = reader.texts(labels) if labels is not None else []
    for text in texts:
        check(reader.findings, text, Place.JOB)
    group, size, image = (_text(reader, found.get(key), Place.JOB) for key in ("group", "size", "image"))
    if not texts and not (group or size or image):
        reader.findings.error(node.at, "`runs-on` must name a label")
    if size is not None and not size.is_late and size.value not in SIZES:
        reader.findings.error(size.at, f"Unexpected value '{size.value[:80]}'", nearest(size.value, SIZES))
    return RunsOn(tuple(texts), group, size, image)


_Strategy = tuple[Node | None, bool | Text, float | Text | None]


def _strategy(reader: Reader, node: Node | None) -> _Strategy:
    if node is None:
        return None, True, None
    if isinstance(node, yamltree.Scalar):
        # GitHub takes no expression here either: `matrix` may be one.
        reader.findings.error(node.at, "A scalar was not expected; expected a mapping")
        return None, True, None
    found = reader.mapping(node, ("matrix", "fail-fast", "max-parallel"))
    if found is None:
        return None, True, None
    parallel = _number(reader, found.get("max-parallel"), Place.STRATEGY)
    if isinstance(parallel, float) and parallel < 1:
        reader.findings.error(found.entries["max-parallel"].value.at, "`max-parallel` must be at least 1")
    fail_fast = found.get("fail-fast")
    stops = True if fail_fast is None else _boolean(reader, fail_fast, Place.STRATEGY)
    matrix = found.get("matrix")
    if matrix is not None:
        for part in yamltree.walk(matrix):
            if isinstance(part, yamltree.Scalar) and isinstance(part.value, str):
                check(reader.findings, reader.text(part), Place.STRATEGY)
    return matrix, stops, parallel


def _variables(reader: Reader, node: Node | None, place: Place) -> dict[str, Text]:
    found = reader.variables(node)
    for text in found.values():
        check(reader.findings, text, place)
    return found


def _variables_free(reader: Reader, node: Node | None, place: Place) -> dict[str, Text]:
    found: dict[str, Text] = {}
    for _, entry in reader.entries(node):
        name = reader.identifier(entry.key, "output")
        found[name] = reader.text(entry.value)
        check(reader.findings, found[name], place)
    return found


def _text(reader: Reader, node: Node | None, place: Place) -> Text | None:
    if node is None:
        return None
    text = reader.text(node)
    check(reader.findings, text, place)
    return text


def _number(reader: Reader, node: Node | None, place: Place) -> float | Text | None:
    if node is None:
        return None
    found = reader.number(node)
    if isinstance(found, Text):
        check(reader.findings, found, place)
    return found


def _boolean(reader: Reader, node: Node | None, place: Place) -> bool | Text:
    if node is None:
        return False
    found = reader.boolean(node)
    if isinstance(found, Text):
        check(reader.findings, found, place)
    return found
