"""Where the vendors' clients are."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def client_python() -> Path:
    """The Python that has python-gitlab, looker-sdk and datafold-sdk (`make clients`)."""
    found = Path(__file__).parents[2] / ".venv-clients/bin/python"
    if not found.exists():
        pytest.skip("the vendors' clients are not installed: run `make clients`")
    return found
