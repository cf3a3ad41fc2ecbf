"""Keys that workflows and jobs share: permissions, defaults, concurrency. Called by `read` and `read_job`."""

from __future__ import annotations

from runyard.dialects.depot.workflow.availability import Place, check
from runyard.dialects.depot.workflow.document import ConcurrencyDoc, Defaults, EnvironmentDoc, Permissions
from runyard.dialects.depot.workflow.findings import nearest
from runyard.dialects.depot.workflow.nodes import Reader, Text
from runyard.syntax import yamltree
from runyard.syntax.yamltree import Node

SCOPES = frozenset(
    "actions artifact-metadata attestations checks code-quality contents deployments discussions drives issues packages pages pull-requests repository-projects "  # noqa: SIM905
    "security-events statuses id-token copilot-requests models vulnerability-alerts metadata pull_requests workflows".split()
)

LEVELS = {
    **dict.fromkeys(("id-token", "copilot-requests"), ("write", "none")),
    **dict.fromkeys(("models", "vulnerability-alerts"), ("read", "none")),
}


def read_permissions(reader: Reader, node: Node) -> Permissions:
    """`read-all`, `write-all`, or scopes; naming any sets the others to none."""
    if isinstance(node, yamltree.Scalar):
        if node.text not in ("read-all", "write-all"):
            reader.findings.error(node.at, f"Unexpected value '{node.text[:80]}'", "read-all or write-all")
        return {"*": "write" if node.text == "write-all" else "read"}
    found = {"*": "none"}
    for scope, entry in reader.entries(node):
        if scope not in SCOPES:
            reader.findings.error(entry.key.at, f"Unexpected value '{scope[:80]}'", nearest(scope, SCOPES))
        level = reader.text(entry.value)
        levels = LEVELS.get(scope, ("read", "write", "none"))
        if level.value not in levels:
            reader.findings.error(level.at, f"Unexpected value '{level.value[:80]}'", " or ".join(levels))
        found[scope] = level.value
    return found


def read_defaults(reader: Reader, node: Node | None) -> Defaults:
    """`defaults: run: {shell, working-directory}`."""
    if node is None:
        return Defaults()
    outer = reader.mapping(node, ("run",))
    run = outer.get("run") if outer is not None else None
    inner = reader.mapping(run, ("shell", "working-directory")) if run is not None else None
    if inner is None:
        return Defaults()
    found: dict[str, Text] = {}
    for key, entry in inner.entries.items():
        found[key] = reader.filled(entry.value, f"`{key}`")
        check(reader.findings, found[key], Place.DEFAULTS)
    return Defaults(found.get("shell"), found.get("working-directory"))


def read_concurrency(reader: Reader, node: Node | None, place: Place) -> ConcurrencyDoc | None:
    """A group's name, or a mapping."""
    if node is None:
        return None
    if isinstance(node, yamltree.Scalar):
        group = reader.filled(node, "The concurrency group")
        check(reader.findings, group, place)
        return ConcurrencyDoc(group)
    found = reader.mapping(node, ("group", "cancel-in-progress", "queue"), required=("group",))
    if found is None or "group" not in found.entries:
        return None
    group = reader.filled(found.entries["group"].value, "The concurrency group")
    check(reader.findings, group, place)
    cancel = found.get("cancel-in-progress")
    in_progress = reader.boolean(cancel) if cancel is not None else False
    if isinstance(in_progress, Text):
        check(reader.findings, in_progress, place)
    queue = found.get("queue")
    mode = reader.text(queue) if queue is not None else None
    if mode is not None and mode.value not in ("single", "max"):
        reader.findings.error(mode.at, f"Unexpected value '{mode.value[:80]}'", "single or max")
    return ConcurrencyDoc(group, in_progress, mode is not None and mode.value == "max")


def read_environment(reader: Reader, node: Node | None) -> EnvironmentDoc | None:
    """A name, or a mapping. `deployment` is read and means nothing."""
    if node is None:
        return None
    if isinstance(node, yamltree.Scalar):
        name = reader.text(node)
        check(reader.findings, name, Place.JOB)
        return EnvironmentDoc(name) if name.value.strip() else None
    found = reader.mapping(node, ("name", "url", "deployment"), required=("name",))
    if found is None or "name" not in found.entries:
        return None
    name = reader.filled(found.entries["name"].value, "`environment.name`")
    check(reader.findings, name, Place.JOB)
    given = found.get("url")
    url = reader.text(given) if given is not None else None
    if url is not None:
        check(reader.findings, url, Place.ENVIRONMENT_URL)
    return EnvironmentDoc(name, url)
