"""One live server for all client tests, and where the vendors' clients are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live_server import LiveServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A running server with four slots."""
    live = LiveServer(tmp_path_factory.mktemp("server"), RUNYARD_RUNNER_SLOTS="4")
    yield live
    live.stop()


@pytest.fixture(scope="session")
def client_python() -> Path:
    """The Python that has python-gitlab, looker-sdk and datafold-sdk (`make clients`)."""
    found = Path(__file__).parents[2] / ".venv-clients/bin/python"
    if not found.exists():
        pytest.skip("the vendors' clients are not installed: run `make clients`")
    return found
