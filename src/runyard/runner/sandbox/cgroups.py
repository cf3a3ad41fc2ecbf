"""Limits and counting by control groups, v1 or v2, whichever this machine has. Used by `bubblewrap.py` at the
full level.

One group per slot in each hierarchy, below the group we live in (so a container's own limits stay above
ours), made at start and reused: a job pays nothing for it. Promises: `Slot.processes` are the live processes
of the slot's job; `Slot.ooms` only grows.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runyard.runner.sandbox.box import SandboxError

MARK = "runyard-"
FREEZE_S = 5.0
V1_WANTED = ("memory", "pids", "cpu")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy and the folder of ours in it."""

    version: int
    controllers: frozenset[str]
    base: Path


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """Limits of one slot; zero means none."""

    memory_bytes: int = 0
    processes: int = 0
    cpus: float = 0.0


def hierarchies(mounts: str, own: str) -> list[Hierarchy]:
    """From the texts of /proc/self/mountinfo and /proc/self/cgroup: where our groups would lie."""
    places: dict[str, str] = {}
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        places[names] = path
    found = []
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if not kind or kind[0] not in ("cgroup", "cgroup2") or "ro" in fields[5].split(","):
            continue
        root, point = fields[3], Path(fields[4])
        options = set(kind[2].split(",")) if len(kind) > 2 else set()
        for names, path in places.items():
            version = 2 if not names else 1
            if (version == 2) != (kind[0] == "cgroup2") or (
                version == 1 and not set(names.split(",")) <= options
            ):
                continue
            inside = path.removeprefix(root) if root != "/" else path
            found.append(
                Hierarchy(version, frozenset(filter(None, names.split(","))), point / inside.strip("/"))
            )
    return found


def _figure(path: Path, name: str) -> int | None:
    """The number after a name in a file of such lines."""
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line[len(name) :])
    return None


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="ascii")


def _v2_controllers(base: Path) -> frozenset[str]:
    """Switches controllers on for our children; a group with processes in it may not, unless it is the root
    (EBUSY)."""
    try:
        offered = set((base / "cgroup.controllers").read_text().split()) & {"memory", "pids", "cpu"}
        for name in sorted(offered):
            try:
                _write(base / "cgroup.subtree_control", f"+{name}")
            except OSError:
                _move_down(base)
                _write(base / "cgroup.subtree_control", f"+{name}")
    except OSError:
        return frozenset()
    return frozenset(offered)


