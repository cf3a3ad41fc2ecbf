"""Chooses the sandbox level at start by trying it: `choose(...)` for app, the runner command and `runyard
run`.

Promise: the level that is printed is one in which `true` has really run; each step down says in a sentence
why.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from runyard.model.plan import Network
from runyard.runner.sandbox import bpf, cgroups
from runyard.runner.sandbox.box import BoxPlan, Level, Limits, Sandbox, SandboxError
from runyard.runner.sandbox.bubblewrap import BubblewrapSandbox, Means
from runyard.runner.sandbox.network import Outside
from runyard.runner.sandbox.plain import PlainSandbox
from runyard.runner.sandbox.spawner import LauncherGone, Spawner, SpawnFailed

PROBE_S = 20.0


def choose(
    work: Path,
    *,
    limits: Limits | None = None,
    network: Network = Network.INTERNET,
    allow_plain: bool = False,
) -> Sandbox:
    """The best level that works here. `work` is a folder of ours for job files. SandboxError when none may be
    used."""
    work = work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    limits = limits or Limits()
    lock = _own(work)
    sweep()
    notes: list[str] = []
    found: BubblewrapSandbox | PlainSandbox | None
    try:
        found = _bubblewrap(work, limits, network, notes)
        if found is None and allow_plain:
            found = PlainSandbox(work, limits, tuple(notes))
    except BaseException:
        lock.close()
        raise
    if found is None:
        lock.close()
        raise SandboxError(
            "no sandbox works here: "
            + "; ".join(notes)
            + ". Install bubblewrap (apt install bubblewrap), or accept that jobs run "
            "unprotected with RUNYARD_ALLOW_PLAIN=1"
        )
    found.on_close = lock.close
    return found


def _own(work: Path) -> IO[bytes]:
    """Two runners on one folder would remove each other's files; a crashed one left slots behind, which are
    removed."""
    lock = (work / "lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise SandboxError(f"another runner uses the folder {work}") from None
    (work / "trash").mkdir(exist_ok=True, mode=0o700)
    for left in work.glob("slot*"):
        left.rename(work / "trash" / f"{left.name}-{os.getpid()}-{time.time_ns()}")
    return lock


def instance_name() -> str:
    """Names our control groups, so that the next start knows whether we still live."""
    return f"{os.getpid()}-{_started(os.getpid())}-{tempfile.mktemp(dir='', prefix='')[-8:]}"  # noqa: S306 - a name, no file


def _started(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def sweep() -> None:
    """Boot: ends what a dead runner left in control groups."""
    if os.geteuid() != 0:
        return
    cgroups.sweep(_lives)


def _lives(name: str) -> bool:
    """Whether the instance of that name runs: its process is there, and is the one that it was."""
    pid, _, rest = name.partition("-")
    return pid.isdigit() and _started(int(pid)) == rest.split("-")[0]


def _bubblewrap(work: Path, limits: Limits, network: Network, notes: list[str]) -> BubblewrapSandbox | None:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        notes.append("bubblewrap is not installed")
        return None
    root = os.geteuid() == 0
    groups = _groups(limits, notes) if root else None
    if not root:
        notes.append("not root: no own user per job, and limits only by rlimits")
    program = bpf.build()
    if program is None:
        notes.append("no system call filter: this processor's call numbers are not known")
    spawner = Spawner()
    outside = Outside(spawner, network)
    level = Level.FULL if groups else Level.BUBBLEWRAP
    best = Means(bwrap, level, root, True, program, groups)
    tries = [(best, "")]
    tries.append(
        (
            replace(best, disable_userns=False),
            "jobs may make user namespaces: this bubblewrap cannot forbid it",
        )
    )
    tries.append(
        (replace(best, disable_userns=False, seccomp=None), "no system call filter: the kernel refused it")
    )
    failure = ""
    for means, note in tries:
        try:
            full = (*notes, *filter(None, (note, outside.note)))
            sandbox = BubblewrapSandbox(means, limits, work, outside, tuple(full))
            _probe(sandbox, network)
        except (SandboxError, SpawnFailed, LauncherGone) as error:
            failure = failure or str(error)
            continue
        return sandbox
    spawner.close()
    if groups:
        groups.close()
    notes.append(f"bubblewrap does not work here ({failure})")
    return None


def _groups(limits: Limits, notes: list[str]) -> cgroups.Groups | None:
    groups = cgroups.detect(instance_name())
    wanted = {name for name, value in (("memory", limits.memory_bytes), ("pids", limits.processes)) if value}
    missing = wanted - groups.controllers
    if missing:
        groups.close()
        notes.append(f"no limits by control groups: {', '.join(sorted(missing))} cannot be limited here")
        return None
    if limits.cpus and "cpu" not in groups.controllers:
        notes.append("no CPU limit: the cpu control group is not there")
    return groups


def _probe(sandbox: BubblewrapSandbox, network: Network) -> None:
    """Runs `true` in a box on the network that most jobs will have, so that what they share is made now; what
    bubblewrap says against it becomes the reason."""
    box = sandbox.open(BoxPlan(0, "probe", network=network))
    try:
        process = box.run(("true",), {"PATH": "/usr/bin:/bin"}, "/builds/probe")
        with os.fdopen(process.output, "rb") as output:
            said = output.read(4000).decode(errors="replace").strip()
        if process.wait(PROBE_S) != 0:
            raise SandboxError(said or "it ended without a word")
    finally:
        box.close()
