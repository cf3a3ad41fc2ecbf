"""What is particular to one database, to both together, and to strangers' text reaching them."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import psycopg
import pytest

from runyard.tasks.datadiff import postgres
from runyard.tasks.datadiff.diff import run
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.report import as_json
from runyard.tasks.datadiff.servers import open_server
from runyard.tasks.datadiff.spec import Connection, Rule, Side, Spec


def stats(result: dict[str, Any]) -> dict[str, int]:
    return {c["column_name"]: c["values_different"] for c in result["values"]["columns_diff_stats"]}


@pytest.mark.postgres
def test_postgres_types_are_compared_by_value(in_pg: Any) -> None:
    in_pg.sql("CREATE TYPE mood AS ENUM ('ok', 'bad')", "CREATE DOMAIN posint AS integer CHECK (VALUE > 0)")
    columns = (
        "id integer, c char(5), n numeric, z timestamptz, x xml, p point, b box, m mood, d posint, by bytea, i interval, "
        'j json, a text[], u uuid, s varchar(9) COLLATE "{}"'
    )
    common = "'(1,2)', '((0,0),(1,1))', 'ok', 3, '\\x00ff', '1 day', '{\"a\":1}', '{x,NULL}', '00000000-0000-0000-0000-0000000000AB'"
    in_pg.sql(
        f"CREATE TABLE prod ({columns.format('C')})",
        f"CREATE TABLE pr ({columns.format('POSIX')})",
        f"INSERT INTO prod VALUES (1, 'ab', 1.0, '2026-01-01 00:00+00', '<a/>', {common}, 'x'), (2, 'ab', 'NaN', NULL, NULL, {common}, 'x')",
        f"INSERT INTO pr VALUES (1, 'ab   ', 1.00, '2026-01-01 02:00+02', '<a/>', {common}, 'x'), (2, 'ab ', 'NaN', NULL, NULL, {common}, 'x')",
    )
    assert in_pg.diff(key=("id",))["equal"]
    in_pg.sql(
        "UPDATE pr SET b = '((0,0),(2,0.5))', x = '<b/>', p = '(1,3)', n = 1.01, by = '\\x00' WHERE id = 1"
    )
    changed = {name for name, n in stats(in_pg.diff(key=("id",))).items() if n}
    assert changed == {"b", "x", "p", "n", "by"}  # both boxes have area 1
    with duckdb.connect() as c:
        found = c.sql(f"SELECT n__a, n__b, n__differs FROM '{in_pg.work}/diff.parquet'").fetchall()
    assert found == [("1.0", "1.01", True)]


@pytest.mark.postgres
def test_a_table_wider_than_a_select_list_is_compared(in_pg: Any) -> None:
    columns = ", ".join(f"c{i} integer" for i in range(900))
    in_pg.sql(
        f"CREATE TABLE prod (id integer, {columns})",
        f"CREATE TABLE pr (id integer, {columns})",
        "INSERT INTO prod (id, c0, c899) VALUES (1, 1, 1)",
        "INSERT INTO pr (id, c0, c899) VALUES (1, 1, 2)",
    )
    assert {k: v for k, v in stats(in_pg.diff(key=("id",))).items() if v} == {"c899": 1}


@pytest.mark.postgres
def test_two_tables_in_the_order_of_their_key_are_merged(in_pg: Any) -> None:
    in_pg.sql(
        "CREATE TABLE prod AS SELECT i AS id, i % 7 AS v FROM generate_series(1, 3000) AS g(i)",
        "ALTER TABLE prod ADD PRIMARY KEY (id)",
        "CREATE TABLE pr AS SELECT id, CASE WHEN id % 1000 = 0 THEN -1 ELSE v END AS v FROM prod WHERE id <> 5",
        "ALTER TABLE pr ADD PRIMARY KEY (id)",
        "ANALYZE prod",
        "ANALYZE pr",
    )
    server = open_server(in_pg.connection, 10.0)
    path = server.find("prod")
    assert "id" in server.sorted_by(path)
    assert server.expect_order(path, server.columns("prod")[0]) == []  # too few rows to be cut
    plan = "\n".join(r[0] for r in server.rows("EXPLAIN SELECT 1 FROM prod a FULL JOIN pr b ON a.id = b.id"))
    server.close()
    assert "Merge Full Join" in plan
    found = in_pg.diff(key=("id",))
    assert (stats(found), found["pks"]["exclusives"]) == ({"v": 3}, [1, 0])


@pytest.fixture
def merged(in_pg: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two tables in the order of their key, of which a thousand rows are worth a piece; two keys of each
    piece differ."""
    monkeypatch.setattr(postgres, "_PIECE_ROWS", 1000)
    in_pg.sql(
        "CREATE TABLE prod AS SELECT i AS id, timestamptz '2026-01-01' + i * interval '1 s' AS at, i % 7 AS v FROM generate_series(1, 9000) AS g(i)",
        "CREATE TABLE pr AS SELECT id, at, CASE WHEN id % 1500 = 0 THEN -1 ELSE v END AS v FROM prod WHERE id % 4000 <> 5",
        *(f"ALTER TABLE {t} ADD PRIMARY KEY (id)" for t in ("prod", "pr")),
        *(f"CREATE UNIQUE INDEX ON {t} (at)" for t in ("prod", "pr")),
        *(f"ALTER TABLE {t} ALTER at SET NOT NULL" for t in ("prod", "pr")),
        "ANALYZE prod",
        "ANALYZE pr",
    )
    return in_pg


