"""The content validator: broken names in LookML dashboards and in exported JSON, grouped by explore, with
places and suggestions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runyard.tasks.lookml.language.model import models
from runyard.tasks.lookml.validators.content.check import ContentOptions, TriedContent, new_ones, validate
from runyard.tasks.lookml.validators.selection import Selection

from .conftest import Make

MODEL = """connection: "shop"
include: "*.dashboard"
explore: orders { fields: [ALL_FIELDS*, -orders.secret] }
explore: people { from: customers }
view: orders { dimension: id {} dimension: status {} dimension: secret {} dimension_group: created { type: time timeframes: [date, month] } measure: count {} }
view: customers { dimension: id {} dimension: city {} }
"""
BOARD = """- dashboard: sales
  title: Sales
  elements:
  - title: Open
    name: open
    model: m
    explore: orders
    type: looker_column
    fields: [orders.count, orders.created_month, share]
    pivots: [orders.created_month]
    filters: {orders.status: open}
    sorts: [orders.count desc 0, share]
    dynamic_fields:
    - table_calculation: share
      expression: ${orders.count} / sum(${orders.count})
    listen:
      Day: orders.created_date
  - name: text
    type: text
    body_text: "${not.a_field}"
  - title: Towns
    merged_queries:
    - {model: m, explore: people, fields: [people.city]}
    - {model: m, explore: orders, fields: [orders.count, id]}
  filters:
  - {name: Day, title: Day, type: field_filter, default_value: 7 days, model: m, explore: orders, field: orders.created_date}
  - {name: State, type: string_filter, default_value: '', listens_to_filters: [Day]}
