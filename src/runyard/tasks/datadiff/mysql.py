# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""The MySQL or MariaDB session of one diff: one read-only snapshot, rows streamed out as CSV lines that the
server itself builds.

There is no DuckDB extension for MySQL on the package registry, so the driver is PyMySQL, in Python alone; one
text per row keeps it fast enough. MariaDB joins without an index by hashing only when told to
(`join_cache_level`); MySQL 8 does it by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pymysql
from pymysql.cursors import Cursor, SSCursor

from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.grammar import MYSQL, Grammar
from runyard.tasks.datadiff.kinds import Column, Kind
from runyard.tasks.datadiff.names import instead, match, path_of
from runyard.tasks.datadiff.servers import Promise, Row, Sink
from runyard.tasks.datadiff.spec import Connection

CONNECT_S = 10
SESSION = frozenset(
    {"join_buffer_size", "sort_buffer_size", "tmp_table_size", "max_heap_table_size", "optimizer_switch"}
)
"""The settings that a spec may make for its session."""
_PIECES = 2_000
_TIMED_OUT = {1317, 1969, 3024}  # interrupted; MariaDB's and MySQL's statement time

_KINDS = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "year"), Kind.INTEGER),
    "decimal": Kind.DECIMAL,
    "float": Kind.FLOAT,
    "double": Kind.FLOAT,
    **dict.fromkeys(("varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"), Kind.STRING),
    "char": Kind.STRING,  # without its padding already
    "date": Kind.DATE,
    "time": Kind.TIME,
    "datetime": Kind.TIMESTAMP,
    "timestamp": Kind.ZONED,
    "uuid": Kind.UUID,
    "json": Kind.JSON,
    **dict.fromkeys(
        ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "bit"), Kind.BINARY
    ),
}
_DUCK_TYPES = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint", "year"), "BIGINT"),
    "float": "FLOAT",
    "double": "DOUBLE",
    "time": "TIME",
    "uuid": "UUID",
    "json": "JSON",
}
_MOMENTS = {"date": "DATE", "datetime": "TIMESTAMP", "timestamp": "TIMESTAMP WITH TIME ZONE"}


