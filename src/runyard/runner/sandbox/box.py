"""The sandbox port: what `runner/job.py` sees of any level. Adapters: `bubblewrap.py`, `plain.py`; chosen by
`levels.py`.

A Sandbox opens one Box per slot and attempt; a Box runs one process after another over the same folders and,
closed, leaves nothing alive or on disk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from runyard.model.errors import RunyardError
from runyard.model.plan import Bind, Network
from runyard.syntax.containers import Container

HOSTNAME = "runyard"
WORKSPACES = "/builds"
"""Where a box has them: `<project>`, and `<project>.tmp` for what a job's steps hand each other."""


class Level(StrEnum):
    """How much a box holds, best first."""

    FULL = "bubblewrap+cgroups"
    BUBBLEWRAP = "bubblewrap"
    PLAIN = "plain"


class SandboxError(RunyardError):
    """The sandbox could not do its part; never the job's fault."""


class FoldersMoved(RunyardError):
    """The job has put something else in the place of its own folders."""


class ImageUnavailable(RunyardError):
    """The job's container image cannot be used here."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may use. Zero means no limit."""

    memory_bytes: int = 4 << 30
    processes: int = 4096
    cpus: float = 0.0
    file_bytes: int = 0
    open_files: int = 65536

    def within(self, container: Container) -> Limits:
        """The lower of these and the container's own."""

        def lower(ours: float, asked: float) -> float:
            return min(ours, asked) if ours and asked else ours or asked

        if not (container.memory_bytes or container.processes or container.cpus):
            return self
        return replace(
            self,
            memory_bytes=int(lower(self.memory_bytes, container.memory_bytes)),
            processes=int(lower(self.processes, container.processes)),
            cpus=lower(self.cpus, container.cpus),
        )


@dataclass(frozen=True, slots=True)
class RootFs:
    """An image's root file system on this machine and the environment it asks for."""

    path: Path
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()  # TCP, that the image says it listens on
    user: str = ""  # as the image or the job names it
    layers: tuple[Path, ...] = ()  # topmost first; with them the root can be made writable


@dataclass(frozen=True, slots=True)
class Beside:
    """What runs beside a job: the network namespace they share (a name of the launcher's; empty: the host's),
    and host names in it. `ports`: by the first name of a service, where its ports are at the job's
    localhost."""

    namespace: str
    hosts: Mapping[str, str]
    ports: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BoxPlan:
    """What a box must offer. `project` places the workspace at /builds/<project>. `builds_image`: what is
    written is to become an image, so /tmp is the image's own; only with a root that can be made writable.
    `container`: what is asked of the box beyond its image."""

    slot: int
    project: str
    network: Network = Network.NONE
    binds: tuple[Bind, ...] = ()
    root: RootFs | None = None
    beside: Beside | None = None
    builds_image: bool = False
    container: Container = field(default_factory=Container)


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of a box. `inside` they are as the job sees them, `outside` as we do. `more`: what its
    container was given besides."""

    builds: str
    workspace: str
    temp: str
    home: str
    more: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        """Whether a place, an absolute path without `..`, is by its name within a folder that the job was
        given."""
        given = (self.builds, "/tmp", *filter("/".__ne__, (self.home, *self.more)))  # noqa: S108 - the box's own
        return any(path == folder or path.startswith(f"{folder}/") for folder in given)


PROGRAM_FOLDERS = (
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
)  # where gitlab-runner looks for a shell, in its order


def program_in(root: str, names: Sequence[str]) -> str:
    """`Box.find` over a root file system."""
    for name in names:
        for folder in PROGRAM_FOLDERS:
            # A linked folder of an image would lead into our own file system; what it leads to is looked at
            # under its own name.
            if os.path.lexists(f"{root}{folder}/{name}") and not Path(root + folder).is_symlink():
                return f"{folder}/{name}"
    return names[-1]


@dataclass(frozen=True, slots=True)
class Used:
    """What a box has used so far: CPU nanoseconds since some moment (None: not known), memory now; and what
    it may use."""

    cpu_ns: int | None
    memory_bytes: int | None
    cores: float
    limit_bytes: int


class Process(Protocol):
    """One running process of a box. `output` is the read end of its stdout and stderr; its reader closes it.
    `ended` is readable once it has ended (or never ran), however many hold its output open."""

    output: int
    ended: int

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Exit code (128 + n for a signal), or None when time is up. SandboxError when it never ran or nobody
        knows."""

    def interrupt(self) -> None:
        """INT to it and all below it."""

    def terminate(self) -> None:
        """TERM to it and all below it."""

    def kill(self) -> None:
        """KILL to it, all below it and all of its session."""


class Box(Protocol):
    """The room of one attempt. What a step leaves running lives on to the box's end, but stands still between
    steps (or ends with its step, where nobody can make it stand still). `lingering`: output that such
    processes hold open, for later steps to drain; closed with the box."""

    lingering: list[int]

    inside: Places
    outside: Places
    uid: int | None  # owner of what we put into the folders; None: ourselves

    def run(self, argv: Sequence[str], env: Mapping[str, str], cwd: str) -> Process:
        """Starts a process; `cwd` as the job sees it. `env` is all it gets."""

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        fds: Mapping[int, int],
        *,
        terminal: bool = False,
    ) -> Process:
        """Starts a process beside the one that runs, over the same folders; it gets our descriptors `fds` as
        numbered, its `output` is -1. With `terminal` descriptor 0 is a terminal and becomes the process's
        own. It ends with the box at the latest."""

    def still(self) -> AbstractContextManager[None]:
        """While we work in the job's folders ourselves nobody in the box moves, but for what this thread
        itself runs there; where the level cannot make them stand still, they move."""

    def find(self, names: Sequence[str]) -> str:
        """The first of these programs that is there, as a path inside; the last name when none is."""

    def out_of_memory(self) -> bool:
        """Whether the memory limit has killed something since the box was opened."""

    def used(self) -> Used:
        """By the control groups where there are some, else by its processes."""

    def reach(self, host: str, port: int, secure: bool) -> str:
        """The address under which the box's processes reach this server of ours; empty where they reach
        nothing."""

    def within(self, root: RootFs, shown: Mapping[str, str]) -> Box:
        """A box over the same folders, network and limits, but on an image's files, for single processes of
        this job, whose own those files are. `shown`: more names (inside) for places of this box (outside).
        ImageUnavailable where that is not possible. Its `close` leaves the folders to this one."""

    def close(self) -> list[int]:
        """Ends what still lives, removes the folders; answers the processes that survived (none, unless the
        kernel holds one)."""


class Sandbox(Protocol):
    """Opens boxes. `notes` are sentences for the operator, printed at start."""

    level: Level
    notes: tuple[str, ...]

    def open(self, plan: BoxPlan) -> Box:
        """The slot's next box. Blocks no longer than a few milliseconds."""

    def ahead(self, plan: BoxPlan) -> None:
        """Opens a box that `open` gives away when it is asked for just that one; for any other it is closed
        unused. It holds nothing of any job."""

    def close(self) -> None:
        """Ends everything that runs in any box."""
