"""The real looker-sdk (PyPI, unmodified) against a live server: login, connections, suites, runs, results,
logout.

The SDK runs in its own Python (`.venv-clients`) as a script that prints JSON. 26.18 and later have the new
family only; the legacy family is called through the SDK's own transport (`sdk.get`/`sdk.post`), as its users
have to.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.client

BAKERY = Path(__file__).parents[1] / "projects" / "bakery"

PRELUDE = """
import json, os, sys, time
import looker_sdk
from looker_sdk import models40 as m
from looker_sdk.error import SDKError
sdk = looker_sdk.init40()
given = json.loads(os.environ["GIVEN"])
project = given["project"]

def ended(run_id):
    until = time.monotonic() + 120
    while True:
        run = sdk.get_continuous_integration_run(project, run_id)
        if run.status not in ("queued", "running"):
            return run
        assert time.monotonic() < until, run.status
        time.sleep(0.1)

def refused(call):
    try:
        call()
    except SDKError as error:
        return [error.message, [[e.field, e.code] for e in (error.errors or [])]]
    return None

def say(**facts):
    print(json.dumps(facts))
"""

WHOLE = """
me = sdk.me()
for name, connection in given["connections"].items():
    sdk.create_connection(m.WriteDBConnection(name=name, **connection))
suite = sdk.create_continuous_integration_suite(project, m.WriteProjectCISuite(
    name="nightly", lookml_validator_config_is_enabled=True, sql_validator_config_is_enabled=True))
run = sdk.create_continuous_integration_run(project, m.CreateContinuousIntegrationRunRequest(suite_id=suite.id, branch="main"))
done = ended(run.id)
result = done.result
say(
    me=me.display_name,
    suites=[s.name for s in sdk.get_continuous_integration_suites(project)],
    status=done.status,
    title=done.title,
    sha=done.git_commit_ref,
    lookml=[[e.lookml_error.file_path, e.lookml_error.line_number, e.lookml_error.severity] for e in result.lookml_result.errors],
    lookml_status=result.lookml_result.status,
    sql_status=result.sql_result.status,
    tested=[[t.model, t.explore, t.status, [[e.sql_error.dimension, e.sql_error.line_number] for e in t.errors]] for t in result.sql_result.tested],
    created=done.created_at.isoformat(), finished=done.finished_at > done.created_at,
    found=[r.id for r in sdk.search_continuous_integration_runs(project, suite_id=suite.id)] == [run.id],
    connection=sdk.connection("bakery").dialect_name,
)
sdk.logout()
"""

LEGACY = """
suite = sdk.create_continuous_integration_suite(project, m.WriteProjectCISuite(name="old"))
path = "/projects/" + project.replace("/", "%2F")
started = json.loads(sdk.post(path + "/ci/run", str, body={"suite_id": suite.id}))
ended(started["run_id"])
run = json.loads(sdk.get(path + "/ci/runs/" + started["run_id"], str))["run"]
say(started=started["status"], status=run["status"], keys=sorted(k for k, v in run["result"].items() if v), trigger=run["trigger"],
    explores=[t["explore"] for t in run["result"]["sql_result"]["result"]])
"""

REFUSALS = """
suite = sdk.create_continuous_integration_suite(project, m.WriteProjectCISuite(name="s"))
request = m.CreateContinuousIntegrationRunRequest
run = sdk.create_continuous_integration_run(project, request(suite_id=suite.id))
ended(run.id)
again = sdk.duplicate_continuous_integration_run(project, run.id)
sdk.cancel_continuous_integration_run(project, again.id)
say(
    no_suite=refused(lambda: sdk.create_continuous_integration_run(project, request(suite_id=""))),
    unknown_suite=refused(lambda: sdk.create_continuous_integration_run(project, request(suite_id="999999"))),
    branch=refused(lambda: sdk.create_continuous_integration_run(project, request(suite_id=suite.id, branch="nope"))),
    unknown_run=refused(lambda: sdk.get_continuous_integration_run(project, "999999")),
    unknown_project=refused(lambda: sdk.get_continuous_integration_run("no/project", run.id)),
    crontab=refused(lambda: sdk.update_continuous_integration_suite(project, suite.id, m.WriteProjectCISuite(schedule_trigger_crontab="x"))),
    finished=refused(lambda: sdk.cancel_continuous_integration_run(project, run.id)),
    cancelled=ended(again.id).status,
)
sdk.delete_continuous_integration_suite(project, suite.id)
"""


@pytest.fixture
def sdk(server: LiveServer, client_python: Path) -> Callable[..., dict[str, Any]]:
    """Runs a script with the SDK logged in as root; gives what it said."""

    def run(script: str, client_secret: str = TOKEN, **given: Any) -> dict[str, Any]:
        env = {
            "LOOKERSDK_BASE_URL": server.url,
            "LOOKERSDK_CLIENT_ID": "root",
            "LOOKERSDK_CLIENT_SECRET": client_secret,
            "GIVEN": json.dumps(given),
        }
        argv = [str(client_python), "-c", PRELUDE + script]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr[-3000:] + server.log.read_text()[-2000:]
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found

    return run


@pytest.fixture(scope="module")
def fill() -> Callable[[str], None]:
    """The example's own script that makes its database."""
    names: dict[str, Any] = {"__name__": "make_database"}
    exec((BAKERY / "make_database.py").read_text(), names)
    made: Callable[[str], None] = names["main"]
    return made


