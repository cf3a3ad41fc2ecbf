"""Where an action's files are: fetched ones under /builds/.actions, local ones in the workspace, read when
their step comes. Called by `acting`."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runyard.model.errors import RunyardError
from runyard.model.plan import Assignment
from runyard.runner.artifacts import give_to, unpack
from runyard.runner.link import Link
from runyard.runner.room import safe_folder
from runyard.runner.sandbox import Box
from runyard.runner.streams import Log
from runyard.syntax.actions import (
    DOCKERFILE,
    MANIFESTS,
    MAX_BYTES,
    ActionError,
    Composite,
    Manifest,
    Uses,
    read_manifest,
)
from runyard.syntax.archives import ArchiveError

FOLDER = ".actions"  # no project's path begins with a dot, so no workspace lies here
MAX_DEPTH = 10
UNPACK_LIMIT_BYTES = 4 << 30


@dataclass(slots=True)
class Instance:
    """One use of an action: its files, what it says of itself, what it keeps between its phases. `children`
    by their place in a composite."""

    uses: Uses
    manifest: Manifest | None = None  # None: built in, or an image
    inside: str = ""  # the action's folder as the job sees it
    outside: Path = Path()
    children: dict[int, Instance] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    began: bool = False


@dataclass
class Trees:
    """The trees of one attempt. `is_builtin` says which `uses` need none."""

    link: Link
    work: Assignment
    box: Box
    log: Log
    is_builtin: Callable[[Uses], bool]
    _laid: dict[tuple[str, str], str] = field(default_factory=dict)  # (repository, ref) → folder below FOLDER
    _turn: threading.Lock = field(default_factory=threading.Lock)  # of lanes: one lays out at a time

    def remote(self, uses: Uses, depth: int = 1) -> Instance:
        """A fetched action with everything it uses. RunyardError when something of it cannot be had,
        ActionError when it is none."""
        if depth > MAX_DEPTH:
            raise ActionError(
                f"actions may use each other {MAX_DEPTH} levels deep; '{uses.text}' is one too many"
            )
        if self.is_builtin(uses) or uses.image:
            return Instance(uses)
        folder = self._fetched(uses)
        inside, outside = (
            f"{self.box.inside.builds}/{FOLDER}/{folder}",
            Path(self.box.outside.builds) / FOLDER / folder,
        )
        found = self._read(uses, inside, outside)
        self.fetch_children(found, depth)
        return found

    def fetch_children(self, parent: Instance, depth: int) -> None:
        """What a composite action uses and does not lie in the workspace."""
        if parent.manifest is None or not isinstance(parent.manifest.runs, Composite):
            return
        for number, inner in enumerate(parent.manifest.runs.steps):
            if inner.uses is not None and not inner.uses.is_local and number not in parent.children:
                parent.children[number] = self.remote(inner.uses, depth + 1)

    def local(self, uses: Uses, depth: int = 1) -> Instance:
        """An action of the workspace as it is now; `$/` means the repository at the run's commit."""
        if depth > MAX_DEPTH:
            raise ActionError(
                f"actions may use each other {MAX_DEPTH} levels deep; '{uses.text}' is one too many"
            )
        inside, outside = self.box.inside.workspace, Path(self.box.outside.workspace)
        with self._turn, self.box.still():
            if uses.text.startswith("$"):
                folder = self._own()
                inside, outside = (
                    f"{self.box.inside.builds}/{FOLDER}/{folder}",
                    Path(self.box.outside.builds) / FOLDER / folder,
                )
            found = self._read(uses, inside, outside)
            self.fetch_children(found, depth)
        return found

    def _read(self, uses: Uses, inside: str, outside: Path) -> Instance:
        """The manifest, never through a link that leads out: no process of the job moves now, so what was
        looked at is what is read."""
        top = os.path.realpath(outside)
        folder = Path(os.path.realpath(outside / uses.path))
        if not _below(str(folder), top):
            raise ActionError(f"the action '{uses.text}' is behind a link that leads out")
        inside = f"{inside}/{os.path.relpath(folder, top)}".removesuffix("/.")
        for name in MANIFESTS:
            data = _file(folder / name)
            if data is not None:
                shown = f"{uses.text.partition('@')[0]}/{name}"
                return Instance(uses, read_manifest(data, shown), inside, folder)
        if _file(folder / "Dockerfile") is not None:
            return Instance(uses, DOCKERFILE, inside, folder)
        hint = (
            ""
            if uses.is_remote
            else " Did you forget to run actions/checkout before running your local action?"
        )
        raise ActionError(
            f"Can't find 'action.yml', 'action.yaml' or 'Dockerfile' for action '{uses.text}'.{hint}"
        )

    def _fetched(self, uses: Uses) -> str:
        known = self._laid.get((uses.repository, uses.ref))
        if known is not None:
            return known
        sha, file = self.link.action(self.work, uses.repository, uses.ref)
        folder = f"{uses.repository}/{sha}"
        self.log.system(f"Download action repository '{uses.repository}@{uses.ref}' (SHA:{sha})")
        with file:
            if folder not in self._laid.values():
                target = self._place(folder)
                try:
                    unpack(file, target, uid=self.box.uid, limit_bytes=UNPACK_LIMIT_BYTES)
                except ArchiveError as error:
                    raise ActionError(f"the action '{uses.text}' cannot be laid out: {error}") from None
        self._laid[uses.repository, uses.ref] = folder
        return folder

    def _own(self) -> str:
        """The run's own commit, apart from the workspace."""
        key = ("$", self.work.sha)
        if key not in self._laid:
            target = self._place("$")
            try:
                self.link.checkout(self.work, self.work.sha, "", 1, target)
            except RunyardError as error:
                raise ActionError(f"the repository of `$/` cannot be laid out: {error.message}") from None
            give_to(target, self.box.uid)
            self._laid[key] = "$"
        return "$"

    def _place(self, folder: str) -> Path:
        builds = Path(self.box.outside.builds)
        target = safe_folder(builds, f"{FOLDER}/{folder}")
        if target is None:
            raise ActionError("the job has put something else where its actions belong")
        return target


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


def _file(path: Path) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read(MAX_BYTES + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else None
