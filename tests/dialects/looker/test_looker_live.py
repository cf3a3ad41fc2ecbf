"""On a real server: a push starts a suite, its jobs see the imported project and the target's tree in their
boxes, and the clock is looked at."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.live_server import TOKEN, LiveServer

VIEW = "view: sales {{\n  dimension: id {{ primary_key: yes sql: ${{TABLE}}.id ;; }}\n  dimension: city {{ sql: ${{TABLE}}.{} ;; }}\n}}\n"
MODEL = 'connection: "live"\ninclude: "//live_lib/*.view"\nexplore: sales {}\n'
OWN = "view: +sales {\n  dimension: shout { sql: upper(${city}) ;; }\n}\n"


def api(server: LiveServer, method: str, path: str, body: Any = None) -> Any:
    argv = ["curl", "-sS", "-X", method, f"{server.url}/api/4.0{path}", "-H", f"Authorization: token {TOKEN}"]
    more = ["-d", json.dumps(body)] if body is not None else []
    done = subprocess.run([*argv, *more], capture_output=True, text=True, check=True)
    return json.loads(done.stdout) if done.stdout else None


def test_a_push_starts_a_suite_whose_boxes_hold_target_and_imports(
    server: LiveServer, tmp_path: Path
) -> None:
    file = tmp_path / "live.duckdb"
    with duckdb.connect(str(file)) as database:
        database.execute("CREATE TABLE sales AS SELECT 1 AS id, 'Rome' AS city")
    api(server, "POST", "/connections", {"name": "live", "dialect_name": "duckdb", "database": str(file)})
    good = server.push("live/live_lib", {"sales.view.lkml": VIEW.format("city")})
    manifest = 'project_name: "live_shop"\nlocal_dependency: { project: "live_lib" }\n'
    files = {"manifest.lkml": manifest, "m.model.lkml": MODEL}
    server.push("live/live_shop", files)
    home = "/projects/live_shop/continuous_integration"
    suite = {
        "name": "pushed",
        "push_trigger_is_enabled": True,
        "push_trigger_branches": ["feature/*"],
        "sql_validator_config_incremental": True,
    }
    made = api(server, "POST", f"{home}/suites", suite)
    changed = {**files, "m.model.lkml": MODEL + 'include: "/own.view"\n', "own.view.lkml": OWN}
    changed["own.view.lkml"] = OWN.replace("upper", "uper")
    sha = server.push("live/live_shop", changed, branch="feature/shout")

    def newest() -> Any:
        return (api(server, "GET", f"{home}/runs/search?suite_id={made['id']}") or [None])[0]

    run = server.until(newest, lambda r: r is not None and r["status"] not in ("queued", "running"), 120)
    assert (run["trigger_type"], run["git_commit_ref"], run["git_branch_name"]) == (
        "push",
        sha,
        "feature/shout",
    )
    assert run["project_imports"] == {"live_lib": good}
    assert run["git_target_branch_name"] == "main"
    assert run["result"]["lookml_result"]["errors"] == [], run["result"]["lookml_result"]
    (tested,) = run["result"]["sql_result"]["tested"]
    assert [e["sql_error"]["dimension"] for e in tested["errors"]] == ["sales.shout"]
    assert run["status"] == "failed"
    broken = server.push("live/live_lib", {"sales.view.lkml": VIEW.format("town")}, branch="next")
    body = {"suite_id": made["id"], "project_imports": {"live_lib": "next"}}
    pinned = api(server, "POST", f"{home}/runs", body)
    assert pinned["project_imports"] == {"live_lib": broken}
    look = f"{home}/runs/{pinned['id']}"
    ended = server.until(
        lambda: api(server, "GET", look), lambda r: r["status"] not in ("queued", "running"), 120
    )
    assert ended["project_imports"] == {"live_lib": broken}
    (tested,) = ended["result"]["sql_result"]["tested"]  # production as it is does not have this error
    assert [e["sql_error"]["dimension"] for e in tested["errors"]] == ["sales.city"], tested
    duplicate = api(server, "POST", f"{look}/duplicate")
    assert duplicate["project_imports"] == {"live_lib": broken}


def test_the_next_run_finds_what_the_last_one_learned(server: LiveServer) -> None:
    """A project's cache goes from job to job; what a commit has under its name is thrown away first."""
    poison = {".runyard-cache/lookml-cache.json": '{"program": "x"}'}
    server.push("live/cached", {**poison, "m.model.lkml": 'connection: "c"\nexplore: nothing {}\n'})
    home = "/projects/cached/continuous_integration"
    body = {"name": "twice", "sql_validator_config_is_enabled": False}
    made = api(server, "POST", f"{home}/suites", body)
    said = []
    for _ in range(2):
        run = api(server, "POST", f"{home}/runs", {"suite_id": made["id"]})
        look = f"{home}/runs/{run['id']}"
        ended = server.until(
            lambda look=look: api(server, "GET", look),
            lambda r: r["status"] not in ("queued", "running"),
            120,
        )
        assert ended["status"] == "failed", ended
        _, jobs = server.call("GET", f"/api/v4/projects/live%2Fcached/pipelines/{run['id']}/jobs")
        _, trace = server.call("GET", f"/api/v4/projects/live%2Fcached/jobs/{jobs[0]['id']}/trace")
        said.append(str(trace))
    assert "No cache for lookml" in said[0], said[0]
    assert "Successfully extracted cache lookml" in said[1], said[1]
    assert all("nothing" in text for text in said)


