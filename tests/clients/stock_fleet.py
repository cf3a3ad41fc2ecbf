"""Real `gitlab-runner` binaries, found and driven as an operator drives them. Debian 12 has no package of it;
`go build` in its source tree makes one.

RUNYARD_GITLAB_RUNNERS names a folder (or several, like PATH) whose `gitlab-runner*` files are driven, each
for itself; without it the one on PATH is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live_server import LiveServer

NONE = "LOUD: the real gitlab-runner was NOT driven: there is none on PATH and RUNYARD_GITLAB_RUNNERS names none (Debian 12 has no package of it)"


def binaries() -> list[Path]:
    """Every gitlab-runner that this machine offers."""
    folders = [Path(one) for one in os.environ.get("RUNYARD_GITLAB_RUNNERS", "").split(os.pathsep) if one]
    found = [
        one for folder in folders for one in sorted(folder.glob("gitlab-runner*")) if os.access(one, os.X_OK)
    ]
    on_path = shutil.which("gitlab-runner")
    return found or ([Path(on_path)] if on_path else [])


class StockRunner:
    """One binary with a config of its own, the shell executor and up to three jobs at once."""

    def __init__(self, binary: Path, server: LiveServer, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.binary, self.server, self.folder = binary, server, folder
        self.config = folder / "config.toml"
        self.log = folder / "runner.log"

    def command(self, *arguments: str) -> str:
        """What a subcommand prints; it must succeed."""
        argv = [str(self.binary), *arguments, "--config", str(self.config)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def register(self, *credentials: str) -> None:
        """`register` as the vendor's documentation has it, then quick polls."""
        self.command(
            "register", "--non-interactive", "--url", self.server.url, "--executor", "shell", "--name", self.binary.name,
            "--builds-dir", str(self.folder / "builds"), "--cache-dir", str(self.folder / "cache"), *credentials,
        )  # fmt: skip
        text = self.config.read_text()
        text = text.replace("concurrent = 1", "concurrent = 3").replace(
            "check_interval = 0", "check_interval = 1"
        )
        self.config.write_text(text)

    @contextmanager
    def running(self) -> Iterator[None]:
        """`run` until the end of the block."""
        argv = [
            str(self.binary),
            "--debug",
            "run",
            "--config",
            str(self.config),
            "--working-directory",
            str(self.folder),
        ]
        with self.log.open("a") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)

    def has_heard(self, text: str) -> bool:
        """Whether its own log says so."""
        return text in self.log.read_text()

    def until_heard(self, text: str, seconds: float = 30) -> None:
        """Waits for its own log to say so."""
        end = time.monotonic() + seconds
        while not self.has_heard(text):
            assert time.monotonic() < end, self.log.read_text()[-3000:]
            time.sleep(0.1)
