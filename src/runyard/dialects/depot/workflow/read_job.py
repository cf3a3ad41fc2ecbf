"""One job of a workflow file. Called by `read`."""

from __future__ import annotations

from runyard.dialects.depot.workflow.availability import Place, check, check_condition
from runyard.dialects.depot.workflow.document import ContainerDoc, JobDoc, StepDoc
from runyard.dialects.depot.workflow.nodes import Reader, Text
from runyard.dialects.depot.workflow.read_keys import read_concurrency, read_defaults, read_permissions
from runyard.dialects.depot.workflow.read_step import read_step
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
_REFUSED = ("services", "snapshot", "uses", "with", "secrets")
_CONTAINER = ("image", "options", "env", "ports", "volumes", "credentials")
MAX_STEPS = 1000


def read_job(reader: Reader, name: str, at: Mark, node: Node) -> JobDoc:
    """The job; an unusable one comes back empty, with findings."""
    job = reader.mapping(node, _KEYS)
    if job is None:
        return JobDoc(name, at)
    parts = {key: entry.value for key, entry in job.entries.items()}
    findings = reader.findings
    for key in _REFUSED:
        if key in parts:
            findings.refused(job.key_at(key), f"`jobs.<id>.{key}`")
    if "environment" in parts:
        # Depot: the `environment` of a job is not honoured.
        findings.warning(job.key_at("environment"), "`environment` is ignored here")
    if "runs-on" not in parts and "uses" not in parts:
        findings.error(at, "Required property is missing: runs-on")
    if "permissions" in parts:
        read_permissions(reader, parts["permissions"])
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
        container=_container(reader, parts.get("container")),
        steps=_steps(reader, parts.get("steps")),
    )


def _steps(reader: Reader, node: Node | None) -> tuple[StepDoc, ...]:
    if node is None:
        return ()
    items = reader.items(node)
    if len(items) > MAX_STEPS:
        reader.findings.error(node.at, f"A job may have at most {MAX_STEPS} steps")
    found: list[StepDoc] = []
    ids: set[str] = set()
    for item in items[:MAX_STEPS]:
        step = read_step(reader, item)
        if step is None:
            continue
        if step.id and step.id.lower() in ids:
            reader.findings.error(step.at, f"The identifier '{step.id}' may not be used more than once")
        ids.add(step.id.lower())
        found.append(step)
    return tuple(found)


def _needs(reader: Reader, node: Node | None) -> tuple[Text, ...]:
    if node is None:
        return ()
    return tuple({text.value: text for text in reader.texts(node) if text.value}.values())


def _runs_on(reader: Reader, node: Node | None) -> tuple[Text, ...]:
    if node is None:
        return ()
    if isinstance(node, yamltree.Mapping):
        # GitHub: {group, labels}; Depot: {size, image}. Sizes mean nothing to the built-in runner.
        found = reader.mapping(node, ("group", "labels", "size", "image"))
        labels = found.get("labels") if found is not None else None
        texts = reader.texts(labels) if labels is not None else []
    else:
        texts = reader.texts(node)
        if not any(text.value for text in texts):
            reader.findings.error(node.at, "`runs-on` must name a label")
    for text in texts:
        check(reader.findings, text, Place.JOB)
    return tuple(texts)


_Strategy = tuple[Node | None, bool | Text, float | Text | None]


def _strategy(reader: Reader, node: Node | None) -> _Strategy:
    if node is None:
        return None, True, None
    if isinstance(node, yamltree.Scalar):
        reader.findings.refused(node.at, "`strategy` as one expression")
        return None, True, None
    found = reader.mapping(node, ("matrix", "fail-fast", "max-parallel"))
    if found is None:
        return None, True, None
    parallel = _number(reader, found.get("max-parallel"), Place.STRATEGY)
    if isinstance(parallel, float) and parallel < 1:
        reader.findings.error(found.entries["max-parallel"].value.at, "`max-parallel` must be at least 1")
    fail_fast = found.get("fail-fast")
    stops = True if fail_fast is None else _boolean(reader, fail_fast, Place.STRATEGY)
    return found.get("matrix"), stops, parallel


def _container(reader: Reader, node: Node | None) -> ContainerDoc | None:
    if node is None:
        return None
    if isinstance(node, yamltree.Scalar):
        image = reader.text(node)
        check(reader.findings, image, Place.JOB)
        # An empty image (also one that an expression makes empty) means: no container.
        return ContainerDoc(image) if image.value else None
    found = reader.mapping(node, _CONTAINER, required=("image",))
    if found is None or "image" not in found.entries:
        return None
    for key in ("options", "ports", "volumes", "credentials"):
        if key in found.entries:
            reader.findings.refused(found.key_at(key), f"`container.{key}`")
    image = reader.filled(found.entries["image"].value, "`container.image`")
    check(reader.findings, image, Place.JOB)
    return ContainerDoc(image, _variables(reader, found.get("env"), Place.CONTAINER_ENV))


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