class Mysql:
    """One transaction on one server."""

    grammar: Grammar = MYSQL

    def __init__(self, where: Connection, timeout_s: float, session: dict[str, str] | None = None) -> None:
        if unknown := sorted((session or {}).keys() - SESSION):
            raise CouldNot(Fault.BAD_SPEC, f"The session parameter {unknown[0]!r} may not be set.")
        if not where.database:
            raise CouldNot(Fault.CONNECTION, "MySQL: the connection names no database.")
        try:
            # every value stays the text that the server sent
            self.connection = connected(where, timeout_s, autocommit=True, conv={})
        except (pymysql.Error, OSError) as error:
            raise CouldNot(Fault.CONNECTION, f"MySQL: {_line(error)}.", retryable=True) from None
        self.database = where.database
        self.is_mariadb = "mariadb" in str(self.one("SELECT version()")[0]).lower()
        self._prepare(timeout_s, session or {})

    def _prepare(self, timeout_s: float, session: dict[str, str]) -> None:
        settings = {
            "time_zone": "'+00:00'",
            "sql_mode": "''",
            "lock_wait_timeout": "30",
            "tmp_table_size": str(256 << 20),
            "max_heap_table_size": str(256 << 20),
            "join_buffer_size": str(128 << 20),
        }
        if self.is_mariadb:
            settings |= {"max_statement_time": repr(timeout_s), "join_cache_level": "8"}
            settings |= {"join_buffer_space_limit": str(256 << 20)}
        else:
            settings["max_execution_time"] = str(max(1, int(timeout_s * 1000)))
        settings |= {name: value if value.isdigit() else MYSQL.text(value) for name, value in session.items()}
        for name, value in settings.items():
            self.rows(f"SET SESSION {name} = {value}")
        self.rows("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self.rows("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    def rows(self, sql: str) -> list[Row]:
        """Runs one statement and fetches all of it; numbers as numbers, everything else as text."""
        try:
            with self.connection.cursor(Cursor) as cursor:
                cursor.execute(sql)
                return [tuple(_python(v) for v in row) for row in cursor.fetchall()]
        except (pymysql.Error, OSError) as error:
            raise _fault(error) from None

    def one(self, sql: str) -> Row:
        """The only row of a statement."""
        return self.rows(sql)[0]

    def stream(self, selects: Sequence[str], columns: Sequence[str], sink: Sink) -> None:
        """One CSV line per row, built by the server."""
        for select in selects:
            self._stream(select, columns, sink)

    def _stream(self, select: str, columns: Sequence[str], sink: Sink) -> None:
        fields = ", ".join(f"""coalesce(concat('"', replace({c}, '"', '""'), '"'), '')""" for c in columns)
        try:
            with self.connection.cursor(SSCursor) as cursor:
                cursor.execute(f"SELECT concat_ws(',', {fields}) FROM ({select}) AS rows_out")
                while rows := cursor.fetchmany(_PIECES):
                    sink.rows += len(rows)
                    sink.write("".join([f"{row[0]}\n" for row in rows]).encode())
        except (pymysql.Error, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise _fault(error) from None

    def find(self, dotted: str) -> tuple[str, ...]:
        """(database, table) that a dotted path means; other databases of the server may be named."""
        *before, wish = path_of(dotted)
        if len(before) > 1:
            raise CouldNot(Fault.NO_TABLE, f"{dotted!r}: MySQL's tables have two parts at most.")
        names = [r[0] for r in self.rows("SELECT schema_name FROM information_schema.schemata")]
        database = match(before[0], names) if before else self.database
        tables = self.rows(
            f"SELECT table_name FROM information_schema.tables WHERE table_schema = {MYSQL.text(database or '')}"
        )
        table = match(wish, (r[0] for r in tables))
        if database is None or table is None:
            other = instead(wish, (r[0] for r in tables))
            raise CouldNot(
                Fault.NO_TABLE, f"There is no table {dotted} in {database or self.database}.{other}"
            )
        return database, table

    def columns(self, relation: str) -> list[Column]:
        """By the catalog for tables; a query is looked at through a temporary view of its types, which
        DESCRIBE gives for SELECTs too."""
        if relation.startswith("("):
            return [_column(*row) for row in self._described(relation)]
        found = self.rows(f"SHOW FULL COLUMNS FROM {relation}")
        return [_column(row[0], row[1], row[2] or "") for row in found]

    def _described(self, relation: str) -> list[tuple[str, str]]:
        """(name, type) of a query's columns, from the result's own description."""
        try:
            with self.connection.cursor(SSCursor) as cursor:
                cursor.execute(f"SELECT * FROM {relation} AS t LIMIT 0")
                result = vars(cursor)["_result"]  # the only place where a type's length and flags are
                return [(f.name, _described_type(f)) for f in (result.fields if result else ())]
        except (pymysql.Error, OSError) as error:
            raise _fault(error) from None

    def unique_sets(self, path: Sequence[str]) -> list[Promise]:
        """Unique indexes over whole columns that are never null. Those over texts promise more than the bytes
        do, so they count too."""
        found = self.rows(
            "SELECT index_name, column_name, nullable, sub_part FROM information_schema.statistics WHERE non_unique = 0 AND "
            f"table_schema = {MYSQL.text(path[0])} AND table_name = {MYSQL.text(path[1])} ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index"
        )
        sets: dict[str, list[Row]] = {}
        for row in found:
            sets.setdefault(row[0], []).append(row)
        return [
            ("primary key constraint" if name == "PRIMARY" else "unique index", frozenset(r[1] for r in rows))
            for name, rows in sets.items()
            if all(r[1] is not None and r[2] != "YES" and r[3] is None for r in rows)
        ]

    def about_rows(self, path: Sequence[str]) -> int:
        """InnoDB's guess."""
        found = self.rows(
            f"SELECT table_rows FROM information_schema.tables WHERE table_schema = {MYSQL.text(path[0])} AND table_name = {MYSQL.text(path[1])}"
        )
        return int(found[0][0] or 0) if found else 0

    def sorted_by(self, path: Sequence[str]) -> frozenset[str]:
        """Not asked."""
        return frozenset()

    def expect_order(self, path: Sequence[str], key: Column) -> list[str]:
        """Its planner needs no hint."""
        return []

    def outgoing(self, value: str, column: Column, careful: bool) -> tuple[str, str]:
        """The zero date becomes -infinity: it is no date, but neither is it NULL."""
        if column.kind is Kind.BINARY:
            return f"hex({value})", "BLOB"
        if column.base in _MOMENTS:
            return f"if({value} = 0, '-infinity', CAST({value} AS CHAR))", _MOMENTS[column.base]
        if column.kind is Kind.DECIMAL:
            size = column.precision
            return value, f"DECIMAL{size}" if size and not careful else "VARCHAR"
        if column.base == "tinyint(1)":
            return value, "TINYINT"
        if column.base == "bigint" and "unsigned" in column.exact.lower():
            return value, "UBIGINT"
        if column.base == "float":
            return f"CAST({value} AS DOUBLE)", "FLOAT"  # as text a float has six digits only
        return MYSQL.as_text(value), _DUCK_TYPES.get(column.base, "VARCHAR")

    def close(self) -> None:
        """Rolls back. A stream that was left in the middle is not read to its end: the socket is closed."""
        force: Callable[[], None] = vars(type(self.connection))["_force_close"].__get__(self.connection)
        force()


def connected(where: Connection, timeout_s: float, **more: Any) -> pymysql.Connection[Any]:
    """A connection; `more` is the driver's."""
    return pymysql.connect(
        host=where.host or "127.0.0.1",
        port=where.port or 3306,
        user=where.username,
        password=where.password,
        database=where.database,
        charset="utf8mb4",
        connect_timeout=CONNECT_S,
        read_timeout=timeout_s + 30,
        write_timeout=60,
        local_infile=False,
        **_tls(where.sslmode),
        **more,
    )


def _tls(sslmode: str) -> dict[str, Any]:
    match sslmode:
        case "disable":
            return {"ssl_disabled": True}
        case "verify-ca" | "verify-full":
            return {"ssl_verify_cert": True, "ssl_verify_identity": sslmode == "verify-full"}
        case "require":
            return {"ssl": {"check_hostname": False}}
    return {}


def _python(value: Any) -> Any:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value


def _column(name: str, exact: str, collation: str = "") -> Column:
    """From `SHOW COLUMNS`: `int(11) unsigned`, `decimal(10,2)`, `tinyint(1)`, `enum('a','b')`."""
    base = exact.split("(", 1)[0].split(" ", 1)[0].lower()
    kind = _KINDS.get(base, Kind.OTHER)
    return Column(
        name, exact, "tinyint(1)" if exact.lower().startswith("tinyint(1)") else base, kind, collation
    )


def _described_type(field: Any) -> str:
    """The type of a result's column as SHOW COLUMNS would write it."""
    from pymysql.constants import FIELD_TYPE, FLAG

    binary = field.charsetnr == 63
    names = {
        FIELD_TYPE.TINY: "tinyint(1)" if field.length == 1 else "tinyint",
        FIELD_TYPE.SHORT: "smallint",
        FIELD_TYPE.INT24: "mediumint",
        FIELD_TYPE.LONG: "int",
        FIELD_TYPE.LONGLONG: "bigint",
        FIELD_TYPE.YEAR: "year",
        FIELD_TYPE.FLOAT: "float",
        FIELD_TYPE.DOUBLE: "double",
        FIELD_TYPE.DATE: "date",
        FIELD_TYPE.TIME: "time",
        FIELD_TYPE.DATETIME: "datetime",
        FIELD_TYPE.TIMESTAMP: "timestamp",
        FIELD_TYPE.JSON: "json",
        FIELD_TYPE.BIT: "bit",
        FIELD_TYPE.STRING: "binary" if binary else "char",
        FIELD_TYPE.VAR_STRING: "varbinary" if binary else "varchar",
        FIELD_TYPE.BLOB: "blob" if binary else "text",
    }
    if field.type_code in (FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL):
        unsigned = bool(field.flags & FLAG.UNSIGNED)
        return f"decimal({field.length - (not unsigned) - (field.scale > 0)},{field.scale})"
    return names.get(field.type_code, "unknown")


def _fault(error: Exception) -> CouldNot:
    code = error.args[0] if error.args else 0
    if code in _TIMED_OUT or isinstance(error, TimeoutError):
        return CouldNot(Fault.TIMEOUT, f"MySQL: {_line(error)}.")
    if isinstance(error, pymysql.OperationalError | pymysql.InterfaceError | OSError) and code in (
        0,
        2006,
        2013,
        2014,
    ):
        return CouldNot(Fault.CONNECTION, f"MySQL: {_line(error)}.", retryable=True)
    return CouldNot(Fault.QUERY, f"MySQL: {_line(error)}.")


def _line(error: Exception) -> str:
    message = str(error.args[-1] if error.args else error) or type(error).__name__
    return message.strip().split("\n", 1)[0].rstrip(".")[:500]
