"""Our side of the launcher: start it, ask it for keepers of boxes, mounts and namespaces. Used by
`bubblewrap.py`, `plain.py` and `overlay.py`.

Thread-safe: any thread may ask; one reader thread hands out replies. When the launcher dies, every keeper
dies with it, and with that its box; the next request starts a new launcher.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import json
import logging
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runyard.runner.sandbox import entry

# The launcher's modules in a package of that name alone: importing ours would import everything.
START = """
import sys, types
package = sys.modules["sandbox"] = types.ModuleType("sandbox")
package.__path__ = [sys.argv[1]]
from sandbox.launcher import main
main()
"""
ANSWER_S = 30.0
NO_REPLY = 0
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
STAGE = Path(
    "/run/runyard-stage"
)  # one empty folder for all: each launcher mounts over it in a namespace of its own
log = logging.getLogger("runyard.runner")
OPEN_TREE, AT_FDCWD, OPEN_TREE_CLONE, AT_RECURSIVE = 428, -100, 1, 0x8000


Range = tuple[int, int, int]
"""Of a user namespace: the first inside, the first outside, how many."""


class LauncherGone(Exception):
    """The launcher ended, and with it everything it had started."""


class SpawnFailed(Exception):
    """The launcher could not do it."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a keeper keeps. `argv` with `fds` is the bwrap that makes the box (None: there is none),
    `filter_fd` the number among them that is the system call filter. Through `doors` the keeper enters
    control groups. `tidy`: what a step leaves behind ends with it."""

    argv: Sequence[str] | None
    fds: Mapping[int, int]
    filter_fd: int = 0
    tidy: bool = False
    uid: int | None = None
    gid: int | None = None
    groups: Sequence[int] = ()
    # the launcher's descriptor of a user namespace (`Spawner.users`); `uid`, `gid` and `groups` are then
    # those inside
    users: int = 0
    doors: Sequence[int] = ()
    rlimits: Mapping[str, int] = field(default_factory=dict)
    network: str = ""


class Spawner:
    """Owns one launcher process."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._waiting: dict[int, tuple[threading.Event, dict[str, Any]]] = {}
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._exposed: dict[str, tuple[tuple[int, int], str]] = {}
        self._programs: dict[bytes, int] = {}
        self._closed = False

    @property
    def pid(self) -> int:
        """The launcher's process id (0 when it does not run)."""
        return self._process.pid if self._process else 0

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            os.set_inheritable(theirs.fileno(), True)
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    START,
                    str(Path(__file__).parent),
                    str(theirs.fileno()),
                ],
                pass_fds=(theirs.fileno(),),
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                cwd="/",
            )
        self._exposed.clear()
        self._control = ours
        threading.Thread(
            target=self._read, args=(ours, self._process), name="launcher-reader", daemon=True
        ).start()
        return ours

    def _read(self, control: socket.socket, process: subprocess.Popen[bytes]) -> None:
        while True:
            try:
                data = control.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                break
            self._hear(json.loads(data))
        control.close()
        process.wait()
        with self._lock:
            if self._control is control:
                self._control = None
                self._exposed.clear()  # its namespace went with it
            waiting = list(self._waiting.values())
        for event, answer in waiting:
            answer["gone"] = True
            event.set()

    def _hear(self, message: dict[str, Any]) -> None:
        found = self._waiting.get(message["reply"])
        if found:
            found[1].update(message)
            found[0].set()
        elif "error" in message:
            log.warning("a box could not be opened", extra={"reason": message["error"]})

    def ask(self, op: str, fds: Sequence[int] = (), **more: Any) -> dict[str, Any]:
        """One request and its reply."""
        ident = next(self._ids)
        event, answer = threading.Event(), {}  # type: tuple[threading.Event, dict[str, Any]]
        with self._lock:
            self._waiting[ident] = (event, answer)
        try:
            self._send(ident, op, fds, more)
            if not event.wait(ANSWER_S) or "gone" in answer:
                raise LauncherGone("the launcher does not answer")
        finally:
            self._waiting.pop(ident, None)
        if "error" in answer:
            raise SpawnFailed(answer["error"])
        return answer

    def _send(self, ident: int, op: str, fds: Sequence[int], more: Mapping[str, Any]) -> None:
        with self._lock:
            if self._closed:
                raise LauncherGone("the sandbox is closed")
            control = self._control or self._start()
        try:
            with self._send_lock:
                socket.send_fds(control, [json.dumps({"op": op, "id": ident, **more}).encode()], list(fds))
        except OSError as error:
            raise LauncherGone(str(error)) from error

    def box(self, room: Room, line: int) -> None:
        """Opens a box whose process 1 obeys `line` (`init.py`). The first word on it is the box's pid, the
        next ones are bwrap's complaints; it is closed when the box has ended. The box dies with the launcher,
        and the launcher dies with us."""
        person = (
            None
            if room.uid is None
            else (room.uid, room.uid if room.gid is None else room.gid, tuple(room.groups))
        )
        way = entry.way_in(
            tuple(room.argv or ()), len(room.doors), bool(room.network), bool(room.users), entry.within_ours(room.rlimits), person
        )  # fmt: skip
        fds, numbers = entry.numbered(line, self.program(way), room.fds, room.doors)
        self._send(
            NO_REPLY,
            "box",
            [line, *fds],
            {
                "program": f"/proc/self/fd/{entry.WAY_FD}",
                "numbers": numbers,
                "network": room.network,
                "network_number": entry.NETWORK_FD,
                "users": room.users,
                "users_number": entry.USERS_FD,
            },
        )

    def program(self, image: bytes) -> int:
        """A descriptor of a program, the same for all boxes, ours until `close`. It is sealed: whoever runs
        it can never change it. Nobody reads it, so it has no place that they would share."""
        with self._lock:
            if self._closed:
                raise LauncherGone("the sandbox is closed")
            if image not in self._programs:
                fd = self._programs[image] = os.memfd_create("runyard", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
                os.pwrite(fd, image, 0)
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
            return self._programs[image]

    def keep(self, room: Room, line: int, beside: int = 0) -> None:
        """A keeper (`keeper.py`) that says its pid on `line` and then obeys it; the line is closed at once
        when there can be none. It makes the room, or enters the one that was opened as the process `beside`.
        It dies with the launcher."""
        body = {
            "room": room.argv, "fds": list(room.fds), "filter": room.filter_fd, "tidy": room.tidy, "uid": room.uid,
            "gid": room.uid if room.gid is None else room.gid, "groups": list(room.groups), "users": bool(room.users), "doors": len(room.doors),
            "rlimits": dict(room.rlimits),
        }  # fmt: skip
        with memory_file(json.dumps(body).encode()) as fd:
            self._send(
                NO_REPLY,
                "keep",
                [fd, line, *room.doors, *room.fds.values()],
                {"network": room.network, "users": room.users, "beside": beside},
            )

    def end(self, keeper: int) -> None:
        """Kills one that does not end by itself."""
        with contextlib.suppress(LauncherGone, SpawnFailed):
            self.ask("end", pid=keeper)

    def expose(self, path: str, mark: str = "", tree: Callable[[], int] | None = None) -> str:
        """A path by which job uids reach `path`, whatever the modes of the folders above it. Needs root.
        `tree` makes the mount to show when it is not the plain one; `mark` tells such mounts of one path
        apart."""
        info = os.stat(path)  # noqa: PTH116 - some for each box, and a Path is dear
        key = f"{mark}:{path}"
        inode, found = self._exposed.get(key, ((0, 0), ""))
        if inode != (info.st_dev, info.st_ino):  # new, or a file put in its place since
            if found:
                self.ask("hide", path=found)
            STAGE.mkdir(mode=0o711, exist_ok=True)
            made = tree() if tree else cloned_mount(path)
            try:
                fds = [] if made is None else [made]
                asked = self.ask(
                    "expose", fds, path=path, stage=str(STAGE), folder=stat.S_ISDIR(info.st_mode)
                )
            finally:
                if made is not None:
                    os.close(made)
            found = str(asked["path"])
            self._exposed[key] = ((info.st_dev, info.st_ino), found)
        return found

    def show(self, folder: int) -> str:
        """As `expose`, of an open folder, whatever has its name by now; for `hide`."""
        STAGE.mkdir(mode=0o711, exist_ok=True)
        made = cloned_mount(f"/proc/self/fd/{folder}")
        if made is None:
            raise OSError("this kernel cannot clone mounts")
        try:
            return str(self.ask("expose", [made], path="", stage=str(STAGE), folder=True)["path"])
        finally:
            os.close(made)

    def users(self, uids: Sequence[Range], gids: Sequence[Range]) -> int:
        """A user namespace with these users and groups; the launcher's descriptor of it, to be given to
        `release`."""
        return int(self.ask("users", uid_map=list(uids), gid_map=list(gids))["fd"])

    def release(self, users: int) -> None:
        """Lets a user namespace go."""
        self.ask("release", fd=users)

    def overlay(self, lower: Sequence[str], upper: str, work: str) -> str:
        """Mounts `upper` over exposed layers (the topmost first); the root's name in the launcher."""
        return str(self.ask("overlay", lower=list(lower), upper=upper, work=work)["path"])

    def hide(self, path: str) -> None:
        """Takes away what `expose` or `overlay` answered."""
        self.ask("hide", path=path)

    def network(self, name: str, slirp: Sequence[str], blocked: Sequence[tuple[str, str]]) -> int:
        """Makes sure the named network namespace has its way out, where `slirp` makes one; the launcher's
        descriptor of it."""
        asked = self.ask("network", name=name, slirp=list(slirp), blocked=[list(pair) for pair in blocked])
        return int(asked["fd"])

    def forget(self, name: str) -> None:
        """Lets a network namespace without a way out go."""
        self.ask("forget", name=name)

    def close(self) -> None:
        """Ends the launcher and so every process it started."""
        with self._lock:
            self._closed = True
            control, process = self._control, self._process
            while self._programs:
                os.close(self._programs.popitem()[1])
        if control:
            with contextlib.suppress(OSError):
                control.shutdown(socket.SHUT_RDWR)
        if process:
            process.wait()


def cloned_mount(path: str) -> int | None:
    """The path as a detached mount of our namespace: podman keeps image mounts private, so the launcher's own
    lookup would find them empty."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.syscall(
        OPEN_TREE, AT_FDCWD, os.fsencode(path), OPEN_TREE_CLONE | AT_RECURSIVE | os.O_CLOEXEC
    )
    return fd if fd >= 0 else None


@contextlib.contextmanager
def memory_file(data: bytes) -> Any:
    """A descriptor over `data`, positioned at its start: how arguments travel without showing in any argv."""
    fd = memory_of(data)
    try:
        yield fd
    finally:
        os.close(fd)


def memory_of(data: bytes) -> int:
    """As `memory_file`, for who closes it himself."""
    fd = os.memfd_create("runyard", os.MFD_CLOEXEC)
    os.pwrite(fd, data, 0)
    return fd
