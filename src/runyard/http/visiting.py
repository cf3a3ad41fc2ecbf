"""Terminals and commands beside running jobs, wherever the job runs: in this server's own runner, or in a
`runyard runner` that is told when it next says that the job lives. The runner's half of that is
`runner/calling.py`; the GitLab door has its two calls. Made by app.

A visit elsewhere is pipes: this server's doors have one end of each, the runner's calls the other, and each
side closes its own, which the other notices.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from runyard.engine.ports import Visit, Visits, Wanted
from runyard.model.errors import Busy, Conflict, NotFound, RunyardError
from runyard.runner.calling import KILLED, PROBLEMS, READ_BYTES, Said, Shown

MOST = 8  # visits of one job that its runner is asked for
HOLD_S = 20.0  # how long a runner's call waits for something to do
FETCHED_S = 30.0  # a runner that has not come for a visit by then does not come
SILENCE_S = 3 * HOLD_S  # a runner that asks no more has gone
ATTENDED_S = 30.0  # a runner says that a job lives every few seconds
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK


async def ready(*fds: int, write: bool = False) -> None:
    """Returns when one of the descriptors can be read (or written)."""
    loop = asyncio.get_running_loop()
    event = loop.create_future()

    def tell() -> None:
        if not event.done():
            event.set_result(None)

    add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
    for fd in fds:
        add(fd, tell)
    try:
        await event
    finally:
        for fd in fds:
            remove(fd)


class CalledVisit:
    """Keeps the promises of `engine.ports.Visit` for a process at another runner; `said` and `show` are that
    runner's side."""

    def __init__(self, wanted: Wanted, by: str, forget: Callable[[], None]) -> None:
        self.wanted, self.by = wanted, by
        self.stdin: int | None = None
        self.stderr: int | None = None
        self._in: int | None = None
        self._error: int | None = None
        self.stdout, self._out = os.pipe2(_FLAGS)
        if not wanted.rows:
            self.stderr, self._error = os.pipe2(_FLAGS)
        if wanted.rows or wanted.stdin:
            self._in, self.stdin = os.pipe2(_FLAGS)
        self._stir = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._size: tuple[int, int] | None = None
        self._end: int | RunyardError | None = None
        self._ended = threading.Event()
        self._is_left = self._is_fetched = self._is_shut = False
        self._calls = 0  # of the runner that use its ends now
        self._heard_at = time.monotonic()
        self._lock = threading.Lock()
        self._forget = forget

    # the visitor's side

    def resize(self, rows: int, columns: int) -> None:
        """Told with the runner's next call."""
        with self._lock:
            self._size = (rows, columns)
            self._wake()

    def shut_stdin(self) -> None:
        """Of pipes; a terminal's end is a character that is typed."""
        if self.stdin is not None and not self.wanted.rows:
            os.close(self.stdin)
            self.stdin = None

    def wait(self, timeout_s: float) -> int | None:
        """Raises what the runner refused the visit for."""
        self._ended.wait(timeout_s)
        with self._lock:
            patience = SILENCE_S if self._is_fetched else FETCHED_S
            if self._end is None and time.monotonic() > self._heard_at + patience:
                gone = Conflict("The job's runner did not come for this visit; try again.")
                self._close_theirs(KILLED if self._is_fetched else gone)
        if isinstance(self._end, RunyardError):
            raise self._end
        return self._end

    def close(self) -> None:
        """May be called twice."""
        with self._lock:
            if self._is_left:
                return
            self._is_left = True
            for fd in (self.stdin, self.stdout, self.stderr):
                if fd is not None:
                    os.close(fd)
            self._close_theirs(KILLED)
        self._forget()

    # the runner's side

    @property
    def is_fetched(self) -> bool:
        """Whether the runner has come for it."""
        return self._is_fetched

    async def said(self) -> Said:
        """The visitor's next word, or an empty one after a while."""
        with self._called():
            if not self._is_fetched:
                self._is_fetched = True
                return Said(wanted=self.wanted, by=self.by)
            fds = [self._stir] if self._in is None or self._is_shut else [self._stir, self._in]
            with suppress(TimeoutError):
                if not self._ended.is_set():
                    await asyncio.wait_for(ready(*fds), HOLD_S)
            with self._lock:
                return self._word()

    def _word(self) -> Said:
        if self._ended.is_set():
            return Said(over=True)
        with suppress(BlockingIOError):
            os.eventfd_read(self._stir)
        word = Said()
        if self._size is not None:
            (word.rows, word.columns), self._size = self._size, None
        if self._in is not None and not self._is_shut:
            with suppress(BlockingIOError):
                word.stdin = os.read(self._in, READ_BYTES)
                word.shut = self._is_shut = not word.stdin
        return word

    async def show(self, shown: Shown) -> int:
        """How many bytes found room before patience ended: a visitor who reads nothing holds up the process,
        not the server."""
        with self._called():
            if shown.problem is not None:
                kind, words = shown.problem
                self._over(PROBLEMS.get(kind, Conflict)(words))
            elif shown.exit_code is not None:
                self._over(shown.exit_code)
            elif shown.stderr and self._error is not None:
                return await _pour(self._error, shown.stderr)
            return await _pour(self._out, shown.stdout)

    def _over(self, end: int | RunyardError) -> None:
        with self._lock:
            self._close_theirs(end)

    @contextmanager
    def _called(self) -> Iterator[None]:
        """The runner's ends stay open meanwhile."""
        with self._lock:
            if self._ended.is_set():
                raise NotFound("this visit is over")
            self._calls += 1
            self._heard_at = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                self._heard_at = time.monotonic()
                self._tidy()

    def _close_theirs(self, end: int | RunyardError) -> None:
        """At once, or when the last call of the runner returns."""
        if self._end is None:
            self._end = end
            self._ended.set()
            self._wake()
            self._tidy()

    def _wake(self) -> None:
        if self._stir >= 0:
            os.eventfd_write(self._stir, 1)

    def _tidy(self) -> None:
        if self._end is not None and self._calls == 0 and self._stir >= 0:
            for fd in (self._in, self._out, self._error, self._stir):
                if fd is not None:
                    os.close(fd)
            self._stir = -1


