"""The Database port on PostgreSQL: small thread pools over PostgresStore. Made by opening.py.

A work whose transaction met another in the wrong order (deadlock) runs again, a few times, before its caller
hears Unavailable.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
from psycopg import conninfo

from runyard.engine.ports import Bell, Tx
from runyard.model.errors import Invalid, Unavailable
from runyard.store.postgres import Clash, PostgresStore, Wanted
from runyard.store.postgres_bell import PostgresBell

T = TypeVar("T")

WRITERS = 8
READERS = 4
TRIES = 8


class PostgresDatabase:
    """Keeps the promises of `engine.ports.Database`."""

    def __init__(self, store: PostgresStore, bell: PostgresBell) -> None:
        self._store = store
        self._bell = bell
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="runyard-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="runyard-read")

    def version(self) -> int | None:
        return None  # other replicas write too

    def submit_read(self, work: Callable[[Tx], T]) -> Future[T]:
        return _submitted(self._readers, self._look, work)

    def submit_write(self, work: Callable[[Tx], T]) -> Future[T]:
        return _submitted(self._writers, self._change, work)

    def read(self, work: Callable[[Tx], T]) -> Awaitable[T]:
        return asyncio.wrap_future(self.submit_read(work))

    def glance(self, work: Callable[[Tx], T]) -> Awaitable[T]:
        return self.read(work)

    def write(self, work: Callable[[Tx], T]) -> Awaitable[T]:
        return asyncio.wrap_future(self.submit_write(work))

    def append(self, work: Callable[[Tx], T], size_bytes: int) -> Awaitable[T]:
        return self.write(work)

    def _look(self, work: Callable[[Tx], T]) -> T:
        with self._store.look() as tx:
            return work(tx)

    def _change(self, work: Callable[[Tx], T]) -> T:
        wanted = Wanted()
        for left in reversed(range(TRIES)):
            try:
                with self._store.begin(wanted) as tx:
                    return work(tx)
            except Clash:
                if not left:
                    raise
                time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - only spreads the repeats
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Finishes what was submitted."""
        self._writers.shutdown()
        self._readers.shutdown()
        self._bell.stop()
        self._store.close()


def _submitted(pool: ThreadPoolExecutor, run: Callable[..., Any], work: Callable[[Tx], T]) -> Future[T]:
    try:
        return pool.submit(run, work)
    except RuntimeError:
        future: Future[T] = Future()
        future.set_exception(Unavailable("The server is stopping.", retry_after_s=5))
        return future


def open_postgres(url: str) -> tuple[PostgresDatabase, Bell]:
    """Invalid when the URL is none, Unavailable with the address (never the password) when nobody answers
    there."""
    bell = PostgresBell()
    place = _place(url)
    try:
        store = PostgresStore(url, bell)
    except Unavailable as error:
        why = str(error.__cause__ or "").strip().splitlines()
        raise Unavailable(
            f"The database at {place} cannot be reached{f' ({why[-1].strip()})' if why else ''}."
        ) from error
    bell.start(store.connect)
    return PostgresDatabase(store, bell), bell


def _place(url: str) -> str:
    try:
        given = conninfo.conninfo_to_dict(url.replace("postgresql+psycopg:", "postgresql:", 1))
    except psycopg.Error:
        raise Invalid("The database URL is not postgresql://USER:PASSWORD@HOST:PORT/NAME.") from None
    return f"{given.get('host') or 'this machine'}:{given.get('port') or 5432}"
