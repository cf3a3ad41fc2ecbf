"""What is particular to MySQL and MariaDB: collations, zero dates, its booleans, its one optimiser that loses
rows, and strangers' text."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from runyard.tasks.datadiff.diff import run
from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.report import as_json
from runyard.tasks.datadiff.spec import Connection, Sampling, Side, Spec


class Shop:
    """A database of its own, for one test."""

    def __init__(self, server: Any, work: Path) -> None:
        self.name, self.work = f"t_{uuid.uuid4().hex[:10]}", work
        with server.connect() as c, c.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {self.name} CHARACTER SET utf8mb4")
        self.session = server.connect(self.name)
        self.connection = Connection(
            "mysql", host="127.0.0.1", port=server.port, database=self.name, username="root"
        )

    def sql(self, *statements: str) -> None:
        with self.session.cursor() as c:
            for s in ("SET sql_mode = ''", "SET time_zone = '+00:00'", *statements):
                c.execute(s)

    def diff(self, a: str | Side = "prod", b: str | Side = "pr", **fields: Any) -> dict[str, Any]:
        sides = [Side("c", table=s) if isinstance(s, str) else s for s in (a, b)]
        return as_json(run(Spec(*sides, **fields), {"c": self.connection}, self.work, lambda tick: None))


@pytest.fixture
def shop(mariadb: Any, tmp_path: Path) -> Iterator[Shop]:
    found = Shop(mariadb, tmp_path)
    yield found
    found.sql(f"DROP DATABASE {found.name}")
    found.session.close()


def stats(result: dict[str, Any]) -> dict[str, int]:
    return {
        c["column_name"]: c["values_different"]
        for c in result["values"]["columns_diff_stats"]
        if c["values_different"]
    }


def test_texts_are_compared_by_their_bytes_whatever_the_collation(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE prod (k varchar(20) COLLATE utf8mb4_general_ci, v varchar(20) COLLATE utf8mb4_general_ci, w varchar(9))",
        "CREATE TABLE pr (k varchar(20) COLLATE utf8mb4_unicode_ci, v varchar(20) CHARACTER SET latin1, w varchar(9))",
        "INSERT INTO prod VALUES ('a', 'x', 'é'), ('b', 'x', 'e'), ('c', 'x ', NULL), ('d', 'ü', '')",
        "INSERT INTO pr VALUES ('a', 'X', 'é'), ('B', 'x', 'e'), ('c', 'x', ''), ('d', 'ü', '')",
    )
    found = shop.diff(key=("k",))
    assert stats(found) == {"v": 2, "w": 1}
    assert found["pks"]["exclusives"] == [1, 1]  # b and B
    assert stats(shop.diff(key=("k",), ignore_case=True, null_is_empty=True)) == {"v": 1}


def test_duplicates_on_one_side_do_not_lose_rows_of_the_other(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE prod (k1 int, k2 varchar(9), v int)",
        "CREATE TABLE pr (k1 int, k2 varchar(9), v int)",
        "INSERT INTO pr VALUES (2, 'A', 1), (2, 'A', 1), (2, 'a', 1)",
    )
    found = shop.diff(key=("k1", "k2"))
    assert (found["pks"]["exclusives"], found["pks"]["dupes"], found["rows"]["only_b"]) == ([0, 2], [0, 2], 1)


def test_a_key_is_found_and_an_index_used(shop: Shop) -> None:
    for table in ("prod", "pr"):
        shop.sql(
            f"CREATE TABLE {table} (id bigint PRIMARY KEY, v varchar(20), m decimal(10,2))",
            f"INSERT INTO {table} SELECT seq, concat('v', seq), seq / 4 FROM seq_1_to_20000",
        )
    shop.sql("UPDATE pr SET m = m + 0.01 WHERE id = 7", "DELETE FROM pr WHERE id = 8")
    found = shop.diff()
    assert found["key"] == {"columns": ["id"], "source": "primary key constraint of A"}
    assert (stats(found), found["pks"]["exclusives"]) == ({"m": 1}, [1, 0])
    sampled = shop.diff(sampling=Sampling(ratio=0.5))
    assert 9000 < sampled["values"]["total_rows"] < 11_000
    assert sampled["pks"]["exclusives"] == [1, 0]
    with duckdb.connect() as c:
        found = c.sql(f"SELECT typeof(id), typeof(m__a) FROM '{shop.work}/diff.parquet' LIMIT 1").fetchall()
    assert found == [("BIGINT", "DECIMAL(10,2)")]


def test_across_to_duckdb_types_mean_the_same(shop: Shop, in_duck: Any) -> None:
    shop.sql(
        "CREATE TABLE prod (id int unsigned PRIMARY KEY, ok tinyint(1), t datetime(6), z timestamp(6) NULL DEFAULT NULL, d date, "
        "f double, r float, m decimal(38,10), by_ varbinary(9), e enum('x','y'), y year, j json, c char(5), u uuid, ti time)",
        "INSERT INTO prod VALUES (4000000000, true, '2026-01-01 00:00:00.000001', '2026-01-01 12:00:00', '2026-02-03', 0.1, 0.1, "
        "1234567890123456789012345678.0123456789, x'00ff', 'x', 2026, '{\"a\": 1}', 'ab', '00000000-0000-0000-0000-0000000000AB', '01:02:03')",
        "INSERT INTO prod (id, d) VALUES (2, '0000-00-00')",
    )
    in_duck.sql(
        "CREATE TABLE prod (id bigint, ok boolean, t timestamp, z timestamptz, d date, f double, r float, m decimal(38,10), by_ blob, "
        "e varchar, y integer, j json, c varchar, u uuid, ti time)",
        "INSERT INTO prod VALUES (4000000000, true, '2026-01-01 00:00:00.000001', '2026-01-01 14:00:00+02', '2026-02-03', 0.1, 0.1, "
        "1234567890123456789012345678.0123456789, '\\x00\\xff', 'x', 2026, '{\"a\":1}', 'ab   ', '00000000-0000-0000-0000-0000000000ab', '01:02:03')",
        "INSERT INTO prod (id, d) VALUES (2, '-infinity')",
    )
    spec = Spec(Side("my", table="prod"), Side("duck", table="prod"), key=("id",))
    connections = {"my": shop.connection, "duck": in_duck.connection}
    found = as_json(run(spec, connections, shop.work, lambda tick: None))
    assert found["schema"]["column_type_differs"] == []
    assert stats(found) == {"c": 1}  # a varchar with blanks is another text: MySQL's char came without them
    assert found["pks"]["exclusives"] == [0, 0]


def test_mysql_is_only_read_whatever_the_text_tries(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE t (id int)",
        "INSERT INTO t VALUES (1)",
        "CREATE FUNCTION f() RETURNS int MODIFIES SQL DATA BEGIN DELETE FROM t; RETURN 1; END",
    )
    table = Side("c", table="t")
    for query in (
        "SELECT f() AS id",
        "SELECT 1 AS id; DELETE FROM t",
        "DELETE FROM t",
        "SELECT * FROM t INTO OUTFILE '/tmp/x'",
        "SELECT load_file('/etc/passwd') AS id",
        "SELECT 1 AS id /*! UNION SELECT 2 */",
        "SELECT sleep(100) AS id",
    ):
        with pytest.raises(CouldNot):
            shop.diff(a=Side("c", query=query), b=table, key=("id",))
    for filter in (
        "1=1 --1) UNION SELECT 5",
        "id = '\\') OR 1=1 -- '",
        "1=1) UNION SELECT (1",
        "id IN (1) /*M! OR 1 */",
    ):
        try:
            found = shop.diff(a=Side("c", table="t", filter=filter), b=table, key=("id",))
            assert found["pks"]["total_rows"][0] <= 1
        except CouldNot as refused:
            assert refused.fault in (Fault.BAD_SPEC, Fault.QUERY)
    found = shop.diff(a=Side("c", query="SELECT count(*) AS id FROM t"), b=table, key=("id",))
    assert found["pks"]["exclusives"] == [0, 0]


def test_an_endless_statement_ends_and_a_missing_server_is_named(shop: Shop) -> None:
    shop.sql("CREATE TABLE t AS SELECT seq AS id FROM seq_1_to_3000")
    endless = Side("c", query="SELECT count(*) AS id FROM t a, t b, t c WHERE a.id + b.id > c.id")
    began = time.monotonic()
    with pytest.raises(CouldNot) as caught:
        shop.diff(a=endless, b=Side("c", table="t"), key=("id",), timeout_s=0.5)
    assert caught.value.fault is Fault.TIMEOUT
    assert time.monotonic() - began < 20
    nowhere = Connection("mysql", host="127.0.0.1", port=1, database="x", username="u", password="hush-hush")
    with pytest.raises(CouldNot) as caught:
        run(Spec(Side("c", table="a"), Side("c", table="b")), {"c": nowhere}, shop.work, lambda tick: None)
    assert (caught.value.fault, caught.value.retryable) == (Fault.CONNECTION, True)
    assert "hush" not in caught.value.message
