"""Creates the example's database: `python make_database.py bakery.duckdb`, or a PostgreSQL address instead of
the file."""

from __future__ import annotations

import sys
from pathlib import Path

TABLES = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, email VARCHAR, city VARCHAR, latitude DOUBLE PRECISION, longitude DOUBLE PRECISION);
CREATE TABLE products (id INTEGER PRIMARY KEY, name VARCHAR, price DECIMAL(8, 2));
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER, status VARCHAR, created_at TIMESTAMP, delivered_at TIMESTAMP);
CREATE TABLE order_items (id INTEGER PRIMARY KEY, order_id INTEGER, product_id INTEGER, quantity INTEGER);
INSERT INTO customers VALUES (1, 'ada@example.org', 'Lisbon', 38.7, -9.1), (2, NULL, 'Oslo', 59.9, 10.7), (3, 'eve@example.org', 'Oslo', 59.9, 10.8);
INSERT INTO products VALUES (1, 'rye bread', 4.20), (2, 'carrot cake', 18.00), (3, 'bun', 0.90);
INSERT INTO orders VALUES
  (1, 1, 'delivered', '2026-01-05 08:15:00', '2026-01-05 11:00:00'), (2, 1, 'placed', '2026-02-11 17:40:00', NULL),
  (3, 2, 'canceled', '2026-02-12 09:00:00', NULL), (4, 3, 'delivered', '2026-03-01 10:00:00', '2026-03-03 09:30:00');
INSERT INTO order_items VALUES (1, 1, 1, 2), (2, 1, 3, 12), (3, 2, 2, 1), (4, 3, 1, 1), (5, 4, 1, 3), (6, 4, 2, 1);
"""


def main(target: str) -> None:
    """Fills an empty DuckDB file (an older one is replaced) or an empty PostgreSQL database."""
    statements = [s for s in TABLES.split(";") if s.strip()]
    if target.startswith("postgres"):
        import psycopg

        with psycopg.connect(target) as connection:
            for statement in statements:
                connection.execute(statement.encode())
    else:
        import duckdb

        Path(target).unlink(missing_ok=True)
        with duckdb.connect(target) as database:
            for statement in statements:
                database.execute(statement)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "bakery.duckdb")