@pytest.fixture(scope="module")
def bakery_file(tmp_path_factory: pytest.TempPathFactory, fill: Callable[[str], None]) -> Path:
    """The bakery as a DuckDB file."""
    path = tmp_path_factory.mktemp("bakery") / "bakery.duckdb"
    fill(str(path))
    return path


def files(**changes: tuple[str, str]) -> dict[str, str]:
    """The bakery's LookML; a change is (old, new) in the view of that name."""
    found = {p.relative_to(BAKERY).as_posix(): p.read_text() for p in BAKERY.rglob("*.lkml")}
    for view, (old, new) in changes.items():
        path = f"views/{view}.view.lkml"
        assert old in found[path]
        found[path] = found[path].replace(old, new)
    return found


def duckdb(file: Path) -> dict[str, str]:
    return {"dialect_name": "duckdb", "database": str(file)}


def test_a_suite_on_duckdb_from_login_to_logout(
    server: LiveServer, sdk: Callable[..., dict[str, Any]], bakery_file: Path
) -> None:
    sha = server.push("looks/bakery", files())
    said = sdk(WHOLE, project="looks/bakery", connections={"bakery": duckdb(bakery_file)})
    assert said["status"] == "passed", said
    assert (said["title"], said["suites"], said["sha"]) == ("nightly", ["nightly"], sha)
    assert said["tested"] == [["bakery", "order_items", "passed", []], ["bakery", "customers", "passed", []]]
    assert said["lookml"] == []
    assert said["finished"] and said["found"]
    assert said["connection"] == "duckdb"
    assert sdk(LEGACY, project="looks/bakery") == {
        "started": "queued",
        "status": "passed",
        "keys": ["lookml_result", "sql_result"],
        "trigger": "manual",
        "explores": ["order_items", "customers"],
    }
    refusals = sdk(REFUSALS, project="looks/bakery")
    assert refusals["no_suite"] == ["Validation Failed", [["suite_id", "missing_field"]]]
    assert refusals["unknown_suite"][0].startswith("Suite '999999' does not exist")
    assert refusals["branch"] == ["Validation Failed", [["branch", "invalid"]]]
    assert refusals["unknown_run"] == refusals["unknown_project"] == ["Not found", []]
    assert refusals["crontab"] == ["Validation Failed", [["schedule_trigger_crontab", "invalid"]]]
    assert refusals["finished"] == ["The run has already finished.", []]
    assert refusals["cancelled"] == "cancelled"


def test_a_suite_on_postgresql_finds_the_faults(
    server: LiveServer,
    sdk: Callable[..., dict[str, Any]],
    fresh_postgres_url: str,
    fill: Callable[[str], None],
) -> None:
    fill(fresh_postgres_url)
    address, _, database = fresh_postgres_url.partition("@")[2].partition("/")
    host, _, port = address.partition(":")
    connection = {
        "dialect_name": "postgres",
        "host": host,
        "port": port,
        "database": database,
        "username": "runyard",
        "password": "sesame-street",
    }
    broken = files(
        products=("${TABLE}.price", "${TABLE}.prize"),
        customer_facts=("${order_count} >=", "${order_cuont} >="),
    )
    broken["models/bakery.model.lkml"] = broken["models/bakery.model.lkml"].replace("@{CONNECTION}", "pg")
    server.push("looks/broken", broken)
    said = sdk(WHOLE.replace('"bakery")', '"pg")'), project="looks/broken", connections={"pg": connection})
    assert said["status"] == "failed", said
    assert said["lookml"] == [["views/customer_facts.view.lkml", "24", "error"]]
    tested = {explore: errors for _, explore, _, errors in said["tested"]}
    assert sorted(tested["order_items"]) == [
        ["customer_facts.is_regular", "24"],
        ["order_items.line_price", "14"],
        ["products.price", "14"],
    ]
    assert tested["customers"] == [["customer_facts.is_regular", "24"]]
    run = server.call("GET", "/api/v4/projects/looks%2Fbroken/pipelines")[1][0]
    for job in server.call("GET", f"/api/v4/projects/looks%2Fbroken/pipelines/{run['id']}/jobs")[1]:
        trace = server.call("GET", f"/api/v4/projects/looks%2Fbroken/jobs/{job['id']}/trace")[1]
        assert "sesame-street" not in str(trace)


def test_bad_credentials_are_an_sdk_error(sdk: Callable[..., dict[str, Any]]) -> None:
    said = sdk("say(error=refused(lambda: sdk.me()))", client_secret="wrong", project="x")
    assert '"message":"Not found"' in said["error"][0]  # the SDK does not decode a refused login


