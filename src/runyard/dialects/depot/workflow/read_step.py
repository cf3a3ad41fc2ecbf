"""One step of a job. Called by `read_job`."""

from __future__ import annotations

from runyard.dialects.depot.workflow.availability import Place, check, check_condition
from runyard.dialects.depot.workflow.document import StepDoc
from runyard.dialects.depot.workflow.nodes import Reader, Text
from runyard.syntax import yamltree
from runyard.syntax.yamltree import Node

_COMMON = ("name", "id", "if", "timeout-minutes", "continue-on-error", "env")
_RUN = ("run", "working-directory", "shell", "retry", "background")
_USES = ("uses", "with", "background")
_REFUSED = ("parallel", "wait", "wait-all", "cancel", "retry", "background")
_KEYS = frozenset((*_COMMON, *_RUN, *_USES, *_REFUSED))
MAX_SCRIPT_CHARS = 1 << 18


def read_step(reader: Reader, node: Node) -> StepDoc | None:
    """The step; None, with findings, when it is unusable."""
    step = reader.mapping(node, _KEYS)
    if step is None:
        return None
    findings = reader.findings
    parts = {key: entry.value for key, entry in step.entries.items()}
    for key in _REFUSED:
        if key in parts:
            findings.refused(step.key_at(key), f"`steps.{key}`")
            return None
    if "run" in parts and "uses" in parts:
        findings.error(step.key_at("uses"), "Unexpected value 'uses'", "a step has either `run` or `uses`")
    if "run" not in parts and "uses" not in parts:
        message = (
            "There's not enough info to determine what you meant. Add one of these properties: run, uses"
        )
        findings.error(step.at, message)
        return None
    foreign = set(parts) - set(_COMMON) - set(_RUN if "run" in parts else _USES)
    for key in sorted(foreign & _KEYS - {"uses"}):
        findings.error(step.key_at(key), f"Unexpected value '{key}'")
    texts = {key: _text(reader, parts, key) for key in ("name", "run", "uses", "shell", "working-directory")}
    _script(reader, texts["run"])
    identifier = step.entries["id"].value if "id" in parts else None
    condition = reader.text(parts["if"]) if "if" in parts else None
    if condition is not None:
        check_condition(findings, condition, Place.STEP_IF)
    return StepDoc(
        at=step.at,
        id=reader.identifier(identifier, "step") if isinstance(identifier, yamltree.Scalar) else "",
        name=texts["name"],
        condition=condition,
        run=texts["run"],
        uses=texts["uses"],
        inputs=_inputs(reader, parts.get("with")),
        env=_env(reader, parts.get("env")),
        shell=texts["shell"],
        cwd=texts["working-directory"],
        timeout_minutes=_timeout(reader, parts.get("timeout-minutes")),
        continue_on_error=_tolerates(reader, parts.get("continue-on-error")),
    )


def _text(reader: Reader, parts: dict[str, Node], key: str) -> Text | None:
    if key not in parts:
        return None
    text = reader.filled(parts[key], f"`{key}`") if key in ("uses", "shell") else reader.text(parts[key])
    if key == "uses" and text.is_late:
        reader.findings.error(text.at, "`uses` takes no expressions")
    else:
        check(reader.findings, text, Place.STEP)
    return text


def _script(reader: Reader, run: Text | None) -> None:
    if run is None:
        return
    if "\0" in run.value:
        reader.findings.error(run.at, "The script contains a NUL character")
    if len(run.value) > MAX_SCRIPT_CHARS:
        reader.findings.error(run.at, f"The script is longer than {MAX_SCRIPT_CHARS} characters")


def _inputs(reader: Reader, node: Node | None) -> dict[str, Text]:
    found: dict[str, Text] = {}
    for name, entry in reader.entries(node):
        found[name.lower()] = reader.text(entry.value)
        check(reader.findings, found[name.lower()], Place.STEP)
    return found


def _env(reader: Reader, node: Node | None) -> dict[str, Text]:
    found = reader.variables(node)
    for text in found.values():
        check(reader.findings, text, Place.STEP)
    return found


def _timeout(reader: Reader, node: Node | None) -> float | Text | None:
    if node is None:
        return None
    found = reader.number(node)
    if isinstance(found, Text):
        check(reader.findings, found, Place.STEP)
    elif found <= 0:
        reader.findings.error(node.at, "`timeout-minutes` must be greater than 0")
    return found


def _tolerates(reader: Reader, node: Node | None) -> bool | Text:
    if node is None:
        return False
    found = reader.boolean(node)
    if isinstance(found, Text):
        check(reader.findings, found, Place.STEP)
    return found
