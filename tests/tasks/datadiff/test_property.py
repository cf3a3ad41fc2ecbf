"""Random tables with random edits: the diff equals the oracle's, on DuckDB and inside PostgreSQL."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runyard.tasks.datadiff.diff import run
from runyard.tasks.datadiff.report import as_json
from runyard.tasks.datadiff.spec import Connection, Side, Spec

_file = Path(__file__).with_name("oracle.py")
_loaded = importlib.util.spec_from_file_location("datadiff_oracle", _file)
assert _loaded is not None and _loaded.loader is not None
oracle = importlib.util.module_from_spec(_loaded)
sys.modules["datadiff_oracle"] = oracle
_loaded.loader.exec_module(oracle)

COLUMNS = ("n", 'we"ird', "f", "m", "t", "ok", "d")
DECLARED = 'k1 integer, "K 2" {text}, n bigint, "we""ird" {text}, f {double}, m decimal(10,2), t timestamp, ok boolean, d date'
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cs",)), max_size=6
) | st.sampled_from(["", " ", "a,b", 'q"', "x\ny", "\r\n", "\\N", "NULL", "\\x41", "{}", "[1]"])
FLOATS = st.sampled_from([0.0, -0.0, float("nan"), float("inf"), -float("inf"), 0.1, 1e300, 5e-324, 1 / 3])
VALUES = st.tuples(
    st.none() | st.integers(-3, 3) | st.just(2**62),
    st.none() | TEXTS,
    st.none() | FLOATS,
    st.none() | st.decimals(-999, 999, places=2),
    st.none() | st.datetimes(),
    st.none() | st.booleans(),
    st.none() | st.dates(),
)
KEYS = st.tuples(
    st.sampled_from([0, 1, 2, 3, 4, 5, None]), st.sampled_from(["", "a", "A", "a ", "1", "11", None])
)
ROW = st.builds(lambda k, v: (*k, *v), KEYS, VALUES)
ROWS = st.lists(ROW, min_size=4, max_size=14) | st.lists(ROW, max_size=2)


@st.composite
def tables(draw: Any) -> tuple[list[Any], list[Any]]:
    """A table and an edited copy: rows dropped, doubled, changed in one cell, added."""
    a = draw(ROWS)
    b = []
    for row in a:
        match draw(st.sampled_from("===d2ccn")):
            case "d":
                continue
            case "2":
                b += [row, row]
            case "c":
                at = draw(st.integers(0, len(COLUMNS) - 1))
                b.append((*row[: 2 + at], draw(VALUES)[at], *row[3 + at :]))
            case "n":
                at = draw(st.integers(0, len(COLUMNS) - 1))
                b.append((*row[: 2 + at], None, *row[3 + at :]))
            case _:
                b.append(row)
    b += draw(st.lists(st.builds(lambda k, v: (*k, *v), KEYS, VALUES), max_size=4))
    return a, draw(st.permutations(b))


Fill = Callable[[list[Any], list[Any]], Connection]


@pytest.fixture(scope="module")
def in_duckdb(tmp_path_factory: pytest.TempPathFactory) -> Fill:
    file = tmp_path_factory.mktemp("duck") / "t.duckdb"

    def fill(a: list[Any], b: list[Any]) -> Connection:
        with duckdb.connect(str(file)) as c:
            for name, rows in (("prod", a), ("pr", b)):
                c.execute(
                    f"CREATE OR REPLACE TABLE {name} ({DECLARED.format(text='varchar', double='double')})"
                )
                if rows:
                    c.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * 9)})", rows)
        return Connection("duckdb", file=str(file))

    return fill


@pytest.fixture(scope="module")
def in_postgres(postgres_url: str) -> Iterator[Fill]:
    info = psycopg.conninfo.conninfo_to_dict(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as c:
        c.execute("CREATE SCHEMA diffprop")
        for name in ("prod", "pr"):
            c.execute(
                f"CREATE TABLE diffprop.{name} ({DECLARED.format(text='text', double='double precision')})"
            )

        def fill(a: list[Any], b: list[Any]) -> Connection:
            for name, rows in (("prod", a), ("pr", b)):
                c.execute(f"TRUNCATE diffprop.{name}")
                if rows:
                    c.cursor().executemany(
                        f"INSERT INTO diffprop.{name} VALUES ({', '.join(['%s'] * 9)})", rows
                    )
            return Connection(
                "postgres",
                host=str(info["host"]),
                port=int(info["port"] or 0),
                database=str(info["dbname"]),
                username=str(info["user"]),
                password=str(info.get("password") or ""),
                schema="diffprop",
            )

        yield fill
        c.execute("DROP SCHEMA diffprop CASCADE")


def check(fill: Fill, a: list[Any], b: list[Any]) -> None:
    connection = fill(a, b)
    spec = Spec(
        Side("c", table="prod"),
        Side("c", table="pr"),
        key=("k1", "k 2"),
        sample_rows=100,
        memory_bytes=200_000_000,
    )
    wanted = oracle.diff(a, b, 2, COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        report = run(spec, {"c": connection}, Path(folder), lambda tick: None)
        parquet = duckdb.sql(f"SELECT * FROM '{folder}/diff.parquet'").fetchall()
        statuses = [r[0] for r in parquet]
    found = as_json(report)
    assert found["pks"] == wanted["pks"]
    assert found["values"]["total_rows"] == wanted["total_rows"]
    assert found["values"]["rows_with_differences"] == len(wanted["changed"])
    stats = found["values"]["columns_diff_stats"]
    assert [c["values_different"] for c in stats] == wanted["per_column"]

    def key(sample: dict[str, Any]) -> tuple[int, str]:
        return int(sample["key"]["k1"]), sample["key"]["K 2"]

    assert {key(s): set(s["columns"]) for s in found["samples"]["changed"]} == wanted["changed"]
    assert [{key(s) for s in side} for side in found["samples"]["exclusive"]] == wanted["only"]
    assert [statuses.count(s) for s in ("changed", "only_a", "only_b")] == [
        len(wanted["changed"]),
        *(len(side) for side in wanted["only"]),
    ]
    clean = not any(wanted["pks"]["nulls"] + wanted["pks"]["dupes"])
    same = clean and not wanted["changed"] and not any(wanted["only"])
    assert report.equal is same
    for row in parquet:  # a float that differs arrives as the number it is
        a_f, b_f, differs = row[9], row[10], row[11]
        assert not differs or oracle.canonical(a_f) != oracle.canonical(b_f)


checked = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@checked
@given(tables())
def test_duckdb_finds_what_the_oracle_finds(in_duckdb: Fill, pair: tuple[list[Any], list[Any]]) -> None:
    check(in_duckdb, *pair)


@pytest.mark.postgres
@checked
@given(tables())
def test_postgres_finds_what_the_oracle_finds(in_postgres: Fill, pair: tuple[list[Any], list[Any]]) -> None:
    check(in_postgres, *pair)


def test_the_oracle_tells_signed_zeros_and_nans_alike() -> None:
    one = (1, "a", 0, "", -0.0, Decimal(1), None, None, None)
    other = (1, "a", 0, "", 0.0, Decimal("1.00"), None, None, None)
    assert oracle.diff([one], [other], 2, COLUMNS)["changed"] == {}
