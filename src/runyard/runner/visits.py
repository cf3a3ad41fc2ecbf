"""Terminals and commands beside running jobs, in their boxes. `job.py` says which boxes are open; doors open
visits through `engine.ports.Visits`.

Promises: a visit ends with its job at the latest, it has the job's folders, environment, network and limits
and nothing more, and the job's log says who came. What is typed and shown is nobody's but the visitor's: it
is in no log and is not masked.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from runyard.engine.ports import Wanted
from runyard.model.errors import Busy, Conflict, Invalid
from runyard.runner.sandbox import Box, Process, SandboxError

MOST = 8  # visits of one job at a time
MOST_SIZE = 1000
NOT_HERE = "This job's sandbox does not stand (yet or any more), or its runner is not one of Runyard's, so nobody can look into it."


class OpenVisit:
    """Keeps the promises of `engine.ports.Visit`."""

    def __init__(self, stdin: int | None, stdout: int, stderr: int | None) -> None:
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self._process: Process | None = None
        self._lock = threading.Lock()
        self._is_closed = False
        for fd in self._descriptors():
            os.set_blocking(fd, False)

    def begin(self, process: Process) -> None:
        """Once it runs."""
        self._process = process

    def resize(self, rows: int, columns: int) -> None:
        """Only terminals have a size."""
        with self._lock:
            if self.stdin == self.stdout and not self._is_closed:
                with suppress(OSError):
                    fcntl.ioctl(self.stdout, termios.TIOCSWINSZ, _window(rows, columns))

    def shut_stdin(self) -> None:
        """Of pipes; a terminal's end is a character that is typed."""
        with self._lock:
            if self.stdin is not None and self.stdin != self.stdout and not self._is_closed:
                os.close(self.stdin)
                self.stdin = None

    def wait(self, timeout_s: float) -> int | None:
        """137 when its box has gone."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout_s)
        except SandboxError:
            return 137

    def close(self) -> None:
        """May be called twice."""
        if self._process is not None:
            self._process.kill()
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            for fd in self._descriptors():
                os.close(fd)

    def _descriptors(self) -> set[int]:
        return {fd for fd in (self.stdin, self.stdout, self.stderr) if fd is not None}


@dataclass(slots=True)
class _Room:
    """A box that takes visits."""

    box: Box
    env: Callable[[], Mapping[str, str]]
    note: Callable[[str], None]
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_open: bool = True
    visits: list[OpenVisit] = field(default_factory=list)


class BoxVisits:
    """Keeps the promises of `engine.ports.Visits` for the jobs of this process."""

    def __init__(self) -> None:
        self._rooms: dict[int, _Room] = {}

    def admit(
        self, attempt_id: int, box: Box, env: Callable[[], Mapping[str, str]], note: Callable[[str], None]
    ) -> None:
        """From now on, until `dismiss`."""
        self._rooms[attempt_id] = _Room(box, env, note)

    def dismiss(self, attempt_id: int) -> None:
        """Before its box closes: all visits end, no other begins."""
        room = self._rooms.pop(attempt_id, None)
        if room is not None:
            with room.lock:
                room.is_open = False
            for visit in room.visits:
                process = visit._process
                if process is not None:
                    process.kill()

    def is_open(self, attempt_id: int) -> bool:
        """Whether its box stands, here."""
        return attempt_id in self._rooms

    def open(self, attempt_id: int, wanted: Wanted, by: str) -> OpenVisit:
        """Invalid for a working directory outside the box's own folders."""
        room = self._rooms.get(attempt_id)
        if room is None:
            raise Conflict(NOT_HERE)
        with room.lock:
            if not room.is_open:
                raise Conflict(NOT_HERE)
            room.visits = [one for one in room.visits if one.wait(0) is None]
            if len(room.visits) >= MOST:
                raise Busy(f"{MOST} terminals of this job are open; close one first.")
            visit = _started(room, wanted)
            room.visits.append(visit)
        what = "a terminal" if wanted.rows else "a command"
        room.note(f"{by} opened {what} in this job.")
        return visit


def _started(room: _Room, wanted: Wanted) -> OpenVisit:
    box = room.box
    argv = list(wanted.argv) or [box.find(["bash", "sh"])]
    cwd = os.path.normpath(Path(box.inside.workspace) / wanted.cwd)
    if any("\0" in text for text in (*argv, cwd, *wanted.env, *wanted.env.values())) or any(
        "=" in key or not key for key in wanted.env
    ):
        raise Invalid("A command, a folder or a variable cannot be given like this.")
    env = {"TERM": "xterm-256color", **room.env(), **wanted.env}
    theirs, visit = _terminal(box, wanted) if wanted.rows else _pipes(wanted)
    try:
        visit.begin(box.start(argv, env, cwd, theirs, terminal=bool(wanted.rows)))
    except BaseException:
        visit.close()
        raise
    finally:
        for fd in set(theirs.values()):
            os.close(fd)
    return visit


def _terminal(box: Box, wanted: Wanted) -> tuple[dict[int, int], OpenVisit]:
    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, _window(wanted.rows, wanted.columns))
    if box.uid is not None:
        os.fchown(theirs, box.uid, box.uid)
    return {0: theirs, 1: theirs, 2: theirs}, OpenVisit(ours, ours, None)


def _pipes(wanted: Wanted) -> tuple[dict[int, int], OpenVisit]:
    out, out_end = os.pipe2(os.O_CLOEXEC)
    error, error_end = os.pipe2(os.O_CLOEXEC)
    theirs = {1: out_end, 2: error_end}
    stdin = None
    if wanted.stdin:
        theirs[0], stdin = os.pipe2(os.O_CLOEXEC)
    return theirs, OpenVisit(stdin, out, error)


def _window(rows: int, columns: int) -> bytes:
    return struct.pack("HHHH", min(max(rows, 1), MOST_SIZE), min(max(columns, 1), MOST_SIZE), 0, 0)
