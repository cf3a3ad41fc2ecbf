"""The in-process bell: versions per topic, waiters as threads or coroutines. Made by opening.py; bridged to
other replicas by postgres_bell.py.

A version is the number of the topic's last ring. Forgetting old topics raises everyone's version: a needless
look, never a lost one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from runyard.model.errors import Unavailable


class LocalBell:
    """Keeps the promises of `engine.ports.Bell` within one process."""

    def __init__(self, topics_kept: int = 20_000) -> None:
        self._lock = threading.Lock()
        self._topics_kept = topics_kept
        self._rings = 0
        self._floor = 0
        self._versions: dict[str, int] = {}
        self._waiters: dict[str, set[Callable[[], None]]] = {}
        self._is_closed = False

    def ring(self, topics: Iterable[str]) -> None:
        wake: list[Callable[[], None]] = []
        with self._lock:
            self._rings += 1
            for topic in topics:
                self._versions.pop(topic, None)
                self._versions[topic] = self._rings
                wake += self._waiters.pop(topic, ())
            if len(self._versions) > self._topics_kept:
                self._forget_oldest()
        for call in wake:
            call()

    def ring_all(self) -> None:
        """Every topic may have changed (a connection to other replicas was lost for a while)."""
        with self._lock:
            self._rings += 1
            self._versions.clear()
            self._floor = self._rings
            wake = [call for waiters in self._waiters.values() for call in waiters]
            self._waiters.clear()
        for call in wake:
            call()

    def close(self) -> None:
        self._is_closed = True
        self.ring_all()

    def _forget_oldest(self) -> None:
        # The dict is in order of the last ring; those dropped are all at or below the new floor.
        for topic in list(self._versions)[: self._topics_kept // 2]:
            self._floor = max(self._floor, self._versions.pop(topic))

    def version(self, topic: str) -> int:
        with self._lock:
            return self._version(topic)

    def _version(self, topic: str) -> int:
        return self._versions.get(topic, self._floor)

    def _listen(self, topic: str, seen: int, call: Callable[[], None]) -> int | None:
        """Registers `call` for the next ring, unless the topic has moved on from `seen` already: then its
        version."""
        with self._lock:
            now = self._version(topic)
            if now != seen:
                return now
            self._waiters.setdefault(topic, set()).add(call)
            return None

    def _unlisten(self, topic: str, call: Callable[[], None]) -> int:
        with self._lock:
            waiters = self._waiters.get(topic)
            if waiters is not None:
                waiters.discard(call)
                if not waiters:
                    del self._waiters[topic]
            return self._version(topic)

    def wait(self, topic: str, seen: int, timeout_s: float) -> int:
        woken = threading.Event()
        call = woken.set
        now = self._listen(topic, seen, call)
        if now is not None:
            return now
        woken.wait(timeout_s)
        return self._unlisten(topic, call)

    async def changed(self, topic: str, seen: int, timeout_s: float) -> int:
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def call() -> None:
            with suppress(RuntimeError):  # the loop of a listener that is gone
                loop.call_soon_threadsafe(woken.set)

        # Who looked before the close is rung by it; who comes later may have seen its last version.
        now = self.version(topic) if self._is_closed else self._listen(topic, seen, call)
        if now is None:
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), timeout_s)
            finally:
                now = self._unlisten(topic, call)
        if self._is_closed:
            raise Unavailable("The server is stopping.", retry_after_s=5)
        return now
