"""Random tables with random edits: the diff equals a naive one in Python, in every pairing of engines,
whatever the columns' order.

A pairing with MariaDB or a CSV draws values that these can hold: MariaDB has no NaN and no infinity and its
TIMESTAMP begins in 1970. BigQuery, Databricks and Redshift are stood in for (`warehouse_homes`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runyard.tasks.datadiff.diff import run
from runyard.tasks.datadiff.report import as_json
from runyard.tasks.datadiff.spec import Connection, Side, Spec
from tests.tasks.datadiff import oracle
from tests.tasks.datadiff.conftest import postgres_connection
from tests.tasks.datadiff.homes import COLUMNS, CsvHome, DuckHome, Home, MysqlHome, PostgresHome
from tests.tasks.datadiff.warehouse_homes import RedshiftHome, WarehouseHome

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cs",)), max_size=6
) | st.sampled_from(
    ["", " ", "a,b", 'q"', "x\ny", "\r\n", "\\N", "NULL", "\\x41", "{}", "[1]", "ß", "é", "e\u0301"]
)
ODD = st.sampled_from([float("nan"), float("inf"), -float("inf")])
FLOATS = st.sampled_from(
    [0.0, -0.0, 0.1, 1e300, 5e-324, 1 / 3, 78350217.57142857, 0.1 + 0.2, 1e16, 123456789.123456789]
)
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2037, 12, 31))  # noqa: DTZ001 - zones are given below
KEYS = st.tuples(
    st.sampled_from([0, 1, 2, 3, 4, 5, None]), st.sampled_from(["", "a", "A", "a ", "1", "11", None])
)


def values(*, narrow: bool) -> st.SearchStrategy[tuple[Any, ...]]:
    """A row without its key; `narrow` for MariaDB."""
    return st.tuples(
        st.none() | st.integers(-3, 3) | st.just(2**62),
        st.none() | TEXTS,
        st.none() | (FLOATS if narrow else FLOATS | ODD),
        st.none() | st.decimals(-999, 999, places=2),
        st.none() | (MOMENTS if narrow else st.datetimes()),
        st.none() | MOMENTS.map(lambda m: m.replace(tzinfo=UTC)),
        st.none() | st.booleans(),
        st.none() | (st.dates(date(1000, 1, 1)) if narrow else st.dates()),
    )


@st.composite
def tables(draw: Any, narrow: bool) -> tuple[list[Any], list[Any], tuple[int, ...]]:
    """A table, an edited copy (rows dropped, doubled, changed in one cell, added), and an order for the
    copy's columns."""
    row_values = values(narrow=narrow)
    row = st.builds(lambda k, v: (*k, *v), KEYS, row_values)
    a = draw(st.lists(row, min_size=4, max_size=14) | st.lists(row, max_size=2))
    b = []
    for one in a:
        match draw(st.sampled_from("===d2ccn")):
            case "d":
                continue
            case "2":
                b += [one, one]
            case "c":
                at = draw(st.integers(0, len(COLUMNS) - 1))
                b.append((*one[: 2 + at], draw(row_values)[at], *one[3 + at :]))
            case "n":
                at = draw(st.integers(0, len(COLUMNS) - 1))
                b.append((*one[: 2 + at], None, *one[3 + at :]))
            case _:
                b.append(one)
    b += draw(st.lists(row, max_size=4))
    same = tuple(range(len(COLUMNS)))
    return a, draw(st.permutations(b)), draw(st.sampled_from([same, same, tuple(reversed(same))]))


