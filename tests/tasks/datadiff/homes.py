"""Where a random table can live: each home fills one table from Python rows and says how the diff finds
it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb
import psycopg

from runyard.tasks.datadiff.spec import Connection, Side

Row = tuple[Any, ...]
COLUMNS = ("n", 'we"ird', "f", "m", "t", "z", "ok", "d")
DECLARED = {
    "k1": "integer",
    "K 2": "{text}",
    "n": "bigint",
    'we"ird': "{text}",
    "f": "{double}",
    "m": "decimal(10,2)",
    "t": "{timestamp}",
    "z": "{zoned}",
    "ok": "boolean",
    "d": "date",
}
WORDS = {
    "duckdb": {"text": "varchar", "double": "double", "timestamp": "timestamp", "zoned": "timestamptz"},
    "postgres": {
        "text": "text",
        "double": "double precision",
        "timestamp": "timestamp",
        "zoned": "timestamptz",
    },
    "mysql": {
        "text": "varchar(100)",
        "double": "double",
        "timestamp": "datetime(6)",
        "zoned": "timestamp(6) NULL DEFAULT NULL",
    },
}


class Home(Protocol):
    """A place for one table of a pair."""

    def fill(self, table: str, rows: Sequence[Row], order: Sequence[int]) -> tuple[Side, Connection | None]:
        """Replaces the table; `order` permutes the columns after the key."""


def declared(words: str, order: Sequence[int], quote: str = '"') -> tuple[list[str], str]:
    """(column names in order, the list of a CREATE TABLE)."""
    names = list(DECLARED)
    names = names[:2] + [names[2 + i] for i in order]
    parts = [
        f"{quote}{n.replace(quote, quote * 2)}{quote} {DECLARED[n].format(**WORDS[words])}" for n in names
    ]
    return names, ", ".join(parts)


def arranged(rows: Sequence[Row], order: Sequence[int]) -> list[Row]:
    """Rows with their values in the table's column order."""
    return [(*r[:2], *(r[2 + i] for i in order)) for r in rows]


class DuckHome:
    """A DuckDB file; `parquet` writes the table out into a file of that kind and gives that."""

    def __init__(self, folder: Path, *, parquet: bool = False) -> None:
        self.file = folder / "t.duckdb"
        self.parquet = parquet

    def fill(self, table: str, rows: Sequence[Row], order: Sequence[int]) -> tuple[Side, Connection | None]:
        names, create = declared("duckdb", order)
        with duckdb.connect(str(self.file)) as c:
            c.execute("SET TimeZone = 'UTC'")
            c.execute(f"CREATE OR REPLACE TABLE {table} ({create})")
            if rows:
                c.executemany(
                    f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})", arranged(rows, order)
                )
            if self.parquet:
                out = self.file.with_name(f"{table}.parquet")
                c.execute(f"COPY {table} TO '{out}' (FORMAT parquet)")
                return Side(file=str(out)), None
        return Side("duck", table=table), Connection("duckdb", file=str(self.file))


class CsvHome:
    """A CSV as Python writes it, with an empty text quoted and NULL bare."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, table: str, rows: Sequence[Row], order: Sequence[int]) -> tuple[Side, Connection | None]:
        names, _ = declared("duckdb", order)
        file = self.folder / f"{table}.csv"
        with file.open("w", encoding="utf-8", newline="") as out:
            csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(names)
            for row in arranged(rows, order):
                out.write(",".join(map(self._cell, row)) + "\n")
        return Side(file=str(file)), None

    @staticmethod
    def _cell(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, datetime):
            value = value.isoformat(sep=" ")
        return '"' + str(value).replace('"', '""') + '"'


class PostgresHome:
    """A schema of its own."""

    def __init__(self, url: str, connection: Connection) -> None:
        self.connection = connection
        self.session = psycopg.connect(url, autocommit=True)
        self.session.execute(
            f"CREATE SCHEMA {connection.schema}; SET search_path = {connection.schema}".encode()
        )
        self.made: dict[str, Sequence[int]] = {}

    def fill(self, table: str, rows: Sequence[Row], order: Sequence[int]) -> tuple[Side, Connection | None]:
        names, create = declared("postgres", order)
        if self.made.get(table) != order:
            self.session.execute(f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} ({create})".encode())
            self.made[table] = order
        self.session.execute(f"TRUNCATE {table}".encode())
        if rows:
            marks = ", ".join(["%s"] * len(names))
            self.session.cursor().executemany(
                f"INSERT INTO {table} VALUES ({marks})".encode(), arranged(rows, order)
            )
        return Side("pg", table=table), self.connection

    def close(self) -> None:
        self.session.execute(f"DROP SCHEMA {self.connection.schema} CASCADE".encode())
        self.session.close()


class MysqlHome:
    """A database of its own. Its TIMESTAMP begins in 1970 and it has no NaN and no infinity: the rows given
    are within that."""

    def __init__(self, server: Any, name: str) -> None:
        with server.connect() as c:
            c.cursor().execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        self.session = server.connect(name)
        self.session.cursor().execute("SET time_zone = '+00:00'")
        self.connection = Connection(
            "mysql", host="127.0.0.1", port=server.port, database=name, username="root"
        )

    def fill(self, table: str, rows: Sequence[Row], order: Sequence[int]) -> tuple[Side, Connection | None]:
        names, create = declared("mysql", order, "`")
        with self.session.cursor() as c:
            c.execute(f"CREATE OR REPLACE TABLE {table} ({create})")
            if rows:
                marks = ", ".join(["%s"] * len(names))
                plain = [tuple(map(self._value, row)) for row in arranged(rows, order)]
                c.executemany(f"INSERT INTO {table} VALUES ({marks})", plain)
        return Side("my", table=table), self.connection

    @staticmethod
    def _value(value: Any) -> Any:
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(UTC).replace(tzinfo=None)
        return value

    def close(self) -> None:
        self.session.close()
