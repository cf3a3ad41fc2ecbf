"""Queries that run in this process, each in a thread of its own under a time limit; their end is written to
the store. Called by routes_queries.

Databases are opened as the connection test opens them: read-only, one SELECT, no other files, limits. A task
whose process went away stays "running" until its deadline, then reads as expired, which clients take for "ask
again".
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from runyard.dialects.looker.queries import MAX_ROWS, Statement
from runyard.model.errors import Busy, RunyardError
from runyard.tasks.lookml.connections import CannotConnect, connection
from runyard.tasks.lookml.databases import Refusal, Rows, open_database

log = logging.getLogger("runyard.looker")

AT_ONCE, WAITING = 4, 500
QUERY_TIMEOUT_S = 60.0
Answer = Rows | Refusal | str
"""Rows, what the database said against it, or why it was not asked."""


class Errands:
    """The threads that ask databases."""

    def __init__(self) -> None:
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._open = 0
        self._lock = threading.Lock()

    async def ask_now(self, asked: Statement, settings: Mapping[str, Any] | None) -> tuple[Answer, float]:
        """The answer, and the seconds it took. Who waits for a slot holds no thread: the server has few of
        them."""
        async with self._at_once:
            return await asyncio.to_thread(self.ask, asked, settings)

    def ask(self, asked: Statement, settings: Mapping[str, Any] | None) -> tuple[Answer, float]:
        """The same in a thread of the caller's."""
        started = time.monotonic()
        if asked.problem:
            return asked.problem, 0.0
        if settings is None:
            return f'connection "{asked.connection}" does not exist; POST /api/4.0/connections makes one', 0.0
        try:
            database = open_database(connection(asked.connection, settings), QUERY_TIMEOUT_S)
        except CannotConnect as problem:
            return str(problem), time.monotonic() - started
        try:
            return database.run(asked.sql, MAX_ROWS), time.monotonic() - started
        except CannotConnect as lost:
            return str(lost), time.monotonic() - started
        finally:
            database.close()

    def send(self, work: Callable[[], None]) -> None:
        """Runs `work` in the background; Busy when too many wait already."""
        with self._lock:
            if self._open >= WAITING:
                raise Busy("Too many queries are waiting; try again shortly.", retry_after_s=5)
            self._open += 1
        # A daemon: a query that hangs in a driver must not hold up the server's end.
        threading.Thread(target=self._run, args=(work,), name="looker-query", daemon=True).start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            with self._slots:
                work()
        except RunyardError as error:
            log.warning("a query's end was not kept", extra={"error": error.message})
        except Exception:
            log.exception("a query failed")
        finally:
            with self._lock:
                self._open -= 1
