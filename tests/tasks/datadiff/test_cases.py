"""The rules one by one, on both databases: schemas, keys, equality, names, limits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlglot import exp

from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.grammar import DUCKDB, GRAMMARS
from runyard.tasks.datadiff.names import path_of
from runyard.tasks.datadiff.spec import Side, Tolerance


def stats(result: dict[str, Any]) -> dict[str, int]:
    return {c["column_name"]: c["values_different"] for c in result["values"]["columns_diff_stats"]}


def refused(place: Any, **fields: Any) -> CouldNot:
    with pytest.raises(CouldNot) as caught:
        place.diff(**fields)
    return caught.value


def test_added_removed_retyped_resized_and_moved_columns_are_told(place: Any) -> None:
    place.sql(
        "CREATE TABLE prod (id integer, gone text, n integer, m decimal(10,2), s text, t text)",
        "CREATE TABLE pr (id integer, s text, t text, n text, m decimal(12,3), fresh integer, more text)",
        "INSERT INTO prod VALUES (1, 'x', 1, 1.50, 's', 't')",
        "INSERT INTO pr VALUES (1, 's', 't', '1', 1.5, 7, '')",
    )
    found = place.diff(key=("id",))
    assert found["schema"] | {"types": None} == {
        "columns_mismatched": [2, 3],
        "column_type_mismatches": 1,
        "column_reorders": 2,
        "column_counts": [6, 7],
        "column_type_differs": ["n"],
        "exclusive_columns": [["gone"], ["fresh", "more"]],
        "types": None,
    }
    assert [(t["column_name"], t["compared"]) for t in found["schema"]["types"]] == [
        ("n", False),
        ("m", True),
    ]
    assert stats(found) == {"m": 0, "s": 0, "t": 0}
    assert (found["result"], found["equal"]) == ("different", False)


def test_equal_tables_are_identical_and_two_empty_ones_are_empty(place: Any) -> None:
    place.sql("CREATE TABLE prod (id integer, n integer)", "CREATE TABLE pr (id integer, n integer)")
    assert place.diff(key=("id",))["result"] == "empty"
    place.sql("INSERT INTO prod VALUES (1, 2)", "INSERT INTO pr VALUES (1, 2)")
    found = place.diff(key=("id",))
    assert (found["result"], found["equal"], found["match_score"]) == ("identical", True, 1.0)


def test_the_match_score_is_the_documented_one(place: Any) -> None:
    columns = ", ".join(f"c{i} integer" for i in range(9))
    zeros = ", ".join("0" for _ in range(9))
    place.sql(
        f"CREATE TABLE prod (id bigint, {columns})",
        f"INSERT INTO prod SELECT i, {zeros} FROM generate_series(1, 100) AS g(i)",
        "CREATE TABLE pr AS SELECT * FROM prod",
        "UPDATE pr SET c1 = 1 WHERE id <= 4",
    )
    assert place.diff(key=("id",))["match_score"] == pytest.approx(0.996)  # contracts/datafold.md §8.7


def test_a_composite_key_is_never_glued_together(place: Any) -> None:
    place.sql(
        "CREATE TABLE prod (a text, b text, v integer)",
        "INSERT INTO prod VALUES ('1', '11', 1), ('11', '1', 2), ('', 'x', 3), ('x', '', 4)",
        "CREATE TABLE pr AS SELECT * FROM prod",
    )
    found = place.diff(key=("a", "b"))
    assert (found["equal"], found["pks"]["dupes"], found["pks"]["distincts"]) == (True, [0, 0], [4, 4])


def test_null_and_duplicate_keys_are_reported_and_taken_out(place: Any) -> None:
    place.sql(
        "CREATE TABLE prod (id integer, v integer)",
        "CREATE TABLE pr (id integer, v integer)",
        "INSERT INTO prod VALUES (1, 1), (2, 2), (2, 3), (NULL, 4), (5, 5), (6, 6), (6, 6)",
        "INSERT INTO pr VALUES (1, 9), (2, 2), (NULL, 4), (NULL, 5), (7, 7)",
    )
    found = place.diff(key=("id",))
    assert found["pks"] == {
        "total_rows": [7, 5],
        "nulls": [1, 2],
        "dupes": [4, 0],
        "exclusives": [2, 1],  # 5 and the twice-there 6; 7
        "distincts": [4, 3],
    }
    assert (found["values"]["total_rows"], stats(found)) == (1, {"v": 1})
    assert found["result"] == "bad-pks"
    assert found["samples"]["null_keys"] == [
        [{"key": {"id": None}, "rows": 1}],
        [{"key": {"id": None}, "rows": 2}],
    ]
    assert {s["key"]["id"]: s["rows"] for s in found["samples"]["duplicate_keys"][0]} == {"2": 2, "6": 2}


@pytest.mark.parametrize(
    ("tables", "key", "source"),
    [
        ("(code text, other integer PRIMARY KEY)", ["other"], "primary key constraint of A"),
        ("(a integer NOT NULL, b integer NOT NULL, id integer, UNIQUE (a, b))", ["a", "b"], "unique"),
        ("(x text, id integer)", ["id"], "column name"),
        ("(x double, prod_id integer)", ["prod_id"], "column name"),
        ("(x double, nr integer)", ["nr"], "unique values"),
    ],
)
def test_a_key_that_was_not_given_is_found_and_its_source_told(
    place: Any, tables: str, key: list[str], source: str
) -> None:
    rows = {2: "(0, 1), (0, 2)", 3: "(1, 1, 5), (1, 2, 5)"}[
        tables.count(" integer") + tables.count(" text") + tables.count(" double")
    ]
    if "text" in tables:
        rows = rows.replace("(0", "('0'")
    for name in ("prod", "pr"):
        place.sql(f"CREATE TABLE {name} {tables}", f"INSERT INTO {name} VALUES {rows}")
    found = place.diff()["key"]
    assert found["columns"] == key
    assert source in found["source"]


def test_two_columns_together_may_be_the_key(place: Any) -> None:
    for name in ("prod", "pr"):
        place.sql(
            f"CREATE TABLE {name} (day date, shop integer, v double)",
            f"INSERT INTO {name} VALUES ('2026-01-01', 1, 0), ('2026-01-01', 2, 0), ('2026-01-02', 1, 0)",
        )
    assert place.diff()["key"] == {"columns": ["day", "shop"], "source": "unique values"}


def test_without_any_key_the_diff_says_so(place: Any) -> None:
    for name in ("prod", "pr"):
        place.sql(f"CREATE TABLE {name} (v integer)", f"INSERT INTO {name} VALUES (1), (1)")
    assert refused(place).fault is Fault.NO_KEY


def test_missing_things_are_named(place: Any) -> None:
    place.sql("CREATE TABLE prod (id integer)", "CREATE TABLE pr (nr integer)")
    error = refused(place, key=("id",))
    assert error.fault is Fault.NO_COLUMN
    assert "B" in error.message
    assert refused(place, b=Side("c", table="nowhere"), key=("id",)).fault is Fault.NO_TABLE
    assert refused(place, b=Side("c", table="no.such.thing"), key=("id",)).fault is Fault.NO_TABLE
    assert refused(place, b=Side("other", table="pr")).fault is Fault.CONNECTION


def test_keys_of_strange_types_are_refused_with_both_types(place: Any) -> None:
    place.sql("CREATE TABLE prod (id integer)", "CREATE TABLE pr (id text)")
    error = refused(place, key=("id",))
    assert error.fault is Fault.KEY_TYPES


def test_keys_of_related_types_are_joined(place: Any) -> None:
    place.sql(
        "CREATE TABLE prod (id integer, v integer)",
        "CREATE TABLE pr (id decimal(12,0), v integer)",
        "INSERT INTO prod VALUES (1, 1), (2, 2)",
        "INSERT INTO pr VALUES (1, 1), (2, 3)",
    )
    found = place.diff(key=("id",))
    assert (stats(found), found["schema"]["column_type_differs"]) == ({"v": 1}, ["id"])


def test_include_exclude_and_mapping(place: Any) -> None:
    place.sql(
        "CREATE TABLE prod (id integer, a integer, b integer, old integer)",
        "CREATE TABLE pr (id integer, a integer, b integer, fresh integer)",
        "INSERT INTO prod VALUES (1, 1, 1, 1)",
        "INSERT INTO pr VALUES (1, 2, 2, 2)",
    )
    assert stats(place.diff(key=("id",), include=("A",))) == {"a": 1}
    assert stats(place.diff(key=("id",), exclude=("a", "id"))) == {"b": 1}
    mapped = place.diff(key=("id",), mapping=(("old", "fresh"),))
    assert stats(mapped) == {"a": 1, "b": 1, "old": 1}
    assert mapped["schema"]["exclusive_columns"] == [[], []]
    assert place.diff(key=("id",), include=("a", "nix"))["warnings"] == [
        "There is no column 'nix' on either side."
    ]


def test_tolerances_and_modifiers(place: Any) -> None:
    place.sql(
        "CREATE TABLE prod (id integer, f double, n integer, t timestamp, s text)",
        "CREATE TABLE pr (id integer, f double, n integer, t timestamp, s text)",
        "INSERT INTO prod VALUES (1, 1.0, 100, '2026-01-01 00:00:00.001', 'Abc'), (2, 'NaN', 1, 'infinity', NULL)",
        "INSERT INTO pr VALUES (1, 1.05, 101, '2026-01-01 00:00:00.002', 'aBC'), (2, 'Infinity', 1, '2026-01-01', '')",
    )
    assert stats(place.diff(key=("id",))) == {"f": 2, "n": 1, "t": 2, "s": 2}
    assert stats(place.diff(key=("id",), tolerance=Tolerance(0.1)))["f"] == 1
    assert stats(place.diff(key=("id",), tolerance=Tolerance(0.01, "relative")))["f"] == 2
    assert stats(place.diff(key=("id",), tolerances={"N": Tolerance(0.02, "relative")}))["n"] == 0
    assert stats(place.diff(key=("id",), datetime_digits=2))["t"] == 1
    assert stats(place.diff(key=("id",), ignore_case=True))["s"] == 1
    assert stats(place.diff(key=("id",), ignore_case=True, null_is_empty=True))["s"] == 0


@pytest.mark.parametrize("digits", [0, 2, 3, 5, 6])
def test_moments_are_equal_within_less_than_their_last_digit(place: Any, digits: int) -> None:
    """Exactly: in floating seconds a step of one digit is now more, now less than it should be."""
    step = timedelta(microseconds=10 ** (6 - digits))
    first = [
        datetime.fromisoformat("2024-02-29 01:02:03") + n * timedelta(days=1, microseconds=7919)
        for n in range(40)
    ]

    def rows(more: timedelta) -> str:
        return ", ".join(f"({n}, '{moment + more}')" for n, moment in enumerate(first))

    tables = ("prod", timedelta()), ("pr", step), ("near", step - timedelta(microseconds=1))
    for name, more in tables:
        place.sql(f"CREATE TABLE {name} (id integer, t timestamp)", f"INSERT INTO {name} VALUES {rows(more)}")
    assert stats(place.diff(key=("id",), datetime_digits=digits)) == {"t": 40}
    assert stats(place.diff(b="near", key=("id",), datetime_digits=digits)) == {"t": 0}


def test_arrays_may_be_compared_without_order(place: Any) -> None:
    place.sql(
        "CREATE TABLE prod (id integer, v integer[])",
        "CREATE TABLE pr (id integer, v integer[])",
        f"INSERT INTO prod VALUES (1, {_list(place, 1, 2)}), (2, {_list(place, 1)}), (3, NULL)",
        f"INSERT INTO pr VALUES (1, {_list(place, 2, 1)}), (2, NULL), (3, NULL)",
    )
    assert stats(place.diff(key=("id",))) == {"v": 2}
    assert stats(place.diff(key=("id",), sort_arrays=True)) == {"v": 1}


def _list(place: Any, *items: int) -> str:
    return f"{'ARRAY' if place.dialect == 'postgres' else ''}{list(items)}"


def test_json_is_compared_by_meaning(place: Any) -> None:
    place.sql(
        "CREATE TABLE prod (id integer, j json)",
        "CREATE TABLE pr (id integer, j json)",
        """INSERT INTO prod VALUES (1, '{"a": 1, "b": [1, 2]}'), (2, '{"a": 1}')""",
        """INSERT INTO pr VALUES (1, '{"b":[1,2],"a":1}'), (2, '{"a": 2}')""",
    )
    found = place.diff(key=("id",))
    assert (stats(found), found["values"]["rows_with_differences"]) == ({"j": 1}, 1)


def test_names_are_matched_exactly_first_and_then_without_case(place: Any) -> None:
    place.sql(
        'CREATE TABLE "Prod Table" ("Id" integer, "we""ird.name" integer)',
        'CREATE TABLE pr (ID integer, "WE""IRD.NAME" integer)',
        'INSERT INTO "Prod Table" VALUES (1, 1)',
        "INSERT INTO pr VALUES (1, 2)",
    )
    found = place.diff(a='"prod table"', b="PR", key=("iD",))
    assert stats(found) == {'we"ird.name': 1}


def test_schemas_and_databases_may_be_named(place: Any) -> None:
    place.sql("CREATE SCHEMA ci", "CREATE TABLE prod (id integer)", "CREATE TABLE ci.prod (id integer)")
    database = "shop" if place.dialect == "duckdb" else place.connection.database
    home = "main" if place.dialect == "duckdb" else "public"
    assert place.diff(a=f"{database}.{home}.prod", b="CI.prod", key=("id",))["result"] == "empty"
    assert refused(place, a=Side("c", table="elsewhere.ci.prod"), key=("id",)).fault is Fault.NO_TABLE


def test_queries_and_filters_are_compared_too(place: Any) -> None:
    place.sql("CREATE TABLE t AS SELECT i AS id, i % 3 AS v FROM generate_series(1, 10) AS g(i)")
    a = Side("c", query="SELECT * FROM t WHERE id < 6;")
    b = Side("c", table="t", filter="id < 7 -- half\n")
    found = place.diff(a=a, b=b, key=("id",))
    assert (found["pks"]["total_rows"], found["pks"]["exclusives"]) == ([5, 6], [0, 1])


@pytest.mark.parametrize(
    "filter",
    [
        "1 = 1) ; drop table t; --",
        "1=1) UNION SELECT 1, 2 FROM t WHERE (1=1",
        "1=1) GROUP BY (1",
        "1=1) LIMIT (1",
        "(1=1",
        "true; select 1",
        "id in (delete from t returning id)",
    ],
)
def test_a_filter_that_is_more_than_a_condition_is_refused(place: Any, filter: str) -> None:
    place.sql("CREATE TABLE t AS SELECT 1 AS id")
    side = Side("c", table="t", filter=filter)
    assert refused(place, a=side, b=side, key=("id",)).fault is Fault.BAD_SPEC


@pytest.mark.parametrize(
    "query",
    ["DROP TABLE t", "SELECT 1; SELECT 2", "SELECT 1 AS id INTO x", "COPY t TO 'x'", "PRAGMA version"],
)
def test_a_query_that_does_more_than_read_is_refused(place: Any, query: str) -> None:
    place.sql("CREATE TABLE t AS SELECT 1 AS id")
    assert (
        refused(place, a=Side("c", query=query), b=Side("c", table="t"), key=("id",)).fault is Fault.BAD_SPEC
    )
    place.sql("SELECT * FROM t")


def test_quoting_agrees_with_sqlglot() -> None:
    for name in ("a", 'a"b', "ü .x", "", '""', "a\\b", "a`b"):
        for grammar in GRAMMARS.values():
            assert grammar.quoted(name) == exp.to_identifier(name, quoted=True).sql(grammar.name)
    with pytest.raises(CouldNot):
        DUCKDB.quoted("a\0b")


@pytest.mark.parametrize(
    ("text", "parts"),
    [("t", ("t",)), ("s.t", ("s", "t")), ('d."S.x".t', ("d", "S.x", "t")), ('"a""b"', ('a"b',))],
)
def test_dotted_paths(text: str, parts: tuple[str, ...]) -> None:
    assert path_of(text) == parts


@pytest.mark.parametrize("text", ["", ".", "a.", "a..b", "a.b.c.d", '"a'])
def test_broken_paths_are_refused(text: str) -> None:
    with pytest.raises(CouldNot):
        path_of(text)


def test_a_name_that_is_not_there_is_told_what_is(place: Any) -> None:
    place.sql("CREATE TABLE orders AS SELECT 1 AS order_id, 2 AS v", "CREATE TABLE other AS SELECT 1 AS x")
    for wanted, told in (
        ({"a": "ordres", "b": "orders"}, "Did you mean orders?"),
        ({"a": "nothing_like_it", "b": "orders"}, "Available: orders, other."),
        ({"a": "orders", "b": "orders", "key": ("order",)}, "Did you mean order_id?"),
    ):
        with pytest.raises(CouldNot) as caught:
            place.diff(**wanted)
        assert caught.value.message.endswith(told), caught.value.message


def test_a_condition_that_ends_too_early_is_located(place: Any) -> None:
    place.sql("CREATE TABLE orders AS SELECT 1 AS id")
    side = Side("c", table="orders", filter="id <")
    with pytest.raises(CouldNot) as caught:
        place.diff(side, side, key=("id",))
    assert caught.value.message == (
        "The filter cannot be parsed: Required keyword: 'expression' missing for LT, at its end."
    )
