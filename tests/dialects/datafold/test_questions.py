"""What is asked of a data source: test, query, columns, keys. All of it runs as a step; the server itself
opens nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from runyard.dialects.datafold import sources
from runyard.model.work import Connection
from runyard.tasks.datadiff.spec import read_connections


@pytest.fixture
def source(house: Any) -> int:
    return int(
        house.warehouse(
            "CREATE TABLE orders (order_id INTEGER, line INTEGER, day DATE, total DECIMAL(10, 2), note VARCHAR)",
            "INSERT INTO orders SELECT i // 2, i % 2, DATE '2026-01-01', i // 2 + 0.25, 'x' FROM range(10) r(i)",
            "CREATE TABLE keyed (k VARCHAR PRIMARY KEY, v INTEGER)",
        )
    )


def asked(house: Any, path: str, body: Any) -> Any:
    """A call that waits for its answer, with its job run beside it."""

    async def both() -> Any:
        call = asyncio.to_thread(_in_thread, house, path, body)
        task = asyncio.create_task(_async(call))
        for _ in range(200):
            await asyncio.sleep(0.02)
            house.work()
            if task.done():
                break
        return await task

    return asyncio.run(both())


async def _async(call: Any) -> Any:
    return await call


def _in_thread(house: Any, path: str, body: Any) -> Any:
    return house.call("POST", f"/api/v1/data_sources/{path}", body)


def test_a_query_answers_rows_and_columns(house: Any, source: int) -> None:
    sql = "SELECT order_id, sum(total) AS total, min(day) AS day, count(*) AS n, 1 AS n FROM orders GROUP BY order_id ORDER BY 1 LIMIT 1"
    answer = asked(house, f"{source}/query", {"query": sql})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["rows"] == [{"order_id": 0, "total": 0.5, "day": "2026-01-01", "n": 2, "n_1": 1}]
    assert [(c["name"], c["type"]) for c in found["columns"]][:3] == [
        ("order_id", "integer"),
        ("total", "decimal"),
        ("day", "date"),
    ]
    assert found["truncated"] is False


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE orders",
        "SELECT 1; SELECT 2",
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY orders TO '/tmp/x.csv'",
        "ATTACH '/tmp/other.db'",
        "SELECT * FROM nothing",
        "select",
        "INSERT INTO orders VALUES (1, 1, NULL, 1, '')",
    ],
)
def test_a_query_that_is_no_plain_select_is_refused(house: Any, source: int, sql: str) -> None:
    answer = asked(house, f"{source}/query", {"query": sql})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), (
        answer.text
    )
    assert "root:" not in answer.text


def test_more_rows_than_are_shown_are_cut(house: Any, source: int) -> None:
    found = asked(house, f"{source}/query", {"query": "SELECT * FROM range(20000)"}).json()
    assert (len(found["rows"]), found["truncated"]) == (10_000, True)


def test_keys_are_proposed(house: Any, source: int) -> None:
    assert asked(house, f"{source}/guess_pk", {"table": ["keyed"], "candidates": 1}).json() == {
        "candidates": [{"pk": ["k"]}]
    }
    found = asked(house, f"{source}/guess_pk", {"table": ["orders"], "candidates": 3}).json()
    assert found["candidates"][0] == {"pk": ["order_id", "line"]}
    avoided = asked(
        house, f"{source}/guess_pk", {"table": ["keyed"], "candidates": 3, "avoid_names": ["K"]}
    ).json()
    assert {"pk": ["k"]} not in avoided["candidates"]
    assert "error" in asked(house, f"{source}/guess_pk", {"table": ["nothing"], "candidates": 1}).json()


def test_columns_of_a_table_are_polled_for(house: Any, source: int) -> None:
    task = house.ok("POST", f"data_sources/{source}/dataset_schema", {"table": ["main", "orders"]})["task_id"]
    path = f"data_sources/{source}/dataset_schema/{task}"
    assert house.ok("GET", path) == {"status": "queued", "result": None}
    house.work()
    found = house.ok("GET", path)
    assert found["status"] == "done"
    assert [c["name"] for c in found["result"]["columns"]] == ["order_id", "line", "day", "total", "note"]
    gone = house.ok("POST", f"data_sources/{source}/dataset_schema", {"table": ["gone"]})["task_id"]
    house.work()
    failed = house.ok("GET", f"data_sources/{source}/dataset_schema/{gone}")
    assert (failed["status"], "gone" in failed["result"]["error"]) == ("failed", True)
    for wrong in (f"{source}/dataset_schema/99", f"99/dataset_schema/{task}", f"{source}/test/{task}"):
        assert house.call("GET", f"/api/v1/data_sources/{wrong}").status_code == 404


def test_a_connection_is_tested_step_by_step(house: Any, source: int) -> None:
    job = house.ok("POST", f"data_sources/{source}/test")["job_id"]
    assert house.ok("GET", f"data_sources/{source}/test/{job}") == {
        "id": job,
        "status": "queued",
        "results": [],
    }
    house.work()
    found = house.ok("GET", f"data_sources/{source}/test/{job}")
    assert [(r["step"], r["status"], r["result"]["code"]) for r in found["results"]] == [
        ("connection", "done", "ok"),
        ("temp_schema", "done", "skip"),
        ("schema_download", "done", "ok"),
    ]
    assert house.ok("GET", f"data_sources/{source}")["last_test"]["results"] == found["results"]
    bad = house.ok(
        "POST", "data_sources", {"name": "gone", "type": "duckdb", "options": {"path": "/nowhere.duckdb"}}
    )["id"]
    job = house.ok("POST", f"data_sources/{bad}/test")["job_id"]
    house.work()
    (step,) = house.ok("GET", f"data_sources/{bad}/test/{job}")["results"]
    assert (step["status"], step["result"]["code"]) == ("failed", "error")


def test_without_a_free_runner_a_waiting_call_is_told_to_come_again(
    house: Any, source: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runyard.dialects.datafold.routes_sources.PATIENCE_S", 0.1)
    answer = house.call("POST", f"/api/v1/data_sources/{source}/query", {"query": "SELECT 1"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert house.work() == 0  # nobody goes on looking for it


def test_unknown_sources_and_parameters(house: Any, source: int) -> None:
    assert house.call("POST", "/api/v1/data_sources/99/query", {"query": "SELECT 1"}).status_code == 404
    assert house.call("POST", "/api/v1/data_sources/99/test").status_code == 404


def test_parameters_take_the_places_of_placeholders(house: Any, source: int) -> None:
    sql = "SELECT ? AS a, '?' AS b, count(*) AS n FROM orders WHERE order_id >= ? -- ?"
    hostile = "x' OR '1'='1"
    found = asked(house, f"{source}/query", {"query": sql, "params": [hostile, "1"]}).json()
    assert found["rows"] == [{"a": hostile, "b": "?", "n": found["rows"][0]["n"]}]
    numbered = {"query": "SELECT $2 AS a, $1 AS b, $2 AS c", "params": ["x", "y"]}
    assert asked(house, f"{source}/query", numbered).json()["rows"] == [{"a": "y", "b": "x", "c": "y"}]


@pytest.mark.parametrize(
    ("sql", "params"),
    [("SELECT 1", ["x"]), ("SELECT ?, ?", ["x"]), ("SELECT $2", ["x", "y"]), ("SELECT 'x", ["x"])],
)
def test_parameters_that_do_not_fit_are_refused(house: Any, source: int, sql: str, params: list[str]) -> None:
    answer = asked(house, f"{source}/query", {"query": sql, "params": params})
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    ("type", "options", "expected"),
    [
        ("mysql", {"host": "h", "user": "u", "db": "d", "password": "p"}, {"dialect": "mysql", "port": 3306, "username": "u", "database": "d", "password": "p"}),
        ("mariadb", {"host": "h", "user": "u", "db": "d", "port": 3307}, {"dialect": "mariadb", "port": 3307}),
        ("redshift", {"host": "h", "user": "u", "dbname": "d", "schema": "s"}, {"dialect": "redshift", "port": 5439, "schema": "s"}),
        ("snowflake", {"account": "a", "user": "u", "private_key_pem": "k", "schema": "s", "role": "r"}, {"account": "a", "username": "u", "private_key_pem": "k", "schema": "s", "role": "r"}),
        ("bigquery", {"project": "p", "service_account_json": "{}"}, {"project": "p", "service_account_json": "{}"}),
        ("databricks", {"host": "h", "http_path": "/x", "token": "t"}, {"http_path": "/x", "token": "t"}),
    ],
)  # fmt: skip
def test_options_of_a_data_source_are_what_its_program_reads(
    house: Any, type: str, options: Any, expected: Any
) -> None:
    id = house.ok("POST", "data_sources", {"name": "x", "type": type, "options": options})["id"]
    assert house.ok("GET", f"data_sources/{id}/summary")["type"] == type
    row = house.write(lambda tx: tx.get(Connection, id))
    secrets = json.loads(house.services.vault.open(row.sealed)) if row.sealed else {}
    assert not set(secrets) & set(row.settings)
    told = {"x": {**sources.for_job(row).settings, **secrets}}
    found = read_connections(json.dumps(told))["x"]
    assert {name: getattr(found, name) for name in expected} == expected
