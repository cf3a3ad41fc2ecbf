"""PostgreSQL (15 or newer): connections, plain transactions (`PostgresStore`), errors. `postgres_database.py`
puts threads around it.

**Serialisation.** The engine's verbs assume that two verbs on one run do not interleave. SQLite has one
writer; here a write transaction locks the *run's row* (`FOR NO KEY UPDATE`, which does not disturb foreign
keys) when it first touches the run or anything under it, and reads again after the wait. Concurrency groups,
which span runs, take an advisory lock. Two transactions that lock runs in opposite order deadlock; PostgreSQL
ends one and the database runs that work again: verbs are pure over their transaction, so that is safe. See
docs/decisions/0005-serialisation-on-postgresql.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from sqlalchemy import exc
from sqlalchemy.pool import QueuePool

from runyard.engine.ports import AttemptFilter, Bell, Page, Row
from runyard.model.errors import Away, Conflict, Invalid, Unavailable
from runyard.model.listing import Listed
from runyard.model.work import (
    Artifact,
    Attempt,
    Connection,
    Environment,
    Group,
    Job,
    Member,
    Project,
    Record,
    Run,
    Runner,
    SecretVariable,
    Token,
    User,
    Workflow,
)
from runyard.store import schema
from runyard.store.link import Columns, JobCache, KeptRuns
from runyard.store.log_files import LogFiles
from runyard.store.queries import queue
from runyard.store.transaction import StoreTx

R = TypeVar("R", bound=Row)
Found = TypeVar("Found", Attempt, Listed)
Driver = psycopg.Connection[Columns]

CONNECTIONS = 16
WAIT_S = 5
CLAIM_TRIES = 50
CLAIM_HEADS = 50  # pairs of project and lane tried without waiting
SESSION = (
    "SET statement_timeout = '30s'; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '60s'; "
    "SET client_min_messages = warning"
)
# A server that vanished without a word (a failover, a cut cable) is given up within half a minute; TCP itself
# would wait a quarter of an hour.
LIVELINESS: dict[str, Any] = {
    "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000,
}  # fmt: skip
SCHEMA_LOCK = 0x52756E79617264  # "Runyard"
# A unique key that a client can choose: its violation is an answer, after which the transaction goes on.
_NAMED = (User, Project, Token, SecretVariable, Run, Runner, Connection, Record, Group, Member, Environment)
_AWAY = (
    errors.OperationalError,
    errors.InterfaceError,
    errors.QueryCanceled,
    errors.LockNotAvailable,
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
)


class Clash(Away):
    """Two transactions met in the wrong order; this one was ended and may simply run again."""


def refusal(error: Exception) -> Exception:
    """The error for the outside. A broken CHECK is a bug of ours and stays an AssertionError."""
    match error:
        case errors.UniqueViolation():
            return Conflict(f"This is taken already ({error.diag.constraint_name}).")
        case errors.ForeignKeyViolation():
            return Conflict("What this belongs to is gone.")
        case errors.DeadlockDetected() | errors.SerializationFailure():
            return Clash("The database is busy.", retry_after_s=1)
        case errors.IntegrityError():
            return AssertionError(f"The store refuses a row: {error}")
        case errors.DataError() | UnicodeError():
            return Invalid("This text or number cannot be stored.")
        case exc.TimeoutError():
            return Away("All connections to the database are in use.", retry_after_s=1)
        case errors.DiskFull():
            return Unavailable("The disk of the database is full.", retry_after_s=5)
        case _ if isinstance(error, _AWAY):
            return Away("The database cannot be reached.", retry_after_s=5)
        case _:
            return AssertionError(f"The store does not understand itself: {error}")


@lru_cache(4096)
def _spoken(sql: str) -> Any:
    return sql.replace("?", "%s")


class PostgresLink:
    """One connection inside one transaction."""

    def __init__(self, connection: Driver) -> None:
        self._cursor = connection.cursor(binary=True)
        self.files: LogFiles | None = None
        self.files_from_bytes = 0

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Columns]:
        try:
            return self._cursor.execute(_spoken(sql), values).fetchall()
        except (psycopg.Error, UnicodeError) as error:
            raise refusal(error) from error

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        try:
            return self._cursor.execute(_spoken(sql), values).rowcount
        except (psycopg.Error, UnicodeError) as error:
            raise refusal(error) from error

    def follow(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self.run(sql, values)

    def insert_all(self, sql: str, many: Iterable[Sequence[Any]]) -> list[int]:
        ids: list[int] = []
        try:
            self._cursor.executemany(_spoken(sql + " RETURNING id"), many, returning=True)
            while True:
                ids += [row[0] for row in self._cursor.fetchall()]
                if not self._cursor.nextset():
                    return ids
        except (psycopg.Error, UnicodeError) as error:
            raise refusal(error) from error


class Wanted:
    """The locks that a work asked for in earlier tries. A repeat takes them first and in one order, so that
    repeats never deadlock with each other."""

    def __init__(self) -> None:
        self.groups: set[str] = set()
        self.runs: set[int] = set()


class PostgresTx(StoreTx):
    """A write transaction that locks each run it touches, until it ends; so it may keep what it has read of
    them as long."""

    def __init__(self, link: PostgresLink, jobs: JobCache, wanted: Wanted) -> None:
        super().__init__(link, jobs, KeptRuns())
        self._locked: set[int] = set()
        self._wanted = wanted
        for group in sorted(wanted.groups):
            self._lock_group(group)
        self._lock_runs(list(wanted.runs))

    def _lock_group(self, group: str) -> None:
        self._wanted.groups.add(group)
        self._link.rows("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (group,))

    def _lock_runs(self, ids: Iterable[int]) -> bool:
        """Whether any was not ours yet: then what was read before the wait may be old."""
        missing = sorted(set(ids) - self._locked)
        if not missing:
            return False
        self._wanted.runs.update(missing)
        self._link.rows("SELECT id FROM runs WHERE id = ANY(?) ORDER BY id FOR NO KEY UPDATE", (missing,))
        self._locked.update(missing)
        return True

    def _lock_run_of(self, table: str, id: int) -> None:
        # run_id never changes, so it may be read before the lock.
        self._lock_runs(row[0] for row in self._link.rows(f"SELECT run_id FROM {table} WHERE id = ?", (id,)))  # noqa: S608

    def _read_locked(self, read: Callable[[], list[Found]]) -> list[Found]:
        """Reads, locks the runs of what was read, and reads again until nothing new appears."""
        found = read()
        while self._lock_runs(a.run_id for a in found):
            found = read()
        return found

    def _savepoint(self, action: Callable[[], R]) -> R:
        self._link.run("SAVEPOINT named")
        try:
            done = action()
        except Conflict:
            self._link.run("ROLLBACK TO named")
            raise
        self._link.run("RELEASE named")
        return done

    def add_all(self, rows: Sequence[R]) -> list[R]:
        self._lock_runs(row.run_id for row in rows if isinstance(row, Artifact))
        if len(rows) == 1 and isinstance(rows[0], _NAMED):
            return [self._savepoint(lambda: super(PostgresTx, self).add_all(rows)[0])]
        return super().add_all(rows)

    def save(self, row: R) -> None:
        if isinstance(row, Artifact):
            self._lock_runs([row.run_id])

        def saved() -> R:
            super(PostgresTx, self).save(row)
            return row

        if isinstance(row, _NAMED) and not isinstance(row, Run):
            self._savepoint(saved)
        else:
            saved()

    def remove(self, kind: type[R], id: int) -> None:
        if kind is Artifact:
            self._lock_run_of("artifacts", id)
        super().remove(kind, id)

    def _ids_given(self, table: str) -> None:
        if table == "steps":
            return
        self._link.rows(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}")  # noqa: S608

    def get(self, kind: type[R], id: int) -> R | None:
        if kind is Run:
            self._lock_runs([id])
        elif kind is Attempt:
            self._lock_run_of("attempts", id)
        elif kind is Workflow:
            self._lock_run_of("workflows", id)
        return super().get(kind, id)

    def workflows(self, run_id: int) -> list[Workflow]:
        self._lock_runs([run_id])
        return super().workflows(run_id)

    def graph(self, run_id: int) -> list[tuple[Job, Attempt]]:
        self._lock_runs([run_id])
        return super().graph(run_id)

    def attempts(self, filter: AttemptFilter, page: Page) -> list[tuple[Job, Attempt]]:
        if filter.run_id is not None:
            self._lock_runs([filter.run_id])
        found = super().attempts(filter, page)
        while self._lock_runs(a.run_id for _, a in found):
            found = super().attempts(filter, page)
        return found

    def due(self, now: int, limit: int) -> list[Attempt]:
        return self._read_locked(lambda: super(PostgresTx, self).due(now, limit))

    def queued_before(self, at: int, limit: int) -> list[Attempt]:
        return self._read_locked(lambda: super(PostgresTx, self).queued_before(at, limit))

    def unsealed(self, limit: int, after_id: int = 0) -> list[Attempt]:
        return self._read_locked(lambda: super(PostgresTx, self).unsealed(limit, after_id))

    def undrawn(self, limit: int) -> list[Listed]:
        """Locked, because who changes an artifact meanwhile would find no card to forget."""
        return self._read_locked(lambda: super(PostgresTx, self).undrawn(limit))

    def in_group(self, project_id: int, group: str, upcoming: bool = False) -> list[tuple[Job, Attempt]]:
        self._lock_group(f"group:{project_id}:{group}")
        while True:
            found = super().in_group(project_id, group, upcoming)
            if not self._lock_runs(a.run_id for _, a in found):
                return found

    def group_heads(
        self, project_id: int, group: str
    ) -> tuple[tuple[Job, Attempt] | None, tuple[Job, Attempt] | None]:
        self._lock_group(f"group:{project_id}:{group}")
        while True:
            heads = super().group_heads(project_id, group)
            if not self._lock_runs(head[1].run_id for head in heads if head is not None):
                return heads

    def next_queued(self, runner: Runner) -> int | None:
        """First without waiting, so that claimers spread over the runs; when all that is left belongs to runs
        that others hold, it waits for the oldest one's run."""
        for _ in range(CLAIM_TRIES):
            heads = queue.heads_for(self._link, runner)
            if not heads:
                return None
            free = self._free(heads[:CLAIM_HEADS])
            if free is not None:
                return free
            run_id = queue.run_of(self._link, heads[0].attempt_id)
            if run_id is not None:
                self._lock_runs([run_id])
        return None

    def _free(self, heads: Iterable[queue.Head]) -> int | None:
        for head in heads:
            found = queue.free_like(self._link, head)
            if found is not None:
                attempt_id, run_id = found
                self._locked.add(run_id)
                self._wanted.runs.add(run_id)
                if queue.run_of(self._link, attempt_id) is not None:
                    return attempt_id
        return None


