"""A real `runyard serve` in a process of its own, for tests that a vendor's client, a browser or a kill -9
drives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

ROOT = Path(__file__).parents[1]
TOKEN = "glpat-tests-root-token"


class LiveServer:
    """Starts, stops, kills and starts again on the same data folder and port."""

    def __init__(self, folder: Path, wrap: Sequence[str] = (), **settings: str) -> None:
        self.folder = folder
        self.wrap = wrap  # a command that ends by executing what follows it
        self.settings = settings
        self.listen = "127.0.0.1:0"
        self.url = ""
        self.token = TOKEN
        self.log = folder / "server.log"
        self.start()

    def start(self) -> None:
        """Returns once it has said ready."""
        env = {**os.environ, "RUNYARD_ROOT_TOKEN": TOKEN, "PYTHONWARNINGS": "error", **self.settings}
        argv = [
            *self.wrap,
            sys.executable,
            "-m",
            "runyard",
            "serve",
            "--data",
            str(self.folder / "data"),
            "--listen",
            self.listen,
        ]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                argv, env=env, stdout=subprocess.PIPE, stderr=log, text=True, cwd=self.folder
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("runyard ready "), self.log.read_text()[-4000:]
        self.url = line.split()[-1]
        self.listen = self.url.removeprefix("http://")

    @property
    def grpc_url(self) -> str:
        """Where the second listener is, as the server said at its last start."""
        return self.log.read_text().rpartition("gRPC and terminals: ")[2].split()[0]

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self._ended(10)

    def stop(self) -> None:
        """SIGTERM, and it must end by itself."""
        self.process.send_signal(signal.SIGTERM)
        self._ended(30)

    def _ended(self, seconds: float) -> None:
        self.process.wait(seconds)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
        """(status, JSON or text) of one request through the GitLab door's header."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, method=method)
        request.add_header("PRIVATE-TOKEN", TOKEN if token is None else token)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, _decoded(answer.read())
        except HTTPError as error:
            with error:
                return error.code, _decoded(error.read())

    def push(self, path: str, files: dict[str, str], message: str = "change", branch: str = "main") -> str:
        """Pushes exactly these files as a fresh history; returns the commit's sha."""
        work = self.folder / "work" / f"{path.replace('/', '-')}-{time.monotonic_ns()}"
        work.mkdir(parents=True)
        for name, text in files.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(text)
        self.git(work, "init", "-q", "-b", branch)
        self.git(work, "add", "-A")
        self.git(work, "commit", "-qm", message)
        self.git(work, "push", "-qf", f"{self.url.replace('://', f'://root:{TOKEN}@')}/{path}.git", branch)
        return self.git(work, "rev-parse", "HEAD").strip()

    def git(self, folder: Path, *arguments: str) -> str:
        """git with a name to commit under."""
        argv = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", *arguments]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def until(self, look: Callable[[], Any], wanted: Callable[[Any], bool], seconds: float = 60) -> Any:
        """What `look` says once it is wanted; fails with the last answer."""
        end = time.monotonic() + seconds
        while True:
            found = look()
            if wanted(found):
                return found
            assert time.monotonic() < end, f"still {found!r}\n{self.log.read_text()[-2000:]}"
            time.sleep(0.05)


def runner_token(server: LiveServer) -> str:
    """Of a new runner that takes every job (`runyard runner`)."""
    given = server.settings.get("RUNYARD_REGISTRATION_TOKEN")
    registration = given or (server.folder / "data/registration-token").read_text().strip()
    row = {"token": registration, "run_untagged": True, "info": {"features": {"runyard": True}}}
    status, answer = server.call("POST", "/api/v4/runners", row, token="")
    assert status == 201, answer
    return str(answer["token"])


class LiveRunner:
    """A `runyard runner` of a live server, in a process of its own that asks for jobs from the start.
    `options` are its command line's."""

    def __init__(self, server: LiveServer, token: str, *options: str, name: str = "runner") -> None:
        self.log = server.folder / f"{name}.log"
        argv = [sys.executable, "-m", "runyard", "runner", "--url", server.url, "--token", token]
        argv += ["--work", str(server.folder / name), *options]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("runyard runner ready:"), self.log.read_text()[-4000:]

    def kill(self) -> None:
        """SIGKILL, also to one that is stopped. May be called twice."""
        if self.process.poll() is None:
            self.process.kill()
        self._ended(10)

    def stop(self) -> None:
        """SIGTERM, and it must end by itself."""
        self.process.terminate()
        self._ended(30)

    def _ended(self, seconds: float) -> None:
        self.process.wait(seconds)
        if self.process.stdout is not None:
            self.process.stdout.close()


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data) if data else None
    except ValueError:
        return data.decode("utf-8", "replace")
