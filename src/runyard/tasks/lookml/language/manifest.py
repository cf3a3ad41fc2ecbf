"""The manifest of a project: its name, constants and dependencies, and what `@{NAME}` means in each file.
Called by `project`.

An imported project's constants are its own; the importing project changes them through `override_constant`,
as far as they are exported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from runyard.tasks.lookml.language.findings import Finding, Severity, nearest
from runyard.tasks.lookml.language.tree import Kind, Node

EXPORTS = ("none", "override_optional", "override_required")


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant. `export` says whether importing projects may or must give another value."""

    value: str
    export: str = "none"


@dataclass(frozen=True, slots=True)
class Dependency:
    """An imported project. `url` and `ref` (a commit, tag or branch) belong to remote ones."""

    name: str
    is_remote: bool
    url: str = ""
    ref: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What manifest.lkml says; empty when there is none."""

    name: str = ""
    constants: Mapping[str, Constant] = field(default_factory=dict)
    dependencies: Mapping[str, Dependency] = field(default_factory=dict)


def read_manifest(tree: Node | None) -> Manifest:
    """The manifest of a parsed file."""
    if tree is None:
        return Manifest()
    constants = {n.value: Constant(n.text("value"), n.text("export", "none")) for n in tree.all("constant")}
    dependencies = {}
    for node in tree.all("local_dependency", "remote_dependency"):
        name = node.text("project") or node.value
        overrides = {o.value: o.text("value") for o in node.all("override_constant")}
        is_remote = node.key == "remote_dependency"
        dependencies[name] = Dependency(name, is_remote, node.text("url"), node.text("ref"), overrides)
    return Manifest(tree.text("project_name"), constants, dependencies)


def imported_constants(
    own: Manifest, importer: Manifest, name: str, tree: Node | None
) -> tuple[dict[str, str], list[Finding]]:
    """The constants inside the imported project `name`, and what is wrong with the overrides in the importing
    manifest's `tree`."""
    values = {key: c.value for key, c in own.constants.items()}
    overrides = importer.dependencies[name].overrides if name in importer.dependencies else {}
    findings = []
    for key, value in overrides.items():
        if key not in own.constants:
            guess = nearest(key, own.constants)
            findings.append(_wrong(tree, name, key, f'project "{name}" has no constant "{key}"', guess))
        elif own.constants[key].export == "none":
            findings.append(_wrong(tree, name, key, f'project "{name}" does not export the constant "{key}"'))
        values[key] = value
    for key, constant in own.constants.items():
        if constant.export == "override_required" and key not in overrides:
            message = f'project "{name}" requires override_constant "{key}"'
            findings.append(_wrong(tree, name, "", message))
    return values, findings


def _wrong(tree: Node | None, project: str, constant: str, message: str, guess: str = "") -> Finding:
    node = tree
    for dependency in tree.all("local_dependency", "remote_dependency") if tree else ():
        if project in (dependency.value, dependency.text("project")):
            node = next((o for o in dependency.all("override_constant") if o.value == constant), dependency)
    line, column = node.place if node else (1, 1)
    return Finding("constant", message, Severity.ERROR, "manifest.lkml", line, column, suggestion=guess)


def substitute(tree: Node, constants: Mapping[str, str]) -> list[Finding]:
    """Puts constants in for `@{NAME}` everywhere in a fresh tree; unknown ones are findings at their own
    places."""
    findings: list[Finding] = []
    for node in _all_nodes(tree):
        if "@{" in node.value:
            node.value = _filled(node, constants, findings)
    return findings


def _all_nodes(root: Node) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))


def _filled(node: Node, constants: Mapping[str, str], findings: list[Finding]) -> str:
    out, at, text = [], 0, node.value
    while (start := text.find("@{", at)) >= 0:
        end = text.find("}", start)
        if end < 0:
            break
        name = text[start + 2 : end]
        out.append(text[at:start])
        if name in constants:
            out.append(constants[name])
        else:
            place = node.file.place(node.value_at + start if node.kind is not Kind.BLOCK else node.at)
            message = f'unknown constant "@{{{name}}}"'
            guess = nearest(name, constants)
            findings.append(
                Finding("unknown_constant", message, Severity.ERROR, node.file.path, *place, suggestion=guess)
            )
            out.append(name)
        at = end + 1
    out.append(text[at:])
    return "".join(out)
