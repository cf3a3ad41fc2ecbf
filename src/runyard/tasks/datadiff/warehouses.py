# ruff: noqa: S608 - this package makes SQL; every name goes through grammar.quoted, every text through grammar.text
"""Snowflake, BigQuery, Databricks and Redshift through their own drivers, which `tasks.drivers` opens.

No such server was at hand: the SQL is checked by sqlglot and golden files, the sessions against a recording
driver. None of them can promise one moment for both sides; the role's rights are the fence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.grammar import GRAMMARS, Grammar
from runyard.tasks.datadiff.kinds import Column, Kind
from runyard.tasks.datadiff.names import match, path_of
from runyard.tasks.datadiff.servers import Opener, Promise, Row, Sink
from runyard.tasks.datadiff.spec import Connection
from runyard.tasks.drivers import DriverTrouble, Why, connect, trouble

_PIECES = 5_000
_KINDS = {
    **dict.fromkeys(("INT64", "BIGINT", "INT", "INTEGER", "SMALLINT", "TINYINT"), Kind.INTEGER),
    **dict.fromkeys(("FIXED", "NUMERIC", "BIGNUMERIC", "DECIMAL"), Kind.DECIMAL),
    **dict.fromkeys(("REAL", "FLOAT64", "FLOAT", "DOUBLE"), Kind.FLOAT),
    **dict.fromkeys(("TEXT", "STRING", "VARCHAR"), Kind.STRING),
    **dict.fromkeys(("CHAR", "BPCHAR"), Kind.FIXED),
    **dict.fromkeys(("BOOL", "BOOLEAN"), Kind.BOOLEAN),
    "DATE": Kind.DATE,
    "TIME": Kind.TIME,
    **dict.fromkeys(("DATETIME", "TIMESTAMP_NTZ"), Kind.TIMESTAMP),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_LTZ", "TIMESTAMP_TZ", "TIMESTAMPTZ"), Kind.ZONED),
    **dict.fromkeys(("BYTES", "BINARY", "VARBYTE"), Kind.BINARY),
    **dict.fromkeys(("JSON", "VARIANT", "OBJECT", "SUPER"), Kind.JSON),
    "ARRAY": Kind.ARRAY,
}
_DUCK_TYPES = {
    Kind.INTEGER: "BIGINT",
    Kind.FLOAT: "DOUBLE",
    Kind.BOOLEAN: "BOOLEAN",
    Kind.DATE: "DATE",
    Kind.TIME: "TIME",
    Kind.TIMESTAMP: "TIMESTAMP",
    Kind.ZONED: "TIMESTAMP WITH TIME ZONE",
    Kind.JSON: "JSON",
}


class Warehouse:
    """One DB-API connection. The functions given to it say what is particular to a vendor."""

    def __init__(
        self,
        grammar: Grammar,
        connection: Any,
        columns_of: Callable[[Any], list[Column]],
        depth: int,
        prefix: Sequence[str],
    ) -> None:
        self.grammar = grammar
        self.connection = connection
        self._columns_of = columns_of
        self._depth = depth  # parts of a full table path
        self._prefix = tuple(p for p in prefix if p)  # what completes a shorter one

    def rows(self, sql: str) -> list[Row]:
        """Runs one statement and fetches all of it."""
        return [tuple(row) for row in self._cursor(sql).fetchall()]

    def _cursor(self, sql: str) -> Any:
        cursor = self.connection.cursor()
        try:
            cursor.execute(sql)
        except Exception as error:  # noqa: BLE001 - four drivers, four hierarchies; none is imported here
            raise _fault(trouble(self.grammar.name, error)) from None
        return cursor

    def one(self, sql: str) -> Row:
        """The only row of a statement."""
        return self.rows(sql)[0]

    def stream(self, selects: Sequence[str], columns: Sequence[str], sink: Sink) -> None:
        """By fetching some thousand rows at a time."""
        for select in selects:
            self._stream(select, sink)

    def _stream(self, select: str, sink: Sink) -> None:
        cursor = self._cursor(select)
        while True:
            try:
                rows = cursor.fetchmany(_PIECES)
            except Exception as error:  # noqa: BLE001 - as above
                raise _fault(trouble(self.grammar.name, error)) from None
            if not rows:
                return
            sink.rows += len(rows)
            sink.write("".join([",".join(map(_field, row)) + "\n" for row in rows]).encode())

    def find(self, dotted: str) -> tuple[str, ...]:
        """The path, completed by the connection's database and schema; names are looked up by the catalog,
        exactly first and then without case."""
        parts = path_of(dotted)
        missing = self._depth - len(parts)
        if missing > len(self._prefix):
            raise CouldNot(Fault.NO_TABLE, f"{dotted}: name the database and the schema of the table too.")
        path = (*self._prefix[:missing], *parts) if missing > 0 else parts
        *place, wish = path
        found = [row[:2] for row in self.rows(_listing(self.grammar, place))]
        schema = match(place[-1], {str(s) for s, _ in found})
        table = match(wish, (str(t) for s, t in found if str(s) == schema))
        if schema is None or table is None:
            raise CouldNot(Fault.NO_TABLE, f"There is no table {dotted}.")
        return (*place[:-1], schema, table)

    def columns(self, relation: str) -> list[Column]:
        """By the description of an empty result."""
        return self._columns_of(self._cursor(f"SELECT * FROM {relation} AS t LIMIT 0"))

    def unique_sets(self, path: Sequence[str]) -> list[Promise]:
        """None: these databases declare keys but do not hold them."""
        return []

    def about_rows(self, path: Sequence[str]) -> int:
        """Not asked."""
        return 0

    def sorted_by(self, path: Sequence[str]) -> frozenset[str]:
        """Not asked."""
        return frozenset()

    def expect_order(self, path: Sequence[str], key: Column) -> list[str]:
        """Its planner needs no hint."""
        return []

    def outgoing(self, value: str, column: Column, careful: bool) -> tuple[str, str]:
        """As text, under the DuckDB type of the same family."""
        if column.kind is Kind.BINARY:
            return (
                f"TO_HEX({value})" if self.grammar.name in ("bigquery", "redshift") else f"HEX({value})"
            ), "BLOB"
        text = self.grammar.as_text(value)
        if column.kind in (Kind.JSON, Kind.ARRAY, Kind.OTHER):
            return self.grammar.comparable(value, column, frozenset({column.kind})), "VARCHAR"
        if column.kind is Kind.FIXED:
            return f"RTRIM({text})", "VARCHAR"
        if column.base == "FIXED" and column.kind is Kind.INTEGER:
            return text, "DECIMAL(38, 0)"  # Snowflake's integers have 38 digits
        if column.kind is Kind.DECIMAL:
            size = column.precision
            return text, f"DECIMAL{size}" if size and not careful else "VARCHAR"
        return text, _DUCK_TYPES.get(column.kind, "VARCHAR")

    def close(self) -> None:
        """Ends the session."""
        self.connection.close()


def _listing(grammar: Grammar, place: Sequence[str]) -> str:
    """(schema, table, …) of the schemas that a name may mean. Each vendor has its own place for them."""
    database, schema = place
    like = f"= {grammar.text(schema.lower())}"
    if grammar.name == "redshift":  # its information_schema knows the connected database alone
        return (
            "SELECT schema_name, table_name FROM svv_all_tables "
            f"WHERE lower(database_name) = {grammar.text(database.lower())} AND lower(schema_name) {like}"
        )
    if grammar.name == "databricks" and database.lower() == "hive_metastore":  # outside of Unity Catalog
        return f"SHOW TABLES IN {grammar.path(place)}"
    tables = [*(place if grammar.name == "bigquery" else [database]), "INFORMATION_SCHEMA", "TABLES"]
    return f"SELECT table_schema, table_name FROM {grammar.path(tables)} WHERE lower(table_schema) {like}"


def _field(value: object) -> str:
    if value is None:
        return ""
    return '"' + str(value).replace('"', '""') + '"'


_FAULTS = {
    Why.SETTINGS: Fault.BAD_SPEC,
    Why.CONNECTION: Fault.CONNECTION,
    Why.QUERY: Fault.QUERY,
    Why.TIMEOUT: Fault.TIMEOUT,
}


def _fault(error: DriverTrouble) -> CouldNot:
    return CouldNot(_FAULTS[error.why], error.message, retryable=error.is_retryable)


def _connected(where: Connection, timeout_s: float, session: dict[str, str]) -> Any:
    try:
        return connect(where.dialect, msgspec.structs.asdict(where), timeout_s, session)
    except DriverTrouble as problem:
        raise _fault(problem) from None


def _column(name: str, exact: str) -> Column:
    base = exact.split("(", 1)[0].split("<", 1)[0].upper()
    return Column(name, exact, base, _KINDS.get(base, Kind.OTHER))


# Snowflake
# -----------------------------------------------------------------------------------------------------------

_SNOWFLAKE_CODES = (
    *(
        "FIXED",
        "REAL",
        "TEXT",
        "DATE",
        "TIMESTAMP",
        "VARIANT",
        "TIMESTAMP_LTZ",
        "TIMESTAMP_TZ",
        "TIMESTAMP_NTZ",
    ),
    *("OBJECT", "ARRAY", "BINARY", "TIME", "BOOLEAN"),
)


def snowflake(where: Connection, timeout_s: float, session: dict[str, str]) -> Warehouse:
    """Unquoted names are looked for in the connection's database and schema."""
    connection = _connected(where, timeout_s, session)
    return Warehouse(
        GRAMMARS["snowflake"], connection, _snowflake_columns, 3, (where.database, where.schema or "PUBLIC")
    )


