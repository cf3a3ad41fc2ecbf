"""Looker's SDKs of every age that knows CI, unmodified, each in an environment of its own, against one live
server: create, follow, read, be refused.

25.6 (whose result is a mere list) and 25.20 know the legacy family only, 26.4 and 26.12 both, 26.22
(tests/clients/test_looker_sdk.py too) the new one only; so does
@looker/sdk-node 26.12 both. `make clients` makes the environments (constraints/looker, scripts/clients.sh).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_looker_sdk import BAKERY, duckdb, files
from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.client

ROOT = Path(__file__).parents[2]
HOMES = ROOT / ".clients/looker"
NODE = ROOT / ".clients/node_modules/@looker/sdk-node/lib/index.js"

SCRIPT = """
import json, os, time
import looker_sdk
from looker_sdk import models40 as m
from looker_sdk.error import SDKError
sdk = looker_sdk.init40()
project, suite = os.environ["PROJECT"], os.environ["SUITE"]

def follow(look):
    until = time.monotonic() + 120
    while True:
        run = look()
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

said = {"me": sdk.me().display_name, "version": sdk.versions().looker_release_version}
new = hasattr(sdk, "create_continuous_integration_run")
if new:
    asked = m.CreateContinuousIntegrationRunRequest
    fresh = sdk.create_continuous_integration_run(project, asked(suite_id=suite, branch="main"))
request = m.CreateCIRunRequest
made = sdk.create_ci_run(project, request(suite_id=suite, branch="main"))
run = follow(lambda: sdk.get_ci_run(project, made.run_id).run)
said["legacy"] = [made.status, run.status, run.title, run.trigger]
said["dates"] = run.finished_at > run.created_at
said["missing"] = refused(lambda: sdk.get_ci_run(project, "999999"))
said["no_suite"] = refused(lambda: sdk.create_ci_run(project, request(suite_id="")))
said["part"] = sdk.get_ci_run(project, made.run_id, fields="run(status)").run.suite_id
if isinstance(run.result, (list, tuple)):
    said["result"] = [[r.validator, r.status] for r in run.result]
else:
    tested = run.result.sql_result.result
    said["tested"] = [[t.explore, t.status] for t in tested]
    said["errors"] = sorted([e.sql_error.dimension, e.sql_error.line_number] for t in tested for e in t.errors)
    said["tests"] = [run.result.assert_result.status, [t.success_count for t in run.result.assert_result.results]]
    said["lookml"] = run.result.lookml_result.status
if new:
    run = follow(lambda: sdk.get_continuous_integration_run(project, fresh.id))
    tested = run.result.sql_result.tested
    said["new"] = [fresh.status, run.status, run.title, run.trigger_type, [[t.explore, t.status] for t in tested]]
    said["new_errors"] = sorted([e.sql_error.dimension, e.sql_error.line_number] for t in tested for e in t.errors)
    said["new_missing"] = refused(lambda: sdk.get_continuous_integration_run(project, "999999"))
    said["new_no_suite"] = refused(lambda: sdk.create_continuous_integration_run(project, asked(suite_id="")))
sdk.logout()
print(json.dumps(said))
"""

NODE_SCRIPT = """
import { pathToFileURL } from 'node:url';
const [module, project, suite] = process.argv.slice(2);
const { LookerNodeSDK } = await import(pathToFileURL(module));
const sdk = LookerNodeSDK.init40();
const said = { me: (await sdk.ok(sdk.me())).display_name };
const follow = async (look) => {
  for (let n = 0; n < 600; n++) {
    const run = await look();
    if (!['queued', 'running'].includes(run.status)) return run;
    await new Promise((go) => setTimeout(go, 100));
  }
  throw new Error('it never ended');
};
const refused = async (call) => { try { await sdk.ok(call()); return null; } catch (error) { return String(error.message); } };
const old = await sdk.ok(sdk.create_ci_run(project, { suite_id: suite, branch: 'main' }));
const legacy = await follow(async () => (await sdk.ok(sdk.get_ci_run(project, old.run_id))).run);
said.legacy = [old.status, legacy.status, legacy.title, legacy.trigger, legacy.result.sql_result.result.map((t) => [t.explore, t.status])];
const made = await sdk.ok(sdk.create_continuous_integration_run(project, { suite_id: suite, branch: 'main' }));
const run = await follow(() => sdk.ok(sdk.get_continuous_integration_run(project, made.id)));
said.new = [made.status, run.status, run.title, run.trigger_type, run.result.sql_result.tested.map((t) => [t.explore, t.status])];
said.missing = await refused(() => sdk.get_continuous_integration_run(project, '999999'));
said.no_suite = await refused(() => sdk.create_ci_run(project, { suite_id: '' }));
await sdk.authSession.logout();
console.log(JSON.stringify(said));
"""


def api(server: LiveServer, method: str, path: str, body: Any) -> Any:
    """One call with the token that every door takes."""
    argv = ["curl", "-sS", "-X", method, f"{server.url}/api/4.0{path}", "-H", f"Authorization: token {TOKEN}"]
    done = subprocess.run([*argv, "-d", json.dumps(body)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def shop(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(project, suite) of a bakery with one wrong column, so that there is something to read."""
    names: dict[str, Any] = {"__name__": "make_database"}
    exec((BAKERY / "make_database.py").read_text(), names)
    file = tmp_path_factory.mktemp("ages") / "bakery.duckdb"
    names["main"](str(file))
    tree = files(products=("${TABLE}.price", "${TABLE}.prize"))
    model = "models/bakery.model.lkml"
    tree[model] = tree[model].replace("@{CONNECTION}", "ages")
    server.push("looks/ages", tree)
    api(server, "POST", "/connections", {"name": "ages", **duckdb(file)})
    suite = {"name": "all ages", "assert_validator_config_is_enabled": True}
    made = api(server, "POST", "/projects/looks%2Fages/continuous_integration/suites", suite)
    return "looks/ages", str(made["id"])


