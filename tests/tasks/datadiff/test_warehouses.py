"""Databases that are not at hand: their SQL is parsed by sqlglot and compared with golden files, their
sessions run against a recording driver.

`GOLDEN=write pytest …` writes the files anew; read the difference before committing it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlglot

from runyard.tasks.datadiff.checksums import _sums
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.grammar import GRAMMARS, Grammar
from runyard.tasks.datadiff.kinds import Column, Kind
from runyard.tasks.datadiff.locating import Located
from runyard.tasks.datadiff.pairing import pair
from runyard.tasks.datadiff.servers import open_server
from runyard.tasks.datadiff.spec import Connection, Rule, Side, Spec, Tolerance
from runyard.tasks.datadiff.statements import Builder, Input
from runyard.tasks.datadiff.warehouses import Warehouse

GOLDEN = Path(__file__).with_name("golden")
DIALECTS = ["duckdb", "postgres", "mysql", "snowflake", "bigquery", "databricks", "redshift"]
COLUMNS = (
    Column("id", "bigint", "bigint", Kind.INTEGER),
    Column("Region's", "varchar(20)", "varchar", Kind.STRING),
    Column("price", "decimal(12,2)", "decimal", Kind.DECIMAL),
    Column("score", "double", "double", Kind.FLOAT),
    Column("made", "timestamp", "timestamp", Kind.TIMESTAMP),
    Column("code", "char(4)", "char", Kind.FIXED),
    Column("note", "text", "text", Kind.STRING),
)
SPEC = Spec(
    Side("c", table="a", filter="id > 0"),
    Side("c", table="b"),
    tolerance=Tolerance(0.001, "relative"),
    datetime_digits=3,
    ignore_case=True,
    null_is_empty=True,
    rules=(Rule("{a} = {b} OR {a} > 9", column="price"),),
)


def statements(grammar: Grammar) -> dict[str, str]:
    """One of each kind that a diff makes."""
    pairing = pair(COLUMNS, COLUMNS, ("id", "Region's"), SPEC, same=True)
    a, b = Input(grammar.path(("db", "s", "a")), "id > 0"), Input(grammar.path(("db", "s", "b")))
    builder = Builder(a, b, pairing, SPEC, grammar)
    sampled = Builder(a, b, pairing, SPEC, grammar, 0.25)
    select = ", ".join(
        [f"{builder.status} AS status"]
        + [
            f"{grammar.first_chars(grammar.as_text(f'coalesce(a.{k}, b.{k})'), 99)} AS {k}"
            for k in builder.keys
        ]
        + [f"{grammar.as_text(f'{s}.c{i}')} AS {s}{i}" for i in range(len(pairing.values)) for s in "ab"]
        + [f"CASE WHEN {flag} THEN '1' ELSE '0' END AS d{i}" for i, flag in enumerate(builder.flags)]
    )
    fake: Any = SimpleNamespace(grammar=grammar)
    return {
        "rows": builder.count("a"),
        "key counts": builder.key_counts("a"),
        "duplicates": builder.duplicate_counts(),
        "null keys": builder.bad_rows("b", "null", 25),
        "join": builder.join(select, unique=True),
        "join without duplicates": builder.join(select, unique=False),
        "join of a sample": sampled.join(select, unique=True),
        "sampled rows": sampled.sampled_rows(unique=True),
        "checksums": _sums(Located(fake, a, COLUMNS), pairing, "a", 64, 1, None),
        "checksums of a second round": _sums(Located(fake, a, COLUMNS), pairing, "a", 64, 8, [3, 5]),
        "rows of duplicates": builder.compared_duplicates(),
        "duplicates of a side": f"SELECT * FROM {a.relation} AS t WHERE {builder.is_duplicate('a')}",
        "timeline": f"SELECT {grammar.since('made', 'week')} AS at_, count(*) FROM {a.relation} GROUP BY 1",
    }


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_sql_is_the_golden_one_and_sqlglot_parses_it(dialect: str) -> None:
    made = statements(GRAMMARS[dialect])
    for name, sql in made.items():
        trees = sqlglot.parse(sql, dialect=dialect)
        assert len(trees) == 1, name
        assert not sqlglot.transpile(sql, read=dialect, write=dialect)[0].startswith("Command"), name
    text = "".join(f"-- {name}\n{sql};\n" for name, sql in made.items())
    file = GOLDEN / f"{dialect}.sql"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(text)
    assert text == file.read_text()


def test_time_travel_is_for_those_who_can() -> None:
    assert GRAMMARS["snowflake"].as_of(60) == " AT (OFFSET => -60)"
    assert GRAMMARS["bigquery"].as_of("2026-01-01") == " FOR SYSTEM_TIME AS OF TIMESTAMP('2026-01-01')"
    assert GRAMMARS["databricks"].as_of("2026-01-01") == " TIMESTAMP AS OF '2026-01-01'"
    for dialect in ("duckdb", "postgres", "mysql", "redshift"):
        assert GRAMMARS[dialect].as_of(None) == ""
        with pytest.raises(CouldNot):
            GRAMMARS[dialect].as_of(60)


class Recorder:
    """A DB-API connection that remembers what it was told and answers from a table of answers."""

    def __init__(self, answers: dict[str, list[tuple[Any, ...]]], description: list[tuple[Any, ...]]) -> None:
        self.answers, self.description = answers, description
        self.told: list[str] = []
        self.given: dict[str, Any] = {}
        self.closed = False
        self.left: list[tuple[Any, ...]] = []

    def connect(self, **given: Any) -> Recorder:
        self.given = given
        return self

    def cursor(self) -> Recorder:
        return self

    def execute(self, sql: str) -> None:
        self.told.append(sql)
        if "boom" in sql:
            raise RuntimeError("statement timed out")
        self.left = next((rows for part, rows in self.answers.items() if part in sql), [])

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.left

    def fetchmany(self, count: int) -> list[tuple[Any, ...]]:
        rows, self.left = self.left[:count], self.left[count:]
        return rows

    def close(self) -> None:
        self.closed = True


TABLES = {"INFORMATION_SCHEMA": [("PUBLIC", "ORDERS"), ("PUBLIC", "Other")]}


def open_with(
    monkeypatch: pytest.MonkeyPatch, module: str, recorder: Recorder, where: Connection
) -> Warehouse:
    """Opens a session with a driver of ours in the place of the vendor's."""
    monkeypatch.setitem(sys.modules, module, recorder)  # type: ignore[arg-type]
    opened = open_server(where, 60.0)
    assert isinstance(opened, Warehouse)
    return opened


