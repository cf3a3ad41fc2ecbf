"""The `plain` level of the sandbox port: no isolation at all, only folders, limits by rlimit, and an end that reaches everyone.

Made by `levels.choose` when nothing better works and the operator allowed it. A small reaper per step adopts what the job orphans, so that
cancel leaves nothing alive; files and the network are the machine's own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from runyard.runner.sandbox import accounting
from runyard.runner.sandbox.box import (
    Box,
    BoxPlan,
    ImageUnavailable,
    Level,
    Limits,
    Places,
    RootFs,
    SandboxError,
    Used,
    program_in,
)
from runyard.runner.sandbox.bubblewrap import FIRST_UID, BubblewrapProcess, ended
from runyard.runner.sandbox.folders import BUILDS, HOME, SlotFolders
from runyard.runner.sandbox.spawner import Child, LauncherGone, Spawn, Spawner, SpawnFailed

WARNING = "jobs are NOT isolated: they can read what this user can read and reach what this machine can reach"


class PlainBox:
    """Folders and processes, nothing more."""

    def __init__(self, sandbox: PlainSandbox, plan: BoxPlan, folders: SlotFolders) -> None:
        if plan.root is not None:
            raise SandboxError("image jobs need the bubblewrap level of the sandbox")
        builds = folders.path / BUILDS
        project = plan.project
        self.uid = sandbox.uid(plan.slot)
        self.inside = Places(
            str(builds), f"{builds}/{project}", f"{builds}/{project}.tmp", str(folders.path / HOME)
        )
        self.outside = self.inside
        self._sandbox = sandbox
        self._folders = folders
        self._last: Child | None = None
        self._beside: list[Child] = []

    def find(self, names: Sequence[str]) -> str:
        """On this machine."""
        return program_in("", names)

    def run(self, argv: Sequence[str], env: Mapping[str, str], cwd: str) -> BubblewrapProcess:
        """One process under its reaper."""
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            self._last = self._spawn(argv, env, cwd, {1: write_end, 2: write_end}, terminal=False)
        except SandboxError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        return BubblewrapProcess(self._last, read_end)

    def start(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, fds: Mapping[int, int], *, terminal: bool = False
    ) -> BubblewrapProcess:  # fmt: skip
        """Another process under a reaper of its own."""
        child = self._spawn(argv, env, cwd, fds, terminal=terminal)
        self._beside = [*(one for one in self._beside if one.exit_code is None), child]
        return BubblewrapProcess(child, -1)

    def _spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, fds: Mapping[int, int], *, terminal: bool
    ) -> Child:  # fmt: skip
        program = argv[0] if "/" in argv[0] else shutil.which(argv[0], path=env.get("PATH") or os.defpath)
        if program is None:
            raise SandboxError(f"{argv[0]} is not installed on this machine")
        limits = self._sandbox.limits
        rlimits = {"CORE": 0, "NOFILE": limits.open_files} | (
            {"FSIZE": limits.file_bytes} if limits.file_bytes else {}
        )
        try:
            spawn = Spawn(
                [program, *argv[1:]], env, fds, cwd=cwd, uid=self.uid, rlimits=rlimits, reaper=True, terminal=terminal
            )  # fmt: skip
            return self._sandbox.spawner.spawn(spawn)
        except (LauncherGone, SpawnFailed) as error:
            raise SandboxError(f"the step's process could not be started: {error}") from error

    def reach(self, host: str, port: int, secure: bool) -> str:
        """The host's network is the job's."""
        return f"{'https' if secure else 'http'}://{host}:{port}"

    def within(self, root: RootFs, shown: Mapping[str, str]) -> Box:
        """Never: an image needs walls."""
        raise ImageUnavailable("images need bubblewrap on the runner")

    def out_of_memory(self) -> bool:
        """Nobody counts at this level."""
        return False

    def used(self) -> Used:
        """From /proc."""
        pid = self._last.pid if self._last and self._last.exit_code is None else 0
        return accounting.used(None, self._sandbox.limits, pid)

    def close(self) -> list[int]:
        """Ends the last process when it still runs."""
        for child in (self._last, *self._beside):
            if child is not None:
                ended(child)
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

    def close(self) -> None:
        """Ends everything."""
        self.spawner.close()
        for folders in self._folders.values():
            folders.retire()
        self.on_close()
