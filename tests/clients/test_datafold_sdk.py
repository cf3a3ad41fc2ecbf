"""The unmodified datafold-sdk command line: trigger, submit, wait, results; on a DuckDB file and on
PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.live_server import ROOT, TOKEN, LiveServer

pytestmark = [pytest.mark.client, pytest.mark.xdist_group("server")]
EXAMPLE = ROOT / "examples/datafold"


class Client:
    """The `datafold` command and, for what it has no command for, the API."""

    def __init__(self, server: LiveServer, python: Path) -> None:
        self.server = server
        self.program = python.with_name("datafold")

    def run(self, *argv: str, cwd: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.server.folder),
            "DATAFOLD_HOST": self.server.url,
            "DATAFOLD_API_KEY": TOKEN,
        }
        return subprocess.run(
            [str(self.program), *argv],
            env=env,
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def api(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.server.url}/api/v1/{path}", data)
        request.add_header("Authorization", f"Key {TOKEN}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@pytest.fixture
def client(server: LiveServer, client_python: Path) -> Client:
    return Client(server, client_python)


@pytest.fixture(params=["duckdb", pytest.param("pg", marks=pytest.mark.postgres)])
def source(request: pytest.FixtureRequest, server: LiveServer, client: Client) -> int:
    """A data source holding the example's warehouse."""
    if request.param == "duckdb":
        target = str(server.folder / f"{request.node.name}.duckdb")
        options: dict[str, Any] = {"path": target}
    else:
        target = request.getfixturevalue("fresh_postgres_url")
        info = psycopg.conninfo.conninfo_to_dict(target)
        options = {k: info[k] for k in ("host", "user", "dbname")} | {
            "port": int(info["port"] or 0),
            "password": "hush-hush",
        }
    subprocess.run(
        [sys.executable, str(EXAMPLE / "make_database.py"), target], check=True, capture_output=True
    )
    body = {"name": request.node.name, "type": request.param, "options": options}
    return int(client.api("data_sources", body)["id"])


def project(server: LiveServer) -> str:
    server.call("POST", "/api/v4/projects", {"name": "shop", "path": "shop", "namespace_path": "data"})
    return "data/shop"


def test_trigger_submit_wait_and_results(server: LiveServer, client: Client, source: int) -> None:
    config = client.api(
        "ci", {"name": f"shop {source}", "repository": project(server), "data_source_id": source}
    )
    given = ["--ci-config-id", str(config["id"]), "--pr-num", "7"]
    refs = ["--base-branch", "main", "--base-sha", "a" * 40, "--pr-branch", "totals", "--pr-sha", "b" * 40]

    early = client.run("ci", "submit", *given, "--diffs", str(EXAMPLE / "diffs.json"))
    assert early.returncode == 0, early.stderr
    assert "active job" in early.stderr  # nothing was triggered yet

    for _ in range(2):  # the second trigger finds the first one's run
        triggered = client.run("ci", "trigger", *given, *refs)
        assert triggered.returncode == 0, triggered.stderr
    (run,) = client.api(f"ci/{config['id']}/runs")
    assert f"run: {run['id']}" in triggered.stderr
    assert (run["status"], run["pr_num"], run["pr_sha"]) == ("waiting", "7", "b" * 40)

    submitted = client.run("ci", "submit", *given, "--diffs", str(EXAMPLE / "diffs.json"))
    assert submitted.returncode == 0, submitted.stderr
    assert f"Run ID {run['id']}" in submitted.stderr

    def look() -> Any:
        return client.api(f"ci/{config['id']}/runs?limit=1&pr_sha={'b' * 40}")[0]

    ended = server.until(look, lambda r: r["status"] in ("done", "failed", "cancelled"), 90)
    assert (ended["id"], ended["status"]) == (run["id"], "done")
    page = client.api(f"datadiffs?ci_run_id={run['id']}")
    found = {".".join(d["table1"]): d for d in page["results"]}
    assert {name: (d["status"], d["result"]) for name, d in found.items()} == {
        "prod.orders": ("done", "different"),
        "prod.customers": ("done", "different"),
        "prod.daily_sales": ("done", "identical"),
    }
    result = client.api(f"datadiffs/{found['prod.orders']['id']}/summary_results")
    assert result["status"] == "success"
    assert result["pks"]["exclusives"] == [100, 0]
    assert result["schema"]["exclusive_columns"] == [[], ["is_returned"]]
    stats = {c["column_name"]: c["values_different"] for c in result["values"]["columns_diff_stats"]}
    assert stats == {"customer_id": 0, "status": 0, "total": 5, "ordered_on": 0}
    assert found["prod.daily_sales"]["pk_columns"] == ["day", "status"]

    late = client.run("ci", "submit", *given, "--diffs", str(EXAMPLE / "diffs.json"))
    assert (late.returncode, "active job" in late.stderr) == (0, True)
    status, jobs = server.call(
        "GET", f"/api/v4/projects/{project(server).replace('/', '%2F')}/jobs?per_page=100"
    )
    assert status == 200
    for job in jobs:
        _, log = server.call(
            "GET", f"/api/v4/projects/{project(server).replace('/', '%2F')}/jobs/{job['id']}/trace"
        )
        assert "hush-hush" not in log


