"""Actions semantics on a live server, over Connect JSON on HTTP/1.1: what a workflow's author may rely on."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.client

STEPS = """
on: push
env: {LAYER: workflow, ONLY: workflow}
jobs:
  steps:
    runs-on: ubuntu-latest
    env: {LAYER: job, NAMED: "${{ github.ref_name }}"}
    outputs:
      out: ${{ steps.set.outputs.value }}
      many: ${{ steps.set.outputs.many }}
    steps:
      - uses: actions/checkout@v4
      - id: set
        name: Set for ${{ env.NAMED }}
        run: |
          echo "value=a b" >> "$GITHUB_OUTPUT"
          printf 'many<<X\\none\\ntwo\\nX\\n' >> "$GITHUB_OUTPUT"
          echo "LATER=from a file" >> "$GITHUB_ENV"
          echo "NODE_OPTIONS=--bad" >> "$GITHUB_ENV"
          mkdir -p "$RUNNER_TEMP/bin"; printf '#!/bin/sh\\necho tool ran' > "$RUNNER_TEMP/bin/mytool"; chmod +x "$RUNNER_TEMP/bin/mytool"
          echo "$RUNNER_TEMP/bin" >> "$GITHUB_PATH"
          echo "## Summary" >> "$GITHUB_STEP_SUMMARY"
      - env: {LAYER: step, PATTERNS: "**/*.txt\\n!none"}
        run: |
          echo "[1] $LAYER $ONLY $LATER ${NODE_OPTIONS:-unset}"
          mytool
          echo "[2] ${{ steps.set.outputs.value }} ${{ env.LAYER }} ${{ env.LATER }}"
          echo "[3] $CI $GITHUB_ACTIONS $GITHUB_JOB $GITHUB_REF $GITHUB_EVENT_NAME $RUNNER_OS"
          test "$PWD" = "$GITHUB_WORKSPACE" && test "${{ github.workspace }}" = "$PWD" && echo "[4] workspace"
          python3 -c "import json,os; print('[5]', json.load(open(os.environ['GITHUB_EVENT_PATH']))['repository']['full_name'])"
          test "$GITHUB_SHA" = "$(git rev-parse HEAD)" && echo "[6] checked out"
          echo "[7] ${{ hashFiles('**/*.txt') != '' }} ${{ hashFiles('none') == '' }} ${{ hashFiles('a.txt', 'sub/*') == hashFiles(env.PATTERNS) }}"
      - {run: "pwd; echo \\"[8] $(basename $PWD)\\"", working-directory: sub, shell: sh}
      - {run: "print('[9] python')", shell: python}
      - run: |
          echo "::add-mask::s3cr3tvalue"
          echo "[10] s3cr3tvalue"
          echo "::error file=a.txt,line=3::bad thing"
          echo "[11] pipe" | cat; false | true
      - id: soft
        continue-on-error: true
        run: exit 3
      - run: echo "[12] ${{ steps.soft.outcome }} ${{ steps.soft.conclusion }} ${{ job.status }}"
      - {if: "env.LAYER == 'job' && steps.soft.outcome == 'failure'", run: "echo [13] condition"}
      - {if: "failure()", run: "echo [no]"}
      - {run: "sleep 30", timeout-minutes: 0.005, continue-on-error: true}
      - {run: "false | true; echo [no]", shell: bash}
      - {if: "failure()", run: "echo [14] after failure ${{ job.status }}"}
      - {if: "always()", run: "echo [15] always"}
      - run: echo [no]
  dependent:
    needs: steps
    if: ${{ failure() && needs.steps.outputs.out == 'a b' }}
    runs-on: ubuntu-latest
    steps:
      - run: |
          echo "[16] ${{ needs.steps.result }} ${{ contains(needs.steps.outputs.many, 'two') }}"
  skipped:
    needs: steps
    runs-on: ubuntu-latest
    steps: [{run: "echo [no]"}]
"""

MATRIX = """
on: push
jobs:
  legs:
    runs-on: ubuntu-latest
    strategy: {matrix: {n: [1, 2, 3, 4, 5], slow: [true]}, fail-fast: true}
    steps:
      - run: "if [ ${{ matrix.n }} = 1 ]; then exit 1; fi; sleep 20"
  tolerated:
    runs-on: ubuntu-latest
    continue-on-error: ${{ matrix.shaky }}
    strategy: {fail-fast: false, matrix: {shaky: [true, false]}}
    outputs: {which: "${{ steps.s.outputs.w }}"}
    steps:
      - {id: s, run: "echo w=${{ matrix.shaky }} >> $GITHUB_OUTPUT; ${{ !matrix.shaky }}"}
  after:
    needs: tolerated
    runs-on: ubuntu-latest
    steps: [{run: "echo result ${{ needs.tolerated.result }} ${{ needs.tolerated.outputs.which }}"}]
