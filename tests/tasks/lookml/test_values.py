"""Values: what the generated SQL computes, beside SQL written by hand and beside itself, on DuckDB and
PostgreSQL.

One seeded shop: customers, orders, items; decimals, floats, NULLs, orders without items, customers without
orders. Metamorphic rules: a fan-out join changes no sum, filters partition rows, finer timeframes roll up to
coarser ones.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from runyard.tasks.lookml.language.model import Explore, models
from runyard.tasks.lookml.language.project import from_texts
from runyard.tasks.lookml.sql.compiler import context_of
from runyard.tasks.lookml.sql.dialects import Dialect
from runyard.tasks.lookml.sql.query import build
from runyard.tasks.lookml.sql.results import finish

Rows = list[tuple[Any, ...]]
Ask = Callable[..., Rows]

PROJECT = """
connection: "shop"
week_start_day: sunday
fiscal_month_offset: 1

explore: orders {
  join: items { relationship: one_to_many sql_on: ${orders.id} = ${items.order_id} ;; }
  join: customers { relationship: many_to_one sql_on: ${orders.customer_id} = ${customers.id} ;; }
  join: spending { relationship: one_to_one sql_on: ${spending.customer_id} = ${customers.id} ;; }
}
explore: always { extends: [orders] from: orders view_name: orders always_filter: { filters: [orders.status: "paid"] } }
explore: mine { extends: [orders] from: orders view_name: orders access_filter: { field: customers.city user_attribute: city } }
explore: having { extends: [orders] from: orders view_name: orders sql_always_having: ${orders.count} > 1 ;; }
explore: sometimes { extends: [orders] from: orders view_name: orders conditionally_filter: { filters: [orders.status: "paid"] unless: [orders.id] } }

