"""A LookML project out of a dict of files, and the example bakery with its databases."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from runyard.tasks.lookml.connections import Connection, connection
from runyard.tasks.lookml.language.findings import Finding
from runyard.tasks.lookml.language.project import Project, load

BAKERY = Path(__file__).parents[2] / "projects" / "bakery"
Make = Callable[[dict[str, str]], Project]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes the files and loads them as a project."""

    def made(files: dict[str, str]) -> Project:
        for name, text in files.items():
            path = tmp_path / "project" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return load(tmp_path / "project")

    return made


@pytest.fixture(scope="session")
def fill() -> Callable[[str], None]:
    """The example's own script that makes its database."""
    spec = importlib.util.spec_from_file_location("make_database", BAKERY / "make_database.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def bakery_file(tmp_path_factory: pytest.TempPathFactory, fill: Callable[[str], None]) -> Path:
    """The bakery as a DuckDB file."""
    path = tmp_path_factory.mktemp("bakery") / "bakery.duckdb"
    fill(str(path))
    return path


@pytest.fixture(params=["duckdb", "postgres"])
def shop(request: pytest.FixtureRequest, bakery_file: Path, fill: Callable[[str], None]) -> Connection:
    """The bakery's data as the connection "shop", in each database."""
    if request.param == "duckdb":
        return connection("shop", {"dialect": "duckdb", "file": str(bakery_file)})
    url = request.getfixturevalue("fresh_postgres_url")
    fill(url)
    return connection("shop", {"dialect": "postgres", "url": url})


def places(findings: list[Finding]) -> list[tuple[str, str, int, int]]:
    """(code, file, line, column) of each."""
    return [(f.code, f.file, f.line, f.column) for f in findings]