def _snowflake_columns(cursor: Any) -> list[Column]:
    """description: (name, type_code, display_size, internal_size, precision, scale, is_nullable)."""
    found = []
    for name, code, _, _, precision, scale, *_ in cursor.description:
        base = _SNOWFLAKE_CODES[code]
        exact = f"NUMBER({precision},{scale})" if base == "FIXED" else base
        kind = Kind.INTEGER if base == "FIXED" and not scale else _KINDS.get(base, Kind.OTHER)
        found.append(Column(name, exact, base, kind))
    return found


# BigQuery
# -----------------------------------------------------------------------------------------------------------


def bigquery(where: Connection, timeout_s: float, session: dict[str, str]) -> Warehouse:
    """Unquoted names are looked for in the project and the dataset."""
    connection = _connected(where, timeout_s, session)
    return Warehouse(
        GRAMMARS["bigquery"],
        connection,
        _bigquery_columns,
        3,
        (where.project or where.database, where.schema),
    )


def _bigquery_columns(cursor: Any) -> list[Column]:
    """The job's schema; the DB-API's description has no precision."""
    return [_bigquery_column(field) for field in cursor.query_job.result(max_results=0).schema]


def _bigquery_column(field: Any) -> Column:
    names = {"FLOAT": "FLOAT64", "INTEGER": "INT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
    base = names.get(field.field_type, field.field_type)
    exact = base
    if base in ("NUMERIC", "BIGNUMERIC"):
        exact = f"{base}({field.precision or (38 if base == 'NUMERIC' else 76)},{field.scale if field.scale is not None else (9 if base == 'NUMERIC' else 38)})"
    if field.mode == "REPEATED":
        return Column(field.name, f"ARRAY<{exact}>", f"ARRAY<{base}>", Kind.ARRAY)
    return Column(field.name, exact, base, _KINDS.get(base, Kind.OTHER))


# Databricks
# -----------------------------------------------------------------------------------------------------------


def databricks(where: Connection, timeout_s: float, session: dict[str, str]) -> Warehouse:
    """Unquoted names are looked for in the catalog and the schema."""
    return Warehouse(
        GRAMMARS["databricks"],
        _connected(where, timeout_s, session),
        _databricks_columns,
        3,
        (where.catalog or "main", where.schema or "default"),
    )


def _databricks_columns(cursor: Any) -> list[Column]:
    """description: (name, type such as `int` or `decimal`, …, precision, scale, …)."""
    found = []
    for name, type, _, _, precision, scale, *_ in cursor.description:
        exact = f"decimal({precision},{scale or 0})" if type == "decimal" and precision else type
        found.append(_column(name, exact))
    return found


# Redshift
# -----------------------------------------------------------------------------------------------------------

_REDSHIFT_OIDS = {
    16: "boolean",
    20: "bigint",
    21: "smallint",
    23: "integer",
    25: "text",
    700: "real",
    701: "double",
    1042: "bpchar",
    1043: "varchar",
    1082: "date",
    1083: "time",
    1114: "timestamp_ntz",
    1184: "timestamptz",
    1700: "numeric",
    4000: "super",
    6551: "varbyte",
}


def redshift(where: Connection, timeout_s: float, session: dict[str, str]) -> Warehouse:
    """Unquoted names are looked for in the database and the schema."""
    connection = _connected(where, timeout_s, session)
    return Warehouse(
        GRAMMARS["redshift"], connection, _redshift_columns, 3, (where.database, where.schema or "public")
    )


def _redshift_columns(cursor: Any) -> list[Column]:
    """description: (name, oid, …); precision and scale follow where the driver knows them."""
    found = []
    for name, oid, _, _, precision, scale, *_ in cursor.description:
        text = name.decode() if isinstance(name, bytes) else name
        base = _REDSHIFT_OIDS.get(oid, f"oid {oid}")
        exact = f"numeric({precision},{scale or 0})" if base == "numeric" and precision else base
        found.append(_column(text, exact))
    return found


OPENERS: dict[str, Opener] = {
    "snowflake": snowflake,
    "bigquery": bigquery,
    "databricks": databricks,
    "redshift": redshift,
}
