"""A project on disk: its files, manifest, constants, and which files each model sees (`include`). Entry: `load`.

Stays inside the project's folder (links that lead out are not followed) and under budgets of files and bytes.
Include rules: `/x` from the root, `x` from the including file's folder, `//other/x` from `imported_projects/other`; `*` stays in a folder,
`**` does not; the suffix `.lkml` may be left out; depth-first in statement order, glob matches sorted, each file once per model.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runyard.syntax import patterns
from runyard.tasks.lookml.language.findings import Finding, Severity, nearest
from runyard.tasks.lookml.language.parser import parse
from runyard.tasks.lookml.language.tree import Kind, Node, SourceFile

MAX_FILES = 20_000
MAX_FILE_BYTES = 8 << 20
MAX_TOTAL_BYTES = 256 << 20
MAX_PATTERN = 500
MODEL_SUFFIXES = (".model.lkml", ".model.lookml")
KNOWN = (".lkml", ".lookml", ".strings.json", ".md")
SKIPPED_FOLDERS = frozenset({"node_modules"})


@dataclass(eq=False)
class Project:
    """The parsed files by path, and what went wrong while loading."""

    root: Path
    trees: dict[str, Node] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)  # dashboards and other files that includes may name
    findings: list[Finding] = field(default_factory=list)
    constants: dict[str, str] = field(default_factory=dict)
    name: str = ""
    dependencies: set[str] = field(default_factory=set)
    _matches: dict[str, list[str]] = field(default_factory=dict)

    def model_paths(self) -> list[str]:
        """The files that declare models, sorted; those of imported projects are not ours to validate."""
        return [
            p for p in self.trees if p.endswith(MODEL_SUFFIXES) and not p.startswith("imported_projects/")
        ]

    def scope(self, path: str) -> tuple[list[str], list[Finding]]:
        """Every LookML file that the model at `path` sees, included ones before the including, and includes that name nothing."""
        order: list[str] = []
        seen = {path}
        findings: list[Finding] = []
        stack: list[tuple[str, Iterator[str]]] = [(path, self._included(path, findings))]
        while stack:
            here, rest = stack[-1]
            target = next(rest, None)
            if target is None:
                order.append(here)
                stack.pop()
            elif target not in seen:
                seen.add(target)
                stack.append((target, self._included(target, findings)))
        return order, findings

    def _included(self, path: str, findings: list[Finding]) -> Iterator[str]:
        for node in self.trees[path].all("include"):
            found = self._resolve(node, path, findings)
            yield from (p for p in found if p in self.trees)

    def _resolve(self, node: Node, path: str, findings: list[Finding]) -> list[str]:
        """The project's files that one include names."""
        line, column = node.place
        pattern = _from_root(node.value, path)
        if pattern is None:
            message = f'include "{node.value}" leaves the project'
            findings.append(Finding("include", message, Severity.ERROR, path, line, column))
            return []
        found = self._matching(pattern)
        if not found:
            findings.append(self._missing(node, pattern, path))
        return found

    def _missing(self, node: Node, pattern: str, path: str) -> Finding:
        line, column = node.place
        if node.value.startswith("//"):
            other = node.value[2:].split("/", 1)[0]
            hint = "" if other in self.dependencies else " and the manifest does not name it"
            message = f'include "{node.value}": project "{other}" is not in imported_projects/{hint}'
            return Finding(
                "include", message, Severity.WARNING if not hint else Severity.ERROR, path, line, column
            )
        guess = (
            ""
            if "*" in pattern
            else nearest(pattern, [p.removesuffix(".lkml") for p in self.trees] + list(self.trees))
        )
        severity = Severity.WARNING if "*" in pattern else Severity.ERROR
        return Finding(
            "include", f'include "{node.value}" names no file', severity, path, line, column, suggestion=guess
        )

    def _matching(self, pattern: str) -> list[str]:
        if pattern not in self._matches:
            self._matches[pattern] = self._search(pattern)
        return self._matches[pattern]

    def _search(self, pattern: str) -> list[str]:
        known = [*self.trees, *self.others]
        endings = ("", ".lkml", ".lookml")
        if "*" not in pattern:
            wanted = {pattern + e for e in endings}
            return sorted(p for p in known if p in wanted)
        if len(pattern) > MAX_PATTERN:
            return []
        # RE2: linear whatever the pattern says.
        matcher = patterns.compile(f"^{_translate(pattern)}(?:\\.lkml|\\.lookml)?$")
        return sorted(p for p in known if matcher.found_in(p))


