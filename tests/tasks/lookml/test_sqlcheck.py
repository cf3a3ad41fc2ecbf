"""The SQL validator on real databases: faults are narrowed to the dimension with file and line, and the
databases stay safe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import psycopg
import pytest

from runyard.tasks.lookml.connections import CannotConnect, Connection, connection
from runyard.tasks.lookml.databases import open_database
from runyard.tasks.lookml.language.model import models
from runyard.tasks.lookml.validators.sqlcheck import Options, TriedExplore, validate

from .conftest import BAKERY, Make

ORDERS = """view: orders {
  dimension: id { primary_key: yes sql: ${TABLE}.id ;; }
  dimension: status { sql: ${TABLE}.status ;; }
  dimension: bad {
    sql:
      UPPER(
        ${TABLE}.statuz) ;;
  }
  dimension: worse { sql: ${bad} || 'x' ;; }
  dimension: ignored { tags: ["ci: ignore"] sql: nonsense ;; }
  dimension: also_ignored { sql: nonsense -- Spectacles: ignore
  ;; }
  dimension: quiet { hidden: yes sql: ${TABLE}.nothing ;; }
}
"""
MODEL = 'connection: "shop"\ninclude: "orders.view"\nexplore: orders {}\n'
PLAIN = Options()


def run(make: Make, shop: Connection, files: dict[str, str], options: Options = PLAIN) -> list[TriedExplore]:
    return validate(models(make(files)), {"shop": shop}, options)


def test_each_failing_dimension_is_named_with_its_line(make: Make, shop: Connection) -> None:
    (tested,) = run(make, shop, {"m.model.lkml": MODEL, "orders.view.lkml": ORDERS})
    assert tested.status == "failed"
    assert tested.dimensions == 5
    found = {e.dimension: (e.file, e.line) for e in tested.errors}
    assert found == {
        "orders.bad": ("orders.view.lkml", 7),
        "orders.worse": ("orders.view.lkml", 7),
        "orders.quiet": ("orders.view.lkml", 13),
    }
    assert all("statuz" in e.message or "nothing" in e.message for e in tested.errors)
    assert all("1=2" in e.sql and "LIMIT 0" in e.sql and e.sql_line for e in tested.errors)


def test_options_of_a_suite(make: Make, shop: Connection) -> None:
    files = {"m.model.lkml": MODEL, "orders.view.lkml": ORDERS}
    (fast,) = run(make, shop, files, Options(fail_fast=True))
    assert [e.dimension for e in fast.errors] == [""]
    (quiet,) = run(make, shop, files, Options(ignore_hidden=True, chunk_size=1))
    assert {e.dimension for e in quiet.errors} == {"orders.bad", "orders.worse"}
    assert run(make, shop, files, Options(exclusions=("m/*",))) == []
    assert run(make, shop, files, Options(selectors=("other/orders",))) == []


def test_forty_bad_of_a_thousand_are_found_with_few_queries(make: Make, shop: Connection) -> None:
    fields = "".join(
        f"dimension: d{i} {{ sql: ${{TABLE}}.{'nope' if i % 250 == 7 else 'status'} ;; }}\n"
        for i in range(1000)
    )
    (tested,) = run(make, shop, {"m.model.lkml": MODEL, "orders.view.lkml": f"view: orders {{ {fields} }}"})
    assert [e.dimension for e in tested.errors] == [f"orders.d{i}" for i in (7, 257, 507, 757)]
    assert tested.queries < 100


def test_a_broken_join_is_told_once_and_the_rest_is_still_tested(make: Make, shop: Connection) -> None:
    text = """connection: "shop"
explore: orders {
  join: customers { sql_on: ${customers.id} = ${orders.customer_id} ;; }
  join: gone {
    sql_on: ${gone.id} = ${orders.id} ;;
  }
}
view: orders { dimension: id {} dimension: customer_id {} dimension: nope {} }
view: customers { dimension: id {} dimension: city {} }
view: gone { sql_table_name: no_such_table ;; dimension: id {} dimension: x {} }
"""
    (tested,) = run(make, shop, {"m.model.lkml": text})
    assert [(e.dimension, e.line) for e in tested.errors] == [("", 10), ("orders.nope", 8)]
    assert "no_such_table" in tested.errors[0].message


def test_a_missing_base_table_is_the_explores_error(make: Make, shop: Connection) -> None:
    text = 'connection: "shop"\nexplore: a {}\nview: a { sql_table_name: nowhere ;; dimension: id {} dimension: x {} }'
    (tested,) = run(make, shop, {"m.model.lkml": text})
    assert [(e.dimension, e.file, e.line) for e in tested.errors] == [("", "m.model.lkml", 3)]


def test_missing_views_are_errors_even_when_only_sql_is_validated(make: Make, shop: Connection) -> None:
    text = """connection: "shop"
