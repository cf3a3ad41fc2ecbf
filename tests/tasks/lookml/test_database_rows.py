"""Rows out of both databases: values, the limit, sessions for other threads, and the same guards as binding
has."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from runyard.tasks.lookml.connections import Connection, connection
from runyard.tasks.lookml.databases import Refusal, Rows, open_database


@pytest.fixture(params=["duckdb", "postgres"])
def shop(request: pytest.FixtureRequest, bakery_file: Path, fill: Callable[[str], None]) -> Connection:
    if request.param == "duckdb":
        return connection("shop", {"dialect": "duckdb", "file": str(bakery_file), "schema": "main"})
    url = request.getfixturevalue("fresh_postgres_url")
    fill(url)
    return connection("shop", {"dialect": "postgres", "url": url})


def test_rows_come_with_names_and_exact_values_up_to_the_limit(shop: Connection) -> None:
    database = open_database(shop, 5)
    try:
        answer = database.run('SELECT id, price AS "products.price" FROM products ORDER BY id', 2)
        assert answer == Rows(
            ("id", "products.price"), [(1, Decimal("4.20")), (2, Decimal("18.00"))], is_cut=True
        )
        assert database.run("SELECT 1 AS x WHERE 1=2", 10) == Rows(("x",), [])
        refusal = database.run("SELECT id,\n prize FROM products", 2)
        assert isinstance(refusal, Refusal)
        assert (refusal.line, refusal.column) == (2, 2)
        assert isinstance(database.run("DELETE FROM products", 2), Refusal)
        assert isinstance(database.run("SELECT 1; SELECT 2", 2), Refusal)
        assert isinstance(database.run("WITH one AS (SELECT 1) DELETE FROM products", 2), Refusal)
        assert database.run("SELECT ';' AS x", 1) == Rows(("x",), [(";",)])
    finally:
        database.close()


def test_sessions_serve_threads_of_their_own(shop: Connection) -> None:
    database = open_database(shop, 5)
    sessions = [database.session() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda s: s.run("SELECT COUNT(*) FROM products", 1), sessions))
    for session in (*sessions, database):
        session.close()
    assert [r.rows for r in found if isinstance(r, Rows)] == [[(3,)]] * 3


def test_threads_of_one_process_may_open_the_same_database_at_the_same_time(shop: Connection) -> None:
    """DuckDB's connections to one file share an instance: its settings can be locked once only."""

    def ask(_: int) -> object:
        database = open_database(shop, 5)
        try:
            locked = database.run("SELECT 1; SET enable_external_access = true", 1)
            assert isinstance(locked, Refusal)
            return database.run("SELECT count(*) AS n FROM products", 1)
        finally:
            database.close()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(30)))
    assert all(a == answers[0] and isinstance(a, Rows) for a in answers)
