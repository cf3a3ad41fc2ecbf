"""A project: its files, manifest, and which files each model sees (`include`). Entries: `load` for a folder,
`from_texts` for bytes in memory.

Trees are parsed when asked for; with a cache, a file that a former run has seen is known by its outline
alone. Imported projects stand under `imported_projects/NAME/`, from the folder itself or as given. The
include rules are in `includes`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from runyard.tasks.lookml.language import files
from runyard.tasks.lookml.language.cache import Cache, digest
from runyard.tasks.lookml.language.findings import Finding, Severity, nearest
from runyard.tasks.lookml.language.includes import matching, pattern_from_root
from runyard.tasks.lookml.language.manifest import (
    Manifest,
    imported_constants,
    read_manifest,
    substitute,
)
from runyard.tasks.lookml.language.outline import Outline, outline
from runyard.tasks.lookml.language.parser import parse
from runyard.tasks.lookml.language.tree import Node, SourceFile

MODEL_SUFFIXES = (".model.lkml", ".model.lookml")
MANIFEST = "manifest.lkml"
Files = Iterable[tuple[str, bytes]]


class Trees(Mapping[str, Node]):
    """The trees of a project's LookML files by path, each parsed when first asked for."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._parsed: dict[str, Node] = {}

    def __getitem__(self, path: str) -> Node:
        tree = self._parsed.get(path)
        return tree if tree is not None else self._project.parsed(path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._project.sources)

    def __len__(self) -> int:
        return len(self._project.sources)

    def keep(self, path: str, tree: Node) -> None:
        """Keeps a parsed tree."""
        self._parsed[path] = tree


@dataclass(eq=False)
class Project:
    """The files by path, and what went wrong while loading."""

    root: Path
    sources: dict[str, bytes] = field(default_factory=dict)  # the LookML files
    others: dict[str, Path | bytes] = field(
        default_factory=dict
    )  # dashboards and the like: where they are, or what they hold
    load_findings: list[Finding] = field(default_factory=list)
    overrides: Mapping[str, str] = field(default_factory=dict)
    cache: Cache = field(default_factory=Cache)
    _outlines: dict[str, Outline] = field(default_factory=dict)
    _blobs: dict[str, str] = field(default_factory=dict)
    _keys: dict[str, str] = field(default_factory=dict)
    _matches: dict[str, list[str]] = field(default_factory=dict)
    _constants: dict[str, dict[str, str]] = field(default_factory=dict)
    views: dict[tuple[object, ...], Any] = field(
        default_factory=dict
    )  # views that models share, kept by `model`

    @cached_property
    def trees(self) -> Trees:
        """The LookML files as trees."""
        return Trees(self)

    @cached_property
    def manifest(self) -> Manifest:
        """What the manifest says."""
        return read_manifest(self._manifest_tree(""))

    @property
    def name(self) -> str:
        """The project's own name, "" when the manifest gives none."""
        return self.manifest.name

    @property
    def constants(self) -> Mapping[str, str]:
        """The values of the project's own constants."""
        return self._values("")

    @property
    def findings(self) -> list[Finding]:
        """What is wrong with files, syntax and constants."""
        self._values("")
        found = [f for path in self.sources for f in self.outline(path).findings]
        return [*self.load_findings, *found]

    def text_of(self, path: str) -> str | None:
        """The text of a file that is not LookML blocks (a dashboard, JSON, the style configuration); None
        when it is not there or not text."""
        held = self.others.get(path)
        if isinstance(held, Path):
            held = files.read(held, path, self.root, [])
        return files.decoded(held, path, []) if isinstance(held, bytes) else None

    def blob(self, path: str) -> str:
        """The git blob id of a LookML file."""
        found = self._blobs.get(path)
        if found is None:
            found = self._blobs[path] = files.blob_id(self.sources[path])
        return found

    def file_key(self, path: str) -> str:
        """A digest of all that a file's tree depends on: its bytes, and the constants when it uses any."""
        key = self._keys.get(path)
        if key is None:
            values = sorted(self._values(files.home(path)).items()) if b"@{" in self.sources[path] else []
            key = self._keys[path] = digest(path, self.blob(path), repr(values))
        return key

    def outline(self, path: str) -> Outline:
        """What is known of a file without its tree."""
        found = self._outlines.get(path)
        if found is None:
            kept = self.cache.outline(self.file_key(path), path) if self.cache.folder else None
            if kept is None:
                self.parsed(path)
                return self._outlines[path]
            found = self._outlines[path] = kept
        return found

    def parsed(self, path: str) -> Node:
        """Parses a file; KeyError when there is none."""
        findings: list[Finding] = []
        text = files.decoded(self.sources[path], path, findings)
        tree, found = parse(SourceFile(path, text or ""))
        findings += found
        if text and "@{" in text:
            findings += substitute(tree, self._values(files.home(path)))
        self.trees.keep(path, tree)
        if path not in self._outlines:
            made = self._outlines[path] = outline(tree, findings)
            if self.cache.folder:
                self.cache.keep_outline(self.file_key(path), made)
        return tree

    def _manifest_tree(self, home: str) -> Node | None:
        """A manifest as it is written, before constants."""
        path = f"{home}/{MANIFEST}" if home else MANIFEST
        text = files.decoded(self.sources[path], path, []) if path in self.sources else None
        return parse(SourceFile(path, text))[0] if text is not None else None

    def _values(self, home: str) -> dict[str, str]:
        """The constants that files under this root see."""
        if home not in self._constants:
            if home:
                own = read_manifest(self._manifest_tree(home))
                name = home.rpartition("/")[2]
                values, findings = imported_constants(own, self.manifest, name, self._manifest_tree(""))
                self.load_findings += findings
            else:
                values = {name: c.value for name, c in self.manifest.constants.items()}
            self._constants[home] = values | dict(self.overrides)
        return self._constants[home]

    def model_paths(self) -> list[str]:
        """The files that declare models, sorted; those of imported projects are not ours to validate."""
        return [p for p in self.sources if p.endswith(MODEL_SUFFIXES) and not p.startswith(files.IMPORTED)]

    def scope(self, path: str) -> tuple[list[str], list[Finding]]:
        """Every LookML file that the model at `path` sees, included ones before the including, and includes
        that name nothing."""
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
        for pattern, line, column in self.outline(path).includes:
            found = self._resolve(pattern, path, line, column, findings)
            yield from (p for p in found if p in self.sources)

    def _resolve(self, include: str, path: str, line: int, column: int, findings: list[Finding]) -> list[str]:
        """The project's files that one include names."""
        pattern = pattern_from_root(include, path)
        if pattern is None:
            message = f'include "{include}" leaves the project'
            findings.append(Finding("include", message, Severity.ERROR, path, line, column))
            return []
        if pattern not in self._matches:
            self._matches[pattern] = matching(pattern, [*self.sources, *self.others])
        if not self._matches[pattern]:
            findings.append(self._missing(include, pattern, path, line, column))
        return self._matches[pattern]

    def _missing(self, include: str, pattern: str, path: str, line: int, column: int) -> Finding:
        if include.startswith("//"):
            other = include[2:].split("/", 1)[0]
            is_known = other in self.manifest.dependencies
            if is_known and any(p.startswith(f"{files.IMPORTED}{other}/") for p in self.sources):
                message = f'include "{include}" names no file of project "{other}"'
                return Finding(
                    "include",
                    message,
                    Severity.WARNING if "*" in pattern else Severity.ERROR,
                    path,
                    line,
                    column,
                )
            hint = "" if is_known else " and the manifest does not name it"
            message = f'include "{include}": project "{other}" is not in imported_projects/{hint}'
            severity = Severity.WARNING if is_known else Severity.ERROR
            return Finding("include", message, severity, path, line, column)
        known = [p.removesuffix(".lkml") for p in self.sources] + list(self.sources)
        guess = "" if "*" in pattern else nearest(pattern, known)
        severity = Severity.WARNING if "*" in pattern else Severity.ERROR
        message = f'include "{include}" names no file'
        return Finding("include", message, severity, path, line, column, suggestion=guess)


