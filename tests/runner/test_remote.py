"""The same jobs over the GitLab runner API: `runyard runner`'s line against a real server in another
process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live_server import LiveRunner, LiveServer, runner_token

CONFIG = """
stages: [build, test]
build:
  stage: build
  script: [echo "sha $CI_COMMIT_SHORT_SHA", cat hello.txt, mkdir out, echo made > out/x, echo "secret $HUSH"]
  artifacts: {paths: [out/]}
check:
  stage: test
  script: [cat out/x, pwd, exit 3]
  after_script: [echo "after $CI_JOB_STATUS"]
long:
  stage: build
  script: [echo begun, sleep 100]
  after_script: [echo cleaned]
  allow_failure: true
"""


class Api:
    def __init__(self, server: LiveServer) -> None:
        self.server = server

    def __call__(self, method: str, path: str, **body: Any) -> Any:
        request = urllib.request.Request(self.server.url + "/api/v4" + path, method=method)
        request.add_header("PRIVATE-TOKEN", self.server.token)
        data = None
        if body:
            data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, data, timeout=60) as answer:
            raw = answer.read()
        return json.loads(raw) if "json" in answer.headers.get("content-type", "") else raw.decode()

    def until(self, path: str, *words: str) -> Any:
        for _ in range(600):
            found = self("GET", path)
            if found["status"] in words:
                return found
            time.sleep(0.1)
        raise AssertionError(found)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Api]:
    live = LiveServer(tmp_path, RUNYARD_RUNNER_SLOTS="0")
    yield Api(live)
    live.kill()


@pytest.fixture
def runner(server: Api) -> Iterator[LiveRunner]:
    made = LiveRunner(server.server, runner_token(server.server), "--slots", "2", "--allow-plain")
    yield made
    made.stop()


def push(server: Api, folder: Path) -> None:
    repository = folder / "repo"
    repository.mkdir()
    (repository / "hello.txt").write_text("hello from git\n")
    (repository / ".gitlab-ci.yml").write_text(CONFIG)
    env = {
        **os.environ,
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@x",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@x",
    }
    url = server.server.url.replace("http://", f"http://root:{server.server.token}@") + "/group/app.git"
    for argv in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["commit", "-qm", "first"],
        ["push", "-q", "-o", "ci.skip", url, "main"],
    ):
        subprocess.run(["git", *argv], cwd=repository, env=env, check=True, capture_output=True)


def test_a_pipeline_runs_on_another_process(server: Api, runner: LiveRunner, tmp_path: Path) -> None:
    push(server, tmp_path)
    pipeline = server(
        "POST",
        "/projects/group%2Fapp/pipeline",
        ref="main",
        variables=[{"key": "HUSH", "value": "not-to-be-masked"}],
    )
    jobs = {
        j["name"]: j["id"] for j in server("GET", f"/projects/group%2Fapp/pipelines/{pipeline['id']}/jobs")
    }
    project = "/projects/group%2Fapp"
    build = server.until(f"{project}/jobs/{jobs['build']}", "success", "failed")
    trace = server("GET", f"{project}/jobs/{jobs['build']}/trace")
    assert build["status"] == "success", trace
    assert "hello from git" in trace and "Job succeeded" in trace and "$ cat hello.txt" in trace
    assert build["artifacts_file"]["filename"] == "artifacts.zip"
    server.until(f"{project}/jobs/{jobs['long']}", "running")
    for _ in range(100):
        if "begun" in server("GET", f"{project}/jobs/{jobs['long']}/trace"):
            break
        time.sleep(0.1)
    server("POST", f"{project}/jobs/{jobs['long']}/cancel")
    server.until(f"{project}/jobs/{jobs['long']}", "canceled")
    trace = server("GET", f"{project}/jobs/{jobs['long']}/trace")
    assert "cleaned" in trace
    check = server.until(f"{project}/jobs/{jobs['check']}", "success", "failed", "skipped")
    trace = server("GET", f"{project}/jobs/{jobs['check']}/trace")
    assert check["status"] == "failed" and check["failure_reason"] == "script_failure", trace
    assert "\nmade\n" in trace and "after failed" in trace


def test_a_token_that_is_none_is_said_at_once(server: Api, tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "runyard",
        "runner",
        "--url",
        server.server.url,
        "--token",
        "glrt-nonsense",
        "--work",
        str(tmp_path / "w"),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 2 and "does not know this runner token" in done.stderr