@pytest.fixture(scope="module")
def homes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Makes a home when it is first asked for."""
    made: dict[str, Home] = {}

    def home(name: str) -> Home:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            match name:
                case "postgres":
                    url = request.getfixturevalue("postgres_url")
                    made[name] = PostgresHome(url, postgres_connection(url, f"diffprop_{folder.name}"))
                case "mariadb":
                    made[name] = MysqlHome(request.getfixturevalue("mariadb"), "diffprop")
                case "redshift":
                    url = request.getfixturevalue("postgres_url")
                    made[name] = RedshiftHome(url, postgres_connection(url, f"diffprop_{folder.name}"))
                case "bigquery" | "databricks":
                    made[name] = WarehouseHome(name)
                case "csv":
                    made[name] = CsvHome(folder)
                case _:
                    made[name] = DuckHome(folder, parquet=name == "parquet")
        return made[name]

    yield home
    for one in made.values():
        if isinstance(one, PostgresHome | MysqlHome | WarehouseHome):
            one.close()


PAIRINGS = [
    ("duckdb", "duckdb"),
    ("postgres", "postgres"),
    ("mariadb", "mariadb"),
    ("parquet", "parquet"),
    ("csv", "duckdb"),
    ("postgres", "duckdb"),
    ("postgres", "mariadb"),
    ("mariadb", "duckdb"),
    ("mariadb", "csv"),
    ("parquet", "postgres"),
    ("parquet", "duckdb"),
    ("mariadb", "parquet"),
    ("postgres", "csv"),
    ("csv", "parquet"),
    ("csv", "csv"),
    ("bigquery", "bigquery"),
    ("databricks", "databricks"),
    ("redshift", "redshift"),
    ("bigquery", "parquet"),
]
MARKED = [
    pytest.param(p, marks=pytest.mark.postgres if {"postgres", "redshift"} & {*p} else (), id="-".join(p))
    for p in PAIRINGS
]
QUICK = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LONG = settings(QUICK, max_examples=250)


@pytest.mark.parametrize("pairing", MARKED)
def test_the_diff_is_the_naive_one(homes: Any, pairing: tuple[str, str]) -> None:
    QUICK(given(tables("mariadb" in pairing))(lambda case: check(homes, pairing, case)))()


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("pairing", MARKED)
def test_the_diff_is_the_naive_one_many_times(homes: Any, pairing: tuple[str, str]) -> None:
    LONG(given(tables("mariadb" in pairing))(lambda case: check(homes, pairing, case)))()


def check(homes: Any, pairing: tuple[str, str], case: tuple[list[Any], list[Any], tuple[int, ...]]) -> None:
    """Fills both homes, compares, and looks at every number and every sample."""
    a, b, order = case
    same = tuple(range(len(COLUMNS)))
    filled = [
        homes(pairing[0]).fill("prod", a, same),
        homes(pairing[1]).fill("pr", b, order),
    ]
    connections: dict[str, Connection] = {s.connection: c for s, c in filled if c is not None}
    if all(c is not None and c.dialect == "duckdb" for _, c in filled):
        connections = {"duck": filled[0][1]}  # type: ignore[dict-item]
    compare(filled[0][0], filled[1][0], connections, oracle.diff(a, b, 2, COLUMNS), order == same)


def compare(
    a: Side, b: Side, connections: dict[str, Connection], wanted: dict[str, Any], ordered: bool
) -> None:
    spec = Spec(a, b, key=("k1", "k 2"), sample_rows=100, profiles=True, memory_bytes=200_000_000)
    with tempfile.TemporaryDirectory() as folder:
        report = run(spec, connections, Path(folder), lambda tick: None)
        parquet = duckdb.sql(f"SELECT _status FROM '{folder}/diff.parquet'").fetchall()
    found = as_json(report)
    statuses = [r[0] for r in parquet]
    assert found["schema"]["column_type_differs"] == []
    assert found["pks"] == wanted["pks"]
    assert found["duplicates"] == wanted["duplicates"]
    assert found["column_profiles"], found["warnings"]
    for side, profile in zip(("t1", "t2"), wanted["profiles"], strict=True):
        told = found["column_profiles"][side]["columns"]
        assert {name: {what: told[name][what] for what in one} for name, one in profile.items()} == profile
    assert found["values"]["total_rows"] == wanted["total_rows"]
    stats = {c["column_name"]: c["values_different"] for c in found["values"]["columns_diff_stats"]}
    assert stats == dict(zip(COLUMNS, wanted["per_column"], strict=True))
    assert found["values"]["rows_with_differences"] == len(wanted["changed"])

    def key(sample: dict[str, Any]) -> tuple[int, str]:
        return int(sample["key"]["k1"]), sample["key"]["K 2"]

    assert {key(s): set(s["columns"]) for s in found["samples"]["changed"]} == wanted["changed"]
    assert [{key(s) for s in side} for side in found["samples"]["exclusive"]] == wanted["only"]
    assert [statuses.count(s) for s in ("changed", "only_a", "only_b")] == [
        len(wanted["changed"]),
        *(len(side) for side in wanted["only"]),
    ]
    clean = not any(wanted["pks"]["nulls"] + wanted["pks"]["dupes"])
    same = clean and ordered and not wanted["changed"] and not any(wanted["only"])
    assert report.equal is same


def test_the_oracle_tells_signed_zeros_and_nans_alike() -> None:
    one = (1, "a", 0, "", -0.0, Decimal(1), None, None, None, None)
    other = (1, "a", 0, "", 0.0, Decimal("1.00"), None, None, None, None)
    assert oracle.diff([one], [other], 2, COLUMNS)["changed"] == {}