def _translate(pattern: str) -> str:
    """A glob as a regular expression."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            out.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            out.append(".*")
            at += 2
        elif pattern[at] == "*":
            out.append("[^/]*")
            at += 1
        else:
            out.append(re.escape(pattern[at]))
            at += 1
    return "".join(out)


def _home(path: str) -> str:
    """The root that "/" means in this file: an imported project's own folder, or the project's."""
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "imported_projects" and len(parts) > 2 else ""


def _from_root(pattern: str, path: str) -> str | None:
    """The include's pattern relative to the project's root; None when it leads outside."""
    if pattern.startswith("//"):
        joined = posixpath.join("imported_projects", pattern[2:])
    elif pattern.startswith("/"):
        joined = posixpath.join(_home(path), pattern.lstrip("/"))
    else:
        joined = posixpath.join(posixpath.dirname(path), pattern)
    # normpath would eat the "**/.." of a hostile pattern; such a pattern just names nothing.
    clean = posixpath.normpath(joined)
    return None if clean.startswith(("..", "/")) else clean


def load(root: Path, overrides: Mapping[str, str] | None = None) -> Project:
    """Reads and parses every LookML file under `root`; `overrides` replace the manifest's constants."""
    project = Project(root)
    texts = (
        (path, _read(root / path, path, project)) for path in _walk(root, project) if path.endswith(KNOWN)
    )
    return _parsed(project, texts, overrides or {})


def from_texts(files: Iterable[tuple[str, bytes]]) -> Project:
    """The same from bytes in memory (a tree of a commit): (path, bytes), sorted by path."""
    project = Project(Path())
    return _parsed(project, ((path, _decoded(data, path, project)) for path, data in files), {})


def _parsed(
    project: Project, texts: Iterable[tuple[str, str | None]], overrides: Mapping[str, str]
) -> Project:
    total = 0
    for path, text in texts:
        if not path.endswith(".lkml"):
            project.others.append(path)
            if path.endswith((".view.lookml", ".model.lookml")):
                message = "LookML in YAML form (.view.lookml, .model.lookml) is not read; convert it to .lkml"
                project.findings.append(Finding("old_lookml", message, Severity.ERROR, path, 1, 1))
            continue
        total += len(text or "")
        if total > MAX_TOTAL_BYTES:
            message = f"more than {MAX_TOTAL_BYTES >> 20} MiB of LookML"
            project.findings.append(Finding("too_large", message, Severity.FATAL, path))
            break
        if text is not None:
            tree, found = parse(SourceFile(path, text))
            project.trees[path] = tree
            project.findings.extend(found)
    _manifest(project, overrides)
    _substitute(project)
    return project


def _walk(root: Path, project: Project) -> list[str]:
    """Every file under root as a relative path, sorted; does not follow links to folders."""
    found: list[str] = []
    for folder, folders, files in os.walk(root, followlinks=False):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and not f.startswith("."))
        found.extend(Path(folder, f).relative_to(root).as_posix() for f in files)
        if len(found) > MAX_FILES:
            project.findings.append(Finding("too_large", f"more than {MAX_FILES} files", Severity.FATAL))
            break
    return sorted(found[:MAX_FILES])


def _read(full: Path, path: str, project: Project) -> str | None:
    """The file's text; None (with a finding) when it is too large, a link that leads out of the project, or not UTF-8."""
    if full.is_symlink() and not full.resolve().is_relative_to(project.root.resolve()):
        problem = "is a link that leads out of the project"
    elif not full.is_file():
        problem = "is not a regular file"
    elif full.stat().st_size > MAX_FILE_BYTES:
        problem = f"is larger than {MAX_FILE_BYTES >> 20} MiB"
    else:
        return _decoded(full.read_bytes(), path, project) if path.endswith(".lkml") else ""
    project.findings.append(_unreadable(path, problem))
    return None


def _decoded(data: bytes, path: str, project: Project) -> str | None:
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        project.findings.append(_unreadable(path, f"is not UTF-8 (byte {error.start})"))
        return None


def _unreadable(path: str, problem: str) -> Finding:
    return Finding("unreadable", f"the file {problem}", Severity.FATAL, path, 1, 1)


def _manifest(project: Project, overrides: Mapping[str, str]) -> None:
    tree = project.trees.get("manifest.lkml")
    if tree is not None:
        project.name = tree.text("project_name")
        for node in tree.all("constant"):
            project.constants[node.value] = node.text("value")
        for node in tree.all("local_dependency", "remote_dependency"):
            project.dependencies.add(node.text("project") or node.value)
    project.constants.update(overrides)


def _substitute(project: Project) -> None:
    """Puts constants in for `@{NAME}` everywhere; imported projects' own constants stand behind the importing project's."""
    for path, tree in project.trees.items():
        if "@{" not in tree.file.text:
            continue
        constants = dict(project.constants)
        home = _home(path)
        if home and (own := project.trees.get(f"{home}/manifest.lkml")) is not None:
            constants = {n.value: n.text("value") for n in own.all("constant")} | constants
        for node in _all_nodes([tree]):
            if "@{" in node.value:
                node.value = _filled(node, constants, project.findings)


def _all_nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    stack = list(nodes)
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))


def _filled(node: Node, constants: Mapping[str, str], findings: list[Finding]) -> str:
    """The node's value with constants put in; each unknown one is a finding at its own place."""
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
