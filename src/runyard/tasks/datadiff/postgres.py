# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""The PostgreSQL session of one diff: one read-only snapshot for everything, results streamed out by COPY.

Read only and repeatable: both sides are seen at one moment, nothing can be written, no temporary table is
needed (so a read-only role or a standby is enough). Statement, lock and connect timeouts hold; the role's own
rights are the last fence (contracts/reliability.md K4).
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Sequence

import psycopg
from psycopg import sql as pgsql

from runyard.tasks.datadiff.copying import Copying
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.grammar import POSTGRES, Grammar
from runyard.tasks.datadiff.kinds import Column, Kind, postgres_column
from runyard.tasks.datadiff.names import instead, match, path_of
from runyard.tasks.datadiff.servers import Promise, Row, Sink
from runyard.tasks.datadiff.spec import Connection

CONNECT_S = 10
SESSION = frozenset(
    (
        *(
            "work_mem",
            "search_path",
            "hash_mem_multiplier",
            "max_parallel_workers_per_gather",
            "random_page_cost",
        ),
        *(
            "enable_hashjoin",
            "enable_mergejoin",
            "enable_nestloop",
            "effective_cache_size",
            "application_name",
        ),
    )
)
"""The settings that a spec may make for its session; the limits and formats below are ours."""
_CUT = (
    Kind.INTEGER,
    Kind.UUID,
    Kind.DATE,
    Kind.TIMESTAMP,
    Kind.ZONED,
)  # no collation has a say in their order
_MOST_PIECES = 4
_PIECE_ROWS = 100_000  # a connection and its start cost about as much as joining a third of them

text = POSTGRES.text

_TABLES = """
SELECT n.nspname, c.relname, pg_table_is_visible(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND lower(c.relname) = lower({table})
"""
_OTHERS = """
SELECT n.nspname, c.relname, pg_table_is_visible(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('information_schema', 'pg_toast') AND n.nspname NOT LIKE 'pg\\_%' LIMIT 10000
"""
_KEYS = """
SELECT CASE WHEN i.indisprimary THEN 'primary key constraint' ELSE 'unique index' END,
       array_agg(a.attname::text), bool_and(a.attnotnull)
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey::int2[])
WHERE i.indrelid = {table}::regclass AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND i.indnkeyatts = i.indnatts
GROUP BY i.indexrelid, i.indisprimary ORDER BY i.indisprimary DESC, i.indexrelid
"""


_ELEMENTS = {
    "bool": "BOOLEAN",
    "int2": "SMALLINT",
    "int4": "INTEGER",
    "int8": "BIGINT",
    "text": "VARCHAR",
    "varchar": "VARCHAR",
}
_DUCK_TYPES = {
    **_ELEMENTS,
    "float4": "FLOAT",
    "float8": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "uuid": "UUID",
    "json": "JSON",
    "jsonb": "JSON",
}


LOOK_FOR_CLIENT = "5s"
# A canceled job's query would go on in the database, up to the statement's limit, for nobody. PostgreSQL
# knows the setting from 14 on, and takes it where the system tells of a closed connection (Linux).
_LEFT = (
    "(SELECT set_config(name, {interval}, true) FROM pg_settings"
    " WHERE name = 'client_connection_check_interval' AND version() LIKE '%linux%')"
)