@pytest.mark.postgres
@pytest.mark.parametrize("key", ["id", "at"])
def test_a_long_merge_is_cut_into_pieces_that_see_one_moment(
    merged: Any, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = open_server(merged.connection, 10.0)
    column = next(c for c in server.columns("prod") if c.name == key)
    assert len(server.expect_order(server.find("prod"), column)) == 1
    server.close()
    helped = []

    def meanwhile(self: postgres.Postgres, *given: Any) -> None:
        merged.sql("DELETE FROM pr WHERE id % 2 = 0")  # nobody in this snapshot sees it
        helped.append(given[0])
        whole(self, *given)

    whole = postgres.Postgres._help
    monkeypatch.setattr(postgres.Postgres, "_help", meanwhile)
    found = merged.diff(key=(key,))
    assert len(helped) == 1
    assert found["pks"]["total_rows"] == [9000, 8997]
    assert (stats(found)["v"], found["pks"]["exclusives"]) == (6, [3, 0])
    assert found["rows"] == {"changed": 6, "only_a": 3, "only_b": 0, "in_parquet": 9}


@pytest.mark.postgres
def test_without_a_free_connection_one_does_all_pieces(merged: Any) -> None:
    merged.sql(
        "CREATE ROLE lonely LOGIN CONNECTION LIMIT 1",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO lonely",
    )
    merged.connection = msgspec.structs.replace(merged.connection, username="lonely")
    found = merged.diff(key=("id",))
    assert (stats(found)["v"], found["pks"]["exclusives"]) == (6, [3, 0])
    merged.sql("DROP OWNED BY lonely", "DROP ROLE lonely")


@pytest.mark.postgres
def test_a_piece_that_fails_ends_the_others(merged: Any) -> None:
    rule = Rule("1 / ({a} - 3) > 100 OR {b} = -1 AND 1 / ({a} - {a}) = 1", column="v")
    with pytest.raises(CouldNot) as caught:
        merged.diff(key=("id",), rules=(rule,))
    assert (caught.value.fault, caught.value.message) == (Fault.QUERY, "PostgreSQL: division by zero.")


@pytest.mark.postgres
def test_postgres_is_only_read_whatever_the_query_tries(in_pg: Any) -> None:
    in_pg.sql(
        "CREATE TABLE t AS SELECT 1 AS id",
        "CREATE SEQUENCE seq",
        "CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'DELETE FROM t RETURNING id'",
    )
    for query in (
        "SELECT f() AS id",
        "SELECT nextval('seq') AS id",
        "WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x",
    ):
        with pytest.raises(CouldNot):
            in_pg.diff(a=Side("c", query=query), b=Side("c", table="t"), key=("id",))
    found = in_pg.diff(
        a=Side("c", query="SELECT count(*)::int AS id FROM t"), b=Side("c", table="t"), key=("id",)
    )
    assert found["equal"]


def test_duckdb_reaches_nothing_but_its_file(in_duck: Any, tmp_path: Path) -> None:
    in_duck.sql("CREATE TABLE t AS SELECT 1 AS id")
    secret = tmp_path / "secret.csv"
    secret.write_text("id\n1\n")
    for query in (
        f"SELECT * FROM read_csv('{secret}')",
        f"SELECT * FROM '{secret}'",
        "SELECT content AS id FROM read_text('/etc/passwd')",
        "SELECT file AS id FROM glob('/etc/*')",
    ):
        with pytest.raises(CouldNot) as caught:
            in_duck.diff(a=Side("c", query=query), b=Side("c", table="t"), key=("id",))
        assert "disabled" in caught.value.message or caught.value.fault is Fault.BAD_SPEC


def test_an_endless_statement_ends_at_its_time_limit(place: Any) -> None:
    place.sql("CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 30000) AS g(i)")
    endless = Side("c", query="SELECT count(*) AS id FROM t a, t b, t c WHERE a.id + b.id > c.id")
    began = time.monotonic()
    with pytest.raises(CouldNot) as caught:
        place.diff(a=endless, b=Side("c", table="t"), key=("id",), timeout_s=0.5)
    assert caught.value.fault is Fault.TIMEOUT
    assert time.monotonic() - began < 10


def test_a_diff_larger_than_its_memory_spills(in_duck: Any) -> None:
    in_duck.sql(
        "CREATE TABLE prod AS SELECT i AS id, md5(i::varchar) AS s, i % 7 AS n FROM range(600000) AS r(i)",
        "CREATE TABLE pr AS SELECT id, s || 'x' AS s, n FROM prod",
    )
    found = in_duck.diff(key=("id",), memory_bytes=120_000_000, parquet_rows=1000)
    assert stats(found) == {"s": 600_000, "n": 0}
    assert found["rows"]["in_parquet"] == 1000


def test_a_missing_or_broken_file_is_a_clear_refusal(tmp_path: Path) -> None:
    broken = tmp_path / "broken.duckdb"
    broken.write_bytes(b"not a database" * 1000)
    for file in (broken, tmp_path / "none.duckdb"):
        connection = Connection("duckdb", file=str(file))
        spec = Spec(Side("c", table="a"), Side("c", table="b"))
        with pytest.raises(CouldNot) as caught:
            run(spec, {"c": connection}, tmp_path, lambda tick: None)
        assert caught.value.fault is Fault.CONNECTION


def test_a_server_that_is_not_there_is_a_connection_fault(tmp_path: Path) -> None:
    connection = Connection(
        "postgres", host="127.0.0.1", port=1, database="x", username="u", password="hush-hush"
    )
    with pytest.raises(CouldNot) as caught:
        run(Spec(Side("c", table="a"), Side("c", table="b")), {"c": connection}, tmp_path, lambda tick: None)
    assert (caught.value.fault, caught.value.retryable) == (Fault.CONNECTION, True)
    assert "hush" not in caught.value.message


def test_parquet_and_csv_files_are_compared(tmp_path: Path) -> None:
    with duckdb.connect() as c:
        c.execute(f"COPY (SELECT i AS id, i % 5 AS v FROM range(100) r(i)) TO '{tmp_path}/a.parquet'")
        c.execute(f"COPY (SELECT i AS id, i % 5 AS v FROM range(99) r(i)) TO '{tmp_path}/b.csv'")
    spec = Spec(Side(file=f"{tmp_path}/a.parquet"), Side(file=f"{tmp_path}/b.csv"))
    found = as_json(run(spec, {}, tmp_path, lambda tick: None))
    assert (found["pks"]["exclusives"], found["key"]["columns"]) == ([1, 0], ["id"])


@pytest.mark.postgres
def test_postgres_and_duckdb_with_the_same_data_have_no_differences(in_pg: Any, in_duck: Any) -> None:
    columns = (
        "id bigint, n integer, m decimal(12,2), f double, s text, t timestamp, z timestamp with time zone, d date, ok boolean, "
        "u uuid, j json, b {binary}, free {numeric}, fixed {fixed}"
    )
    row = (
        "({i}, {i}, {i}.25, {i} / 3.0, 'a,\"b\nc', '2026-01-01 01:02:03.456', '2026-01-01 01:02:03+02', '2026-02-03', true, "
        "'00000000-0000-0000-0000-0000000000ab', '{{\"a\": 1}}', '{hex}', {i}.500, '{fixed}')"
    )
    for place, binary, numeric, fixed, hex_, padded in (
        (in_pg, "bytea", "numeric", "char(4)", "\\x00ff", "ab"),
        (in_duck, "blob", "decimal(10,3)", "varchar", "\\x00\\xff", "ab  "),
    ):
        rows = ", ".join(row.format(i=i, hex=hex_, fixed=padded) for i in range(50))
        place.sql(
            f"CREATE TABLE t ({columns.format(binary=binary, numeric=numeric, fixed=fixed)})",
            f"INSERT INTO t VALUES {rows}",
        )
    spec = Spec(Side("pg", table="t"), Side("duck", table="t"), key=("id",))
    connections = {"pg": in_pg.connection, "duck": in_duck.connection}
    found = as_json(run(spec, connections, in_pg.work, lambda tick: None))
    assert {k: v for k, v in stats(found).items() if v} == {}
    assert len(stats(found)) == 13
    assert found["equal"], found["schema"]


@pytest.mark.postgres
def test_a_query_ends_in_the_database_when_its_program_is_gone(
    in_pg: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "LOOK_FOR_CLIENT", "100ms")
    session = postgres.Postgres(in_pg.connection, 600)
    lost = socket.socket(fileno=session.connection.pgconn.socket)

    def ask() -> None:
        with suppress(CouldNot):
            session.rows("SELECT pg_sleep(600)")

    asking = threading.Thread(target=ask)
    with psycopg.connect(in_pg.url, autocommit=True) as watcher:

        def runs() -> bool:
            seen = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(600)'"
            return watcher.execute(seen).fetchone() is not None

        def until(wanted: bool) -> bool:
            return any(runs() is wanted or time.sleep(0.05) for _ in range(1200))

        asking.start()
        assert until(True)
        lost.shutdown(socket.SHUT_RDWR)  # as the kernel does for a program that was killed
        lost.detach()
        asking.join()
        assert until(False)
    session.close()
