"""Repositories for the tests: a plain work folder with history, a GitSource over a temporary root, and a live
git-over-HTTP server."""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from granian.constants import Interfaces
from granian.server.embed import Server

from runyard.sources import GitSource

IDENTITY = [
    "-c",
    "user.name=A",
    "-c",
    "user.email=a@b.invalid",
    "-c",
    "init.defaultBranch=main",
    "-c",
    "commit.gpgsign=false",
]


def run_git(*arguments: str, cwd: Path, check: bool = True) -> str:
    done = subprocess.run(
        ["git", *IDENTITY, *arguments], cwd=cwd, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"},
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def git() -> Callable[..., str]:
    """git(*arguments, cwd=…, check=True) -> what it said."""
    return run_git


@pytest.fixture
def work(tmp_path: Path, git: Callable[..., str]) -> Path:
    """A repository with three commits, a branch, two tags, a link and an executable."""
    folder = tmp_path / "work"
    folder.mkdir()
    git("init", "-q", cwd=folder)
    (folder / "a.txt").write_text("one\n")
    (folder / "dir").mkdir()
    (folder / "dir" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "dir" / "run.sh").chmod(0o755)
    (folder / "dir" / "lnk").symlink_to("/etc/passwd")
    git("add", ".", cwd=folder)
    git("commit", "-qm", "first\n\nbody", cwd=folder)
    git("tag", "-am", "annotated", "v1", cwd=folder)
    (folder / "a.txt").write_text("two\n")
    git("commit", "-qam", "second", cwd=folder)
    git("tag", "light", cwd=folder)
    git("branch", "feat/x", cwd=folder)
    (folder / "b.txt").write_text("b\n")
    git("add", ".", cwd=folder)
    git("commit", "-qm", "third", cwd=folder)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> GitSource:
    return GitSource(tmp_path / "repositories", allow_local=True)


@pytest.fixture
def mirrored(source: GitSource, work: Path) -> GitSource:
    source.mirror(1, str(work))
    return source


@pytest.fixture
def serve() -> Iterator[Callable[[object], str]]:
    """serve(asgi app) -> its base address, on a real socket."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    servers: list[tuple[Server, concurrent.futures.Future[None]]] = []

    def start(app: object) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGINL, log_enabled=False)
        servers.append((server, asyncio.run_coroutine_threadsafe(server.serve(), loop)))
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return f"127.0.0.1:{port}"
            threading.Event().wait(0.02)
        raise AssertionError("the test server did not start")

    yield start
    for server, ended in servers:
        loop.call_soon_threadsafe(server.stop)
        ended.result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()
