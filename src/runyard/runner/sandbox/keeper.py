"""A process of ours that starts and signals what runs in one box. Forked from the launcher; stdlib only.

Beside a box whose process 1 starts the steps (`init.py`) there is one only when somebody needs more than
that: signals, processes that accompany steps, steps at the same time. It enters the namespaces of process 1
and takes on exactly its privileges. Its children are born into the box's pid namespace; itself it stays
outside, so nobody in the box can see it, signal it or forge what it says. On machines that `init.py` does not
know it lets `bwrap` make the box around a process 1 that only sleeps, and starts all steps. At the plain
level it is the one that adopts orphans.

It obeys one socket, the runner's (`kept.py`). Each process it starts has a pipe of its own on which its end
is told. When the socket closes, or the launcher dies, everything in the box ends with it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping

from .kernel import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    children_of,
    descendants,
    die_with_parent,
    enter_namespaces,
    libc,
    proc_file,
    receive,
    signal_to,
    state_and_session,
    take_privileges_of,
)

TYPE_CHECKING = False  # as in the launcher
if TYPE_CHECKING:
    from typing import Any

READY = b"\n"
NOT_FOUND, NOT_RUN = 127, 126
ROUNDS, ROUND_S = 20, 0.001
STANDS_S = 10.0
SHELL = "/bin/sh"
DEFAULT_SIGNALS = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
MESSAGE_BYTES = 4096


class Running:
    """A process that was asked for. `told`: where its end is written; `beside`: not a step, but something
    that accompanies steps."""

    __slots__ = ("beside", "ident", "told")

    def __init__(self, ident: int, told: int, beside: bool) -> None:
        self.ident = ident
        self.told = told
        self.beside = beside


class Keeper:
    """Serves one box. `tidy`: what a step leaves behind ends with it."""

    def __init__(self, line: socket.socket, *, tidy: bool) -> None:
        self._line = line
        self._tidy = tidy
        self._running: dict[int, Running] = {}  # by pid
        self._init = 0  # process 1 of the box, as we see it; 0: there is none
        self._broken = ""
        self._outer = 0  # the bubblewrap of a box that another made
        line.send(str(os.getpid()).encode())

    def keep(
        self, room: list[str] | None, beside: int, fds: Mapping[int, int], filter_: bytes | None
    ) -> None:
        """Makes the box (`room`: bwrap's argv, with descriptors as numbered), or enters the one of the
        process `beside`, and serves until the other side has gone. Never raises."""
        parent = os.getppid()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for number in range(3):
            os.dup2(null, number)
        try:
            if room is not None:
                self._enter(self._made(room, fds), filter_)
            elif beside:
                self._outer = beside
                self._enter(_standing(beside), filter_)
            else:
                libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        except (OSError, ValueError, KeyError, IndexError) as error:
            self._broken = str(error)
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        signal.signal(signal.SIGTERM, self._leave)
        die_with_parent(signal.SIGKILL if self._init else signal.SIGTERM)
        if os.getppid() == parent:
            self._serve()
        self._leave()

    def refuse(self, why: str) -> None:
        """There is no box: whoever asks is told why."""
        self._broken = why
        self._serve()
        self._leave()

    def _enter(self, init: int, filter_: bytes | None) -> None:
        self._init = init
        enter_namespaces(init)
        take_privileges_of(init, filter_)

    @staticmethod
    def _made(room: list[str], fds: Mapping[int, int]) -> int:
        heard, say = os.pipe2(os.O_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in {**fds, 1: say, 2: say}.items()]
        outer = os.posix_spawn(
            room[0], room, {"PATH": os.defpath}, file_actions=actions, setsigdef=DEFAULT_SIGNALS
        )
        os.close(say)
        said = os.read(heard, MESSAGE_BYTES)
        if said != READY:
            while said and (more := os.read(heard, MESSAGE_BYTES)):
                said += more
            raise OSError(said.decode("utf-8", "replace").strip() or "bwrap ended without a word")
        os.close(heard)
        (init,) = children_of(outer)
        return init

    def _serve(self) -> None:
        wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self._line.fileno(), select.POLLIN)
        poll.register(wake, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake, MESSAGE_BYTES)
                    self._reap()
                elif not self._request():
                    return

    def _request(self) -> bool:
        data, fds = receive(self._line, MESSAGE_BYTES)
        if not data:
            return False
        message = json.loads(data)
        try:
            match message["op"]:
                case "run":
                    self._run(message["id"], fds)
                case "signal":
                    self._signal(message["id"], message["number"])
                case "signal_inside":
                    self._signal_inside(message["pid"], message["number"])
                case "tidy":
                    if not self._broken:
                        self._end(self._strays)
                    _tell(os.dup(fds[0]), {"error": self._broken} if self._broken else {})
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _run(self, ident: int, fds: list[int]) -> None:
        """First descriptor: the order (JSON in a memfd); second: where the end is told; the others as
        numbered in the order."""
        order = json.loads(os.pread(fds[0], os.fstat(fds[0]).st_size, 0))
        given = dict(zip(order["fds"], fds[2:], strict=True))
        told = os.dup(fds[1])
        if self._broken:
            _tell(told, {"error": self._broken})
            return
        try:
            os.chdir(order["cwd"])
            pid = _spawned(order, given)
        except OSError as error:
            if (out := given.get(2)) is not None:
                with contextlib.suppress(OSError):
                    os.write(
                        out,
                        f"cannot run {order['argv'][0]} in {order['cwd']}: {error.strerror}\n".encode(
                            "utf-8", "replace"
                        ),
                    )
            _tell(
                told,
                {
                    "status": NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUN,
                    "strays": bool(self._strays()),
                },
            )
            return
        self._running[pid] = Running(ident, told, order["beside"])

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = self._running.pop(pid, None)
            if ended is not None:
                code = os.waitstatus_to_exitcode(status)
                if self._tidy and not any(not one.beside for one in self._running.values()):
                    self._end(self._strays)
                strays = bool(self._running) or bool(self._strays())
                _tell(ended.told, {"status": code if code >= 0 else 128 - code, "strays": strays})

    def _signal(self, ident: int, number: int) -> None:
        """To a process that was asked for and everything below it; KILL also to what has left its family but
        not its session."""
        pid = next((pid for pid, one in self._running.items() if one.ident == ident), None)
        if pid is None:
            return
        if number == signal.SIGKILL:
            self._end(lambda: self._family(pid))
        else:
            self._send(pid, number)

    @staticmethod
    def _send(pid: int, number: int) -> None:
        """To the process first: a shell that stops at errors would end with its child, and its own trap never
        hear of it."""
        for one in (pid, *descendants(pid)):
            signal_to(one, number)

    def _signal_inside(self, number_inside: int, number: int) -> None:
        """As `_signal`, to a child of process 1 by the number that it has inside. Looked up anew for each
        round: process 1 buries it when it likes."""
        if self._broken:
            if number == signal.SIGKILL and self._outer:
                signal_to(self._outer, number)  # nobody can reach into the box, so it ends as a whole
            return
        pid = _child_of(self._init, number_inside)
        if not pid:
            return
        if number == signal.SIGKILL:
            self._end(
                lambda: (
                    self._family(pid) if _child_of(self._init, number_inside) == pid else self._adopted(pid)
                )
            )
        else:
            self._send(pid, number)

    def _adopted(self, session: int) -> list[int]:
        return [one for one in self._strays() if state_and_session(one)[1] == session]

    def _family(self, pid: int) -> list[int]:
        return [pid, *descendants(pid), *self._adopted(pid)]

    def _strays(self) -> list[int]:
        """What no longer descends from a process that was asked for."""
        if self._init:
            return descendants(self._init)
        orphans = [child for child in children_of(os.getpid()) if child not in self._running]
        return [one for orphan in orphans for one in (orphan, *descendants(orphan))]

    def _end(self, whom: Callable[[], Iterable[int]]) -> None:
        """Kills until none of them lives; who forks faster than that takes the whole box along."""
        for _ in range(ROUNDS):
            if not self._kill(whom()):
                return
            time.sleep(ROUND_S)
        if self._init:
            self._kill_inside()
        while self._kill(whom()):
            time.sleep(ROUND_S)

    def _kill(self, pids: Iterable[int]) -> bool:
        alive = [pid for pid in pids if state_and_session(pid)[0] not in ("", "Z", "X")]
        for pid in alive:
            signal_to(pid, signal.SIGKILL)
        return bool(alive)

    def _kill_inside(self) -> None:
        """All of the box but its process 1, in one call that no fork can outrun: by a child of ours, because
        only it is in there."""
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(OSError):
                os.kill(-1, signal.SIGKILL)
            os._exit(0)

    def _leave(self, *_: object) -> None:
        """Ends everything and then us: bubblewrap's box by its process 1, a plain one by all that we have
        adopted."""
        with contextlib.suppress(BaseException):
            self._end_all()
        os._exit(0)

    def _end_all(self) -> None:
        while True:
            for pid in (self._init,) if self._init else descendants(os.getpid()):
                signal_to(pid, signal.SIGKILL)
            try:
                while os.waitpid(-1, 0 if self._init else os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(ROUND_S)


def _standing(outer: int) -> int:
    """Process 1 of a box, once it is what it will be: until then bubblewrap is at work."""
    until = time.monotonic() + STANDS_S
    while time.monotonic() < until:
        for init in children_of(outer):
            if proc_file(init, "comm") == b"init\n":
                return init
        if state_and_session(outer)[0] in ("", "Z", "X"):
            break
        time.sleep(ROUND_S)
    raise OSError("the box does not stand")


def _child_of(init: int, number_inside: int) -> int:
    """The number that a child of process 1 has out here; 0 when there is none."""
    ending = b"\t%d" % number_inside
    for child in children_of(init):
        for line in proc_file(child, "status").splitlines():
            if line.startswith(b"NSpid:") and line.endswith(ending):
                return child
    return 0


def _spawned(order: Mapping[str, Any], given: Mapping[int, int]) -> int:
    """Starts it as a session of its own. By posix_spawn, which copies nothing of us."""
    actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
    if order["terminal"]:  # what a session's leader opens first becomes its terminal
        actions = [(os.POSIX_SPAWN_OPEN, 0, f"/proc/self/fd/{given[0]}", os.O_RDWR, 0)]
    actions += [
        (os.POSIX_SPAWN_DUP2, fd, number) for number, fd in given.items() if number or not order["terminal"]
    ]
    argv, env = order["argv"], order["env"]

    def start(path: str, argv: list[str]) -> int:
        return os.posix_spawn(path, argv, env, file_actions=actions, setsid=True, setsigdef=DEFAULT_SIGNALS)

    name, folders = argv[0], (env.get("PATH") or os.defpath).split(":")
    trouble: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in [name] if "/" in name else [f"{folder or '.'}/{name}" for folder in folders]:
        try:
            return start(path, argv)
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            trouble = error if isinstance(error, PermissionError) else trouble
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            return start(
                SHELL, [SHELL, path, *argv[1:]]
            )  # a script that does not name its shell, as execvp has it
    raise trouble


def _tell(told: int, what: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.write(told, json.dumps(what).encode())
    os.close(told)
