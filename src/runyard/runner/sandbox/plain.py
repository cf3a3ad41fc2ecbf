"""The `plain` level of the sandbox port: no isolation at all, only folders, limits by rlimit, and an end that
reaches everyone.

Made by `levels.choose` when nothing better works and the operator allowed it. The box's keeper adopts what
the job orphans, so that a step's end and a cancel leave nothing alive; files and the network are the
machine's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runyard.runner.sandbox.box import (
    Box,
    BoxPlan,
    ImageUnavailable,
    Level,
    Limits,
    Places,
    RootFs,
    SandboxError,
    program_in,
)
from runyard.runner.sandbox.bubblewrap import FIRST_UID
from runyard.runner.sandbox.folders import BUILDS, HOME, SlotFolders
from runyard.runner.sandbox.kept import KeptBox
from runyard.runner.sandbox.spawner import Room, Spawner

WARNING = "jobs are NOT isolated: they can read what this user can read and reach what this machine can reach"


class PlainBox(KeptBox):
    """Folders and processes, nothing more."""

    def __init__(self, sandbox: PlainSandbox, plan: BoxPlan, folders: SlotFolders) -> None:
        if plan.root is not None:
            raise SandboxError("image jobs need the bubblewrap level of the sandbox")
        super().__init__(sandbox.spawner, sandbox.limits, None)
        builds = folders.path / BUILDS
        project = plan.project
        self.uid = sandbox.uid(plan.slot)
        self.inside = Places(
            str(builds), f"{builds}/{project}", f"{builds}/{project}.tmp", str(folders.path / HOME)
        )
        self.outside = self.inside
        self._folders = folders
        limits = sandbox.limits
        rlimits = {"CORE": 0, "NOFILE": limits.open_files} | (
            {"FSIZE": limits.file_bytes} if limits.file_bytes else {}
        )
        self._open(Room(None, {}, tidy=True, uid=self.uid, rlimits=rlimits))

    def find(self, names: Sequence[str]) -> str:
        """On this machine."""
        return program_in("", names)

    def reach(self, host: str, port: int, secure: bool) -> str:
        """The host's network is the job's."""
        return f"{'https' if secure else 'http'}://{host}:{port}"

    def within(self, root: RootFs, shown: Mapping[str, str]) -> Box:
        """Never: an image needs walls."""
        raise ImageUnavailable("images need bubblewrap on the runner")

    def out_of_memory(self) -> bool:
        """Nobody counts at this level."""
        return False

    def close(self) -> list[int]:
        """Ends what still runs."""
        self._shut()
        self._folders.retire()
        return []


class PlainSandbox:
    """Opens plain boxes."""

    level = Level.PLAIN

    def __init__(self, work: Path, limits: Limits, notes: tuple[str, ...]) -> None:
        self.notes = (*notes, WARNING)
        self.limits = limits
        self.spawner = Spawner()
        self._work = work
        self._folders: dict[int, SlotFolders] = {}
        self.on_close: Callable[[], None] = lambda: None

    def uid(self, slot: int) -> int | None:
        """Even here root's jobs do not run as root, where their uid can reach the folders."""
        reachable = all(p.stat().st_mode & 0o001 for p in (self._work, *self._work.parents))
        return FIRST_UID + slot if os.geteuid() == 0 and reachable else None

    def open(self, plan: BoxPlan) -> PlainBox:
        """Fresh folders, then a box over them."""
        folders = self._folders.setdefault(plan.slot, SlotFolders(self._work, plan.slot, self.uid(plan.slot)))
        folders.renew(plan.project)
        return PlainBox(self, plan, folders)

    def ahead(self, plan: BoxPlan) -> None:
        """Here a box is made at once; only its folders and the launcher take time."""
        self.open(plan).close()

    def close(self) -> None:
        """Ends everything."""
        self.spawner.close()
        for folders in self._folders.values():
            folders.remove()
        self.on_close()
