"""A `place` to make tables in and compare them: the same test runs on a DuckDB file and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from runyard.tasks.datadiff.diff import run
from runyard.tasks.datadiff.meter import Tick
from runyard.tasks.datadiff.report import as_json
from runyard.tasks.datadiff.spec import Connection, Side, Spec
from tests.tasks.datadiff.mariadb import NO_MARIADB, MariaDb, installed


def quiet(tick: Tick) -> None:
    """Progress that nobody watches."""


@dataclass
class Place:
    """A database and a folder to work in."""

    dialect: str
    connection: Connection
    work: Path
    url: str = ""

    def sql(self, *statements: str) -> None:
        """Runs statements; `double` and `json` mean the same in both databases."""
        if self.dialect == "duckdb":
            with duckdb.connect(self.connection.file) as c:
                for s in statements:
                    c.execute(s)
        else:
            with psycopg.connect(self.url, autocommit=True) as c:
                for s in statements:
                    c.execute(s.replace(" double", " double precision"))  # type: ignore[arg-type]

    def diff(self, a: str | Side = "prod", b: str | Side = "pr", **fields: Any) -> dict[str, Any]:
        """result.json of two tables (or sides)."""
        sides = [Side("c", table=s) if isinstance(s, str) else s for s in (a, b)]
        return as_json(run(Spec(*sides, **fields), {"c": self.connection}, self.work, quiet))


def postgres_connection(url: str, schema: str = "") -> Connection:
    """A Connection of a libpq URL."""
    info = psycopg.conninfo.conninfo_to_dict(url)
    return Connection(
        "postgres",
        host=str(info["host"]),
        port=int(info["port"] or 0),
        database=str(info["dbname"]),
        username=str(info["user"]),
        password=str(info.get("password") or ""),
        schema=schema,
    )


@pytest.fixture
def in_duck(tmp_path: Path) -> Place:
    file = tmp_path / "shop.duckdb"
    duckdb.connect(str(file)).close()
    return Place("duckdb", Connection("duckdb", file=str(file)), _folder(tmp_path))


@pytest.fixture
def in_pg(tmp_path: Path, fresh_postgres_url: str) -> Place:
    url = fresh_postgres_url
    return Place("postgres", postgres_connection(url), _folder(tmp_path), url)


@pytest.fixture(params=["duckdb", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield request.getfixturevalue("in_duck" if request.param == "duckdb" else "in_pg")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    """The session's private MariaDB server."""
    if not installed():
        pytest.skip(NO_MARIADB)
    server = MariaDb()
    yield server
    server.remove()


def _folder(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    return work