def environment(server: LiveServer, project: str, suite: str) -> dict[str, str]:
    """What the SDKs read."""
    return {
        "PATH": os.environ["PATH"],
        "LOOKERSDK_BASE_URL": server.url,
        "LOOKERSDK_CLIENT_ID": "root",
        "LOOKERSDK_CLIENT_SECRET": TOKEN,
        "PROJECT": project,
        "SUITE": suite,
    }


TESTED = [["order_items", "failed"], ["customers", "passed"]]
ERRORS = [["order_items.line_price", "14"], ["products.price", "14"]]
NO_SUITE = ["Validation Failed", [["suite_id", "missing_field"]]]


SLOW = pytest.mark.slow
VERSIONS = ["25.6", pytest.param("25.20", marks=SLOW), pytest.param("26.4", marks=SLOW), "26.12"]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_sdk_of_any_age_creates_follows_and_reads(
    server: LiveServer, shop: tuple[str, str], version: str
) -> None:
    python = HOMES / f"sdk-{version}/bin/python"
    if not python.exists():
        pytest.skip(f"LOUD: looker-sdk {version} was NOT tested: run `make clients`")
    argv = [str(python), "-c", SCRIPT]
    done = subprocess.run(argv, env=environment(server, *shop), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:] + server.log.read_text()[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["me"], said["version"]) == ("Administrator", "26.12.3")
    assert said["legacy"] == ["queued", "failed", "all ages", "manual"]
    assert (said["missing"], said["no_suite"], said["part"]) == (["Not found", []], NO_SUITE, None)
    assert said["dates"]
    if version == "25.6":
        assert said["result"] == [["lookml", "passed"], ["sql", "failed"], ["assert", said["result"][2][1]]]
    else:
        assert (said["tested"], said["errors"], said["lookml"]) == (TESTED, ERRORS, "passed")
        assert all(count.isdigit() for count in said["tests"][1])
    if version.startswith("26"):
        assert said["new"][0] in ("queued", "running")  # a free runner may be quicker than the answer
        assert said["new"][1:] == ["failed", "all ages", "manual", TESTED]
        assert said["new_errors"] == ERRORS
        assert (said["new_missing"], said["new_no_suite"]) == (["Not found", []], NO_SUITE)
    else:
        assert "new" not in said


def test_the_typescript_sdk_creates_follows_and_reads(
    server: LiveServer, shop: tuple[str, str], tmp_path: Path
) -> None:
    if not NODE.exists() or shutil.which("node") is None:
        pytest.skip("LOUD: @looker/sdk-node was NOT tested: no node, or run `make clients`")
    script = tmp_path / "drive.mjs"
    script.write_text(NODE_SCRIPT)
    argv = ["node", str(script), str(NODE), *shop]
    done = subprocess.run(argv, env=environment(server, *shop), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["me"] == "Administrator"
    assert said["legacy"][1:] == said["new"][1:] == ["failed", "all ages", "manual", TESTED]
    assert {said["legacy"][0], said["new"][0]} <= {"queued", "running"}
    assert "Not found" in said["missing"]
    assert "Validation Failed" in said["no_suite"]
