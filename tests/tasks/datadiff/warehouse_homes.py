"""Warehouses that are not at hand, stood in for: their drivers' names lead to a database that is here.

BigQuery's and Databricks' SQL is put into DuckDB's words by sqlglot and run there; Redshift's runs on
PostgreSQL as it is, with the function and the view that PostgreSQL lacks. Columns are described the way each
driver describes them, so the whole way of a diff is gone.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import duckdb
import psycopg
import sqlglot

from runyard.tasks.datadiff.spec import Connection, Side
from tests.tasks.datadiff.homes import PostgresHome, Row, arranged, declared

Described = tuple[str, str, int | None, int | None]  # name, DuckDB's type, precision, scale
FUNCTIONS = (
    "CREATE MACRO farm_fingerprint(x) AS CAST(hash(x) >> 1 AS BIGINT)",
    "CREATE MACRO xxhash64(x, y) AS CAST(hash(x, y) >> 1 AS BIGINT)",
    "CREATE MACRO conv(digits, from_, to_) AS CAST(CAST('0x' || digits AS BIGINT) AS VARCHAR)",
    "CREATE MACRO unix_micros(t) AS epoch_us(t)",
)
_BIGQUERY = {"BIGINT": "INTEGER", "INTEGER": "INTEGER", "VARCHAR": "STRING", "DOUBLE": "FLOAT"} | {
    "TIMESTAMP": "DATETIME",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "DECIMAL": "NUMERIC",
}
_DATABRICKS = {"INTEGER": "int", "VARCHAR": "string", "TIMESTAMP": "timestamp_ntz"} | {
    "TIMESTAMP WITH TIME ZONE": "timestamp"
}


class Cursor:
    """A DB-API cursor of BigQuery or Databricks."""

    def __init__(self, connection: StandIn) -> None:
        self._in = connection
        self.description: list[tuple[Any, ...]] = []
        self.query_job: Any = None

    def execute(self, sql: str) -> None:
        """Runs one statement of the vendor's dialect."""
        if "INFORMATION_SCHEMA" in sql:
            self._in.session.execute("SELECT 'shop', table_name FROM duckdb_tables()")
            return
        [tree] = sqlglot.parse(sql, read=self._in.dialect)
        assert tree is not None
        self._in.session.execute(tree.sql("duckdb"))
        self._describe([(str(n), str(t)) for n, t, *_ in self._in.session.description or []])

    def _describe(self, columns: Sequence[tuple[str, str]]) -> None:
        found: list[Described] = []
        for name, type in columns:
            base, _, size = type.partition("(")
            p, _, s = size.rstrip(")").partition(",")
            found.append((name, base, int(p) if p else None, int(s) if s else None))
        if self._in.dialect == "bigquery":
            fields = [
                SimpleNamespace(name=n, field_type=_BIGQUERY.get(t, t), mode="NULLABLE", precision=p, scale=s)
                for n, t, p, s in found
            ]
            self.query_job = SimpleNamespace(result=lambda max_results: SimpleNamespace(schema=fields))
        else:
            self.description = [
                (n, _DATABRICKS.get(t, t.lower()), None, None, p, s, None) for n, t, p, s in found
            ]

    def fetchall(self) -> list[Row]:
        """All rows that are left."""
        return self._in.session.fetchall()

    def fetchmany(self, count: int) -> list[Row]:
        """Some."""
        return self._in.session.fetchmany(count)


class StandIn:
    """One DuckDB session that understands a warehouse's SQL, with the catalog `lake` and its schema
    `shop`."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self.session = duckdb.connect()
        for statement in ("SET TimeZone = 'UTC'", "ATTACH ':memory:' AS lake", "CREATE SCHEMA lake.shop"):
            self.session.execute(statement)
        for statement in FUNCTIONS:
            self.session.execute(statement)

    def cursor(self) -> Cursor:
        """The one session again."""
        return Cursor(self)

    def close(self) -> None:
        """The tables stay for the next diff."""


class WarehouseHome:
    """Tables in a stand-in for BigQuery or Databricks."""

    def __init__(self, dialect: str) -> None:
        self.stand_in = StandIn(dialect)
        if dialect == "bigquery":
            self.connection = Connection("bigquery", project="lake", schema="shop")
            client = types.SimpleNamespace(
                QueryJobConfig=lambda **_: SimpleNamespace(), Client=lambda **_: None
            )
            self._modules: dict[str, Any] = {
                "google.cloud.bigquery": client,
                "google.cloud.bigquery.dbapi": SimpleNamespace(connect=lambda client: self.stand_in),
            }
        else:
            self.connection = Connection("databricks", host="h", token="t", catalog="lake", schema="shop")
            self._modules = {"databricks.sql": SimpleNamespace(connect=lambda **_: self.stand_in)}
        self._forget = installed(self._modules)

    def fill(self, table: str, rows: Sequence[Row], order: Sequence[int]) -> tuple[Side, Connection | None]:
        names, create = declared("duckdb", order)
        session = self.stand_in.session
        session.execute(f"CREATE OR REPLACE TABLE lake.shop.{table} ({create})")
        if rows:
            marks = ", ".join("?" * len(names))
            session.executemany(f"INSERT INTO lake.shop.{table} VALUES ({marks})", arranged(rows, order))
        return Side("far", table=table), self.connection

    def close(self) -> None:
        self._forget()


class RedshiftHome(PostgresHome):
    """A schema of PostgreSQL that is spoken to in Redshift's SQL through the name of Redshift's driver."""

    def __init__(self, url: str, connection: Connection) -> None:
        super().__init__(url, connection)
        self.session.execute(
            "CREATE FUNCTION strtol(digits text, base integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS "
            "$$ SELECT ('x' || lpad(digits, 16, '0'))::bit(64)::bigint $$; CREATE VIEW svv_all_tables AS "
            "SELECT table_catalog AS database_name, table_schema AS schema_name, table_name FROM information_schema.tables"
        )
        database = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        self.connection = Connection("redshift", host="h", database=str(database), schema=connection.schema)

        def connect(**_: Any) -> psycopg.Connection[Any]:
            path = f"-c search_path={connection.schema}"
            return psycopg.connect(url, autocommit=True, options=path, prepare_threshold=None)

        self._forget = installed({"redshift_connector": SimpleNamespace(connect=connect)})

    def close(self) -> None:
        self._forget()
        super().close()


def installed(modules: dict[str, Any]) -> Callable[[], None]:
    """Puts modules under these names; calling the answer takes them away again."""
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)

    def forget() -> None:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module

    return forget
