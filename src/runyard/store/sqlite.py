"""SQLite: connections, plain transactions (`SqliteStore`), errors. `sqlite_database.py` puts threads and
group commit around it.

An answered write is durable: WAL with synchronous=FULL, or a sealed file of a log that tells the same
(log_files.py). Every write is BEGIN IMMEDIATE, because a deferred transaction that turns to writing fails at
once when another has committed (reliability.md §3).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runyard.engine.ports import Bell
from runyard.model.errors import Away, Conflict, Invalid, Unavailable
from runyard.store import schema
from runyard.store.link import Columns, JobCache, KeptRuns
from runyard.store.log_files import FROM_BYTES, LogFiles
from runyard.store.transaction import StoreTx

BUSY_S = 5.0
_HELD = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_BROKEN = {
    sqlite3.SQLITE_FULL: "The disk of the database is full.",
    sqlite3.SQLITE_IOERR: "The disk of the database fails.",
    sqlite3.SQLITE_READONLY: "The database cannot be written.",
    sqlite3.SQLITE_CANTOPEN: "The database cannot be opened.",
    sqlite3.SQLITE_NOMEM: "The database has no memory.",
    sqlite3.SQLITE_CORRUPT: "The database file is damaged.",
    sqlite3.SQLITE_NOTADB: "The database file is damaged.",
}
_GROWING = "SELECT log_bytes FROM attempts WHERE id = ? AND state IN ('running', 'stopping')"
_FOUND_AGAIN = "INSERT INTO log_chunks (attempt_id, start, size, data) VALUES (?, ?, ?, x'')"
_TAKEN = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}


def refusal(error: Exception) -> Exception:
    """The error for the outside. A broken CHECK is a bug of ours and stays an AssertionError."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code in _TAKEN:
        return Conflict(f"This is taken already ({str(error).rpartition(': ')[2]}).")
    if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        return Conflict("What this belongs to is gone.")
    if isinstance(error, sqlite3.IntegrityError):
        return AssertionError(f"The store refuses a row: {error}")
    if (code & 0xFF) in _HELD:
        return Away("The database is locked.", retry_after_s=5)
    if (code & 0xFF) in _BROKEN:
        return Unavailable(_BROKEN[code & 0xFF], retry_after_s=5)
    if isinstance(error, OverflowError | UnicodeError | sqlite3.DataError):
        return Invalid("This text or number cannot be stored.")
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return Unavailable("The database is closed.", retry_after_s=5)
    return AssertionError(f"The store does not understand itself: {error}")


class SqliteLink:
    """One connection inside one transaction."""

    def __init__(
        self, connection: sqlite3.Connection, files: LogFiles | None, files_from_bytes: int = FROM_BYTES
    ) -> None:
        self._execute = connection.execute
        self.files = files
        self.files_from_bytes = files_from_bytes
        self.followed = 0  # rows changed by `follow`

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Columns]:
        try:
            return self._execute(sql, values).fetchall()
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            raise refusal(error) from error

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        try:
            return self._execute(sql, values).rowcount
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            raise refusal(error) from error

    def follow(self, sql: str, values: Sequence[Any] = ()) -> int:
        count = self.run(sql, values)
        self.followed += count
        return count

    def insert_all(self, sql: str, many: Iterable[Sequence[Any]]) -> list[int]:
        try:
            return [self._execute(sql, values).lastrowid or 0 for values in many]
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            raise refusal(error) from error


