"""What is wrong with `on:` although it can be read: types of activity that do not exist, cron lines that
never fire, patterns that match nothing, inputs whose default does not fit. `verify` finds what GitHub's
parser refuses, `lint` what only its author did not mean. Called by `read` and `lint`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from runyard.dialects.depot.workflow.document import WorkflowDoc
from runyard.dialects.depot.workflow.findings import Findings, nearest
from runyard.syntax import cron
from runyard.syntax.expressions.values import to_number
from runyard.syntax.yamltree import Entry, Mark, Node, Scalar, Sequence
from runyard.syntax.yamltree import Mapping as MappingNode

_PULL = (
    "assigned unassigned labeled unlabeled opened edited closed reopened synchronize converted_to_draft locked unlocked enqueued dequeued milestoned "
    "demilestoned ready_for_review review_requested review_request_removed auto_merge_enabled auto_merge_disabled"
)
TYPES: Mapping[str, str] = {
    "pull_request": _PULL,
    "pull_request_target": _PULL,
    "workflow_run": "completed requested in_progress",
    "merge_group": "checks_requested",
    "branch_protection_rule": "created edited deleted",
    "check_run": "created rerequested completed requested_action",
    "check_suite": "completed",
    "discussion": "created edited deleted transferred pinned unpinned labeled unlabeled locked unlocked category_changed answered unanswered",
    "discussion_comment": "created edited deleted",
    "issue_comment": "created edited deleted",
    "issues": "opened edited deleted transferred pinned unpinned closed reopened assigned unassigned labeled unlabeled locked unlocked milestoned demilestoned typed untyped",
    "label": "created edited deleted",
    "milestone": "created closed opened edited deleted",
    "pull_request_review": "submitted edited dismissed",
    "pull_request_review_comment": "created edited deleted",
    "registry_package": "published updated",
    "release": "published unpublished created edited deleted prereleased released",
    "watch": "started",
}
_FILTERED = frozenset(("pull_request", "pull_request_target"))
_KEYS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(TYPES, ("types",)),
    **dict.fromkeys(_FILTERED, ("types", "branches", "branches-ignore", "paths", "paths-ignore")),
    "workflow_run": ("types", "workflows", "branches", "branches-ignore"),
    "merge_group": ("types", "branches", "branches-ignore"),
    "repository_dispatch": ("types",),
}
_SHORTEST_S = 300
_BAD_REF = re.compile(r"[ ~^:]")


def verify(findings: Findings, on: Node) -> None:
    """Errors that GitHub's own parser gives."""
    for event, config in _events(on):
        if event == "schedule":
            _schedule(findings, config)
        elif event in _KEYS and isinstance(config, MappingNode):
            for name, entry in config.entries.items():
                if name not in _KEYS[event]:
                    findings.error(entry.key.at, f"Unexpected value '{name}'", nearest(name, _KEYS[event]))
            _types(findings, event, config)
        elif event == "workflow_dispatch":
            for name, entry in _inputs(config):
                _dispatched(findings, name, entry)


def lint(doc: WorkflowDoc, findings: Findings) -> None:
    """Warnings about what is accepted."""
    for event, config in _events(doc.on):
        if isinstance(config, MappingNode):
            for name in ("branches", "branches-ignore", "tags", "tags-ignore", "paths", "paths-ignore"):
                _globs(findings, name, config.get(name))
        if event == "workflow_run" and (
            not isinstance(config, MappingNode) or config.get("workflows") is None
        ):
            findings.warning(_at(doc.on, event), "`workflow_run` names no workflows, so it never starts")
        if event == "schedule":
            if isinstance(config, Sequence) and not config.items:
                findings.warning(config.at, "`schedule` is empty")
            for line in _crons(config):
                _often(findings, line)
        if event == "workflow_dispatch":
            for name, entry in _inputs(config):
                _defaults(findings, name, entry)


def _events(on: Node | None) -> Iterator[tuple[str, Node]]:
    if isinstance(on, MappingNode):
        for name, entry in on.entries.items():
            yield name, entry.value


def _at(on: Node | None, event: str) -> Mark:
    assert isinstance(on, MappingNode)  # noqa: S101 - `_events` went through it
    return on.key_at(event)