def _move_down(base: Path) -> None:
    """Moves the processes of our own group into a leaf, as nested container engines do."""
    leaf = base / "init"
    leaf.mkdir(exist_ok=True)
    for pid in (base / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            _write(leaf / "cgroup.procs", pid)


class Slot:
    """The groups of one slot. Its processes run while a step does (`enter` … `leave`); between steps what is
    left of them stands still."""

    def __init__(self, folders: list[tuple[Hierarchy, Path]]) -> None:
        self._folders = folders
        self.procs = tuple(str(folder / "cgroup.procs") for _, folder in folders)
        self._doors: list[int] = []
        self._found: dict[str, Path | None] = {}
        self._freezer = self._file("cgroup.freeze")
        self._lock = threading.Lock()
        self._steps = 0
        self._has_company = False  # somebody lives on between steps
        self._is_still = False
        self._holders = 0  # threads of ours that work in the job's folders
        self._mine = threading.local()  # `holds`: this thread is one of them
        self._limits = GroupLimits()

    @property
    def can_freeze(self) -> bool:
        """Version 2 can, also beside version 1's controllers."""
        return self._freezer is not None

    def limit(self, limits: GroupLimits) -> None:
        """Nobody lives in it now. Written twice: version 1 takes the memory's limit never above that with
        swap, whichever way they go."""
        if limits == self._limits:
            return
        self._limits = limits
        for name, text in 2 * _settings(limits):
            if (path := self._file(name)) is not None:
                with contextlib.suppress(OSError):  # no swap accounting: limits that do not exist here
                    _write(path, text)

    def doors(self) -> list[int]:
        """Descriptors through which a process enters: it writes 0. Opened once, until `close`."""
        if not self._doors:
            self._doors = [os.open(name, os.O_WRONLY | os.O_CLOEXEC) for name in self.procs]
        return self._doors

    def close(self) -> None:
        """Lets them go."""
        for fd in self._doors:
            os.close(fd)
        self._doors = []

    def enter(self) -> None:
        """A step begins."""
        with self._lock:
            self._steps += 1
            self._holders -= self._holds
            self._settle()

    def leave(self, company: bool) -> None:
        """A step has ended, and has left somebody or not. SandboxError when they do not stand still."""
        with self._lock:
            self._steps -= 1
            self._holders += self._holds
            self._has_company |= company
            self._settle()

    def accompany(self) -> None:
        """Somebody comes who is no step."""
        self._has_company = True
        with self._lock:
            self._settle()

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Nobody moves meanwhile, whatever steps run, but for processes that this thread itself starts.
        SandboxError when they do not stand still."""
        if self._holds:
            yield
            return
        with self._lock:
            self._mine.holds = True
            self._holders += 1
            self._settle()
        try:
            yield
        finally:
            with self._lock:
                self._mine.holds = False
                self._holders -= 1
                self._settle()

    def reset(self) -> None:
        """The job is over."""
        with self._lock:
            self._steps, self._holders, self._has_company = 0, 0, False
            self._settle()

    @property
    def _holds(self) -> bool:
        return getattr(self._mine, "holds", False)

    def _settle(self) -> None:
        """Between steps who is left stands still, beside steps whoever lives while one of our threads
        works."""
        self._freeze(still=self._has_company if self._steps == 0 else self._holders > 0)

    def _freeze(self, *, still: bool) -> None:
        """Returns when nobody moves: who stops by a signal could be woken by one of its own timers, who is
        frozen cannot."""
        if self._freezer is None or still == self._is_still:
            return
        _write(self._freezer, "1" if still else "0")
        self._is_still = still
        until = time.monotonic() + FREEZE_S
        while still and _figure(self._freezer.with_name("cgroup.events"), "frozen ") != 1:
            if time.monotonic() > until:
                raise SandboxError("what the job left running does not stand still")
            time.sleep(0.0002)

    def _file(self, name: str) -> Path | None:
        """Where a file of the groups is; which files there are does not change while they live."""
        if name not in self._found:
            self._found[name] = next((f / name for _, f in self._folders if (f / name).exists()), None)
        return self._found[name]

    def processes(self) -> list[int]:
        """Live processes, over all hierarchies."""
        found: set[int] = set()
        for name in self.procs:
            with contextlib.suppress(OSError), open(name) as file:  # noqa: PTH123 - hot path
                found.update(int(pid) for pid in file.read().split())
        return sorted(found)

    def ooms(self) -> int:
        """How many processes the memory limit has killed so far."""
        for name in ("memory.events", "memory.oom_control"):
            if path := self._file(name):
                for line in path.read_text().splitlines():
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        return 0

    def cpu_ns(self) -> int | None:
        """CPU time of everything that ever ran in the groups. Version 2 counts it in every group, also beside
        version 1's controllers."""
        with contextlib.suppress(OSError, ValueError):
            if path := self._file("cpuacct.usage"):
                return int(path.read_text())
            for _, folder in self._folders:
                found = _figure(folder / "cpu.stat", "usage_usec ")
                if found is not None:
                    return found * 1000
        return None

    def memory_bytes(self) -> int | None:
        """Memory in use without the file cache that can be dropped."""
        for name, idle in (
            ("memory.current", "inactive_file "),
            ("memory.usage_in_bytes", "total_inactive_file "),
        ):
            if path := self._file(name):
                with contextlib.suppress(OSError, ValueError):
                    return max(0, int(path.read_text()) - (_figure(path.with_name("memory.stat"), idle) or 0))
        return None

    def kill(self, timeout_s: float = 5.0) -> list[int]:
        """KILL to all until none is left; answers who survived (nobody, unless the kernel holds one in a
        call)."""
        until = time.monotonic() + timeout_s
        while left := self.processes():
            kill_file = self._file("cgroup.kill")
            if kill_file:
                with contextlib.suppress(OSError):
                    _write(kill_file, "1")
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > until:
                return left
            time.sleep(0.002)
        return []

    def remove(self) -> None:
        """Removes the groups."""
        self.kill()
        for _, folder in self._folders:
            with contextlib.suppress(OSError):
                folder.rmdir()


class Groups:
    """All hierarchies that work here. `controllers` says what can be limited; `why` what is missing."""

    def __init__(self, tree: list[Hierarchy], name: str) -> None:
        self._bases: list[tuple[Hierarchy, Path]] = []
        limits: set[str] = set()
        for one in tree:
            if one.version == 1 and not one.controllers & set(V1_WANTED):
                continue
            folder = one.base / (MARK + name)
            try:
                folder.mkdir(exist_ok=True)
                useful = (
                    one.controllers
                    if one.version == 1
                    else _v2_controllers(one.base) and _v2_controllers(folder)
                )
            except OSError:
                continue
            limits |= useful
            self._bases.append((one, folder))
        self.controllers = frozenset(limits & set(V1_WANTED))

    def slot(self, number: int) -> Slot:
        """Makes (or empties and takes over) the groups of a slot."""
        folders = []
        for one, base in self._bases:
            folder = base / str(number)
            folder.mkdir(exist_ok=True)
            folders.append((one, folder))
        slot = Slot(folders)
        slot.kill()
        return slot

    def close(self) -> None:
        """Removes everything of ours."""
        for one, base in self._bases:
            for child in [c for c in base.iterdir() if c.is_dir()] if base.exists() else []:
                Slot([(one, child)]).remove()
            with contextlib.suppress(OSError):
                base.rmdir()


def _settings(limits: GroupLimits) -> list[tuple[str, str]]:
    """Files of both versions; only the ones that exist are written. A limit that an earlier job had is lifted
    where there is none."""
    memory, quota = limits.memory_bytes, max(1000, int(limits.cpus * 100_000)) if limits.cpus else 0
    found = [(name, str(memory or -1)) for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")]
    found.append(("memory.max", str(memory or "max")))
    if memory:
        found += [("memory.swap.max", "0"), ("memory.swappiness", "0")]
    found.append(("pids.max", str(limits.processes or "max")))
    found += [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", str(quota or -1))]
    found.append(("cpu.max", f"{quota or 'max'} 100000"))
    return found


def detect(name: str) -> Groups:
    """What this machine has."""
    proc = Path("/proc/self")
    return Groups(hierarchies((proc / "mountinfo").read_text(), (proc / "cgroup").read_text()), name)


def sweep(lives: Callable[[str], bool]) -> int:
    """Ends and removes groups of runners that no longer live; answers how many groups were left over. Each is
    judged when its turn comes: one that started since this began lives too. Others may sweep at the same
    time."""
    proc = Path("/proc/self")
    count = 0
    for one in hierarchies((proc / "mountinfo").read_text(), (proc / "cgroup").read_text()):
        for base in [*one.base.glob(MARK + "*")] if one.base.is_dir() else []:
            if lives(base.name.removeprefix(MARK)):
                continue
            with contextlib.suppress(FileNotFoundError):
                for child in [c for c in base.iterdir() if c.is_dir()]:
                    Slot([(one, child)]).remove()
                    count += 1
            with contextlib.suppress(OSError):
                base.rmdir()
    return count