def load(
    root: Path,
    constants: Mapping[str, str] | None = None,
    imports: Mapping[str, Path] | None = None,
    cache: Cache | None = None,
) -> Project:
    """Reads every file of a project's folder. `constants` replace the manifest's; `imports` are folders of
    imported projects by name."""
    project = Project(root, overrides=constants or {}, cache=cache or Cache())
    _read_folder(project, root, "")
    for name, folder in sorted((imports or {}).items()):
        _read_folder(project, folder, f"{files.IMPORTED}{name}/")
    return _complete(project)


def from_texts(
    pairs: Files, constants: Mapping[str, str] | None = None, imports: Mapping[str, Files] | None = None
) -> Project:
    """The same from bytes in memory (a tree of a commit): (path, bytes)."""
    project = Project(Path(), overrides=constants or {})
    for path, data in pairs:
        _add(project, path, data)
    for name, other in sorted((imports or {}).items()):
        for path, data in other:
            _add(project, f"{files.IMPORTED}{name}/{path}", data)
    return _complete(project)


def _read_folder(project: Project, folder: Path, prefix: str) -> None:
    total = 0
    for path, full in files.walk(folder, project.load_findings):
        if not path.endswith(".lkml"):
            _add(project, prefix + path, full)
            continue
        data = files.read(full, prefix + path, folder, project.load_findings)
        total += len(data or b"")
        if total > files.MAX_TOTAL_BYTES:
            message = f"more than {files.MAX_TOTAL_BYTES >> 20} MiB of LookML"
            project.load_findings.append(Finding("too_large", message, Severity.FATAL, path))
            return
        if data is not None:
            _add(project, prefix + path, data)


def _add(project: Project, path: str, held: bytes | Path) -> None:
    if isinstance(held, bytes) and path.endswith(".lkml"):
        project.sources[path] = held
        return
    project.others[path] = held
    if path.endswith((".view.lookml", ".model.lookml")):
        message = "LookML in YAML form (.view.lookml, .model.lookml) is not read; convert it to .lkml"
        project.load_findings.append(Finding("old_lookml", message, Severity.ERROR, path, 1, 1))


def _complete(project: Project) -> Project:
    """Sorts the files and makes sure that each has its outline."""
    project.sources = dict(sorted(project.sources.items()))
    project.others = dict(sorted(project.others.items()))
    with collection_paused():
        for path in project.sources:
            project.outline(path)
    return project


@contextmanager
def collection_paused() -> Iterator[None]:
    """For loading, checking and making SQL: a million objects and no circles among what is dropped, which the
    collector would only walk again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
