"""LookML on a warehouse's own driver: Snowflake's connector against fakesnow, Redshift's against PostgreSQL
behind a proxy. BigQuery has no such stand-in.

The drivers live in an environment of their own (`constraints/looker/warehouses.txt`); `warehouse_session.py`
runs there.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

pytestmark = pytest.mark.client

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".clients/looker/warehouses/bin/python"
MODEL = """
connection: "c"
week_start_day: sunday
explore: orders { join: items { relationship: one_to_many sql_on: ${orders.id} = ${items.order_id} ;; } }
view: orders {
  dimension: id { primary_key: yes type: number }
  dimension: status {}
  dimension: broken { sql: ${TABLE}.nowhere ;; }
  dimension_group: made { type: time sql: ${TABLE}.made_at ;; timeframes: [raw, date, month, year, day_of_month] }
  TIMES
  measure: count { type: count }
  measure: total { type: sum sql: ${TABLE}.price ;; }
  measure: mean { type: average sql: ${TABLE}.price ;; }
}
view: items {
  dimension: id { primary_key: yes type: number }
  dimension: order_id { type: number }
  measure: count { type: count }
}
test: total_is_right {
  explore_source: orders { column: total { field: orders.total } column: n { field: orders.count } }
  assert: sum { expression: ${orders.total} = 60.75 ;; }
  assert: wrong { expression: ${orders.count} = 99 ;; }
}
"""
STATEMENTS = [
    "CREATE TABLE orders (id INT, status VARCHAR(9), price DECIMAL(10, 2), made_at TIMESTAMP)",
    "INSERT INTO orders VALUES (1, 'paid', 10.50, '2024-05-06 07:08:09'), (2, 'open', 20.25, '2024-06-07 01:02:03'), (3, 'paid', 30.00, '2024-06-09 23:59:59')",
    "CREATE TABLE items (id INT, order_id INT)",
    "INSERT INTO items VALUES (1, 1), (2, 1), (3, 1), (4, 2)",
]
QUERIES = {
    "plain": ["orders.made_month", "orders.count", "orders.total"],
    "fan out": ["orders.status", "orders.count", "items.count"],
}


def run(folder: Path, model: str, queries: dict[str, list[str]], *argv: str) -> dict[str, Any]:
    if not PYTHON.exists():
        pytest.skip("LOUD: the warehouses' drivers were NOT tested: run `make clients`")
    (folder / "m.model.lkml").write_text(model)
    (folder / "spec.json").write_text(
        json.dumps({"statements": STATEMENTS, "queries": queries, "measures": "sums" in queries})
    )
    script = Path(__file__).with_name("warehouse_session.py")
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HOME": str(folder)}
    done = subprocess.run(
        [str(PYTHON), str(script), argv[0], str(folder), *argv[1:]],
        env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check(found: dict[str, Any]) -> None:
    """The one broken dimension is found at its line, the one wrong assert fails, and sums are those of the
    table."""
    (tested,) = found["sql"]["tested"]
    assert [(e["dimension"], e["file"], e["line"]) for e in tested["errors"]] == [
        ("orders.broken", "m.model.lkml", 8)
    ], tested["errors"]
    (test,) = found["assert"]["tested"]
    assert [e["assertion"] for e in test["errors"]] == ["wrong"], test
    assert sorted((m, n, float(t)) for m, n, t in found["plain"]) == [
        ("2024-05", "1", 10.5),
        ("2024-06", "2", 50.25),
    ]


def test_snowflakes_own_connector(tmp_path: Path) -> None:
    """Without sums over repeated rows: fakesnow's translation breaks SUM(DISTINCT …), which
    `test_warehouse_values` computes instead."""
    times = "dimension_group: at { type: time sql: ${TABLE}.made_at ;; timeframes: [raw, week, day_of_week, quarter, hour6] }"
    queries = {**QUERIES, "times": ["orders.id", "orders.at_week", "orders.at_day_of_week", "orders.at_quarter", "orders.at_hour6"]}  # fmt: skip
    found = run(tmp_path, MODEL.replace("TIMES", times), queries, "snowflake")
    check(found)
    assert sorted(found["fan out"]) == [["open", "1", "1"], ["paid", "2", "3"]]
    assert sorted(found["times"]) == [
        ["1", "2024-05-05", "Monday", "2024-04", "2024-05-06 06"],
        ["2", "2024-06-02", "Friday", "2024-04", "2024-06-07 00"],
        ["3", "2024-06-09", "Sunday", "2024-04", "2024-06-09 18"],
    ]


def test_redshifts_own_connector(tmp_path: Path, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as made:
        made.execute("DROP SCHEMA IF EXISTS red CASCADE")
        made.execute("CREATE SCHEMA red")
        made.execute("SET search_path TO red")
        for statement in STATEMENTS:
            made.execute(statement.encode())
        # Redshift has it; PostgreSQL does not.
        made.execute("CREATE FUNCTION red.strtol(t text, b int) RETURNS numeric IMMUTABLE LANGUAGE sql AS $$ SELECT ('x' || lpad(t, 16, '0'))::bit(64)::bigint::numeric $$")  # fmt: skip
    where = urlsplit(postgres_url)
    model = MODEL.replace("TIMES", "dimension: even { type: yesno sql: ${id} % 2 = 0 ;; }")
    queries = {**QUERIES, "sums": ["orders.status", "orders.total", "orders.mean", "items.count"]}
    found = run(
        tmp_path, model, queries, "redshift",
        str(where.hostname), str(where.port), where.path.lstrip("/"), str(where.username),
    )  # fmt: skip
    check(found)
    assert sorted((s, float(t), float(a), n) for s, t, a, n in found["sums"]) == [
        ("open", 20.25, 20.25, "1"),
        ("paid", 40.5, 20.25, "3"),
    ]
