"""The process that starts all others: small, single-threaded, stdlib only, run as a script by `spawner.py` over one socket.

Why a process of its own: PR_SET_PDEATHSIG follows the thread that forked, so the parent must never end before its jobs; forking from a
small process costs the same however large the server is; and its private mount namespace makes paths visible to jobs without a leftover
on the host. When the socket closes (the server died, however) it exits, and the kernel kills every sandbox with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWUSER = 0x00020000, 0x40000000, 0x10000000
MS_BIND, MS_REC, MS_SLAVE, MNT_DETACH = 0x1000, 0x4000, 0x80000, 2
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MOVE_MOUNT, AT_FDCWD, MOVE_MOUNT_F_EMPTY_PATH = 429, -100, 4
MESSAGE_BYTES, MAX_FDS = 1 << 16, 32

libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def receive(door: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """A message and its descriptors, close-on-exec from the first moment (Python 3.11's `recv_fds` drops the flag)."""
    data, ancillary, _, _ = door.recvmsg(size, socket.CMSG_LEN(MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC)
    fds = [fd for _, _, raw in ancillary for (fd,) in struct.iter_unpack("i", raw[: len(raw) // 4 * 4])]
    return data, fds


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)."""
    _check(
        libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()),
        f"mount {source} on {target}",
    )


def children_of(pid: int) -> list[int]:
    """Direct children, over all threads of the process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - hot, stdlib script
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123 - hot, stdlib script
                found.extend(int(child) for child in file.read().split())
    except OSError:
        return found
    return found


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, parents first. A process cannot leave: the sandbox's pid 1 (or the reaper) adopts its orphans."""
    found: list[int] = []
    todo = [pid]
    while todo:
        fresh = children_of(todo.pop())
        found.extend(fresh)
        todo.extend(fresh)
    return found


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


class Launcher:
    """Answers requests until the socket closes."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.running: dict[int, int] = {}  # pid -> request id
        self.pids: dict[int, int] = {}  # request id -> pid
        self.exposed = 0
        self.stage = ""
        self.networks: dict[str, int] = {}  # name -> netns fd
        self.slirps: dict[str, subprocess.Popen[bytes]] = {}
        self.spare: tuple[int, socket.socket] | None = None

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
        """Tells of every child that ended."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ident = self.running.pop(pid, None)
            if ident is not None:
                self.pids.pop(ident, None)
                self.say(
                    {"exit": ident, "status": os.waitstatus_to_exitcode(status), "rss_kib": usage.ru_maxrss}
                )

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
        if message["op"] == "spawn":  # only now: a spare must not hold the last job's pipe
            self.spare = self.spare or self.fork_spare()
        return True

    def do_spawn(self, message: dict[str, Any], fds: list[int]) -> None:
        """First descriptor: the body (JSON in a memfd); the others go to the child as numbered."""
        pid, door = self.spare or self.fork_spare()
        self.spare = None
        self.running[pid] = message["id"]
        self.pids[message["id"]] = pid
        with door:
            network = self.networks.get(message["network"])
            more = [] if network is None else [network]
            more += [message["users"]] if message["users"] else []
            socket.send_fds(door, [str(message["id"]).encode()], [*fds, *more])
        self.say({"reply": message["id"], "pid": pid})

    def fork_spare(self) -> tuple[int, socket.socket]:
        """A child that waits to become the next process: forking takes longer than telling it what to be."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                data, fds = receive(theirs, 64)
                if data:
                    self.become(int(data), json.loads(os.pread(fds[0], os.fstat(fds[0]).st_size, 0)), fds[1:])
            finally:
                os._exit(0)
        theirs.close()
        return pid, ours

    def drop_spare(self) -> None:
        """A spare forked before our namespaces changed must not be used."""
        if self.spare:
            self.spare[1].close()
            self.spare = None

    def become(self, ident: int, body: dict[str, Any], fds: list[int]) -> None:
        """In the child: enter groups, namespaces and the uid, then exec. Never returns."""
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            for procs in body["procs"]:
                fd = os.open(procs, os.O_WRONLY)
                os.write(fd, b"0")
                os.close(fd)
            users = fds.pop() if body["users"] else None
            if len(fds) > len(body["fds"]):
                _check(libc.setns(fds.pop(), CLONE_NEWNET), "setns")
            for name, value in body["rlimits"].items():
                number = getattr(resource, "RLIMIT_" + name)
                hard = resource.getrlimit(number)[1]
                value = value if hard == resource.RLIM_INFINITY else min(value, hard)
                resource.setrlimit(number, (value, value))
            self._place(fds, body["fds"])
            if body["terminal"] and not body["reaper"]:
                _take_terminal()
            if users is not None:  # last of all: from here on we are root in there and nobody here
                _check(libc.setns(users, CLONE_NEWUSER), "setns")
                os.close(users)
            if body["uid"] is not None:
                os.setgroups(body["groups"])
                os.setresgid(body["gid"], body["gid"], body["gid"])
                os.setresuid(body["uid"], body["uid"], body["uid"])
            os.umask(0o022)
            os.chdir(body["cwd"])
            if body["reaper"]:
                _reap_all(body)
            # Only now: a change of credentials clears the death signal.
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.execve(body["argv"][0], body["argv"], body["env"])  # noqa: S606 - argv from the runner, no shell
        except BaseException as error:  # noqa: BLE001 - the child must never run the launcher's loop
            self.say({"failed": ident, "error": f"{type(error).__name__}: {error}"})
        finally:
            os._exit(125)

    def _place(self, fds: list[int], targets: list[int]) -> None:
        """Moves the received descriptors to their numbers; first out of the way, so that none overwrites another."""
        high = [os.dup2(fd, 200 + index, inheritable=False) for index, fd in enumerate(fds)]
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        for fd, target in zip(high, targets, strict=True):
            os.dup2(fd, target)

    def do_signal(self, message: dict[str, Any], fds: list[int]) -> None:
        """TERM (or the number that was asked for) reaches everyone inside but not the sandbox itself; KILL ends the sandbox, and the kernel everyone inside."""
        pid = self.pids.get(message["target"])
        if pid is not None:
            below = descendants(pid)
            if message["kill"]:
                # A reaper (plain) must live to end what it adopted: it does so on TERM.
                _kill(pid, signal.SIGTERM if message["reaper"] else signal.SIGKILL)
            else:
                for child in below:
                    _kill(child, message["number"])
        self.say({"reply": message["id"]})

    def do_expose(self, message: dict[str, Any], fds: list[int]) -> None:
        """Makes a path reachable for job uids, whatever the modes of the folders above it: a bind mount in our own namespace."""
        if not self.stage:
            self.drop_spare()
            self.stage = self._private_stage(message["stage"])
        self.exposed += 1
        target = f"{self.stage}/{self.exposed}"
        if message["folder"]:
            Path(target).mkdir()
        else:
            Path(target).touch()
        if fds:
            _check(
                libc.syscall(MOVE_MOUNT, fds[0], b"", AT_FDCWD, target.encode(), MOVE_MOUNT_F_EMPTY_PATH),
                "move_mount",
            )
        else:
            mount(message["path"], target, "none", MS_BIND | MS_REC)
        self.say({"reply": message["id"], "path": target})

    def do_users(self, message: dict[str, Any], fds: list[int]) -> None:
        """A user namespace whose first users are ours from `base` on; answers our descriptor of it."""
        row = f"0 {message['base']} {message['count']}"

        def map_users(pid: int) -> None:
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{pid}/{name}").write_text(row, encoding="ascii")

        self.say({"reply": message["id"], "fd": _new_namespace(CLONE_NEWUSER, "user", map_users)})

    def do_release(self, message: dict[str, Any], fds: list[int]) -> None:
        """Closes what `do_users` opened."""
        os.close(message["fd"])
        self.say({"reply": message["id"]})

    def do_overlay(self, message: dict[str, Any], fds: list[int]) -> None:
        """A folder of ours over exposed layers. Volatile: what a job writes into its image is never worth a sync."""
        self.exposed += 1
        target = f"{self.stage}/{self.exposed}"
        Path(target).mkdir()
        layers = ":".join(message["lower"])
        options = f"lowerdir={layers},upperdir={message['upper']},workdir={message['work']},volatile"
        mount("overlay", target, "overlay", 0, options)
        self.say({"reply": message["id"], "path": target})

    def do_hide(self, message: dict[str, Any], fds: list[int]) -> None:
        """Takes an exposed path away; boxes that have it keep it."""
        _check(libc.umount2(message["path"].encode(), MNT_DETACH), "umount")
        self.say({"reply": message["id"]})

    def _private_stage(self, folder: str) -> str:
        """A tmpfs that only we and our children see. Slave: what the host mounts later (image root file systems) still arrives."""
        _check(libc.unshare(CLONE_NEWNS), "unshare")
        mount("none", "/", "none", MS_REC | MS_SLAVE)
        mount("tmpfs", folder, "tmpfs", 0, "mode=0711,size=1m")
        return folder

    def do_network(self, message: dict[str, Any], fds: list[int]) -> None:
        """A network namespace with a way out, kept for reuse; started again when its slirp4netns has ended."""
        name = message["name"]
        slirp = self.slirps.get(name)
        if not message["slirp"]:
            if name not in self.networks:
                self.networks[name] = _new_namespace(CLONE_NEWNET, "net")
                _block(self.networks[name], message["blocked"])
        elif slirp is None or slirp.poll() is not None:
            self._connect(name, message["slirp"], message["blocked"])
        self.say({"reply": message["id"], "fd": self.networks[name]})

    def do_forget(self, message: dict[str, Any], fds: list[int]) -> None:
        """Lets a network namespace without a way out go."""
        if message["name"] in self.networks:
            os.close(self.networks.pop(message["name"]))
        self.say({"reply": message["id"]})

    def _connect(self, name: str, argv: list[str], blocked: list[list[Any]]) -> None:
        if name not in self.networks:
            self.networks[name] = _new_namespace(CLONE_NEWNET, "net")
        ready_read, ready_write = os.pipe()
        exit_read, exit_write = os.pipe()
        path = f"/proc/{os.getpid()}/fd/{self.networks[name]}"
        try:
            full = [
                *argv,
                f"--ready-fd={ready_write}",
                f"--exit-fd={exit_read}",
                "--netns-type=path",
                path,
                "tap0",
            ]
            slirp = subprocess.Popen(
                full, pass_fds=(ready_write, exit_read), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            os.close(ready_write)
            os.close(exit_read)
        ready = select.select([ready_read], [], [], 5)[0] and os.read(ready_read, 1)
        os.close(ready_read)
        if not ready:
            os.close(exit_write)
            slirp.kill()
            raise OSError("slirp4netns did not become ready")
        _block(self.networks[name], blocked)
        # exit_write stays open on purpose: when this process ends, slirp4netns sees it and ends too.
        self.slirps[name] = slirp


def _new_namespace(flag: int, kind: str, prepare: Callable[[int], None] | None = None) -> int:
    """A descriptor of a fresh, empty namespace; nobody needs to live in it. `prepare` is told who stands in it for a moment."""
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
    """Reject routes inside the namespace (the host's own addresses, cloud metadata): no tool needed, SIOCADDRT with RTF_REJECT."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _check(libc.setns(network, CLONE_NEWNET), "setns")
            _add_rejects(targets)
            code = 0
        except OSError:
            traceback.print_exc()
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


def _take_terminal() -> None:
    """Descriptor 0 becomes the session's terminal, so that ^C and job control work; it is the caller's own, made for this process."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _reap_all(body: dict[str, Any]) -> None:
    """The `plain` level's keeper: adopts what the job orphans, and when the job or the launcher ends, kills what is left."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    job = os.fork()
    if job == 0:
        os.setsid()
        if body["terminal"]:
            _take_terminal()
        os.execve(body["argv"][0], body["argv"], body["env"])  # noqa: S606 - argv from the runner, no shell

    def end(*_: object) -> None:
        while below := descendants(os.getpid()):
            for child in below:
                _kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass

    def leave(*_: object) -> None:
        end()
        os._exit(143)

    signal.signal(signal.SIGTERM, leave)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    while True:
        pid, status = os.wait()
        if pid == job:
            end()
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def main() -> None:
    """argv[1] is the number of the control socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()  # nothing here makes cycles, and a collection would touch every page that a fork shares
    gc.freeze()
    os.set_inheritable(control.fileno(), False)  # a job that held it could start processes as us
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        Launcher(control).serve()
    # Whoever is left dies with us by PDEATHSIG; reapers by TERM.
    os._exit(0)


if __name__ == "__main__":
    main()
