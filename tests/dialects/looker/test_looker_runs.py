"""Runs end to end: a suite becomes jobs, jobs run the real validators, their reports become results in both
families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runyard.dialects import all_statuses
from runyard.dialects.looker.words import HEAR, SAY
from runyard.engine.ports import Page, RunFilter
from runyard.model.access import Role
from runyard.model.plan import Network
from tests.services import PLAIN, join

from .conftest import House, bakery

RUNS = "/projects/group%2Fbakery/continuous_integration/runs"
LEGACY = "/projects/group%2Fbakery/ci"


@pytest.fixture
def shop(house: House, bakery_file: Path) -> House:
    """The bakery's project with its connection."""
    house.push(bakery())
    house.ok(
        "POST",
        "/connections",
        json={"name": "bakery", "dialect_name": "duckdb", "database": str(bakery_file)},
    )
    return house


def test_words_are_total() -> None:
    assert set(SAY) == set(all_statuses())
    assert set(SAY.values()) <= set(HEAR)


def test_a_clean_project_passes_in_both_families(shop: House) -> None:
    suite = shop.suite()
    started = shop.ok("POST", f"{LEGACY}/run", json={"suite_id": suite})
    assert started == {"run_id": started["run_id"], "status": "queued"}
    run_id = started["run_id"]
    assert shop.ok("GET", f"{LEGACY}/runs/{run_id}")["run"]["status"] == "queued"
    logs = shop.work()
    assert "[2/2] ok" in logs[-1], logs
    run = shop.ok("GET", f"{LEGACY}/runs/{run_id}")["run"]
    assert (run["status"], run["title"], run["suite_id"], run["username"]) == (
        "passed",
        "nightly",
        suite,
        "Root",
    )
    assert run["result"]["lookml_result"] == {
        "name": "lookml",
        "status": "passed",
        "error_count": 0,
        "errors": [],
    }
    assert run["result"]["sql_result"]["status"] == "passed"
    tested = run["result"]["sql_result"]["result"]
    assert [(t["model"], t["explore"], t["status"], t["error_count"]) for t in tested] == [
        ("bakery", "order_items", "passed", 0),
        ("bakery", "customers", "passed", 0),
    ]
    assert [k for k, v in run["result"].items() if v is not None] == ["lookml_result", "sql_result"]
    assert "style_result" not in run["result"]
    new = shop.ok("GET", f"{RUNS}/{run_id}")
    assert new["result"]["sql_result"]["tested"] == tested
    assert (new["status"], new["ci_suite_id"], new["git_branch_name"]) == ("passed", suite, "main")
    assert shop.ok("GET", f"{LEGACY}/runs/{run_id}?fields=run(status,result(lookml_result(status)))") == {
        "run": {"status": "passed", "result": {"lookml_result": {"status": "passed"}}}
    }


def broken() -> dict[str, str]:
    files = bakery()
    files["views/products.view.lkml"] = files["views/products.view.lkml"].replace(
        "${TABLE}.price", "${TABLE}.prize"
    )
    files["views/customer_facts.view.lkml"] = files["views/customer_facts.view.lkml"].replace(
        "${order_count} >= 3", "${order_cuont} >= 3"
    )
    return files


def test_faults_are_told_with_dimension_file_and_line(house: House, bakery_file: Path) -> None:
    house.push(broken())
    house.ok(
        "POST",
        "/connections",
        json={"name": "bakery", "dialect_name": "duckdb", "database": str(bakery_file)},
    )
    run_id = house.ok("POST", RUNS, json={"suite_id": house.suite()})["id"]
    house.work()
    run = house.ok("GET", f"{RUNS}/{run_id}")
    assert run["status"] == "failed"
    (one,) = run["result"]["lookml_result"]["errors"]
    error = one["lookml_error"]
    assert (error["file_path"], error["line_number"], error["severity"]) == (
        "views/customer_facts.view.lkml",
        "24",
        "error",
    )
    assert "Did you mean order_count?" in error["message"]
    assert run["result"]["lookml_result"]["error_count"] == 1
    tested = {t["explore"]: t for t in run["result"]["sql_result"]["tested"]}
    sales = {e["sql_error"]["dimension"]: e["sql_error"] for e in tested["order_items"]["errors"]}
    assert set(sales) == {"order_items.line_price", "products.price", "customer_facts.is_regular"}
    place = f"files/views/products.view.lkml?commit={run['git_commit_ref']}&line=14#L14"
    assert sales["products.price"]["lookml_url"] == f"http://ci.test/-/looker/projects/group%2Fbakery/{place}"
    assert sales["products.price"]["line_number"] == "14"
    assert "prize" in sales["order_items.line_price"]["message"]
    assert tested["order_items"]["status"] == "failed"


