"""Sessions of BigQuery, Snowflake and Redshift against drivers that remember: what is planned, run, refused
and closed, and what addresses mean."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from runyard.tasks.lookml.connections import CannotConnect, connection
from runyard.tasks.lookml.databases import Refusal, Rows, open_database
from runyard.tasks.lookml.warehouse import not_one_select


class OperationalError(Exception):
    """Named as the drivers name theirs."""


class Found(list[dict[str, int]]):
    """BigQuery's rows, with their schema."""

    schema = (SimpleNamespace(name="a_b"),)

    def __init__(self) -> None:
        super().__init__([{"a_b": 1}, {"a_b": 2}])


class Driver:
    """A DB-API driver, connection and cursor in one; `answer` is given rows or an exception to raise."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.given: dict[str, Any] = {}
        self.answer: Any = []
        self.description = [("a.b", 1)]
        self.paramstyle = "format"

    def connect(self, **given: Any) -> Driver:
        self.given = given
        return self

    def cursor(self) -> Driver:
        return self

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, sql: str) -> None:
        self.told.append(sql)
        if isinstance(self.answer, Exception) and sql.startswith("SELECT"):
            raise self.answer

    def describe(self, sql: str) -> None:
        self.execute(sql)
        self.told[-1] = f"describe {sql}"

    def fetchmany(self, count: int) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self.answer[:count]
        return rows

    def rollback(self) -> None:
        self.told.append("rollback")

    def close(self) -> None:
        self.told.append("close")


@pytest.fixture
def snowflake(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    monkeypatch.setitem(sys.modules, "snowflake.connector", driver)  # type: ignore[arg-type]
    return driver


SNOW = {"dialect": "snowflake", "account": "acme", "username": "u", "password": "hush-hush", "database": "D"}


def test_snowflake_plans_without_running_and_places_its_refusals(snowflake: Driver) -> None:
    database = open_database(connection("snow", {**SNOW, "warehouse": "W", "role": "R"}), 60)
    given = snowflake.given
    assert (given["account"], given["warehouse"], given["role"]) == ("acme", "W", "R")
    assert given["session_parameters"]["STATEMENT_TIMEOUT_IN_SECONDS"] == 60
    assert database.bind("SELECT 1") is None
    assert snowflake.told[-1] == "describe SELECT 1"
    snowflake.answer = [(1,), (2,), (3,)]
    assert database.run("SELECT x", 2) == Rows(("a.b",), [(1,), (2,)], True)
    snowflake.answer = ValueError("000904 (42000): SQL compilation error: error line 2 at position 7\ninvalid identifier 'Y'")  # fmt: skip
    refusal = database.bind("SELECT\n  1, y")
    assert refusal is not None
    assert (refusal.line, refusal.column, "invalid identifier" in refusal.message) == (2, 8, True)
    snowflake.answer = OperationalError("250001: Could not connect; password hush-hush was used")
    with pytest.raises(CannotConnect, match=r"password \[masked\]"):
        database.bind("SELECT 1")
    database.close()
    assert snowflake.told[-1] == "close"


def test_redshift_begins_anew_after_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setitem(sys.modules, "redshift_connector", driver)  # type: ignore[arg-type]
    wanted = connection("red", {"url": "redshift://u:p@h/db?schema=sales"})
    database = open_database(wanted, 30)
    assert driver.given["port"] == 5439
    assert driver.told[:3] == ["BEGIN READ ONLY", 'SET search_path TO "sales"', "SET statement_timeout TO 30000"]  # fmt: skip
    driver.answer = OperationalError({"M": 'column "z" does not exist', "C": "42703", "P": "12"})
    driver.told.clear()
    assert database.bind("SELECT 1,\n z") == Refusal('column "z" does not exist', 2, 2)
    assert driver.told[:3] == ["SELECT 1,\n z", "rollback", "BEGIN READ ONLY"]
    driver.answer = OperationalError({"M": "canceling statement", "C": "57014"})
    assert database.bind("SELECT 1") == Refusal("the query was stopped after 30 s")
    assert driver.paramstyle == "qmark"  # `x % 2` is no parameter


def test_bigquery_plans_by_a_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []

    class Config:
        def __init__(self, **given: Any) -> None:
            self.__dict__.update(given)

    class Client:
        def __init__(self, **given: Any) -> None:
            self.given = given
            self.problem = ""

        def query(self, sql: str, job_config: Any = None) -> Any:
            asked.append((sql, job_config))
            if "boom" in sql:
                raise ValueError("400 POST: Unrecognized name: boom at [1:8]")
            found = Found()
            return SimpleNamespace(result=lambda max_results, timeout: found)

        def close(self) -> None:
            asked.append(("close", None))

    module = SimpleNamespace(Client=Client, QueryJobConfig=Config)
    monkeypatch.setitem(sys.modules, "google.cloud.bigquery", module)  # type: ignore[arg-type]
    database: Any = open_database(connection("big", {"url": "bigquery://acme/shop?location=EU"}), 5)
    client = database._connection
    assert (client.given["project"], client.given["location"]) == ("acme", "EU")
    config = client.given["default_query_job_config"]
    assert (config.default_dataset, config.job_timeout_ms) == ("acme.shop", 5000)
    assert database.bind("SELECT 1") is None
    assert asked[-1][1].dry_run is True
    assert database.run("SELECT 1", 1) == Rows(("a_b",), [(1,)], True)
    refusal = database.bind("SELECT boom")
    assert refusal is not None
    assert (refusal.line, refusal.column) == (1, 8)
    database.close()
    assert asked[-1][0] == "close"


@pytest.mark.parametrize(
    ("sql", "dialect", "is_fine"),
    [
        ("SELECT 1;", "bigquery", True),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "snowflake", True),
        ("SELECT ';' AS \"a;b\" -- ;", "redshift", True),
        ("SELECT 1; DROP TABLE x", "bigquery", False),
        ("DELETE FROM x", "snowflake", False),
        ("/* SELECT */ CREATE TABLE x (a INT)", "redshift", False),
        ("SELECT 'open", "redshift", False),
        ("", "bigquery", False),
    ],
)
def test_only_one_select_is_sent(sql: str, dialect: Any, is_fine: bool, snowflake: Driver) -> None:
    assert (not_one_select(sql, dialect) == "") is is_fine
    database = open_database(connection("s", SNOW), 1)
    snowflake.told.clear()
    if not is_fine and dialect == "snowflake":
        assert isinstance(database.run(sql, 1), Refusal)
        assert snowflake.told == []


def test_addresses_and_rows_mean_the_same() -> None:
    found = connection("s", {"url": "snowflake://me:p%40ss@acme-eu/DB/PUBLIC?warehouse=WH&role=R"})
    assert (found.dialect, found.options, found.username, found.password) == (
        "snowflake", {"account": "acme-eu", "warehouse": "WH", "role": "R"}, "me", "p@ss",
    )  # fmt: skip
    assert (found.database, found.schema) == ("DB", "PUBLIC")
    assert "p@ss" not in repr(found)
    assert connection("b", {"dialect": "bigquery_standard_sql", "project": "p"}).dialect == "bigquery"
    assert connection("d", {"url": "duckdb:///a?b/c.duckdb"}).file == "/a?b/c.duckdb"
    assert connection("p", {"url": "postgres://h/db?sslmode=require&schema=s"}).sslmode == "require"
    assert connection("p", {"url": "postgres://h/db?written=snowflake"}).written == "snowflake"
    with pytest.raises(CannotConnect, match="transpiled for duckdb and postgres"):
        connection("b", {"url": "bigquery://p/d?written=snowflake"})


@pytest.mark.parametrize("dialect", ["snowflake", "bigquery", "redshift"])
def test_without_its_driver_a_warehouse_says_what_to_install(dialect: str) -> None:
    with pytest.raises(CannotConnect, match=rf"install runyard\[{dialect}\]"):
        open_database(connection("c", {"dialect": dialect}), 1)
