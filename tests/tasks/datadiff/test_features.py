"""What a spec can ask for beyond a plain comparison: rules, sampling, timelines, patterns, renames,
checksums, no row values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from runyard.tasks.datadiff import profiles
from runyard.tasks.datadiff.diff import run
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.html import page
from runyard.tasks.datadiff.markdown import summary
from runyard.tasks.datadiff.meter import STEPS, Tick, overall
from runyard.tasks.datadiff.report import as_json
from runyard.tasks.datadiff.sampling import Sample, share_of
from runyard.tasks.datadiff.spec import Connection, Rule, Sampling, Side, Spec, Timeline, Tolerance, read_spec


def stats(result: dict[str, Any]) -> dict[str, int]:
    return {c["column_name"]: c["values_different"] for c in result["values"]["columns_diff_stats"]}


def thousand(place: Any, change: str = "id % 10 = 0") -> None:
    """A thousand rows, of which every tenth differs in v; ten of each side are alone."""
    place.sql(
        "CREATE TABLE prod AS SELECT i AS id, i % 7 AS v, 'x' || i AS s, "
        "TIMESTAMP '2026-01-01 00:00:00' + i * INTERVAL '1' HOUR AS made FROM generate_series(1, 1000) AS g(i)",
        f"CREATE TABLE pr AS SELECT id, CASE WHEN {change} THEN v + 1 ELSE v END AS v, s, made FROM prod WHERE id > 10",
        "INSERT INTO pr SELECT -id, v, s, made FROM prod WHERE id <= 10",
    )


def test_a_rule_forgives_differences_of_a_column_or_of_a_type(place: Any) -> None:
    thousand(place)
    found = place.diff(key=("id",))
    assert stats(found) == {"v": 99, "s": 0, "made": 0}
    by_column = Rule("{a} + 1 = {b}", column="V")
    assert stats(place.diff(key=("id",), rules=(by_column,)))["v"] == 0
    by_type = Rule("abs({a} - {b}) < 2 AND {a} < 3", type="integer")
    kept = stats(place.diff(key=("id",), rules=(by_type,)))["v"]
    assert 0 < kept < 99
    assert stats(place.diff(key=("id",), rules=(Rule("true", type="string"),)))["v"] == 99


@pytest.mark.parametrize(
    "condition",
    [
        "{a} = {b}; DROP TABLE pr",
        "(SELECT 1) = 1",
        "v = 1",
        "1=1) OR (1=1",
        "{a} = {b} FROM pr",
        "pg_sleep(9) IS NULL",
        "",
    ],
)
def test_a_rule_that_is_more_than_a_condition_is_refused(place: Any, condition: str) -> None:
    thousand(place)
    with pytest.raises(CouldNot) as caught:
        place.diff(key=("id",), rules=(Rule(condition, column="v"),))
    assert caught.value.fault is Fault.BAD_SPEC


def test_a_sample_looks_at_some_shared_keys_and_at_all_exclusive_ones(place: Any) -> None:
    thousand(place)
    found = place.diff(key=("id",), sampling=Sampling(ratio=0.3))
    assert found["sampled"]
    assert found["pks"]["exclusives"] == [10, 10]
    sampling = found["sampling"]
    assert sampling["of"] == 990
    assert 200 < sampling["keys"] < 400
    assert found["values"]["total_rows"] == sampling["keys"]
    column = found["values"]["columns_diff_stats"][0]
    estimate = column["values_different_estimate"]
    assert estimate["interval"]["min"] <= 99 <= estimate["interval"]["max"]
    assert estimate["value"] == column["values_different"] == found["rows"]["changed"]
    again = place.diff(key=("id",), sampling=Sampling(ratio=0.3))
    assert again["sampling"] == sampling  # the same keys every time
    whole = place.diff(key=("id",), sampling=Sampling(ratio=0.3, threshold=5000))
    assert (whole["sampled"], stats(whole)["v"]) == (False, 99)


def test_the_documented_sample_sizes() -> None:
    big = (10_000_000, 20_000_000)
    by_tolerance = Sampling(tolerance=0.001, confidence=99.0)
    assert share_of(by_tolerance, big, big) == 4603 / 10_000_000  # contracts/datafold.md §8.6
    assert share_of(Sampling(max_rows=1000), big, big) == 0.0001
    assert share_of(Sampling(max_rows=1000, threshold=30_000_000), big, big) == 1.0
    assert share_of(by_tolerance, (100, 100), (100, 100)) == 1.0
    estimate = Sample(0.1, 1000, 10_000, 95.0).estimate(100)
    assert estimate["estimate"] == 1000
    assert 800 < estimate["interval"]["min"] < 1000 < estimate["interval"]["max"] < 1250
    assert Sample(0.1, 0, 50, 95.0).estimate(0)["interval"] == {"min": 0, "max": 50}


def test_an_interval_of_time_narrows_and_a_timeline_counts(place: Any) -> None:
    thousand(place)
    time = Timeline("MADE", "day", "2026-01-02T00:00:00Z", "2026-01-04")
    found = place.diff(key=("id",), time=time)
    assert found["pks"]["total_rows"] == [48, 48]
    days = [(b["at"], b["rows"], b["changed"], b["only_a"]) for b in found["timeline"]]
    assert days == [
        ("2026-01-02T00:00:00", [24, 24], 2, 0),
        ("2026-01-03T00:00:00", [24, 24], 3, 0),
    ]
    whole = place.diff(key=("id",), time=Timeline("made", "month"))["timeline"]
    assert [b["rows"] for b in whole] == [[743, 743], [257, 257]]
    assert [(b["only_a"], b["only_b"]) for b in whole] == [(10, 10), (0, 0)]
    with pytest.raises(CouldNot):
        place.diff(key=("id",), time=Timeline("v", "day"))
    with pytest.raises(CouldNot):
        place.diff(key=("id",), time=Timeline("made", "day", start="1=1) OR (1=1"))


def test_columns_to_ignore_renames_tolerances_by_type_and_the_keys_source(place: Any) -> None:
    place.sql(
        "CREATE TABLE prod (id integer, _loaded text, _kept text, old integer, n integer, m decimal(8,2))",
        "CREATE TABLE pr (id integer, _loaded text, _kept text, fresh integer, n integer, m decimal(8,2))",
        "INSERT INTO prod VALUES (1, 'a', 'a', 1, 10, 1.00)",
        "INSERT INTO pr VALUES (1, 'b', 'b', 2, 11, 1.05)",
    )
    found = place.diff(
        key=("id",),
        key_source="uniqueness",
        ignore_columns=("_*", "id", "!_kept"),
        renames=(("old", "fresh"), ("x", "y")),
    )
    assert stats(found) == {"_kept": 1, "old": 1, "n": 1, "m": 1}
    assert found["key"]["source"] == "uniqueness"
    near = {"integer": Tolerance(1), "decimal": Tolerance(0.1)}
    assert stats(place.diff(key=("id",), include=("n", "m"), tolerances_by_type=near)) == {"n": 0, "m": 0}


def test_types_to_avoid_as_a_key(place: Any) -> None:
    for table in ("prod", "pr"):
        place.sql(
            f"CREATE TABLE {table} (id integer, code text)", f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')"
        )
    assert place.diff()["key"]["columns"] == ["id"]
    assert place.diff(avoid_key_types=("integer",))["key"]["columns"] == ["code"]


def test_without_row_values_no_artifact_holds_any(place: Any) -> None:
    place.sql(
        "CREATE TABLE prod (id text, v text)",
        "CREATE TABLE pr (id text, v text)",
        "INSERT INTO prod VALUES ('hush1', 'hush2'), ('hush3', 'hush4'), (NULL, 'hush'), ('hush5', 'x'), ('hush5', 'x')",
        "INSERT INTO pr VALUES ('hush1', 'hush6'), ('hush7', 'hush8')",
    )
    found = place.diff(key=("id",), row_values=False)
    assert stats(found) == {"v": 1}
    assert found["rows"]["in_parquet"] == 0
    assert not (place.work / "diff.parquet").exists()
    texts = json.dumps(found) + summary(found) + page(found)
    assert "hush" not in texts
    assert "hush" in json.dumps(place.diff(key=("id",)))


def test_few_differing_rows_are_kept_for_each_column_and_all_are_counted(place: Any) -> None:
    place.sql(
        "CREATE TABLE prod AS SELECT i AS id, i AS v, i AS w, i AS x FROM generate_series(1, 100) AS g(i)",
        "CREATE TABLE pr AS SELECT id, CASE WHEN id % 2 = 0 THEN -v ELSE v END AS v, CASE WHEN id > 90 THEN -w ELSE w END AS w, "
        "CASE WHEN id = 50 THEN -x ELSE x END AS x FROM prod WHERE id < 100",
    )
    found = place.diff(key=("id",), rows_per_column=3)
    assert (stats(found), found["rows"]["changed"]) == ({"v": 49, "w": 9, "x": 1}, 54)
    kept = [2, 4, 6, 50, 91, 92, 93]  # v's first three, x's only one, w's first three
    assert [int(row["key"]["id"]) for row in found["samples"]["changed"]] == kept  # not 2, 4, 50, 6
    rows = duckdb.sql(f"SELECT id FROM '{place.work}/diff.parquet' WHERE _status = 'changed' ORDER BY id").fetchall()  # fmt: skip
    assert [int(id) for (id,) in rows] == kept
    assert (found["rows"]["only_a"], found["rows"]["in_parquet"]) == (1, 8)
    assert found["warnings"] == ["Of 54 differing rows 7 were kept, at most 3 per column as asked. The figures count all of them."]  # fmt: skip
    none = place.diff(key=("id",), rows_per_column=0)
    assert (none["samples"]["changed"], none["rows"]["in_parquet"], none["rows"]["changed"]) == ([], 1, 54)
    assert place.diff(key=("id",), rows_per_column=49)["warnings"] == []


def test_keys_that_one_side_alone_has_are_profiled(place: Any) -> None:
    place.sql(
        "CREATE TABLE prod AS SELECT i AS id, 'k' || i AS s, i AS v FROM generate_series(1, 20) AS g(i)",
        "CREATE TABLE pr AS SELECT * FROM prod WHERE id > 10",
        "INSERT INTO pr VALUES (100, 'x', 1), (9, 'x', 1)",
    )
    found = place.diff(key=("id", "s"))["exclusives_profile"]
    t1, t2 = (found[side]["columns"] for side in ("t1", "t2"))
    assert [t1["id"][k] for k in ("nulls", "total", "distinct", "min", "max")] == [0, 10, 10, "1", "10"]
    assert [t2["id"][k] for k in ("total", "min", "max")] == [2, "9", "100"]  # as numbers
    assert [t2["s"][k] for k in ("total", "distinct", "min")] == [2, 1, "x"]
    hidden = place.diff(key=("id", "s"), row_values=False)["exclusives_profile"]["t1"]["columns"]["id"]
    assert (hidden["total"], hidden["min"], hidden["max"]) == (10, None, None)
    assert place.diff("pr", "pr", key=("id", "s"))["exclusives_profile"] is None


@pytest.mark.postgres
def test_checksums_fetch_what_differs_and_find_what_the_join_finds(in_pg: Any, in_duck: Any) -> None:
    for place in (in_pg, in_duck):
        place.sql(
            "CREATE TABLE prod AS SELECT i AS id, i % 7 AS v, CAST(i AS double) / 3 AS f, "
            "CASE WHEN i % 5 = 0 THEN NULL ELSE 'x' || i END AS s FROM generate_series(1, 40000) AS g(i)"
        )
    in_duck.sql("UPDATE prod SET s = 'changed' WHERE id = 777", "DELETE FROM prod WHERE id = 5000")
    in_duck.sql("INSERT INTO prod VALUES (NULL, 1, 1, 'keyless')")
    connections = {"pg": in_pg.connection, "duck": in_duck.connection}
    spec = Spec(Side("pg", table="prod"), Side("duck", table="prod"), key=("id",))
    plain = as_json(run(spec, connections, in_pg.work, lambda tick: None))
    hashed = Spec(
        **{**{f: getattr(spec, f) for f in ("a", "b", "key")}, "algorithm": "hash", "exclude": ("f",)}
    )
    found = as_json(run(hashed, connections, in_pg.work, lambda tick: None))
    assert found["pks"] == plain["pks"]
    assert stats(found) == {"v": 0, "s": 1}
    assert found["rows"] == plain["rows"]
    assert found["samples"]["null_keys"] == [[], [{"key": {"id": None}, "rows": 1}]]
    assert "Checksums of 40 buckets: 2 differed" in found["warnings"][0]


@pytest.mark.postgres
def test_checksums_go_down_in_rounds_to_segments_of_a_size(in_pg: Any, in_duck: Any) -> None:
    for place in (in_pg, in_duck):
        place.sql("CREATE TABLE t AS SELECT i AS id, i % 7 AS v FROM generate_series(1, 20000) AS g(i)")
    in_duck.sql("UPDATE t SET v = -1 WHERE id IN (5, 17000)", "DELETE FROM t WHERE id = 9")
    connections = {"pg": in_pg.connection, "duck": in_duck.connection}

    def told(**fields: Any) -> str:
        spec = Spec(Side("pg", table="t"), Side("duck", table="t"), key=("id",), algorithm="hash", **fields)
        found = as_json(run(spec, connections, in_pg.work, lambda tick: None))
        assert (found["rows"]["changed"], found["pks"]["exclusives"]) == (2, [1, 0])
        assert found["pks"]["total_rows"] == [20000, 19999]
        return " ".join(found["warnings"])

    assert "of 20 buckets: " in told()
    assert "of 200 buckets: 3 differed" in told(bisection_threshold=100)
    assert "of 256 buckets in 4 rounds: 3 differed" in told(bisection_threshold=100, bisection_factor=4)
    assert told(bisection_threshold=30000) == ""  # nothing is smaller than the whole, which is fetched


def test_rows_of_duplicate_keys_are_compared_as_multisets(place: Any) -> None:
    place.sql(
        "CREATE TABLE prod (id integer, s varchar(9), n decimal(9,2))",
        "INSERT INTO prod VALUES (1, 'a', 1), (1, 'a', 1), (1, 'b', NULL), (2, 'x', 1), (2, 'x', 1), (3, 'q', 1), (4, 'w', 1), (5, 'v', 1)",
        "CREATE TABLE pr (id integer, s varchar(9), n decimal(12,4))",
        "INSERT INTO pr VALUES (1, 'b', NULL), (1, 'A', 1), (1, 'a', 1), (2, 'x', 1), (3, 'q', 1), (3, 'r', 1), (4, 'w', 1), (5, 'u', 1)",
    )
    found = place.diff(key=("id",))
    assert found["duplicates"] == {"keys": 3, "keys_different": 3, "rows_different": [2, 2]}
    assert (found["result"], found["values"]["total_rows"], found["rows"]["changed"]) == ("bad-pks", 2, 1)
    blind = place.diff(key=("id",), ignore_case=True)
    assert blind["duplicates"] == {"keys": 3, "keys_different": 2, "rows_different": [1, 1]}
    assert "Duplicate keys: 3, of which 2 have other rows" in summary(blind)
    assert "Duplicate keys: 3, of which 2 have other rows" in page(blind)
    same = place.diff("prod", "prod", key=("id",))
    assert same["duplicates"] == {"keys": 2, "keys_different": 0, "rows_different": [0, 0]}
    assert "rows are the same on both sides" in summary(same)
    assert place.diff(key=("id",), compare_duplicates=False)["duplicates"] is None


def test_columns_are_profiled_on_both_sides(place: Any) -> None:
    place.sql(
        "CREATE TABLE prod AS SELECT i AS id, i % 4 AS v, CASE WHEN i % 10 = 0 THEN NULL ELSE 'x' || i END AS s, "
        "i % 2 = 0 AS ok, CAST('NaN' AS double) AS odd, 1 AS gone FROM generate_series(1, 100) AS g(i)",
        "CREATE TABLE pr AS SELECT id, v * 10 AS v, s, ok, odd, 7 AS made FROM prod WHERE id > 50",
    )
    found = place.diff(key=("id",), profiles=True)["column_profiles"]
    a, b = found["t1"]["columns"], found["t2"]["columns"]
    ends = {"min": "0", "max": "3", "mean": 1.5, "histogram_bins": 10, "top_values_count": 0}
    assert a["v"] == {"total": 100, "nulls": 0, "distinct": 4, **ends}
    assert (b["v"]["max"], b["v"]["mean"], b["s"]["nulls"], b["s"]["total"]) == ("30", 15.0, 5, 50)
    assert (a["gone"]["distinct"], "gone" in b, b["made"]["min"], "made" in a) == (1, False, "7", False)
    assert (a["ok"]["distinct"], a["ok"]["min"], a["odd"]["mean"]) == (2, None, None)
    ((edges, counts),) = [found["histograms"]["v"].values()]
    assert (edges[0], edges[-1], counts[0]) == (0, 30, [75, 25, 0, 0, 0, 0, 0, 0, 0, 0])
    assert (sum(counts[1]), counts[1][0], counts[1][3]) == (50, 13, 12)
    assert "odd" not in found["histograms"]
    hidden = place.diff(key=("id",), profiles=True, row_values=False)
    assert hidden["column_profiles"]["histograms"] == {}
    assert {hidden["column_profiles"]["t1"]["columns"]["v"][k] for k in ("min", "max", "mean")} == {None}
    assert place.diff(key=("id",))["column_profiles"] is None
    whole = place.diff(key=("id",), profiles=True)
    assert "| `v` | 0 | 4 |" in summary(whole)
    assert "1.5 → 15<" in page(whole)
    assert "1.5" not in summary(whole).split("Column profiles")[1]  # no value in what is posted


@pytest.mark.postgres
def test_a_mean_that_postgresql_could_not_sum_is_none(in_pg: Any) -> None:
    in_pg.sql(
        "CREATE TABLE t AS SELECT i AS id, CAST(1e308 AS double) AS f FROM generate_series(1, 9) AS g(i)"
    )
    found = in_pg.diff("t", "t", key=("id",), profiles=True)
    column = found["column_profiles"]["t1"]["columns"]["f"]
    assert (found["result"], column["max"], column["mean"]) == ("identical", "1e+308", None)


def test_profiles_that_a_database_cannot_reckon_are_a_warning(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CouldNot(Fault.QUERY, "PostgreSQL: value out of range.")

    monkeypatch.setattr(profiles, "profiled", refuse)
    place.sql("CREATE TABLE prod AS SELECT 1 AS id, 2 AS v", "CREATE TABLE pr AS SELECT 1 AS id, 2 AS v")
    found = place.diff(key=("id",), profiles=True)
    assert (found["result"], found["column_profiles"]) == ("identical", None)
    assert "The columns were not profiled. PostgreSQL: value out of range." in found["warnings"]


@pytest.mark.postgres
@pytest.mark.parametrize("fetched", ["A", "B"])
def test_progress_counts_the_side_that_is_fetched(in_pg: Any, in_duck: Any, fetched: str) -> None:
    for place in (in_pg, in_duck):
        place.sql("CREATE TABLE t AS SELECT i AS id, 'x' AS s FROM generate_series(1, 2000) AS g(i)")
    connections = {"pg": in_pg.connection, "duck": in_duck.connection}
    sides = [Side("pg", table="t"), Side("duck", table="t")]
    ticks: list[Tick] = []
    run(
        Spec(*(sides if fetched == "A" else reversed(sides)), key=("id",)),
        connections,
        in_pg.work,
        ticks.append,
    )
    assert f"fetch {fetched}" in {t.step for t in ticks}
    shares = [overall(t, fetched) for t in ticks]
    assert shares == sorted(shares)
    assert 0.9 < shares[-1] < 1


def test_progress_goes_through_the_steps_in_order_and_forward(in_duck: Any) -> None:
    thousand(in_duck)
    ticks: list[Tick] = []
    spec = Spec(Side("c", table="prod"), Side("c", table="pr"), key=("id",))
    run(spec, {"c": in_duck.connection}, in_duck.work, ticks.append)
    steps = list(dict.fromkeys(t.step for t in ticks))
    assert steps == [s for s in STEPS if not s.startswith("fetch")]
    shares = [overall(t, "") for t in ticks]
    assert shares == sorted(shares)
    assert 0.9 < shares[-1] < 1
    assert any(t.rows == t.of == 2000 for t in ticks)


@pytest.mark.parametrize(
    "fields",
    [
        {"sampling": {"tolerance": 0.1}},
        {"sampling": {"ratio": 2}},
        {"sampling": {"ratio": 0.5, "max_rows": 3}},
        {"rules": [{"equal_if": "true"}]},
        {"rules": [{"equal_if": "true", "column": "a", "type": "integer"}]},
        {"tolerance": {"value": -1}},
        {"tolerances_by_type": {"text": {"value": 1}}},
        {"datetime_digits": 7},
        {"algorithm": "magic"},
        {"bisection_factor": 1},
        {"bisection_threshold": 0},
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(fields: dict[str, Any]) -> None:
    side = {"connection": "c", "table": "t"}
    assert read_spec(json.dumps({"a": side, "b": side}).encode()).row_values
    with pytest.raises(CouldNot) as caught:
        read_spec(json.dumps({"a": side, "b": side, **fields}).encode())
    assert caught.value.fault is Fault.BAD_SPEC


def test_csv_takes_the_types_of_its_partner(tmp_path: Path, in_duck: Any) -> None:
    in_duck.sql(
        "CREATE TABLE t (code varchar, n integer, d date, s varchar)",
        "INSERT INTO t VALUES ('007', 1, '2026-01-01', ''), ('8', NULL, NULL, NULL)",
    )
    file = tmp_path / "t.csv"
    file.write_text('CODE,n,d,s\n007,1,2026-01-01,""\n8,,,\n')
    found = as_json(
        run(
            Spec(Side("c", table="t"), Side(file=str(file)), key=("code",)),
            {"c": in_duck.connection},
            tmp_path,
            lambda t: None,
        )
    )
    assert found["equal"], found
    file.write_text('code,n,d,s\n007,one,2026-01-01,""\n')
    found = as_json(
        run(
            Spec(Side("c", table="t"), Side(file=str(file)), key=("code",)),
            {"c": in_duck.connection},
            tmp_path,
            lambda t: None,
        )
    )
    assert found["schema"]["column_type_differs"] == ["n"]


@pytest.mark.parametrize(
    ("one", "other", "type"),
    [
        ("0.01", "0.02", "DOUBLE"),
        ("1.4", "1", "INTEGER"),
        ("123456789012345.67", "123456789012345.68", "DECIMAL(20,2)"),
        ("0.30000000000000004", "0.3", "DOUBLE"),
        ("1.234", "1.23", "DECIMAL(9,2)"),
        ("2026-01-01 10:00:00", "2026-01-01", "DATE"),
        ("2026-01-01 10:00:00.123456789", "2026-01-01 10:00:00.123456", "TIMESTAMP"),
        ("007", "7", "VARCHAR"),
    ],
)
def test_no_type_of_a_csv_hides_a_difference(in_duck: Any, one: str, other: str, type: str) -> None:
    """DuckDB's casts round: what would lose something keeps another type, or its text."""
    files = [in_duck.work / "one.csv", in_duck.work / "other.csv"]
    for file, value in zip(files, (one, other), strict=True):
        file.write_text(f"id,v\n1,{value}\n2,\n")
    a, b = (Side(file=str(file)) for file in files)
    assert stats(in_duck.diff(a, b, key=("id",))) == {"v": 1}
    in_duck.sql(f"CREATE TABLE t AS SELECT 1 AS id, '{other}'::{type} AS v UNION ALL SELECT 2, NULL")
    assert in_duck.diff(b, "t", key=("id",))["equal"], "the same value has the type of its partner"
    assert in_duck.diff(a, "t", key=("id",))["result"] == "different"