class PostgresStore:
    """One database. Transactions run on the caller's thread, each on a pooled connection."""

    def __init__(self, url: str, bell: Bell | None = None) -> None:
        self.url = url.replace("postgresql+psycopg:", "postgresql:", 1)
        self.jobs = JobCache()
        self._bell = bell
        self._closed = threading.Event()
        self._pool = QueuePool(
            self.connect, pool_size=CONNECTIONS, max_overflow=0, timeout=WAIT_S, reset_on_return=None
        )
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def connect(self) -> Any:
        connection = psycopg.connect(
            self.url, autocommit=True, connect_timeout=WAIT_S, application_name="runyard", **LIVELINESS
        )
        connection.execute(SESSION)
        return connection

    def _prepare(self) -> None:
        with self._connection() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (SCHEMA_LOCK,))
            connection.execute("SET LOCAL statement_timeout = 0")
            found = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
            if found and found[0]:
                (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
                is_current = schema.is_current(version)
            else:
                for statement in schema.statements("postgresql"):
                    connection.execute(statement.encode())
                is_current = True
        if not is_current:
            from runyard.store.migrations import upgrade_postgres

            upgrade_postgres(self.connect, SCHEMA_LOCK)

    @contextmanager
    def _connection(self) -> Iterator[Driver]:
        """A pooled connection that answers; a broken one is thrown away."""
        if self._closed.is_set():
            raise Unavailable("The server is stopping.", retry_after_s=5)
        try:
            fairy = self._pool.connect()
        except (psycopg.Error, exc.TimeoutError) as error:
            raise refusal(error) from error
        try:
            connection: Driver = fairy.driver_connection  # type: ignore[assignment]
            yield connection
        except BaseException as error:
            if isinstance(error, psycopg.Error):
                raise refusal(error) from error
            raise
        finally:
            if fairy.driver_connection is None or fairy.driver_connection.closed:
                fairy.invalidate()
            fairy.close()

    @contextmanager
    def _transaction(self, begin: bytes) -> Iterator[Driver]:
        with self._begun(begin) as connection:
            try:
                yield connection
                if connection.execute("COMMIT").statusmessage != "COMMIT":
                    raise AssertionError(
                        "A work went on after a statement had failed: nothing of it was kept."
                    )
            except BaseException:
                with suppress(psycopg.Error):
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _begun(self, begin: bytes) -> Iterator[Driver]:
        """BEGIN is the first word on the wire: connections that the server has dropped are thrown away,
        at most all of the pool, until one answers."""
        for left in reversed(range(CONNECTIONS + 1)):
            with self._connection() as connection:
                try:
                    connection.execute(begin)
                except psycopg.OperationalError:
                    connection.close()
                    if not left:
                        raise
                    continue
                yield connection
                return

    @contextmanager
    def begin(self, wanted: Wanted | None = None) -> Iterator[StoreTx]:
        """A write transaction on this thread: committed at the end of the block, rolled back when the block
        raises."""
        with self._transaction(b"BEGIN ISOLATION LEVEL READ COMMITTED") as connection:
            tx = PostgresTx(PostgresLink(connection), self.jobs, wanted or Wanted())
            yield tx
        self.jobs.put(tx.new_jobs.values())
        if tx.topics and self._bell is not None:
            self._bell.ring(tx.topics)

    @contextmanager
    def look(self) -> Iterator[StoreTx]:
        """A read transaction: one snapshot, writing is refused."""
        with self._transaction(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") as connection:
            yield StoreTx(PostgresLink(connection), self.jobs)

    def close(self) -> None:
        self._closed.set()
        self._pool.dispose()
