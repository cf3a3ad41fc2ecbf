"""Data sources and single diffs: shapes, filters, cancel, secrets, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from runyard.dialects.datafold.progress import PARTS, completed
from runyard.dialects.datafold.shapes import DataDiff, DataSource
from runyard.engine.ports import ArtifactFilter, Page
from runyard.model.work import Connection, Record, User
from runyard.tasks.datadiff.meter import STEPS

TABLES = (
    "CREATE TABLE a AS SELECT i AS id, i::double AS f, 'x' AS s FROM range(10) r(i)",
    "CREATE TABLE b AS SELECT id, f + 0.001 AS f, upper(s) AS s FROM a WHERE id > 0",
)


@pytest.fixture
def source(house: Any) -> int:
    return int(house.warehouse(*TABLES))


def body(source: int, **more: Any) -> dict[str, Any]:
    return {
        "data_source1_id": source,
        "data_source2_id": source,
        "table1": ["a"],
        "table2": ["main", "b"],
        "pk_columns": ["id"],
        **more,
    }


def test_a_diff_from_creation_to_its_results(house: Any, source: int) -> None:
    made = house.ok(
        "POST", "datadiffs", body(source, filter1=None, filter2=None, include_columns=[], exclude_columns=[])
    )
    assert (made["status"], made["done"], made["kind"], made["algorithm"], made["result"]) == (
        "queued",
        False,
        "in_db",
        "join",
        None,
    )
    assert made["diff_stats"]["diff_pks"] is None
    assert (made["compare_duplicates"], made["infer_pk"], made["archived"]) == (True, False, False)
    asked_for_nothing = (
        "diff_tolerance",
        "sampling_ratio",
        "column_mapping",
        "query1",
        "time_interval_end",
        "tags",
    )
    assert {made[name] for name in asked_for_nothing} == {None}
    assert house.ok("GET", f"datadiffs/{made['id']}/summary_results") == {"status": "pending"}
    assert house.work() == 1
    full = house.ok("GET", f"datadiffs/{made['id']}")
    assert (full["status"], full["result"], full["diff_progress"]["completed_steps"]) == (
        "done",
        "different",
        full["diff_progress"]["total_steps"],
    )
    assert full["diff_stats"] | {"match_ratio": None} == {
        "version": "1", "diff_pks": 1 / 19, "diff_rows": 1.0, "diff_values": 1.0, "diff_schema": 0.0, "diff_null_pks": 0.0,
        "diff_duplicate_pks": 0.0, "diff_rows_count": 9, "diff_rows_number": 9, "match_ratio": None, "rows_added": 0,
        "rows_removed": 1, "table_a_row_count": 10, "table_b_row_count": 9, "sampled": False, "errors": 0,
    }  # fmt: skip
    result = house.ok("GET", f"datadiffs/{made['id']}/summary_results")
    assert result == {
        "status": "success",
        "pks": {"total_rows": [10, 9], "nulls": [0, 0], "dupes": [0, 0], "exclusives": [1, 0], "distincts": [10, 9]},
        "values": {
            "total_rows": 9, "compared_columns": 2, "total_values": 18, "rows_with_differences": 9, "values_with_differences": 18,
            "columns_with_differences": 2,
            "columns_diff_stats": [
                {"column_name": "f", "match": 0.0, "values_different": 9}, {"column_name": "s", "match": 0.0, "values_different": 9},
            ],
        },
        "schema": {
            "columns_mismatched": [0, 0], "column_type_mismatches": 0, "column_reorders": 0, "column_counts": [3, 3],
            "column_type_differs": [], "exclusive_columns": [[], []],
        },
        "dependencies": [],
        "materialized_results": {"diff": None, "exclusives": None, "duplicates1": None, "duplicates2": None},
        "exclusives_profile": {
            side: {"columns": {"id": {"nulls": 0, "total": n, "distinct": n, "min": at, "max": at, "histogram_bins": 0, "top_values_count": 0}}}
            for side, n, at in (("t1", 1, "0"), ("t2", 0, None))
        },
    }  # fmt: skip
    summary = house.ok("GET", f"datadiffs/{made['id']}/summary")
    assert (summary["data_source1_name"], summary["table2"], summary["results_count"]) == (
        "warehouse",
        "main.b",
        10,
    )
    assert (
        house.call("GET", f"/datadiffs/{made['id']}/overview")
        .headers["location"]
        .startswith("/datafold/data-diffs/-/jobs/")
    )


def test_options_reach_the_comparison(house: Any, source: int) -> None:
    more = {
        "diff_tolerance": 0.01,
        "tolerance_mode": "absolute",
        "table_modifiers": ["case_insensitive_strings"],
        "filter1": "id > 0",
    }
    made = house.ok("POST", "datadiffs", body(source, **more))
    house.work()
    assert house.ok("GET", f"datadiffs/{made['id']}")["result"] == "identical"
    query = {"table1": None, "query1": "SELECT * FROM b", "pk_columns": [], "infer_pk": True}
    made = house.ok("POST", "datadiffs", body(source, **query))
    house.work()
    full = house.ok("GET", f"datadiffs/{made['id']}")
    assert (full["result"], full["pk_columns"], full["query1"]) == ("identical", ["id"], "SELECT * FROM b")


def test_what_the_published_schema_lets_be_null_may_be(house: Any, source: int) -> None:
    """A client that sends every field, as generated ones do."""
    named = {"name": "nulls", "type": "duckdb", "options": {"path": "/nowhere.duckdb"}}
    shown = house.ok("POST", "data_sources", {**dict.fromkeys(DataSource.model_fields), **named})
    assert [shown[k] for k in ("float_tolerance", "hidden", "disable_profiling")] == [0, False, True]
    needed = {"data_source1_id", "data_source2_id", "pk_columns", "table1", "table2", "infer_pk", "archived", "purged"}  # fmt: skip
    nulls = dict.fromkeys(DataDiff.model_fields.keys() - needed - {"show_row_values"})  # that one is ours
    made = house.ok("POST", "datadiffs", {**body(source), **nulls})
    assert house.work() == 1
    assert house.ok("GET", f"datadiffs/{made['id']}")["result"] == "different"


def test_every_other_option_reaches_the_comparison(house: Any, source: int) -> None:
    """Each alone makes the difference that it promises; what it cannot do here is still accepted."""
    rule = {
        "column_rules": [{"type": "float", "equal_if": "abs({a} - {b}) < 1"}],
        "exclude_columns": ["s"],
        "filter1": "id > 0",
    }
    accepted = {
        "bisection_factor": 32,
        "bisection_threshold": 10,
        "run_profiles": True,
        "materialize_dataset1": True,
        "materialize_without_sampling": True,
        "tags": ["x", "y"],
    }
    made = house.ok("POST", "datadiffs", body(source, **rule, **accepted))
    sampled = house.ok("POST", "datadiffs", body(source, sampling_max_rows=3))
    for wrong in ({"bisection_factor": 1}, {"bisection_threshold": 0}):
        assert house.call("POST", "/api/v1/datadiffs", body(source, **wrong)).status_code == 422
    hidden = house.ok("POST", "datadiffs", body(source, show_row_values=False, compare_duplicates=None))
    few = house.ok("POST", "datadiffs", body(source, per_column_diff_limit=2))
    assert house.work() == 4
    shown = house.ok("GET", f"datadiffs/{few['id']}/summary")  # all counted
    assert (shown["results_count"], shown["diff_stats"]["diff_rows_count"]) == (10, 9)
    assert house.ok("GET", f"datadiffs/{few['id']}")["per_column_diff_limit"] == 2
    full = house.ok("GET", f"datadiffs/{made['id']}")
    assert (full["result"], full["tags"], full["bisection_factor"]) == ("identical", ["x", "y"], 32)
    told = house.ok("GET", f"datadiffs/{made['id']}/summary_results")["column_profiles"]
    assert told["t1"]["columns"]["id"]["total"] == told["t1"]["columns"]["id"]["distinct"] > 0
    assert "column_profiles" not in house.ok("GET", f"datadiffs/{sampled['id']}/summary_results")
    stats = house.ok("GET", f"datadiffs/{sampled['id']}")["diff_stats"]
    assert stats["sampled"] is True
    values = house.ok("GET", f"datadiffs/{sampled['id']}/summary_results")["values"]
    assert values["columns_diff_stats"][0]["values_different_estimate"]["confidence"] > 0
    kept = house.write(lambda tx: tx.artifacts(ArtifactFilter(), Page(limit=100)))
    assert [a.type for a in kept if a.run_id == _run_of(house, hidden)].count("datadiff_rows") == 0
    assert house.ok("GET", f"datadiffs/{hidden['id']}")["result"] == "different"


def test_keys_of_one_side_are_profiled_and_a_purge_takes_all_away(house: Any, source: int) -> None:
    made = house.ok("POST", "datadiffs", body(source, filter1="id > 1"))
    waiting = house.call("PATCH", f"/api/v1/datadiffs/{made['id']}", {"purged": True})
    assert (waiting.status_code, waiting.json()["title"]) == (409, "Conflict")
    house.work()
    path = f"datadiffs/{made['id']}"
    found = house.ok("GET", f"{path}/summary_results")
    columns = {side: profile["columns"]["id"] for side, profile in found["exclusives_profile"].items()}
    assert [columns[side]["total"] for side in ("t1", "t2")] == found["pks"]["exclusives"]
    assert (columns["t2"]["min"], columns["t2"]["distinct"]) == ("1", columns["t2"]["total"])
    ended = house.ok("GET", path)["status"]
    purged = house.ok("PATCH", path, {"purged": True})
    assert (purged["purged"], purged["status"], purged["result"]) == (True, ended, None)
    assert house.ok("PATCH", path, {"purged": False})["purged"] is True  # nothing comes back
    error = house.ok("GET", f"{path}/summary_results")["error"]
    assert error["error_type"] == "PurgedException"
    run = _run_of(house, made)
    assert house.write(lambda tx: tx.artifacts(ArtifactFilter(run_id=run), Page())) == []


def _run_of(house: Any, diff: Any) -> int:
    return int(house.write(lambda tx: tx.get(Record, diff["id"])).data["run_id"])


def test_files_of_the_server_are_compared_for_administrators_only(house: Any, source: int) -> None:
    file = house.folder / "b.csv"
    file.write_text("id,s\n" + "".join(f"{i},x\n" for i in range(9)) + "9 rows\nwritten, by, a, machine\n")
    given = body(
        source,
        table2=None,
        file2=f"file://{file}",
        file2_options={"file_type": "csv", "skip_tail_rows": 2},
        include_columns=["id"],
        filter1="id > 0",
    )
    assert house.call("POST", "/api/v1/datadiffs", given, key="Key glpat-plain").status_code == 403
    made = house.ok("POST", "datadiffs", given)
    house.work()
    assert house.ok("GET", f"datadiffs/{made['id']}")["result"] in ("identical", "missing-pks")


def test_two_data_sources_are_compared_across(house: Any, source: int) -> None:
    other = house.warehouse("CREATE TABLE b AS SELECT i AS id FROM range(9) r(i)", name="other")
    made = house.ok("POST", "datadiffs", body(source, data_source2_id=other, include_columns=["id"]))
    house.work()
    full = house.ok("GET", f"datadiffs/{made['id']}")
    assert (full["kind"], full["algorithm"], full["result"]) == ("cross_db", "fetch_and_join", "missing-pks")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"pk_columns": []}, "pk_columns"),
        ({"table1": None}, "table1"),
        ({"query1": "select 1"}, "table1"),
        ({"table1": None, "file1": "s3://x"}, "file1"),
        ({"column_rules": [{"equal_if": "{a} = {b}"}]}, "column_rules"),
        (
            {"table1": None, "file1": "file:///x.xls", "file1_options": {"file_type": "excel"}},
            "file1_options",
        ),
        ({"table1": None, "file1": "/x.csv"}, "file1_options"),
        ({"sampling_tolerance": 0.1}, "sampling_confidence"),
        ({"sampling_ratio": 0.1, "sampling_max_rows": 5}, "sampling_ratio"),
        ({"sampling_threshold": 5}, "sampling_threshold"),
        ({"sampling_ratio": 1.0}, "sampling_ratio"),
        ({"materialization_destination_id": 1}, "materialization_destination_id"),
        ({"infer_pk_avoid_names": ["id"]}, "infer_pk_avoid_names"),
        ({"datetime_tolerance": 7}, "datetime_tolerance"),
    ],
)
def test_what_is_not_served_is_refused_by_name(
    house: Any, source: int, more: dict[str, Any], field: str
) -> None:
    answer = house.call("POST", "/api/v1/datadiffs", body(source, **more))
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][:2] == ["body", field]


def test_a_missing_data_source_in_the_payload_is_422_and_in_the_url_404(house: Any, source: int) -> None:
    answer = house.call("POST", "/api/v1/datadiffs", body(99))
    assert (answer.status_code, answer.json()["title"]) == (422, "Bad request")
    for path in (
        "data_sources/99",
        "data_sources/99/summary",
        "datadiffs/99",
        "datadiffs/1",
        "ci/99",
        "ci/1/runs",
    ):
        answer = house.call("GET", f"/api/v1/{path}")
        assert (answer.status_code, answer.json()["type"]) == (404, "/errors/not-found"), path


def test_diffs_are_listed_by_page_order_and_filter(house: Any, source: int) -> None:
    ids = [house.ok("POST", "datadiffs", body(source, tags=[tag]))["id"] for tag in "xyz"]
    house.work()
    page = house.ok("GET", "datadiffs?page_size=2&page=2")
    assert ([d["id"] for d in page["results"]], page["count"], page["total_pages"]) == ([ids[2]], 3, 2)
    assert [d["id"] for d in house.ok("GET", "datadiffs?sort_order=desc")["results"]] == ids[::-1]
    assert house.ok("GET", "datadiffs?status=failed,waiting")["count"] == 0
    assert house.ok("GET", f"datadiffs?status=done&id={ids[0]},{ids[2]}&order_by=created_at")["count"] == 2
    assert house.call("GET", "/api/v1/datadiffs?order_by=nope").status_code == 422
    house.ok("PATCH", f"datadiffs/{ids[0]}", {"archived": True})
    assert [d["id"] for d in house.ok("GET", "datadiffs?archived=true")["results"]] == [ids[0]]


def test_a_waiting_diff_is_cancelled_and_a_finished_one_stays(house: Any, source: int) -> None:
    first = house.ok("POST", "datadiffs", body(source))["id"]
    assert house.ok("POST", f"datadiffs/{first}/cancel") == {"id": first, "status": "cancelled"}
    assert (
        house.ok("GET", f"datadiffs/{first}/summary_results")["error"]["error_type"] == "CancelledException"
    )
    second = house.ok("POST", "datadiffs", body(source))["id"]
    house.work()
    assert house.ok("POST", f"datadiffs/{second}/cancel")["status"] == "done"


def test_a_data_source_never_shows_its_secrets(house: Any) -> None:
    options = {"host": "db", "user": "u", "dbname": "d", "password": "hush-hush"}
    made = house.ok("POST", "data_sources", {"name": "pg", "type": "pg", "options": options})
    assert (made["options"], made["type"]) == (None, "pg")
    text = json.dumps([house.ok("GET", "data_sources"), house.ok("GET", f"data_sources/{made['id']}")])
    assert "hush" not in text
    stored = house.write(lambda tx: tx.get(Connection, made["id"]))
    assert "hush" not in repr(stored)
    assert house.ok("GET", f"data_sources/{made['id']}/summary") == {
        "id": made["id"],
        "name": "pg",
        "type": "pg",
    }
    types = {t["type"]: t["configuration_schema"] for t in house.ok("GET", "data_sources/types")}
    assert {"pg", "postgres_aurora", "postgres_aws_rds", "duckdb", "mysql", "mariadb"} <= types.keys()
    assert types["pg"]["secret"] == ["password"]
    assert types["pg"]["required"] == ["host", "user", "dbname"]
    assert "rootcert" not in types["pg"]["properties"]


@pytest.mark.parametrize(
    ("given", "loc"),
    [
        ({"name": "x", "type": "oracle", "options": {}}, ["body", "type"]),
        ({"name": "x", "type": "pg", "options": {"host": "h", "user": "u"}}, ["body", "pg", "options", "dbname"]),
        ({"name": "x", "type": "pg", "options": {"host": "h", "user": "u", "dbname": "d", "rootcert": "/etc/passwd"}}, ["body", "pg", "options", "rootcert"]),
        ({"name": "x", "type": "duckdb", "options": {"path": "relative"}}, ["body", "duckdb", "options", "path"]),
        ({"name": "x", "type": "duckdb"}, ["body", "duckdb", "options", "path"]),
        ({"type": "pg"}, ["body", "name"]),
    ],
)  # fmt: skip
def test_a_wrong_data_source_is_refused_by_option(house: Any, given: Any, loc: list[str]) -> None:
    answer = house.call("POST", "/api/v1/data_sources", given)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == loc


def test_two_data_sources_may_not_have_one_name(house: Any, source: int) -> None:
    given = {"name": "warehouse", "type": "duckdb", "options": {"path": "/x"}}
    answer = house.call("POST", "/api/v1/data_sources", given)
    assert (answer.status_code, answer.json()["type"]) == (409, "/errors/integrity")
    assert house.call("POST", "/api/v1/data_sources", given, key="Key glpat-plain").status_code == 403


@pytest.mark.parametrize("key", ["", "Key", "Key wrong", "wrong", "Basic eDp5", "Key glpat-root extra"])
def test_without_a_valid_key_nothing_is_told(house: Any, key: str) -> None:
    for path in ("data_sources", "datadiffs", "ci", "ci/1/runs", "organization/meta"):
        answer = house.call("GET", f"/api/v1/{path}", key=key)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")


@pytest.mark.parametrize("key", ["Key glpat-root", "glpat-root", "Bearer glpat-root", "key glpat-root"])
def test_the_key_may_come_in_the_ways_the_docs_show(house: Any, key: str) -> None:
    assert house.call("GET", "/api/v1/organization/meta", key=key).json() == {
        "org_id": 1,
        "org_name": "Runyard",
        "user_id": 1,
    }
    assert house.call("POST", "/api/internal/sdk/log", {"logs": []}, key=key).json() == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"pr_number": NaN}',
        b"\xff",
        b"null",
        b"[]",
        b'["a\\u0000b"]',
        b'{"pr_number": 99999999999999999999}',
        b"x" * (2 << 20),
    ],
)
def test_hostile_bodies_are_refused_cleanly(house: Any, source: int, content: bytes) -> None:
    config = house.config(source)
    for path in (f"ci/{config}/trigger", f"ci/{config}/7", "datadiffs", "ci", "data_sources"):
        answer = house.call("POST", f"/api/v1/{path}", content)
        if (path, content) == (f"ci/{config}/7", b"[]"):
            assert answer.json()["run_id"] is None
        else:
            assert answer.status_code in (413, 422), (path, answer.text)


@pytest.mark.parametrize("id", ["x", "0", "-1", "9223372036854775808", "1.5", "%00"])
def test_an_id_that_is_none_is_422(house: Any, id: str) -> None:
    for path in (f"ci/{id}/runs", f"datadiffs/{id}", f"data_sources/{id}"):
        assert house.call("GET", f"/api/v1/{path}").status_code == 422


def test_filters_say_what_and_when(house: Any, source: int) -> None:
    first = house.ok("POST", "datadiffs", body(source, tags=["nightly", "x"]))["id"]
    house.time[0] += 3 * 86_400_000
    second = house.ok("POST", "datadiffs", body(source, filter1="id > 0"))["id"]
    house.work()

    def ids(query: str) -> list[int]:
        return [d["id"] for d in house.ok("GET", f"datadiffs?{query}")["results"]]

    assert ids("tags=nightly") == [first]
    assert ids(f"id={first},{second}&sort_order=desc") == [second, first]
    assert ids("created_at=<2027-01-16") == [first]
    assert ids("created_at=>2027-01-16") == [second]
    assert ids("created_at=2027-01-15") == [first]
    assert ids("created_at=2027-01-14<<2027-01-17,2027-01-18") == [first, second]
    assert ids("table1=a&kind=in_db&done=true") == [first, second]
    assert ids("table1=b") == ids("monitor_id=1") == ids("ci_run_id=99") == []
    assert ids("order_by=stats.match_ratio&sort_order=desc&page_size=1") == [second]
    assert house.ok("GET", "datadiffs?page=2&page_size=1&order_by=created_at")["total_pages"] == 2
    assert ids("table1=b") == ids("user_name=nobody") == []
    starter = house.ok("GET", f"datadiffs/{first}")["user_id"]
    user = house.write(lambda tx: tx.get(User, starter))
    house.write(lambda tx: tx.save(replace(user, name="Rosa L.")))
    for name in ("Rosa%20L.", user.username):
        assert ids(f"user_name={name}&order_by=user_name") == [first, second]
    for bad in (
        "order_by=x",
        "page=0",
        "page_size=1001",
        "sort_order=up",
        "created_at=soon",
        "created_at=<<",
    ):
        assert house.call("GET", f"/api/v1/datadiffs?{bad}").status_code == 422, bad


def test_filters_read_numbers_truths_lists_and_commas_as_they_are_meant(house: Any, source: int) -> None:
    sql = "SELECT id, f FROM a"
    same = house.ok("POST", "datadiffs", body(source, table1=None, query1=sql, table2=["a"], include_columns=["f", "id"]))["id"]  # fmt: skip
    other = house.ok("POST", "datadiffs", body(source, exclude_columns=["f", "s"], archived=True))["id"]
    house.work()

    def ids(query: str) -> list[int]:
        return [d["id"] for d in house.ok("GET", f"datadiffs?{query}")["results"]]

    assert ids("stats.match_ratio=1") == ids("stats.match_ratio=1.0") == [same]
    assert ids("diff_stats_pks=0,0.1") == [same]
    assert ids(f"id=0{same}") == [same]
    assert ids("done=True") == ids("done=1") == [same, other]
    assert ids("done=False") == ids("done=maybe") == ids("diff_stats_rows=x,sNaN,1e999999") == []
    shown = house.ok("GET", f"datadiffs/{other}")["diff_stats"]
    assert 0 < shown["match_ratio"] < 1
    assert ids(f"stats.match_ratio={shown['match_ratio']}") == [other]
    assert ids("include_columns=f") == [same]
    assert ids("exclude_columns=s,x") == [other]
    assert ids("query1=" + quote(sql)) == [same]
    assert ids("archived=true") == [other]  # as it was asked for when it was made


def test_a_diff_of_another_persons_repository_does_not_exist(house: Any, source: int) -> None:
    """CI diffs follow their repository; diffs of the API are the organisation's, but only who started one may
    stop it."""
    config = house.config(source)
    house.trigger(config)
    house.ok("POST", f"ci/{config}/7", [{"prod": "a", "pr": "b", "pk": ["id"]}])
    (mine,) = house.ok("GET", "datadiffs")["results"]
    api = house.ok("POST", "datadiffs", body(source))["id"]
    plain = "Key glpat-plain"
    assert house.call("GET", f"/api/v1/datadiffs/{mine['id']}", key=plain).status_code == 404
    assert [d["id"] for d in house.call("GET", "/api/v1/datadiffs", key=plain).json()["results"]] == [api]
    assert house.call("POST", f"/api/v1/datadiffs/{api}/cancel", key=plain).status_code == 403
    assert house.call("PATCH", f"/api/v1/datadiffs/{api}", {"archived": True}, key=plain).status_code == 403
    assert house.call("GET", f"/api/v1/ci/{config}/runs", key=plain).status_code == 404
    own = house.call("POST", "/api/v1/datadiffs", body(source), key=plain).json()["id"]
    assert house.call("POST", f"/api/v1/datadiffs/{own}/cancel", key=plain).json()["status"] == "cancelled"


def test_progress_is_read_from_the_programs_lines() -> None:
    assert completed(b"") == completed(b"hello\n[oops] compare 10%\n") == 0
    log = b"[   0.0 s] connect\n[   0.1 s] columns\n[   2.1 s] compare\n[  12.1 s] compare 37% 3,700 of 10,000 rows\n"
    assert completed(log) == STEPS.index("compare") * PARTS + 3
    assert completed(log + b"[  20.0 s] write\n") == STEPS.index("write") * PARTS


def test_unknown_calls_and_methods_answer_as_problems(house: Any) -> None:
    for method, path, status in (("GET", "/api/v1/monitors", 404), ("DELETE", "/api/v1/datadiffs", 405)):
        answer = house.call(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.postgres
def test_results_are_materialised_where_a_data_source_keeps_a_schema_for_them(
    house: Any, source: int, fresh_postgres_url: str
) -> None:
    with psycopg.connect(fresh_postgres_url, autocommit=True) as c:
        c.execute("CREATE SCHEMA scratch")
    about = psycopg.conninfo.conninfo_to_dict(fresh_postgres_url)
    options = {
        "host": about["host"],
        "port": int(str(about["port"])),
        "user": about["user"],
        "dbname": about["dbname"],
    }
    given = {"name": "results", "type": "pg", "options": options}
    none = house.ok("POST", "data_sources", given)["id"]
    refused = house.call("POST", "/api/v1/datadiffs", body(source, materialization_destination_id=none))
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (
        422,
        ["body", "materialization_destination_id"],
    )
    kept = house.ok("POST", "data_sources", {**given, "name": "scratch", "temp_schema": "postgres.scratch"})
    assert kept["temp_schema"] == "postgres.scratch"
    wish = {
        "materialization_destination_id": kept["id"],
        "sampling_ratio": 0.5,
        "materialize_without_sampling": True,
        "materialize_dataset2": True,
    }
    made = house.ok("POST", "datadiffs", body(source, **wish))
    assert made["materialization_destination_id"] == kept["id"]
    house.work()
    found = house.ok("GET", f"datadiffs/{made['id']}/summary_results")["materialized_results"]
    assert list(found) == ["diff", "exclusives", "duplicates1", "duplicates2", "dataset2"]
    (table,) = found["diff"]
    assert (table["data_source_id"], table["path"][0], table["is_sampled"]) == (kept["id"], "scratch", False)
    with psycopg.connect(fresh_postgres_url) as c:
        counts = [
            c.execute(f"SELECT count(*) FROM scratch.{t[0]['path'][1]}").fetchone() for t in found.values()
        ]  # type: ignore[call-overload]
    assert counts == [(9,), (1,), (0,), (0,), (9,)]


def test_a_data_source_says_what_it_was_told(house: Any) -> None:
    told = {
        "is_paused": True,
        "view_only": True,
        "data_retention_days": 7,
        "schema_indexing_schedule": "0 1 * * *",
    }
    given = {"name": "p", "type": "duckdb", "options": {"path": "/x.duckdb"}, **told}
    made = house.ok("POST", "data_sources", given)
    assert {name: made[name] for name in told} == told
    assert house.ok("GET", f"data_sources/{made['id']}") == made
    refused = house.call("POST", "/api/v1/datadiffs", body(made["id"]))
    assert (refused.status_code, refused.json()["detail"]) == (422, "The data source p is paused.")
    hidden = house.ok("POST", "data_sources", {**given, "name": "h", "hidden": True})
    assert [s["name"] for s in house.ok("GET", "data_sources")] == ["p"]
    assert house.ok("GET", f"data_sources/{hidden['id']}")["hidden"] is True