FIELDS = """
given_fields = dict(
    name="all of it", schedule_trigger_is_enabled=True, schedule_trigger_crontab="0 4 * * 1-5", schedule_trigger_timezone="Europe/Berlin",
    alerting_enabled=True, alert_email_addresses=["a@example.org"], alert_on_failed_status=False, alert_on_error_status=False,
    alert_on_passed_status=True, alert_on_cancelled_status=True,
    change_request_trigger_is_enabled=True, change_request_trigger_target_branch="main,develop",
    dbt_cloud_trigger_is_enabled=True, dbt_cloud_trigger_job_id=7, dbt_cloud_trigger_user_attribute_id="schema",
    upstream_trigger_is_enabled=True, upstream_projects=["lib"],
    assert_validator_config_is_enabled=True, assert_validator_config_concurrency=3, assert_validator_config_selectors=["a/b"],
    assert_validator_config_exclusions=["a/c"],
    content_validator_config_is_enabled=True, content_validator_config_exclude_personal=True, content_validator_config_incremental=True,
    content_validator_config_exclude_folders=["1"], content_validator_config_include_folders=["2"],
    content_validator_config_selectors=["a/*"], content_validator_config_exclusions=["b/*"],
    lookml_validator_config_is_enabled=True, lookml_validator_config_severity="error", lookml_validator_config_timeout=60,
    style_validator_config_is_enabled=True, style_validator_config_incremental=False,
    sql_validator_config_is_enabled=True, sql_validator_config_fail_fast=True, sql_validator_config_incremental=True,
    sql_validator_config_ignore_hidden=True, sql_validator_config_query_concurrency=4, sql_validator_config_chunk_size=50,
    sql_validator_config_selectors=["*/*"], sql_validator_config_exclusions=["c/d"],
)
known = {name for name in m.WriteProjectCISuite.__annotations__}
made = sdk.create_continuous_integration_suite(project, m.WriteProjectCISuite(webhook_secret="hush", **given_fields))
back = sdk.get_continuous_integration_suite(project, made.id)
changed = sdk.update_continuous_integration_suite(project, made.id, m.WriteProjectCISuite(name="new name", schedule_trigger_is_enabled=False))
sdk.delete_continuous_integration_suite(project, made.id)
say(
    unset=sorted(known - set(given_fields) - {"webhook_secret"}),
    differ=sorted(n for n, v in given_fields.items() if getattr(back, n) != v),
    secret=[back.has_webhook_secret, "hush" in str(back)],
    changed=[changed.name, changed.schedule_trigger_is_enabled, changed.schedule_trigger_crontab],
    gone=refused(lambda: sdk.get_continuous_integration_suite(project, made.id)),
    style=refused(lambda: sdk.create_continuous_integration_suite(project, m.WriteProjectCISuite(lookml_validator_config_severity="bad"))),
)
"""

STYLE = """
suite = sdk.create_continuous_integration_suite(project, m.WriteProjectCISuite(
    name="style", lookml_validator_config_is_enabled=False, sql_validator_config_is_enabled=False, style_validator_config_is_enabled=True,
    style_validator_config_incremental=False))
run = ended(sdk.create_continuous_integration_run(project, m.CreateContinuousIntegrationRunRequest(
    suite_id=suite.id, user_attributes=[m.CIRunUserAttribute(name="region", value="eu")] if hasattr(m, "CIRunUserAttribute") else None)).id)
first = run.result.style_result.errors[0].style_error
say(status=run.status, name=run.result.style_result.name, rule=bool(first.rule_name), line=type(first.line_number).__name__,
    error_id=bool(first.error_id), context=len(first.context) > 0, file=first.file_path.endswith(".lkml"))
"""


def test_every_field_of_a_suite_goes_through_the_sdk_and_back(
    server: LiveServer, sdk: Callable[..., dict[str, Any]]
) -> None:
    server.push("looks/fields", files())
    said = sdk(FIELDS, project="looks/fields")
    assert (said["unset"], said["differ"]) == ([], [])
    assert said["secret"] == [True, False]
    assert said["changed"] == ["new name", False, "0 4 * * 1-5"]
    assert said["gone"] == ["Not found", []]
    wrong = [["name", "missing_field"], ["lookml_validator_config_severity", "invalid"]]
    assert (said["style"][0], said["style"][1]) in (
        ("Validation Failed", wrong),
        ("Validation Failed", wrong[1:]),
    )


def test_style_errors_are_the_sdks_own_models(server: LiveServer, sdk: Callable[..., dict[str, Any]]) -> None:
    tree = {**files(), "lkmlstyle.yaml": "schema_version: 1\nruleset_version: all-v1.0\n"}
    server.push("looks/style", tree)
    said = sdk(STYLE, project="looks/style")
    wanted = {"rule": True, "line": "int", "error_id": True, "context": True, "file": True}
    assert said == {"status": "failed", "name": "style", **wanted}
