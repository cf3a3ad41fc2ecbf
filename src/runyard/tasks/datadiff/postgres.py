# ruff: noqa: S608 - this package makes SQL; every name goes through names.quoted, every text through names.text
"""The PostgreSQL session of one diff: one read-only snapshot for everything, results streamed out by COPY.

Read only and repeatable: both sides are seen at one moment, nothing can be written, no temporary table is needed (so a read-only role or a standby
is enough). Statement, lock and connect timeouts hold; the role's own rights are the last fence (contracts/reliability.md K4).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql as pgsql

from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.kinds import Column, postgres_column
from runyard.tasks.datadiff.names import match, path_of, text
from runyard.tasks.datadiff.spec import Connection

Row = tuple[Any, ...]
CONNECT_S = 10

_TABLES = """
SELECT n.nspname, c.relname, pg_table_is_visible(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND lower(c.relname) = lower({table})
"""
_KEYS = """
SELECT CASE WHEN i.indisprimary THEN 'primary key constraint' ELSE 'unique index' END,
       array_agg(a.attname::text), bool_and(a.attnotnull)
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey::int2[])
WHERE i.indrelid = {table}::regclass AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND i.indnkeyatts = i.indnatts
GROUP BY i.indexrelid, i.indisprimary ORDER BY i.indisprimary DESC, i.indexrelid
"""


class Postgres:
    """One transaction on one server."""

    dialect = "postgres"

    def __init__(self, where: Connection, timeout_s: float) -> None:
        self.where = where
        self.progress: Callable[[float], None] = lambda fraction: None
        given = {
            "host": where.host,
            "port": where.port,
            "dbname": where.database,
            "user": where.username,
            "password": where.password,
            "sslmode": where.sslmode,
        }
        try:
            self.connection = psycopg.connect(
                connect_timeout=CONNECT_S,
                application_name="runyard datadiff",
                **{k: v for k, v in given.items() if v},  # type: ignore[arg-type]
            )
        except psycopg.Error as error:
            raise CouldNot(Fault.CONNECTION, f"PostgreSQL: {_line(error)}.", retryable=True) from None
        self.connection.read_only = True
        self.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self.connection.prepare_threshold = None
        limit_ms = max(1, int(timeout_s * 1000))
        settings = {
            "statement_timeout": str(limit_ms),
            "lock_timeout": str(min(limit_ms, 30_000)),
            "idle_in_transaction_session_timeout": "0",  # the join's rows may take long to be written here
            "work_mem": "128MB",
            "jit": "off",
            "datestyle": "ISO, YMD",
            "intervalstyle": "postgres",
            "timezone": "UTC",
            "extra_float_digits": "1",
            "bytea_output": "hex",
            "xmloption": "content",
        }
        for name, value in settings.items():
            self.rows(f"SELECT set_config({text(name)}, {text(value)}, true)")
        if where.schema:
            self.rows(f"SELECT set_config('search_path', quote_ident({text(where.schema)}), true)")

    def rows(self, sql: str) -> list[Row]:
        """Runs one statement and fetches all of it."""
        try:
            return self.connection.execute(_statement(sql)).fetchall()
        except psycopg.Error as error:
            raise _fault(error) from None

    def one(self, sql: str) -> Row:
        """The only row of a statement."""
        return self.rows(sql)[0]

    def copy(self, select: str, into: Path) -> None:
        """Streams a query's rows to a CSV file."""
        try:
            with (
                self.connection.cursor() as cursor,
                cursor.copy(_statement(f"COPY ({select}) TO STDOUT (FORMAT csv)")) as out,
                into.open("wb") as file,
            ):
                for piece in out:
                    file.write(piece)
        except psycopg.Error as error:
            raise _fault(error) from None

    def find(self, dotted: str) -> tuple[str, str]:
        """(schema, table) that a dotted path means in the connected database."""
        *before, wish = path_of(dotted)
        if len(before) == 2 and match(before[0], [self.connection.info.dbname]) is None:
            raise CouldNot(
                Fault.NO_TABLE, f"{dotted} lies in another database than {self.connection.info.dbname}."
            )
        found = self.rows(_TABLES.format(table=text(wish)))
        if before:
            place = match(before[-1], {s for s, _, _ in found})
            found = [row for row in found if row[0] == place]
        else:
            found = [row for row in found if row[2]] or found
        exact = [row for row in found if row[1] == wish] or found
        if len(exact) != 1:
            why = "is ambiguous: name the schema" if exact else "does not exist"
            raise CouldNot(Fault.NO_TABLE, f"The table {dotted} {why}.")
        return exact[0][0], exact[0][1]

    def columns(self, relation: str) -> list[Column]:
        """The columns of anything that can stand after FROM."""
        try:
            cursor = self.connection.execute(_statement(f"SELECT * FROM {relation} AS t LIMIT 0"))
        except psycopg.Error as error:
            raise _fault(error) from None
        result = cursor.pgresult
        names = [
            (c.name, c.type_code, result.fmod(i) if result else -1)
            for i, c in enumerate(cursor.description or [])
        ]
        if not names:
            return []
        values = ", ".join(f"({i}, {oid}::oid, {mod})" for i, (_, oid, mod) in enumerate(names))
        types = self.rows(
            "SELECT coalesce(b.typname, t.typname), format_type(w.oid, w.mod) "
            f"FROM (VALUES {values}) AS w(i, oid, mod) JOIN pg_type t ON t.oid = w.oid "
            "LEFT JOIN pg_type b ON b.oid = nullif(t.typbasetype, 0) ORDER BY w.i"
        )
        return [postgres_column(n[0], t[0], t[1]) for n, t in zip(names, types, strict=True)]

    def unique_sets(self, table_sql: str) -> list[tuple[str, frozenset[str]]]:
        """(source, columns) of every key the catalog promises: unique and never null."""
        found = self.rows(_KEYS.format(table=text(table_sql)))
        return [(source, frozenset(columns)) for source, columns, filled in found if filled]

    def close(self) -> None:
        """Rolls back."""
        self.connection.close()


def _statement(sql: str) -> pgsql.SQL:
    return pgsql.SQL(sql)  # built here from quoted names; it is no literal


def _fault(error: psycopg.Error) -> CouldNot:
    if isinstance(error, psycopg.errors.QueryCanceled):
        return CouldNot(Fault.TIMEOUT, f"PostgreSQL: {_line(error)}.")
    if isinstance(error, psycopg.OperationalError):
        return CouldNot(Fault.CONNECTION, f"PostgreSQL: {_line(error)}.", retryable=True)
    return CouldNot(Fault.QUERY, f"PostgreSQL: {_line(error)}.")


def _line(error: Exception) -> str:
    return (str(error).strip().split("\n", 1)[0].rstrip(".") or type(error).__name__)[:500]