class Postgres:
    """One transaction on one server."""

    grammar: Grammar = POSTGRES

    def __init__(self, where: Connection, timeout_s: float, session: dict[str, str] | None = None) -> None:
        if unknown := sorted((session or {}).keys() - SESSION):
            raise CouldNot(Fault.BAD_SPEC, f"The session parameter {unknown[0]!r} may not be set.")
        self._where = where
        limit_ms = max(1, int(timeout_s * 1000))
        self._settings = {
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
            **(session or {}),
        }
        try:
            self.connection = connected(where)
        except psycopg.Error as error:
            raise CouldNot(Fault.CONNECTION, f"PostgreSQL: {_line(error)}.", retryable=True) from None
        self.rows(self._prepare())

    def _prepare(self) -> str:
        """The session's settings, for this transaction alone: a pooled connection goes back as it came."""
        made = [f"set_config({text(name)}, {text(value)}, true)" for name, value in self._settings.items()]
        if schema := self._where.schema:
            made.append(f"set_config('search_path', quote_ident({text(schema)}), true)")
        made.append(_LEFT.format(interval=text(LOOK_FOR_CLIENT)))
        return f"SELECT {', '.join(made)}"

    def rows(self, sql: str) -> list[Row]:
        """Runs one statement and fetches all of it."""
        try:
            return self.connection.execute(statement(sql)).fetchall()
        except psycopg.Error as error:
            raise _fault(error) from None

    def one(self, sql: str) -> Row:
        """The only row of a statement."""
        return self.rows(sql)[0]

    def stream(self, selects: Sequence[str], columns: Sequence[str], sink: Sink) -> None:
        """By COPY; several queries at once, each on a connection of its own that sees the same snapshot."""
        waiting, copying = deque(selects), Copying(sink)
        helpers: list[psycopg.Connection[Row]] = []
        threads: list[threading.Thread] = []
        if len(selects) > 1:
            (snapshot,) = self.one("SELECT pg_export_snapshot()")
            given = (str(snapshot), copying, waiting, helpers)
            threads = [threading.Thread(target=self._help, args=given, daemon=True) for _ in selects[1:]]
        try:
            for thread in threads:
                thread.start()
            copying.run(self.connection, waiting)
        finally:
            if copying.failed:  # a helper that is not on the list yet sees the failure itself
                for helper in list(helpers):
                    helper.cancel_safe(timeout=CONNECT_S)
            for thread in threads:
                thread.join()
        if copying.failed:
            raise _fault(copying.failed[0]) from None

    def _help(
        self, snapshot: str, copying: Copying, waiting: deque[str], helpers: list[psycopg.Connection[Row]]
    ) -> None:
        """Copies on one more connection; does nothing where there is none to be had: those that there are do
        the work."""
        try:
            helper = connected(self._where)
        except psycopg.Error:
            return
        helpers.append(helper)
        with contextlib.closing(helper):
            try:
                helper.execute(statement(f"SET TRANSACTION SNAPSHOT {text(snapshot)}"))
                helper.execute(statement(self._prepare()))
            except psycopg.Error:  # a pooler gave another server
                return
            copying.run(helper, waiting)

    def find(self, dotted: str) -> tuple[str, ...]:
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
            why = "is ambiguous: name the schema." if exact else f"does not exist.{self._instead(wish)}"
            raise CouldNot(Fault.NO_TABLE, f"The table {dotted} {why}")
        return exact[0][0], exact[0][1]

    def _instead(self, wish: str) -> str:
        """What else there is, in every schema that people made."""
        found = self.rows(_OTHERS)
        return instead(wish, (name if visible else f"{schema}.{name}" for schema, name, visible in found))

    def columns(self, relation: str) -> list[Column]:
        """The columns of anything that can stand after FROM."""
        try:
            cursor = self.connection.execute(statement(f"SELECT * FROM {relation} AS t LIMIT 0"))
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

    def unique_sets(self, path: Sequence[str]) -> list[Promise]:
        """(source, columns) of every key the catalog promises: unique and never null."""
        found = self.rows(_KEYS.format(table=text(POSTGRES.path(path))))
        return [(source, frozenset(columns)) for source, columns, filled in found if filled]

    def about_rows(self, path: Sequence[str]) -> int:
        """As of the last ANALYZE."""
        (found,) = self.one(
            f"SELECT reltuples::bigint FROM pg_class WHERE oid = {text(POSTGRES.path(path))}::regclass"
        )
        return max(0, int(found))

    def sorted_by(self, path: Sequence[str]) -> frozenset[str]:
        """By ANALYZE's correlation."""
        found = self.rows(
            f"SELECT attname FROM pg_stats WHERE schemaname = {text(path[0])} AND tablename = {text(path[1])} AND abs(correlation) > 0.95"
        )
        return frozenset(row[0] for row in found)

    def expect_order(self, path: Sequence[str], key: Column) -> list[str]:
        """A merge join along two indexes takes half the time of the hash join that the planner prefers, but
        the planner gives a full join one process.

        So it is cut where ANALYZE has seen equal parts of the key, into as many as the server would give
        workers to one query.
        """
        self.rows("SELECT set_config('enable_hashjoin', 'off', true)")
        if key.kind not in _CUT:
            return []
        workers, rows, seen = self.one(
            "SELECT current_setting('max_parallel_workers_per_gather')::int, "
            f"(SELECT reltuples::bigint FROM pg_class WHERE oid = {text(POSTGRES.path(path))}::regclass), "
            "(SELECT histogram_bounds::text::text[] FROM pg_stats WHERE schemaname = "
            f"{text(path[0])} AND tablename = {text(path[1])} AND attname = {text(key.name)})"
        )
        pieces = min(workers, _MOST_PIECES, rows // _PIECE_ROWS, len(seen or []))
        chosen = dict.fromkeys(seen[len(seen) * i // pieces] for i in range(1, pieces))
        return [f"CAST({text(value)} AS {key.exact})" for value in chosen]

    def outgoing(self, value: str, column: Column, careful: bool) -> tuple[str, str]:
        """numeric as DECIMAL where it fits, else as its canonical text; char(n) without padding; arrays of
        plain things as JSON."""
        if column.base == "numeric":
            size = column.precision
            return (
                (f"trim_scale({value})::text", "VARCHAR")
                if careful or size is None
                else (value, f"DECIMAL{size}")
            )
        if column.kind is Kind.FIXED:
            return f"rtrim({value}::text)", "VARCHAR"
        if column.kind is Kind.ARRAY and not careful and column.base[1:] in _ELEMENTS:
            return f"to_json({value})", _ELEMENTS[column.base[1:]] + "[]"
        if column.kind is Kind.BINARY:
            return f"encode({value}, 'hex')", "BLOB"
        return value, _DUCK_TYPES.get(column.base, "VARCHAR")

    def close(self) -> None:
        """Rolls back."""
        self.connection.close()


def connected(where: Connection, *, writing: bool = False) -> psycopg.Connection[Row]:
    """A transaction that sees one moment and, unless for `writing`, only reads."""
    given = {
        "host": where.host,
        "port": where.port or 5432,
        "dbname": where.database,
        "user": where.username,
        "password": where.password,
        "sslmode": where.sslmode,
    }
    found = psycopg.connect(
        connect_timeout=CONNECT_S,
        application_name="runyard datadiff",
        **{k: v for k, v in given.items() if v},  # type: ignore[arg-type]
    )
    found.read_only = not writing
    found.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    found.prepare_threshold = None
    return found


def statement(sql: str) -> pgsql.SQL:
    """SQL that was made here."""
    return pgsql.SQL(sql)  # built here from quoted names; it is no literal


def _fault(error: Exception) -> Exception:
    if isinstance(error, OSError):  # the reader is gone and says why itself
        return error
    if isinstance(error, psycopg.errors.QueryCanceled):
        return CouldNot(Fault.TIMEOUT, f"PostgreSQL: {_line(error)}.")
    if isinstance(error, psycopg.OperationalError):
        return CouldNot(Fault.CONNECTION, f"PostgreSQL: {_line(error)}.", retryable=True)
    return CouldNot(Fault.QUERY, f"PostgreSQL: {_line(error)}.")


def _line(error: Exception) -> str:
    return (str(error).strip().split("\n", 1)[0].rstrip(".") or type(error).__name__)[:500]
