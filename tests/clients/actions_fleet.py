"""Real `act_runner` / `forgejo-runner` binaries, found and driven as an operator drives them. `go build` in
their source trees makes one; where the module code.forgejo.org/forgejo/actions-proto cannot be had, `go mod
edit -replace` puts a copy of github.com/hanzo-git/actions-proto-go in its place.

RUNYARD_ACTIONS_RUNNERS names a folder (or several, like PATH) whose `act_runner*`, `gitea-runner*` and
`forgejo-runner*` files are driven, each for itself.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live_server import LiveServer

NONE = "LOUD: no real act_runner or forgejo-runner was driven: RUNYARD_ACTIONS_RUNNERS names no folder that has one"
NAMES = ("act_runner*", "gitea-runner*", "forgejo-runner*")
CONFIG = """
log: {level: info}
runner:
  capacity: 2
  fetch_interval: 1s
  fetch_timeout: 5s
  report_interval: 1s
  envs: {CI_PLACE: here}
cache: {enabled: false}
host: {workdir_parent: %s}
"""


def binaries() -> list[Path]:
    """Every such runner that this machine offers."""
    folders = [Path(one) for one in os.environ.get("RUNYARD_ACTIONS_RUNNERS", "").split(os.pathsep) if one]
    found = (one for folder in folders for name in NAMES for one in sorted(folder.glob(name)))
    return [one for one in found if os.access(one, os.X_OK)]


class ActionsRunner:
    """One binary with a registration of its own, running jobs on the host."""

    def __init__(self, binary: Path, server: LiveServer, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.binary, self.server, self.folder = binary, server, folder
        self.log = folder / "runner.log"
        (folder / "config.yaml").write_text(CONFIG % (folder / "work"))

    def register(self, *more: str) -> str:
        """`register` as the vendor's documentation has it, with the server's registration token; what it
        prints."""
        token = (self.server.folder / "data" / "registration-token").read_text().strip()
        argv = [
            str(self.binary), "register", "--no-interactive", "--instance", self.server.url, "--token", token,
            "--name", self.binary.name, "--labels", "fleet:host,ubuntu-latest:host", "--config", "config.yaml", *more,
        ]  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """`daemon` until the end of the block."""
        argv = [str(self.binary), "daemon", "--config", "config.yaml"]
        environment = {**os.environ, "HOME": str(self.folder)}
        with self.log.open("ab") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=self.folder, env=environment)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def said(self) -> str:
        """The end of its log, for assertions."""
        return self.log.read_text()[-6000:] if self.log.exists() else ""

    def until_said(self, words: str, seconds: float = 60) -> None:
        """Waits for these words in its log."""
        end = time.monotonic() + seconds
        while not self.log.exists() or words not in self.log.read_text():
            assert time.monotonic() < end, f"{words!r} was not said: {self.said()}"
            time.sleep(0.1)
