"""Artifacts of another run on a live server: download-artifact's `run-id`, and GitHub's calls behind it."""

from __future__ import annotations

import io
import json
import urllib.request
import zipfile
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.clients.test_depot_workflows import Door
from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.client

MAKER = """
on: push
jobs:
  make:
    runs-on: ubuntu-latest
    steps:
      - run: mkdir out; echo one > out/a.txt; echo two > b.txt
      - {id: one, uses: actions/upload-artifact@v4, with: {name: first, path: out}}
      - {uses: actions/upload-artifact@v4, with: {name: second, path: b.txt}}
      - run: echo "run ${{ github.run_id }} artifact ${{ steps.one.outputs.artifact-id }}"
"""
TAKER = """
on:
  workflow_run: {workflows: [Maker], types: [completed]}
permissions: {actions: write, contents: read}
jobs:
  take:
    runs-on: ubuntu-latest
    steps:
      - {uses: actions/download-artifact@v4, with: {run-id: "${{ github.event.workflow_run.id }}", github-token: "${{ github.token }}", path: all}}
      - {uses: actions/download-artifact@v4, with: {run-id: "${{ github.event.workflow_run.id }}", github-token: "${{ github.token }}", name: second}}
      - run: cat all/first/a.txt b.txt
      - {id: none, continue-on-error: true, uses: actions/download-artifact@v4, with: {run-id: "999999", github-token: "${{ github.token }}"}}
      - {id: other, continue-on-error: true, uses: actions/download-artifact@v4, with: {repository: others/secret, run-id: "1", github-token: "${{ github.token }}"}}
      - run: echo "none ${{ steps.none.outcome }} other ${{ steps.other.outcome }}"
"""


def ask(server: LiveServer, method: str, path: str, token: str = TOKEN) -> tuple[int, bytes]:
    request = urllib.request.Request(f"{server.url}/api/v3/repos/{path}", method=method)
    request.add_unredirected_header("Authorization", f"token {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def test_artifacts_of_the_run_that_this_one_is_about(server: LiveServer) -> None:
    Door(server, "others/secret", {"README": "x"})
    files = {".depot/workflows/a.yml": "name: Maker" + MAKER, ".depot/workflows/b.yml": TAKER}
    door = Door(server, "elsewhere/runs", files)
    made = door.pushed()["make"]
    said = next(line for line in door.log(made).splitlines() if line.startswith("run ")).split()
    every = ["queued", "running", "finished", "failed", "cancelled"]

    def taken() -> Any:
        rows = door.call("ListRuns", {"repo": "elsewhere/runs", "status": every, "trigger": "workflow_run"})
        return rows.get("runs", [{}])[0]

    found = server.until(taken, lambda run: run.get("status") in ("finished", "failed"), 120)
    (job,) = door.call("GetRunStatus", {"runId": found["runId"]})["workflows"][0]["jobs"]
    log = door.log(job)
    assert "one\ntwo" in log and "none failure other failure" in log, log

    run, number = said[1], said[3]
    status, body = ask(server, "GET", f"elsewhere/runs/actions/runs/{run}/artifacts?per_page=1&page=2")
    listed = json.loads(body)
    assert (status, listed["total_count"], len(listed["artifacts"])) == (200, 2, 1)
    status, body = ask(server, "GET", f"elsewhere/runs/actions/artifacts/{number}/zip")
    assert status == 200 and zipfile.ZipFile(io.BytesIO(body)).read("a.txt") == b"one\n"
    row = json.loads(ask(server, "GET", f"elsewhere/runs/actions/artifacts/{number}")[1])
    assert row["name"] == "first" and row["digest"].startswith("sha256:")
    for path in (f"others/secret/actions/artifacts/{number}", f"others/secret/actions/runs/{run}/artifacts"):
        assert ask(server, "GET", path)[0] == 404
    assert ask(server, "DELETE", f"elsewhere/runs/actions/artifacts/{number}", "wrong")[0] == 401
    assert ask(server, "DELETE", f"elsewhere/runs/actions/artifacts/{number}")[0] == 204
    assert ask(server, "GET", f"elsewhere/runs/actions/artifacts/{number}/zip")[0] == 404