def test_the_automated_trigger_reads_the_changed_sql(
    server: LiveServer, client: Client, source: int, tmp_path: Path
) -> None:
    config = client.api(
        "ci", {"name": f"auto {source}", "repository": project(server), "data_source_id": source}
    )
    (tmp_path / "README.md").write_text("models\n")
    server.git(tmp_path, "init", "-q", "-b", "main")
    server.git(tmp_path, "add", "-A")
    server.git(tmp_path, "commit", "-qm", "first")
    base = server.git(tmp_path, "rev-parse", "HEAD").strip()
    (tmp_path / "customers.sql").write_text(
        "-- datafold: pk=id\ncreate table ${schema}.customers as select 1\n"
    )
    server.git(tmp_path, "add", "-A")
    server.git(tmp_path, "commit", "-qm", "second")
    head = server.git(tmp_path, "rev-parse", "HEAD").strip()
    done = client.run(
        *(
            "ci",
            "auto",
            "trigger",
            "--ci-config-id",
            str(config["id"]),
            "--pr-num",
            "8",
            "--base-branch",
            "main",
        ),
        *("--base-sha", base, "--pr-branch", "main", "--pr-sha", head, "--root-path", str(tmp_path)),
        *("--pr-params", '{"schema": "pr"}', "--reference-params", '{"schema": "prod"}'),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr

    def look() -> Any:
        return client.api(f"ci/{config['id']}/runs?pr_sha={head}")[0]

    assert server.until(look, lambda r: r["status"] in ("done", "failed"), 60)["status"] == "done"


def test_a_wrong_key_ends_the_client_with_1(server: LiveServer, client: Client) -> None:
    argv = [
        str(client.program),
        "ci",
        "trigger",
        "--ci-config-id",
        "1",
        "--pr-num",
        "1",
        "--base-branch",
        "m",
    ]
    argv += ["--base-sha", "a", "--pr-branch", "b", "--pr-sha", "c"]
    env = {
        "PATH": "/usr/bin:/bin",
        "DATAFOLD_HOST": server.url,
        "DATAFOLD_API_KEY": "wrong",
        "HOME": str(server.folder),
    }
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "401" in done.stderr


def manifest(schema: str, checksum: str) -> dict[str, Any]:
    """One model, as dbt writes it, with a uniqueness test."""
    customers = {
        "resource_type": "model", "name": "customers", "alias": "customers", "schema": schema, "fqn": ["shop", "customers"],
        "checksum": {"name": "sha256", "checksum": checksum}, "config": {"materialized": "table"}, "depends_on": {"nodes": []},
        "original_file_path": "models/customers.sql", "patch_path": None, "columns": {"id": {"name": "id"}},
    }  # fmt: skip
    test = {
        "resource_type": "test", "attached_node": "model.shop.customers", "depends_on": {"nodes": ["model.shop.customers"]},
        "test_metadata": {"name": "unique", "kwargs": {"column_name": "id"}},
    }  # fmt: skip
    return {"nodes": {"model.shop.customers": customers, "test.shop.1": test}}


def test_dbt_uploads_are_compared_and_waited_for(
    server: LiveServer, client: Client, source: int, tmp_path: Path
) -> None:
    config = client.api(
        "ci", {"name": f"dbt {source}", "repository": project(server), "data_source_id": source}
    )
    given = ["--ci-config-id", str(config["id"])]

    def folder(name: str, checksum: str) -> str:
        target = tmp_path / name
        target.mkdir()
        (target / "manifest.json").write_text(json.dumps(manifest(name, checksum)))
        (target / "run_results.json").write_text("{}")
        return str(target)

    keys = client.run("dbt", "check-primary-keys", *given, folder("prod", "1") + "/manifest.json")
    assert keys.returncode == 0, keys.stderr
    assert "uniqueness" in keys.stdout
    base, head = "e" * 40, "f" * 40
    prod = ["--run-type", "production", "--target-folder", str(tmp_path / "prod"), "--commit-sha", base]
    done = client.run("dbt", "upload", *given, *prod)
    assert done.returncode == 0, done.stderr
    pr = ["--run-type", "pull_request", "--target-folder", folder("pr", "2"), "--commit-sha", head]
    waited = client.run("dbt", "upload-and-wait", *given, *pr)
    assert waited.returncode == 0, waited.stderr
    (run,) = client.api(f"ci/{config['id']}/runs?pr_sha={head}")
    assert run["status"] == "done"
    (diff,) = client.api(f"datadiffs?ci_run_id={run['id']}")["results"]
    assert (diff["result"], diff["pk_columns"], diff["affected_columns"]) == ("different", ["id"], ["email"])
    checked = client.run(
        "dbt",
        "check-post-upload-dbt-artifacts",
        *given,
        "--branch",
        "x",
        "--commit-sha",
        head,
        "--run-type",
        "pull_request",
    )
    assert checked.returncode == 0, checked.stderr


def test_the_mcp_servers_client_asks_a_data_source(
    server: LiveServer, client_python: Path, source: int
) -> None:
    script = ROOT / "tests/clients/datafold_mcp_client.py"
    (package,) = client_python.parents[1].glob("lib/python*/site-packages/datafold_mcp")
    argv = [sys.executable, str(script), server.url, TOKEN, str(source), str(package)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["columns"] == ["id", "customer_id", "status", "total", "ordered_on"]
    assert found["keys"][0] == {"pk": ["day", "status"]}
    assert [row["n"] for row in found["rows"]] == [100, 4900 - 700, 700]
    assert found["result"] == "different"
