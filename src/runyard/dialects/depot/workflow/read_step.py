"""One step of a job. Called by `read_job`."""

from __future__ import annotations

from dataclasses import replace

from runyard.dialects.depot.workflow.availability import Place, check, check_condition
from runyard.dialects.depot.workflow.document import ControlDoc, StepDoc
from runyard.dialects.depot.workflow.findings import nearest
from runyard.dialects.depot.workflow.nodes import Reader, Text
from runyard.model.plan import Lane, StepKind, StepRetry
from runyard.syntax import yamltree
from runyard.syntax.yamltree import Node

_COMMON = ("name", "id", "if", "timeout-minutes", "continue-on-error", "env")
_RUN = ("run", "working-directory", "shell", "retry", "background")
_USES = ("uses", "with", "background")
_CONTROLS = {"wait": StepKind.WAIT, "wait-all": StepKind.WAIT, "cancel": StepKind.CANCEL}
_CONTROL_COMMON = ("name", "id", "continue-on-error")
_MAKERS = ("run", "uses", *_CONTROLS)  # of a step, one of these
KEYS = frozenset((*_COMMON, *_RUN, *_USES, *_CONTROLS))
_KEYS_OF = {
    "run": frozenset((*_COMMON, *_RUN)),
    "uses": frozenset((*_COMMON, *_USES)),
    **{word: frozenset((*_CONTROL_COMMON, word)) for word in _CONTROLS},
}
_TEXTS = ("name", "run", "uses", "shell", "working-directory")
_PARALLEL = ("parallel", "fail-fast", "name")
MAX_LANES = 16
MAX_SCRIPT_CHARS = 1 << 18


def read_steps(reader: Reader, node: Node, group: int) -> list[StepDoc]:
    """One step, or those of Depot's `parallel` (contracts/actions.md §9): a list of steps and of
    `{sequential: [...]}`."""
    if not (isinstance(node, yamltree.Mapping) and "parallel" in node.entries):
        one = read_step(reader, node)
        return [] if one is None else [one]
    found = reader.mapping(node, _PARALLEL)
    if found is None:
        return []
    stops = found.get("fail-fast")
    fail_fast = True if stops is None else reader.boolean(stops)
    if isinstance(fail_fast, Text):
        reader.findings.error(fail_fast.at, "`fail-fast` of parallel steps takes no expression")
        fail_fast = True
    items = reader.items(found.entries["parallel"].value)
    if not items or len(items) > MAX_LANES:
        reader.findings.error(found.key_at("parallel"), f"`parallel` takes 1 to {MAX_LANES} steps")
    steps: list[StepDoc] = []
    for branch, item in enumerate(items[:MAX_LANES]):
        lane = Lane(group, branch, fail_fast)
        for inner in _branch(reader, item):
            if isinstance(inner, yamltree.Mapping) and inner.entries.keys() & {"parallel", "sequential"}:
                reader.findings.error(inner.at, "Parallel steps cannot be nested")
                continue
            one = read_step(reader, inner)
            if one is not None and (one.background or one.control is not None):
                message = "Parallel steps run in the background by themselves, and are waited for"
                reader.findings.error(one.at, message, "steps with `run` or `uses`, without `background`")
            elif one is not None:
                steps.append(replace(one, lane=lane))
    return steps


def _branch(reader: Reader, node: Node) -> tuple[Node, ...]:
    if isinstance(node, yamltree.Mapping) and "sequential" in node.entries:
        found = reader.mapping(node, ("sequential", "name"))
        return reader.items(found.entries["sequential"].value) if found is not None else ()
    return (node,)


def _retry(reader: Reader, node: Node | None) -> StepRetry | None:
    """Depot's `retry`: a number, or a mapping."""
    if node is None:
        return None
    if isinstance(node, yamltree.Scalar):
        return StepRetry(int(_within(reader, node, 1, 10)))
    found = reader.mapping(node, ("retries", "backoff", "delay-seconds", "max-delay-seconds"), ("retries",))
    if found is None or "retries" not in found.entries:
        return None
    parts = {key: entry.value for key, entry in found.entries.items()}
    backoff = reader.text(parts["backoff"]).value if "backoff" in parts else "constant"
    if backoff not in ("constant", "exponential"):
        reader.findings.error(
            parts["backoff"].at, f"Unexpected value '{backoff[:80]}'", "constant or exponential"
        )
    return StepRetry(
        int(_within(reader, parts["retries"], 1, 10)),
        _within(reader, parts["delay-seconds"], 0, 3600) if "delay-seconds" in parts else 5.0,
        backoff == "exponential",
        _within(reader, parts["max-delay-seconds"], 0, 3600) if "max-delay-seconds" in parts else 60.0,
    )


