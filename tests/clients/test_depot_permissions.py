"""A job's own token at the doors of a live server: pushing, fetching and dispatching as `permissions` say,
and the checkout's remote."""

from __future__ import annotations

import subprocess

import pytest

from tests.clients.test_depot_workflows import Door
from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.client

WORKFLOW = """
on: push
permissions: {contents: read}
jobs:
  writer:
    permissions: {contents: write, actions: write}
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with: {fetch-depth: 0}
      - run: |
          git config user.name bot; git config user.email bot@example.invalid
          git remote -v; echo made > made.txt; git add .; git commit -qm "made by a job"
          git push
          git tag v1; git push -q origin v1
          git fetch -q && echo "[1] $(git log -1 --format=%s origin/main)"
      - env: {GH_TOKEN: "${{ github.token }}"}
        run: |
          python3 - <<'X'
          import os, urllib.request
          ask = urllib.request.Request(os.environ["AT"] + "/repos/${{ github.repository }}/actions/workflows/told.yml/dispatches", b'{"ref": "main"}', {"Authorization": "Bearer " + os.environ["GH_TOKEN"]})
          print("[2]", urllib.request.urlopen(ask).status)
          X
  reader:
    runs-on: ubuntu-latest
    steps:
      - {id: co, uses: actions/checkout@v4}
      - run: |
          git -c user.name=x -c user.email=x@y commit -q --allow-empty -m no
          git push && echo "[no]" || echo "[3] refused"
          git ls-remote -q origin refs/heads/main > /dev/null && echo "[4] reads"
  plain:
    permissions: {contents: write}
    runs-on: ubuntu-latest
    steps:
      - {uses: actions/checkout@v4, with: {persist-credentials: false, path: here}}
      - run: |
          cd here; git remote get-url origin
          git config --get-regexp extraheader || echo "[5] no token"
          GIT_TERMINAL_PROMPT=0 git ls-remote -q origin > /dev/null 2>&1 && echo "[no]" || echo "[6] closed"
  tags:
    needs: writer
    runs-on: ubuntu-latest
    steps:
      - {uses: actions/checkout@v4, with: {fetch-tags: true}}
      - run: echo "[8] $(git tag) $(git rev-parse --abbrev-ref HEAD) $(git rev-list --count HEAD)"
  steerer:
    permissions: {actions: write}
    runs-on: ubuntu-latest
    steps:
      - {uses: actions/checkout@v4}
      - env: {GH_TOKEN: "${{ github.token }}"}
        run: |
          git ls-remote -q origin > /dev/null 2>&1 && echo "[no]" || echo "[9] closed"
          python3 - <<'X'
          import os, urllib.request
          ask = urllib.request.Request(os.environ["AT"] + "/repos/${{ github.repository }}/actions/workflows/told.yml/dispatches", b'{"ref": "main"}', {"Authorization": "Bearer " + os.environ["GH_TOKEN"]})
          print("[10]", urllib.request.urlopen(ask).status)
          X
  nothing:
    permissions: {}
    runs-on: ubuntu-latest
    steps:
      - {uses: actions/checkout@v4}
      - run: cat .depot/workflows/a.yml | head -1; git ls-remote -q origin && echo "[no]" || echo "[7] closed"
"""
TOLD = "on: workflow_dispatch\njobs:\n  told: {runs-on: ubuntu-latest, steps: [{run: echo told by a job}]}\n"


def test_what_a_jobs_token_may_do(server: LiveServer) -> None:
    text = WORKFLOW.replace(
        'os.environ["AT"]', 'open(".git/config").read().split("url = ")[1].split("/permits")[0] + "/api/v3"'
    )
    door = Door(server, "permits/token", {".depot/workflows/a.yml": text, ".depot/workflows/told.yml": TOLD})
    jobs = door.pushed()
    logs = {name: door.log(job) for name, job in jobs.items()}
    for name, lines in {
        "writer": ["[1] made by a job", "[2] 204"],
        "reader": ["[3] refused", "[4] reads"],
        "plain": ["[5] no token", "[6] closed"],
        "steerer": ["[9] closed", "[10] 204"],
        "nothing": ["[7] closed"],
        "tags": ["[8] v1 main 1"],
    }.items():
        for line in lines:
            assert line in logs[name].splitlines(), logs[name]
    tip = subprocess.run(["git", "ls-remote", server.url.replace("://", f"://root:{TOKEN}@") + "/permits/token.git", "main"], capture_output=True, text=True, check=True)  # fmt: skip
    assert tip.stdout.split()[0] != door.sha  # it was pushed …
    every = ["queued", "running", "finished", "failed", "cancelled"]
    runs = door.call("ListRuns", {"repo": "permits/token", "status": every})["runs"]
    assert sorted(run["trigger"] for run in runs) == [
        "push",
        "workflow_dispatch",
        "workflow_dispatch",
    ]  # … and started nothing