@pytest.mark.parametrize(("one", "other"), [("1", "1.0"), ("1.50", "1.5"), ("1e3", "1000.0"), ("+2", "2")])
def test_numbers_of_two_csvs_are_equal_however_they_are_written(in_duck: Any, one: str, other: str) -> None:
    files = [in_duck.work / "one.csv", in_duck.work / "other.csv"]
    for file, value in zip(files, (one, other), strict=True):
        file.write_text(f"id,v\n1,{value}\n2,0.5\n")
    assert in_duck.diff(*(Side(file=str(file)) for file in files), key=("id",))["equal"]


def test_a_short_memory_compares_slice_by_slice(in_duck: Any) -> None:
    in_duck.sql(
        "CREATE TABLE prod AS SELECT (i * 7919) % 400000 AS id, md5(i::varchar) || md5((i + 1)::varchar) AS s FROM range(400000) r(i)",
        "CREATE TABLE pr AS SELECT id, CASE WHEN id % 1000 = 0 THEN 'other' ELSE s END AS s FROM prod WHERE id <> 5",
    )
    fractions: list[float] = []

    def watch(tick: Tick) -> None:
        if tick.step == "compare":
            fractions.append(tick.fraction)

    spec = Spec(Side("c", table="prod"), Side("c", table="pr"), key=("id",), memory_bytes=100_000_000)
    found = as_json(run(spec, {"c": in_duck.connection}, in_duck.work, watch))
    assert (stats(found), found["pks"]["exclusives"]) == ({"s": 400}, [1, 0])
    assert len({f for f in fractions if 0 < f < 1}) >= 1, "it was one slice"


