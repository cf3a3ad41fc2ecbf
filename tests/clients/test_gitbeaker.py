"""The real @gitbeaker/rest (npm, unmodified) against a live server: lists, logs, artifacts, play, trigger,
retry, errors."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.client

ROOT = Path(__file__).parents[2]
MODULE = ROOT / ".clients/node_modules/@gitbeaker/rest/dist/index.mjs"
CONFIG = """
build:
  script: [echo hello gitbeaker, echo A > a.txt]
  artifacts: {paths: [a.txt]}
hand:
  script: ['echo "hand says $WORD"']
  when: manual
  allow_failure: true
"""


def test_gitbeaker_drives_a_project(server: LiveServer) -> None:
    if not MODULE.exists() or shutil.which("node") is None:
        pytest.skip(
            "LOUD: gitbeaker was NOT tested: no node or no .clients/node_modules/@gitbeaker/rest (run `make clients`)"
        )
    server.push("clients/gitbeaker", {".gitlab-ci.yml": CONFIG})
    argv = [
        "node",
        str(Path(__file__).parent / "gitbeaker.mjs"),
        str(MODULE),
        server.url,
        TOKEN,
        "clients/gitbeaker",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "names": ["build", "hand"], "log": True, "text": "A\n", "played": True, "source": "trigger", "retried": True,
        "missing": "404 Job Not Found",
    }  # fmt: skip


def test_gitbeaker_goes_through_every_noun(server: LiveServer) -> None:
    if not MODULE.exists() or shutil.which("node") is None:
        pytest.skip("LOUD: gitbeaker was NOT tested: no node or no gitbeaker (run `make clients`)")
    server.push("clients/beaker-nouns", {".gitlab-ci.yml": CONFIG + MERGES})
    program = Path(__file__).parent / "gitbeaker_nouns.mjs"
    argv = ["node", str(program), str(MODULE), server.url, TOKEN, "clients/beaker-nouns"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "variable": "prod", "variables": ["w"], "schedule": "schedule", "stopped": "stopped",
        "deployments": [["success", "prod"]], "statuses": ["build", "hand", "outside"], "file": "B", "merge": [1, 1],
        "lint": True, "runner": ["glrt-", ["x"]], "group": [1, [50]], "members": ["root"], "scope": True,
    }  # fmt: skip


MERGES = """
mr:
  script: [echo mr]
  rules: [{if: '$CI_PIPELINE_SOURCE == "merge_request_event"'}]
"""
