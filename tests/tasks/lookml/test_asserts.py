"""Data tests on both databases: every row counts, failing rows are sampled, what cannot run says why and
where."""

from __future__ import annotations

from datetime import datetime

import pytest

from runyard.tasks.lookml.connections import Connection
from runyard.tasks.lookml.language.model import models
from runyard.tasks.lookml.validators.asserts.run import AssertOptions, TriedTests, run
from runyard.tasks.lookml.validators.asserts.tests import tests as data_tests
from runyard.tasks.lookml.validators.checks import validate
from runyard.tasks.lookml.validators.selection import Selection

from .conftest import Make

NOW = datetime(2026, 3, 15, 12)  # noqa: DTZ001  expressions know no zones
MODEL = """connection: "shop"
explore: orders { join: customers { relationship: many_to_one sql_on: ${customers.id} = ${orders.customer_id} ;; } }
view: orders {
  dimension: id { primary_key: yes type: number sql: ${TABLE}.id ;; }
  dimension: customer_id { type: number sql: ${TABLE}.customer_id ;; }
  dimension: status { sql: ${TABLE}.status ;; }
  dimension: is_open { type: yesno sql: ${status} = 'placed' ;; }
  dimension_group: created { type: time timeframes: [date, month] sql: ${TABLE}.created_at ;; }
  dimension_group: delivered { type: time timeframes: [raw, date] sql: ${TABLE}.delivered_at ;; }
  dimension: broken { sql: ${TABLE}.nothing ;; }
  measure: n { type: count }
  measure: total { type: running_total sql: ${n} ;; }
}
view: customers { dimension: id { primary_key: yes type: number sql: ${TABLE}.id ;; } dimension: city { sql: ${TABLE}.city ;; } }
"""


START = MODEL.count("\n") + 1


def a_test(columns: str, expression: str, more: str = "", name: str = "t") -> str:
    listed = "".join(f" column: c{i} {{ field: {c} }}" for i, c in enumerate(columns.split()))
    return f"test: {name} {{\n  explore_source: orders {{{listed} {more} }}\n  assert: holds {{\n    expression: {expression} ;;\n  }}\n}}\n"


def tried(make: Make, shop: Connection, text: str, selection: Selection | None = None) -> list[TriedTests]:
    found = models(make({"m.model.lkml": MODEL + text}))
    return run(
        data_tests(found),
        {"shop": shop},
        AssertOptions(NOW, selection or Selection(), concurrency=3, timeout_s=10),
    )


@pytest.mark.parametrize(
    ("columns", "expression", "more"),
    [
        ("orders.id orders.n", "${orders.n} = 1", ""),
        ("orders.n", "${orders.n} = 2", 'filters: [orders.status: "delivered"]'),
        ("orders.n", "${orders.n} = 2", 'filters: { field: orders.status value: "delivered" }'),
        ("orders.n", "${orders.n} = 2", 'filters: [orders.created_date: "2026-02"]'),
        ("orders.id orders.n", "${orders.id} = 4", "sorts: [orders.id: desc] limit: 1"),
        ("orders.id", "${orders.id} = 4 OR ${orders.id} = 3", "sorts: [c0: desc] limit: 2"),
        ("orders.is_open orders.status", '${orders.is_open} = (${orders.status} = "placed")', ""),
        ("orders.created_date orders.delivered_date", "is_null(${orders.delivered_date}) OR diff_days(${orders.created_date}, ${orders.delivered_date}) >= 0", ""),
        ("orders.created_month", "${orders.created_month} <= trunc_months(now())", ""),
        ("orders.status orders.n", "sum(${orders.n}) = 4", ""),
        ("orders.status", "matches_filter(${orders.status}, `d%,placed,canceled`)", ""),
        ("orders.id", "matches_filter(${orders.id}, `>0 AND <5`)", ""),
        ("customers.city orders.n", "${orders.n} >= 1 AND NOT is_null(${customers.city})", ""),
        ("orders.id orders.total", "${orders.total} = ${orders.id}", "sorts: [orders.id]"),
    ],
)  # fmt: skip
def test_what_holds_in_every_row_passes(
    make: Make, shop: Connection, columns: str, expression: str, more: str
) -> None:
    text = a_test(columns, expression, more)
    (one,) = tried(make, shop, text)
    assert one.errors == []
    assert [(s.test, s.assertions, s.warning) for s in one.successes] == [("t", 1, "")]
    assert [f.code for f in validate(make({"m.model.lkml": MODEL + text}))] == []