def test_a_missing_connection_is_errored_not_failed(house: House) -> None:
    house.push(bakery())
    run_id = house.ok("POST", RUNS, json={"suite_id": house.suite(lookml_validator_config_is_enabled=False)})[
        "id"
    ]
    house.work()
    run = house.ok("GET", f"{RUNS}/{run_id}")
    assert run["status"] == "errored"
    assert "does not exist here" in run["result"]["sql_error"]["detail"]
    assert run["result"]["lookml_result"] is None


DASHBOARD = """- dashboard: sales
  title: Sales
  elements:
  - title: Prices
    name: prices
    model: bakery
    explore: order_items
    type: table
    fields: [products.nmae]
"""
ALL = {f"{v}_validator_config_is_enabled": True for v in ("lookml", "style", "sql", "assert", "content")}


def test_all_five_validators_and_both_families_of_their_results(shop: House) -> None:
    tests = bakery()["tests/sales.test.lkml"]
    extra = "\ntest: nothing_sold { explore_source: order_items { column: total_sales { field: order_items.total_sales } }\n"
    extra += "  assert: none { expression: ${order_items.total_sales} = 0 ;; } }\n"
    sha = shop.commit(
        "all",
        {
            "tests/sales.test.lkml": tests + extra,
            "sales.dashboard.lookml": DASHBOARD,
            "lkmlstyle.yaml": "schema_version: 1\nruleset_version: all-v1.0\n",
        },
    )
    suite = shop.suite(**ALL, style_validator_config_incremental=False)
    run_id = shop.ok("POST", RUNS, json={"suite_id": suite, "branch": "all"})["id"]
    shop.work()
    run = shop.ok("GET", f"{RUNS}/{run_id}")
    result = run["result"]
    assert [k for k, v in result.items() if k.endswith("_error") and v] == [], result
    assert (run["status"], run["git_commit_ref"]) == ("failed", sha)
    tested = {t["explore"]: t for t in result["assert_result"]["tested"]}["order_items"]
    (failed,) = [e["assert_error"] for e in tested["errors"]]
    assert (failed["test_name"], failed["model"], failed["explore"]) == (
        "nothing_sold",
        "bakery",
        "order_items",
    )
    assert failed["lookml_url"].startswith(
        "http://ci.test/-/looker/projects/group%2Fbakery/files/tests/sales"
    )
    assert tested["success_count"] == str(len(tested["successes"])) != "0"
    assert tested["status"] == result["assert_result"]["status"] == "failed"
    content = {t["explore"]: t for t in result["content_result"]["tested"]}["order_items"]
    (wrong,) = [e["content_error"] for e in content["errors"]]
    assert (wrong["field_name"], wrong["content_type"], wrong["tile_type"], wrong["tile_title"]) == (
        "products.nmae",
        "dashboard",
        "dashboard_element",
        "Prices",
    )
    style = result["style_result"]
    assert (style["name"], style["status"], style["incremental"]) == ("style", "failed", False)
    one = style["errors"][0]["style_error"]
    assert isinstance(one["line_number"], int) and one["error_id"] and one["rule_name"] and one["context"]
    old = shop.ok("GET", f"{LEGACY}/runs/{run_id}")["run"]["result"]
    assert old["assert_result"]["results"] == result["assert_result"]["tested"]
    assert old["content_result"]["result"] == result["content_result"]["tested"]
    assert "style_result" not in old


def test_a_style_validator_without_rules_could_not_run(shop: House) -> None:
    suite = shop.suite(
        style_validator_config_is_enabled=True,
        lookml_validator_config_is_enabled=False,
        sql_validator_config_is_enabled=False,
    )
    run_id = shop.ok("POST", RUNS, json={"suite_id": suite})["id"]
    shop.work()
    run = shop.ok("GET", f"{RUNS}/{run_id}")
    assert run["status"] == "errored"
    assert run["result"]["style_error"]["detail"] == "No style validator configuration provided"


