"""`on`: reading it, and whether a push or a dispatch starts a workflow (actions.md §2); `events` has the
others.

GitHub's events that are not served here are checked by name, and start nothing here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from runyard.dialects.depot.workflow.document import (
    Callable,
    EventFilter,
    InputDoc,
    PushFilter,
    ScheduleDoc,
    Triggers,
)
from runyard.dialects.depot.workflow.events import KEYS as EVENT_KEYS
from runyard.dialects.depot.workflow.events import read_filter, read_schedules, touches
from runyard.dialects.depot.workflow.findings import Findings, nearest
from runyard.dialects.depot.workflow.nodes import Reader
from runyard.dialects.depot.workflow.read_call import read_callable
from runyard.model.errors import Invalid
from runyard.syntax import yamltree
from runyard.syntax.expressions.values import to_number
from runyard.syntax.patterns import PatternError, ordered_filter
from runyard.syntax.yamltree import Node, Scalar

SERVED_EVENTS = frozenset(
    [
        "push",
        "pull_request",
        "pull_request_target",
        "schedule",
        "workflow_call",
        "workflow_dispatch",
        "workflow_run",
        "merge_group",
        "repository_dispatch",
    ]
)
OTHER_EVENTS = frozenset(
    [
        "branch_protection_rule",
        "check_run",
        "check_suite",
        "create",
        "delete",
        "deployment",
        "deployment_status",
        "discussion",
        "discussion_comment",
        "fork",
        "gollum",
        "image_version",
        "issue_comment",
        "issues",
        "label",
        "milestone",
        "page_build",
        "public",
        "pull_request_review",
        "pull_request_review_comment",
        "registry_package",
        "release",
        "status",
        "watch",
    ]
)
_FILTERS = ("branches", "branches-ignore", "tags", "tags-ignore", "paths", "paths-ignore")
_KEYS: Mapping[str, frozenset[str]] = {
    "push": frozenset(_FILTERS),
    "workflow_dispatch": frozenset(("inputs",)),
    "workflow_call": frozenset(("inputs", "secrets", "outputs")),
    "schedule": frozenset(("cron", "timezone")),
    **EVENT_KEYS,
}
_INPUT_KEYS = frozenset(("description", "type", "required", "default", "options", "deprecationMessage"))
_INPUT_TYPES = frozenset(("string", "boolean", "number", "environment", "choice"))
MAX_INPUTS = 25
MAX_PATTERNS = 256


def read(reader: Reader, node: Node) -> Triggers:
    """`on` as a name, a list of names, or a mapping."""
    match node:
        case yamltree.Mapping():
            names = [entry.key for entry in node.entries.values()]
        case yamltree.Sequence():
            names = [item for item in node.items if isinstance(item, Scalar)]
        case Scalar():
            names = [node]
        case _:
            names = []
    events = {name.text for name in names}
    known = SERVED_EVENTS | OTHER_EVENTS
    for name in names:
        if name.text not in known:
            reader.findings.error(name.at, f"Unexpected value '{name.text}'", nearest(name.text, known))
        elif name.text not in SERVED_EVENTS:
            reader.findings.warning(name.at, f"The event '{name.text}' starts nothing here")
    if not events:
        reader.findings.error(node.at, "`on` names no event")
    push, inputs, call = PushFilter(), dict[str, InputDoc](), Callable()
    filters: dict[str, EventFilter] = {}
    schedules: tuple[ScheduleDoc, ...] = ()
    if isinstance(node, yamltree.Mapping):
        for event in sorted(events & _KEYS.keys()):
            config = node.get(event)
            if config is None or (isinstance(config, Scalar) and config.value is None):
                continue
            if event == "schedule":
                schedules = read_schedules(reader, config)
                continue
            found = reader.mapping(config, _KEYS[event])
            if found is not None and event == "push":
                push = _push(reader, found)
            elif found is not None and event == "workflow_dispatch":
                inputs = _inputs(reader, found.get("inputs"))
            elif found is not None and event == "workflow_call":
                call = read_callable(reader, found)
            elif found is not None:
                filters[event] = read_filter(reader, event, found)
    return Triggers(frozenset(events), push, inputs, call, filters, schedules)


def _push(reader: Reader, node: yamltree.Mapping) -> PushFilter:
    found: dict[str, tuple[str, ...]] = {}
    for key in _FILTERS:
        value = node.get(key)
        if value is None:
            continue
        texts = reader.texts(value)[:MAX_PATTERNS]
        found[key] = tuple(text.value for text in texts)
        try:
            ordered_filter(found[key])
        except PatternError as error:
            reader.findings.error(value.at, f"Invalid pattern in `{key}`: {error}")
        if not key.endswith("-ignore") and texts and all(text.value.startswith("!") for text in texts):
            reader.findings.error(value.at, f"`{key}` needs at least one pattern that does not start with !")
    for key in ("branches", "tags", "paths"):
        if key in found and f"{key}-ignore" in found:
            reader.findings.error(
                node.key_at(f"{key}-ignore"), f"`{key}` and `{key}-ignore` exclude each other"
            )
    return PushFilter(**{key.replace("-", "_"): value for key, value in found.items()})


def _inputs(reader: Reader, node: Node | None) -> dict[str, InputDoc]:
    found: dict[str, InputDoc] = {}
    for name, entry in reader.entries(node):
        reader.identifier(entry.key, "input")
        found[name] = InputDoc(name)
        if isinstance(entry.value, Scalar) and entry.value.value is None:
            continue
        config = reader.mapping(entry.value, _INPUT_KEYS)
        if config is not None:
            found[name] = _input(reader, name, config)
    if len(found) > MAX_INPUTS and node is not None:
        reader.findings.error(node.at, f"workflow_dispatch takes at most {MAX_INPUTS} inputs")
    return found


def _input(reader: Reader, name: str, config: yamltree.Mapping) -> InputDoc:
    parts = {key: entry.value for key, entry in config.entries.items()}
    type_ = reader.text(parts["type"]).value if "type" in parts else "string"
    if type_ not in _INPUT_TYPES:
        reader.findings.error(parts["type"].at, f"Unexpected value '{type_}'", nearest(type_, _INPUT_TYPES))
    options = tuple(text.value for text in reader.texts(parts["options"])) if "options" in parts else ()
    if type_ == "choice" and not options:
        reader.findings.error(config.at, "Required property is missing: options")
    required = reader.boolean(parts["required"]) if "required" in parts else False
    default = reader.text(parts["default"]) if "default" in parts else None
    description = reader.text(parts["description"]).value if "description" in parts else ""
    return InputDoc(name, type_, required is True, default, options, description)


def takes_push(filter: PushFilter, ref: str, tag: bool, changed: frozenset[str] | None) -> bool:
    """Whether a push of this branch or tag, with these changed files (None: unknown), starts the workflow."""
    wanted, ignored = (filter.tags, filter.tags_ignore) if tag else (filter.branches, filter.branches_ignore)
    others = (filter.branches, filter.branches_ignore) if tag else (filter.tags, filter.tags_ignore)
    if wanted is None and ignored is None and any(other is not None for other in others):
        return False
    if wanted is not None and not ordered_filter(wanted)(ref):
        return False
    if ignored is not None and ordered_filter(ignored)(ref):
        return False
    # Path filters are not evaluated for tags (actions.md §2).
    return tag or touches(filter.paths, filter.paths_ignore, changed)


def dispatch_inputs(
    declared: Mapping[str, InputDoc], given: Mapping[str, object], *, path: str
) -> dict[str, object]:
    """Inputs with their types; Invalid for unknown, missing or badly typed ones."""
    findings = Findings()
    here = yamltree.Mark(0, 0, path)
    for name in given:
        if name not in declared:
            findings.error(here, f"Unexpected inputs provided: ['{name}']", nearest(name, declared))
    values = {name: _value(findings, here, doc, given.get(name)) for name, doc in declared.items()}
    findings.raise_errors()
    return values


def _value(findings: Findings, at: yamltree.Mark, doc: InputDoc, given: object) -> object:
    if given is None:
        if doc.default is not None:
            given = doc.default.value
        elif doc.required and doc.type == "choice":
            given = doc.options[0]
        elif doc.required:
            findings.error(at, f"Required input '{doc.name}' not provided")
    text = "" if given is None else given if isinstance(given, str) else str(given).lower()
    match doc.type:
        case "boolean":
            if text.lower() not in ("true", "false", ""):
                findings.error(at, f"Input '{doc.name}' must be true or false")
            return text.lower() == "true"
        case "number":
            found = to_number(text)
            if not math.isfinite(found):
                findings.error(at, f"Input '{doc.name}' must be a number")
                return 0
            return found
        case "choice" if text and text not in doc.options:
            findings.error(
                at, f"Provided value '{text[:80]}' for input '{doc.name}' not in the list of allowed values"
            )
    return text


def is_skipped(message: str) -> bool:
    """Whether a head commit's message asks for no runs."""
    marks: Sequence[str] = ("[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]")
    if any(mark in message for mark in marks):
        return True
    return message.rstrip().rpartition("\n")[2].strip().lower() in ("skip-checks: true", "skip-checks:true")


def require_dispatch(triggers: Triggers, path: str) -> None:
    """Invalid when a workflow cannot be dispatched."""
    if "workflow_dispatch" not in triggers.events:
        raise Invalid(f"Workflow does not have 'workflow_dispatch' trigger: {path}")
