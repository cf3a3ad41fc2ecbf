"""Generated SQL: values on real databases, joins pulled in, derived tables, Liquid, source map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import psycopg
import pytest

from runyard.tasks.lookml.language.model import Explore, models
from runyard.tasks.lookml.language.project import load
from runyard.tasks.lookml.language.timeframes import DEFAULT_TIMEFRAMES
from runyard.tasks.lookml.sql.compiler import Context
from runyard.tasks.lookml.sql.expressions import Unresolved
from runyard.tasks.lookml.sql.query import Query, build
from runyard.tasks.lookml.sql.timeframes import Calendar, duration, timeframe
from runyard.tasks.lookml.validators.sqlcheck import context

from .conftest import BAKERY, Make


def ask(explore: Explore, *names: str, dialect: str = "duckdb") -> Query:
    wanted = []
    for name in names:
        field = explore.find(name)
        assert field is not None, name
        wanted.append((name.rpartition(".")[0], field))
    return build(context(explore, dialect, {}, wanted), wanted)  # type: ignore[arg-type]


def sales() -> Explore:
    (model,) = models(load(BAKERY))
    explore = model.explore("order_items")
    assert explore is not None
    return explore


def test_only_needed_joins_are_pulled_in() -> None:
    sql = ask(sales(), "order_items.quantity").sql
    assert "products" not in sql
    assert "LEFT JOIN orders AS orders" in sql  # sql_always_where needs it
    chain = ask(sales(), "customer_facts.order_count").sql
    assert chain.index("JOIN orders") < chain.index("JOIN customers") < chain.index("JOIN customer_facts")
    assert chain.startswith("WITH customer_facts AS (")
    assert "1=1" in chain  # the condition without a value


@pytest.fixture(params=["duckdb", "postgres"])
def run(
    request: pytest.FixtureRequest, bakery_file: Path, fill: Callable[[str], None]
) -> Callable[[str], list[tuple[object, ...]]]:
    """Runs SQL on the bakery in either database."""
    if request.param == "duckdb":
        database = duckdb.connect(str(bakery_file), read_only=True)
        request.addfinalizer(database.close)
        return lambda sql: database.execute(sql).fetchall()
    url = request.getfixturevalue("fresh_postgres_url")
    fill(url)
    connection = psycopg.connect(url)
    request.addfinalizer(connection.close)
    return lambda sql: connection.execute(sql.encode()).fetchall()


def dialect_of(run: Callable[[str], list[tuple[object, ...]]]) -> str:
    return "postgres" if "PostgreSQL" in str(run("SELECT version()")[0][0]) else "duckdb"


def test_values_are_looker_values(run: Callable[[str], list[tuple[object, ...]]]) -> None:
    explore, dialect = sales(), dialect_of(run)

    def rows(*names: str) -> list[tuple[object, ...]]:
        return sorted(run(ask(explore, *names, dialect=dialect).sql), key=str)

    assert rows("orders.is_open", "order_items.total_quantity") == [("No", 19), ("Yes", 1)]
    # 2*4.20 + 12*0.90 + 1*18.00 + 3*4.20 + 1*18.00; the canceled order is filtered out of the measure.
    assert [float(v) for (v,) in rows("order_items.total_sales")] == [pytest.approx(67.8)]
    # Orders are repeated by their items: counting them counts keys.
    assert rows("orders.count") == [(4,)]
    assert rows("products.kind", "order_items.total_quantity") == [("Bread", 6), ("Cake", 2), ("Other", 12)]
    assert rows("orders.created_fiscal_quarter", "orders.count") == [("FY2025-Q4", 4)]
    assert rows("orders.hours_to_delivery", "orders.count")[0] == (2, 1)
    assert rows("orders.period") == [("2026-01",), ("2026-02",), ("2026-03",)]
    assert rows("order_items.size", "order_items.total_quantity") == [("1 to 4", 8), ("5 to 19", 12)]
    assert rows("customer_facts.is_regular", "orders.count") == [("No", 4)]


def test_symmetric_sums_count_each_key_once(
    make: Make, run: Callable[[str], list[tuple[object, ...]]]
) -> None:
    text = """connection: "c"
