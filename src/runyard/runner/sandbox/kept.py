"""A box whose processes a keeper starts (`keeper.py`): what the levels of the sandbox share. Base of `bubblewrap.py` and `plain.py`.

Each process has a pipe on which the keeper tells its end, so whoever waits for a step polls it beside the step's output, and no thread stands between.
What a step leaves in the background lives on, but only while a step runs: between steps, and while we work in the job's folders ourselves, the box's
control group is frozen. Without a group that can be, the keeper ends with each step what it has left.
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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runyard.runner.sandbox import accounting
from runyard.runner.sandbox.box import Limits, SandboxError, Used
from runyard.runner.sandbox.cgroups import Slot
from runyard.runner.sandbox.spawner import LauncherGone, Room, Spawner, SpawnFailed, memory_file

CLOSE_S = 5.0
MESSAGE_BYTES = 4096


class KeptProcess:
    """Keeps the promises of `box.Process`."""

    def __init__(
        self, told: int, output: int, signals: Callable[[int], None], ended: Callable[[bool], None]
    ) -> None:
        self.output = output
        self.ended = told
        self._signals = signals
        self._has_ended = ended
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
        told: dict[str, Any] = json.loads(data or b"{}")
        if "status" in told:
            self._code = int(told["status"])
        else:
            self._trouble = f"the step's process could not be run: {told.get('error', 'its box ended')}"
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


class KeptBox:
    """One attempt's room with its keeper. Subclasses make the room."""

    def __init__(self, spawner: Spawner, limits: Limits, group: Slot | None) -> None:
        self._spawner = spawner
        self._limits = limits
        self._group = group
        self._ids = itertools.count(1)
        self._line: socket.socket | None = None
        self._pid = 0
        self.lingering: list[int] = []

    def _open(self, room: Room) -> None:
        """SandboxError when the launcher cannot; what bwrap has to say is said when the first process is asked for."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._spawner.keep(room, theirs.fileno())
        except (LauncherGone, SpawnFailed) as error:
            ours.close()
            raise SandboxError(f"the job's box could not be opened: {error}") from error
        self._line = ours

    @property
    def lives(self) -> bool:
        """Whether its keeper does."""
        if self._line is None:
            return False
        poll = select.poll()
        poll.register(self._line, 0)  # nothing but its hanging up
        return not poll.poll(0)

    def run(self, argv: Sequence[str], env: Mapping[str, str], cwd: str) -> KeptProcess:
        """A step."""
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        if self._group is not None:
            self._group.enter()
        try:
            return self._started(argv, env, cwd, {1: write_end, 2: write_end}, read_end)
        except SandboxError:
            os.close(read_end)
            self._left(True)
            raise
        finally:
            os.close(write_end)

    def start(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, fds: Mapping[int, int], *, terminal: bool = False
    ) -> KeptProcess:  # fmt: skip
        """Beside the steps; it stands still when they do."""
        if self._group is not None:
            self._group.accompany()
        return self._started(argv, env, cwd, fds, -1, terminal=terminal)

    def still(self) -> contextlib.AbstractContextManager[None]:
        """By the control group."""
        return contextlib.nullcontext() if self._group is None else self._group.still()

    def _started(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, fds: Mapping[int, int], output: int, *, terminal: bool = False
    ) -> KeptProcess:  # fmt: skip
        ident, beside = next(self._ids), output < 0
        order = {
            "argv": list(argv),
            "env": dict(env),
            "cwd": cwd,
            "fds": list(fds),
            "terminal": terminal,
            "beside": beside,
        }
        told, tell = os.pipe2(os.O_CLOEXEC)
        process = KeptProcess(
            told, output, lambda number: self._signal(ident, number), lambda strays: None if beside else self._left(strays)
        )  # fmt: skip
        try:
            with memory_file(json.dumps(order).encode()) as body:
                self._say({"op": "run", "id": ident}, [body, tell, *fds.values()])
        finally:
            os.close(tell)
        return process

    def _left(self, strays: bool) -> None:
        if self._group is not None:
            self._group.leave(strays)

    def _signal(self, ident: int, number: int) -> None:
        with contextlib.suppress(SandboxError):  # then it has ended
            self._say({"op": "signal", "id": ident, "number": int(number)})

    def _say(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        if self._line is None:
            raise SandboxError("the job's box is closed")
        try:
            socket.send_fds(self._line, [json.dumps(message).encode()], list(fds))
        except OSError as error:
            raise SandboxError(f"the job's box has ended: {error}") from error

    def _keeper(self, line: socket.socket) -> int:
        """Its pid, the one thing that it says (0: not yet)."""
        with contextlib.suppress(BlockingIOError):
            self._pid = self._pid or int(line.recv(MESSAGE_BYTES, socket.MSG_DONTWAIT) or 0)
        return self._pid

    def used(self) -> Used:
        """Groups count better than processes."""
        line = self._line
        return accounting.used(self._group, self._limits, self._keeper(line) if line else 0)

    def _shut(self) -> None:
        """Ends everything in the box; returns when it has."""
        for fd in self.lingering:
            os.close(fd)
        self.lingering.clear()
        line, self._line = self._line, None
        if line is None:
            return
        if self._group is not None:
            self._group.enter()  # who stands still does not hear
        with line, contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_WR)
            line.settimeout(CLOSE_S)
            try:
                while data := line.recv(MESSAGE_BYTES):
                    self._pid = int(data)
            except TimeoutError:
                self._spawner.end(self._pid)
        self._left(False)
