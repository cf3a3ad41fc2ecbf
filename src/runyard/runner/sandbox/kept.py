"""A box whose processes start as we say: what the levels of the sandbox share. Base of `bubblewrap.py` and
`plain.py`.

Steps are started by the box's process 1 (`init.py`), one at a time. What needs more than that (signals,
processes that accompany steps, steps at the same time) has a keeper beside it (`keeper.py`), made when it is
first asked for. At the plain level, and on machines that `init.py` does not know, there is a keeper from the
beginning, and it starts everything.

Each process has a pipe on which its end is told, so whoever waits for a step polls it beside the step's
output, and no thread stands between. What a step leaves in the background lives on, but only while a step
runs: between steps, and while we work in the job's folders ourselves, the box's control group is frozen.
Without a group that can be, what steps have left ends when none of them runs any more.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runyard.runner.sandbox import accounting
from runyard.runner.sandbox.box import Limits, SandboxError, Used
from runyard.runner.sandbox.cgroups import Slot
from runyard.runner.sandbox.init import END
from runyard.runner.sandbox.order import PID_AT, order
from runyard.runner.sandbox.spawner import LauncherGone, Room, Spawner, SpawnFailed, memory_file, memory_of

CLOSE_S = 5.0
BEGIN_S = 5.0
LOOK_S = 0.001
MESSAGE_BYTES = 4096


class KeptProcess:
    """Keeps the promises of `box.Process`."""

    def __init__(
        self,
        told: int,
        output: int,
        signals: Callable[[int], object],
        ended: Callable[[bool], None],
        why: Callable[[], str],
        order: int = -1,
    ) -> None:
        self.output = output
        self.ended = told
        self._signals = signals
        self._has_ended = ended
        self._why = why
        self._order = order  # a descriptor, needed as long as somebody may want to signal
        self._code: int | None = None
        self._trouble = ""
        self._is_known = False
        self._lock = threading.Lock()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """bwrap and shells say 128 + n for a signal; so do we."""
        poll = select.poll()
        poll.register(self.ended, select.POLLIN)
        if not self._is_known:
            if not poll.poll(None if timeout_s is None else timeout_s * 1000):
                return None
            with self._lock:
                if not self._is_known:
                    self._hear(os.read(self.ended, MESSAGE_BYTES))
        if self._trouble:
            raise SandboxError(self._trouble)
        return self._code

    def _hear(self, data: bytes) -> None:
        """A keeper tells JSON, process 1 two numbers; an end without a word is the end of who would have
        told."""
        if len(data) == END.size and not data.startswith(b"{"):
            status, left = END.unpack(data)
            told: dict[str, Any] = {"status": os.waitstatus_to_exitcode(status), "strays": left == 0}
        else:
            told = json.loads(data or b"{}")
        if "status" in told:
            code = int(told["status"])
            self._code = code if code >= 0 else 128 - code
        else:
            why = told.get("error") or self._why() or "its box ended"
            self._trouble = f"the step's process could not be run: {why}"
        self._is_known = True
        self._has_ended(told.get("strays", True))

    def interrupt(self) -> None:
        """INT to it and all below it."""
        self._signals(signal.SIGINT)

    def terminate(self) -> None:
        """TERM to it and all below it."""
        self._signals(signal.SIGTERM)

    def kill(self) -> None:
        """KILL to it, all below it and all of its session."""
        self._signals(signal.SIGKILL)

    def __del__(self) -> None:
        """Not before: whoever waits in another thread polls it."""
        os.close(self.ended)
        if self._order >= 0:
            os.close(self._order)


class Line:
    """Our end of what leads to process 1 or to a keeper. What comes on it first is a process id; later, what
    bwrap complains about. It ends when they have."""

    def __init__(self, opened: Callable[[int], None]) -> None:
        """`opened` gives the other end away. SandboxError when there is nobody to take it."""
        self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self.pid = 0
        self.complaint = ""
        try:
            with theirs:
                opened(theirs.fileno())
        except (LauncherGone, SpawnFailed) as error:
            self._end.close()
            raise SandboxError(f"the job's box could not be opened: {error}") from error

    @property
    def lives(self) -> bool:
        """Whether somebody holds the other end."""
        fd, poll = self._end.fileno(), select.poll()
        if fd < 0:
            return False
        poll.register(fd, 0)  # nothing but its hanging up
        return not poll.poll(0)

    def say(self, message: bytes, fds: Sequence[int] = ()) -> None:
        """SandboxError when nobody hears it any more."""
        try:
            socket.send_fds(self._end, [message], list(fds))
        except OSError as error:
            raise SandboxError(f"the job's box has ended: {error}") from error

    def hear(self, timeout_s: float = 0.0) -> bool:
        """Takes in what has come, or comes in that time; False when nothing will come any more."""
        fd, poll = self._end.fileno(), select.poll()
        if fd < 0:
            return False
        poll.register(fd, select.POLLIN)
        poll.poll(timeout_s * 1000)
        with self._lock:
            try:
                while data := self._word():
                    if not self.pid and data.isdigit():
                        self.pid = int(data)
                    else:
                        self.complaint += data.decode("utf-8", "replace")
            except BlockingIOError:
                return True
            except OSError:  # closed meanwhile
                pass
        return False

    def _word(self) -> bytes:
        with contextlib.suppress(
            ConnectionResetError
        ):  # it ended without having heard us; what it said comes after this
            return self._end.recv(MESSAGE_BYTES, socket.MSG_DONTWAIT)
        return self._end.recv(MESSAGE_BYTES, socket.MSG_DONTWAIT)

    def known_pid(self) -> int:
        """Waits for it; 0 when there is none."""
        until = time.monotonic() + BEGIN_S
        while not self.pid and self.hear(BEGIN_S) and time.monotonic() < until:
            pass
        return self.pid

    def why(self) -> str:
        """What was complained about."""
        self.hear()
        return self.complaint.strip()

    def shut(self) -> bool:
        """Hangs up and waits until they have ended; False when they do not in time."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_WR)
        until = time.monotonic() + CLOSE_S
        while is_open := self.hear(CLOSE_S):
            if time.monotonic() > until:
                break
        self._end.close()
        return not is_open