def test_incremental_counts_only_what_the_target_does_not_have(house: House, bakery_file: Path) -> None:
    house.push(broken())
    house.ok(
        "POST",
        "/connections",
        json={"name": "bakery", "dialect_name": "duckdb", "database": str(bakery_file)},
    )
    name = "views/customers.view.lkml"
    house.commit("feature", {name: bakery()[name].replace("${TABLE}.city", "${TABLE}.citty")})
    suite = house.suite(lookml_validator_config_is_enabled=False, sql_validator_config_incremental=True)
    run_id = house.ok("POST", RUNS, json={"suite_id": suite, "branch": "feature"})["id"]
    house.work()
    run = house.ok("GET", f"{RUNS}/{run_id}")
    sql = run["result"]["sql_result"]
    assert (run["status"], sql["incremental"], run["git_target_branch_name"]) == ("failed", True, "main")
    told = {(t["explore"], e["sql_error"]["dimension"]) for t in sql["tested"] for e in t["errors"]}
    # A join of the second explore reads the column too; what was broken before is not told again.
    assert told == {("order_items", "customers.city"), ("customers", None), ("customers", "customers.city")}
    assert len(sql["tested"]) == 2
    same = house.ok("POST", RUNS, json={"suite_id": suite})["id"]
    house.work()
    run = house.ok("GET", f"{RUNS}/{same}")
    assert run["status"] == "passed"
    tested = run["result"]["sql_result"]["tested"]
    assert {(t["status"], t["skip_reason"]) for t in tested} == {("skipped", "unmodified")}


def test_the_severity_of_the_suite_decides(house: House) -> None:
    files = bakery()
    files["models/bakery.model.lkml"] += '\ninclude: "/nothing/*"\n'
    house.push(files)
    answers = {}
    for severity in ("warning", "error"):
        suite = house.suite(sql_validator_config_is_enabled=False, lookml_validator_config_severity=severity)
        run_id = house.ok("POST", RUNS, json={"suite_id": suite})["id"]
        house.work()
        result = house.ok("GET", f"{RUNS}/{run_id}")["result"]["lookml_result"]
        answers[severity] = (result["status"], len(result["errors"]))
    assert answers == {"warning": ("failed", 1), "error": ("passed", 1)}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"branch": "nope"}, "branch"),
        ({"commit": "0" * 40}, "commit"),
        ({"commit": "--upload-pack=x"}, "commit"),
        ({"branch": "main", "commit": "f" * 40}, "commit"),
        ({"branch": 5}, "branch"),
        ({"branch": "-x"}, "branch"),
        ({"user_attributes": [{"name": "a b", "value": "x"}]}, "user_attributes"),
        ({"user_attributes": "x"}, "user_attributes"),
        ({"project_imports": {"lib": "abc"}}, "project_imports"),
    ],
)
def test_a_bad_request_is_refused_by_field_and_leaves_no_run(
    shop: House, body: dict[str, Any], field: str
) -> None:
    suite = shop.suite()
    for path in (f"{LEGACY}/run", RUNS):
        answer = shop.call("POST", path, json={"suite_id": suite, **body})
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["field"] == field
    assert shop.ok("GET", f"{RUNS}/search") == []


def test_a_suite_without_validators_is_refused(shop: House) -> None:
    suite = shop.suite(lookml_validator_config_is_enabled=False, sql_validator_config_is_enabled=False)
    answer = shop.call("POST", RUNS, json={"suite_id": suite})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "suite_id")


def test_the_commit_is_fixed_when_asked(shop: House) -> None:
    run = shop.ok("POST", RUNS, json={"suite_id": shop.suite(), "branch": "main", "commit": None})
    full = run["git_commit_ref"]
    assert len(full) == 40
    again = shop.ok("POST", RUNS, json={"suite_id": shop.suite(), "commit": full[:10]})
    assert again["git_commit_ref"] == full


