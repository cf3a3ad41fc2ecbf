"""The process that starts all others: small, single-threaded, stdlib only, run by `spawner.py` over one
socket. Boxes begin here, by a program of system calls (`entry.py`), and so do the processes of ours that
accompany one (`keeper.py`), as forks of this one.

Why a process of its own: PR_SET_PDEATHSIG follows the thread that forked, so the parent must never end before
its jobs; forking from a small process costs the same however large the server is; and its private mount
namespace makes paths visible to jobs without a leftover on the host. When the socket closes (the server died,
however) it exits, and the kernel kills every sandbox with it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterable

from .keeper import DEFAULT_SIGNALS, Keeper
from .kernel import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MNT_DETACH,
    MS_BIND,
    MS_REC,
    MS_SLAVE,
    PR_SET_CHILD_SUBREAPER,
    PROC,
    check,
    children_of,
    libc,
    mount,
    receive,
    signal_to,
)

# every module that is loaded here makes each fork dearer: no typing, dataclasses, pathlib, subprocess
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOVE_MOUNT, AT_FDCWD, MOVE_MOUNT_F_EMPTY_PATH = 429, -100, 4
MESSAGE_BYTES = 1 << 16
UNNEEDED = (  # by boxes: bwrap reads the list of mounts again for each one that it makes
    b"/sys",
    b"/dev/shm",
    b"/dev/mqueue",
    b"/dev/hugepages",
    b"/dev/pts",
)


class Launcher:
    """Answers requests until the socket closes."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.keepers: set[int] = set()  # pids
        self.boxes: set[int] = set()
        self.exposed = 0
        self.stage = ""
        self.ways: dict[
            str, tuple[list[str], list[list[Any]]]
        ] = {}  # name -> slirp4netns, what it must not reach
        self.networks: dict[str, int] = {}  # name -> netns fd
        self.slirps: dict[str, int] = {}  # name -> pid

    def say(self, message: dict[str, Any]) -> None:
        self.control.send(json.dumps(message).encode())

    def serve(self) -> None:
        """Requests from the socket, exits from SIGCHLD's wake-up pipe."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        poll = select.poll()
        poll.register(self.control.fileno(), select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_read, 4096)
                    self.reap()
                elif not self.request():
                    return

    def reap(self) -> None:
        """Buries keepers, what one that was killed has left, and ways out of a network."""
        with contextlib.suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                self.keepers.discard(pid)
                self.boxes.discard(pid)
                self.slirps = {name: slirp for name, slirp in self.slirps.items() if slirp != pid}

    def request(self) -> bool:
        """One message; False when the other side is gone."""
        data, fds = receive(self.control, MESSAGE_BYTES)
        if not data:
            return False
        message = json.loads(data)
        try:
            getattr(self, "do_" + message["op"])(message, fds)
        except Exception as error:  # noqa: BLE001 - every failure is an answer, the launcher itself must live
            self.say({"reply": message["id"], "error": f"{type(error).__name__}: {error}"})
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def do_box(self, message: dict[str, Any], fds: list[int]) -> None:
        """A box, by the program that leads into it (`entry.py`). First descriptor: its line to the runner,
        which is told the pid; the others go to the program as numbered, beside the network and the users that
        the message names."""
        given = dict(zip(message["numbers"], fds[1:], strict=True))
        network = self._standing(message["network"])
        if network is not None:
            given[message["network_number"]] = network
        if message["users"]:
            given[message["users_number"]] = message["users"]
        actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in given.items()]
        pid = os.posix_spawn(message["program"], ["box"], {}, file_actions=actions, setsid=True, setsigdef=DEFAULT_SIGNALS)  # fmt: skip
        self.boxes.add(pid)
        with socket.socket(fileno=os.dup(fds[0])) as line:
            line.send(str(pid).encode())

    def do_keep(self, message: dict[str, Any], fds: list[int]) -> None:
        """A keeper for one box: one that it makes, or that stands already (`beside`, its process of ours).
        First descriptor: the body (JSON in a memfd); second: its line to the runner; then the doors of its
        control groups; the others go to bwrap as numbered."""
        if message["beside"] and message["beside"] not in self.boxes:
            raise ProcessLookupError("the box has ended")
        network = self._standing(message["network"])
        more = [] if network is None else [network]
        more += [message["users"]] if message["users"] else []
        pid = os.fork()
        if pid == 0:
            try:
                body = json.loads(os.pread(fds[0], os.fstat(fds[0]).st_size, 0))
                _become(body, message["beside"], fds[1], [*fds[2:], *more])
            finally:
                os._exit(0)
        self.keepers.add(pid)

    def do_end(self, message: dict[str, Any], fds: list[int]) -> None:
        """For a keeper that does not end by itself, or a box: then it is process 1 whose end ends all, and
        bwrap waits until it has."""
        pid = message["pid"]
        for one in [pid] if pid in self.keepers else children_of(pid) or [pid] if pid in self.boxes else []:
            signal_to(one, signal.SIGKILL)
        self.say({"reply": message["id"]})

    def do_expose(self, message: dict[str, Any], fds: list[int]) -> None:
        """Makes a path reachable for job uids, whatever the modes of the folders above it: a bind mount in
        our own namespace."""
        if not self.stage:
            self.stage = self._private_stage(message["stage"])
        self.exposed += 1
        target = f"{self.stage}/{self.exposed}"
        if message["folder"]:
            os.mkdir(target)  # noqa: PTH102 - no pathlib here
        else:
            os.close(os.open(target, os.O_CREAT | os.O_CLOEXEC))
        if fds:
            check(
                libc.syscall(MOVE_MOUNT, fds[0], b"", AT_FDCWD, target.encode(), MOVE_MOUNT_F_EMPTY_PATH),
                "move_mount",
            )
        else:
            mount(message["path"], target, "none", MS_BIND | MS_REC)
        self.say({"reply": message["id"], "path": target})

    def do_users(self, message: dict[str, Any], fds: list[int]) -> None:
        """A user namespace with the users and groups that the message names; answers our descriptor of it."""

        def map_users(pid: int) -> None:
            for name in ("uid_map", "gid_map"):
                fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
                os.write(fd, "".join("{} {} {}\n".format(*row) for row in message[name]).encode())
                os.close(fd)

        self.say({"reply": message["id"], "fd": _new_namespace(CLONE_NEWUSER, "user", map_users)})

    def do_release(self, message: dict[str, Any], fds: list[int]) -> None:
        """Closes what `do_users` opened."""
        os.close(message["fd"])
        self.say({"reply": message["id"]})

    def do_overlay(self, message: dict[str, Any], fds: list[int]) -> None:
        """A folder of ours over exposed layers. Volatile: what a job writes into its image is never worth a
        sync."""
        self.exposed += 1
        target = f"{self.stage}/{self.exposed}"
        os.mkdir(target)  # noqa: PTH102 - no pathlib here
        layers = ":".join(message["lower"])
        options = f"lowerdir={layers},upperdir={message['upper']},workdir={message['work']},volatile"
        mount("overlay", target, "overlay", 0, options)
        self.say({"reply": message["id"], "path": target})

    def do_hide(self, message: dict[str, Any], fds: list[int]) -> None:
        """Takes an exposed path away; boxes that have it keep it."""
        check(libc.umount2(message["path"].encode(), MNT_DETACH), "umount")
        self.say({"reply": message["id"]})

    def _private_stage(self, folder: str) -> str:
        """A tmpfs that only we and our children see. Slave: what the host mounts later (image root file
        systems) still arrives."""
        check(libc.unshare(CLONE_NEWNS), "unshare")
        mount("none", "/", "none", MS_REC | MS_SLAVE)
        for unneeded in UNNEEDED:
            while libc.umount2(unneeded, MNT_DETACH) == 0:  # mounts may lie upon each other
                pass
        mount("tmpfs", folder, "tmpfs", 0, "mode=0711,size=1m")
        return folder

    def do_network(self, message: dict[str, Any], fds: list[int]) -> None:
        """A network namespace with a way out, or without when `slirp` is empty; kept for reuse."""
        name = message["name"]
        self.ways[name] = (message["slirp"], message["blocked"])
        self.say({"reply": message["id"], "fd": self._standing(name)})

    def _standing(self, name: str) -> int | None:
        """Made when it is not there, and connected again when its slirp4netns has ended."""
        if name not in self.ways:
            return None
        argv, blocked = self.ways[name]
        if name not in self.networks and not argv:
            self.networks[name] = _new_namespace(CLONE_NEWNET, "net")
            _block(self.networks[name], blocked)
        elif argv and name not in self.slirps:
            self._connect(name, argv, blocked)
        return self.networks[name]

    def do_forget(self, message: dict[str, Any], fds: list[int]) -> None:
        """Lets a network namespace without a way out go."""
        if message["name"] in self.networks:
            os.close(self.networks.pop(message["name"]))
            del self.ways[message["name"]]
        self.say({"reply": message["id"]})

    def _connect(self, name: str, argv: list[str], blocked: list[list[Any]]) -> None:
        if name not in self.networks:
            self.networks[name] = _new_namespace(CLONE_NEWNET, "net")
        ready_read, ready_write = os.pipe()
        exit_read, exit_write = os.pipe()
        path = f"/proc/{os.getpid()}/fd/{self.networks[name]}"
        full = [*argv, "--ready-fd=3", "--exit-fd=4", "--netns-type=path", path, "tap0"]
        null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
        high = [
            os.dup2(fd, 200 + index, inheritable=False) for index, fd in enumerate((ready_write, exit_read))
        ]
        actions = [*null, (os.POSIX_SPAWN_DUP2, high[0], 3), (os.POSIX_SPAWN_DUP2, high[1], 4)]
        try:
            slirp = os.posix_spawn(full[0], full, os.environ, file_actions=actions)
        finally:
            for fd in (ready_write, exit_read, *high):
                os.close(fd)
        ready = select.select([ready_read], [], [], 5)[0] and os.read(ready_read, 1)
        os.close(ready_read)
        if not ready:
            os.close(exit_write)
            signal_to(slirp, signal.SIGKILL)
            raise OSError("slirp4netns did not become ready")
        _block(self.networks[name], blocked)
        # exit_write stays open on purpose: when this process ends, slirp4netns sees it and ends too.
        self.slirps[name] = slirp


def _new_namespace(flag: int, kind: str, prepare: Callable[[int], None] | None = None) -> int:
    """A descriptor of a fresh, empty namespace; nobody needs to live in it. `prepare` is told who stands in
    it for a moment."""
    ready_read, ready_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        done = libc.unshare(flag) == 0
        os.write(ready_write, b"1" if done else b"0")
        signal.pause()
    made = os.read(ready_read, 1) == b"1"
    try:
        if not made:
            raise PermissionError(f"no new {kind} namespace is allowed here")
        if prepare is not None:
            prepare(pid)
        return os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready_read)
        os.close(ready_write)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _block(network: int, targets: list[list[Any]]) -> None:
    """Reject routes inside the namespace (the host's own addresses, cloud metadata): no tool needed,
    SIOCADDRT with RTF_REJECT."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            check(libc.setns(network, CLONE_NEWNET), "setns")
            _add_rejects(targets)
            code = 0
        except OSError as error:
            os.write(2, f"{error}\n".encode())
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1] != 0:
        raise OSError("could not close the way to the host's addresses")