explore: ghosts {
  view_name: nowhere }
explore: orders {
  join: phantoms { sql_on: ${phantoms.id} = ${orders.id} ;; } }
view: orders { dimension: id {} }
"""
    ghosts, orders = run(make, shop, {"m.model.lkml": text})
    assert (ghosts.status, orders.status) == ("failed", "failed")
    assert [(e.message, e.line) for e in (*ghosts.errors, *orders.errors)] == [
        ('unknown view "nowhere" of explore "ghosts"', 3),
        ('unknown view "phantoms" of join "phantoms"', 5),
    ]


def test_aggregates_in_dimensions_and_unresolved_references_are_errors(make: Make, shop: Connection) -> None:
    text = 'connection: "shop"\nexplore: orders {}\nview: orders { dimension: id {} dimension: s { sql: SUM(${id}) ;; }\ndimension: u { sql: ${idd} ;; } }'
    (tested,) = run(make, shop, {"m.model.lkml": text})
    assert {e.dimension: e.line for e in tested.errors} == {"orders.s": 3, "orders.u": 4}


def test_an_explore_without_dimensions_is_skipped(make: Make, shop: Connection) -> None:
    (tested,) = run(
        make,
        shop,
        {"m.model.lkml": 'connection: "shop"\nexplore: a {}\nview: a { measure: n { type: count } }'},
    )
    assert (tested.status, tested.skip_reason) == ("skipped", "no_dimensions")


@pytest.mark.parametrize(
    "sql",
    [
        "1 FROM orders; DROP TABLE orders; SELECT 1",
        "(SELECT 1 FROM orders) AS x FROM orders) ; DELETE FROM orders --",
        "(SELECT content FROM read_text('/etc/passwd'))",
        "(SELECT count(*) FROM glob('/etc/*'))",
        "pg_read_file('/etc/passwd')",
        "set_config('transaction_read_only', 'off', false)",
    ],
)
def test_hostile_sql_changes_nothing_and_reads_no_file(make: Make, shop: Connection, sql: str) -> None:
    text = f'connection: "shop"\nexplore: orders {{}}\nview: orders {{ dimension: id {{}} dimension: x {{ sql: {sql} ;; }} }}'
    (tested,) = run(make, shop, {"m.model.lkml": text})
    # A superuser may bind these; with WHERE 1=2 they never run.
    if not (shop.dialect == "postgres" and sql.startswith(("pg_", "set_config"))):
        assert tested.status == "failed"
    assert not any("root:" in e.message for e in tested.errors)
    database = open_database(shop, 5)
    assert database.bind("SELECT * FROM orders WHERE 1=2") is None
    database.close()


def test_databases_only_read(shop: Connection) -> None:
    database = open_database(shop, 5)
    for sql in (
        "DELETE FROM orders",
        "CREATE TABLE t (i INT)",
        "COPY orders TO '/tmp/x.csv'",
        "SELECT 1; SELECT 2",
        "",
        "SET threads = 8",
    ):
        refusal = database.bind(sql)
        if sql != "SET threads = 8" or shop.dialect == "duckdb":
            assert refusal is not None, sql
    if shop.dialect == "postgres":
        refusal = database.bind("WITH gone AS (DELETE FROM orders RETURNING id) SELECT * FROM gone")
        assert refusal is not None and "read-only" in refusal.message
    database.close()


def test_an_endless_query_is_stopped(shop: Connection) -> None:
    database = open_database(shop, 0.5)
    sql = (
        "SELECT pg_sleep(60)"
        if shop.dialect == "postgres"
        else "SELECT COUNT(*) FROM range(10000000) a, range(10000000) b"
    )
    refusal = database.bind(sql)
    assert refusal is not None
    assert "stopped" in refusal.message or "timeout" in refusal.message
    assert database.bind("SELECT 1 WHERE 1=2") is None
    database.close()


def test_connections_that_do_not_work_say_why_without_the_password(make: Make, tmp_path: Path) -> None:
    with pytest.raises(CannotConnect, match="no DuckDB file"):
        open_database(connection("a", {"dialect": "duckdb", "file": str(tmp_path / "none.duckdb")}), 1)
    wrong = connection("b", {"url": "postgresql://someone:sesame@127.0.0.1:1/none"})
    assert "sesame" not in repr(wrong)
    with pytest.raises(CannotConnect) as caught:
        open_database(wrong, 1)
    assert "sesame" not in str(caught.value)
    with pytest.raises(CannotConnect, match="served are duckdb, postgres, bigquery"):
        connection("c", {"dialect": "oracle"})
    (tested,) = validate(
        models(make({"m.model.lkml": 'connection: "x"\nexplore: a {}\nview: a { dimension: id {} }'})),
        {},
        Options(),
    )
    assert (tested.status, "does not exist here" in tested.problem) == ("errored", True)


def program(*argv: str, connections: object = None) -> tuple[int, str]:
    env = {**os.environ, "RUNYARD_CONNECTIONS": json.dumps(connections or {})}
    done = subprocess.run(
        [sys.executable, "-m", "runyard.tasks.lookml", *argv], env=env, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_program_writes_json_and_a_log_and_exits_by_result(tmp_path: Path, bakery_file: Path) -> None:
    out = tmp_path / "results.json"
    code, log = program("lookml", "--project", str(BAKERY), "--out", str(out))
    assert code == 0, log
    assert json.loads(out.read_text())["summary"]["explores"] == 3
    shop = {"bakery": {"dialect": "duckdb", "file": str(bakery_file)}}
    code, log = program("sql", "--project", str(BAKERY), "--out", str(out), connections=shop)
    assert code == 0, log
    assert "[2/2] ok" in log
    assert [t["status"] for t in json.loads(out.read_text())["tested"]] == ["passed", "passed"]
    code, log = program("sql", "--project", str(BAKERY), "--out", str(out))
    assert code == 2
    assert json.loads(out.read_text())["status"] == "errored"
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "m.model.lkml").write_text(
        'connection: "bakery"\nexplore: orders {}\nview: orders { dimension: nope {} }'
    )
    code, log = program("sql", "--project", str(bad), connections=shop)
    assert code == 1
    assert "orders.nope" in log and "m.model.lkml:3" in log
    code, log = program("lookml", "--project", str(tmp_path / "missing"), "--out", str(out))
    assert (code, json.loads(out.read_text())["problem"][:10]) == (2, "there is n")


def test_the_postgres_user_cannot_write_through_the_validator(
    make: Make, fresh_postgres_url: str, fill: Callable[[str], None]
) -> None:
    fill(fresh_postgres_url)
    shop = connection("shop", {"url": fresh_postgres_url})
    text = 'connection: "shop"\nexplore: a {}\nview: a { derived_table: { sql: DELETE FROM orders RETURNING id ;; } dimension: id {} }'
    (tested,) = run(make, shop, {"m.model.lkml": text})
    assert tested.status == "failed"
    with psycopg.connect(fresh_postgres_url) as check:
        assert check.execute("SELECT COUNT(*) FROM orders").fetchone() == (4,)


def test_joins_that_every_query_carries_are_part_of_the_frame(make: Make, shop: Connection) -> None:
    text = """connection: "shop"
