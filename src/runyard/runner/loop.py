"""The runner itself: a thread per slot that claims, executes, claims again. Made by app (`local.py`'s line)
and by `runyard runner` (`remote.py`'s)."""

from __future__ import annotations

import logging
import threading
import time

from runyard.model.errors import RunyardError
from runyard.runner.control import DISK_CLAIM_BYTES, free_bytes
from runyard.runner.job import Execution, Means

log = logging.getLogger("runyard.runner")

TROUBLE_WAIT_S = 2.0
FULL_WAIT_S = 10.0


class RunnerLoop:
    """`start`, then `stop`. Slots are numbered from 1: each has its own uid, groups and folders."""

    def __init__(self, means: Means, slots: int) -> None:
        self._means = means
        self._slots = slots
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._running: dict[int, Execution] = {}
        self._lock = threading.Lock()

    @property
    def running(self) -> int:
        """How many jobs run now."""
        return len(self._running)

    def start(self) -> None:
        """Begins to claim."""
        for slot in range(1, self._slots + 1):
            thread = threading.Thread(target=self._work, args=(slot,), name=f"slot-{slot}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, grace_s: float = 5.0) -> None:
        """No new claims; jobs may end within the grace, the others are given back unharmed. Ends everything
        that still lives."""
        self._stopping.set()
        self._means.link.close()
        until = time.monotonic() + grace_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self._lock:
            left = list(self._running.values())
        for execution in left:
            execution.abandon()
        for thread in self._threads:
            thread.join(10)
        self._means.sandbox.close()

    def _work(self, slot: int) -> None:
        while not self._stopping.is_set():
            if free_bytes(str(self._means.spool.parent)) < DISK_CLAIM_BYTES:
                log.warning("the disk is nearly full, no new jobs are taken")
                self._stopping.wait(FULL_WAIT_S)
                continue
            try:
                work = self._means.link.claim()
            except RunyardError as error:
                log.warning("the claim failed, will try again", extra={"error": error.message})
                self._stopping.wait(TROUBLE_WAIT_S)
                continue
            except Exception:
                if not self._stopping.is_set():
                    log.exception("the claim failed, will try again")
                    self._stopping.wait(TROUBLE_WAIT_S)
                continue
            if work is None:
                continue
            execution = Execution(self._means, work, slot)
            with self._lock:
                self._running[slot] = execution
            if self._stopping.is_set():
                execution.abandon()
            try:
                execution.run()
            except Exception:
                log.exception("an attempt could not be executed", extra={"attempt": work.attempt_id})
            finally:
                with self._lock:
                    self._running.pop(slot, None)
