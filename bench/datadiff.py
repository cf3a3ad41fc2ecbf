"""`python -m bench.datadiff [duckdb|postgres|across|growth|server|rivals …]`: the data diff beside what a
person would write by hand, in one run.

The floor is one hand-written full outer join that keeps the differing rows (`datadiff_tables.by_hand`): what
ours does more is the key counts of both sides, per-column counts, samples and the Parquet file. Each figure
is the best of N on both sides, in turns. PostgreSQL is a private cluster of its own; reladiff runs in
`.venv-oracles` (scripts/oracles.sh), in a process per diff, on the same tables.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from bench.datadiff_tables import VALUES, by_hand, fill_duckdb, fill_postgres
from bench.figures import Figure
from runyard.tasks.datadiff.diff import run
from runyard.tasks.datadiff.report import Report
from runyard.tasks.datadiff.spec import Connection, Side, Spec

ROUNDS = 5
ORACLES = Path(__file__).parents[1] / ".venv-oracles" / "bin" / "python"
GIGABYTE = 1_000_000_000
Counts = tuple[int, int, int]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def best(*works: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """The best time of each, taken in turns."""
    times = [[_seconds(work) for work in works] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]


def diff(a: Connection, b: Connection, wanted: Counts, memory: int = 8 * GIGABYTE) -> Callable[[], Report]:
    """A whole diff of tables `a` and `b`, checked."""

    def work() -> Report:
        spec = Spec(Side("a", table="a"), Side("b", table="b"), key=("id",), memory_bytes=memory)
        with tempfile.TemporaryDirectory() as folder:
            found = run(spec, {"a": a, "b": b}, Path(folder), lambda tick: None)
        assert (found.changed_rows, *found.exclusive_rows) == wanted, found
        assert found.key.columns == ("id",)
        return found

    return work


def figure(name: str, ours: float, floor: float, what: str, limit: float) -> Figure:
    """Ours as a ratio of the floor."""
    return Figure(name, f"{ours:.2f} s", f"{floor:.2f} s  {what}", ours / floor, limit)


@contextmanager
def tables(rows: int) -> Iterator[tuple[str, Counts]]:
    """A DuckDB file with both tables."""
    with tempfile.TemporaryDirectory(prefix="runyard-bench-") as folder:
        file = str(Path(folder, "bench.duckdb"))
        yield file, fill_duckdb(file, rows)


@contextmanager
def postgres() -> Iterator[tuple[Connection, psycopg.Connection[Any]]]:
    """A private cluster with room for the tables."""
    from tests.conftest import Cluster, _postgres_bin

    binaries = _postgres_bin()
    if binaries is None:
        raise RuntimeError("no PostgreSQL server: install Debian's postgresql package")
    cluster = Cluster(binaries)
    try:
        with psycopg.connect(cluster.url, autocommit=True) as c:
            c.execute("SET work_mem = '128MB'")
            where = Connection(
                "postgres", host="127.0.0.1", port=cluster.port, database="postgres", username="runyard"
            )
            yield where, c
    finally:
        cluster.remove()


def in_duckdb(rows: int = 10_000_000, rounds: int = ROUNDS) -> list[Figure]:
    """With memory to spare, and with 1 GB; the floor has memory to spare in both."""
    with tables(rows) as (file, counts):

        def floor() -> None:
            with duckdb.connect(file, read_only=True, config={"preserve_insertion_order": "false"}) as c:
                c.execute(by_hand())

        place = Connection("duckdb", file=file)
        ours, capped, hand = best(
            diff(place, place, counts), diff(place, place, counts, GIGABYTE), floor, rounds=rounds
        )
        name = f"data diff in DuckDB, {rows:,} x 12"
        return [
            figure(name, ours, hand, "the join by hand", 1.5),
            figure(f"{name}, 1 GB", capped, hand, "the join by hand, no cap", 2.3),
        ]


def in_postgres(rows: int = 1_000_000) -> list[Figure]:
    """Inside PostgreSQL, with a primary key; and across to DuckDB, beside fetching the table once."""
    with tables(rows) as (file, counts), postgres() as (where, c):
        fill_postgres(file, c)

        def floor() -> None:
            c.execute(by_hand().encode())
            c.execute("DROP TABLE by_hand")

        def fetch_once() -> None:
            with duckdb.connect() as d, tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "a.csv")
                with c.cursor().copy("COPY a TO STDOUT (FORMAT csv)") as copy, path.open("wb") as out:
                    for piece in copy:
                        out.write(piece)
                types = d.execute(f"ATTACH '{file}' AS f (READ_ONLY); DESCRIBE f.a").fetchall()
                declared = ", ".join(f"'{t[0]}': '{t[1]}'" for t in types)
                d.execute(
                    f"CREATE TABLE a AS SELECT * FROM read_csv('{path}', header = false, columns = {{{declared}}})"
                )

        duck = Connection("duckdb", file=file)
        ours, hand, across, once = best(
            diff(where, where, counts), floor, diff(where, duck, counts), fetch_once
        )
        none = diff(where, duck, counts)().changed_rows - counts[0]
        assert none == 0
        return [
            figure(f"data diff in PostgreSQL, {rows:,} x 12", ours, hand, "the join by hand", 1.3),
            figure(f"data diff PostgreSQL - DuckDB, {rows:,} x 12", across, once, "table fetched once", 2.0),
        ]


def growth(small: int = 100_000, large: int = 10_000_000) -> list[Figure]:
    """The exponent of time over rows between two sizes."""
    times = []
    for rows in (small, large):
        with tables(rows) as (file, counts):
            place = Connection("duckdb", file=file)
            times += best(diff(place, place, counts), rounds=3)
    exponent = math.log(times[1] / times[0]) / math.log(large / small)
    name = f"growth of a data diff, {small:,} to {large:,} rows"
    return [Figure(name, f"{times[1]:.2f} s", f"{times[0]:.2f} s  the small one", exponent, 1.0)]


def rival(
    kind: str, where: str | dict[str, str], options: dict[str, bool] | None = None
) -> Callable[[], object]:
    """One run of reladiff in a process of its own; it does not know DATE in DuckDB, so hashdiff goes without
    that column."""
    columns = [name for name in VALUES if kind == "joindiff" or name != "c_date"]
    wish = {
        "tool": "reladiff",
        "a": where,
        "b": where,
        "table_a": "a",
        "table_b": "b",
        "key": "id",
        "columns": columns,
    }
    script = Path(__file__).parents[1] / "tests/tasks/datadiff/rival.py"

    def work() -> None:
        asked = json.dumps([wish | {"algorithm": kind, "options": options or {}}])
        done = subprocess.run(
            [ORACLES, str(script)], input=asked, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-1000:])

    return work


def processor_seconds(work: Callable[[], object]) -> float:
    """User and system time of the processes that it starts: steadier than the clock on a busy machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def program(file: str) -> Callable[[], None]:
    """`runyard diff` as a process, so that starting Python counts on our side too."""

    def work() -> None:
        argv = [
            sys.executable,
            "-m",
            "runyard",
            "diff",
            f"duckdb://{file}?table=a",
            f"duckdb://{file}?table=b",
        ]
        done = subprocess.run([*argv, "--key", "id", "--output", "json"], capture_output=True, check=False)
        assert done.returncode == 1, done.stderr

    return work


