"""How a cancel, a lost lease or a time limit reaches a running step. One WatchedControl per attempt; its
watcher is the only thread beside the slot's, and there is none while the attempt is young.

Promise: what the server says arrives within the moment it takes to ring (in-process) or the poll interval
(remote), however silent the job.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue

from runyard.engine.dispatch import Verdict
from runyard.model.errors import RunyardError
from runyard.model.plan import Assignment
from runyard.runner.link import Link
from runyard.runner.meter import Meter
from runyard.runner.sandbox import Process

AFTER_TROUBLE_S = 1.0
YOUNG_S = 0.2  # an attempt that ends sooner needs no watcher; no person is faster
DISK_LOOK_S = 2.0
DISK_STOP_BYTES = 128 << 20  # below this a running job is ended
DISK_CLAIM_BYTES = 512 << 20  # below this nothing new is started (contracts/reliability.md §3)


def free_bytes(folder: str) -> int:
    """What a job may still write there."""
    about = os.statvfs(folder)
    return about.f_bavail * about.f_frsize


class Control:
    """The server's latest word, and a descriptor that is readable when it changed. A job has one; so has what
    runs beside its steps (`lead`)."""

    def __init__(self, deadline: float) -> None:
        self.verdict = Verdict.GO
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.deadline = deadline
        self.meter: Meter | None = None  # set once there is a box
        self.asks_first = True  # with INT, before TERM
        self._followers: list[Control] = []
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def hear(self, verdict: Verdict) -> None:
        """A word can only get sterner."""
        order = (Verdict.GO, Verdict.STOP, Verdict.ABORT)
        with self._lock:
            if self._ended.is_set() or order.index(verdict) <= order.index(self.verdict):
                return
            self.verdict = verdict
            os.eventfd_write(self.wake, 1)
        for follower in tuple(self._followers):
            follower.hear(verdict)

    def lead(self) -> Control:
        """Another that hears all that this one does, what was said before too, and what is said to it
        alone."""
        follower = Control(self.deadline)
        self._followers.append(follower)
        follower.hear(self.verdict)
        return follower

    def close(self) -> None:
        """Nothing is heard any more."""
        with self._lock:
            self._ended.set()
            os.close(self.wake)


class WatchedControl(Control):
    """The one of an attempt: it asks the server itself. Whoever watches leaves at its next wake-up after
    `close`; nobody waits for it."""

    def __init__(self, link: Link, work: Assignment) -> None:
        super().__init__(time.monotonic() + work.timeout_s)
        self._link = link
        self._work = work
        _NURSERY.keep(self)

    def grow_up(self) -> None:
        """From now on the server's word is waited for, unless the attempt has ended."""
        with self._lock:
            if not self._ended.is_set():
                name = f"watch-{self._work.attempt_id}"
                threading.Thread(target=self._watch, name=name, daemon=True).start()

    def _watch(self) -> None:
        while not self._ended.is_set() and self.verdict is not Verdict.ABORT:
            try:
                verdict = self._link.watch(self._work)
            except RunyardError:
                self._ended.wait(AFTER_TROUBLE_S)
                continue
            self.hear(verdict)
            if verdict is Verdict.STOP:
                self._ended.wait(AFTER_TROUBLE_S)  # nothing softer can come; only the lease must be kept


class _Nursery:
    """One thread for all young attempts of this process: a thread for each would cost a short job more than
    its watching is worth."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[float, WatchedControl]] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def keep(self, control: WatchedControl) -> None:
        """Lets it grow up when its time has come; all stay equally long, so the queue is in order."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="nursery", daemon=True)
                    self._thread.start()
        self._queue.put((time.monotonic() + YOUNG_S, control))

    def _work(self) -> None:
        while True:
            due, control = self._queue.get()
            time.sleep(max(0.0, due - time.monotonic()))
            control.grow_up()


_NURSERY = _Nursery()


class Stopper:
    """Ends one process: TERM, grace, KILL; with `interrupts` INT first and TERM when three quarters of the
    grace are over (the Actions runner's 7.5 and 2.5 s). `why` is the first reason given. Looks after the disk
    under `folder` meanwhile. A process that was started after the cancel (`always()`) is ended by the
    server's last word only."""

    def __init__(
        self,
        process: Process,
        control: Control,
        grace_s: float,
        timeout_s: float | None,
        folder: str,
        *,
        interrupts: bool = False,
    ) -> None:
        self.why = ""
        self._interrupts = interrupts
        self._late = control.verdict is Verdict.STOP
        self._term_at: float | None = None
        self._folder = folder
        self._disk_at = time.monotonic() + DISK_LOOK_S
        self._process = process
        self._control = control
        self._grace_s = grace_s
        self._timeout_at = time.monotonic() + timeout_s if timeout_s is not None else None
        self._kill_at: float | None = None

    def look(self) -> None:
        """Acts on the server's word."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._control.wake)
        match self._control.verdict:
            case Verdict.GO:
                return
            case Verdict.STOP if not self._late:
                self.stop("canceled")
            case Verdict.STOP:
                return
            case Verdict.ABORT:
                self.why = self.why or "aborted"
                self._process.kill()

    def stop(self, why: str) -> None:
        """Asks everyone inside to end, and notes when patience ends."""
        if not self.why:
            self.why = why
            self._kill_at = time.monotonic() + self._grace_s
            if self._interrupts and self._control.asks_first:
                self._process.interrupt()
                self._term_at = time.monotonic() + self._grace_s * 0.75
            else:
                self._process.terminate()

    def moments(self) -> Sequence[tuple[float, Callable[[], None]]]:
        """What must happen when, for `streams.pump`."""
        if self.why:
            due: list[tuple[float | None, Callable[[], None]]] = [
                (self._term_at, self._term),
                (self._kill_at, self._kill),
            ]
            return [(at, act) for at, act in due if at is not None]
        found: list[tuple[float, Callable[[], None]]] = [
            (self._control.deadline, lambda: self.stop("job_timeout"))
        ]
        found.append((self._disk_at, self._look_at_disk))
        if (meter := self._control.meter) is not None:
            found.append((meter.due_at, meter.look))
        if self._timeout_at is not None:
            found.append((self._timeout_at, lambda: self.stop("step_timeout")))
        return found

    def _look_at_disk(self) -> None:
        self._disk_at = time.monotonic() + DISK_LOOK_S
        if free_bytes(self._folder) < DISK_STOP_BYTES:
            self.stop("disk_full")

    def _term(self) -> None:
        self._term_at = None
        self._process.terminate()

    def _kill(self) -> None:
        self._kill_at = None
        self._process.kill()