view: orders {
  dimension: id { primary_key: yes type: number }
  dimension: customer_id { type: number }
  dimension: status {}
  dimension: is_paid { type: yesno sql: ${status} = 'paid' ;; }
  dimension: price { type: number sql: ${TABLE}.price ;; }
  dimension: weight { type: number }
  dimension: size { type: tier tiers: [10, 50, 90] style: integer sql: ${price} ;; }
  dimension_group: made { type: time sql: ${TABLE}.made_at ;; timeframes: [raw, time, date, week, month, quarter, year, fiscal_quarter, fiscal_year, hour_of_day, day_of_week, month_num] }
  dimension_group: since { type: duration sql_start: ${made_raw} ;; sql_end: ${TABLE}.sent_at ;; intervals: [hour, day] }
  parameter: level { type: unquoted default_value: "month" allowed_value: { value: "month" } allowed_value: { value: "year" } }
  dimension: period { sql: {% if level._parameter_value == 'year' %} CAST(${made_year} AS VARCHAR) {% else %} ${made_month} {% endif %} ;; }
  filter: when { type: date }
  measure: count { type: count }
  measure: paid { type: count filters: [is_paid: "yes"] }
  measure: total { type: sum sql: ${price} ;; }
  measure: total_weight { type: sum sql: ${weight} ;; }
  measure: mean { type: average sql: ${price} ;; }
  measure: middle { type: median sql: ${weight} ;; }
  measure: top { type: percentile percentile: 90 sql: ${weight} ;; }
  measure: lowest { type: min sql: ${price} ;; }
  measure: highest { type: max sql: ${price} ;; }
  measure: buyers { type: count_distinct sql: ${customer_id} ;; }
  measure: statuses { type: list list_field: status }
  measure: last_day { type: date sql: MAX(${made_raw}) ;; }
  measure: each { type: number sql: 1.0 * ${total} / NULLIF(${count}, 0) ;; }
  measure: has_many { type: yesno sql: ${count} > 60 ;; }
  measure: so_far { type: running_total sql: ${count} ;; }
  measure: share { type: percent_of_total sql: ${count} ;; }
  measure: change { type: percent_of_previous sql: ${count} ;; }
  measure: count_last_year { type: period_over_period based_on: count based_on_time: made_date period: year kind: previous }
  measure: count_to_date { type: period_over_period based_on: count based_on_time: made_date period: year kind: previous value_to_date: yes }
  measure: growth { type: period_over_period based_on: total based_on_time: made_date period: month kind: relative_change }
  measure: more_than_last_year { type: period_over_period based_on: count based_on_time: made_date period: year kind: difference }
}
view: items {
  dimension: id { primary_key: yes type: number }
  dimension: order_id { type: number }
  dimension: quantity { type: number }
  dimension: order_price { type: number sql: ${orders.price} ;; }
  measure: count { type: count }
  measure: quantity_sum { type: sum sql: ${quantity} ;; }
  measure: order_total { type: sum_distinct sql_distinct_key: ${order_id} ;; sql: ${order_price} ;; }
  measure: order_mean { type: average_distinct sql_distinct_key: ${order_id} ;; sql: ${order_price} ;; }
}
view: customers {
  dimension: id { primary_key: yes type: number }
  dimension: city {}
  dimension: credit { type: number }
  measure: count { type: count }
  measure: credit_sum { type: sum sql: ${credit} ;; }
}
view: spending {
  derived_table: {
    explore_source: orders {
      column: customer_id {}
      column: spent { field: orders.total }
      column: orders { field: orders.count }
      derived_column: rank { sql: RANK() OVER (ORDER BY spent DESC) ;; }
      filters: [orders.is_paid: "yes"]
      bind_filters: { from_field: orders.when to_field: orders.made_date }
    }
  }
  dimension: customer_id { primary_key: yes type: number }
  dimension: spent { type: number }
  dimension: rank { type: number }
  measure: spent_sum { type: sum sql: ${spent} ;; }
}
"""


def shop() -> list[tuple[str, list[tuple[Any, ...]]]]:
    rng = random.Random(11)
    start = datetime(2022, 1, 1)  # noqa: DTZ001 - stored without a zone
    customers = [
        (
            i,
            rng.choice(["Oslo", "Lisbon", "Graz", None]),
            rng.choice([None, Decimal(rng.randrange(1, 99999)) / 100]),
        )
        for i in range(40)
    ]
    orders, items = [], []
    for i in range(300):
        made = start + timedelta(minutes=rng.randrange(3 * 365 * 1440))
        sent = made + timedelta(minutes=rng.randrange(20_000)) if rng.random() < 0.8 else None
        price = None if rng.random() < 0.1 else Decimal(rng.randrange(1, 1_000_000)) / 10_000
        orders.append(
            (
                i,
                rng.choice([None, *range(30)]),
                rng.choice(["paid", "open", "lost", None]),
                price,
                rng.random() * 10,
                made,
                sent,
            )
        )
        items += [(len(items) + k, i, rng.randrange(1, 9)) for k in range(rng.choice([0, 1, 2, 5]))]
    return [("customers", customers), ("orders", orders), ("items", items)]


TABLES = {
    "customers": "id INTEGER, city VARCHAR, credit DECIMAL(12, 2)",
    "orders": "id INTEGER, customer_id INTEGER, status VARCHAR, price DECIMAL(12, 4), weight DOUBLE PRECISION, made_at TIMESTAMP, sent_at TIMESTAMP",
    "items": "id INTEGER, order_id INTEGER, quantity INTEGER",
}


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[tuple[Dialect, Callable[[str], Rows]]]:
    """The shop in either database: (dialect, run)."""
    if request.param == "duckdb":
        with duckdb.connect() as duck:
            for name, rows in shop():
                duck.execute(f"CREATE TABLE {name} ({TABLES[name]})")
                duck.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)
            yield "duckdb", lambda sql: duck.execute(sql).fetchall()
        return
    with psycopg.connect(request.getfixturevalue("postgres_url"), autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS lookml_values CASCADE")
        connection.execute("CREATE SCHEMA lookml_values")
        connection.execute("SET search_path TO lookml_values")
        for name, rows in shop():
            connection.execute(f"CREATE TABLE {name} ({TABLES[name]})".encode())
            with connection.cursor() as cursor:
                cursor.executemany(
                    f"INSERT INTO {name} VALUES ({', '.join(['%s'] * len(rows[0]))})".encode(), rows
                )
        yield "postgres", lambda sql: connection.execute(sql.encode()).fetchall()
        connection.execute("DROP SCHEMA lookml_values CASCADE")


def explore(name: str = "orders") -> Explore:
    (model,) = models(from_texts([("m.model.lkml", PROJECT.encode())]))
    found = model.explore(name)
    assert found is not None
    return found


@pytest.fixture
def ask(database: tuple[Dialect, Callable[[str], Rows]]) -> Ask:
    """ask("orders.status", "orders.count", filters={…}) gives the rows."""
    dialect, run = database

    def asked(
        *names: str,
        of: str = "orders",
        attributes: dict[str, str] | None = None,
        timezone: str = "",
        **more: Any,
    ) -> Rows:
        chosen = explore(of)
        context = context_of(chosen, dialect, attributes, timezone=timezone)
        context.now = datetime(2024, 6, 13, 14, 15, 16, tzinfo=UTC)
        wanted = []
        for name in names:
            field = chosen.find(name)
            assert field is not None, name
            wanted.append((name.rpartition(".")[0], field))
        query = build(context, wanted, **more)
        return finish(query, run(query.sql))

    return asked


def same(found: Rows, expected: Rows) -> None:
    """Equal rows in any order; floats to nine digits, numbers whatever their type."""

    def plain(value: Any) -> Any:
        if isinstance(value, bool) or value is None:
            return value
        return float(f"{float(value):.9g}") if isinstance(value, int | float | Decimal) else str(value)

    def rows(table: Rows) -> list[list[Any]]:
        return sorted(([plain(v) for v in row] for row in table), key=repr)

    assert rows(found) == rows(expected)


MEASURES = {
    "orders.count": "COUNT(*)",
    "orders.paid": "COUNT(CASE WHEN status = 'paid' THEN 1 END)",
    "orders.total": "COALESCE(SUM(price), 0)",
    "orders.total_weight": "SUM(weight)",
    "orders.mean": "AVG(price)",
    "orders.middle": "PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY weight)",
    "orders.top": "PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY weight)",
    "orders.lowest": "MIN(price)",
    "orders.highest": "MAX(price)",
    "orders.buyers": "COUNT(DISTINCT customer_id)",
    "orders.statuses": "STRING_AGG(DISTINCT status, '|RECORD|' ORDER BY status)",
    "orders.last_day": "CAST(MAX(made_at) AS DATE)",
    "orders.each": "SUM(price) / COUNT(*)",
}


@pytest.mark.parametrize("name", MEASURES)
def test_a_fan_out_join_changes_no_measure_and_both_equal_sql_by_hand(database, ask: Ask, name: str) -> None:
    expected = database[1](f"SELECT status, {MEASURES[name]} FROM orders GROUP BY 1")
    same(ask("orders.status", name), expected)
    same([(s, v) for s, v, _ in ask("orders.status", name, "items.count")], expected)
    same(
        [(v,) for v, _ in ask(name, "items.quantity_sum")],
        database[1](f"SELECT {MEASURES[name]} FROM orders"),
    )


def test_decimal_sums_are_exact_to_the_last_digit(database, ask: Ask) -> None:
    ((total, _),) = ask("orders.total", "items.count")
    assert Decimal(total) == database[1]("SELECT SUM(price) FROM orders")[0][0]


def test_measures_of_every_view_in_one_query(database, ask: Ask) -> None:
    by_hand = """
    SELECT c.city, COUNT(DISTINCT o.id), COUNT(i.id), COALESCE(SUM(i.quantity), 0), COUNT(DISTINCT c.id),
      COALESCE((SELECT SUM(k.credit) FROM customers k WHERE k.city IS NOT DISTINCT FROM c.city AND k.id IN (SELECT customer_id FROM orders)), 0)
    FROM orders o LEFT JOIN items i ON i.order_id = o.id LEFT JOIN customers c ON c.id = o.customer_id
    WHERE c.city IS NOT NULL GROUP BY c.city"""
    found = ask(
        "customers.city", "orders.count", "items.count", "items.quantity_sum", "customers.count", "customers.credit_sum",
        filters={"customers.city": "-NULL"},
    )  # fmt: skip
    same(found, database[1](by_hand))


def test_distinct_types_name_their_own_key(database, ask: Ask) -> None:
    by_hand = "SELECT COALESCE(SUM(price), 0), AVG(price), (SELECT COUNT(*) FROM items) FROM orders WHERE id IN (SELECT order_id FROM items)"
    same(ask("items.order_total", "items.order_mean", "items.count"), database[1](by_hand))


@pytest.mark.parametrize(
    ("field", "parts"),
    [
        ("orders.status", ["paid", "-paid"]),
        ("orders.status", ["p%", "-p%,-NULL", "NULL"]),
        ("orders.price", ["<50", ">=50", "NULL"]),
        ("orders.price", ["[0,25)", "NOT [0,25)"]),
        ("orders.price", ["NOT NULL", "NULL"]),
        ("orders.is_paid", ["yes", "no"]),
        ("orders.made_date", ["before 2023-04-05", "after 2023-04-05"]),
        ("orders.made_month", ["2022", "2023-Q1", "after 2023-04-01"]),
        ("orders.made_date", ["last year", "this year", "before last year", "after next year"]),
        ("orders.made_date", ["FY2022", "FY2023", "FY2021,FY2024"]),
        ("orders.made_day_of_week", ["Monday,Tuesday", "-Monday,-Tuesday"]),
        ("orders.made_hour_of_day", ["<12", ">=12"]),
        ("customers.city", ["Oslo", "-Oslo"]),
    ],
)
def test_filters_partition_rows(ask: Ask, field: str, parts: list[str]) -> None:
    ((count, total),) = ask("orders.count", "orders.total")
    counted = [ask("orders.count", "orders.total", filters={field: text})[0] for text in parts]
    assert (sum(c for c, _ in counted), sum(t for _, t in counted)) == (count, total)
    assert max(c for c, _ in counted) < count


@pytest.mark.parametrize(
    ("fine", "coarse", "up"),
    [
        ("date", "month", lambda v: str(v)[:7]),
        ("time", "date", lambda v: str(v)[:10]),
        ("month", "year", lambda v: str(v)[:4]),
        ("month", "quarter", lambda v: f"{v[:5]}{(int(v[5:]) - 1) // 3 * 3 + 1:02d}"),
        ("month", "month_num", lambda v: str(int(v[5:]))),
        ("fiscal_quarter", "fiscal_year", lambda v: v[2:6]),
        (
            "date",
            "week",
            lambda v: str(
                datetime.fromisoformat(str(v)).date()
                - timedelta(days=(datetime.fromisoformat(str(v)).weekday() + 1) % 7)
            ),
        ),
        ("date", "day_of_week", lambda v: f"{datetime.fromisoformat(str(v)):%A}"),
    ],
)
def test_timeframes_roll_up(ask: Ask, fine: str, coarse: str, up: Callable[[Any], str]) -> None:
    rolled: dict[str, list[Any]] = {}
    for value, count, total in ask(f"orders.made_{fine}", "orders.count", "orders.total"):
        before = rolled.setdefault(up(value), [0, 0])
        before[0] += count
        before[1] += total
    found = ask(f"orders.made_{coarse}", "orders.count", "orders.total")
    same([(f"{k}!", *v) for k, *v in found], [(f"{k}!", *v) for k, v in rolled.items()])


def test_durations_and_tiers_equal_sql_by_hand(database, ask: Ask) -> None:
    dialect, run = database
    span = (
        "epoch(sent_at) - epoch(made_at)" if dialect == "duckdb" else "EXTRACT(EPOCH FROM sent_at - made_at)"
    )
    same(
        ask("orders.days_since", "orders.count"),
        run(f"SELECT FLOOR(({span}) / 86400), COUNT(*) FROM orders GROUP BY 1"),
    )
    tier = "CASE WHEN price IS NULL THEN 'Undefined' WHEN price < 10 THEN 'Below 10' WHEN price < 50 THEN '10 to 49' WHEN price < 90 THEN '50 to 89' ELSE '90 or Above' END"
    same(ask("orders.size", "orders.count"), run(f"SELECT {tier}, COUNT(*) FROM orders GROUP BY 1"))


def test_times_are_shown_and_filtered_in_the_zone_of_the_query(database, ask: Ask) -> None:
    dialect, run = database
    local = (
        "timezone('America/New_York', timezone('UTC', made_at))"
        if dialect == "duckdb"
        else "(made_at AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York')"
    )
    same(
        ask("orders.made_date", "orders.count", timezone="America/New_York"),
        run(f"SELECT CAST({local} AS DATE), COUNT(*) FROM orders GROUP BY 1"),
    )
    found = ask(
        "orders.count", filters={"orders.made_date": "2023-01-01 to 2023-02-01"}, timezone="America/New_York"
    )
    assert found == run(
        f"SELECT COUNT(*) FROM orders WHERE {local} >= TIMESTAMP '2023-01-01' AND {local} < TIMESTAMP '2023-02-01'"
    )


def test_native_tables_keep_their_filters_and_take_bound_ones(database, ask: Ask) -> None:
    run = database[1]
    by_hand = "SELECT c.city, SUM(s.spent) FROM customers c JOIN (SELECT customer_id, SUM(price) AS spent FROM orders WHERE status = 'paid' {} GROUP BY 1) s ON s.customer_id = c.id WHERE c.id IN (SELECT customer_id FROM orders) AND c.city IS NOT NULL GROUP BY 1"
    names = ("customers.city", "spending.spent_sum")
    same(ask(*names, filters={"customers.city": "-NULL"}), run(by_hand.format("")))
    # The bound filter reaches into the derived table; as a filter-only field it restricts nothing outside.
    bound = ask(*names, filters={"customers.city": "-NULL", "orders.when": "2023"})
    same(
        bound,
        run(by_hand.format("AND made_at >= TIMESTAMP '2023-01-01' AND made_at < TIMESTAMP '2024-01-01'")),
    )
    top = ask("spending.rank", "spending.customer_id", filters={"spending.rank": "1"})
    assert (
        top[0][1]
        == run(
            "SELECT customer_id FROM orders WHERE status = 'paid' GROUP BY 1 ORDER BY SUM(price) DESC NULLS LAST LIMIT 1"
        )[0][0]
    )


def test_groups_are_filtered_sorted_and_cut(database, ask: Ask) -> None:
    run = database[1]
    found = ask(
        "orders.customer_id",
        "orders.count",
        filters={"orders.count": ">10", "orders.customer_id": "NOT NULL"},
        sorts=[("orders.count", True), ("orders.customer_id", False)],
        limit=5,
    )
    assert found == run(
        "SELECT customer_id, COUNT(*) FROM orders WHERE customer_id IS NOT NULL GROUP BY 1 HAVING COUNT(*) > 10 ORDER BY 2 DESC, 1 LIMIT 5"
    )
    same(
        ask("orders.status", "orders.has_many"),
        run("SELECT status, CASE WHEN COUNT(*) > 60 THEN 'Yes' ELSE 'No' END FROM orders GROUP BY 1"),
    )


def test_the_explores_own_filters_apply_as_lookers_do(database, ask: Ask) -> None:
    run = database[1]
    paid = run("SELECT COUNT(*) FROM orders WHERE status = 'paid'")
    assert ask("orders.count", of="always") == paid
    assert ask("orders.count", of="always", filters={"orders.status": "open"}) == run(
        "SELECT COUNT(*) FROM orders WHERE status = 'open'"
    )
    assert ask("orders.count", of="sometimes") == paid
    assert ask("orders.count", of="sometimes", filters={"orders.id": "<100"}) == [(100,)]
    assert ask("orders.count", of="mine", attributes={"city": "Oslo"}) == run(
        "SELECT COUNT(*) FROM orders o JOIN customers c ON c.id = o.customer_id WHERE c.city = 'Oslo'"
    )
    same(
        ask("orders.customer_id", "orders.count", of="having"),
        run("SELECT customer_id, COUNT(*) FROM orders GROUP BY 1 HAVING COUNT(*) > 1"),
    )


def test_parameters_take_the_filters_value(ask: Ask) -> None:
    by_year = dict(ask("orders.period", "orders.count", filters={"orders.level": "year"}))
    assert {len(p.strip()) for p in by_year} == {4}
    assert {len(p.strip()) for p, _ in ask("orders.period", "orders.count")} == {7}
    # What could leave the expression is no value of an unquoted parameter.
    assert ask("orders.count", "orders.period", filters={"orders.level": "year' OR 1=1"})


def test_what_is_worked_out_on_the_rows(ask: Ask) -> None:
    rows = ask(
        "orders.made_year",
        "orders.count",
        "orders.so_far",
        "orders.share",
        "orders.change",
        sorts=[("orders.made_year", False)],
    )
    counts = [n for _, n, *_ in rows]
    assert [r[2] for r in rows] == [sum(counts[: i + 1]) for i in range(len(counts))]
    assert sum(r[3] for r in rows) == pytest.approx(100)
    assert [None if r[4] is None else float(r[4]) for r in rows] == [
        *(pytest.approx(100 * a / b) for a, b in itertools.pairwise(counts)),
        None,
    ]


def test_a_period_is_compared_with_the_one_a_year_before(ask: Ask) -> None:
    counts = dict(ask("orders.made_month", "orders.count"))
    rows = ask("orders.made_month", "orders.count", "orders.count_last_year", "orders.more_than_last_year")
    for month, count, before, more in rows:
        earlier = counts.get(f"{int(month[:4]) - 1}{month[4:]}")
        assert (count, before, more) == (counts[month], earlier, None if earlier is None else count - earlier)
    # A filter on the time does not take away what the previous period is counted from.
    (row,) = ask("orders.made_year", "orders.count_last_year", filters={"orders.made_date": "2024"})
    assert row[1] == sum(n for m, n in counts.items() if m.startswith("2023"))


def test_to_date_counts_the_period_before_only_as_far_as_the_running_one_has_come(database, ask: Ask) -> None:
    """The query's moment is 2024-06-13 14:15:16: of 2023 only what came before that day and hour counts;
    2022, whose successor is over, counts whole."""
    counted = "SELECT COUNT(*) FROM orders WHERE made_at >= '{}' AND made_at < '{}'"
    so_far, whole = (
        database[1](counted.format(*span))[0][0]
        for span in (("2023-01-01", "2023-06-13 14:15:16"), ("2022-01-01", "2023-01-01"))
    )
    found = {y: n for y, n in ask("orders.made_year", "orders.count_to_date") if y in (2023, 2024)}
    assert found == {2023: whole, 2024: so_far}
    assert 0 < so_far < dict(ask("orders.made_year", "orders.count_last_year"))[2024]


def test_relative_change_is_a_share_of_the_period_before(database, ask: Ask) -> None:
    by_hand = """
    WITH m AS (SELECT DATE_TRUNC('month', made_at) AS month, COALESCE(SUM(price), 0) AS total FROM orders GROUP BY 1)
    SELECT m.month, (m.total - b.total) * 1.0 / NULLIF(b.total, 0) FROM m LEFT JOIN m AS b ON b.month = m.month - INTERVAL '1 month'"""
    same(ask("orders.made_month", "orders.growth"), [(str(m)[:7], v) for m, v in database[1](by_hand)])


def test_the_sql_of_a_query_has_no_path_of_its_own(tmp_path: Path) -> None:
    """Two compilations of one query are equal: nothing depends on addresses or sets' order."""
    texts = []
    for _ in range(2):
        chosen = explore()
        wanted = [
            (n.rpartition(".")[0], f)
            for n in ("orders.status", "spending.spent_sum", "items.count")
            if (f := chosen.find(n))
        ]
        texts.append(build(context_of(chosen, "duckdb"), wanted).sql)
    assert texts[0] == texts[1]
