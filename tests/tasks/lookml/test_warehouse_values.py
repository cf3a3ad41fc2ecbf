"""What is written for BigQuery, Snowflake and Redshift means what DuckDB's own SQL means: sqlglot translates
it and DuckDB computes both.

Macros stand for the hash functions that DuckDB does not have. The whole SQL of one wide query per dialect is
a golden file that sqlglot parses; `GOLDEN=write pytest …` writes it anew.
`tests/clients/test_lookml_warehouses.py` runs the drivers themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot

from runyard.tasks.lookml.language.timeframes import DEFAULT_TIMEFRAMES
from runyard.tasks.lookml.sql.compiler import context_of
from runyard.tasks.lookml.sql.dialects import Dialect
from runyard.tasks.lookml.sql.expressions import Unresolved
from runyard.tasks.lookml.sql.query import Query, build
from runyard.tasks.lookml.sql.results import finish
from tests.tasks.lookml.test_values import MEASURES, PROJECT, TABLES, Rows, explore, same, shop

GOLDEN = Path(__file__).with_name("golden")
WAREHOUSES: list[Dialect] = ["bigquery", "snowflake", "redshift"]
RARE = ["yesno", "millisecond", "microsecond", "fiscal_month_num", "fiscal_quarter", "fiscal_quarter_of_year", "fiscal_year", "hour4", "minute15", "second10", "millisecond250"]  # fmt: skip
TIMES = [f"orders.at_{t}" for t in [*DEFAULT_TIMEFRAMES, *RARE]]
INTERVALS = [
    f"orders.{i}s_past" for i in ("second", "minute", "hour", "day", "week", "month", "quarter", "year")
]
MORE = """
view: +orders {
  dimension_group: at { type: time sql: ${TABLE}.made_at ;; timeframes: [THESE] }
  dimension_group: past { type: duration sql_start: ${TABLE}.made_at ;; sql_end: TIMESTAMP '2025-02-28 11:22:33' ;; }
  dimension: place { type: location sql_latitude: ${weight} ;; sql_longitude: ${id} ;; }
  dimension: label { case: { when: { sql: ${price} > 50 ;; label: "O'Neill \\\\ dear" } else: "cheap" } }
  dimension: from_epoch { type: date_time datatype: epoch sql: ${id} * 86399 ;; }
  dimension: from_digits { type: date datatype: yyyymmdd sql: 20240100 + MOD(${id}, 28) + 1 ;; }
  measure: to_date { type: period_over_period based_on: count based_on_time: made_date period: year kind: previous value_to_date: yes }
}
""".replace("THESE", ", ".join([*DEFAULT_TIMEFRAMES, *RARE]))


LEFT_ALONE = {
    "EXTRACT(ISOWEEK": "EXTRACT(WEEK",
    "%S.MS": "%S.%g",
    "%S.US": "%S.%f",
    "%E3S": "%S.%g",
    "%E6S": "%S.%f",
}
"""What sqlglot does not translate: names of ISO weeks and of parts of seconds."""


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        for name, rows in shop():
            made.execute(f"CREATE TABLE {name} ({TABLES[name]})")
            made.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        made.execute("UPDATE orders SET made_at = made_at + INTERVAL (id * 7919) MILLISECONDS")
        made.execute("CREATE MACRO from_base(x, base) AS CAST(('0x' || x) AS HUGEINT)")
        made.execute(
            "CREATE MACRO farm_fingerprint(x) AS CASE WHEN x IS NOT NULL THEN CAST(hash(x) AS HUGEINT) - 9223372036854775808 END"
        )
        # sqlglot spells the function so on its way to DuckDB.
        made.execute("CREATE MACRO m_d5_number_lower64(x) AS md5_number_lower(x)")
        yield made


@pytest.fixture(autouse=True)
def with_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.tasks.lookml.test_values.PROJECT", PROJECT + MORE)


def compiled(
    dialect: Dialect, names: Sequence[str], filters: dict[str, str] | None = None, zone: str = ""
) -> Query:
    chosen = explore()
    context = context_of(chosen, dialect, timezone=zone)
    context.now = datetime(2024, 6, 13, 14, 15, 16, tzinfo=UTC)
    wanted = []
    for name in names:
        field = chosen.find(name)
        assert field is not None, name
        wanted.append((name.rpartition(".")[0], field))
    return build(context, wanted, filters=filters)


@pytest.fixture(params=WAREHOUSES)
def both(request: pytest.FixtureRequest, duck: duckdb.DuckDBPyConnection) -> Callable[..., tuple[Rows, Rows]]:
    """both(fields, filters, zone) gives (what the warehouse's SQL computes, what DuckDB's does)."""
    dialect: Dialect = request.param

    def ask(names: Sequence[str], filters: dict[str, str] | None = None, zone: str = "") -> tuple[Rows, Rows]:
        found = []
        for spoken in (dialect, "duckdb"):
            query = compiled(spoken, names, filters, zone)
            (sql,) = sqlglot.transpile(query.sql, read=spoken, write="duckdb")
            for theirs, ours in LEFT_ALONE.items():
                sql = sql.replace(theirs, ours)
            found.append(finish(query, duck.execute(sql if spoken != "duckdb" else query.sql).fetchall()))
        return found[0], found[1]

    ask.dialect = dialect  # type: ignore[attr-defined]
    return ask


@pytest.mark.parametrize("zone", ["", "Europe/Oslo"])
def test_every_timeframe_and_interval_has_the_native_value(both: Any, zone: str) -> None:
    names = ["orders.id", *TIMES, *INTERVALS]
    found, native = both(names, zone=zone)
    for index, name in enumerate(names):
        same([(r[0], r[index], name) for r in found], [(r[0], r[index], name) for r in native])


@pytest.mark.parametrize(
    "field",
    ["orders.size", "orders.is_paid", "orders.period", "orders.place", "orders.label", "orders.from_epoch", "orders.from_digits"],
)  # fmt: skip
def test_dimensions_have_the_native_value(both: Any, field: str) -> None:
    found, native = both(["orders.id", field])
    same([(k, str(v)[:10] if "from" in field else v) for k, v in found], [(k, str(v)[:10] if "from" in field else v) for k, v in native])  # fmt: skip
    assert len({v for _, v in native}) > 1


@pytest.mark.parametrize("fan_out", [(), ("items.count",)])
@pytest.mark.parametrize("name", MEASURES)
def test_measures_have_the_native_value(both: Any, name: str, fan_out: tuple[str, ...]) -> None:
    if name == "orders.statuses" and both.dialect == "redshift":
        pytest.skip("DuckDB cannot run what sqlglot makes of LISTAGG(DISTINCT …) WITHIN GROUP")
    if name in ("orders.middle", "orders.top") and (fan_out or both.dialect == "bigquery"):
        if fan_out:  # there is no exact form inside a GROUP BY: refused, with the reason
            with pytest.raises(Unresolved, match="over repeated rows"):
                both(["orders.status", name, *fan_out])
        return  # BigQuery has approximate quantiles only
    found, native = both(["orders.status", name, *fan_out])
    if name == "orders.total_weight" and fan_out:  # Looker's hashes keep six digits of a DOUBLE
        found, native = ([(s, round(v, 2), n) for s, v, n in rows] for rows in (found, native))
    same(found, native)


def test_measures_of_several_views_at_once(both: Any) -> None:
    same(*both(["customers.city", "orders.count", "items.count", "items.quantity_sum", "customers.count", "customers.credit_sum"]))  # fmt: skip
    same(*both(["items.order_total", "items.order_mean", "items.count"]))
    same(*both(["customers.city", "spending.spent_sum"], {"orders.when": "2023"}))


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("orders.status", "-paid"),
        ("orders.status", "p%,NULL"),
        ("orders.status", "p^%d,O'b\\^_%,it's"),
        ("orders.price", "[0,25)"),
        ("orders.is_paid", "no"),
        ("orders.made_date", "before 2023-04-05"),
        ("orders.made_month", "2022,last year"),
        ("orders.made_date", "7 days ago for 7 days"),
        ("orders.made_day_of_week", "Monday,Sunday"),
        ("orders.at_day_of_week_index", "[0,2]"),
        ("orders.made_fiscal_quarter", "FY2023-Q2"),
    ],
)
def test_filters_keep_the_same_rows(both: Any, field: str, text: str) -> None:
    found, native = both(["orders.count", "orders.total"], {field: text})
    same(found, native)


def test_periods_are_compared_alike(both: Any) -> None:
    same(*both(["orders.made_year", "orders.count", "orders.count_last_year", "orders.more_than_last_year", "orders.to_date"]))  # fmt: skip


def test_a_pattern_with_an_escape_finds_the_same_texts(duck: duckdb.DuckDBPyConnection) -> None:
    """`^%` is a percent sign: each dialect escapes it in its own way."""
    duck.execute("CREATE OR REPLACE TABLE orders_texts AS SELECT unnest(['p%x', 'pax', 'a\\b', 'a^b']) AS s")
    for text, expected in (("p^%%", {"p%x"}), ("p%", {"p%x", "pax"}), ("a\\%", {"a\\b"}), ("a^^%", {"a^b"})):
        for dialect in ("duckdb", *WAREHOUSES):
            sql = compiled(dialect, ["orders.count"], {"orders.status": text}).sql
            test = sqlglot.parse_one(sql, read=dialect).find(sqlglot.exp.Where)
            assert test is not None
            for column in test.find_all(sqlglot.exp.Column):
                column.replace(sqlglot.column("s"))
            asked = f"SELECT s FROM orders_texts WHERE {test.this.sql('duckdb')}"
            if dialect == "bigquery":  # whose LIKE always escapes by backslashes; DuckDB's has to be told
                asked = asked.rstrip(")") + r" ESCAPE '\')"
            assert {s for (s,) in duck.execute(asked).fetchall()} == expected, (dialect, asked)


@pytest.mark.parametrize("dialect", WAREHOUSES)
def test_the_sql_is_the_golden_one_and_sqlglot_parses_it(dialect: Dialect) -> None:
    fields = [*TIMES, *INTERVALS, "orders.size", "orders.is_paid", "orders.place", "orders.label", "orders.total", "orders.mean", "orders.middle", "orders.statuses"]  # fmt: skip
    texts = {
        "every dimension": compiled(dialect, fields, {"orders.made_date": "7 days", "orders.status": "p^%%,-O'b"}).sql,
        "repeated rows": compiled(dialect, ["customers.city", "orders.total", "orders.mean", "items.count"]).sql,
        "in a zone": compiled(dialect, ["orders.made_week", "orders.count"], zone="Europe/Oslo").sql,
        "periods": compiled(dialect, ["orders.made_month", "orders.to_date"]).sql,
    }  # fmt: skip
    for name, sql in texts.items():
        assert len(sqlglot.parse(sql, read=dialect)) == 1, name
    text = "".join(f"-- {name}\n{sql};\n" for name, sql in texts.items())
    file = GOLDEN / f"{dialect}.sql"
    if os.environ.get("GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()