def test_a_connection_may_name_a_relative_file(in_duck: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    thousand(in_duck)
    folder = Path(in_duck.connection.file).parent
    monkeypatch.chdir(folder)
    spec = Spec(Side("c", table="prod"), Side("c", table="prod"), key=("id",))
    assert run(spec, {"c": Connection("duckdb", file="shop.duckdb")}, in_duck.work, lambda tick: None).equal


@pytest.mark.parametrize(("most", "type"), [(10**37, "DECIMAL(38,0)"), (17 * 10**37, "VARCHAR")])
def test_the_widest_integers_reach_parquet_exactly(in_duck: Any, most: int, type: str) -> None:
    in_duck.sql(
        f"CREATE TABLE prod AS SELECT 1 AS id, {most + 1}::HUGEINT AS n",
        f"CREATE TABLE pr AS SELECT 1 AS id, {most + 2}::HUGEINT AS n",
    )
    in_duck.diff(key=("id",))
    rows = f"FROM '{in_duck.work / 'diff.parquet'}'"
    with duckdb.connect() as c:
        assert c.execute(f"SELECT n__a, n__b {rows}").fetchall() == [
            tuple(str(most + i) if type == "VARCHAR" else most + i for i in (1, 2))
        ]
        assert c.execute(f"SELECT typeof(n__a) {rows}").fetchone() == (type,)
