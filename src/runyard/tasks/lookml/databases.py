"""Databases that SQL is bound against, opened so that a query can only read and only the database itself.
DuckDB and PostgreSQL are here.

DuckDB: read-only file, no external access, configuration locked, exactly one SELECT. PostgreSQL: read-only
transaction, one statement (extended protocol), statement timeout, always rolled back. BigQuery, Snowflake and
Redshift are in `warehouse`, settings in `connections`. Passwords never appear in a message. Used by
`sqlcheck`.
"""

from __future__ import annotations

import re
import threading
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runyard.tasks.lookml.connections import CannotConnect, Connection
from runyard.tasks.lookml.sql.dialects import Dialect

MAX_QUERY_BYTES = 10 << 20
_PLAINLY_ONE = re.compile(r"\s*+(?:SELECT|WITH)\b[^;]*+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the database says against a query; `line` and `column` count from 1 in the SQL, 0 is unknown."""

    message: str
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Rows:
    """A query's result: at most as many rows as were asked for; `is_cut` says that there are more."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    is_cut: bool = False


class Database(Protocol):
    """An open database. One session serves one thread."""

    dialect: Dialect
    written: Dialect | None

    def bind(self, sql: str) -> Refusal | None:
        """Plans and runs a query that has no rows; None when the database accepts it."""

    def run(self, sql: str, max_rows: int) -> Rows | Refusal:
        """Runs a query and fetches up to `max_rows` rows, with the driver's own Python values. CannotConnect
        when the server went away."""

    def session(self) -> Database:
        """Another session of the same database, for another thread. CannotConnect when it gives none."""

    def close(self) -> None:
        """Ends the connection."""


def open_database(wanted: Connection, timeout_s: float) -> Database:
    """Opens it, or raises CannotConnect."""
    match wanted.dialect:
        case "duckdb":
            return _DuckDB(wanted, timeout_s)
        case "postgres":
            return _Postgres(wanted, timeout_s)
    from runyard.tasks.lookml.warehouse import open_warehouse

    return open_warehouse(wanted, timeout_s)


class _DuckDB:
    """A DuckDB file, as far as reading it goes."""

    dialect: Dialect = "duckdb"

    def __init__(self, wanted: Connection, timeout_s: float) -> None:
        import duckdb

        self._timeout_s = timeout_s
        self._duckdb = duckdb
        self.written = wanted.written
        self._schema = wanted.schema
        if not Path(wanted.file).is_file():
            raise CannotConnect(
                f'connection "{wanted.name}": there is no DuckDB file "{Path(wanted.file).name}" to read'
            )
        config: dict[str, str | bool | int | float | list[str]] = {
            "enable_external_access": "false",
            "memory_limit": "1GB",
            "threads": "2",
            "autoinstall_known_extensions": "false",
            # Here, not by SET: connections to one file in one process share an instance, and what is locked
            # cannot be locked again.
            "lock_configuration": "true",
        }
        try:
            self._connection = duckdb.connect(wanted.file, read_only=True, config=config)
            self._use(wanted.schema)
        except duckdb.Error as error:
            raise CannotConnect(f'connection "{wanted.name}": {_first_line(str(error))}') from None

    def bind(self, sql: str) -> Refusal | None:
        """One SELECT, under a timer."""
        answer = self.run(sql, 0)
        return answer if isinstance(answer, Refusal) else None

    def run(self, sql: str, max_rows: int) -> Rows | Refusal:
        """One SELECT, under a timer."""
        if len(sql) > MAX_QUERY_BYTES:
            return Refusal("the query is too large")
        try:
            if not self._is_one_select(sql):
                return Refusal("the SQL is not exactly one SELECT")
            timer = threading.Timer(self._timeout_s, self._connection.interrupt)
            timer.start()
            try:
                cursor = self._connection.execute(sql)
                rows = cursor.fetchmany(max_rows + 1)
                columns = tuple(d[0] for d in cursor.description or ())
            finally:
                timer.cancel()
        except self._duckdb.InterruptException:
            return Refusal(f"the query was stopped after {self._timeout_s:g} s")
        except (self._duckdb.Error, RuntimeError) as error:
            return _duckdb_refusal(str(error), sql)
        return Rows(columns, rows[:max_rows], len(rows) > max_rows)

    def _is_one_select(self, sql: str) -> bool:
        """Without a semicolon there is one statement, and one that begins with these words only reads: a WITH
        that writes is refused by a read-only file. Else DuckDB has to say; its parser takes most of a bind
        and holds the interpreter while it is asked this way."""
        if _PLAINLY_ONE.fullmatch(sql):
            return True
        statements = self._connection.extract_statements(sql)
        return len(statements) == 1 and statements[0].type == self._duckdb.StatementType.SELECT

    def session(self) -> Database:
        """A second cursor of the same read-only instance; it has a search path of its own."""
        other = copy(self)
        other._connection = self._connection.cursor()
        other._use(self._schema)
        return other

    def _use(self, schema: str) -> None:
        if schema:
            # Locked configuration does not cover the search path of `USE`.
            self._connection.execute('USE "{}"'.format(schema.replace('"', '""')))

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def _duckdb_refusal(text: str, sql: str) -> Refusal:
    """DuckDB appends `LINE n: <part of the line>` and a caret below; the part may be cut with `...`."""
    head, mark, tail = text.partition("\nLINE ")
    number, _, rest = tail.partition(": ")
    if not mark or not number.isdigit():
        return Refusal(text.strip())
    shown, _, below = rest.partition("\n")
    line = int(number)
    lines = sql.split("\n")
    caret = below.find("^") - len(f"LINE {number}: ")
    column = 0
    if 0 < line <= len(lines) and caret >= 0:
        cut = 3 if shown.startswith("...") else 0
        start = lines[line - 1].find(shown[cut:].removesuffix("...").rstrip())
        column = start + caret - cut + 1 if start >= 0 else 0
    return Refusal(head.strip(), line, max(0, column))


class _Postgres:
    """A PostgreSQL session whose transactions only read."""

    dialect: Dialect = "postgres"

    def __init__(self, wanted: Connection, timeout_s: float) -> None:
        import psycopg

        self._psycopg = psycopg
        self.written = wanted.written
        self._wanted, self._timeout_s = wanted, timeout_s
        options = f"-c statement_timeout={int(timeout_s * 1000)} -c default_transaction_read_only=on -c lock_timeout=5000"
        if wanted.schema:
            options += " -c search_path=" + '"{}"'.format(wanted.schema.replace('"', '""')).replace(
                "\\", "\\\\"
            ).replace(" ", "\\ ")
        given = {
            "host": wanted.host,
            "dbname": wanted.database,
            "user": wanted.username,
            "password": wanted.password,
            "sslmode": wanted.sslmode,
        }
        arguments: dict[str, Any] = {k: v for k, v in given.items() if v}
        try:
            self._connection = psycopg.connect(
                **arguments,
                port=wanted.port or 5432,
                connect_timeout=10,
                options=options,
                application_name="runyard lookml",
            )
            self._connection.read_only = True
        except psycopg.Error as error:
            message = wanted.masked(_first_line(str(error)))
            raise CannotConnect(f'connection "{wanted.name}": {message}') from None

    def bind(self, sql: str) -> Refusal | None:
        """One statement in a read-only transaction that is rolled back."""
        answer = self.run(sql, 0)
        return answer if isinstance(answer, Refusal) else None

    def run(self, sql: str, max_rows: int) -> Rows | Refusal:
        """One statement in a read-only transaction that is rolled back."""
        if len(sql) > MAX_QUERY_BYTES:
            return Refusal("the query is too large")
        try:
            # binary=True forces the extended protocol, which takes exactly one statement.
            with self._connection.cursor(binary=True) as cursor:
                cursor.execute(sql.encode("utf-8", "replace"))
                if cursor.description is None:
                    return Refusal("the SQL is not a SELECT")
                rows = cursor.fetchmany(max_rows + 1)
                columns = tuple(d.name for d in cursor.description)
        except self._psycopg.Error as error:
            if self._connection.closed:
                # The server went away; that says nothing about the SQL.
                message = _first_line(str(error))
                raise CannotConnect(f'connection "{self._wanted.name}" was lost: {message}') from None
            return _postgres_refusal(error, sql)
        except ValueError as error:
            return Refusal(str(error))
        finally:
            if not self._connection.closed:
                self._connection.rollback()
        return Rows(columns, rows[:max_rows], len(rows) > max_rows)

    def session(self) -> Database:
        """A second connection with the same settings."""
        return _Postgres(self._wanted, self._timeout_s)

    def close(self) -> None:
        """Ends the session."""
        self._connection.close()


def _postgres_refusal(error: Any, sql: str) -> Refusal:
    diagnosis = error.diag
    message = diagnosis.message_primary or _first_line(str(error))
    if diagnosis.message_hint:
        message += f" (hint: {diagnosis.message_hint})"
    position = int(diagnosis.statement_position or 0)
    if not position:
        return Refusal(message)
    before = sql[: position - 1]
    return Refusal(message, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
