"""The tables of the data-diff figures: `a`, and `b` with 0.1 % of rows changed in one column, 0.05 % gone and
0.05 % added. The same rows everywhere.

Twelve columns: id, integers, decimals, a float, texts (one of 41 bytes), a category, a time in microseconds,
a date, a boolean; 5 to 10 % NULLs. Every value is a function of the row's number, so any two databases that
are filled from here hold the same.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import duckdb


def _mixed(salt: int) -> str:
    return f"hash(i, {salt})"


def _often_null(salt: int, percent: int, value: str) -> str:
    return f"CASE WHEN {_mixed(salt)} % 100 < {percent} THEN NULL ELSE {value} END"


VALUES = {
    "c_int": _often_null(1, 5, f"CAST({_mixed(11)} % 1000000 AS INTEGER)"),
    "c_big": f"CAST({_mixed(12)} % 9000000000000 AS BIGINT)",
    "c_amount": _often_null(
        2, 5, f"CAST(CAST({_mixed(13)} % 999999999 AS DECIMAL(10, 0)) / 100 AS DECIMAL(12, 2))"
    ),
    "c_rate": f"CAST({_mixed(14)} % 999999999 AS DECIMAL(9, 0)) * CAST(0.000001 AS DECIMAL(9, 6))",
    "c_double": _often_null(3, 10, f"CAST({_mixed(15)} % 1000000000 AS DOUBLE) / 7"),
    "c_name": f"'user ' || ({_mixed(16)} % 100000)",
    "c_text": _often_null(4, 10, "md5(i::VARCHAR) || ' ' || left(md5((i + 1)::VARCHAR), 8)"),
    "c_category": f"['alpha', 'beta', 'gamma', 'delta', 'epsilon'][1 + ({_mixed(17)} % 5)::INTEGER]",
    "c_at": f"TIMESTAMP '2020-01-01' + to_microseconds(({_mixed(18)} % 150000000000000)::BIGINT)",
    "c_date": _often_null(5, 5, f"DATE '2015-01-01' + ({_mixed(19)} % 4000)::INTEGER"),
    "c_bool": f"{_mixed(20)} % 3 = 0",
}
CHANGED = {
    "c_int": "coalesce(c_int, 0) + 1",
    "c_big": "c_big + 1",
    "c_amount": "coalesce(c_amount, 0) + 0.01",
    "c_rate": "c_rate + 0.000001",
    "c_double": "coalesce(c_double, 0) + 0.5",
    "c_name": "c_name || 'x'",
    "c_text": "coalesce(c_text, '') || 'x'",
    "c_category": "'omega'",
    "c_at": "c_at + INTERVAL 1 MICROSECOND",
    "c_date": "coalesce(c_date, DATE '2000-01-01') + 1",
    "c_bool": "NOT c_bool",
}
POSTGRES = (
    "id bigint, c_int integer, c_big bigint, c_amount numeric(12,2), c_rate numeric(18,6), c_double double precision, "
    "c_name varchar, c_text text, c_category varchar, c_at timestamp, c_date date, c_bool boolean"
)
MYSQL = (
    "id bigint, c_int integer, c_big bigint, c_amount decimal(12,2), c_rate decimal(18,6), c_double double, "
    "c_name varchar(40), c_text varchar(60), c_category varchar(20), c_at datetime(6), c_date date, c_bool boolean"
)
ALIKE = "a.id = b.id"


def fill_duckdb(file: str, rows: int) -> tuple[int, int, int]:
    """Makes `a` and `b`; gives (rows changed, only in a, only in b), counted from how they were made."""
    chosen = "hash(id, 99)"
    edits = ", ".join(
        f"CASE WHEN {chosen} % 1000 = 7 AND hash(id, 98) % {len(VALUES)} = {n} THEN {CHANGED[name]} ELSE {name} END AS {name}"
        for n, name in enumerate(VALUES)
    )
    types = {"c_rate": "DECIMAL(18, 6)"}
    columns = ", ".join(
        f"CAST({v} AS {types[n]}) AS {n}" if n in types else f"{v} AS {n}" for n, v in VALUES.items()
    )
    with duckdb.connect(file) as c:
        c.execute(f"CREATE TABLE a AS SELECT i AS id, {columns} FROM range(1, {rows + 1}) t(i)")
        c.execute(f"CREATE TABLE b AS SELECT id, {edits} FROM a WHERE {chosen} % 2000 <> 3")
        c.execute(f"INSERT INTO b SELECT {rows} + id, * EXCLUDE (id) FROM a WHERE {chosen} % 2000 = 5")
        counts = c.execute(
            f"SELECT count(*) FILTER (WHERE {chosen} % 1000 = 7), count(*) FILTER (WHERE {chosen} % 2000 = 3), "
            f"count(*) FILTER (WHERE {chosen} % 2000 = 5) FROM a"
        ).fetchone()
    assert counts is not None
    return int(counts[0]), int(counts[1]), int(counts[2])


def fill_postgres(file: str, connection: Any, *, key: bool = True) -> None:
    """The same rows on PostgreSQL (a psycopg connection, autocommit), in the schema of its search path."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(file, read_only=True) as c:
        for table in "ab":
            path = Path(folder, table)
            c.execute(f"COPY {table} TO '{path}' (FORMAT csv, HEADER false)")
            connection.execute(f"CREATE TABLE {table} ({POSTGRES})")
            with (
                connection.cursor().copy(f"COPY {table} FROM STDIN (FORMAT csv)") as copy,
                path.open("rb") as data,
            ):
                while piece := data.read(1 << 20):
                    copy.write(piece)
            path.unlink()
            if key:
                connection.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")
            connection.execute(f"VACUUM ANALYZE {table}")


def by_hand(materialise: str = "CREATE TEMP TABLE by_hand AS ") -> str:
    """What a person would write: one full outer join that keeps the differing rows with both values."""
    both = ", ".join(f"a.{c} AS a_{c}, b.{c} AS b_{c}" for c in VALUES)
    differ = " OR ".join(f"a.{c} IS DISTINCT FROM b.{c}" for c in VALUES)
    return (
        f"{materialise}SELECT a.id AS a_id, b.id AS b_id, {both} FROM a FULL JOIN b ON {ALIKE} "
        f"WHERE a.id IS NULL OR b.id IS NULL OR {differ}"
    )
