"""The real depot CLI (npm, unmodified) against a live server: run, status, logs, lists, cancel, retry,
artifacts, dispatch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.client

ROOT = Path(__file__).parents[2]
BINARY = ROOT / ".clients/node_modules/@depot/cli-linux-x64/bin/depot"
EXAMPLE = ROOT / "examples/depot"
CI = ".depot/workflows/ci.yml"

SLOW = """
name: Slow
on: workflow_dispatch
jobs:
  wait:
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo started
          for n in $(seq 600); do sleep 0.1; done
"""
FLAKY = """
name: Flaky
on:
  workflow_dispatch:
    inputs: {word: {type: choice, options: [yes-please, no-thanks], required: true}}
jobs:
  work:
    runs-on: ubuntu-latest
    steps:
      - name: Try
        run: |
          echo "::group::inside"
          echo "attempt ${{ github.run_attempt }} says ${{ inputs.word || 'nothing' }}"
          echo "::endgroup::"
          test "${{ github.run_attempt }}" -gt 1
  after:
    needs: work
    runs-on: ubuntu-latest
    steps: [{run: "echo after"}]
"""


class Depot:
    """The CLI with this server's address and token, in a clone of the project."""

    def __init__(self, server: LiveServer, folder: Path, repo: str) -> None:
        self.server, self.folder, self.repo = server, folder, repo
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder.parent),
            "DEPOT_API_URL": server.url,
            "DEPOT_CACHE_HOST": server.url,
            "DEPOT_TOKEN": TOKEN,
            "DEPOT_NO_UPDATE_NOTIFIER": "1",
            "CI": "1",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        argv = [str(BINARY), "ci", *arguments]
        return subprocess.Popen(
            argv, cwd=self.folder, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def try_(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        out, _ = process.communicate(timeout=120)
        return process.returncode, out

    def __call__(self, *arguments: str) -> str:
        code, out = self.try_(*arguments)
        assert code == 0, f"{out}\n{self.server.log.read_text()[-3000:]}"
        return out

    def run(self, workflow: str, *more: str) -> str:
        out = self("run", "--repo", self.repo, "--workflow", workflow, *more)
        found = re.search(r"^Run: ([0-9a-z]{10})$", out, re.MULTILINE)
        assert found, out
        return found[1]

    def tree(self, run: str) -> Any:
        return json.loads(self("status", run, "--output", "json"))

    def until(self, run: str, *wanted: str, seconds: float = 90) -> Any:
        return self.server.until(lambda: self.tree(run), lambda tree: tree["status"] in wanted, seconds)


def clone(server: LiveServer, repo: str, folder: Path) -> Depot:
    """The CLI in a fresh clone, as a user has it."""
    target = folder / "clone"
    server.git(
        folder, "clone", "-q", f"{server.url.replace('://', f'://root:{TOKEN}@')}/{repo}.git", str(target)
    )
    return Depot(server, target, repo)


@pytest.fixture(scope="module")
def depot(server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Depot]:
    if not BINARY.exists():
        pytest.skip("the depot CLI is not installed: run `make clients`")
    files = {
        p.relative_to(EXAMPLE).as_posix(): p.read_text()
        for p in EXAMPLE.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    files |= {".depot/workflows/slow.yml": SLOW, ".depot/workflows/flaky.yml": FLAKY}
    server.push("depot/wordfreq", files)
    yield clone(server, "depot/wordfreq", tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def passed(depot: Depot) -> Any:
    """The example project's run, ended."""
    run = depot.run(CI)
    tree = depot.until(run, "finished", "failed", "cancelled")
    assert tree["status"] == "finished", depot("status", run)
    return tree


def jobs(tree: Any) -> dict[str, Any]:
    return {job["job_key"]: job for flow in tree["workflows"] for job in flow["jobs"]}


def test_the_push_itself_ran_the_workflow(depot: Depot) -> None:
    listed = json.loads(
        depot(
            "run",
            "list",
            "--repo",
            depot.repo,
            "--trigger",
            "push",
            "--status",
            "finished,failed,running,queued,cancelled",
            "--output",
            "json",
        )
    )
    assert [row["trigger"] for row in listed] == ["push"]


def test_status_shows_every_job_finished(depot: Depot, passed: Any) -> None:
    assert {job["status"] for job in jobs(passed).values()} == {"finished"}
    text = depot("status", passed["run_id"])
    assert (
        f"Run: {passed['run_id']} (finished)" in text
        and "Path: .depot/workflows/ci.yml" not in text.split("Job:")[1]
    )
    assert "[Test (keep, C.UTF-8)] (finished)" in text


def test_logs_of_a_job(depot: Depot, passed: Any) -> None:
    text = depot("logs", passed["run_id"], "--job", "report")
    assert "depot/wordfreq 1.2.0 (main) is ready" in text
    assert "results: success, success, success" in text
    assert "wordfreq-1.2.0.tar.gz: OK" in text
    rows = [
        json.loads(row)
        for row in depot("logs", passed["run_id"], "--job", "facts", "--output", "json").splitlines()
        if row.startswith("{")
    ]
    assert any(row.get("step_name") == "Compile everything" for row in rows)
    assert any(row.get("step_id") == "version" for row in rows)


def test_logs_by_attempt_and_into_a_file(depot: Depot, passed: Any, tmp_path: Path) -> None:
    attempt = jobs(passed)[next(key for key in jobs(passed) if key.endswith(":package"))]["attempts"][0][
        "attempt_id"
    ]
    assert "sha256sum" in depot("logs", attempt)
    depot("logs", attempt, "--output-file", str(tmp_path / "log.txt"))
    assert "sha256sum" in (tmp_path / "log.txt").read_text()


def test_run_and_workflow_views(depot: Depot, passed: Any) -> None:
    shown = depot("run", "show", passed["run_id"])
    assert "depot/wordfreq" in shown and "finished" in shown and "refs/heads/main" in shown
    flow = passed["workflows"][0]["workflow_id"]
    assert "finished" in depot("workflow", "show", flow)
    assert flow in depot("workflow", "list", "--repo", depot.repo)
    assert passed["run_id"] in depot("run", "list", "--repo", depot.repo, "--status", "finished")


def test_artifacts(depot: Depot, passed: Any, tmp_path: Path) -> None:
    listed = json.loads(depot("artifacts", "list", passed["run_id"], "--output", "json"))
    rows = listed["artifacts"] if isinstance(listed, dict) else listed
    assert [row["name"] for row in rows] == ["dist"]
    target = tmp_path / "dist.zip"
    depot("artifacts", "download", rows[0]["artifact_id"], "--output-file", str(target))
    with zipfile.ZipFile(target) as archive:
        assert sorted(archive.namelist()) == ["SHA256SUMS", "wordfreq-1.2.0.tar.gz"]


def test_summary(depot: Depot, passed: Any) -> None:
    job = next(job for key, job in jobs(passed).items() if "keep" in key)
    assert "- keep under C.UTF-8 passed" in depot("summary", job["job_id"])


def test_follow_ends_with_the_job(depot: Depot) -> None:
    run = depot.run(".depot/workflows/flaky.yml")
    text = depot("logs", run, "--job", "work", "--follow")
    assert "attempt 1 says nothing" in text or "attempt 1 says yes-please" in text
    tree = depot.until(run, "failed")
    assert {key.split(":")[1]: job["status"] for key, job in jobs(tree).items()} == {
        "work": "failed",
        "after": "skipped",
    }


def test_retry_of_a_failed_job(depot: Depot) -> None:
    run = depot.run(".depot/workflows/flaky.yml")
    depot.until(run, "failed")
    job = next(job["job_id"] for key, job in jobs(depot.tree(run)).items() if key.endswith("work"))
    assert "(attempt #2, queued)" in depot("retry", run, "--job", job)
    tree = depot.until(run, "finished")
    assert [len(job["attempts"]) for key, job in jobs(tree).items() if key.endswith("work")] == [2]
    assert "attempt 2 says" in depot("logs", run, "--job", "work")


def test_cancel_of_a_running_run(depot: Depot) -> None:
    run = depot.run(".depot/workflows/slow.yml")
    follower = depot.start("logs", run, "--job", "wait", "--follow")
    depot.until(run, "running")
    assert f"Cancelled run {run} (cancelled)" in depot("cancel", run)
    assert depot.until(run, "cancelled", seconds=30)
    out, _ = follower.communicate(timeout=60)
    assert follower.returncode == 0, out
    code, out = depot.try_("cancel", run)
    assert code == 1 and "failed_precondition" in out


def test_dispatch_with_inputs(depot: Depot) -> None:
    out = depot(
        "dispatch",
        "--repo",
        depot.repo,
        "--workflow",
        "flaky.yml",
        "--ref",
        "main",
        "--input",
        "word=no-thanks",
    )
    found = re.search(r"run ([0-9a-z]{10}) queued", out)
    assert found, out
    depot.until(found[1], "failed")
    assert "says no-thanks" in depot("logs", found[1], "--job", "work")
    code, out = depot.try_(
        "dispatch", "--repo", depot.repo, "--workflow", "flaky.yml", "--ref", "main", "--input", "word=maybe"
    )
    assert code == 1 and "invalid_argument" in out


def test_a_broken_file_is_refused_with_its_place(depot: Depot, tmp_path: Path) -> None:
    broken = "on: push\njobs:\n  a:\n    runs-on: x\n    steps: [{run: x, iff: y}]\n"
    depot.server.push("depot/broken", {CI: broken})
    other = clone(depot.server, "depot/broken", tmp_path)
    code, out = other.try_("run", "--repo", "depot/broken", "--workflow", CI)
    assert code == 1 and "invalid_argument" in out
    # The CLI sends its own rendering of the file, so only the words are ours.
    assert "Unexpected value 'iff' (did you mean 'if'?)" in out


def test_what_is_wrong_is_said(depot: Depot) -> None:
    code, out = depot.try_("logs", "0123456789")
    assert code == 1 and "not_found" in out
    code, out = depot.try_("run", "--repo", "depot/nope", "--workflow", CI)
    assert code == 1 and "not_found" in out
    depot.env["DEPOT_TOKEN"] = "wrong"
    code, out = depot.try_("run", "list")
    depot.env["DEPOT_TOKEN"] = TOKEN
    assert code == 1 and "unauthenticated" in out


CHECK = """
name: Check
on: workflow_dispatch
jobs:
  look:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: cat fresh.txt && cat README.md && test ! -e gone.py && test ! -e before.txt && cat after.txt && test -x tool.sh && od -An -tx1 data.bin
"""


def test_local_changes_run_without_a_commit(depot: Depot, tmp_path: Path) -> None:
    files = {
        "README.md": "old words\n", "gone.py": "x = 1\n", ".depot/workflows/check.yml": CHECK, "before.txt": "renamed\n", "tool.sh": "#!/bin/sh\n",
        "data.bin": "\0text\n",
    }  # fmt: skip
    depot.server.push("depot/local", files)
    local = clone(depot.server, "depot/local", tmp_path)
    (local.folder / "README.md").write_text("words that were never committed\n")
    (local.folder / "gone.py").unlink()
    (local.folder / "fresh.txt").write_text("a fresh file\n")
    (local.folder / "tool.sh").chmod(0o755)
    (local.folder / "data.bin").write_bytes(b"\0\xff\xfe\0")
    depot.server.git(local.folder, "mv", "before.txt", "after.txt")
    depot.server.git(local.folder, "add", "-N", "fresh.txt")
    run = local.run(".depot/workflows/check.yml")
    assert local.until(run, "finished", "failed")["status"] == "finished", local("logs", run)
    log = local("logs", run)
    assert "words that were never committed" in log and "a fresh file" in log and "old words" not in log
    assert "\nrenamed\n" in log and "\n 00 ff fe 00\n" in log
    again = local.run(".depot/workflows/check.yml")  # the patch is there already
    assert local.until(again, "finished", "failed")["status"] == "finished"
    assert (local.folder / "README.md").read_text() == "words that were never committed\n"


SEES = """
name: Sees
on: workflow_dispatch
jobs:
  look:
    runs-on: ubuntu-latest
    steps:
      - env: {KEY: "${{ secrets.KEY }}"}
        run: echo "${{ vars.WHO }} has ${#KEY} characters"
"""


def test_secrets_and_variables(depot: Depot) -> None:
    depot.server.push("depot/sees", {".depot/workflows/sees.yml": SEES})
    depot("secrets", "add", "KEY=four")
    depot("secrets", "add", "KEY=eleven char", "--repo", "depot/sees")
    depot("vars", "add", "WHO=sees", "--repo", "depot/sees")
    assert "KEY" in depot("secrets", "list") and "eleven" not in depot("secrets", "list")
    assert re.search(r"WHO .*sees", depot("vars", "list"))
    listed = json.loads(depot("secrets", "list", "--output", "json", "--repo", "depot/sees"))
    assert "KEY" in json.dumps(listed)
    assert "sees has 11 characters" in _seen(depot)
    depot("secrets", "remove", "KEY", "--repo", "depot/sees", "--force")
    assert "sees has 4 characters" in _seen(depot)
    depot("secrets", "remove", "KEY", "--all", "--force")
    depot("vars", "remove", "WHO", "--all", "--force")
    assert "KEY" not in depot("secrets", "list")


def _seen(depot: Depot) -> str:
    said = depot("dispatch", "--repo", "depot/sees", "--workflow", "sees.yml", "--ref", "main")
    found = re.search(r"run ([0-9a-z]{10}) queued", said)
    assert found, said
    assert depot.until(found[1], "finished", "failed")["status"] == "finished"
    return depot("logs", found[1])


def test_diagnose(depot: Depot) -> None:
    broken = "on: workflow_dispatch\njobs:\n  bad:\n    runs-on: ubuntu-latest\n    steps: [{run: 'echo fatal: it is broken; exit 3'}]\n"
    depot.server.push("depot/broken", {".depot/workflows/bad.yml": broken})
    run = Depot(depot.server, depot.folder, "depot/broken")
    said = run("dispatch", "--repo", "depot/broken", "--workflow", "bad.yml", "--ref", "main")
    found = re.search(r"run ([0-9a-z]{10}) queued", said)
    assert found
    assert run.until(found[1], "finished", "failed")["status"] == "failed"
    out = run("diagnose", "--run", found[1])
    assert "fatal: it is broken" in out and "depot ci logs" in out