explore: orders { join: order_items { relationship: one_to_many sql_on: ${orders.id} = ${order_items.order_id} ;; } }
view: orders { dimension: id { primary_key: yes sql: ${TABLE}.id ;; } measure: ids { type: sum sql: ${id} ;; } measure: mean { type: average sql: ${id} ;; } }
view: order_items { dimension: id { primary_key: yes sql: ${TABLE}.id ;; } dimension: order_id { sql: ${TABLE}.order_id ;; } measure: n { type: count } }
"""
    (model,) = models(make({"m.model.lkml": text}))
    explore = model.explore("orders")
    assert explore is not None
    (row,) = run(ask(explore, "orders.ids", "orders.mean", "order_items.n", dialect=dialect_of(run)).sql)
    assert [float(v) for v in row] == [10.0, 2.5, 6.0]  # type: ignore[arg-type]


def test_every_timeframe_and_interval_runs(run: Callable[[str], list[tuple[object, ...]]]) -> None:
    dialect = dialect_of(run)
    moment = "TIMESTAMP '2024-05-06 07:08:09.123456'"
    rare = [
        "hour6",
        "minute15",
        "millisecond100",
        "millisecond",
        "microsecond",
        "fiscal_month_num",
        "fiscal_year",
        "yesno",
    ]
    calendar = Calendar(week_start=6, fiscal_offset=3)
    shown = {
        n: run(f"SELECT {timeframe(moment, n, dialect, calendar)}")[0][0]
        for n in [*DEFAULT_TIMEFRAMES, *rare]
    }  # type: ignore[arg-type]
    shown = {k: str(v) for k, v in shown.items()}
    expected = {
        "time": "2024-05-06 07:08:09", "date": "2024-05-06", "week": "2024-05-05", "month": "2024-05", "quarter": "2024-04", "year": "2024",
        "time_of_day": "07:08", "hour": "2024-05-06 07", "hour_of_day": "7", "minute": "2024-05-06 07:08", "day_of_week": "Monday",
        "day_of_week_index": "1", "day_of_month": "6", "day_of_year": "127", "week_of_year": "19", "month_num": "5", "month_name": "May",
        "quarter_of_year": "Q2", "hour6": "2024-05-06 06", "minute15": "2024-05-06 07:00", "fiscal_month_num": "2", "fiscal_year": "2024",
        "microsecond": "2024-05-06 07:08:09.123456", "millisecond": "2024-05-06 07:08:09.123", "yesno": "True",
    }  # fmt: skip
    assert {k: shown[k] for k in expected} == expected
    start, end = "TIMESTAMP '2024-01-31 12:00:00'", "TIMESTAMP '2024-03-30 11:00:00'"
    spent = {
        i: run(f"SELECT {duration(start, end, i, dialect)}")[0][0]
        for i in ("hour", "day", "week", "month", "quarter")
    }  # type: ignore[arg-type]
    assert spent == {"hour": 1415, "day": 58, "week": 8, "month": 1, "quarter": 0}


def test_the_source_map_leads_back_to_the_line(make: Make) -> None:
    text = 'connection: "c"\nexplore: a {}\nview: a {\n  dimension: x {\n    sql: one +\n      ${y} +\n      three ;;\n  }\n  dimension: y { sql: two ;; }\n}\n'
    (model,) = models(make({"m.model.lkml": text}))
    explore = model.explore("a")
    assert explore is not None
    query = ask(explore, "a.x")

    def line(word: str) -> int:
        piece = query.locate(query.sql.index(word))
        assert piece is not None
        return piece.line

    assert [line("one"), line("two"), line("three")] == [5, 9, 7]
    assert query.offset(*(query.sql[: query.sql.index("three")].count("\n") + 1, 1)) <= query.sql.index(
        "three"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("view: a { dimension: x { sql: ${y} ;; } dimension: y { sql: ${x} ;; } }", "circular reference: a.x → a.y → a.x"),
        ("view: a { dimension: x { sql: ${z} ;; } }", 'Unknown or inaccessible field "a.z"'),
        ("view: a { dimension: x { sql: {% bad %} ;; } }", "Liquid: unexpected tag"),
        ("view: a { derived_table: { sql: SELECT 1 FROM ${a.SQL_TABLE_NAME} ;; } dimension: x {} }", "circular derived tables"),
        ("view: a { derived_table: { explore_source: a { column: x {} } } dimension: x {} }", "nested too deeply, or circular"),
        ("view: a { dimension: x0 {} " + "".join(f"dimension: x{i + 1} {{ sql: ${{x{i}}} + ${{x{i}}} ;; }} " for i in range(40)) + "dimension: x { sql: ${x40} ;; } }", "the SQL becomes too large"),
        ("view: a { dimension: x0 {} " + "".join(f"dimension: x{i + 1} {{ sql: ${{x{i}}} ;; }} " for i in range(900)) + "dimension: x { sql: ${x900} ;; } }", "chain of references is too long"),
    ],
)  # fmt: skip
def test_what_cannot_become_sql_is_refused(make: Make, text: str, message: str) -> None:
    (model,) = models(make({"m.model.lkml": f'connection: "c"\nexplore: a {{}}\n{text}'}))
    explore = model.explore("a")
    assert explore is not None
    with pytest.raises(Unresolved) as caught:
        ask(explore, "a.x")
    assert message in caught.value.message


def test_reserved_words_as_view_names_are_quoted(make: Make) -> None:
    (model,) = models(
        make(
            {
                "m.model.lkml": 'connection: "c"\nexplore: user {}\nview: user { sql_table_name: users ;; dimension: id {} }'
            }
        )
    )
    explore = model.explore("user")
    assert explore is not None
    assert 'FROM users AS "user"' in ask(explore, "user.id").sql


def test_a_context_is_one_explore_and_dialect() -> None:
    assert Context("duckdb", sales()).fanned == frozenset()