"""


def run(
    make: Make, yaml: str = BOARD, options: ContentOptions | None = None, **files: Any
) -> list[TriedContent]:
    texts = {"m.model.lkml": MODEL, "a.dashboard.lookml": yaml}
    texts |= {f"content/{name}.json": json.dumps(value, indent=1) for name, value in files.items()}
    project = make(texts)
    return validate(project, models(project), options or ContentOptions())


def found(results: list[TriedContent]) -> list[tuple[str, str, int]]:
    return [(f"{t.model}/{t.explore}", e.message, e.line) for t in results for e in t.errors]


def test_whole_content_passes_explore_by_explore(make: Make) -> None:
    results = run(make)
    assert [(t.explore, t.status, t.elements) for t in results] == [
        ("orders", "passed", 3),
        ("people", "passed", 1),
    ]
    alone = run(make, "[]")
    assert [(t.status, t.skip_reason) for t in alone] == [("skipped", "no_content")] * 2


def test_a_calculation_that_is_switched_off_needs_nothing(make: Make) -> None:
    off = BOARD.replace("sum(${orders.count})", "sum(${orders.cost})\n      is_disabled: true", 1)
    assert found(run(make, off)) == []


@pytest.mark.parametrize(
    ("old", "new", "explore", "message", "line"),
    [
        ("fields: [orders.count,", "fields: [orders.cuont,", "m/orders", 'Unknown field "orders.cuont" in fields. Did you mean orders.count?', 9),
        ("fields: [orders.count, orders.created_month", "fields: [orders.count, orders.created", "m/orders", 'Unknown field "orders.created" in fields. Did you mean orders.created_date?', 9),
        ("pivots: [orders.created_month]", "pivots: [orders.created_year]", "m/orders", 'Unknown field "orders.created_year" in pivots. Did you mean orders.created_date?', 10),
        ("filters: {orders.status:", "filters: {orders.state:", "m/orders", 'Unknown field "orders.state" in filters. Did you mean orders.status?', 11),
        ("filters: {orders.status:", "filters: {orders.secret:", "m/orders", 'Unknown field "orders.secret" in filters (it is not in the explore\'s fields).', 11),
        ("share]\n    dyn", "shape]\n    dyn", "m/orders", 'Unknown field "shape" in sorts. Did you mean share?', 12),
        ("sum(${orders.count})", "sum(${orders.cost})", "m/orders", 'Unknown field "orders.cost" in dynamic_fields. Did you mean orders.count?', 15),
        ("Day: orders.created_date", "Dau: orders.created_date", "m/orders", 'Unknown dashboard filter "Dau" in listen. Did you mean Day?', 17),
        ("Day: orders.created_date", "Day: orders.creatd_date", "m/orders", 'Unknown field "orders.creatd_date" in listen. Did you mean orders.created_date?', 17),
        ("explore: people", "explore: poeple", "m/poeple", 'Unknown explore "poeple" in model "m". Did you mean people?', 23),
        ("model: m\n    explore: orders", "model: n\n    explore: orders", "n/orders", 'Unknown model "n".', 7),
        ("model: m\n    explore: orders", "explore: ordes", "/ordes", 'No model has an explore "ordes".', 6),
        ("[people.city]", "[customers.city]", "m/people", 'Unknown field "customers.city" in fields.', 23),
        ("field: orders.created_date", "field: orders.creatd_date", "m/orders", 'Unknown field "orders.creatd_date" in field. Did you mean orders.created_date?', 26),
        ("  title: Sales", "  title: Sales\n  extends: bases", "/", 'Unknown dashboard "bases" in extends.', 3),
    ],
)  # fmt: skip
def test_one_mistake_is_one_error_at_its_line(
    make: Make, old: str, new: str, explore: str, message: str, line: int
) -> None:
    assert old in BOARD
    errors = found(run(make, BOARD.replace(old, new, 1)))
    assert [(where, at) for where, _, at in errors] == [(explore, line)]
    assert errors[0][1] == message


def test_text_that_is_no_yaml_is_one_error(make: Make) -> None:
    ((where, message, line),) = found(run(make, BOARD.replace("  title: Sales", "  title: [")))
    assert (where, line) == ("/", 4)
    assert "expected" in message


QUERY = {"model": "m", "view": "orders", "fields": ["orders.count", "calc"], "filters": {"orders.status": "open"}, "sorts": ["orders.count desc"], "dynamic_fields": json.dumps([{"table_calculation": "calc", "expression": "${orders.count} * 2"}])}  # fmt: skip
LOOK = {"id": "7", "title": "Käse", "folder": {"id": "3", "name": "Shared"}, "query": QUERY}
DASHBOARD = {
    "id": "12", "title": "Board", "folder": {"id": "5", "name": "Ada", "parent_id": "3", "is_personal": True},
    "dashboard_elements": [
        {"id": "1", "title": "T", "query": QUERY, "result_maker": {"query": QUERY, "filterables": [{"model": "m", "view": "orders", "listen": [{"dashboard_filter_name": "F", "field": "orders.status"}]}]}},
        {"id": "2", "title": "Other's", "query": {"model": "elsewhere", "view": "x", "fields": ["x.y"]}},
    ],
    "dashboard_filters": [{"name": "F", "model": "m", "explore": "orders", "dimension": "orders.status", "default_value": "open"}],
}  # fmt: skip


def test_exports_are_read_and_other_projects_content_is_left_alone(make: Make) -> None:
    results = run(
        make,
        "[]",
        look=LOOK,
        board=[DASHBOARD],
        all={"looks": [LOOK], "folders": [{"id": "3", "name": "Shared"}]},
    )
    assert found(results) == []
    assert [(t.explore, t.elements) for t in results] == [("orders", 4), ("people", 0)]


def test_exports_errors_name_folder_tile_and_line(make: Make) -> None:
    bad = {**QUERY, "fields": ["orders.cuont"], "dynamic_fields": None}
    board = {
        **DASHBOARD,
        "dashboard_elements": [{"id": "1", "title": "T", "query": bad}],
        "dashboard_filters": [],
    }
    results = run(make, "[]", look={**LOOK, "query": bad}, board=board)
    errors = [e for t in results for e in t.errors]
    assert [
        (e.content_type, e.content_id, e.title, e.folder, e.element_type, e.element, e.file) for e in errors
    ] == [
        ("dashboard", "12", "Board", "Ada", "dashboard_element", "T", "content/board.json"),
        ("look", "7", "Käse", "Shared", "look", "Käse", "content/look.json"),
    ]
    assert all(e.suggestion == "orders.count" and e.line > 10 for e in errors)


def test_options_choose_explores_and_folders(make: Make) -> None:
    def count(**options: Any) -> int:
        return sum(
            t.elements for t in run(make, BOARD, ContentOptions(**options), look=LOOK, board=DASHBOARD)
        )

    assert count() == 7
    assert count(exclude_personal=True) == 5
    assert count(include_folders=("3",)) == 3
    assert count(include_folders=("5",)) == 2
    assert count(exclude_folders=("3",)) == 4
    assert count(include_folders=("lookml",)) == 4
    assert count(selection=Selection(("m/people",))) == 1


@pytest.mark.parametrize(
    "text", ["{", "[1, 2]", "{}", "[" * 100_000, '{"dashboard_elements": 3, "id": {}}', '"\ud800"']
)
def test_what_is_no_export_is_told_or_ignored_and_never_raises(make: Make, text: str) -> None:
    project = make({"m.model.lkml": MODEL})
    (project.root / "content").mkdir()
    (project.root / "content" / "x.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    for tried in validate(project, models(project), ContentOptions()):
        assert all(e.file == "content/x.json" for e in tried.errors)


def test_only_new_errors_are_kept_against_the_target(make: Make) -> None:
    old = run(make, BOARD.replace("orders.status:", "orders.state:"))
    new = run(
        make,
        "\n" + BOARD.replace("orders.status:", "orders.state:").replace("[people.city]", "[people.town]"),
    )
    assert [(t.explore, len(t.errors)) for t in new] == [("orders", 1), ("people", 1)]
    kept = new_ones(new, old)
    assert [(t.explore, t.status, len(t.errors)) for t in kept] == [
        ("orders", "passed", 0),
        ("people", "failed", 1),
    ]


def test_what_dashboards_may_leave_out_or_write_otherwise(make: Make) -> None:
    text = BOARD.replace("model: m\n    explore: orders", "explore: orders").replace(
        "type: text", "type: !!null ''"
    )
    text = text.replace(
        "fields: [orders.count, id]", 'fields: ["@{BASE}.count", id], hidden_fields: [orders.gone]'
    )
    files = {
        "m.model.lkml": MODEL,
        "a.dashboard.lookml": text,
        "manifest.lkml": 'constant: BASE { value: "orders" }',
    }
    project = make(files)
    assert found(validate(project, models(project), ContentOptions())) == []
