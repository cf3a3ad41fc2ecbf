"""The bell across replicas: local rings go out by NOTIFY, others' come in by LISTEN. Made by
postgres_database.py.

Rings are sent after the commit and may be lost with the connection; when listening starts again, every topic
is rung.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import psycopg

from runyard.store.bell import LocalBell

CHANNEL = "runyard_bell"
# PostgreSQL refuses payloads of 8000 bytes and more.
PAYLOAD_BYTES = 7000
PAUSE_S = 1.0


class PostgresBell(LocalBell):
    """A LocalBell that other replicas hear."""

    def __init__(self) -> None:
        super().__init__()
        self._me = uuid.uuid4().hex[:12]
        self._outbox: SimpleQueue[str | None] = SimpleQueue()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, connect: Callable[[], Any]) -> None:
        for target in (self._send_forever, self._hear_forever):
            thread = threading.Thread(target=target, args=(connect,), name="runyard-bell", daemon=True)
            thread.start()
            self._threads.append(thread)

    def ring(self, topics: Iterable[str]) -> None:
        topics = tuple(topics)
        super().ring(topics)
        for topic in topics:
            self._outbox.put(topic)

    def stop(self) -> None:
        self._stop.set()
        self._outbox.put(None)
        for thread in self._threads:
            thread.join(5)

    def _send_forever(self, connect: Callable[[], Any]) -> None:
        connection: Any = None
        while (topic := self._outbox.get()) is not None:
            topics = self._waiting_topics(topic)
            try:
                if connection is None or connection.closed:
                    connection = connect()
                for payload in self._payloads(topics):
                    connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))
            except psycopg.Error:
                # Lost rings delay only; the listeners ring everything when they are back.
                with suppress(psycopg.Error, AttributeError):
                    connection.close()
                connection = None
                self._stop.wait(PAUSE_S)
        if connection is not None:
            connection.close()

    def _waiting_topics(self, first: str) -> list[str]:
        topics = {first: None}
        with suppress(Empty):
            while len(topics) < 500:
                topic = self._outbox.get_nowait()
                if topic is None:
                    self._outbox.put(None)
                    break
                topics[topic] = None
        return list(topics)

    def _payloads(self, topics: list[str]) -> Iterable[str]:
        some: list[str] = []
        size = 0
        for topic in topics:
            if some and size + len(topic) * 6 + 4 > PAYLOAD_BYTES:
                yield json.dumps([self._me, *some])
                some, size = [], 0
            some.append(topic[:1000])
            size += len(topic) * 6 + 4
        if some:
            yield json.dumps([self._me, *some])

    def _hear_forever(self, connect: Callable[[], Any]) -> None:
        while not self._stop.is_set():
            try:
                with connect() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self.ring_all()
                    while not self._stop.is_set():
                        for note in connection.notifies(timeout=0.5):
                            sender, *topics = json.loads(note.payload)
                            if sender != self._me:
                                super().ring(topics)
            except (psycopg.Error, OSError, ValueError):
                self._stop.wait(PAUSE_S)
