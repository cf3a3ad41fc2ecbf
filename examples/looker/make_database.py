"""Creates the example's database: `python make_database.py shop.duckdb`, or a PostgreSQL address instead of
the file.

The same seed gives the same rows everywhere, always: 200 customers, 60 products, 10 stores, 1,500 orders of
2024 to 2026. `--scale 10` makes ten times as many customers, orders and visits.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

TABLES = {
    "dates": "day DATE PRIMARY KEY, is_weekend BOOLEAN, holiday VARCHAR(40)",
    "customers": "id INTEGER PRIMARY KEY, first_name VARCHAR(40), last_name VARCHAR(40), email VARCHAR(80), country CHAR(2), city VARCHAR(40), "
    "latitude DOUBLE PRECISION, longitude DOUBLE PRECISION, birth_date DATE, is_business BOOLEAN, created_at TIMESTAMP",
    "products": "id INTEGER PRIMARY KEY, name VARCHAR(60), category VARCHAR(40), brand VARCHAR(40), price NUMERIC(10, 2), cost NUMERIC(10, 2), launched_on DATE",
    "stores": "id INTEGER PRIMARY KEY, name VARCHAR(40), kind VARCHAR(20), country CHAR(2), city VARCHAR(40), latitude DOUBLE PRECISION, "
    "longitude DOUBLE PRECISION, opened_on DATE",
    "promotions": "id INTEGER PRIMARY KEY, code VARCHAR(20), percent_off INTEGER, starts_on DATE, ends_on DATE",
    "orders": "id INTEGER PRIMARY KEY, customer_id INTEGER, store_id INTEGER, promotion_id INTEGER, status VARCHAR(20), created_at TIMESTAMP, "
    "delivered_at TIMESTAMP",
    "order_items": "id INTEGER PRIMARY KEY, order_id INTEGER, product_id INTEGER, quantity INTEGER, unit_price NUMERIC(10, 2), discount NUMERIC(10, 2)",
    "returns": "id INTEGER PRIMARY KEY, order_item_id INTEGER, reason VARCHAR(40), refund NUMERIC(10, 2), created_at TIMESTAMP",
    "visits": "id INTEGER PRIMARY KEY, customer_id INTEGER, source VARCHAR(20), pages INTEGER, started_at TIMESTAMP, ended_at TIMESTAMP",
}
CITIES = [("FR", "Lyon", 45.76, 4.84), ("DE", "Leipzig", 51.34, 12.37), ("ES", "Bilbao", 43.26, -2.93), ("NL", "Utrecht", 52.09, 5.12), ("PT", "Porto", 41.15, -8.61)]  # fmt: skip
FIRST = ["Ada", "Ben", "Chloé", "Dan", "Eva", "Finn", "Greta", "Hugo", "Inès", "Jan"]
LAST = ["Alves", "Bauer", "Costa", "Dubois", "Etxeberria", "Faber", "García", "Horn"]
CATEGORIES = {"Bikes": 620, "Helmets": 55, "Lights": 25, "Bags": 70, "Tools": 18, "Clothes": 45}
BRANDS = ["Velox", "Norden", "Pico", "Rueda"]
HOLIDAYS = {(1, 1): "New Year", (5, 1): "Labour Day", (12, 25): "Christmas"}
START = date(2024, 1, 1)
DAYS = 1000

Row = tuple[object, ...]


def rows(scale: int = 1) -> Iterator[tuple[str, list[Row]]]:
    """(table, rows) of every table."""
    chance = random.Random(20260101)
    days = [START + timedelta(n) for n in range(DAYS + 60)]
    yield "dates", [(d, d.weekday() > 4, HOLIDAYS.get((d.month, d.day))) for d in days]
    customers = [_customer(chance, n) for n in range(1, 200 * scale + 1)]
    yield "customers", customers
    products = [_product(chance, n) for n in range(1, 61)]
    yield "products", products
    yield (
        "stores",
        [
            (
                n,
                f"Store {n}",
                "flagship" if n <= 5 else "shop",
                *CITIES[n % 5],
                START - timedelta(chance.randrange(3000)),
            )
            for n in range(1, 11)
        ],
    )
    promotions = [
        (n, f"SALE{n}", 5 * n, START + timedelta(200 * n), START + timedelta(200 * n + 20))
        for n in range(1, 5)
    ]
    yield "promotions", promotions
    orders = [_order(chance, n, len(customers), promotions) for n in range(1, 1500 * scale + 1)]
    yield "orders", orders
    items = list(_items(chance, orders, products))
    yield "order_items", items
    yield "returns", list(_returns(chance, items, orders))
    yield "visits", [_visit(chance, n, len(customers)) for n in range(1, 2000 * scale + 1)]


def _customer(chance: random.Random, n: int) -> Row:
    first, last = chance.choice(FIRST), chance.choice(LAST)
    country, city, latitude, longitude = chance.choice(CITIES)
    email = f"{first[:1]}.{last}.{n}@example.org".lower() if chance.random() < 0.95 else None
    born = date(1945, 1, 1) + timedelta(chance.randrange(22_000))
    joined = datetime(2023, 1, 1) + timedelta(minutes=chance.randrange(500_000))  # noqa: DTZ001
    return (
        n,
        first,
        last,
        email,
        country,
        city,
        latitude + chance.random(),
        longitude + chance.random(),
        born,
        chance.random() < 0.2,
        joined,
    )


def _product(chance: random.Random, n: int) -> Row:
    category = list(CATEGORIES)[n % len(CATEGORIES)]
    price = Decimal(CATEGORIES[category] * chance.randrange(60, 140)) / 100
    cost = (price * chance.randrange(45, 75) / 100).quantize(Decimal("0.01"))
    return (
        n,
        f"{category[:-1]} {n}",
        category,
        chance.choice(BRANDS),
        price,
        cost,
        START - timedelta(chance.randrange(800)),
    )


def _order(chance: random.Random, n: int, customers: int, promotions: list[Row]) -> Row:
    created = datetime(2024, 1, 1) + timedelta(minutes=chance.randrange(DAYS * 24 * 60))  # noqa: DTZ001
    status = chance.choices(["delivered", "shipped", "placed", "canceled"], [80, 8, 6, 6])[0]
    delivered = created + timedelta(hours=chance.randrange(20, 240)) if status == "delivered" else None
    promotion = next((p[0] for p in promotions if p[3] <= created.date() <= p[4]), None)  # type: ignore[operator]
    return (
        n,
        1 + int(customers * chance.random() ** 1.5),
        1 + chance.randrange(10),
        promotion,
        status,
        created,
        delivered,
    )


def _items(chance: random.Random, orders: list[Row], products: list[Row]) -> Iterator[Row]:
    number = 0
    for order in orders:
        for product in chance.sample(products, chance.choices([1, 2, 3, 4], [50, 30, 15, 5])[0]):
            number += 1
            price = Decimal(str(product[4]))
            quantity = chance.choices([1, 2, 3, 12], [80, 12, 6, 2])[0]
            discount = (price * quantity * (10 if order[3] else 0) / 100).quantize(Decimal("0.01"))
            yield number, order[0], product[0], quantity, price, discount


def _returns(chance: random.Random, items: list[Row], orders: list[Row]) -> Iterator[Row]:
    number = 0
    for item in items:
        delivered = orders[int(str(item[1])) - 1][6]
        if isinstance(delivered, datetime) and chance.random() < 0.08:
            # A line may come back in two parcels: joins to returns repeat it.
            for parcel in range(chance.choice([1, 1, 2])):
                number += 1
                refund = (Decimal(str(item[4])) * chance.choice([30, 50]) / 100).quantize(Decimal("0.01"))
                yield (
                    number,
                    item[0],
                    chance.choice(["too small", "broken", "late"]),
                    refund,
                    delivered + timedelta(days=3 + parcel),
                )


def _visit(chance: random.Random, n: int, customers: int) -> Row:
    started = datetime(2024, 1, 1) + timedelta(minutes=chance.randrange(DAYS * 24 * 60))  # noqa: DTZ001
    pages = chance.choices([1, 3, 8], [40, 40, 20])[0]
    return (
        n,
        1 + chance.randrange(customers),
        chance.choice(["search", "mail", "direct"]),
        pages,
        started,
        started + timedelta(seconds=40 * pages),
    )


def literal(value: object) -> str:
    """A value as SQL that both databases read."""
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | float | Decimal):
        return str(value).upper()
    return "'" + str(value).replace("'", "''") + "'"


def statements(scale: int) -> Iterator[str]:
    """Everything, as SQL."""
    for table, found in rows(scale):
        yield f"CREATE TABLE {table} ({TABLES[table]})"
        for start in range(0, len(found), 500):
            values = ", ".join(
                f"({', '.join(literal(v) for v in row)})" for row in found[start : start + 500]
            )
            yield f"INSERT INTO {table} VALUES {values}"


def main(target: str, scale: int = 1) -> None:
    """Fills an empty DuckDB file (an older one is replaced) or an empty PostgreSQL database."""
    if target.startswith("postgres"):
        import psycopg

        with psycopg.connect(target) as connection:
            for statement in statements(scale):
                connection.execute(statement.encode())
    else:
        import duckdb

        Path(target).unlink(missing_ok=True)
        with duckdb.connect(target) as database:
            for statement in statements(scale):
                database.execute(statement)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "target", nargs="?", default="shop.duckdb", help="a file for DuckDB, or postgresql://…"
    )
    parser.add_argument("--scale", type=int, default=1)
    given = parser.parse_args()
    main(given.target, given.scale)