def test_cancel_search_and_duplicate(shop: House) -> None:
    first = shop.ok(
        "POST",
        RUNS,
        json={"suite_id": shop.suite(name="one"), "user_attributes": [{"name": "region", "value": "eu"}]},
    )
    assert first["user_attributes"] == [{"id": 1, "name": "region", "value": "eu"}]
    assert shop.call("DELETE", f"{RUNS}/{first['id']}").status_code == 204
    assert shop.call("DELETE", f"{RUNS}/{first['id']}").status_code == 409
    assert shop.ok("GET", f"{RUNS}/{first['id']}")["status"] == "cancelled"
    second = shop.ok("POST", f"{RUNS}/{first['id']}/duplicate")
    assert (second["ci_suite_id"], second["user_attributes"]) == (
        first["ci_suite_id"],
        first["user_attributes"],
    )
    shop.work()
    third = shop.ok("POST", RUNS, json={"suite_id": shop.suite(name="two")})

    def ids(query: str) -> list[str]:
        return [r["id"] for r in shop.ok("GET", f"{RUNS}/search{query}")]

    assert ids("") == [third["id"], second["id"], first["id"]]
    assert ids("?sorts=created_at") == [first["id"], second["id"], third["id"]]
    by_status = [first["id"], second["id"], third["id"]]  # cancelled, passed, queued
    assert ids("?sorts=status,created_at desc") == by_status
    assert ids("?sorts=status desc") == by_status[::-1]
    assert ids("?sorts=suite_id desc,created_at&limit=2") == [third["id"], first["id"]]
    assert ids("?status=passed,cancelled") == [second["id"], first["id"]]
    assert ids(f"?suite_id={first['ci_suite_id']}&limit=1&offset=1") == [first["id"]]
    assert ids("?user_id=2") == []
    assert ids("?trigger_type=schedule") == []


def test_plans_keep_secrets_apart_and_ask_for_little(shop: House) -> None:
    shop.ok(
        "POST",
        "/connections",
        json={
            "name": "bakery2",
            "dialect_name": "postgres",
            "host": "h",
            "database": "d",
            "password": "sesame",
        },
    )
    files = bakery() | {"models/second.model.lkml": 'connection: "bakery2"\n'}
    shop.push(files, "group/second")
    runs = "/projects/group%2Fsecond/continuous_integration/runs"
    suite = shop.suite()
    shop.ok("POST", runs, json={"suite_id": suite})
    (run,) = shop.write(lambda tx: tx.runs(RunFilter(dialect="looker"), Page()))
    jobs = {job.key: job.plan for job, _ in shop.write(lambda tx: tx.graph(run.id))}
    assert jobs["lookml"].network is Network.NONE
    assert jobs["lookml"].variables == ()
    assert jobs["sql"].network is Network.HOST
    assert jobs["lookml"].connections == ()
    assert {use.name for use in jobs["sql"].connections} == {"bakery", "bakery2"}
    assert "sesame" not in str(run) + str(jobs)


def test_a_report_that_is_no_report_is_errored(shop: House) -> None:
    run_id = shop.ok("POST", RUNS, json={"suite_id": shop.suite()})["id"]
    shop.work(rewrite=lambda report: ["not", "a", "report"])
    run = shop.ok("GET", f"{RUNS}/{run_id}")
    assert run["status"] == "errored"
    assert run["crashed_check_count"] == 2
    assert run["result"]["lookml_error"]["detail"]


def test_a_report_of_wrong_types_never_breaks_the_answer(shop: House) -> None:
    run_id = shop.ok("POST", RUNS, json={"suite_id": shop.suite()})["id"]
    shop.work(
        rewrite=lambda report: {
            "status": "failed",
            "findings": "x",
            "tested": [{"model": 1}],
            "error_count": "many",
        }
    )
    assert shop.ok("GET", f"{RUNS}/{run_id}")["status"] == "errored"
    assert shop.ok("GET", f"{LEGACY}/runs/{run_id}")["run"]["status"] == "errored"


def test_hidden_files_of_the_repository_are_not_python_modules(shop: House, bakery_file: Path) -> None:
    files = bakery() | {
        "json.py": "raise SystemExit(0)",
        "runyard/__init__.py": "raise SystemExit(0)",
        "duckdb.py": "raise SystemExit(0)",
    }
    shop.push(files, "group/third")
    runs = f"/projects/{shop.project_id}/continuous_integration/runs"
    run_id = shop.ok("POST", runs, json={"suite_id": shop.suite()})["id"]
    logs = shop.work()
    assert "sql validator: passed" in logs[-1]
    assert shop.ok("GET", f"{runs}/{run_id}")["status"] == "passed"


def test_every_developer_may_run_and_others_may_not(shop: House) -> None:
    suite = shop.suite()
    assert shop.call("POST", RUNS, token=PLAIN, json={"suite_id": suite}).status_code == 404
    for role, status in ((Role.REPORTER, 403), (Role.DEVELOPER, 200)):
        shop.services.db.submit_write(lambda tx, role=role: join(tx, "plain", "group/bakery", role)).result()
        assert shop.call("POST", RUNS, token=PLAIN, json={"suite_id": suite}).status_code == status
    assert shop.call("POST", RUNS, token=PLAIN, json={"suite_id": suite}).status_code == 200
    assert shop.call("POST", RUNS, token=None, json={"suite_id": suite}).status_code == 401
