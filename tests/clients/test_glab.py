"""The real `glab` against a live server: logging in, pipelines, jobs, schedules, variables, projects, merge
requests.

RUNYARD_GLAB names the binary; without it the one on PATH is driven. Debian 12 has no package of it, so
elsewhere this says loudly that it did not run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.live_server import LiveServer

BINARY = os.environ.get("RUNYARD_GLAB") or shutil.which("glab")
NONE = "LOUD: the real glab was NOT driven: there is none on PATH and RUNYARD_GLAB names none (Debian 12 has no package of it)"
pytestmark = [pytest.mark.client, pytest.mark.skipif(not BINARY, reason=NONE)]

CONFIG = """
stages: [build, test]
make: {stage: build, script: [echo made > out.txt, echo making it], artifacts: {paths: [out.txt]}}
check: {stage: test, script: [echo checking]}
hand: {stage: test, when: manual, script: [echo by hand]}
slow: {stage: test, script: [sleep 100], rules: [{if: $SLOW}]}
"""
PROJECT = "/projects/team%2Fapp"


class Glab:
    """glab in a working copy of team/app, logged in."""

    def __init__(self, server: LiveServer, folder: Path) -> None:
        self.server, self.work = server, folder / "app"
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "GLAB_CONFIG_DIR": str(folder / "glab"), "NO_COLOR": "1", "GLAB_NO_PROMPT": "1",
            "GLAB_CHECK_UPDATE": "false", "GLAB_SEND_TELEMETRY": "false", "TERM": "xterm",
        }  # fmt: skip
        self.work.mkdir()
        server.git(self.work, "init", "-q", "-b", "main")
        server.git(self.work, "remote", "add", "origin", f"{server.url}/team/app.git")
        host, port = server.url.removeprefix("http://").split(":")
        self(
            "auth", "login", "--hostname", host, "--api-host", f"{host}:{port}", "--api-protocol", "http",
            "--git-protocol", "http", "--token", server.token,
        )  # fmt: skip

    def __call__(self, *arguments: str) -> str:
        """What it prints; it must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, (arguments, done.stdout[-800:], done.stderr[-800:])
        return done.stdout + done.stderr

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BINARY), *arguments],
            cwd=self.work,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def commit(self, branch: str, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.work / name).write_text(text)
        self.server.git(self.work, "checkout", "-q", "-B", branch)
        self.server.git(self.work, "add", "-A")
        self.server.git(self.work, "commit", "-qm", f"on {branch}")
        address = self.server.url.replace("://", f"://root:{self.server.token}@")
        self.server.git(self.work, "push", "-q", f"{address}/team/app.git", branch)

    def call(self, path: str) -> Any:
        status, found = self.server.call("GET", f"/api/v4{PROJECT}{path}")
        assert status == 200, found
        return found

    def job(self, name: str) -> dict[str, Any]:
        return next(job for job in self.call("/jobs?per_page=100") if job["name"] == name)

    def ended(self, branch: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = self.server.until(
            lambda: self.call(f"/pipelines?ref={branch}"),
            lambda rows: bool(rows) and rows[0]["status"] == "success",
        )
        return found[0]


@pytest.fixture(scope="module")
def glab(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("glab")
    server = LiveServer(folder, RUNYARD_RUNNER_SLOTS="4")
    try:
        client = Glab(server, folder)
        client.commit("main", {".gitlab-ci.yml": CONFIG})
        client.ended("main")
        yield client
    finally:
        server.stop()


def test_who_it_is(glab: Glab) -> None:
    assert "Logged in to 127.0.0.1 as root" in glab("auth", "status", "--hostname", "127.0.0.1")


def test_looks_at_pipelines(glab: Glab) -> None:
    assert "(success)" in glab("ci", "list")
    told = glab("ci", "status", "--branch", "main")
    assert "check" in told and "Pipeline state: success" in told
    found = json.loads(glab("ci", "get", "--branch", "main", "-F", "json", "--with-variables").strip())
    assert found["status"] == "success" and {job["name"] for job in found["jobs"]} >= {
        "make",
        "check",
        "hand",
    }
    assert "making it" in glab("ci", "trace", "make", "--branch", "main")


def test_runs_cancels_retries_plays_deletes(glab: Glab) -> None:
    told = glab("ci", "run", "-b", "main", "--variables", "SLOW:yes")
    pipeline = re.search(r"id: (\d+)", told)
    assert pipeline
    job = glab.server.until(
        lambda: [job for job in glab.call("/jobs") if job["name"] == "slow"],
        lambda rows: bool(rows) and rows[0]["status"] == "running",
    )[0]
    glab("ci", "cancel", "job", str(job["id"]))
    glab.server.until(lambda: glab.job("slow")["status"], lambda word: word == "canceled")
    glab("ci", "cancel", "pipeline", pipeline[1])
    by_hand = next(job for job in reversed(glab.call("/jobs?per_page=100")) if job["name"] == "hand")
    assert "status: pending" in glab("ci", "trigger", str(by_hand["id"]))
    assert "Retried job" in glab("ci", "retry", str(glab.job("make")["id"]))
    glab("ci", "retry", "check", "--branch", "main")
    glab("ci", "delete", pipeline[1])
    assert glab.server.call("GET", f"/api/v4{PROJECT}/pipelines/{pipeline[1]}")[0] == 404


def test_artifacts(glab: Glab) -> None:
    glab("job", "artifact", "main", "make", "--path", "fetched/")
    assert (glab.work / "fetched/out.txt").read_text() == "made\n"


def test_lint(glab: Glab) -> None:
    assert "YAML is valid" in glab("ci", "lint")
    assert "- echo making it" in glab("ci", "config", "compile")
    (glab.work / "bad.yml").write_text("a: {stage: nowhere, script: [x]}\n")
    refused = glab.run("ci", "lint", "bad.yml")
    assert refused.returncode != 0 or "invalid" in refused.stdout + refused.stderr


def test_triggers_and_schedules(glab: Glab) -> None:
    made = glab.server.call("POST", f"/api/v4{PROJECT}/triggers", {"description": "for glab"})[1]
    assert "Created pipeline" in glab(
        "ci", "run-trig", "-t", made["token"], "-b", "main", "--variables", "A:b"
    )
    glab(
        "schedule",
        "create",
        "--cron",
        "0 2 * * *",
        "--description",
        "nightly",
        "--ref",
        "main",
        "--variable",
        "X:y",
    )
    assert "nightly" in glab("schedule", "list")
    one = str(glab.call("/pipeline_schedules")[0]["id"])
    glab("schedule", "update", one, "--description", "daily", "--create-variable", "NEW:value")
    glab("schedule", "update", one, "--cron", "0 3 * * *", "--active=false", "--update-variable", "NEW:other")
    found = glab.call(f"/pipeline_schedules/{one}")
    assert (found["description"], found["cron"], found["active"]) == ("daily", "0 3 * * *", False)
    assert {row["key"]: row["value"] for row in found["variables"]} == {"X": "y", "NEW": "other"}
    glab("schedule", "run", one)
    glab("schedule", "delete", one)
    assert glab.call("/pipeline_schedules") == []


def test_variables(glab: Glab) -> None:
    glab("variable", "set", "NAME", "value")
    glab("variable", "set", "SECRET", "supersecretvalue", "--masked", "--protected", "--scope", "prod")
    glab("variable", "update", "NAME", "other")
    assert glab("variable", "get", "NAME").strip().endswith("other")
    assert "SECRET" in glab("variable", "list") and '"NAME"' in glab("variable", "export")
    glab("variable", "delete", "SECRET", "--scope", "prod")
    glab("variable", "set", "WIDE", "v", "-g", "team")
    assert "WIDE" in glab("variable", "list", "-g", "team")
    glab("variable", "delete", "WIDE", "-g", "team")


def test_projects(glab: Glab) -> None:
    assert "team / app" in glab("repo", "view", "team/app")
    assert "Showing 1 of 1 projects" in glab("repo", "list")
    assert "team/app" in glab("repo", "search", "-s", "app")
    glab("repo", "create", "team/second", "--defaultBranch", "main")
    glab("repo", "delete", "team/second", "--yes")
    assert json.loads(glab("api", "projects/:id"))["path_with_namespace"] == "team/app"
    paged = glab("api", "projects/:fullpath/pipelines?per_page=1", "--paginate")
    assert paged.count('"iid"') == len(glab.call("/pipelines"))
    refused = glab.run("issue", "list")
    assert refused.returncode != 0 and "404 Not Found" in refused.stdout + refused.stderr


def test_merge_requests(glab: Glab) -> None:
    glab.commit("feature", {"new.txt": "new\n"})
    glab(
        "mr", "create", "--source-branch", "feature", "--target-branch", "main", "--title", "Feature", "--description", "text", "--yes", "--no-editor"
    )  # fmt: skip
    assert "Feature" in glab("mr", "list")
    assert "text" in glab("mr", "view", "1")
    glab("mr", "update", "1", "--title", "Other", "--label", "x")
    glab("mr", "close", "1")
    glab("mr", "reopen", "1")
    found = glab.call("/merge_requests/1")
    assert (found["title"], found["state"], found["labels"]) == ("Other", "opened", ["x"])
    assert "(success)" in glab("ci", "list", "--ref", "feature") or glab.ended("feature")
