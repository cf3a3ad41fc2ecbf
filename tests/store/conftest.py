"""Each database the port promises: a store for plain transactions, a Database for threads."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runyard.store import open_database
from runyard.store.sqlite import SqliteStore

KINDS = ["memory", "file", pytest.param("postgres", marks=pytest.mark.postgres)]


def _url(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    match kind:
        case "memory":
            return "sqlite://"
        case "file":
            return f"sqlite:///{folder / 'contract.db'}"
        case _:
            return str(request.getfixturevalue("fresh_postgres_url"))


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return _url(request.param, tmp_path, request)


@pytest.fixture
def store(database_url: str) -> Iterator[Any]:
    """Transactions on the test's own thread: `begin()` and `look()`."""
    if database_url.startswith("postgresql"):
        from runyard.store.postgres import PostgresStore

        made: Any = PostgresStore(database_url)
    else:
        made = SqliteStore(database_url.removeprefix("sqlite:///").replace("sqlite://", "") or ":memory:")
    yield made
    made.close()


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Any]:
    """(Database, Bell) as the server has them."""
    made, bell = open_database(database_url, tmp_path)
    yield made, bell
    made.close()


def _rows() -> Any:
    spec = importlib.util.spec_from_file_location(
        "rows_for_tests", Path(__file__).with_name("rows_for_tests.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def made() -> Any:
    """The module rows_for_tests.py: importlib mode has no import path between test files."""
    return _rows()
