"""`git push` of a dbt project is enough to get a diff: both sides are built by the project's own dbt in the
sandbox, then compared. On DuckDB and PostgreSQL."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from tests.live_server import ROOT, TOKEN, LiveServer

pytestmark = [pytest.mark.client, pytest.mark.xdist_group("server")]
SHOP = ROOT / "examples/datafold/dbt_shop"


def api(server: LiveServer, method: str, path: str, body: Any = None) -> Any:
    """One call of the Datafold door."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{server.url}/api/v1/{path}", data, method=method)
    request.add_header("Authorization", f"Key {TOKEN}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture
def environment(client_python: Path) -> str:
    """The virtual environment with dbt."""
    if not client_python.with_name("dbt").exists():
        pytest.skip("dbt is not installed: run `make clients`")
    return str(client_python.parents[1])


@pytest.fixture(params=["duckdb", pytest.param("pg", marks=[pytest.mark.postgres, pytest.mark.slow])])
def source(request: pytest.FixtureRequest, server: LiveServer) -> int:
    """A data source to build in."""
    if request.param == "duckdb":
        file = server.folder / f"push-{request.node.callspec.id}.duckdb"
        with duckdb.connect(str(file)) as c:
            c.execute("CREATE TABLE kept AS SELECT 1 AS id")
        options: dict[str, Any] = {"path": str(file)}
    else:
        info = psycopg.conninfo.conninfo_to_dict(request.getfixturevalue("fresh_postgres_url"))
        options = {k: info[k] for k in ("host", "user", "dbname")} | {
            "port": int(info["port"] or 0),
            "password": "hush-hush",
        }
    made = api(
        server,
        "POST",
        "data_sources",
        {"name": f"push {request.node.name}", "type": request.param, "options": options},
    )
    return int(made["id"])


class Clone:
    """A person's clone of the shop."""

    def __init__(self, server: LiveServer, folder: Path, path: str) -> None:
        self.server, self.folder = server, folder / "clone"
        shutil.copytree(SHOP, self.folder)
        self.remote = f"{server.url.replace('://', f'://root:{TOKEN}@')}/{path}.git"
        self.git("init", "-q", "-b", "main")
        self.commit("The shop")

    def git(self, *argv: str) -> str:
        return self.server.git(self.folder, *argv)

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-qm", message, "--allow-empty")
        return self.git("rev-parse", "HEAD").strip()

    def push(self, branch: str) -> None:
        self.git("push", "-qf", self.remote, f"HEAD:refs/heads/{branch}")


def ended(server: LiveServer, config: int, sha: str) -> Any:
    """The commit's run, once it has ended."""
    return server.until(
        lambda: api(server, "GET", f"ci/{config}/runs?pr_sha={sha}"),
        lambda found: bool(found) and found[0]["status"] in ("done", "failed", "cancelled"),
        150,
    )[0]


def traces(server: LiveServer, path: str) -> str:
    """What every job of a project wrote."""
    home = f"/api/v4/projects/{path.replace('/', '%2F')}/jobs"
    _, jobs = server.call("GET", f"{home}?per_page=100")
    return "\n".join(str(server.call("GET", f"{home}/{job['id']}/trace")[1])[-3000:] for job in jobs)


def test_a_pushed_branch_is_built_and_compared(
    server: LiveServer, source: int, environment: str, tmp_path: Path
) -> None:
    path = f"data/shop-{source}"
    body = {"name": f"shop {source}", "path": f"shop-{source}", "namespace_path": "data"}
    assert server.call("POST", "/api/v4/projects", body)[0] == 201
    config = api(
        server,
        "POST",
        "ci",
        {
            "name": "shop",
            "repository": path,
            "data_source_id": source,
            "builds": {"environment": environment},
        },
    )["id"]
    clone = Clone(server, tmp_path, path)
    clone.push("main")
    assert api(server, "GET", f"ci/{config}/runs") == []  # the base branch is what others are compared with
    clone.commit("Nothing yet\n\ndatafold rename orders order_count customers\n")
    (clone.folder / "macros/money.sql").write_text(
        "{% macro money(cents) %}ceil({{ cents }} / 100.0){% endmacro %}\n"
    )
    (clone.folder / "models/customers.sql").write_text(
        'select customer, count(*) as order_count from {{ ref("raw_orders") }} group by customer\n'
    )
    sha = clone.commit("Money is whole")
    clone.push("totals")
    run = ended(server, config, sha)
    log = traces(server, path)
    report = api(server, "GET", f"ci/{config}/runs/{run['id']}/report")
    assert (run["status"], run["pr_branch"], run["source"]) == ("done", "totals", "push"), (report, log)
    found = {d["table2"].split(".")[-1]: d for d in report["diffs"]}
    assert found.keys() == {"orders", "daily_sales", "customers"}, report
    assert {name: d["result"] for name, d in found.items()} == {
        "orders": "different",
        "daily_sales": "different",
        "customers": "identical",
    }
    assert found["orders"]["reasons"] == ["downstream"]  # of the ephemeral model that calls the macro
    assert found["customers"]["reasons"] == ["body"]
    assert found["orders"]["key"] == {"columns": ["order_id"], "source": "uniqueness"}
    assert found["daily_sales"]["key"] == {"columns": ["ordered_on"], "source": "meta_table"}
    assert found["orders"]["values"]["rows_with_differences"] == 4
    assert report["renames"] == [["orders", "order_count", "customers"]]
