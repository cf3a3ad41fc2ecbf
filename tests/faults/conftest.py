"""Servers of one's own, to be killed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.watch import Witness
from tests.live_server import LiveServer


@pytest.fixture
def mark() -> str:
    """Unique text that the jobs of this test carry in their environment."""
    return f"faults-{uuid.uuid4().hex}"


@pytest.fixture
def witness() -> Iterator[Witness]:
    """Sees jobs run, from outside."""
    seen = Witness().start()
    yield seen
    seen.stop()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., LiveServer]]:
    """Starts a server with these settings; all are killed in the end."""
    made: list[LiveServer] = []

    def start(name: str = "s", **settings: str) -> LiveServer:
        folder = tmp_path / name
        folder.mkdir()
        made.append(LiveServer(folder, **{"RUNYARD_NETWORK": "host", **settings}))
        return made[-1]

    yield start
    for server in made:
        if server.process.poll() is None:
            server.kill()