async def _pour(fd: int, data: bytes) -> int:
    done, until = 0, time.monotonic() + HOLD_S
    while done < len(data) and (left := until - time.monotonic()) > 0:
        try:
            done += os.write(fd, memoryview(data)[done:])
        except BlockingIOError:
            with suppress(TimeoutError):
                await asyncio.wait_for(ready(fd, write=True), left)
        except OSError:
            raise NotFound("this visit is over") from None
    return done


class Switchboard:
    """Keeps the promises of `engine.ports.Visits`: here, else at the runner that said it has the job."""

    def __init__(self, here: Visits) -> None:
        self._here = here
        self._lock = threading.Lock()
        self._attended: OrderedDict[int, float] = (
            OrderedDict()
        )  # by attempt: when its runner last said that it lives
        self._called: dict[int, dict[str, CalledVisit]] = {}

    def open(self, attempt_id: int, wanted: Wanted, by: str) -> Visit:
        """Of a job elsewhere at once; whether the runner lets the visitor in, `wait` tells."""
        try:
            return self._here.open(attempt_id, wanted, by)
        except Conflict:
            if not self._is_attended(attempt_id):
                raise
        id = secrets.token_hex(16)
        with self._lock:
            visits = self._called.setdefault(attempt_id, {})
            if len(visits) >= MOST:
                raise Busy(f"{MOST} terminals of this job are open; close one first.")
            visits[id] = CalledVisit(wanted, by, lambda: self._forget(attempt_id, id))
            return visits[id]

    def attend(self, attempt_id: int) -> list[str]:
        """A runner says that it has this job and takes visits; the ids of those that wait for it."""
        now = time.monotonic()
        with self._lock:
            self._attended[attempt_id] = now
            self._attended.move_to_end(attempt_id)
            while now - next(iter(self._attended.values())) > ATTENDED_S:
                self._attended.popitem(last=False)
            return [id for id, one in self._called.get(attempt_id, {}).items() if not one.is_fetched]

    def visit(self, attempt_id: int, id: str) -> CalledVisit:
        """For the runner's calls."""
        with self._lock:
            found = self._called.get(attempt_id, {}).get(id)
        if found is None:
            raise NotFound("this visit is over")
        return found

    def _is_attended(self, attempt_id: int) -> bool:
        with self._lock:
            return time.monotonic() - self._attended.get(attempt_id, -ATTENDED_S) < ATTENDED_S

    def _forget(self, attempt_id: int, id: str) -> None:
        with self._lock:
            visits = self._called.get(attempt_id, {})
            visits.pop(id, None)
            if not visits:
                self._called.pop(attempt_id, None)
