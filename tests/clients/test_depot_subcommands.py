"""The real depot CLI through the subcommands that test_depot_cli.py leaves out (contracts/depot.md §4):
metrics, diagnose, retry, rerun, cancel of a part, logs in every form, dispatch with every type of input,
secrets and variables with variants, migrate, login."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.test_depot_cli import BINARY, Depot, clone, jobs
from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.client

CI = """
name: Parts
on:
  workflow_dispatch:
    inputs:
      word: {type: string, default: hi}
      flag: {type: boolean, default: false}
      count: {type: number, default: 3}
      color: {type: choice, options: [red, blue], default: red}
      place: {type: environment}
jobs:
  busy:
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo "${{ inputs.word }} ${{ inputs.flag }} ${{ inputs.count }} ${{ inputs.color }} ${{ inputs.place }}"
          end=$(( $(date +%s) + 3 )); while [ $(date +%s) -lt $end ]; do :; done
          echo late
  bad:
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo "fatal: no such thing"
          exit 3
"""
LONG = """
name: Long
on: workflow_dispatch
jobs:
  one:
    runs-on: ubuntu-latest
    steps: [{run: echo hi > made.txt; echo begun; for n in $(seq 900); do sleep 0.1; done}]
  two:
    runs-on: ubuntu-latest
    steps: [{run: for n in $(seq 900); do sleep 0.1; done}]
