"""Schemas: fresh equals migrated, newer ones are refused, tables and dataclasses agree."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from runyard.engine.ports import AttemptFilter, Page
from runyard.model.errors import Conflict
from runyard.model.listing import outline_of
from runyard.model.plan import Bridge, JobPlan
from runyard.model.state import Outcome, State
from runyard.model.work import Attempt, Job, Project, Run, Workflow
from runyard.store import open_database, schema
from runyard.store.migrations import upgrade_postgres, upgrade_sqlite
from runyard.store.rows import _SHAPES
from runyard.store.sqlite import SqliteStore
from runyard.store.tables import metadata

VERSIONS = Path(schema.__file__).parent / "migrations/versions"


def sqlite_schema(path: Path) -> list[Any]:
    connection = sqlite3.connect(path)
    found = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE name <> 'alembic_version'"
    ).fetchall()
    version = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    connection.close()
    tidy = [(kind, name, " ".join((sql or "").split())) for kind, name, sql in found if "alembic" not in name]
    return [*sorted(tidy), *version]


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_statements_of_a_fresh_database_are_those_of_the_tables(dialect: str) -> None:
    assert schema.statements(dialect) == schema.compiled(dialect), "run python -m runyard.store.schema"


def test_making_a_fresh_database_imports_no_sqlalchemy(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from runyard.store import open_database\n"
        f"open_database('', Path({str(tmp_path)!r}))[0].close(); assert 'sqlalchemy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_fresh_equals_migrated_on_sqlite(tmp_path: Path) -> None:
    SqliteStore(tmp_path / "fresh.db").close()
    connection = sqlite3.connect(tmp_path / "migrated.db", isolation_level=None, check_same_thread=False)
    upgrade_sqlite(connection)
    connection.close()
    assert sqlite_schema(tmp_path / "migrated.db") == sqlite_schema(tmp_path / "fresh.db")
    store = SqliteStore(tmp_path / "migrated.db")
    store.close()


def test_older_attempts_get_the_outlines_of_their_jobs(tmp_path: Path) -> None:
    job = JobPlan("k", "kä", stage="build", tags=("b", "a"), allow_failure=True, bridge=Bridge("push"))
    store = SqliteStore(tmp_path / "old.db")
    with store.begin() as tx:
        project = tx.add(Project(0, "g/n"))
        run = tx.add(Run(0, project.id, 1, "gitlab", "push", "main", "a" * 40))
        flow = tx.add(Workflow(0, run.id, "main"))
        row = tx.add(Job(0, run.id, flow.id, project.id, "k", "kä", job))
        for number in (1, 2):
            tx.add(Attempt(0, row.id, run.id, project.id, number, state=State.DONE, outcome=Outcome.PASSED))
        tx._link.run("DROP INDEX attempts_undrawn")
        for column in ("outline", "card"):
            tx._link.run(f"ALTER TABLE attempts DROP COLUMN {column}")
        tx._link.run("UPDATE alembic_version SET version_num = '0005'")
    store.close()
    store = SqliteStore(tmp_path / "old.db")
    with store.look() as tx:
        shown = [r.outline for r in tx.listed(AttemptFilter(project_id=project.id), Page())]
    store.close()
    assert shown == [outline_of(row)] * 2


POSTGRES_SCHEMA = """
    SELECT 'column', table_name, column_name, data_type, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
    UNION ALL SELECT 'index', tablename, indexname, indexdef, '', '' FROM pg_indexes
    WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    UNION ALL SELECT 'rule', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
    ORDER BY 1, 2, 3, 4"""


@pytest.mark.postgres
def test_fresh_equals_migrated_on_postgresql(fresh_postgres_url: str) -> None:
    import psycopg

    from runyard.store.postgres import PostgresStore

    def everything() -> list[Any]:
        with psycopg.connect(fresh_postgres_url) as connection:
            found = connection.execute(POSTGRES_SCHEMA).fetchall()
            return [*found, *connection.execute("SELECT version_num FROM alembic_version").fetchall()]

    PostgresStore(fresh_postgres_url).close()
    fresh = everything()
    assert len(fresh) > 200
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    upgrade_postgres(lambda: psycopg.connect(fresh_postgres_url), 1)
    assert everything() == fresh


def test_a_newer_schema_is_refused_clearly_and_not_touched(database_url: str, tmp_path: Path) -> None:
    if database_url == "sqlite://":
        pytest.skip("memory is always fresh")
    db, _ = open_database(database_url, tmp_path)
    db.submit_write(lambda tx: tx._link.run("UPDATE alembic_version SET version_num = '9999'")).result(10)
    db.close()
    for _ in range(2):
        with pytest.raises(Conflict, match="newer"):
            open_database(database_url, tmp_path)


def test_an_opening_database_survives_being_opened_again(database_url: str, tmp_path: Path) -> None:
    for _ in range(2):
        open_database(database_url, tmp_path)[0].close()


def test_every_revision_file_is_known() -> None:
    files = {p.stem.split("_")[0] for p in VERSIONS.glob("0*.py")}
    assert files == set(schema.REVISIONS)


@pytest.mark.parametrize("shape", _SHAPES.values(), ids=lambda s: s.table)
def test_columns_carry_the_names_of_the_fields(shape: Any) -> None:
    columns = [c.name for c in metadata.tables[shape.table].columns]
    names = [f.name for f in fields(shape.kind)]
    extra = {"attempts": ["concurrency_group", "outline", "card"], "records": ["blob"]}.get(shape.table, [])
    assert columns == names + extra


def test_an_ordinary_start_imports_neither_sqlalchemy_nor_a_driver(tmp_path: Path) -> None:
    open_database("", tmp_path)[0].close()
    code = (
        "import sys; from pathlib import Path; from runyard.store import open_database\n"
        f"db, _ = open_database('', Path({str(tmp_path)!r})); db.close()\n"
        "print([m for m in ('sqlalchemy', 'alembic', 'psycopg') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": "src"},
    )
    assert done.stdout.strip() == "[]"