class KeptBox:
    """One attempt's room. Subclasses make it: with `_open` around a keeper that starts everything, or with
    `_open_first`."""

    def __init__(self, spawner: Spawner, limits: Limits, group: Slot | None) -> None:
        self._spawner = spawner
        self._limits = limits
        self._group = group
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._first: Line | None = None  # to process 1
        self._keeper: Line | None = None
        self._is_at_work = False  # process 1: it starts one after the other
        self._steps = 0
        self._is_closed = False
        self.lingering: list[int] = []

    def _open(self, room: Room) -> None:
        """SandboxError when the launcher cannot; what bwrap has to say is said when the first process is
        asked for."""
        self._keeper = Line(lambda end: self._spawner.keep(room, end))

    def _open_first(self, room: Room) -> None:
        """As `_open`."""
        self._first = Line(lambda end: self._spawner.box(room, end))

    def _join(self, pid: int, line: int) -> None:
        """Lets a keeper into the box that was opened as this process."""
        raise NotImplementedError

    @property
    def _is_tidy(self) -> bool:
        """Whether what steps leave behind ends with them: nobody could make it stand still."""
        return self._group is None or not self._group.can_freeze

    @property
    def lives(self) -> bool:
        """Whether process 1 does, or the keeper in its place."""
        line = self._first or self._keeper
        return line is not None and line.lives

    def run(self, argv: Sequence[str], env: Mapping[str, str], cwd: str) -> KeptProcess:
        """A step."""
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        with self._lock:
            self._steps += 1
        if self._group is not None:
            self._group.enter()
        fds = {1: write_end, 2: write_end}
        try:
            return self._ordered(argv, env, cwd, fds, read_end) or self._asked(argv, env, cwd, fds, read_end)
        except SandboxError:
            os.close(read_end)
            self._left(False)
            raise
        finally:
            os.close(write_end)

    def start(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, fds: Mapping[int, int], *, terminal: bool = False
    ) -> KeptProcess:  # fmt: skip
        """Beside the steps; it stands still when they do."""
        if self._group is not None:
            self._group.accompany()
        return self._asked(argv, env, cwd, fds, -1, terminal=terminal)

    def still(self) -> contextlib.AbstractContextManager[None]:
        """By the control group."""
        return contextlib.nullcontext() if self._group is None else self._group.still()

    def _ordered(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, fds: Mapping[int, int], output: int
    ) -> KeptProcess | None:
        """By process 1; None when it is at work, or that is beyond it."""
        first = self._first
        with self._lock:
            if first is None or self._is_at_work:
                return None
            try:
                body = order(argv, env, cwd, list(fds))
            except ValueError as error:
                raise SandboxError(f"the step's process could not be run: {error}") from error
            if body is None:
                return None
            self._is_at_work = True
        told, tell = os.pipe2(os.O_CLOEXEC)
        memory = memory_of(body)
        process = KeptProcess(told, output, lambda number: self._signal_inside(memory, told, number), self._first_left, first.why, memory)  # fmt: skip
        try:
            first.say(b"run", [memory, tell, *fds.values()])
        finally:
            os.close(tell)
        return process

    def _asked(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, fds: Mapping[int, int], output: int, *, terminal: bool = False
    ) -> KeptProcess:  # fmt: skip
        """By the keeper."""
        keeper, ident, beside = self._kept(), next(self._ids), output < 0
        body = json.dumps(
            {
                "argv": list(argv),
                "env": dict(env),
                "cwd": cwd,
                "fds": list(fds),
                "terminal": terminal,
                "beside": beside,
            }
        )
        told, tell = os.pipe2(os.O_CLOEXEC)
        process = KeptProcess(
            told,
            output,
            lambda number: self._signal({"op": "signal", "id": ident, "number": int(number)}),
            _nothing if beside else self._left,
            keeper.why,
        )
        try:
            with memory_file(body.encode()) as order_fd:
                keeper.say(_message({"op": "run", "id": ident}), [order_fd, tell, *fds.values()])
        finally:
            os.close(tell)
        return process

    def _kept(self) -> Line:
        """The keeper; beside process 1 it is made now."""
        with self._lock:
            if self._is_closed:
                raise SandboxError("the job's box is closed")
            if self._keeper is None:
                pid = self._first.known_pid() if self._first is not None else 0
                if not pid:
                    raise SandboxError("the job's box has ended")
                self._keeper = Line(lambda end: self._join(pid, end))
            return self._keeper

    def _first_left(self, strays: bool) -> None:
        with self._lock:
            self._is_at_work = False
        self._left(strays)

    def _left(self, strays: bool) -> None:
        """A step has ended."""
        with self._lock:
            self._steps -= 1
            is_last = self._steps == 0
        if self._group is not None:
            self._group.leave(strays)
        if strays and is_last and self._is_tidy and self._first is not None and self._first.lives:
            self._tidy()

    def _tidy(self) -> None:
        """SandboxError when what is left over does not end."""
        told, tell = os.pipe2(os.O_CLOEXEC)
        try:
            self._kept().say(_message({"op": "tidy"}), [tell])
        finally:
            os.close(tell)
        with os.fdopen(told, "rb") as answer:
            said = answer.read()
        if said != b"{}":
            raise SandboxError("what the step left running does not end")

    def _signal(self, message: Mapping[str, Any]) -> bool:
        """Whether there is somebody who hears it: not where the box has ended, or nobody could be let in."""
        with contextlib.suppress(SandboxError):
            self._kept().say(_message(message))
            return True
        return False

    def _signal_inside(self, memory: int, told: int, number: int) -> None:
        """To what process 1 has started for this order. Who does not even begin has no number, and can only
        end with the box."""
        poll = select.poll()
        poll.register(told, select.POLLIN)
        until = time.monotonic() + BEGIN_S
        while not poll.poll(0):
            pid = int.from_bytes(os.pread(memory, 8, PID_AT), "little")
            if pid and self._signal({"op": "signal_inside", "pid": pid, "number": int(number)}):
                return
            if time.monotonic() > until:
                if number == signal.SIGKILL and self._first is not None:
                    self._spawner.end(self._first.known_pid())
                return
            time.sleep(LOOK_S)

    def used(self) -> Used:
        """Groups count better than processes."""
        line, pid = self._first or self._keeper, 0
        if line is not None and not self._is_closed:
            line.hear()
            pid = line.pid
        return accounting.used(self._group, self._limits, pid)

    def _shut(self) -> None:
        """Ends everything in the box; returns when it has."""
        for fd in self.lingering:
            os.close(fd)
        self.lingering.clear()
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if was_closed:
            return
        if self._group is not None:
            self._group.enter()  # who stands still does not hear
        if self._first is not None and self._is_at_work:  # nor does process 1 now
            self._spawner.end(self._first.known_pid())
        for line in (self._keeper, self._first):
            if line is not None and not line.shut():
                self._spawner.end(line.pid)
        if self._group is not None:
            self._group.leave(False)


def _message(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _nothing(_: bool) -> None:
    """What accompanies steps is not one."""