explore: order_items {
  sql_always_where: ${orders.status} <> 'test' ;;
  join: orders { sql_on: ${orders.id} = ${order_items.order_id} ;; }
}
view: order_items { dimension: id {} dimension: order_id {} dimension: nope {} }
view: orders { dimension: id {} dimension: status {} }
"""
    (tested,) = run(make, shop, {"m.model.lkml": text})
    assert [(e.dimension, e.line) for e in tested.errors] == [("order_items.nope", 6)]
    (tested,) = run(
        make, shop, {"m.model.lkml": text.replace("view: orders {", "view: orders { sql_table_name: gone ;;")}
    )
    assert [(e.dimension, e.line) for e in tested.errors] == [("", 7)]


MEASURED = """view: orders {
  dimension: id { primary_key: yes sql: ${TABLE}.id ;; }
  dimension: bad { sql: ${TABLE}.nothing ;; }
  measure: n { type: count }
  measure: of_bad { type: max sql: ${bad} ;; }
  measure: worse { type: number sql: ${n} + nonsense ;; }
  measure: ignored { type: number tags: ["ci: ignore"] sql: nothing ;; }
  measure: quiet { type: number hidden: yes sql: not_there ;; }
}
"""


def test_measures_are_tested_when_asked_and_one_cause_is_told_once(make: Make, shop: Connection) -> None:
    files = {"m.model.lkml": MODEL, "orders.view.lkml": MEASURED}
    (plain,) = run(make, shop, files)
    assert [e.dimension for e in plain.errors] == ["orders.bad"]
    (whole,) = run(make, shop, files, Options(measures=True))
    assert (whole.dimensions, whole.measures) == (2, 4)
    assert [(e.dimension, e.line) for e in whole.errors] == [
        ("orders.bad", 3),
        ("orders.worse", 6),
        ("orders.quiet", 8),
    ]
    (shown,) = run(make, shop, files, Options(measures=True, ignore_hidden=True))
    assert [e.dimension for e in shown.errors] == ["orders.bad", "orders.worse"]


def test_a_broken_derived_table_is_told_once_and_not_by_dimension(make: Make, shop: Connection) -> None:
    fields = "".join(f"dimension: d{i} {{ sql: ${{TABLE}}.d{i} ;; }}\n" for i in range(30))
    text = f"""connection: "shop"
