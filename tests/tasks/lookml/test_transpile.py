"""Projects written for a warehouse: their fragments said in the local database's dialect, and what our own
text is in each dialect."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
import sqlglot

from runyard.tasks.lookml.connections import CannotConnect, connection
from runyard.tasks.lookml.language.model import Explore, models
from runyard.tasks.lookml.language.project import from_texts
from runyard.tasks.lookml.language.timeframes import DEFAULT_INTERVALS, DEFAULT_TIMEFRAMES
from runyard.tasks.lookml.sql.compiler import context_of
from runyard.tasks.lookml.sql.dialects import Dialect
from runyard.tasks.lookml.sql.expressions import Unresolved
from runyard.tasks.lookml.sql.query import build
from runyard.tasks.lookml.sql.transpile import Untranslatable, fragment
from runyard.tasks.lookml.validators import sqlcheck

BIGQUERY = """
connection: "shop"
explore: orders {
  sql_always_where: ${made_raw} >= TIMESTAMP_SUB(TIMESTAMP '2024-06-01 00:00:00', INTERVAL 30 DAY) ;;
  join: tags { type: left_outer relationship: one_to_many sql: LEFT JOIN UNNEST(SPLIT(${orders.labels}, ',')) AS tags ON TRUE ;; }
  join: facts { relationship: one_to_one sql_on: ${facts.id} = ${orders.id} ;; }
}
view: orders {
  sql_table_name: `orders` ;;
  dimension: id { primary_key: yes type: number sql: ${TABLE}.id ;; }
  dimension: labels { sql: ${TABLE}.labels ;; }
  dimension: safe { type: number sql: SAFE_DIVIDE(${id}, SAFE_CAST(${labels} AS INT64)) ;; }
  dimension: day { type: date sql: DATE_ADD(DATE(${made_raw}), INTERVAL 1 DAY) ;; datatype: date }
  dimension: is_long { type: yesno sql: REGEXP_CONTAINS(${labels}, r'^a.*') ;; }
  dimension_group: made { type: time sql: ${TABLE}.made_at ;; }
  measure: count { type: count }
  measure: many { type: sum sql: IF(${id} > 1, ${id}, 0) ;; }
}
view: tags { dimension: tag { sql: ${TABLE} ;; } }
view: facts {
  derived_table: { sql: SELECT id, COUNT(*) AS n, ANY_VALUE(labels) AS t FROM `orders` GROUP BY id QUALIFY ROW_NUMBER() OVER (ORDER BY id) < 10 ;; }
  dimension: id { primary_key: yes type: number }
  dimension: n { type: number }
}
"""


def explore(text: str = BIGQUERY) -> Explore:
    (model,) = models(from_texts([("m.model.lkml", text.encode())]))
    found = model.explore("orders")
    assert found is not None
    return found


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as made:
        made.execute("CREATE TABLE orders (id INTEGER, labels VARCHAR, made_at TIMESTAMP)")
        made.execute(
            "INSERT INTO orders VALUES (1, 'a,b', '2024-06-01'), (2, 'c', '2024-06-02'), (3, NULL, '2020-01-01')"
        )
    return path


def test_a_project_for_bigquery_is_bound_and_computed_on_duckdb(shop: Path) -> None:
    wanted = connection("shop", {"url": f"duckdb://{shop}?written=bigquery"})
    (tested,) = sqlcheck.validate([explore().model], {"shop": wanted}, sqlcheck.Options(measures=True))
    assert (tested.status, [e.message for e in tested.errors]) == ("passed", [])
    chosen = explore()
    fields = [
        ("orders", chosen.views["orders"].fields[n])
        for n in ("id", "safe", "day", "is_long", "made_month", "many")
    ]
    with duckdb.connect(str(shop), read_only=True) as database:
        sql = build(
            context_of(chosen, "duckdb", written="bigquery"), fields, sorts=[("orders.id", False)]
        ).sql
        found = [[str(v) for v in row] for row in database.execute(sql).fetchall()]
    assert found == [
        ["1", "None", "2024-06-02", "Yes", "2024-06", "0"],
        ["2", "None", "2024-06-03", "No", "2024-06", "2"],
    ]


def test_without_being_asked_nothing_is_transpiled(shop: Path) -> None:
    wanted = connection("shop", {"url": f"duckdb://{shop}"})
    (tested,) = sqlcheck.validate([explore().model], {"shop": wanted}, sqlcheck.Options())
    assert tested.status == "failed"


def test_what_cannot_be_read_is_located() -> None:
    chosen = explore(
        'connection: "c"\nexplore: orders {}\nview: orders {\n  dimension: id {\n    sql: ${TABLE}.id +\n      SELECT FROM ( ;;\n  }\n}\n'
    )
    with pytest.raises(Unresolved) as caught:
        build(
            context_of(chosen, "duckdb", written="bigquery"),
            [("orders", chosen.views["orders"].fields["id"])],
        )
    assert (caught.value.file, caught.value.line >= 5) == ("m.model.lkml", True)
    assert "cannot be read as bigquery" in caught.value.message
    with pytest.raises(Untranslatable, match="2 statements"):
        fragment("SELECT 1; DROP TABLE x", "bigquery", "duckdb", "query")


def test_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(CannotConnect, match="cannot be transpiled"):
        connection("c", {"url": "duckdb:///x.duckdb?written=oracle"})


OWN = """
connection: "c"
week_start_day: sunday
explore: orders { join: lines { relationship: one_to_many sql_on: ${orders.id} = ${lines.order_id} ;; } }
view: orders {
  dimension: id { primary_key: yes type: number }
  dimension_group: made { type: time sql: ${TABLE}.made_at ;; }
  dimension_group: since { type: duration sql_start: ${made_raw} ;; sql_end: ${TABLE}.sent_at ;; }
  dimension: size { type: tier tiers: [1, 2] sql: ${TABLE}.size ;; }
  measure: total { type: sum sql: ${TABLE}.price ;; }
  measure: mean { type: average sql: ${TABLE}.price ;; }
  measure: all { type: list list_field: id }
}
view: lines { dimension: id { primary_key: yes } dimension: order_id {} measure: count { type: count } }
"""


@pytest.mark.parametrize("dialect", ["bigquery", "snowflake", "redshift"])
def test_our_own_text_is_sql_of_the_warehouse(dialect: Dialect) -> None:
    """Not run there: it parses as that dialect, names columns as it allows, and every timeframe and interval
    has a text."""
    chosen = explore(OWN)
    names = (
        [f"made_{t}" for t in DEFAULT_TIMEFRAMES]
        + [f"{i}s_since" for i in DEFAULT_INTERVALS]
        + ["size", "total", "mean", "all"]
    )
    fields = [("orders", chosen.views["orders"].fields[n]) for n in names] + [
        ("lines", chosen.views["lines"].fields["count"])
    ]
    sql = build(
        context_of(chosen, dialect),
        fields,
        10,
        filters={"orders.made_date": "7 days", "orders.id": "NOT NULL"},
    ).sql
    (tree,) = sqlglot.parse(sql, read=dialect)
    assert tree is not None
    assert len(tree.selects) == len(fields)
    assert ("`orders_made_date`" in sql) == (dialect == "bigquery")
