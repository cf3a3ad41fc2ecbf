"""`python -m bench.datadiff [ROWS] [POSTGRES_URL]`: the data diff against the bare full-outer-join count in the same database, same run.

Ours does everything a report needs (key counts of both sides, the join, per-column counts, samples, Parquet) in a fresh process's session; the floor
is one `SELECT count(*)` over the same full outer join with no condition on values. Medians of three, taken in turns.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from bench.figures import Figure
from runyard.tasks.datadiff.diff import run
from runyard.tasks.datadiff.spec import Connection, Side, Spec

ROUNDS = 3
COLUMNS = """i AS id, CAST(i % 1000 AS integer) AS n, i * 7 AS b, CAST((i % 99999) / 100.0 AS decimal(12, 2)) AS m,
CAST(i * 1.000001 AS decimal(18, 6)) AS p, CAST(i / 3.0 AS double precision) AS x, 'name' || i AS s, 'cat' || (i % 10) AS cat,
md5(CAST(i AS varchar)) AS t, CAST('2020-01-01' AS date) + CAST(i % 1000 AS integer) AS d, i % 2 = 0 AS f,
CASE WHEN i % 20 = 0 THEN NULL ELSE 'v' || (i % 77) END AS u"""
FLOOR = "SELECT count(*) FROM a FULL JOIN b ON a.id = b.id"


def tables(rows: int) -> list[str]:
    """a, and b with 0.1 % of rows changed in one column, 0.05 % added and 0.05 % gone."""
    changed = "CASE WHEN id % 1000 = 7 THEN n + 1 ELSE n END"
    rest = "b, m, p, x, s, cat, t, d, f, u"
    return [
        f"CREATE TABLE a AS SELECT {COLUMNS} FROM generate_series(1, {rows}) AS g(i)",
        f"CREATE TABLE b AS SELECT id, {changed} AS n, {rest} FROM a WHERE id % 2000 <> 3 UNION ALL "
        f"SELECT -id, n, {rest} FROM a WHERE id % 2000 = 5",
    ]


def measure(
    name: str, connection: Connection, floor: Callable[[], object], rows: int, limit: float, memory_bytes: int
) -> Figure:
    """Ours and the floor in turns."""
    ours: list[float] = []
    bare: list[float] = []
    spec = Spec(Side("c", table="a"), Side("c", table="b"), key=("id",), memory_bytes=memory_bytes)
    for _ in range(ROUNDS):
        bare.append(_seconds(floor))
        with tempfile.TemporaryDirectory() as folder:
            ours.append(_seconds(lambda: _checked(spec, connection, Path(folder), rows)))
    mine, least = statistics.median(ours), statistics.median(bare)
    return Figure(
        f"{name}, {rows:,} rows, 12 columns",
        f"{mine:.2f} s",
        f"{least:.2f} s  full join count",
        mine / least,
        limit,
    )


def _checked(spec: Spec, connection: Connection, folder: Path, rows: int) -> None:
    found = run(spec, {"c": connection}, folder, lambda tick: None)
    assert (found.changed_rows, found.exclusive_keys) == (rows // 1000, (rows // 2000, rows // 2000))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_duckdb(rows: int) -> list[Figure]:
    """With memory to spare, and with 1 GB."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "bench.duckdb")
        with duckdb.connect(file) as c:
            for statement in tables(rows):
                c.execute(statement)

        def floor() -> object:
            with duckdb.connect(file, read_only=True) as c:
                return c.execute(FLOOR).fetchall()

        place = Connection("duckdb", file=file)
        return [
            measure("data diff, DuckDB", place, floor, rows, 12, 8_000_000_000),
            measure("data diff, DuckDB, 1 GB", place, floor, rows, 20, 1_000_000_000),
        ]


def in_postgres(url: str, rows: int) -> list[Figure]:
    """In a schema of its own, dropped afterwards; no index, as dbt builds tables."""
    import psycopg

    info = psycopg.conninfo.conninfo_to_dict(url)
    with psycopg.connect(url, autocommit=True) as c:
        c.execute("CREATE SCHEMA bench_datadiff")
        try:
            c.execute("SET search_path = bench_datadiff")
            for statement in [*tables(rows), "ANALYZE a", "ANALYZE b", "SET work_mem = '128MB'"]:
                c.execute(statement)  # type: ignore[arg-type]
            place = Connection(
                "postgres",
                host=str(info.get("host", "")),
                port=int(info.get("port") or 5432),
                database=str(info.get("dbname", "")),
                username=str(info.get("user", "")),
                password=str(info.get("password") or ""),
                schema="bench_datadiff",
            )
            return [
                measure(
                    "data diff, PostgreSQL",
                    place,
                    lambda: c.execute(FLOOR).fetchall(),
                    rows,
                    6,
                    1_000_000_000,
                )
            ]
        finally:
            c.execute("DROP SCHEMA bench_datadiff CASCADE")


def main(arguments: list[str]) -> None:
    """Prints the figures."""
    rows = int(arguments[0]) if arguments else 1_000_000
    found = in_duckdb(rows)
    if len(arguments) > 1:
        found += in_postgres(arguments[1], rows)
    for figure in found:
        print(
            f"{figure.name:<58}{figure.ours:>12}  {figure.floor:<34}{figure.ratio:>7.2f}  ≤ {figure.limit:g}"
        )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
