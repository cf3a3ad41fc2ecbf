"""The built-in actions: `uses` of checkout, upload-artifact and download-artifact (any version) as steps of the runner.

Called by `steps`. Every other action is refused with its place. Inputs that ask for something this server does not do
are refused too; inputs that only tune GitHub's own implementation are accepted and mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runyard.dialects.depot.workflow.findings import Findings, nearest
from runyard.dialects.depot.workflow.nodes import Text
from runyard.dialects.depot.workflow.static import Static
from runyard.model.plan import StepKind

_USES = re.compile(r"(?P<owner>[A-Za-z0-9_.-]+)/(?P<repo>[A-Za-z0-9_.-]+)(?P<path>/[^@]+)?@(?P<ref>\S+)\Z")


@dataclass(frozen=True, slots=True)
class Builtin:
    """An action that the runner has built in: known inputs, those refused, and how inputs become params."""

    kind: StepKind
    inputs: frozenset[str]
    refused: frozenset[str]
    params: Callable[[Mapping[str, Text], Static, str], dict[str, Any]]


def builtin(findings: Findings, uses: Text) -> Builtin | None:
    """The action that a `uses` names; None, with a finding, when it is not served."""
    if uses.value.startswith(("./", "$/")):
        findings.refused(uses.at, "A local action")
        return None
    if uses.value.startswith("docker://"):
        findings.refused(uses.at, "A docker:// action")
        return None
    match = _USES.match(uses.value)
    if match is None:
        wanted = "Expected format {org}/{repo}[/path]@ref."
        findings.error(uses.at, f"{wanted} Actual '{uses.value[:200]}'")
        return None
    name = f"{match['owner']}/{match['repo']}".lower()
    if name in BUILTINS and not match["path"]:
        return BUILTINS[name]
    findings.error(uses.at, f"The action '{uses.value[:200]}' is not served yet", nearest(name, BUILTINS))
    return None


def params(action: Builtin, inputs: Mapping[str, Text], static: Static, repository: str) -> dict[str, Any]:
    """The step's params, after a look at every input."""
    for name, text in inputs.items():
        if name in action.refused and text.value.strip().lower() not in ("", "false"):
            static.findings.refused(text.at, f"The input `{name}`")
        elif name not in action.inputs | action.refused:
            message = f"Unexpected input '{name}'"
            static.findings.warning(text.at, message, nearest(name, action.inputs))
    return action.params(inputs, static, repository)


def _checkout(inputs: Mapping[str, Text], static: Static, repository: str) -> dict[str, Any]:
    found: dict[str, Any] = {"depth": 1, "clean": True}
    other = inputs.get("repository")
    if other is not None and other.value.strip() and static.knows(other):
        named = static.text(other, "`repository`")
        if named.lower() != repository.lower():
            static.findings.refused(other.at, "Checking out another repository")
    elif other is not None and other.value.strip():
        static.findings.refused(other.at, "Checking out another repository")
    for name in ("ref", "path"):
        if name in inputs and inputs[name].value.strip():
            found[name] = inputs[name].value.strip()
    if "fetch-depth" in inputs and inputs["fetch-depth"].value.strip():
        found["depth"] = max(0, int(static.number(inputs["fetch-depth"], "`fetch-depth`")))
    if "clean" in inputs and inputs["clean"].value.strip():
        found["clean"] = static.text(inputs["clean"], "`clean`").lower() != "false"
    return found


def _upload(inputs: Mapping[str, Text], static: Static, repository: str) -> dict[str, Any]:
    path = inputs.get("path")
    lines = [line.strip() for line in path.value.splitlines() if line.strip()] if path is not None else []
    if not lines and path is not None:
        static.findings.error(path.at, "Input required and not supplied: path")
    found: dict[str, Any] = {
        "name": _value(inputs, "name", "artifact"),
        "paths": [line for line in lines if not line.startswith("!")],
        "exclude": [line[1:].strip() for line in lines if line.startswith("!")],
        "type": "archive",
        "format": "zip",
        # upload-artifact names files from the least folder that all of them are in.
        "root": "common",
        "overwrite": _is_true(inputs, "overwrite"),
        "hidden": _is_true(inputs, "include-hidden-files"),
    }
    when_none = _value(inputs, "if-no-files-found", "warn")
    if when_none not in ("warn", "error", "ignore") and not inputs["if-no-files-found"].is_late:
        message = f"Unexpected value '{when_none[:80]}'"
        static.findings.error(inputs["if-no-files-found"].at, message, "warn, error or ignore")
    found["if_no_files"] = when_none
    if "retention-days" in inputs and inputs["retention-days"].value.strip():
        days = static.number(inputs["retention-days"], "`retention-days`")
        # 0 means the server's default, as at GitHub.
        if days > 0:
            found["expire_in_s"] = int(days * 86400)
    return found


def _download(inputs: Mapping[str, Text], static: Static, repository: str) -> dict[str, Any]:
    found: dict[str, Any] = {"from": "run", "path": _value(inputs, "path", "")}
    for name in ("name", "pattern"):
        if _value(inputs, name, ""):
            found[name] = _value(inputs, name, "")
    found["merge_multiple"] = _is_true(inputs, "merge-multiple")
    return found


def _value(inputs: Mapping[str, Text], name: str, default: str) -> str:
    return (inputs[name].value.strip() if name in inputs else "") or default


def _is_true(inputs: Mapping[str, Text], name: str) -> bool:
    return _value(inputs, name, "").lower() == "true"


_CHECKOUT_TUNING = [
    "repository",
    "ref",
    "path",
    "fetch-depth",
    "clean",
    "token",
    "persist-credentials",
    "fetch-tags",
    "show-progress",
    "set-safe-directory",
    "filter",
    "github-server-url",
    "sparse-checkout-cone-mode",
    "allow-unsafe-pr-checkout",
]

BUILTINS: Mapping[str, Builtin] = {
    "actions/checkout": Builtin(
        StepKind.CHECKOUT,
        frozenset(_CHECKOUT_TUNING),
        frozenset(("submodules", "lfs", "sparse-checkout", "ssh-key", "ssh-known-hosts")),
        _checkout,
    ),
    "actions/upload-artifact": Builtin(
        StepKind.UPLOAD,
        frozenset(
            [
                "name",
                "path",
                "if-no-files-found",
                "retention-days",
                "compression-level",
                "overwrite",
                "include-hidden-files",
                "archive",
            ]
        ),
        frozenset(),
        _upload,
    ),
    "actions/download-artifact": Builtin(
        StepKind.DOWNLOAD,
        frozenset(["name", "path", "pattern", "merge-multiple", "github-token"]),
        frozenset(("artifact-ids", "repository", "run-id")),
        _download,
    ),
}