def rivals(rows: int = 1_000_000) -> list[Figure]:
    """Against reladiff's joindiff and hashdiff; whole processes on both sides."""
    if not ORACLES.exists():
        raise RuntimeError("reladiff is not here: bash scripts/oracles.sh")
    found = []
    with tables(rows) as (file, _), postgres() as (where, c):
        fill_postgres(file, c)
        url = {"driver": "duckdb", "filepath": file}
        ours, join = best(program(file), rival("joindiff", url))
        hash = best(rival("hashdiff", url, {"skip_sort_results": True}), rounds=1)[0]
        found.append(
            Figure(
                "reladiff joindiff over ours, DuckDB",
                f"{ours:.2f} s",
                f"{join:.2f} s",
                join / ours,
                2.5,
                True,
            )
        )
        found.append(
            Figure(
                "reladiff hashdiff over ours, DuckDB", f"{ours:.2f} s", f"{hash:.2f} s", hash / ours, 17, True
            )
        )
        mine, theirs = processor_seconds(program(file)), processor_seconds(rival("joindiff", url))
        found.append(
            Figure("the same, processor time", f"{mine:.2f} s", f"{theirs:.2f} s", theirs / mine, 2.5, True)
        )
        address = f"postgresql://runyard@127.0.0.1:{where.port}/postgres"
        argv = [
            sys.executable,
            "-m",
            "runyard",
            "diff",
            f"{address}?table=a",
            f"{address}?table=b",
            "--key",
            "id",
        ]

        def in_pg() -> None:
            assert subprocess.run(argv, capture_output=True, check=False).returncode == 1

        ours, join = best(in_pg, rival("joindiff", address.replace("@", ":x@")))
        found.append(
            Figure(
                "reladiff joindiff over ours, PostgreSQL",
                f"{ours:.2f} s",
                f"{join:.2f} s",
                join / ours,
                3,
                True,
            )
        )
    return found


def over_the_server(rows: int = 1_000_000) -> list[Figure]:
    """A diff as a CI run over `runyard diff` of the same tables: at most 0.3 s and 5 % more."""
    from bench.live import TOKEN, server

    with tables(rows) as (file, counts), server(2) as live:
        import http.client

        def call(method: str, path: str, body: object = None) -> Any:
            c = http.client.HTTPConnection(live.host, timeout=120)
            data = json.dumps(body) if body is not None else None
            headers = {"Authorization": f"Key {TOKEN}", "Content-Type": "application/json"}
            c.request(method, f"/api/v1{path}", data, headers)
            answer = json.loads(c.getresponse().read())
            c.close()
            return answer

        source = call(
            "POST", "/data_sources", {"name": "bench", "type": "duckdb", "options": {"path": file}}
        )["id"]
        body = {
            "data_source1_id": source,
            "data_source2_id": source,
            "table1": ["a"],
            "table2": ["b"],
            "pk_columns": ["id"],
        }

        def over() -> None:
            made = call("POST", "/datadiffs", body)
            while not made["done"]:
                time.sleep(0.05)  # asking more often would take the processor from the diff
                made = call("GET", f"/datadiffs/{made['id']}")
            assert made["diff_stats"]["diff_rows_count"] == counts[0], made

        ours, alone = best(over, program(file))
        limit = (0.3 + 1.05 * alone) / alone
        return [figure(f"data diff as a CI run, {rows:,} x 12", ours, alone, "runyard diff", limit)]


SUITES: dict[str, Callable[[], list[Figure]]] = {
    "duckdb": in_duckdb,
    "postgres": in_postgres,
    "growth": growth,
    "server": over_the_server,
    "rivals": rivals,
}


def main(names: list[str]) -> int:
    """Prints the figures; 1 when one misses its limit."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    missed = 0
    for name in names or SUITES:
        for one in SUITES[name]():
            missed += not one.holds
            sign = "≥" if one.higher else "≤"
            mark = "" if one.holds else "  MISSED"
            print(
                f"{one.name:<58}{one.ours:>10}  {one.floor:<36}{one.ratio:>7.2f}  {sign} {one.limit:.3g}{mark}",
                flush=True,
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
