"""Results as tables of a data source: what is in them, under which types, and that a data source that does
not take them spoils nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import psycopg
import pytest

from runyard.tasks.datadiff.diff import run
from runyard.tasks.datadiff.report import as_json
from runyard.tasks.datadiff.spec import Connection, Materialize, Sampling, Side, Spec
from tests.tasks.datadiff.conftest import Place, quiet

WISH = Materialize("c", "scratch", "d1")
LONG = "x" * 70
TABLES = (
    f'CREATE TABLE prod (id integer, "we""ird" numeric(10,2), s text, t timestamptz, raw bytea, f double, {LONG} integer)',
    "INSERT INTO prod VALUES (1, 1.50, NULL, '2026-01-01 00:00:00+00', '\\x00ff', 'NaN', 1), (2, 2, '', NULL, NULL, 1, 2), "
    "(3, 3, 'a,\"b\n\\', NULL, NULL, 1, 3), (4, 4, 'd', NULL, NULL, 1, 4), (4, 4, 'd', NULL, NULL, 1, 4)",
    "CREATE TABLE pr AS SELECT * FROM prod WHERE id <> 3",
    f"UPDATE pr SET \"we\"\"ird\" = 1.75, s = '', t = '2026-01-02 00:00:00+00', {LONG} = 7 WHERE id = 1",
)


def _rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as c:
        c.execute("SET timezone = 'UTC'")
        return c.execute(sql).fetchall()  # type: ignore[call-overload, no-any-return]


@pytest.mark.postgres
def test_postgres_keeps_its_own_results_under_their_types(in_pg: Place) -> None:
    in_pg.sql("CREATE SCHEMA scratch", *TABLES)
    found = in_pg.diff(key=("id",), materialize=WISH)
    assert found["warnings"] == []
    assert found["materialized"]["exclusives"] == [{"connection": "c", "path": ["scratch", "d1_exclusives"], "is_sampled": False}]  # fmt: skip
    ((changed),) = _rows(in_pg.url, "SELECT * FROM scratch.d1_diff")
    assert (changed[0], str(changed[1]), str(changed[2]), changed[3]) == (1, "1.50", "1.75", True)
    assert changed[4:7] == (None, "", True)
    assert [str(t)[:10] for t in changed[7:9]] == ["2026-01-01", "2026-01-02"]
    assert changed[10:12] == ("\\x00ff", "\\x00ff")  # as PostgreSQL writes bytes as text
    assert str(changed[13]) == "nan"
    assert changed[16:] == (1, 7, True)
    only = _rows(in_pg.url, 'SELECT _side, id, "we""ird", s FROM scratch.d1_exclusives')
    assert [(*row[:2], str(row[2]), row[3]) for row in only] == [("A", 3, "3.00", 'a,"b\n\\')]
    for n in (1, 2):
        rows = _rows(in_pg.url, f'SELECT id, "we""ird", s, f FROM scratch.d1_duplicates{n}')
        assert [tuple(map(str, row)) for row in rows] == [("4", "4.00", "d", "1.0")] * 2
    in_pg.diff(key=("id",), materialize=WISH)  # once more, as a retried job does
    assert _rows(in_pg.url, "SELECT count(*) FROM scratch.d1_diff") == [(1,)]


BOTH = msgspec.structs.replace(WISH, dataset1=True, dataset2=True)


@pytest.mark.postgres
def test_a_sides_rows_are_written_as_the_diff_read_them(in_pg: Place) -> None:
    in_pg.sql("CREATE SCHEMA scratch", *TABLES, "ALTER TABLE pr RENAME COLUMN s TO text")
    sides = [Side("c", table=t, filter="id > 1") for t in ("prod", "pr")]
    fields: dict[str, Any] = {"key": ("id",), "mapping": (("s", "text"),), "exclude": ("raw",)}
    one = in_pg.diff(*sides, **fields, materialize=msgspec.structs.replace(BOTH, dataset1=False))
    assert ("dataset1" in one["materialized"], "dataset2" in one["materialized"]) == (False, True)
    found = in_pg.diff(*sides, **fields, materialize=BOTH)
    assert found["warnings"] == []
    assert found["materialized"]["dataset1"] == [{"connection": "c", "path": ["scratch", "d1_dataset1"], "is_sampled": False}]  # fmt: skip
    ours = _rows(in_pg.url, "SELECT * FROM scratch.d1_dataset1 ORDER BY id")
    assert ours == _rows(
        in_pg.url, f'SELECT id, "we""ird", s, t, f, {LONG} FROM prod WHERE id > 1 ORDER BY id'
    )
    theirs = _rows(in_pg.url, "SELECT id, text FROM scratch.d1_dataset2 ORDER BY id")
    assert theirs == [(2, ""), (4, "d"), (4, "d")]  # duplicates too


@pytest.mark.postgres
@pytest.mark.parametrize("algorithm", ["fetch_and_join", "hash"])
def test_both_sides_are_written_whole_across_databases(in_pg: Place, in_duck: Place, algorithm: Any) -> None:
    """By checksums too, which fetch a part of the rows only."""
    in_pg.sql(
        "CREATE SCHEMA scratch",
        "CREATE TABLE prod AS SELECT i AS id, i % 7 AS v FROM generate_series(1, 20000) AS g(i)",
    )
    in_duck.sql(
        "CREATE TABLE pr AS SELECT i::INTEGER AS id, (i % 7 + (i = 9)::INT)::INTEGER AS v, [i] AS l, i::HUGEINT << 90 AS h, "
        "INTERVAL 1 DAY AS d, '\\xFF'::BLOB AS raw FROM range(1, 20001) r(i)"
    )
    spec = Spec(
        Side("c", table="prod"), Side("d", table="pr"), key=("id",), algorithm=algorithm, materialize=BOTH
    )
    found = as_json(run(spec, {"c": in_pg.connection, "d": in_duck.connection}, in_duck.work, quiet))
    assert found["rows"]["changed"] == 1
    assert [w for w in found["warnings"] if "Checksums" not in w] == []
    sums = "SELECT count(*), sum(id), sum(v) FROM "
    assert _rows(in_pg.url, sums + "scratch.d1_dataset1") == _rows(in_pg.url, sums + "prod")
    ((rows, ids, values),) = _rows(in_pg.url, sums + "scratch.d1_dataset2")
    assert (rows, ids, values) == (20000, 200010000, _rows(in_pg.url, "SELECT sum(v) + 1 FROM prod")[0][0])


@pytest.mark.postgres
def test_only_rows_whose_key_is_not_alone_on_their_side_are_duplicates(in_pg: Place, in_duck: Place) -> None:
    in_pg.sql("CREATE SCHEMA scratch")
    in_duck.sql(
        "CREATE TABLE prod AS SELECT * FROM (VALUES (1, 'a'), (1, 'b'), (2, 'c'), (NULL, 'd'), (NULL, 'd')) t(id, s)",
        "CREATE TABLE pr AS SELECT * FROM (VALUES (1, 'a'), (2, 'c')) t(id, s)",
    )
    spec = Spec(Side("d", table="prod"), Side("d", table="pr"), key=("id",), materialize=WISH)
    found = as_json(run(spec, {"c": in_pg.connection, "d": in_duck.connection}, in_duck.work, quiet))
    assert found["warnings"] == []
    assert _rows(in_pg.url, "SELECT id, s FROM scratch.d1_duplicates1 ORDER BY s") == [(1, "a"), (1, "b")]
    assert _rows(in_pg.url, "SELECT count(id), count(s) FROM scratch.d1_duplicates2") == [(0, 0)]


@pytest.mark.postgres
def test_values_that_parquet_or_the_destination_does_not_bear_are_texts(in_pg: Place, in_duck: Place) -> None:
    in_pg.sql("CREATE SCHEMA scratch")
    in_duck.sql(
        "CREATE TABLE prod AS SELECT i AS id, [i, 2] AS l, i::HUGEINT << 90 AS h, 170141183460469231731687303715884105727::HUGEINT AS hh, "
        "INTERVAL 1 DAY AS d, unhex('00FF') AS raw, '1010'::BIT AS b, {'x': i} AS o, 'z'::ENUM('z') AS e FROM range(1, 2) r(i)",
        "CREATE TABLE pr AS SELECT * FROM prod",
    )
    spec = Spec(Side("d", table="prod"), Side("d", table="pr"), key=("id",), materialize=BOTH)
    found = as_json(run(spec, {"c": in_pg.connection, "d": in_duck.connection}, in_duck.work, quiet))
    assert (found["result"], found["warnings"]) == ("identical", [])
    ((row),) = _rows(in_pg.url, "SELECT * FROM scratch.d1_dataset1")
    assert [str(v) for v in row] == ["1", "[1, 2]", str(1 << 90), str(2**127 - 1), "1 day", "00FF", "1010", "{'x': 1}", "z"]  # fmt: skip


@pytest.mark.postgres
def test_a_sample_says_that_it_is_one(in_pg: Place) -> None:
    in_pg.sql(
        "CREATE SCHEMA scratch",
        "CREATE TABLE prod AS SELECT i AS id, i AS v FROM generate_series(1, 500) AS g(i)",
        "CREATE TABLE pr AS SELECT id, -v AS v FROM prod",
    )
    found = in_pg.diff(key=("id",), materialize=WISH, sampling=Sampling(ratio=0.5))
    assert [found["materialized"][t][0]["is_sampled"] for t in ("diff", "exclusives")] == [True, False]
    ((kept,),) = _rows(in_pg.url, "SELECT count(*) FROM scratch.d1_diff")
    assert kept == found["rows"]["changed"] < 500


@pytest.mark.postgres
def test_what_cannot_be_written_is_a_warning_and_leaves_nothing(in_pg: Place) -> None:
    in_pg.sql(
        "CREATE SCHEMA scratch",
        "CREATE TABLE prod AS SELECT 1 AS id, 2 AS v",
        "CREATE TABLE pr AS SELECT 1 AS id, 3 AS v",
        "CREATE VIEW scratch.d1_exclusives AS SELECT 1 AS here_already",
    )
    found = in_pg.diff(key=("id",), materialize=WISH)
    assert (found["status"], found["materialized"], found["rows"]["changed"]) == ("success", None, 1)
    assert found["warnings"] == [
        'The results were not materialised. PostgreSQL: "d1_exclusives" is not a table'
    ]
    assert _rows(in_pg.url, "SELECT to_regclass('scratch.d1_diff')") == [(None,)]
    other = in_pg.diff(key=("id",), materialize=msgspec.structs.replace(WISH, connection="gone"))
    assert other["warnings"] == ["The results were not materialised. There is no connection 'gone'."]


def test_a_duckdb_diff_is_written_to_mariadb(in_duck: Place, mariadb: Any) -> None:
    in_duck.sql(
        "CREATE TABLE prod AS SELECT i AS id, i / 4 AS f, 'v' || i AS s, i::DECIMAL(9,2) AS m, i % 2 = 0 AS ok, "
        "TIMESTAMP '2026-01-01' + to_seconds(i) AS t, [i] AS l, i + 100000000000000000000000000000::HUGEINT AS h FROM range(2500) r(i)",
        "CREATE TABLE pr AS SELECT * REPLACE (s || '''\\' AS s) FROM prod WHERE id < 2400",
    )
    with mariadb.connect() as c, c.cursor() as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS scratch")
    where = Connection("mariadb", host="127.0.0.1", port=mariadb.port, username="root", database="scratch")
    spec = Spec(Side("c", table="prod"), Side("c", table="pr"), key=("id",), materialize=Materialize("my", "scratch", "d2"))  # fmt: skip
    found = as_json(run(spec, {"c": in_duck.connection, "my": where}, in_duck.work, quiet))
    assert found["warnings"] == []
    with mariadb.connect() as c, c.cursor() as cursor:
        cursor.execute("SELECT count(*), max(s__b), sum(f__differs), sum(s__differs) FROM scratch.d2_diff")
        assert tuple(map(str, cursor.fetchone())) == ("2400", "v999'\\", "0", "2400")
        cursor.execute("SELECT _side, id, f, s, m, ok, t, l, h FROM scratch.d2_exclusives WHERE id = 2401")
        (row,) = cursor.fetchall()
    assert [str(v) for v in row] == ["A", "2401", "600.25", "v2401", "2401.00", "0", "2026-01-01 00:40:01", "[2401]", "100000000000000000000000002401"]  # fmt: skip