def test_every_failing_row_counts_and_null_is_not_yes(make: Make, shop: Connection) -> None:
    text = a_test(
        "orders.id orders.delivered_date", "${orders.delivered_date} < date(2026, 2, 1)", "sorts: [orders.id]"
    )
    (one,) = tried(make, shop, text)
    (error,) = one.errors
    assert (one.status, error.test, error.assertion, error.failed_rows, error.file, error.line) == (
        "failed",
        "t",
        "holds",
        3,
        "m.model.lkml",
        START + 3,
    )
    assert "3 of 4 rows (2 null)" in error.message
    assert list(error.rows) == [
        {"orders.id": "2", "orders.delivered_date": None},
        {"orders.id": "3", "orders.delivered_date": None},
        {"orders.id": "4", "orders.delivered_date": "2026-03-03"},
    ]
    assert "SELECT" in error.sql


@pytest.mark.parametrize(
    ("attributes", "rows", "warning"),
    [({}, 4, "all rows were tested: state of access_filter has no value"), ({"state": "delivered"}, 2, "")],
)
def test_an_access_filter_without_a_value_is_told(
    make: Make, shop: Connection, attributes: dict[str, str], rows: int, warning: str
) -> None:
    text = MODEL.replace(
        "orders { join", "orders { access_filter: { field: orders.status user_attribute: state } join"
    )
    found = models(make({"m.model.lkml": text + a_test("orders.id", "${orders.id} > 0")}))
    options = AssertOptions(NOW, timeout_s=10, user_attributes=attributes)
    (one,) = run(data_tests(found), {"shop": shop}, options)
    assert [(s.rows, s.warning) for s in one.successes] == [(rows, warning)]


def test_no_rows_pass_with_a_warning(make: Make, shop: Connection) -> None:
    (one,) = tried(
        make, shop, a_test("orders.n orders.id", "${orders.n} > 99", 'filters: [orders.status: "lost"]')
    )
    assert (one.status, one.successes[0].rows) == ("passed", 0)
    assert "nothing was tested" in one.successes[0].warning


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (a_test("orders.broken", "NOT is_null(${orders.broken})"), 10, "nothing"),
        (a_test("orders.lost", "is_null(${orders.lost})"), START, 'unknown field "orders.lost"'),
        (a_test("orders.id", "${orders.id} = \"1\""), START + 3, "cannot compare a number with a text"),
        (a_test("orders.id", "${orders.n} = 1"), START + 3, 'field "orders.n" is not a column'),
        (a_test("orders.id", "matches_filter(${orders.id}, `x y`)"), START + 3, "bad filter expression"),
        (a_test("orders.id", "yes", 'filters: [orders.created_date: "some day"]'), START, "some day"),
        (a_test("orders.id", "${orders.id} + 1"), START + 3, "must be yes or no"),
        (a_test("", "yes"), START, "has no column"),
    ],
)  # fmt: skip
def test_what_cannot_run_fails_at_its_place(
    make: Make, shop: Connection, text: str, line: int, message: str
) -> None:
    (one,) = tried(make, shop, text)
    (error,) = one.errors
    assert (one.status, error.test) == ("failed", "t")
    assert message in error.message
    assert error.line == line


def test_explores_are_selected_and_a_missing_connection_errs(make: Make, shop: Connection) -> None:
    text = a_test("orders.id", "yes")
    assert tried(make, shop, text, Selection(("m/customers",))) == []
    assert tried(make, shop, text, Selection(exclusions=("*/orders",))) == []
    found = models(make({"m.model.lkml": MODEL + text}))
    (one,) = run(data_tests(found), {}, AssertOptions(NOW))
    assert (one.status, one.errors) == ("errored", [])
    assert 'connection "shop" of model "m" does not exist here' in one.problem


def test_several_asserts_and_tests_are_told_apart(make: Make, shop: Connection) -> None:
    text = a_test("orders.id", "yes") + a_test("orders.id", "no", name="u")
    text += "test: v { explore_source: orders { column: id { field: orders.id } } assert: a { expression: no ;; } assert: b { expression: yes ;; } assert: c { expression: null ;; } }"
    (one,) = tried(make, shop, text)
    assert [(e.test, e.assertion) for e in one.errors] == [("u", "holds"), ("v", "a"), ("v", "c")]
    assert [s.test for s in one.successes] == ["t"]
