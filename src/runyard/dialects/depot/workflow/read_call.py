"""Reusable workflows: `on.workflow_call` of the one that is called, `uses`, `with` and `secrets` of the job
that calls. Called by `triggers` and `read_job`."""

from __future__ import annotations

import re

from runyard.dialects.depot.workflow.availability import Place, check
from runyard.dialects.depot.workflow.document import Argument, Callable, CallDoc, InputDoc
from runyard.dialects.depot.workflow.findings import nearest
from runyard.dialects.depot.workflow.nodes import Reader, Text
from runyard.syntax import yamltree
from runyard.syntax.yamltree import Node, Scalar

_INPUT_TYPES = frozenset(("boolean", "number", "string"))
_LOCAL = re.compile(r"\./(\.github|\.depot)/workflows/[^/]+\.ya?ml")
_REMOTE = re.compile(r"([^/@]+(?:/[^/@]+)+?)/(\.github|\.depot)/workflows/([^/@]+\.ya?ml)@(.+)")
CALL_KEYS = frozenset(
    ("uses", "with", "secrets", "name", "needs", "if", "permissions", "concurrency", "strategy")
)


def read_callable(reader: Reader, config: yamltree.Mapping) -> Callable:
    """`on.workflow_call`."""
    secrets: dict[str, bool] = {}
    outputs: dict[str, Text] = {}
    for name, entry in reader.entries(config.get("secrets")):
        secrets[name] = False
        if isinstance(entry.value, Scalar) and entry.value.value is None:
            continue
        found = reader.mapping(entry.value, ("description", "required"))
        required = found.get("required") if found is not None else None
        secrets[name] = required is not None and reader.boolean(required) is True
    for name, entry in reader.entries(config.get("outputs")):
        reader.identifier(entry.key, "output")
        found = reader.mapping(entry.value, ("description", "value"), required=("value",))
        value = found.get("value") if found is not None else None
        if value is not None:
            outputs[name] = reader.text(value)
            check(reader.findings, outputs[name], Place.CALL_OUTPUT)
    inputs: dict[str, InputDoc] = {}
    for name, entry in reader.entries(config.get("inputs")):
        reader.identifier(entry.key, "input")
        inputs[name] = _input(reader, name, entry.value)
    return Callable(inputs, secrets, outputs)


def _input(reader: Reader, name: str, node: Node) -> InputDoc:
    keys = ("type", "description", "required", "default", "deprecationMessage")
    found = reader.mapping(node, keys, required=("type",))
    if found is None or "type" not in found.entries:
        return InputDoc(name)
    kind = reader.text(found.entries["type"].value)
    if kind.value not in _INPUT_TYPES:
        reader.findings.error(
            kind.at, f"Unexpected value '{kind.value[:80]}'", nearest(kind.value, _INPUT_TYPES)
        )
        return InputDoc(name)
    required, default = found.get("required"), found.get("default")
    text = reader.text(default) if default is not None else None
    if text is not None:
        check(reader.findings, text, Place.RUN_NAME)
        if kind.value != "string" and isinstance(default, Scalar) and not text.is_late:
            _fits(reader, name, kind.value, default)
    needed = reader.boolean(required) if required is not None else False
    return InputDoc(name, kind.value, needed is True, text)


def _fits(reader: Reader, name: str, kind: str, node: Scalar) -> None:
    wrong = not isinstance(node.value, bool) if kind == "boolean" else not _is_number(node.value)
    if wrong and node.value is not None:
        reader.findings.error(node.at, f"The default of input '{name}' is not a {kind}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_call(reader: Reader, job: yamltree.Mapping) -> CallDoc | None:
    """The calling part of a job; None, with a finding, when its `uses` cannot be one."""
    for key in sorted(job.entries.keys() - CALL_KEYS):
        reader.findings.error(
            job.key_at(key), f"Unexpected value '{key}'", "a job that calls a workflow has no such key"
        )
    uses = reader.filled(job.entries["uses"].value, "`uses`")
    if uses.is_late:
        reader.findings.error(uses.at, "`uses` takes no expressions")
        return None
    if not _LOCAL.fullmatch(uses.value) and not _REMOTE.fullmatch(uses.value):
        reader.findings.error(
            uses.at,
            f"Invalid workflow reference '{uses.value[:120]}'",
            "./.github/workflows/FILE.yml or OWNER/REPO/.github/workflows/FILE.yml@REF",
        )
        return None
    inputs: dict[str, Argument] = {}
    for name, entry in reader.entries(job.get("with")):
        value = entry.value.value if isinstance(entry.value, Scalar) else None
        text = reader.text(entry.value)
        check(reader.findings, text, Place.JOB)
        inputs[name] = Argument(value if isinstance(value, bool | int | float) else text.value, text.at)
    return CallDoc(uses, inputs, _secrets(reader, job.get("secrets")))


def _secrets(reader: Reader, node: Node | None) -> dict[str, Text] | None:
    if isinstance(node, Scalar) and node.value is not None:
        if node.value != "inherit":
            reader.findings.error(node.at, f"Unexpected value '{node.text[:80]}'", "a mapping or `inherit`")
        return None
    found: dict[str, Text] = {}
    for name, entry in reader.entries(node):
        found[name] = reader.text(entry.value)
        check(reader.findings, found[name], Place.JOB_ENV)
    return found


def remote_parts(uses: str) -> tuple[str, str, str] | None:
    """(project, path of the file, ref) of a workflow in another repository; None for one of the same."""
    found = _REMOTE.fullmatch(uses)
    return (found[1], f"{found[2]}/workflows/{found[3]}", found[4]) if found else None
