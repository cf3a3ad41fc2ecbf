"""A stock gitlab-runner's whole turn against a live server: register, poll, real git fetch by the payload's
refspecs, trace, artifacts, end.

`test_real_runners` drives the real binaries where there are some; this one runs everywhere.
"""

from __future__ import annotations

import io
import json
import subprocess
import urllib.request
import zipfile
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.live_server import LiveServer

pytestmark = pytest.mark.client

CONFIG = """
make:
  tags: [stock-only]
  script: [make]
  artifacts: {paths: [out.txt]}
use:
  tags: [stock-only]
  needs: [make]
  script: [cat out.txt]
"""


class Runner:
    """Speaks the protocol with the standard library."""

    def __init__(self, server: LiveServer, tags: str) -> None:
        self.server = server
        registration = (server.folder / "data" / "registration-token").read_text().strip()
        status, made, _ = self.send(
            "POST", "/runners", {"token": registration, "tag_list": tags, "run_untagged": False}
        )
        assert status == 201, made
        self.token = made["token"]

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.server.url}/api/v4{path}", data, method=method)
        given = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        for key, value in given.items():
            request.add_header(key, value)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                raw = answer.read()
                found = (
                    json.loads(raw) if raw and "json" in (answer.headers.get("Content-Type") or "") else raw
                )
                return answer.status, found, answer.headers
        except HTTPError as error:
            with error:
                return error.code, error.read(), error.headers

    def claim(self) -> dict[str, Any]:
        info = {
            "name": "gitlab-runner",
            "executor": "shell",
            "features": {"refspecs": True, "cancel_gracefully": True},
        }
        last = ""
        for _ in range(20):
            status, job, headers = self.send(
                "POST", "/jobs/request", {"token": self.token, "info": info, "last_update": last}
            )
            if status == 201:
                return dict(job)
            assert status == 204
            last = headers["X-GitLab-Last-Update"]
        raise AssertionError("no job came")


def fetch(job: dict[str, Any], into: Path) -> None:
    info = job["git_info"]
    git = ["git", "-C", str(into), "-c", "protocol.version=2"]
    subprocess.run(["git", "init", "-q", str(into)], check=True)
    subprocess.run(
        [*git, "fetch", "-q", "--depth", str(info["depth"]), info["repo_url"], *info["refspecs"]], check=True
    )
    subprocess.run([*git, "checkout", "-q", "-f", info["sha"]], check=True)


def finish(runner: Runner, job: dict[str, Any], log: bytes, artifact: bytes | None) -> None:
    token = {"JOB_TOKEN": job["token"]}
    status, _, headers = runner.send(
        "PATCH",
        f"/jobs/{job['id']}/trace",
        log,
        Content_Range=f"0-{len(log) - 1}",
        Content_Type="text/plain",
        **token,
    )
    assert status == 202 and headers["Range"] == f"0-{len(log)}"
    if artifact is not None:
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="artifacts.zip"\r\n\r\n'
        query = "?artifact_format=zip&artifact_type=archive&expire_in=1+week"
        status, _, _ = runner.send(
            "POST", f"/jobs/{job['id']}/artifacts{query}", head + artifact + b"\r\n--b--\r\n",
            Content_Type="multipart/form-data; boundary=b", **token,
        )  # fmt: skip
        assert status == 201
    assert runner.send("PUT", f"/jobs/{job['id']}", {"token": job["token"], "state": "success"})[0] == 200


def test_a_stock_runner_takes_two_jobs(server: LiveServer, tmp_path: Path) -> None:
    sha = server.push("clients/stock", {".gitlab-ci.yml": CONFIG, "file.txt": "content\n"})
    runner = Runner(server, "stock-only")
    make = runner.claim()
    assert make["job_info"]["name"] == "make" and make["git_info"]["sha"] == sha
    fetch(make, tmp_path / "work")
    assert (tmp_path / "work" / "file.txt").read_text() == "content\n"
    push = subprocess.run(
        [
            "git",
            "-C",
            str(tmp_path / "work"),
            "push",
            "-q",
            make["git_info"]["repo_url"],
            "HEAD:refs/heads/evil",
        ],
        capture_output=True,
        check=False,
    )
    assert push.returncode != 0
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("out.txt", "made\n")
    finish(runner, make, b"making\n", out.getvalue())
    use = runner.claim()
    assert [d["name"] for d in use["dependencies"]] == ["make"]
    status, data, _ = runner.send(
        "GET", f"/jobs/{use['dependencies'][0]['id']}/artifacts", JOB_TOKEN=use["dependencies"][0]["token"]
    )
    assert status == 200 and zipfile.ZipFile(io.BytesIO(data)).read("out.txt") == b"made\n"
    finish(runner, use, b"using\n", None)
    status, pipelines = server.call("GET", "/api/v4/projects/clients%2Fstock/pipelines")
    assert status == 200 and pipelines[0]["status"] == "success"
    dead = subprocess.run(
        ["git", "ls-remote", make["git_info"]["repo_url"]],
        capture_output=True,
        check=False,
        env={"GIT_TERMINAL_PROMPT": "0", "PATH": "/usr/bin:/bin"},
    )
    assert dead.returncode != 0
