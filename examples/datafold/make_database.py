"""Makes the warehouse of this example: what production has (schema `prod`) and what the pull request built
(schema `pr`).

    python make_database.py warehouse.duckdb
    python make_database.py postgresql://user@host/database

The same SQL serves both. The pull request rounds order totals, drops cancelled orders, adds a column and
leaves the sales table alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

STATEMENTS = (
    "DROP SCHEMA IF EXISTS prod CASCADE",
    "DROP SCHEMA IF EXISTS pr CASCADE",
    "CREATE SCHEMA prod",
    "CREATE SCHEMA pr",
    """CREATE TABLE prod.orders AS
       SELECT CAST(i AS integer) AS id,
              CAST(1 + i % 97 AS integer) AS customer_id,
              CASE WHEN i % 50 = 0 THEN 'cancelled' WHEN i % 7 = 0 THEN 'returned' ELSE 'paid' END AS status,
              CAST((i * 37 % 10000) / 100.0 AS decimal(10, 2)) AS total,
              CAST('2026-01-01' AS date) + CAST(i % 300 AS integer) AS ordered_on
       FROM generate_series(1, 5000) AS g(i)""",
    """CREATE TABLE pr.orders AS
       SELECT id, customer_id, status,
              CASE WHEN id % 1000 = 3 THEN CAST(round(total, 0) AS decimal(10, 2)) ELSE total END AS total,
              ordered_on, status = 'returned' AS is_returned
       FROM prod.orders WHERE status <> 'cancelled'""",
    """CREATE TABLE prod.customers AS
       SELECT CAST(i AS integer) AS id, 'customer ' || i AS name,
              CASE WHEN i % 10 = 0 THEN NULL ELSE 'c' || i || '@example.org' END AS email
       FROM generate_series(1, 97) AS g(i)""",
    """CREATE TABLE pr.customers AS
       SELECT id, name, CASE WHEN id = 20 THEN 'c20@example.org' WHEN id = 21 THEN NULL ELSE email END AS email
       FROM prod.customers""",
    """CREATE TABLE prod.daily_sales AS
       SELECT ordered_on AS day, status, count(*) AS orders, sum(total) AS revenue FROM prod.orders GROUP BY ordered_on, status""",
    "CREATE TABLE pr.daily_sales AS SELECT * FROM prod.daily_sales",
)


def main(target: str) -> None:
    """Fills the database."""
    execute = _postgres(target) if target.startswith("postgres") else _duckdb(target)
    for statement in STATEMENTS:
        execute(statement)
    print(f"made prod and pr in {target.rsplit('@', 1)[-1]}")


def _duckdb(path: str) -> Callable[[str], object]:
    import duckdb

    return duckdb.connect(path).execute


def _postgres(url: str) -> Callable[[str], object]:
    import psycopg

    connection = psycopg.connect(url, autocommit=True)
    return lambda statement: connection.execute(statement)  # type: ignore[arg-type]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
