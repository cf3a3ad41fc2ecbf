"""A real server in its own process, and the few calls the benchmarks make of it, through the GitLab API."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

TOKEN = "glpat-benchmarks"


class Live:
    """One running server. `seconds_to_ready` is its cold start."""

    def __init__(
        self, process: subprocess.Popen[str], address: str, seconds_to_ready: float, data: Path
    ) -> None:
        self.process = process
        self.host = address.removeprefix("http://")
        self.seconds_to_ready = seconds_to_ready
        self.data = data
        self.connection = http.client.HTTPConnection(self.host, timeout=600)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """A JSON answer; raises on 4xx and 5xx."""
        status, data = self.raw(method, path, body)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {data[:300]!r}")
        return json.loads(data) if data else None

    def raw(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        headers = {"PRIVATE-TOKEN": TOKEN, "Content-Type": "application/json"}
        data = json.dumps(body) if body is not None else None
        try:
            self.connection.request(method, f"/api/v4{path}", data, headers)
        except OSError:  # an idle connection was closed meanwhile
            self.connection.close()
            self.connection.request(method, f"/api/v4{path}", data, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def project(self, path: str, files: dict[str, str]) -> str:
        """Pushes the files as a new project; returns its API path. The push's own pipeline is waited for."""
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                Path(folder, name).write_text(text)
            url = f"http://root:{TOKEN}@{self.host}/{path}.git"
            base = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
            for command in (
                ["init", "-q", "-b", "main"],
                ["add", "-A"],
                ["commit", "-qm", "[skip ci] bench"],
                ["push", "-q", url, "main"],
            ):
                subprocess.run([*base, *command], cwd=folder, check=True, capture_output=True)
        return f"/projects/{quote(path, safe='')}"

    def run(self, project: str, pause_s: float = 0.002) -> tuple[float, dict[str, Any]]:
        """Seconds from the POST until a waiting client sees the end, and the pipeline."""
        start = time.perf_counter()
        pipeline = self.call("POST", f"{project}/pipeline", {"ref": "main"})
        address = f"{project}/pipelines/{pipeline['id']}"
        while pipeline["status"] not in ("success", "failed", "canceled", "skipped"):
            time.sleep(pause_s)
            pipeline = self.call("GET", address)
        took = time.perf_counter() - start
        if pipeline["status"] != "success":
            jobs = self.call("GET", f"{address}/jobs")
            raise RuntimeError(
                f"pipeline {pipeline['status']}: {[(j['name'], j['status'], j.get('failure_reason')) for j in jobs]}"
            )
        return took, pipeline

    def memory(self) -> tuple[int, int]:
        """(resident now, highest so far) in bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        found = {
            k: int(v.split()[0]) * 1024
            for k, v in (line.split(":", 1) for line in lines if line.startswith("Vm"))
        }
        return found["VmRSS"], found["VmHWM"]

    def forget_peak(self) -> None:
        """Starts the high-water mark anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


class Again:
    """Starts a server on the same data folder each time it is called."""

    def __init__(self, data: Path) -> None:
        self.data = data

    @contextlib.contextmanager
    def __call__(self, slots: int = 4, **settings: str) -> Iterator[Live]:
        """A running server, gone at the end."""
        with _serving(self.data, slots, settings) as live:
            yield live


@contextlib.contextmanager
def restarted() -> Iterator[Again]:
    """For benchmarks that change the data while no server runs."""
    with tempfile.TemporaryDirectory(prefix="runyard-bench-") as folder:
        yield Again(Path(folder))


@contextlib.contextmanager
def server(slots: int = 4, **settings: str) -> Iterator[Live]:
    """A fresh server on a free port."""
    with (
        tempfile.TemporaryDirectory(prefix="runyard-bench-") as folder,
        _serving(Path(folder), slots, settings) as live,
    ):
        yield live


@contextlib.contextmanager
def _serving(folder: Path, slots: int, settings: Mapping[str, str]) -> Iterator[Live]:
    env = {**os.environ, "RUNYARD_ROOT_TOKEN": TOKEN, **settings}
    start = time.perf_counter()
    argv = [
        sys.executable,
        "-m",
        "runyard",
        "serve",
        "--data",
        str(folder),
        "--listen",
        "127.0.0.1:0",
        "--runner-slots",
        str(slots),
    ]
    log = open(Path(folder, "server.log"), "w")  # noqa: SIM115 - lives as long as the server
    process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        took = time.perf_counter() - start
        if not line.startswith("runyard ready "):
            raise RuntimeError(f"the server did not start: {Path(folder, 'server.log').read_text()[-2000:]}")
        yield Live(process, line.split()[-1], took, Path(folder))
    finally:
        process.terminate()
        process.wait(30)
        log.close()