"""

ARTIFACTS = """
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: mkdir -p out/deep; echo 1 > out/one.txt; echo 2 > out/deep/two.txt; echo x > out/x.tmp; echo single > single.txt
      - uses: actions/upload-artifact@v4
        with: {name: tree, path: "out\\n!out/**/*.tmp"}
      - uses: actions/upload-artifact@v4
        with: {name: single, path: single.txt}
      - {uses: actions/upload-artifact@v4, with: {name: none, path: nothing/, if-no-files-found: ignore}}
      - {id: up, uses: actions/upload-artifact@v4, with: {name: digest, path: single.txt}}
      - {id: named, continue-on-error: true, uses: actions/upload-artifact@v4, with: {name: "a:b", path: single.txt}}
      - {id: co, uses: actions/checkout@v4, with: {path: co}}
      - run: |
          echo "digest ${{ steps.up.outputs.artifact-digest }} named ${{ steps.named.outcome }}"
          test "${{ steps.co.outputs.commit }}" = "$GITHUB_SHA" -a "${{ steps.co.outputs.ref }}" = "$GITHUB_REF"
          test -d "$RUNNER_TOOL_CACHE" -a "$AGENT_TOOLSDIRECTORY" = "$RUNNER_TOOL_CACHE"
      - {id: missing, continue-on-error: true, uses: actions/upload-artifact@v4, with: {name: m, path: nothing/, if-no-files-found: error}}
      - run: echo "missing ${{ steps.missing.outcome }}"
  b:
    needs: a
    runs-on: ubuntu-latest
    steps:
      - {id: down, uses: actions/download-artifact@v4, with: {name: tree, path: got}}
      - {run: 'test "${{ steps.down.outputs.download-path }}" = "$GITHUB_WORKSPACE/got"'}
      - uses: actions/download-artifact@v4
        with: {path: all}
      - {uses: actions/download-artifact@v4, with: {pattern: "s*", path: merged, merge-multiple: true}}
      - run: find got all merged -type f | sort
"""


class Door:
    """The Depot door by JSON."""

    def __init__(self, server: LiveServer, repo: str, files: dict[str, str]) -> None:
        self.server, self.repo = server, repo
        self.sha = server.push(repo, files)

    def call(self, method: str, body: Any) -> Any:
        request = urllib.request.Request(
            f"{self.server.url}/depot.ci.v1.CIService/{method}", json.dumps(body).encode()
        )
        request.add_header("Authorization", f"Bearer {TOKEN}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())
        except HTTPError as error:
            with error:
                raise AssertionError(error.read().decode()) from None

    def pushed(self) -> dict[str, Any]:
        """The jobs of the push's run by shown name, when all is over."""
        every = ["queued", "running", "finished", "failed", "cancelled"]
        found = self.call("ListRuns", {"repo": self.repo, "status": every})["runs"][0]["runId"]
        look = lambda: self.call("GetRunStatus", {"runId": found})  # noqa: E731
        tree = self.server.until(look, lambda t: t["status"] not in ("queued", "running"), 120)
        assert "errorMessage" not in tree["workflows"][0], tree
        return {job["jobDisplayName"]: job for job in tree["workflows"][0]["jobs"]}

    def log(self, job: Any) -> str:
        lines, token = [], ""
        while True:
            page = self.call(
                "GetJobAttemptLogs", {"attemptId": job["attempts"][-1]["attemptId"], "pageToken": token}
            )
            lines += [line.get("body", "") for line in page.get("lines", [])]
            token = page.get("nextPageToken", "")
            if not token:
                return "\n".join(lines)


def marked(log: str) -> dict[str, str]:
    """What was said after each [n], script listings left out."""
    rows = [row.split("] ", 1) for row in log.splitlines() if row.startswith("[") and "] " in row]
    return {number[1:]: text for number, text in rows}


def test_steps(server: LiveServer) -> None:
    door = Door(server, "actions/steps", {".depot/workflows/a.yml": STEPS, "a.txt": "x", "sub/b.txt": "y"})
    jobs = door.pushed()
    log = door.log(jobs["steps"])
    said = marked(log)
    assert said == {
        "1": "step workflow from a file unset",
        "2": "a b step from a file",
        "3": "true true steps refs/heads/main push Linux",
        "4": "workspace",
        "5": "actions/steps",
        "6": "checked out",
        "7": "true true true",
        "8": "sub",
        "9": "python",
        "10": "***",
        "11": "pipe",
        "12": "failure success success",
        "13": "condition",
        "14": "after failure failure",
        "15": "always",
    }, log
    assert "tool ran" in log and "[no]" not in log.splitlines()
    assert "##[group]Set for main" in log and "##[error]bad thing" in log and "has timed out after" in log
    assert {name: job["status"] for name, job in jobs.items()} == {
        "steps": "failed",
        "dependent": "finished",
        "skipped": "skipped",
    }
    assert marked(door.log(jobs["dependent"])) == {"16": "failure true"}


def test_matrices(server: LiveServer) -> None:
    door = Door(server, "actions/matrix", {".depot/workflows/a.yml": MATRIX})
    jobs = door.pushed()
    legs = {name: job["status"] for name, job in jobs.items() if name.startswith("legs")}
    assert legs.pop("legs (1, true)") == "failed"
    assert set(legs.values()) == {"cancelled"} and len(legs) == 4
    assert (
        jobs["tolerated (true)"]["status"] == "failed" and jobs["tolerated (false)"]["status"] == "finished"
    )
    assert "result success false" in door.log(jobs["after"])


def test_artifacts_travel(server: LiveServer) -> None:
    door = Door(server, "actions/artifacts", {".depot/workflows/a.yml": ARTIFACTS})
    jobs = door.pushed()
    assert {job["status"] for job in jobs.values()} == {"finished"}, door.log(jobs["a"])
    assert "missing failure" in door.log(jobs["a"])
    assert re.search(r"^digest [0-9a-f]{64} named failure$", door.log(jobs["a"]), re.MULTILINE)
    listed = [row for row in door.log(jobs["b"]).splitlines() if row.endswith(".txt")]
    assert listed == [
        "all/digest/single.txt",
        "all/single/single.txt",
        "all/tree/deep/two.txt",
        "all/tree/one.txt",
        "got/deep/two.txt",
        "got/one.txt",
        "merged/single.txt",
    ]
