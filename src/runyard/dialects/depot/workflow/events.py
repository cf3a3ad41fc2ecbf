"""Events other than push and dispatch: reading their configuration, and whether a workflow takes one
(actions.md §2). Called by `triggers` and compile."""

from __future__ import annotations

from collections.abc import Mapping

from runyard.dialects.depot.workflow.document import EventFilter, ScheduleDoc, Triggers
from runyard.dialects.depot.workflow.findings import nearest
from runyard.dialects.depot.workflow.nodes import Reader
from runyard.syntax import cron, yamltree
from runyard.syntax.cron import CronError
from runyard.syntax.patterns import PatternError, ordered_filter
from runyard.syntax.yamltree import Node

PULL_REQUESTS = ("pull_request", "pull_request_target")
PULL_REQUEST_TYPES = frozenset(
    "assigned unassigned labeled unlabeled opened edited closed reopened synchronize converted_to_draft locked unlocked enqueued dequeued milestoned "  # noqa: SIM905
    "demilestoned ready_for_review review_requested review_request_removed auto_merge_enabled auto_merge_disabled".split()
)
Patterns = tuple[str, ...] | None
_BRANCHES = ("branches", "branches-ignore")
KEYS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(PULL_REQUESTS, frozenset(("types", *_BRANCHES, "paths", "paths-ignore"))),
    "workflow_run": frozenset(("types", "workflows", *_BRANCHES)),
    "merge_group": frozenset(("types", *_BRANCHES)),
    "repository_dispatch": frozenset(("types",)),
}
TYPES: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(PULL_REQUESTS, PULL_REQUEST_TYPES),
    "workflow_run": frozenset(("completed", "requested", "in_progress")),
    "merge_group": frozenset(("checks_requested",)),
}
DEFAULT_TYPES: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(PULL_REQUESTS, frozenset(("opened", "synchronize", "reopened"))),
    "workflow_run": frozenset(("completed", "requested")),
    "merge_group": frozenset(("checks_requested",)),
}
MAX_PATTERNS = 256


def read_filter(reader: Reader, event: str, node: yamltree.Mapping) -> EventFilter:
    """The configuration of one event."""
    found: dict[str, tuple[str, ...]] = {}
    for key in (*_BRANCHES, "paths", "paths-ignore", "types", "workflows"):
        value = node.get(key)
        if value is None or (isinstance(value, yamltree.Scalar) and value.value is None):
            continue
        texts = reader.texts(value)[:MAX_PATTERNS]
        found[key] = tuple(text.value for text in texts)
        if key == "types":
            for text in texts:
                known = TYPES.get(event)
                if known is not None and text.value not in known:
                    hint = nearest(text.value, known)
                    reader.findings.error(text.at, f"Unexpected value '{text.value[:80]}'", hint)
        elif key != "workflows":
            _check_patterns(reader, key, value, found[key])
    for key in ("branches", "paths"):
        if key in found and f"{key}-ignore" in found:
            reader.findings.error(
                node.key_at(f"{key}-ignore"), f"`{key}` and `{key}-ignore` exclude each other"
            )
    if event == "workflow_run" and not found.get("workflows"):
        reader.findings.error(node.at, "Required property is missing: workflows")
    workflows = found.pop("workflows", ())
    return EventFilter(**{key.replace("-", "_"): value for key, value in found.items()}, workflows=workflows)


def _check_patterns(reader: Reader, key: str, node: Node, patterns: tuple[str, ...]) -> None:
    try:
        ordered_filter(patterns)
    except PatternError as error:
        reader.findings.error(node.at, f"Invalid pattern in `{key}`: {error}")
    if not key.endswith("-ignore") and patterns and all(text.startswith("!") for text in patterns):
        reader.findings.error(node.at, f"`{key}` needs at least one pattern that does not start with !")


def read_schedules(reader: Reader, node: Node) -> tuple[ScheduleDoc, ...]:
    """`on.schedule`: five fields, in UTC or a named zone."""
    found: list[ScheduleDoc] = []
    for item in reader.items(node):
        entry = reader.mapping(item, ("cron", "timezone"), required=("cron",))
        if entry is None or "cron" not in entry.entries:
            continue
        line = reader.text(entry.entries["cron"].value)
        zone_node = entry.get("timezone")
        zone = reader.text(zone_node).value if zone_node is not None else "UTC"
        try:
            if line.value.strip().startswith("@"):
                raise CronError(f"{line.value[:80]!r} is not a cron line of five fields")
            cron.check(line.value, zone)
        except CronError as error:
            reader.findings.error(line.at, f"Invalid schedule: {error}")
            continue
        found.append(ScheduleDoc(line.value.strip(), zone))
    return tuple(found)


def takes(
    triggers: Triggers, event: str, action: str, branch: str, changed: frozenset[str] | None, name: str = ""
) -> bool:
    """Whether a workflow wants this event; a repository_dispatch without `types` takes any. `branch` is the
    base of a pull request, or that of the run which a workflow_run is about; `name` is the workflow that a
    workflow_run is about."""
    if event not in triggers.events:
        return False
    filter = triggers.filters.get(event, EventFilter())
    types = filter.types if filter.types is not None else DEFAULT_TYPES.get(event)
    if types is not None and action not in types:
        return False
    if event == "workflow_run" and not any(name == wanted for wanted in filter.workflows):
        return False
    if filter.branches is not None and not ordered_filter(filter.branches)(branch):
        return False
    if filter.branches_ignore is not None and ordered_filter(filter.branches_ignore)(branch):
        return False
    return touches(filter.paths, filter.paths_ignore, changed)


def touches(wanted: Patterns, ignored: Patterns, changed: frozenset[str] | None) -> bool:
    """Whether path filters let these changed files through; an unknown diff runs anyway (actions.md §2)."""
    if changed is None:
        return True
    if wanted is not None:
        return any(map(ordered_filter(wanted), changed))
    return ignored is None or not all(map(ordered_filter(ignored), changed))