def _within(reader: Reader, node: Node, least: int, most: int) -> float:
    value = reader.number(node)
    if isinstance(value, Text) or not least <= value <= most:
        reader.findings.error(node.at, f"A number from {least} to {most} was expected")
        return float(least)
    return value


def read_step(reader: Reader, node: Node) -> StepDoc | None:
    """The step; None, with findings, when it is unusable."""
    step = reader.any_mapping(node)
    if step is None:
        return None
    findings = reader.findings
    parts = {key: entry.value for key, entry in step.entries.items()}
    maker = next((key for key in _MAKERS if key in parts), None)
    for key in parts.keys() - KEYS:
        hint = nearest(key, _KEYS_OF[maker] if maker else KEYS)
        if not hint and maker == "uses":
            hint = "inputs of an action stand under `with`"
        findings.error(step.key_at(key), f"Unexpected value '{key}'", hint)
    if maker is None:
        message = f"There's not enough info to determine what you meant. Add one of these properties: {', '.join(_MAKERS)}"
        findings.error(step.at, message)
        return None
    for key in sorted((parts.keys() & KEYS) - _KEYS_OF[maker]):
        hint = f"a step has only one of {', '.join(f'`{one}`' for one in _MAKERS)}" if key in _MAKERS else ""
        findings.error(step.key_at(key), f"Unexpected value '{key}'", hint)
    texts = {key: _text(reader, parts, key) for key in _TEXTS if key in parts}
    _script(reader, texts.get("run"))
    identifier = step.entries["id"].value if "id" in parts else None
    condition = reader.text(parts["if"]) if "if" in parts else None
    if condition is not None:
        check_condition(findings, condition, Place.STEP_IF)
    return StepDoc(
        at=step.at,
        id=reader.identifier(identifier, "step") if isinstance(identifier, yamltree.Scalar) else "",
        name=texts.get("name"),
        condition=condition,
        run=texts.get("run"),
        uses=texts.get("uses"),
        control=_control(reader, maker, parts[maker]) if maker in _CONTROLS else None,
        background=_background(reader, parts.get("background")),
        inputs=_inputs(reader, parts.get("with")),
        env=_env(reader, parts.get("env")),
        shell=texts.get("shell"),
        cwd=texts.get("working-directory"),
        timeout_minutes=_timeout(reader, parts.get("timeout-minutes")),
        continue_on_error=_tolerates(reader, parts.get("continue-on-error")),
        retry=_retry(reader, parts.get("retry")),
    )


def _control(reader: Reader, key: str, node: Node) -> ControlDoc:
    """`wait` names one step or several, `cancel` one; `wait-all` has no value, or says true."""
    if key == "wait-all":
        if not (isinstance(node, yamltree.Scalar) and node.value in (None, True)):
            reader.findings.error(node.at, "The value of 'wait-all' must be true or omitted")
        return ControlDoc(StepKind.WAIT)
    nodes = reader.items(node) if key == "wait" and isinstance(node, yamltree.Sequence) else (node,)
    targets = []
    for one in nodes:
        text = reader.filled(one, f"`{key}`")
        if text.is_late:
            reader.findings.error(text.at, f"`{key}` takes no expressions")
        else:
            targets.append(text)
    return ControlDoc(_CONTROLS[key], tuple(targets))


def _background(reader: Reader, node: Node | None) -> bool:
    said = False if node is None else reader.boolean(node)
    if isinstance(said, Text):
        reader.findings.error(said.at, "`background` takes no expression")
        return False
    return said


def _text(reader: Reader, parts: dict[str, Node], key: str) -> Text:
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
