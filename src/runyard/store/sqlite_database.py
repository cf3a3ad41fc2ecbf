"""The Database port on SQLite: one writer thread with group commit, a few reading threads, a lock file. Made
by opening.py.

Works that wait in the inbox share one durable COMMIT, each in its own SAVEPOINT; their futures are done only
after it. A work that fails rolls back only itself. If the commit fails, all of the group fail: nothing was
answered, nothing is kept.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, TypeVar

from runyard.engine.ports import Bell, Tx
from runyard.model.errors import Conflict, Unavailable
from runyard.store.bell import LocalBell
from runyard.store.log_files import FROM_BYTES, SEALED_FROM_BYTES
from runyard.store.sqlite import SqliteLink, SqliteStore, refusal
from runyard.store.transaction import StoreTx

T = TypeVar("T")
Work = Callable[[Tx], Any]
Item = tuple[
    Work, Future[Any], bool
]  # what to do, whom to tell, and whether its commit is to be synced whatever it writes

GROUP_LIMIT = 256
GROUP_S = 0.02
READERS = 4
BALLAST_BYTES = 128 << 20
ROOM_FOR_BALLAST_BYTES = 2 << 30


class LockFile:
    """Refuses a second server on the same database. The kernel drops the lock when the process ends, however
    it ends."""

    def __init__(self, path: Path) -> None:
        try:
            self._file: IO[str] = path.open("a+")
        except OSError as error:
            raise Unavailable(f"The folder of the database cannot be written: {error}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            pid = self._file.read().strip() or "?"
            self._file.close()
            raise Conflict(f"Another server (process {pid}) uses {path.parent}.") from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        self._file.truncate(0)
        self._file.close()


class Ballast:
    """Space kept back so that a full disk can be left again: a WAL must be written out before anything can be
    deleted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with suppress(OSError):
            status = os.statvfs(path.parent)
            if not path.exists() and status.f_bavail * status.f_frsize > ROOM_FOR_BALLAST_BYTES:
                with path.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)

    def drop(self) -> bool:
        """Whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True


class SqliteDatabase:
    """Keeps the promises of `engine.ports.Database`."""

    def __init__(
        self, store: SqliteStore, lock: LockFile | None = None, ballast: Ballast | None = None
    ) -> None:
        self._store = store
        self._lock = lock
        self._ballast = ballast
        self._inbox: SimpleQueue[Item | None] = SimpleQueue()
        self._left: Item | None = None  # taken from the inbox by a group of the other kind
        self._closed = False
        self._disk_failed = False
        self._version = 0  # only this process writes: the lock file sees to that
        readers = 1 if store.in_memory else READERS
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="runyard-read")
        self._writer = threading.Thread(target=self._write_forever, name="runyard-write", daemon=True)
        self._writer.start()

    def version(self) -> int | None:
        return self._version

    def submit_read(self, work: Callable[[Tx], T]) -> Future[T]:
        try:
            return self._readers.submit(self._look, work)
        except RuntimeError:
            return _failed(Unavailable("The server is stopping.", retry_after_s=5))

    def _look(self, work: Callable[[Tx], T]) -> T:
        with self._store.look() as tx:
            return work(tx)

    def submit_write(self, work: Callable[[Tx], T]) -> Future[T]:
        return self._submit(work, True)

    def submit_append(self, work: Callable[[Tx], T], size_bytes: int) -> Future[T]:
        """See `append`."""
        return self._submit(work, self._store.in_memory or size_bytes < SEALED_FROM_BYTES)

    def _submit(self, work: Callable[[Tx], T], synced: bool) -> Future[T]:
        if self._closed:
            return _failed(Unavailable("The server is stopping.", retry_after_s=5))
        if self._disk_failed:
            return _failed(
                Unavailable(
                    "The disk of the database failed; the server must be restarted.", retry_after_s=60
                )
            )
        future: Future[T] = Future()
        self._inbox.put((work, future, synced))
        return future

    def read(self, work: Callable[[Tx], T]) -> Awaitable[T]:
        return asyncio.wrap_future(self.submit_read(work))

    def glance(self, work: Callable[[Tx], T]) -> Awaitable[T]:
        return self.read(work) if self._store.in_memory else self._glance(work)

    async def _glance(self, work: Callable[[Tx], T]) -> T:
        """Readers of a WAL wait for nobody, so the loop stands still only for the look itself."""
        if self._closed:
            raise Unavailable("The server is stopping.", retry_after_s=5)
        return self._look(work)

    def write(self, work: Callable[[Tx], T]) -> Awaitable[T]:
        return asyncio.wrap_future(self.submit_write(work))

    def append(self, work: Callable[[Tx], T], size_bytes: int) -> Awaitable[T]:
        return asyncio.wrap_future(self.submit_append(work, size_bytes))

    def close(self) -> None:
        """Finishes what was submitted, then lets go of the file."""
        if self._closed:
            return
        self._closed = True
        self._inbox.put(None)
        self._writer.join()
        self._readers.shutdown()
        self._store.close()
        if self._lock is not None:
            self._lock.release()

    # the writer thread
    def _write_forever(self) -> None:
        while (first := self._next()) is not None:
            if not self._write_group(first):
                break
        with suppress(Empty):
            while True:
                if (left := self._inbox.get_nowait()) is not None:
                    left[1].set_exception(Unavailable("The server is stopping.", retry_after_s=5))

    def _next(self) -> Item | None:
        left, self._left = self._left, None
        return left or self._inbox.get()

    def _write_group(self, first: Item) -> bool:
        """One durable commit for `first` and what waits behind it of the same kind. False when the end of the
        inbox was met."""
        synced = first[2]
        group = Group(FROM_BYTES if synced else SEALED_FROM_BYTES)
        goes_on = True
        try:
            with self._store.turn(synced) as connection:
                until = time.monotonic() + GROUP_S
                item: Item | None = first
                while item is not None:
                    if item[2] is not synced:
                        self._left = item
                        break
                    group.run(connection, self._store, item[0], item[1])
                    if len(group.answers) >= GROUP_LIMIT or time.monotonic() > until:
                        break
                    try:
                        item = self._inbox.get_nowait()
                    except Empty:
                        break
                    goes_on = item is not None
            self._version += 1
            if not synced and not group.is_in_files:
                self._store.harden()
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            self._tell_all(group, first, error)
        else:
            group.answer()
            self._store.settle(*group.transactions)
        return goes_on

    def _tell_all(self, group: Group, first: Item, error: Exception) -> None:
        """The group is rolled back as a whole: nobody's work is kept."""
        cause = error.__cause__
        code = getattr(cause, "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_FULL and self._ballast is not None and self._ballast.drop():
            self._store.checkpoint()
        if code in (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC):
            # After a failed fsync the kernel may have dropped the pages: a retry would lie.
            self._disk_failed = True
        told = [future for _, future in group.waiting()]
        if not group.answers and (first[1].running() or first[1].set_running_or_notify_cancel()):
            told.append(first[1])
        for future in told:
            future.set_exception(error)
        if not group.answers:
            self._refuse_waiting(error)

    def _refuse_waiting(self, error: Exception) -> None:
        """The transaction could not even begin: those behind would only wait as long again, one after the
        other."""
        for _ in range(self._inbox.qsize()):
            item = self._inbox.get()
            if item is None:
                self._inbox.put(None)
            elif item[1].set_running_or_notify_cancel():
                item[1].set_exception(error)


class Group:
    """The works of one commit and what they will be answered."""

    def __init__(self, files_from_bytes: int) -> None:
        self.is_in_files = True  # whether all that was written is told by sealed files too
        self._files_from_bytes = files_from_bytes
        self.answers: list[tuple[Future[Any], Any, BaseException | None]] = []
        self.transactions: list[StoreTx] = []

    def run(
        self, connection: sqlite3.Connection, store: SqliteStore, work: Work, future: Future[Any]
    ) -> None:
        if not future.set_running_or_notify_cancel():
            return
        link = SqliteLink(connection, store.files, self._files_from_bytes)
        tx = StoreTx(link, store.jobs, store.kept)
        changes = connection.total_changes
        connection.execute("SAVEPOINT work")
        try:
            answer = work(tx)
        except BaseException as error:
            self.answers.append((future, None, error))
            if not connection.in_transaction:
                # SQLite gave up the whole transaction (full disk, I/O error), and with it everyone's work.
                raise refusal_of_all(error) from error
            connection.execute("ROLLBACK TO work")
            store.kept.forget(tx.touched)
        else:
            self.answers.append((future, answer, None))
            self.transactions.append(tx)
            self.is_in_files &= connection.total_changes - changes == link.followed
        connection.execute("RELEASE work")

    def waiting(self) -> list[tuple[Any, Future[Any]]]:
        return [(answer, future) for future, answer, _ in self.answers]

    def answer(self) -> None:
        for future, answer, error in self.answers:
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(error)


def refusal_of_all(error: BaseException) -> Exception:
    """What the others of a group are told when SQLite rolled all of them back."""
    if isinstance(error, sqlite3.Error):
        return refusal(error)
    return error if isinstance(error, Unavailable) else Unavailable("The database gave up.", retry_after_s=5)


def _failed(error: Exception) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def open_sqlite(path: Path | None) -> tuple[SqliteDatabase, Bell]:
    bell = LocalBell()
    if path is None:
        return SqliteDatabase(SqliteStore(":memory:", bell)), bell
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"The folder of the database cannot be made: {error}.") from error
    lock = LockFile(path.with_name(path.name + ".lock"))
    try:
        store = SqliteStore(path, bell)
    except BaseException:
        lock.release()
        raise
    return SqliteDatabase(store, lock, Ballast(path.with_name("ballast"))), bell
