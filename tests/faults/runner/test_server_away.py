"""The remote runner when its server goes away: killed and started again in the middle of a job (reliability.md §8 rows 5, 6, 28)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.live_server import LiveServer


def _sibling() -> ModuleType:
    path = Path(__file__).parents[2] / "runner" / "test_remote.py"
    spec = importlib.util.spec_from_file_location("runner_test_remote", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


remote = _sibling()
CONFIG = "lines:\n  script: ['for i in $(seq 1 60); do echo line $i; sleep 0.1; done']\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path, RUNYARD_RUNNER_SLOTS="0", RUNYARD_REGISTRATION_TOKEN="reg-token-for-tests")
    yield live
    live.kill()


def test_a_killed_server_costs_neither_the_job_nor_a_line(
    server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = remote.Api(server)
    monkeypatch.setattr(remote, "CONFIG", CONFIG)
    token = api(
        "POST",
        "/runners",
        token="reg-token-for-tests",
        description="r",
        run_untagged=True,
        info={"features": {"runyard": True}},
    )["token"]
    argv = [
        sys.executable,
        "-m",
        "runyard",
        "runner",
        "--url",
        server.url,
        "--token",
        token,
        "--work",
        str(tmp_path / "r"),
        "--allow-plain",
    ]
    runner = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        remote.push(api, tmp_path)
        pipeline = api("POST", "/projects/group%2Fapp/pipeline", ref="main")
        (job,) = api("GET", f"/projects/group%2Fapp/pipelines/{pipeline['id']}/jobs")
        path = f"/projects/group%2Fapp/jobs/{job['id']}"
        for _ in range(100):
            if "line 5\n" in api("GET", f"{path}/trace"):
                break
            time.sleep(0.1)
        server.kill()
        time.sleep(1.5)
        server.start()
        done = api.until(path, "success", "failed")
        trace = api("GET", f"{path}/trace")
        assert done["status"] == "success", trace
        lines = [line for line in trace.splitlines() if line.startswith("line ")]
        assert lines == [f"line {i}" for i in range(1, 61)]
    finally:
        runner.terminate()
        runner.wait(30)
        assert runner.stdout is not None
        runner.stdout.close()