@pytest.mark.slow
def test_a_running_server_looks_at_the_clock(server: LiveServer) -> None:
    server.push("live/clock", {"m.model.lkml": 'connection: "c"\n'})
    home = "/projects/clock/continuous_integration"
    body = {"name": "soon", "schedule_trigger_is_enabled": True, "schedule_trigger_crontab": "* * * * *"}
    made = api(server, "POST", f"{home}/suites", body | {"sql_validator_config_is_enabled": False})
    look = f"{home}/runs/search?trigger_type=schedule&suite_id={made['id']}"
    (run, *_) = server.until(lambda: api(server, "GET", look), bool, 120)
    assert (run["title"], run["git_branch_name"]) == ("soon", "main")
    api(server, "DELETE", f"{home}/suites/{made['id']}")


WRITTEN = """
connection: "written"
explore: sales {}
view: sales {
  sql_table_name: `sales` ;;
  dimension: id { primary_key: yes type: number sql: SAFE_CAST(${TABLE}.id AS INT64) ;; }
  dimension: city { sql: IFNULL(${TABLE}.city, 'it\\'s') ;; }
  dimension: is_long { type: yesno sql: REGEXP_CONTAINS(${city}, r'^R.*') ;; }
  measure: count { type: count }
}
test: one { explore_source: sales { column: count { field: sales.count } } assert: one { expression: ${sales.count} = 1 ;; } }
"""


def test_a_project_for_bigquery_is_tested_on_duckdb_when_the_suite_says_so(
    server: LiveServer, tmp_path: Path
) -> None:
    file = tmp_path / "written.duckdb"
    with duckdb.connect(str(file)) as database:
        database.execute("CREATE TABLE sales AS SELECT 1 AS id, 'Rome' AS city")
    api(server, "POST", "/connections", {"name": "written", "dialect_name": "duckdb", "database": str(file)})
    server.push("live/written", {"written.model.lkml": WRITTEN})
    home = "/projects/written/continuous_integration"
    statuses = {}
    for written in ("bigquery", ""):
        suite = {"name": f"for {written}", "written_for": written, "assert_validator_config_is_enabled": True}
        made = api(server, "POST", f"{home}/suites", suite)
        assert made["written_for"] == written
        run = api(server, "POST", f"{home}/runs", {"suite_id": made["id"]})
        look = f"{home}/runs/{run['id']}"
        ended = server.until(
            lambda look=look: api(server, "GET", look),
            lambda r: r["status"] not in ("queued", "running"),
            120,
        )
        result = ended["result"]
        assert result["assert_result"]["status"] == "passed"
        statuses[written] = result["sql_result"]["status"]
    assert statuses == {"bigquery": "passed", "": "failed"}
    # Without a suite, as spectacles asks: the connection says it.
    query = {"model": "written", "view": "sales", "fields": ["sales.city", "sales.is_long", "sales.count"]}
    api(server, "PATCH", "/connections/written", {"written_for": "bigquery_standard_sql"})
    rows = api(server, "POST", "/queries/run/json", query)
    assert rows == [{"sales.city": "Rome", "sales.is_long": "Yes", "sales.count": 1}]
