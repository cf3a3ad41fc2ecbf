"""What an element of `include` names, found and read: local, project, remote, template, component, artifact
(gitlab.md §3.6).

Called by the loader. A local path means the project and commit of the file that names it; everything beyond
the repository comes through `Reach`, and where there is none (`runyard check`) the element is passed over
with a warning.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from runyard.dialects.gitlab.config import fields
from runyard.dialects.gitlab.config.findings import Findings, Place, nearest
from runyard.dialects.gitlab.config.templates import TEMPLATES
from runyard.model.errors import NotFound, RunyardError, TooLarge
from runyard.model.trigger import Files, Reach
from runyard.syntax.patterns import PatternError, path_glob
from runyard.syntax.yamltree import Mapping as MappingNode
from runyard.syntax.yamltree import Mark, Node, Scalar, Sequence

MAX_INCLUDES = 150
MAX_BYTES = 1 << 20
KINDS = ("local", "project", "remote", "template", "component", "artifact")
_KEYS = {
    "local": ("local",),
    "project": ("project", "file", "ref"),
    "remote": ("remote", "integrity", "cache"),
    "template": ("template",),
    "component": ("component",),
    "artifact": ("artifact", "job"),
}
_COMMON = ("rules", "inputs")
_MEANT = {"path": "local", "file": "local", "url": "remote", "repository": "project", "repo": "project"}
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:\+[0-9A-Za-z.-]+)?")
_PARTIAL = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a file lies, and with it its local includes. `files` None: a remote text or a template, which has
    none."""

    files: Files | None
    project: str = ""
    sha: str = ""

    def shown(self, path: str) -> str:
        """A name that tells files of different projects apart."""
        return f"{self.project}@{self.sha[:8]}:{path}" if self.project else path


