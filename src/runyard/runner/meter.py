"""Samples what a job uses while its steps run. Made by `job.py`; its moments are looked at by
`control.Stopper`, so it has no thread of its own.

A job that ends within its first half second is never looked at and pays nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from runyard.engine.ports import Clock
from runyard.model.usage import Sample
from runyard.runner.sandbox import Used

FIRST_S = 0.5
EVERY_S = 1.0
BATCH = 10  # samples that travel together


class Meter:
    """One attempt's. `due_at` is monotonic."""

    def __init__(
        self, used: Callable[[], Used], send: Callable[[Sequence[Sample]], None], now: Clock
    ) -> None:
        self._used = used
        self._send = send
        self._now = now
        self._before: tuple[float, int] | None = None  # when, CPU nanoseconds
        self._held: list[Sample] = []
        self.due_at = time.monotonic() + FIRST_S

    def look(self) -> None:
        """One sample."""
        used, moment = self._used(), time.monotonic()
        self.due_at = moment + EVERY_S
        if used.cpu_ns is None and used.memory_bytes is None:
            return
        cpu = self._share(used, moment)
        self._held.append(Sample(self._now(), cpu, used.memory_bytes, used.limit_bytes))
        if len(self._held) >= BATCH:
            self.flush()

    def _share(self, used: Used, moment: float) -> float | None:
        before = self._before
        self._before = None if used.cpu_ns is None else (moment, used.cpu_ns)
        if before is None or used.cpu_ns is None or used.cpu_ns < before[1] or moment <= before[0]:
            return None
        return min(1.0, (used.cpu_ns - before[1]) / ((moment - before[0]) * 1e9 * used.cores))

    def flush(self) -> None:
        """Hands over what is held; does not wait."""
        if self._held:
            held, self._held = self._held, []
            self._send(held)