def test_a_snowflake_session_has_its_limits_formats_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    description = [
        ("ID", 0, None, None, 38, 0, True),
        ("M", 0, None, None, 12, 2, True),
        ("V", 5, None, None, None, None, True),
    ]
    recorder = Recorder(TABLES | {"rows_": [(1, None, 'say "hi"')]}, description)
    where = Connection(
        "snowflake", account="acc", username="u", password="hush", database="DB", warehouse="W"
    )
    opened = open_with(monkeypatch, "snowflake.connector", recorder, where)
    session = recorder.given["session_parameters"]
    assert session["STATEMENT_TIMEOUT_IN_SECONDS"] == 60
    assert (session["TIMEZONE"], session["MULTI_STATEMENT_COUNT"]) == ("UTC", 1)
    assert opened.find("orders") == ("DB", "PUBLIC", "ORDERS")  # dbt's lower case
    assert opened.find("public.Other") == ("DB", "PUBLIC", "Other")
    with pytest.raises(CouldNot):
        opened.find("nowhere")
    columns = opened.columns('"DB"."PUBLIC"."ORDERS"')
    assert [(c.exact, c.kind) for c in columns] == [
        ("NUMBER(38,0)", Kind.INTEGER),
        ("NUMBER(12,2)", Kind.DECIMAL),
        ("VARIANT", Kind.JSON),
    ]
    assert opened.outgoing("x", columns[1], False) == ("TO_VARCHAR(x)", "DECIMAL(12, 2)")
    sink = SimpleNamespace(rows=0, data=b"", write=lambda data: setattr(sink, "data", sink.data + data))
    opened.stream(["SELECT rows_"], ["a", "b", "c"], sink)
    assert (sink.rows, sink.data) == (1, b'"1",,"say ""hi"""\n')
    with pytest.raises(CouldNot) as caught:
        opened.rows("SELECT boom")
    assert caught.value.fault is Fault.TIMEOUT
    opened.close()
    assert recorder.closed


def test_a_redshift_session_is_read_only_and_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder({}, [("id", 20, None, None, None, None, None), ("m", 1700, None, None, 12, 2, None)])
    where = Connection("redshift", host="h", database="db", username="u", password="hush")
    opened = open_with(monkeypatch, "redshift_connector", recorder, where)
    assert recorder.given["port"] == 5439
    assert recorder.told[0] == "BEGIN READ ONLY"
    assert "SET statement_timeout TO 60000" in recorder.told
    assert [c.exact for c in opened.columns("t")] == ["bigint", "numeric(12,2)"]


def test_a_databricks_session_keeps_its_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(
        {}, [("id", "bigint", None, None, None, None, None), ("m", "decimal", None, None, 9, 1, None)]
    )
    where = Connection("databricks", host="h", http_path="/sql", token="hush")
    opened = open_with(monkeypatch, "databricks.sql", recorder, where)
    recorder.answers["SHOW TABLES IN `hive_metastore`.`default`"] = [("default", "orders", False)]
    assert opened.find("hive_metastore.default.Orders") == ("hive_metastore", "default", "orders")
    assert recorder.given["session_configuration"]["statement_timeout"] == "60"
    assert [(c.exact, c.kind) for c in opened.columns("t")] == [
        ("bigint", Kind.INTEGER),
        ("decimal(9,1)", Kind.DECIMAL),
    ]


def test_bigquery_columns_come_from_the_jobs_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    from runyard.tasks.datadiff.warehouses import _bigquery_column

    def field(
        name: str, type: str, mode: str = "NULLABLE", precision: int | None = None, scale: int | None = None
    ) -> Any:
        return SimpleNamespace(name=name, field_type=type, mode=mode, precision=precision, scale=scale)

    found = [
        _bigquery_column(f)
        for f in (
            field("i", "INTEGER"),
            field("n", "NUMERIC"),
            field("p", "NUMERIC", precision=9, scale=2),
            field("a", "STRING", "REPEATED"),
        )
    ]
    assert [(c.exact, c.kind) for c in found] == [
        ("INT64", Kind.INTEGER),
        ("NUMERIC(38,9)", Kind.DECIMAL),
        ("NUMERIC(9,2)", Kind.DECIMAL),
        ("ARRAY<STRING>", Kind.ARRAY),
    ]


@pytest.mark.parametrize("dialect", ["snowflake", "bigquery", "databricks", "redshift"])
def test_without_its_driver_a_warehouse_says_what_to_install(dialect: str) -> None:
    with pytest.raises(CouldNot) as caught:
        open_server(Connection(dialect), 1.0)
    assert f"runyard[{dialect}]" in caught.value.message


def test_an_unknown_database_is_refused_by_name() -> None:
    with pytest.raises(CouldNot) as caught:
        open_server(Connection("oracle"), 1.0)
    assert "snowflake" in caught.value.message