def _add_rejects(targets: list[list[Any]]) -> None:
    import fcntl

    siocaddrt, rtf_up, rtf_host, rtf_reject = 0x890B, 0x1, 0x4, 0x200
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for address, mask in targets:
            flags = rtf_up | rtf_reject | (rtf_host if mask == "255.255.255.255" else 0)
            parts = [
                struct.pack("@HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))
                for text in (address, "0.0.0.0", mask)  # noqa: S104 - a route's gateway, nothing listens
            ]
            entry = struct.pack("@L16s16s16sHhLPhPLLH", 0, *parts, flags, 0, 0, 0, 0, 0, 0, 0, 0)
            try:
                fcntl.ioctl(control, siocaddrt, entry.ljust(160, b"\0"))
            except FileExistsError:
                continue


def _become(body: dict[str, Any], beside: int, line: int, fds: list[int]) -> None:
    """In the child: enter groups, namespaces and the uid, then keep the box. Never returns."""
    os.setsid()
    signal.set_wakeup_fd(-1)  # what we ignore the keeper may ignore too; those that it starts ignore nothing
    with socket.socket(fileno=line) as ours:
        keeper = Keeper(ours, tidy=body["tidy"])
        try:
            given = _privileges_left(body, fds)
            _close_all_but((PROC, line, *given.values()))
            program = os.pread(given[body["filter"]], 1 << 16, 0) if body["filter"] else None
        except (OSError, ValueError) as error:
            keeper.refuse(str(error))
        else:
            keeper.keep(body["room"], beside, given, program)


def _close_all_but(kept: Iterable[int]) -> None:
    """Of what the launcher has open: its line to the server, namespaces, other boxes' lines."""
    low = 3
    for fd in (*sorted(kept), 1 << 20):
        os.closerange(low, fd)
        low = fd + 1


def _privileges_left(body: dict[str, Any], fds: list[int]) -> dict[int, int]:
    """Enters everything that needs our privileges, then lets them go; answers the descriptors for bwrap by
    their numbers."""
    doors, fds = fds[: body["doors"]], fds[body["doors"] :]
    for door in doors:
        os.write(door, b"0")
    users = fds.pop() if body["users"] else None
    if len(fds) > len(body["fds"]):
        check(libc.setns(fds.pop(), CLONE_NEWNET), "setns")
    for name, value in body["rlimits"].items():
        number = getattr(resource, "RLIMIT_" + name)
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))
    high = [os.dup2(fd, 200 + index, inheritable=False) for index, fd in enumerate(fds)]
    if users is not None:  # last of all: from here on we are root in there and nobody here
        check(libc.setns(users, CLONE_NEWUSER), "setns")
        os.close(users)
    if body["uid"] is not None:
        os.setgroups(body["groups"])
        os.setresgid(body["gid"], body["gid"], body["gid"])
        os.setresuid(body["uid"], body["uid"], body["uid"])
    os.umask(0o022)
    return dict(zip(body["fds"], high, strict=True))


def main() -> None:
    """The last argument is the number of the control socket."""
    control = socket.socket(fileno=int(sys.argv[-1]))
    gc.disable()  # nothing here makes cycles, and a collection would touch every page that a fork shares
    gc.freeze()
    os.set_inheritable(control.fileno(), False)  # a job that held it could start processes as us
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        Launcher(control).serve()
    os._exit(0)  # keepers die with us (PDEATHSIG), and their boxes with them