@dataclass(frozen=True, slots=True)
class Fetched:
    """One included text. `about` is GitLab's object of `lint.includes`; `component` fills `$[[ component.x
    ]]`."""

    name: str
    content: bytes
    origin: Origin
    about: Mapping[str, Any]
    at: Mark
    inputs: Node | None = None
    component: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Finder:
    """Reads what elements name. `expand` fills variables into them; `unread` turns true when something is out
    of reach."""

    out: Findings
    expand: Callable[[str], str]
    reach: Reach | None = None
    is_child: bool = False
    is_check: bool = False  # nobody runs it: what is out of reach is passed over
    unread: bool = False

    def found(self, item: Node, origin: Origin, place: Place) -> list[Fetched]:
        """The texts of one element; rules were judged before."""
        if isinstance(item, Scalar) and isinstance(item.value, str):
            if item.text.startswith(("http://", "https://")):
                return self._remote(item.text, None, item.at)
            return self._local(item.text, item.at, origin)
        if not isinstance(item, MappingNode):
            place.wrong(item.at, "should be a string or a hash")
            return []
        named = [kind for kind in KINDS if kind in item.entries]
        if len(named) != 1:
            self._misnamed(item, named, place)
            return []
        fields.unknown_keys(item, place, (*_KEYS[named[0]], *_COMMON))
        texts = self._texts(item, place)
        if named[0] not in texts:
            return []
        found = self._of_kind(named[0], item, texts, origin, place)
        inputs = item.get("inputs")
        return [_with_inputs(one, inputs) for one in found] if inputs is not None else found

    def _misnamed(self, item: MappingNode, named: list[str], place: Place) -> None:
        if named:
            place.error(item.at, f"Each include must use only one of: `{'`, `'.join(KINDS)}`")
            return
        hint = next((h for key in item.entries if (h := nearest(key, KINDS))), "")
        hint = hint or next((f"did you mean `{_MEANT[key]}`?" for key in item.entries if key in _MEANT), "")
        place.error(item.at, f"`include` needs one of: `{'`, `'.join(KINDS)}`", hint)

    def _texts(self, item: MappingNode, place: Place) -> dict[str, str]:
        """Scalars of the element by key, variables filled in."""
        found = {}
        for key, entry in item.entries.items():
            if key in _COMMON or key == "file" or fields.is_null(entry.value):
                continue
            text = fields.scalar_text(entry.value, place.sub(key))
            if text is not None:
                found[key] = self.expand(text).strip()
        return found

    def _of_kind(
        self, kind: str, item: MappingNode, texts: dict[str, str], origin: Origin, place: Place
    ) -> list[Fetched]:
        at = item.key_at(kind)
        value = item.get(kind)
        where = value.at if value is not None else at
        match kind:
            case "local":
                return self._local(texts["local"], where, origin)
            case "project":
                return self._project(item, texts, place)
            case "remote":
                return self._remote(texts["remote"], texts.get("integrity"), where)
            case "template":
                return self._template(texts["template"], where)
            case "component":
                return self._component(texts["component"], where)
            case _:
                return self._artifact(texts, where, place)

    def _local(self, text: str, at: Mark, origin: Origin) -> list[Fetched]:
        path = self.expand(text).strip().lstrip("/")
        if origin.files is None:
            self.out.error(
                at, f"Local file `{path}` does not have project!", "name it with `project:` and `file:`"
            )
            return []
        if not path.endswith((".yml", ".yaml")):
            self.out.error(at, f"Included file `{path}` does not have YAML extension!")
            return []
        if ".." in path.split("/"):
            self.out.error(at, f"Local file `{path}` does not exist!", "paths begin at the repository's root")
            return []
        if not set(path) & set("*?[{"):
            return self._read(path, at, origin, "local", f"Local file `{path}`")
        try:
            pattern = path_glob(path)
        except PatternError as error:
            self.out.error(at, str(error))
            return []
        names = list(islice((p for p in origin.files.paths() if pattern.found_in(p)), MAX_INCLUDES + 1))
        if not names:
            self.out.error(at, f"Local file `{path}` does not exist!")
        return [
            one for name in names for one in self._read(name, at, origin, "local", f"Local file `{name}`")
        ]

    def _read(
        self, path: str, at: Mark, origin: Origin, kind: str, shown: str, **about: Any
    ) -> list[Fetched]:
        assert origin.files is not None  # noqa: S101 - callers looked
        try:
            content = origin.files.read(path)
        except TooLarge:
            self.out.error(at, f"Included file `{path}` is larger than {MAX_BYTES} bytes")
            return []
        if content is None:
            self.out.error(at, f"{shown} does not exist!", self._nearby(path, origin.files))
            return []
        name = origin.shown(path)
        return [Fetched(name, content, origin, _about(kind, path, origin, **about), at)]

    def _nearby(self, path: str, files: Files) -> str:
        return nearest(path, [p for p in islice(files.paths(), 20_000) if p.endswith((".yml", ".yaml"))])

    def _project(self, item: MappingNode, texts: dict[str, str], place: Place) -> list[Fetched]:
        listed, at = item.get("file"), item.key_at("project")
        if listed is None:
            place.error(at, "include:project needs `file` with it")
            return []
        paths = fields.text_or_texts(listed, place.sub("file")) or ()
        project, ref = texts["project"], texts.get("ref", "")
        origin = self._tree(project, ref, at)
        if origin is None:
            return []
        found = []
        for text in paths:
            path = self.expand(text).strip().lstrip("/")
            if not path.endswith((".yml", ".yaml")):
                self.out.error(listed.at, f"Included file `{path}` does not have YAML extension!")
                continue
            shown = f"Project `{project}` file `{path}`"
            extra = {"project": project, "ref": ref or "HEAD"}
            found += self._read(path, listed.at, origin, "file", shown, extra=extra)
        return found

    def _tree(self, project: str, ref: str, at: Mark) -> Origin | None:
        if self.reach is None:
            self._out_of_reach(at, f"project `{project}`")
            return None
        try:
            found = self.reach.tree(project, ref)
        except NotFound:
            self.out.error(at, f"Project `{project}` reference `{ref or 'HEAD'}` does not exist!")
            return None
        except RunyardError as error:
            self.out.error(at, f"Project `{project}` cannot be read: {error.message}")
            return None
        if found is None:
            self.out.error(
                at,
                f"Project `{project}` not found or access denied! "
                "Make sure any includes in the pipeline configuration are correctly defined.",
            )
            return None
        return Origin(found[0], project, found[1])

    def _remote(self, url: str, integrity: str | None, at: Mark) -> list[Fetched]:
        url = self.expand(url)
        if not url.startswith(("http://", "https://")):
            self.out.error(at, f"Remote file `{url[:200]}` does not have valid address!")
            return []
        if self.reach is None:
            self._out_of_reach(at, f"`{url[:200]}`")
            return []
        try:
            content = self.reach.remote(url)
        except RunyardError as error:
            self.out.error(at, f"Remote file `{url[:200]}` could not be fetched: {error.message}")
            return []
        if integrity is not None and not _is_whole(content, integrity):
            self.out.error(at, f"Remote file `{url[:200]}` has a different content than `integrity` says")
            return []
        return [Fetched(url, content, Origin(None), _about("remote", url, Origin(None)), at)]

    def _template(self, name: str, at: Mark) -> list[Fetched]:
        try:
            own = self.reach.template(name) if self.reach is not None else None
        except RunyardError as error:
            self.out.error(at, f"Template file `{name[:200]}` cannot be read: {error.message}")
            return []
        text = TEMPLATES.get(name, "").encode() if own is None else own
        if own is None and not text:
            hint = (
                nearest(name, TEMPLATES)
                or f"built in are {', '.join(sorted(TEMPLATES))}; an operator adds others (RUNYARD_TEMPLATES), or copy them into the project"
            )
            self.out.error(at, f"Template file `{name[:200]}` is not a valid location!", hint)
            return []
        return [Fetched(name, text, Origin(None), _about("template", name, Origin(None)), at)]

    def _component(self, address: str, at: Mark) -> list[Fetched]:
        """`host/group/project/name@version`; the host is taken to be this server's."""
        path, _, wanted = address.rpartition("@")
        parts = path.split("/")
        if len(parts) < 4 or not wanted or not all(parts):
            hint = "expected HOST/PROJECT/NAME@VERSION"
            self.out.error(at, f"Component '{address[:200]}' - the address is not valid", hint)
            return []
        project, name = "/".join(parts[1:-1]), parts[-1]
        ref = self._version(project, wanted) if self.reach is not None else ""
        if ref is None:
            self.out.error(at, f"Component '{address[:200]}' - no released version matches `{wanted}`")
            return []
        origin = self._tree(project, ref, at)
        if origin is None:
            return []
        for file in (f"templates/{name}.yml", f"templates/{name}/template.yml"):
            if origin.files is not None and origin.files.read(file) is not None:
                found = self._read(file, at, origin, "component", file)
                facts = {"name": name, "sha": origin.sha, "version": ref, "reference": wanted}
                return [_as_component(one, address, facts) for one in found]
        self.out.error(at, f"Component '{address[:200]}' - content not found")
        return []

    def _version(self, project: str, wanted: str) -> str | None:
        """The tag that `~latest`, `1` or `1.2` means; any other version is a ref."""
        if wanted != "~latest" and not _PARTIAL.fullmatch(wanted):
            return wanted
        assert self.reach is not None  # noqa: S101 - the caller looked
        released = {tag: found for tag in self.reach.tags(project) if (found := _VERSION.fullmatch(tag))}
        if wanted in released or (wanted != "~latest" and wanted in self.reach.tags(project)):
            return wanted
        prefix = [] if wanted == "~latest" else [int(n) for n in wanted.split(".")]
        fitting = {
            tag: tuple(int(n) for n in found.groups())
            for tag, found in released.items()
            if [int(n) for n in found.groups()][: len(prefix)] == prefix
        }
        return max(fitting, key=lambda tag: fitting[tag]) if fitting else None

    def _artifact(self, texts: dict[str, str], at: Mark, place: Place) -> list[Fetched]:
        path, job = texts["artifact"], texts.get("job")
        if job is None:
            place.error(at, "include:artifact needs `job` with it")
            return []
        if not self.is_child or self.reach is None:
            self.out.error(at, "include:artifact is for `trigger:include` of a child pipeline only")
            return []
        try:
            content = self.reach.artifact(job, path)
        except RunyardError as error:
            self.out.error(at, f"File `{path}` of job `{job}` cannot be read: {error.message}")
            return []
        if content is None:
            self.out.error(at, f"File `{path}` does not exist in the artifacts of job `{job}`!")
            return []
        # Its local includes are those of the project, at the commit of the pipeline.
        return [Fetched(f"{job}:{path}", content, Origin(None), _about("artifact", path, Origin(None)), at)]

    def _out_of_reach(self, at: Mark, what: str) -> None:
        self.unread = True
        if self.is_check:
            self.out.warn(
                at,
                f"include of {what} is not read here; only a server can, so names it defines are taken on trust",
            )
        else:
            self.out.error(
                at,
                f"include of {what} can only be read by a server",
                "run this pipeline on a server, or include a local file",
            )


def _about(
    kind: str, location: str, origin: Origin, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "type": kind,
        "location": location,
        "extra": dict(extra or {}),
        "context_project": origin.project or None,
        "context_sha": origin.sha or None,
    }


def _with_inputs(one: Fetched, inputs: Node) -> Fetched:
    return Fetched(one.name, one.content, one.origin, one.about, one.at, inputs, one.component)


def _as_component(one: Fetched, address: str, facts: Mapping[str, str]) -> Fetched:
    about = {**one.about, "type": "component", "location": address}
    return Fetched(one.name, one.content, one.origin, about, one.at, one.inputs, facts)


def _is_whole(content: bytes, integrity: str) -> bool:
    algorithm, _, digest = integrity.partition("-")
    try:
        wanted = base64.b64decode(digest, validate=True)
    except (binascii.Error, ValueError):
        return False
    return algorithm == "sha256" and hashlib.sha256(content).digest() == wanted


def elements(node: Node) -> tuple[Node, ...]:
    """The elements of `include`."""
    return node.items if isinstance(node, Sequence) else (node,)