"""
ENDED = ("finished", "failed", "cancelled")


@pytest.fixture(scope="module")
def depot(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Depot]:
    if not BINARY.exists():
        pytest.skip("the depot CLI is not installed: run `make clients`")
    files = {".depot/workflows/parts.yml": CI, ".depot/workflows/long.yml": LONG, "README.md": "x\n"}
    files[".github/workflows/old.yml"] = (
        "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'true'}]}}\n"
    )
    server.push("depot/parts", files)
    made = clone(server, "depot/parts", tmp_path_factory.mktemp("parts"))
    made.env["DEPOT_EXEC_URL"] = server.grpc_url
    yield made


@pytest.fixture(scope="module")
def ended(depot: Depot) -> Any:
    """A run with a busy job and a bad one, ended."""
    return depot.until(dispatched(depot, "parts.yml"), *ENDED)


def dispatched(depot: Depot, workflow: str, *more: str) -> str:
    out = depot("dispatch", "--repo", depot.repo, "--workflow", workflow, "--ref", "main", *more)
    found = re.search(r"run ([0-9a-z]{10}) queued", out)
    assert found, out
    return found[1]


def attempt(tree: Any, name: str) -> str:
    job = next(job for key, job in jobs(tree).items() if key.endswith(f":{name}"))
    return str(job["attempts"][-1]["attempt_id"])


def number(tree: Any, name: str) -> str:
    return str(next(job["job_id"] for key, job in jobs(tree).items() if key.endswith(f":{name}")))


def test_login_gets_a_token_that_a_person_allowed(depot: Depot, tmp_path: Path) -> None:
    """Not in a terminal, where it would offer to open a browser: the address is for whoever reads it."""
    env = {key: value for key, value in depot.env.items() if key not in ("DEPOT_TOKEN", "CI")}
    env["HOME"] = str(tmp_path)

    def cli(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(BINARY), *arguments], env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    assert "missing API token" in cli("ci", "run", "list").communicate(timeout=60)[0]
    login = cli("login")
    assert login.stdout is not None
    url = next(line.strip() for line in login.stdout if "/-/login/" in line)
    with httpx.Client(base_url=depot.server.url, headers={"origin": depot.server.url}) as person:
        assert person.post("/sign-in", data={"token": TOKEN}).status_code == 303
        assert "Let depot CLI in?" in person.get(url).text
        assert "It is in" in person.post(url, data={"answer": "yes"}).text
    assert "Successfully authenticated" in login.communicate(timeout=60)[0] and login.returncode == 0
    assert "Runyard" in cli("org", "list").communicate(timeout=60)[0]
    listing = cli("ci", "run", "list", "--repo", depot.repo)
    assert "missing API token" not in listing.communicate(timeout=60)[0] and listing.returncode == 0
    assert "Logout successful" in cli("logout").communicate(timeout=60)[0]
    assert "missing API token" in cli("ci", "run", "list").communicate(timeout=60)[0]


def test_metrics_of_an_attempt_a_job_and_a_run(depot: Depot, ended: Any) -> None:
    text = depot("metrics", attempt(ended, "busy"))
    assert "Availability: available" in text and re.search(
        r"CPU: peak [0-9.]+%, avg [0-9.]+% \(\d+ samples\)", text
    )
    found = json.loads(depot("metrics", "--attempt", attempt(ended, "busy"), "--output", "json"))
    assert found["type"] == "attempt" and len(found["attempt"]["samples"]) >= 2
    assert (
        0 < found["attempt"]["stats"]["peak_cpu_utilization"] <= 1
        and found["attempt"]["stats"]["peak_memory_usage_bytes"] > 0
    )
    assert "Memory: peak" in depot("metrics", "--job", number(ended, "busy"))
    of_run = json.loads(depot("metrics", "--run", ended["run_id"], "--output", "json"))
    assert {j["job"]["conclusion"] for w in of_run["workflows"] for j in w["jobs"]} == {"success", "failure"}
    code, out = depot.try_("metrics", ended["run_id"])
    assert code == 1 and "use --job <job-id> or --run <run-id>" in out


def test_logs_in_every_form(depot: Depot, ended: Any, tmp_path: Path) -> None:
    rows = [
        json.loads(row)
        for row in depot("logs", attempt(ended, "busy"), "--output", "json").splitlines()
        if row.startswith("{")
    ]
    at = {row["body"]: row["timestamp_ms"] for row in rows}
    assert 1500 < at["late"] - at["hi false 3 red "] < 30_000  # each line has its own time
    assert re.search(
        r"^\d{4}-\d\d-\d\dT[0-9:.]+Z late$",
        depot("logs", ended["run_id"], "--job", "busy", "--timestamps"),
        re.MULTILINE,
    )
    depot("logs", attempt(ended, "busy"), "--output", "json", "--output-file", str(tmp_path / "log.jsonl"))
    exported = [json.loads(row) for row in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["body"] for row in exported] == [row["body"] for row in rows]
    assert "late" in depot("logs", number(ended, "busy"), "--follow")
    code, out = depot.try_("logs", ended["run_id"])
    assert code == 1 and "specify one with --job" in out


def test_a_diagnosis_of_each_level(depot: Depot, ended: Any) -> None:
    flow = ended["workflows"][0]["workflow_id"]
    for flag, target in (
        ("--run", ended["run_id"]),
        ("--workflow", flow),
        ("--job", number(ended, "bad")),
        ("--attempt", attempt(ended, "bad")),
    ):
        assert "fatal: no such thing" in depot("diagnose", flag, target)
    assert "No CI failures found" in depot("diagnose", "--job", number(ended, "busy"))


def test_summary_without_one_and_shows(depot: Depot, ended: Any) -> None:
    assert "No CI step summary was produced" in depot("summary", number(ended, "bad"))
    shown = json.loads(depot("run", "show", ended["run_id"], "--output", "json"))
    assert shown["trigger"] == "workflow_dispatch" and shown["status"] == "failed"
    flow = json.loads(depot("workflow", "show", ended["workflows"][0]["workflow_id"], "--output", "json"))
    assert flow["workflow"]["name"] == "Parts" and len(flow["executions"]) == 1
    listed = json.loads(depot("workflow", "list", "--repo", depot.repo, "--output", "json"))
    assert next(w for w in listed if w["run_id"] == ended["run_id"])["job_counts"]["failed"] == 1
    assert "No" in depot("artifacts", "list", ended["run_id"])


def test_dispatch_takes_every_type_of_input(depot: Depot) -> None:
    given = {"word": "yo", "flag": "true", "count": "5", "color": "blue", "place": "staging"}
    run = dispatched(
        depot, "parts.yml", *[part for pair in given.items() for part in ("--input", "=".join(pair))]
    )
    depot.until(run, *ENDED)
    assert "yo true 5 blue staging" in depot("logs", run, "--job", "busy")
    for bad in ("count=many", "flag=maybe", "color=green", "nothing=1"):
        code, out = depot.try_(
            "dispatch", "--repo", depot.repo, "--workflow", "parts.yml", "--ref", "main", "--input", bad
        )
        assert code == 1 and "invalid_argument" in out, out


def test_retry_rerun_and_cancel_of_parts(depot: Depot) -> None:
    run = dispatched(depot, "parts.yml")
    tree = depot.until(run, *ENDED)
    again = json.loads(depot("retry", run, "--failed", "--output", "json"))
    assert again["job_count"] == 1 and again["job_ids"] == [number(tree, "bad")]
    tree = depot.until(run, *ENDED)
    assert "(2 jobs reset)" in depot("rerun", run)
    tree = depot.until(run, *ENDED)
    assert [len(job["attempts"]) for job in jobs(tree).values()] in ([3, 2], [2, 3])
    long = dispatched(depot, "long.yml")
    tree = depot.until(long, "running")
    out = json.loads(depot("cancel", long, "--job", number(tree, "two"), "--output", "json"))
    assert out["status"] == "cancelled"
    assert "(cancelled)" in depot("cancel", long, "--workflow", tree["workflows"][0]["workflow_id"])
    assert depot.until(long, *ENDED)["status"] == "cancelled"


def test_secrets_and_variables_with_variants(depot: Depot) -> None:
    (depot.folder / "some.env").write_text('PARTS_A=1\nPARTS_B="two words"\n')
    depot("secrets", "bulk", "--file", "some.env", "--repo", depot.repo)
    depot("vars", "set", "PARTS_V", "--value", "plain")
    depot(
        "vars",
        "set",
        "PARTS_V",
        "production",
        "--value",
        "special",
        "--env",
        "production",
        "--branch",
        "main",
    )
    shown = json.loads(depot("vars", "list", "PARTS_V", "--output", "json"))
    assert [v["value"] for v in shown["variables"][0]["variants"]] == ["plain", "special"]
    assert "two words" not in depot("secrets", "list", "--repo", depot.repo, "--output", "json")
    got = json.loads(depot("secrets", "get", "PARTS_A", "--repo", depot.repo, "--output", "json"))
    assert got["attributes"] == [{"key": "repository", "value": depot.repo}]
    depot("secrets", "remove", "PARTS_A", "PARTS_B", "--force")
    depot("vars", "remove", "PARTS_V", "--variant", "production", "--force")
    depot("vars", "remove", "PARTS_V", "--force")
    assert "PARTS_" not in depot("vars", "list") + depot("secrets", "list")


def test_migrate(depot: Depot, tmp_path: Path) -> None:
    local = clone(depot.server, "depot/parts", tmp_path)
    depot.server.git(local.folder, "remote", "set-url", "origin", f"https://github.com/{depot.repo}.git")
    flags = ("-y", "--org", "5d71zjqq7n")
    assert f"Detected repository: {depot.repo}" in local("migrate", "preflight", *flags)
    assert "Migrated 1 workflow(s)" in local("migrate", "workflows", *flags, "--overwrite")
    assert (local.folder / ".depot/workflows/old.yml").exists()
    out = local("migrate", "secrets-and-vars", *flags, "--secrets", "KEY", "--vars", "WHO")
    assert re.search(r"depot-migrate-secrets-[0-9bcdfghjklmnpqrstvwxz]{10}", out)


TMATE = {
    "action.yml": "inputs: {limit-access-to-actor: {default: auto}}\nruns: {using: node20, main: main.js}\n",
    "main.js": """
