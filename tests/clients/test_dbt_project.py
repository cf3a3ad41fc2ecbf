"""datafold-sdk beside a real dbt project, as a CI job of somebody's uses it: built for production and for a
pull request by real dbt, uploaded, waited for; low-drift pairs; `diff dbt`, which needs each manifest node to
have `test_metadata` (the client's own flaw with dbt 1.11, contracts/datafold.md §7).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_datafold_sdk import Client
from tests.live_server import ROOT, LiveServer

pytestmark = [pytest.mark.client, pytest.mark.xdist_group("server")]
SHOP = ROOT / "examples/datafold/dbt_shop"
BASE, HEAD, LATER = "a1" * 20, "b2" * 20, "c3" * 20


class Shop:
    """A working copy of the dbt project, and a warehouse file that two schemas of it are built in."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder, self.dbt = folder / "shop", python.with_name("dbt")
        self.warehouse = folder / "warehouse.duckdb"
        shutil.copytree(SHOP, self.folder)
        outputs = {
            target: {"type": "duckdb", "path": str(self.warehouse), "schema": target, "threads": 2}
            for target in ("prod", "pr")
        }
        (self.folder / "profiles.yml").write_text(
            json.dumps({"shop": {"target": "prod", "outputs": outputs}})
        )

    def build(self, target: str) -> Path:
        """The target folder of a build."""
        env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DBT_PROFILES_DIR": ".",
        }
        argv = [str(self.dbt), "build", "--target", target, "--quiet", "--no-partial-parse"]
        done = subprocess.run(
            argv, cwd=self.folder, env=env, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        kept = self.folder.parent / f"target-{target}"
        shutil.copytree(self.folder / "target", kept)
        return kept

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, client_python: Path) -> Shop:
    """Built for production; then the orders lose a row, and a macro changes what daily sales add up."""
    if not client_python.with_name("dbt").exists():
        pytest.skip("dbt is not installed: run `make clients`")
    made = Shop(tmp_path_factory.mktemp("dbt"), client_python)
    made.build("prod")
    made.write(
        "models/customers.sql",
        "select customer, count(*) as orders from {{ ref('raw_orders') }} where customer <> 'dee' group by customer\n",
    )
    made.write("models/fresh.sql", "select 1 as id\n")
    made.build("pr")
    return made


@pytest.fixture
def client(server: LiveServer, client_python: Path) -> Client:
    return Client(server, client_python)


@pytest.fixture
def config(server: LiveServer, client: Client, shop: Shop, request: pytest.FixtureRequest) -> int:
    name = request.node.name
    server.call("POST", "/api/v4/projects", {"name": "dbt", "path": "dbt", "namespace_path": "data"})
    source = client.api(
        "data_sources", {"name": name, "type": "duckdb", "options": {"path": str(shop.warehouse)}}
    )["id"]
    return int(client.api("ci", {"name": name, "repository": "data/dbt", "data_source_id": source})["id"])


def upload(client: Client, verb: str, config: int, kind: str, sha: str, folder: Path, *more: str) -> Any:
    argv = ["dbt", verb, "--ci-config-id", str(config), "--run-type", kind, "--commit-sha", sha]
    done = client.run(*argv, "--target-folder", str(folder), *more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def compared(client: Client, config: int, sha: str) -> dict[str, str]:
    (run,) = client.api(f"ci/{config}/runs?pr_sha={sha}")
    assert run["status"] == "done", client.api(f"ci/{config}/runs/{run['id']}/report")
    return {d["table2"][-1]: d["result"] for d in client.api(f"datadiffs?ci_run_id={run['id']}")["results"]}


def test_a_pull_requests_build_is_compared_with_productions(client: Client, config: int, shop: Shop) -> None:
    target = shop.folder.parent
    keys = client.run(
        "dbt", "check-primary-keys", "--ci-config-id", str(config), str(target / "target-pr/manifest.json")
    )
    assert keys.returncode == 0, keys.stderr
    assert "meta_table" in keys.stdout
    assert "uniqueness" in keys.stdout
    upload(client, "upload", config, "production", BASE, target / "target-prod")
    upload(client, "upload-and-wait", config, "pull_request", HEAD, target / "target-pr")
    assert compared(client, config, HEAD) == {"customers": "missing-pks"}
    (run,) = client.api(f"ci/{config}/runs?pr_sha={HEAD}")
    report = client.api(f"ci/{config}/runs/{run['id']}/report")
    assert any("fresh" in note for note in report["notes"])
    assert report["diffs"][0]["key"] == {"columns": ["customer"], "source": "uniqueness"}
    checked = client.run(
        *("dbt", "check-post-upload-dbt-artifacts", "--ci-config-id", str(config), "--branch", "x"),
        *("--commit-sha", HEAD, "--run-type", "pull_request"),
    )
    assert checked.returncode == 0, checked.stderr


def test_low_drift_compares_the_pair_of_one_build(
    server: LiveServer, client: Client, config: int, shop: Shop
) -> None:
    """The newest production upload is the pull request's own: compared with it, nothing would have
    changed."""
    target = shop.folder.parent
    upload(client, "upload", config, "production", BASE, target / "target-prod", "--run-id", "build 7")
    upload(client, "upload", config, "production", LATER, target / "target-pr")
    upload(client, "upload", config, "pull_request", HEAD, target / "target-pr", "--run-id", "build 7")
    server.until(
        lambda: client.api(f"ci/{config}/runs?pr_sha={HEAD}"), lambda found: found[0]["status"] == "done", 90
    )
    assert compared(client, config, HEAD) == {"customers": "missing-pks"}
    upload(client, "upload-and-wait", config, "pull_request", LATER, target / "target-pr")
    assert compared(client, config, LATER) == {}


def test_diff_dbt_compares_the_built_models(client: Client, config: int, shop: Shop) -> None:
    source = client.api(f"ci/{config}")["data_source_id"]
    manifest = shop.folder / "target/manifest.json"
    document = json.loads(manifest.read_text())
    for node in document["nodes"].values():
        node.setdefault("test_metadata", None)
    manifest.write_text(json.dumps(document))
    project = (shop.folder / "dbt_project.yml").read_text()
    variables = {"prod_database": "warehouse", "prod_schema": "prod", "datasource_id": source}
    shop.write("dbt_project.yml", project + "vars: " + json.dumps({"data_diff": variables}) + "\n")
    done = client.run(
        "diff",
        "dbt",
        "--dbt-profiles-dir",
        str(shop.folder),
        "--dbt-project-dir",
        str(shop.folder),
        cwd=shop.folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout + done.stderr
    assert "prod.customers" in shown, shown
    assert "Removed" in shown or "removed" in shown.lower(), shown
    made = client.api(f"datadiffs?data_source1_id={source}&source=api")["results"]
    found = {d["table2"][-1]: d["result"] for d in made}
    assert found["customers"] == "missing-pks"
    assert found["orders"] == "identical"
