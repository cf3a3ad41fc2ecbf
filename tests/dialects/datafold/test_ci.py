"""CI runs: waiting for tables, repeated calls, newer commits, thresholds, what makes a run fail."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.engine.ports import ArtifactFilter, Page
from runyard.model.state import Outcome
from runyard.model.work import Run

TABLES = (
    "CREATE TABLE prod AS SELECT i AS id, i AS v FROM range(10) r(i)",
    "CREATE TABLE pr AS SELECT id, CASE WHEN id = 3 THEN 0 ELSE v END AS v FROM prod",
    "CREATE TABLE dup AS SELECT 1 AS id, 1 AS v FROM range(2)",
)
PAIR = {"prod": "prod", "pr": "pr", "pk": ["id"]}


@pytest.fixture
def source(house: Any) -> int:
    return int(house.warehouse(*TABLES))


def test_a_run_waits_for_tables_then_is_done_whatever_they_differ_in(house: Any, source: int) -> None:
    config = house.config(source)
    run = house.trigger(config)
    assert house.status(config, run) == "waiting"
    assert house.ok("POST", f"ci/{config}/7", [PAIR, PAIR]) == {"ci_run_id": run, "run_id": run}
    assert house.status(config, run) == "queued"
    assert house.work() == 1  # the same pair twice is one diff
    assert house.status(config, run) == "done"
    (diff,) = house.ok("GET", f"datadiffs?ci_run_id={run}")["results"]
    assert (diff["status"], diff["result"], diff["source"], diff["ci_pr_num"]) == (
        "done",
        "different",
        "ci",
        7,
    )
    assert (diff["affected_columns"], diff["ci_pr_sha"]) == (["v"], "b" * 40)


def test_without_an_open_run_a_submission_is_answered_with_null(house: Any, source: int) -> None:
    config = house.config(source)
    assert house.ok("POST", f"ci/{config}/7", [PAIR]) == {"ci_run_id": None, "run_id": None}
    house.trigger(config)
    assert house.ok("POST", f"ci/{config}/8", [PAIR])["run_id"] is None
    house.ok("POST", f"ci/{config}/7", [PAIR])
    house.work()
    assert house.ok("POST", f"ci/{config}/7", [PAIR])["run_id"] is None


def test_the_same_commit_reuses_its_open_run_and_a_newer_one_cancels_it(house: Any, source: int) -> None:
    config = house.config(source)
    first = house.trigger(config)
    assert house.trigger(config) == first
    second = house.trigger(config, "c" * 40)
    other = house.trigger(config, "d" * 40, pr=8)
    assert len({first, second, other}) == 3
    assert house.status(config, first) == "cancelled"
    assert house.status(config, second) == house.status(config, other) == "waiting"
    house.ok("POST", f"ci/{config}/7", [PAIR])
    house.work()
    assert house.status(config, second) == "done"
    assert house.trigger(config, "c" * 40) not in (first, second, other)


def test_runs_are_listed_newest_first_and_filtered(house: Any, source: int) -> None:
    config, other = house.config(source), house.config(source)
    ids = [house.trigger(config, letter * 40, pr) for letter, pr in (("a", 1), ("b", 2), ("c", 2))]
    house.trigger(other)
    listed = house.ok("GET", f"ci/{config}/runs")
    assert [r["id"] for r in listed] == ids[::-1]
    assert all(isinstance(r["pr_num"], str) for r in listed)
    assert [r["id"] for r in house.ok("GET", f"ci/{config}/runs?limit=1&pr_sha={'b' * 40}")] == [ids[1]]
    assert [r["id"] for r in house.ok("GET", f"ci/{config}/runs?pr_num=2&offset=1")] == [ids[1]]
    assert house.ok("GET", f"ci/{config}/runs?pr_sha=bb") == []


def test_no_tables_at_all_end_the_run_well(house: Any, source: int) -> None:
    config = house.config(source)
    run = house.trigger(config)
    assert house.ok("POST", f"ci/{config}/7", [])["run_id"] == run
    assert house.status(config, run) == "done"


def test_a_forgotten_run_ends_well_after_its_time(house: Any, source: int) -> None:
    config = house.config(source, submit_timeout_s=60)
    run = house.trigger(config)
    house.time[0] += 59_000
    house.round()
    assert house.status(config, run) == "waiting"
    house.time[0] += 2_000
    house.round()
    assert house.status(config, run) == "done"


@pytest.mark.parametrize(("fails", "status"), [(True, "failed"), (False, "done")])
def test_a_diff_that_could_not_be_made_fails_the_run_if_so_configured(
    house: Any, source: int, fails: bool, status: str
) -> None:
    config = house.config(source, fail_on_errors=fails)
    run = house.trigger(config)
    house.ok("POST", f"ci/{config}/7", [PAIR, {"prod": "prod", "pr": "gone", "pk": None}])
    assert house.work() == 2
    assert house.status(config, run) == status
    diffs = {d["table2"][0]: d for d in house.ok("GET", "datadiffs")["results"]}
    assert (diffs["gone"]["status"], diffs["gone"]["result"]) == ("failed", "error")
    result = house.ok("GET", f"datadiffs/{diffs['gone']['id']}/summary_results")
    assert result["status"] == "failed"
    assert result["error"]["error_type"] == "NoSuchTableException"


@pytest.mark.parametrize(("fails", "status"), [(True, "failed"), (False, "done")])
def test_bad_keys_fail_the_run_if_so_configured(house: Any, source: int, fails: bool, status: str) -> None:
    config = house.config(source, fail_on_primary_key_issues=fails)
    run = house.trigger(config)
    house.ok("POST", f"ci/{config}/7", [{"prod": "dup", "pr": "dup", "pk": ["id"]}])
    house.work()
    assert house.status(config, run) == status
    (diff,) = house.ok("GET", "datadiffs")["results"]
    assert (diff["status"], diff["result"]) == ("done", "bad-pks")


def test_more_diffs_than_the_threshold_wait_for_confirmation(house: Any, source: int) -> None:
    config = house.config(source, ci_diff_threshold=1)
    run = house.trigger(config)
    house.ok("POST", f"ci/{config}/7", [PAIR, {"prod": "pr", "pr": "prod", "pk": ["id"]}])
    assert house.status(config, run) == "needs_confirmation"
    assert house.work() == 0
    assert house.ok("GET", f"ci/{config}/runs/{run}/report")["totals"]["waiting_for_confirmation"] == 2
    assert house.call(
        "POST", f"/api/v1/ci/{config}/runs/{run}/confirm", key="Key glpat-plain"
    ).status_code in (403, 404)
    for _ in range(2):
        assert house.ok("POST", f"ci/{config}/runs/{run}/confirm")["status"] == "queued"
    assert house.work() == 2
    assert house.status(config, run) == "done"


def test_as_many_diffs_as_the_threshold_start_by_themselves(house: Any, source: int) -> None:
    config = house.config(source, ci_diff_threshold=1)
    house.trigger(config)
    house.ok("POST", f"ci/{config}/7", [PAIR, PAIR])
    assert house.work() == 1


def test_a_run_is_cancelled_by_call(house: Any, source: int) -> None:
    config, other = house.config(source), house.config(source)
    run = house.trigger(config)
    assert house.call("POST", f"/api/v1/ci/{other}/runs/{run}/cancel").status_code == 404
    for _ in range(2):
        assert house.ok("POST", f"ci/{config}/runs/{run}/cancel")["status"] == "cancelled"


def test_a_configuration_for_one_base_branch_leaves_others_alone(house: Any, source: int) -> None:
    config = house.config(source, custom_base_branch="staging")
    body = {"pr_number": 7, "pr_branch": "f", "pr_sha": "b" * 40, "base_sha": "a" * 40}
    answer = house.ok("POST", f"ci/{config}/trigger", {**body, "base_branch": "main"})
    assert answer == {"ci_run_id": None, "run_id": None}
    assert house.ok("POST", f"ci/{config}/trigger", {**body, "base_branch": "staging"})["run_id"]


def test_a_configuration_is_changed_and_removed(house: Any, source: int) -> None:
    config = house.config(source, ci_diff_threshold=1)
    changed = house.ok("PATCH", f"ci/{config}", {"name": "new", "slim_diff": True})
    assert (changed["name"], changed["slim_diff"], changed["ci_diff_threshold"]) == ("new", True, 1)
    whole = {"name": "whole", "repository": "data/shop", "data_source_id": source}
    assert house.ok("PUT", f"ci/{config}", whole)["ci_diff_threshold"] is None
    for bad in (
        {"ci_diff_threshold": -1},
        {"enable_sampling": True},
        {"files_to_ignore": ["a" * 9000]},
        {"builds": {"x": 1}},
        [],
    ):
        assert house.call("PATCH", f"/api/v1/ci/{config}", bad).status_code == 422, bad
    for method, body in (("PATCH", {"name": "x"}), ("PUT", whole), ("DELETE", None)):
        assert house.call(method, f"/api/v1/ci/{config}", body, key="Key glpat-plain").status_code == 403
    run = house.trigger(config)
    assert house.ok("DELETE", f"ci/{config}") == {}
    assert house.call("GET", f"/api/v1/ci/{config}/runs").status_code == 404
    assert house.write(lambda tx: tx.get(Run, run).outcome) is Outcome.CANCELED


def test_the_report_says_per_table_what_was_found(house: Any, source: int) -> None:
    config = house.config(source)
    run = house.trigger(config)
    house.ok(
        "POST",
        f"ci/{config}/7",
        [PAIR, {"prod": "prod", "pr": "prod", "pk": ["id"]}, {"prod": "prod", "pr": "a|b`c", "pk": ["id"]}],
    )
    house.work()
    found = house.ok("GET", f"ci/{config}/runs/{run}/report")
    assert found["totals"] | {"waiting_for_confirmation": 0} == {
        "diffs": 3, "done": 2, "different": 1, "identical": 1, "failed": 1, "bad_keys": 0, "waiting_for_confirmation": 0,
    }  # fmt: skip
    assert found["run"]["status"] == "failed"
    answer = house.call("GET", f"/api/v1/ci/{config}/runs/{run}/report?format=markdown")
    assert answer.headers["content-type"].startswith("text/markdown")
    text = answer.text
    assert "| 10 → 10 | 0 | 0 | 1 | 1 of 1 | 95.00 % |" in text
    assert "Values different: `v` 1 (10 %)" in text
    assert "a\\|b\\`c" in text  # a table's name ends neither its cell nor its code
    assert f"http://ci.test/datadiffs/runs/{run}" in text


def test_a_report_that_is_not_there_is_a_page_for_people(house: Any) -> None:
    answer = house.call("GET", "/datadiffs/runs/999")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "There is no CI run 999." in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")


@pytest.mark.parametrize("shown", [True, False])
def test_row_values_are_in_the_report_unless_switched_off(house: Any, source: int, shown: bool) -> None:
    config = house.config(source, show_row_values=shown)
    run = house.trigger(config)
    house.ok("POST", f"ci/{config}/7", [PAIR])
    house.work()
    (line,) = house.ok("GET", f"ci/{config}/runs/{run}/report")["diffs"]
    assert bool(line["samples"]["changed"]) is shown
    assert line["values"]["rows_with_differences"] == 1
    kept = house.write(lambda tx: tx.artifacts(ArtifactFilter(run_id=run), Page(limit=100)))
    assert ("datadiff_rows" in {a.type for a in kept}) is shown


def test_ignored_columns_and_missing_keys(house: Any, source: int) -> None:
    config = house.config(source, ignore_columns=["v"])
    house.trigger(config)
    house.ok("POST", f"ci/{config}/7", [{"prod": "prod", "pr": "pr", "pk": []}])
    house.work()
    (diff,) = house.ok("GET", "datadiffs")["results"]
    assert (diff["result"], diff["pk_columns"]) == ("identical", ["id"])


def test_a_configuration_needs_a_repository_and_a_data_source(house: Any, source: int) -> None:
    body = {"name": "x", "repository": "data/shop", "data_source_id": source}
    by_id = house.ok("POST", "ci", body | {"repository": 1})
    assert by_id["repository"] == "data/shop"
    assert house.ok("GET", f"ci/{by_id['id']}") == by_id
    assert house.ok("GET", "ci") == [by_id]
    for change in ({"repository": "no/such"}, {"data_source_id": 99}):
        answer = house.call("POST", "/api/v1/ci", body | change)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert house.call("POST", "/api/v1/ci", body, key="Key glpat-plain").status_code == 403