def _types(findings: Findings, event: str, config: MappingNode) -> None:
    node = config.get("types")
    known = TYPES.get(event, "").split()
    if node is None or not known:
        return
    for item in node.items if isinstance(node, Sequence) else (node,):
        if isinstance(item, Scalar) and item.text not in known:
            findings.error(item.at, f"Unexpected value '{item.text[:80]}'", nearest(item.text, known))


def _schedule(findings: Findings, config: Node) -> None:
    if not isinstance(config, Sequence):
        if not (isinstance(config, Scalar) and config.value is None):
            findings.error(
                config.at,
                f"A {'mapping' if isinstance(config, MappingNode) else 'scalar'} was not expected; expected a sequence",
            )
        return
    for item in config.items:
        if not isinstance(item, MappingNode):
            findings.error(item.at, "A schedule is a mapping with `cron`")
            continue
        for name, entry in item.entries.items():
            if name not in ("cron", "timezone"):
                findings.error(
                    entry.key.at, f"Unexpected value '{name}'", nearest(name, ("cron", "timezone"))
                )
        if item.get("cron") is None:
            findings.error(item.at, "Required property is missing: cron")


def _crons(config: Node) -> Iterator[Scalar]:
    for item in config.items if isinstance(config, Sequence) else ():
        line = item.get("cron") if isinstance(item, MappingNode) else None
        if isinstance(line, Scalar):
            yield line


def _often(findings: Findings, line: Scalar) -> None:
    if line.text.split()[:1] and line.text.split()[0].isdigit():
        return  # once an hour at most
    at = 1_750_000_000_000
    try:
        for _ in range(12):
            following = cron.next_after(line.text, "UTC", at)
            if following - at < _SHORTEST_S * 1000 and at % 60_000 == 0 and at != 1_750_000_000_000:
                findings.warning(
                    line.at, "this runs more often than every 5 minutes, which is the shortest interval"
                )
                return
            at = following
    except cron.CronError:
        return


def _inputs(config: Node) -> Iterator[tuple[str, Entry]]:
    inputs = config.get("inputs") if isinstance(config, MappingNode) else None
    if isinstance(inputs, MappingNode):
        yield from inputs.entries.items()


def _dispatched(findings: Findings, name: str, entry: Entry) -> None:
    if not isinstance(entry.value, MappingNode):
        return
    kind, default, options = (entry.value.get(key) for key in ("type", "default", "options"))
    type_ = kind.text if isinstance(kind, Scalar) else "string"
    if type_ != "choice" and options is not None:
        findings.error(entry.value.key_at("options"), "Input type is not 'choice', but 'options' is defined")
    if (
        type_ == "boolean"
        and isinstance(default, Scalar)
        and not isinstance(default.value, bool)
        and default.value is not None
    ):
        findings.error(default.at, f"The default of input '{name}' is not a boolean", "true or false")


def _defaults(findings: Findings, name: str, entry: Entry) -> None:
    if not isinstance(entry.value, MappingNode):
        return
    kind, default, options = (entry.value.get(key) for key in ("type", "default", "options"))
    type_ = kind.text if isinstance(kind, Scalar) else "string"
    if not isinstance(default, Scalar) or default.value is None:
        return
    if type_ == "number" and not math.isfinite(to_number(default.value)):
        findings.warning(default.at, f"the default of input '{name}' is not a number")
    if type_ == "choice" and isinstance(options, Sequence):
        known = [item.text for item in options.items if isinstance(item, Scalar)]
        if default.text not in known:
            findings.warning(
                default.at,
                f"the default of input '{name}' is none of its options",
                nearest(default.text, known),
            )


def _globs(findings: Findings, name: str, node: Node | None) -> None:
    if node is None:
        return
    items = node.items if isinstance(node, Sequence) else (node,)
    if not items:
        findings.warning(node.at, f"`{name}` is empty")
    for item in items:
        if not isinstance(item, Scalar):
            continue
        text = item.text.removeprefix("!")
        if name.startswith("paths"):
            if text.startswith(("./", "../", "/")) or text != text.strip():
                findings.warning(
                    item.at,
                    f"no path matches '{item.text[:80]}'",
                    "paths are written from the repository's root, without ./",
                )
        elif bad := _BAD_REF.search(text):
            findings.warning(
                item.at,
                f"no branch or tag matches '{item.text[:80]}': a name has no '{bad[0]}'",
                "this is a glob, not a regular expression",
            )