console.log('limited ' + process.env['INPUT_LIMIT-ACCESS-TO-ACTOR'])
setInterval(() => console.log('SSH: ssh abc123@nyc1.tmate.io'), 200)
""",
}
ORIGIN = """
name: Old
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps: [{run: "echo ${{ secrets.KEY }} ${{ vars.WHO }}"}, {uses: actions/checkout@v4, with: {lfs: true}}]
"""


@pytest.fixture(scope="module")
def afar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Depot]:
    """A server that fetches actions from a folder, which has one by the name of that for tmate sessions."""
    if not BINARY.exists():
        pytest.skip("the depot CLI is not installed: run `make clients`")
    base = tmp_path_factory.mktemp("actions")
    server = LiveServer(tmp_path_factory.mktemp("live"), RUNYARD_ACTIONS_URL=str(base))
    action = base / "mxschmitt/action-tmate"
    action.mkdir(parents=True)
    for name, text in TMATE.items():
        (action / name).write_text(text)
    for argv in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "one"), ("tag", "v3")):
        server.git(action, *argv)
    server.push("depot/afar", {".depot/workflows/ci.yml": CI, ".github/workflows/old.yml": ORIGIN})
    yield clone(server, "depot/afar", tmp_path_factory.mktemp("clone"))
    server.stop()


@pytest.mark.skipif(shutil.which("node") is None, reason="tmate's action needs Node.js: apt install nodejs")
def test_run_with_ssh_after_a_step_finds_the_session_in_the_log(afar: Depot) -> None:
    """The step that the CLI puts in is an action like any other, and its line is seen while the job stands
    there."""
    out = afar(
        "run",
        "--repo",
        afar.repo,
        "--workflow",
        ".depot/workflows/ci.yml",
        "--job",
        "busy",
        "--ssh-after-step",
        "1",
    )
    assert "Inserting tmate step after step 1" in out and "ssh abc123@nyc1.tmate.io" in out
    run = re.search(r"^Run: ([0-9a-z]{10})$", out, re.MULTILINE)
    assert run is not None
    log = afar("logs", run[1], "--job", "busy")
    assert "limited false" in log and log.index("late") < log.index("limited")
    afar("cancel", run[1])


def test_migrate_from_origin(afar: Depot) -> None:
    afar.server.git(afar.folder, "remote", "set-url", "origin", f"https://origin.cursor.com/{afar.repo}.git")
    flags = ("--forge", "origin", "-y", "--org", "5d71zjqq7n")
    assert "available to this Depot organization" in afar("migrate", "preflight", *flags)
    out = afar("migrate", "workflows", *flags, "--overwrite")
    assert "Migrated 1 workflow(s)" in out and "1 secret(s) and 1 variable(s)" in out
    assert (afar.folder / ".depot/workflows/old.yml").exists()
    out = afar("migrate", "secrets-and-vars", *flags, "--secrets", "KEY", "--vars", "WHO")
    assert re.search(r"git push origin depot-migrate-secrets-[0-9bcdfghjklmnpqrstvwxz]{10}", out)
    code, out = afar.try_("migrate", "preflight", *flags[2:], "--forge", "elsewhere")
    assert code == 1 and "forge" in out