class SqliteStore:
    """One database file, or one in memory (":memory:"). Transactions run on the caller's thread, one writer
    at a time."""

    def __init__(self, path: str | Path = ":memory:", bell: Bell | None = None) -> None:
        self.path = str(path)
        self.in_memory = self.path == ":memory:"
        self.jobs = JobCache()
        self.kept = KeptRuns()
        self._bell = bell
        self._turn = threading.Lock()
        self._synced = True  # whether the writer syncs its commits
        self._idle: list[sqlite3.Connection] = []
        self.files = None if self.in_memory else LogFiles(Path(f"{self.path}-logs"))
        try:
            self._writer = self._connect()
            try:
                self._prepare()
                self._mend_logs()
            except BaseException:
                self._writer.close()
                raise
        except sqlite3.Error as error:
            raise refusal(error) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            f"busy_timeout = {int(BUSY_S * 1000)}",
            f"journal_size_limit = {64 << 20}",
            "wal_autocheckpoint = 1000",
            "temp_store = MEMORY",
            "trusted_schema = OFF",
        ):
            try:
                connection.execute(f"PRAGMA {pragma}")
            except BaseException:
                connection.close()
                raise
        return connection

    def _prepare(self) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            stamped = self._writer.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
            ).fetchone()
            if stamped:
                (version,) = self._writer.execute("SELECT version_num FROM alembic_version").fetchone()
            else:
                for statement in schema.statements("sqlite"):
                    self._writer.execute(statement)
                version = schema.HEAD
            is_current = schema.is_current(version)
            self._writer.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        if not is_current:
            from runyard.store.migrations import upgrade_sqlite

            upgrade_sqlite(self._writer)

    def _mend_logs(self) -> None:
        """Rows that a power cut took are told by their files; files without rows go."""
        if self.files is None:
            return
        self.files.adopt()
        with self.turn() as connection:
            for id in self.files.ids():
                for (size,) in connection.execute(_GROWING, (id,)).fetchall():
                    if (end := self.files.sealed_end(id, size)) > size:
                        connection.execute(_FOUND_AGAIN, (id, size, end - size))
                        connection.execute("UPDATE attempts SET log_bytes = ? WHERE id = ?", (end, id))
            known = connection.execute(
                "SELECT DISTINCT attempt_id FROM log_chunks WHERE data = x''"
            ).fetchall()
        self.files.sweep({row[0] for row in known})

    def _roll_back(self) -> None:
        """Also after SQLite rolled back by itself (full disk, I/O error)."""
        self.jobs.clear()
        self.kept.clear()
        with suppress(sqlite3.Error):
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")

    @contextmanager
    def turn(self, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """The writing connection inside BEGIN IMMEDIATE … COMMIT; nobody else writes meanwhile. Not synced,
        the commit survives the process, but a power cut only once a later one is synced."""
        with self._turn:
            try:
                if synced is not self._synced:
                    self._writer.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
                    self._synced = synced
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                if self.files is not None:
                    self.files.sync()
                self._writer.execute("COMMIT")
            except BaseException as error:
                self._roll_back()
                if isinstance(error, sqlite3.Error):
                    raise refusal(error) from error
                raise

    def harden(self) -> None:
        """Makes all commits so far durable: a synced one that writes anything syncs the whole log before
        it."""
        with self.turn() as connection:
            connection.execute("UPDATE alembic_version SET version_num = version_num")

    def checkpoint(self) -> None:
        """Writes the log back into the file and cuts it, so that freed space can be used."""
        with self._turn, suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def settle(self, *transactions: StoreTx) -> None:
        """After their commit: publish what they added, wake who listens."""
        topics: dict[str, None] = {}
        for tx in transactions:
            self.jobs.put(tx.new_jobs.values())
            topics |= tx.topics
            if tx.dropped_logs and self.files is not None:
                self.files.forget(tx.dropped_logs)
        if topics and self._bell is not None:
            self._bell.ring(topics)

    @contextmanager
    def begin(self) -> Iterator[StoreTx]:
        """A write transaction on this thread: committed at the end of the block, rolled back when the block
        raises."""
        with self.turn() as connection:
            tx = StoreTx(SqliteLink(connection, self.files), self.jobs, self.kept)
            yield tx
        self.settle(tx)

    @contextmanager
    def look(self) -> Iterator[StoreTx]:
        """A read transaction: one snapshot, writing is refused."""
        connection = self._turn_to_read() if self.in_memory else self._reader()
        try:
            connection.execute("BEGIN")
            try:
                yield StoreTx(SqliteLink(connection, self.files), self.jobs)
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise refusal(error) from error
        finally:
            if self.in_memory:
                connection.execute("PRAGMA query_only = OFF")
                self._turn.release()
            else:
                self._idle.append(connection)

    def _turn_to_read(self) -> sqlite3.Connection:
        """In memory there is one connection for everybody."""
        self._turn.acquire()
        self._writer.execute("PRAGMA query_only = ON")
        return self._writer

    def _reader(self) -> sqlite3.Connection:
        with suppress(IndexError):
            return self._idle.pop()
        connection = self._connect()
        connection.execute("PRAGMA query_only = ON")
        return connection

    def close(self) -> None:
        with self._turn:
            for connection in [*self._idle, self._writer]:
                connection.close()
            self._idle.clear()
            if self.files is not None:
                self.files.close()