explore: orders {{ join: facts {{ relationship: one_to_one sql_on: ${{facts.d0}} = ${{orders.id}} ;; }} }}
explore: facts {{}}
view: orders {{ dimension: id {{}} }}
view: facts {{
  derived_table: {{
    sql: SELECT
      nothing AS d0 FROM orders ;;
  }}
  {fields} }}
"""
    orders, facts = run(make, shop, {"m.model.lkml": text})
    for tested in (orders, facts):
        assert [(e.dimension, e.line) for e in tested.errors] == [("", 8)]
    assert facts.queries < 5


def test_concurrent_sessions_give_the_same_as_one(make: Make, shop: Connection) -> None:
    explores = "".join(f"explore: e{i} {{ from: orders }}\n" for i in range(12))
    files = {
        "m.model.lkml": f'connection: "shop"\ninclude: "orders.view"\n{explores}',
        "orders.view.lkml": ORDERS,
    }
    heard: list[str] = []
    found = models(make(files))
    many = validate(found, {"shop": shop}, Options(concurrency=4), lambda t: heard.append(t.explore))
    one = validate(found, {"shop": shop}, Options(concurrency=1))
    assert many == one
    assert heard == [f"e{i}" for i in range(12)]


def test_a_query_that_takes_too_long_is_stopped_and_the_next_is_asked(make: Make, shop: Connection) -> None:
    slow = "SELECT COUNT(*) FROM generate_series(1, 100000) AS a(x), generate_series(1, 100000) AS b(y) WHERE a.x * b.y < 0"
    text = f"""connection: "shop"
explore: slow {{ sql_always_where: ({slow}) >= 0 ;; }}
view: slow {{ sql_table_name: orders ;; dimension: id {{}} measure: n {{ type: count }} }}
"""
    # `LIMIT 0` and `1=2` never run the subquery; a data query does.
    (tested,) = run(make, shop, {"m.model.lkml": text}, Options(timeout_s=1, measures=True))
    assert tested.status == "passed"
    database = open_database(shop, 0.5)
    try:
        refusal = database.bind(slow)
        assert refusal is not None
        assert any(word in refusal.message for word in ("stopped", "timeout"))
        assert database.bind("SELECT 1") is None
    finally:
        database.close()


def test_a_server_that_goes_away_is_no_error_of_the_project(
    make: Make, fresh_postgres_url: str, fill: Callable[[str], None]
) -> None:
    fill(fresh_postgres_url)
    shop = connection("shop", {"dialect": "postgres", "url": fresh_postgres_url})
    explores = "explore: orders {}\nexplore: e2 { from: orders }\nexplore: e3 { from: orders }\n"
    text = f'connection: "shop"\n{explores}view: orders {{ dimension: id {{}} }}'

    def cut(_tested: TriedExplore) -> None:
        with psycopg.connect(fresh_postgres_url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'runyard lookml'"
            )

    results = validate(models(make({"m.model.lkml": text})), {"shop": shop}, Options(concurrency=1), cut)
    assert [t.status for t in results] == ["passed", "errored", "errored"]
    assert all("was lost" in t.problem and not t.errors for t in results[1:])


def test_a_filter_that_every_measure_carries_is_told_once(make: Make, tmp_path: Path) -> None:
    """always_filter on a field whose SQL is broken: the field is told, and not the measures that cannot be
    asked because of it."""
    file = tmp_path / "a.duckdb"
    with duckdb.connect(str(file)) as made:
        made.execute("CREATE TABLE a (id INTEGER, state VARCHAR)")
    model = """connection: "x"
explore: a { always_filter: { filters: [a.state: "-test"] } }
view: a {
  dimension: id { primary_key: yes }
  dimension: state { sql: ${TABLE}.state || ;; }
  measure: count { type: count }
  measure: highest { type: max sql: ${id} ;; }
  measure: own { type: sum sql: ${TABLE}.nothing ;; }
}"""
    connections = {"x": connection("x", {"url": f"duckdb://{file}"})}
    (tested,) = validate(models(make({"m.model.lkml": model})), connections, Options(measures=True))
    assert [e.dimension for e in tested.errors] == ["a.state"]
    mended = models(make({"m.model.lkml": model.replace(" || ;;", " ;;")}))
    (tested,) = validate(mended, connections, Options(measures=True))
    assert [e.dimension for e in tested.errors] == ["a.own"]
