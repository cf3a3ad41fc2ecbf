"""The LookML validator: each kind of mistake is found at its place, and right projects have no findings."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from runyard.tasks.lookml.language.cache import Cache
from runyard.tasks.lookml.language.findings import Severity
from runyard.tasks.lookml.language.project import load
from runyard.tasks.lookml.validators.checks import validate

from .conftest import BAKERY, Make

HEAD = 'connection: "c"\n'


def test_the_bakery_is_clean() -> None:
    assert validate(load(BAKERY)) == []


# Each text starts at line 2 of the file.
MISTAKES = [
    ("view: a { dimension: x { sql: ${y} ;; } }", "unknown_field", 2, 31, ""),
    ("view: a { dimension: x { sql: ${idd} ;; } dimension: id {} }", "unknown_field", 2, 31, "id"),
    ("view: a { dimension_group: made { type: time timeframes: [date] } dimension: x { sql: ${made} ;; } }", "unknown_field", 2, 87, "made_date"),
    ("view: a { dimension: x { sql: ${abbc.y} ;; } } view: abc {}", "unknown_field", 2, 31, "abc.y"),
    ("view: a { dimension: x { sql: FROM ${b.SQL_TABLE_NAME} ;; } }", "unknown_view", 2, 36, ""),
    ("explore: ordes {}\nview: orders {}", "unknown_view", 2, 1, "orders"),
    ("explore: orders { join: custmers { sql_on: ${custmers.id} = 1 ;; } }\nview: orders {}\nview: customers { dimension: id {} }", "unknown_view", 2, 19, "customers"),
    ("explore: o { from: ord }\nview: orders {}", "unknown_view", 2, 14, ""),
    ("explore: a { join: b { sql_on: ${a.id} = ${b.idd} ;; } }\nview: a { dimension: id {} }\nview: b { dimension: id {} }", "unknown_field", 2, 42, "b.id"),
    ("explore: a { join: b { relationship: many_to_one } }\nview: a {}\nview: b {}", "missing", 2, 14, ""),
    ("explore: a { join: b { type: cross relationship: many_to_ones } }\nview: a {}\nview: b {}", "unknown_relationship", 2, 36, "many_to_one"),
    ("explore: a { join: b { type: outer sql_on: ${b.id} ;; } }\nview: a {}\nview: b { dimension: id {} }", "unknown_type", 2, 24, ""),
    ("explore: a { fields: [a.idd] }\nview: a { dimension: id {} }", "unknown_field", 2, 23, "id"),
    ("explore: a { sql_always_where: ${a.z} = 1 ;; }\nview: a {}", "unknown_field", 2, 32, ""),
    ("view: a { dimension: x { type: numbex } }", "unknown_type", 2, 26, "number"),
    ("view: a { measure: x { type: sums sql: 1 ;; } }", "unknown_type", 2, 24, "sum"),
    ("view: a { dimension_group: x { timeframes: [date, weak] } }", "unknown_timeframe", 2, 32, "week"),
    ("view: a { dimension_group: x { timeframes: [day] } }", "unknown_timeframe", 2, 32, "date"),
    ("view: a { dimension: x { type: text } }", "unknown_type", 2, 26, "string"),
    ("view: a { measure: x { type: avg sql: 1 ;; } }", "unknown_type", 2, 24, "average"),
    ("view: a { dimension: { type: number } }", "missing", 2, 11, ""),
    ("view: { dimension: x {} }", "missing", 2, 1, ""),
    ("view: a { dimension: x { sql: ${TABLE.x ;; } }", "syntax", 2, 31, ""),
    ("view: a { dimension_group: x { timeframes: [date week] } }", "syntax", 2, 50, ""),
    ("view: a { measure: x { type: count filters: [y = \"5\"] } dimension: y {} }", "syntax", 2, 48, ""),
    ("view: a { dimension: x { label: “X” } }", "syntax", 2, 33, ""),
    ("view: a { dimension_group: x { type: duration intervals: [day] sql_start: 1 ;; } }", "missing", 2, 11, ""),
    ("view: a { dimension: x {} dimension: x {} }", "duplicate", 2, 27, ""),
    ("view: a { dimension: x {} } view: +a { measure: x { type: count } }", "redefinition", 2, 40, ""),
    ("view: a { dimension: x { primary_key: yes } dimension: y { primary_key: yes } }", "duplicate_key", 2, 45, ""),
    ("view: a { dimension: x { sql: ${y} ;; } dimension: y { sql: ${x} ;; } }", "circular_reference", 2, 11, ""),
    ("view: a { dimension: x { sql: ${m} ;; } measure: m { type: count } }", "measure_in_dimension", 2, 31, ""),
    ("view: a { measure: x { type: sum sql: ${m} ;; } measure: m { type: count } }", "aggregate_of_measure", 2, 39, ""),
    ("view: a { dimension: x { laabel: \"X\" } }", "unknown_parameter", 2, 26, "label"),
    ("view: a { set: s { fields: [x, y] } dimension: x {} }", "unknown_field", 2, 32, ""),
    ("view: a { dimension: x { sql: {% if %} ;; } }", "liquid", 2, 0, ""),
    ("view: a { dimension: x {} }\nexplore: a { persist_with: nighty }\ndatagroup: nightly {}", "unknown_datagroup", 3, 14, "nightly"),
    ("explore: a {}\nview: a {}\ntest: t { explore_source: aa { column: x {} } }", "unknown_explore", 4, 11, ""),
    ("explore: a {}\nview: a { dimension: id {} }\ntest: t { explore_source: a { column: idd {} } }", "unknown_field", 4, 31, "a.id"),
    ("view: a { measure: x { type: count value_format_name: ueros } }", "unknown_value_format", 2, 36, ""),
    ("view: a { measure: x { type: count value_format_name: euro } }", "unknown_value_format", 2, 36, "eur"),
    ("view: a { dimension: x { required_access_grants: [g] } }", "unknown_access_grant", 2, 51, ""),
    ("view: a { derived_table: { sql: SELECT 1 FROM ${bb.SQL_TABLE_NAME} ;; } dimension: x {} }\nview: b {}", "unknown_view", 2, 47, ""),
    ("view: a { derived_table: { explore_source: bb { column: x {} } } }\nexplore: b {}\nview: b {}", "unknown_explore", 2, 28, ""),
    ("view: a { derived_table: { explore_source: b { column: x { field: b.idd } } } }\nexplore: b {}\nview: b { dimension: id {} }", "unknown_field", 2, 60, "b.id"),
    ("view: a { derived_table: { sql: SELECT 1 ;; datagroup_trigger: nighty } }\ndatagroup: nightly {}", "unknown_datagroup", 2, 45, "nightly"),
    ("view: a { measure: x { type: list list_field: idd } dimension: id {} }", "unknown_field", 2, 35, "id"),
    ("view: a { drill_fields: [idd] dimension: id {} }", "unknown_field", 2, 26, "id"),
    ("view: a { dimension: n { type: number } measure: m { type: count filters: [n: \"many\"] } }", "filter", 2, 76, ""),
    ("explore: a { always_filter: { filters: [a.on: \"maybe\"] } }\nview: a { dimension: on { type: yesno sql: 1=1 ;; } }", "filter", 2, 41, ""),
    ("explore: a { join: b { relationship: one_to_one sql_on: ${b.id} = 1 ;; } }\nview: a { measure: m { type: count filters: [b.id: \"x\"] } }\nview: b { dimension: id { primary_key: yes type: number } }", "filter", 3, 46, ""),
    ("explore: a {}\nview: a { dimension: n { type: number } }\ntest: t { explore_source: a { column: n {} filters: [a.n: \"x\"] } assert: y { expression: yes ;; } }", "filter", 4, 54, ""),
    ("explore: a {}\nview: a { dimension: n {} }\ntest: t { explore_source: a { column: n {} } assert: y { expression: ${a.n} == 1 ;; } }", "expression", 4, 77, ""),
    ("explore: a {}\nview: a { dimension: n {} }\ntest: t { explore_source: a { column: n {} } asert: y { expression: yes ;; } }", "unknown_parameter", 4, 46, "assert"),
    ("explore: a { extension: required }\nview: a {}", "never_extended", 2, 1, ""),
    ("explore: a { join: b { sql_on: ${b.id} = 1 ;; } }\nview: a {}\nview: b { dimension: id {} }", "no_relationship", 2, 14, ""),
    ("view: a { derived_table: { sql: SELECT 1 ;; sql_trigger_value: SELECT 1 ;; } }", "deprecated", 2, 45, ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "line", "column", "suggestion"), MISTAKES)
def test_a_mistake_is_found_at_its_place(
    make: Make, text: str, code: str, line: int, column: int, suggestion: str
) -> None:
    findings = validate(make({"m.model.lkml": HEAD + text}))
    found = [(f.code, f.line, f.column, f.suggestion) for f in findings]
    assert (code, line, column, suggestion) in found, found
    assert all(f.file == "m.model.lkml" for f in findings)


def test_a_reference_to_a_view_that_is_not_joined_names_the_explores(make: Make) -> None:
    findings = validate(
        make(
            {
                "m.model.lkml": HEAD
                + "explore: a {}\nexplore: a2 { from: a }\nexplore: ok { view_name: a join: b { relationship: one_to_one sql_on: ${b.id} = ${a.x} ;; } }\n"
                "view: a { dimension: x { sql: ${b.id} ;; } }\nview: b { dimension: id {} }"
            }
        )
    )
    (one,) = findings
    assert (one.code, one.line, one.explores) == ("unknown_field", 5, ("m/a", "m/a2"))
    assert (
        one.message
        == 'Unknown or inaccessible field "b.id" referenced in "a.x". Check for typos and missing joins.'
    )


def test_fields_that_the_explore_leaves_out_are_not_checked_in_it(make: Make) -> None:
    text = "explore: a { fields: [ALL_FIELDS*, -a.x] }\nexplore: e2 { extends: [a] }\n"
    text += "view: a { dimension: id {} dimension: x { sql: ${b.id} ;; } }\nview: b { dimension: id {} }"
    assert validate(make({"m.model.lkml": HEAD + text})) == []


def test_fields_left_out_are_checked_where_others_are_made_of_them(make: Make) -> None:
    text = "explore: a { fields: [ALL_FIELDS*, -a.x] }\n"
    text += "view: a { dimension: id {} dimension: x { sql: ${b.id} ;; } dimension: y { sql: ${x} + 1 ;; } }\nview: b { dimension: id {} }"
    (found,) = validate(make({"m.model.lkml": HEAD + text}))
    assert (found.code, found.line, found.explores) == ("unknown_field", 3, ("m/a",))
    assert 'field "b.id" referenced in "a.x"' in found.message


@pytest.mark.parametrize("sql", ["${" * 300_000, "${a " * 300_000, "${a;; sql: " * 100_000])
def test_a_flood_of_unclosed_references_is_read_in_bounded_time(make: Make, sql: str) -> None:
    project = make({"m.model.lkml": HEAD + "view: a { dimension: x { sql: " + sql + " ;; } }"})
    started = time.process_time()
    found = validate(project)
    assert time.process_time() - started < 10
    assert "syntax" in {f.code for f in found}


def test_names_may_begin_with_an_underscore_and_parts_of_fields_are_understood(make: Make) -> None:
    text = "explore: a { join: _b { sql_on: ${a.id} = ${_b._id} ;; relationship: one_to_one } }\n"
    text += "view: a { dimension: id {} dimension: x { sql: ${id._sql} + ${a.id._value} ;; } }\n"
    model = {"m.model.lkml": HEAD + text + "view: _b { dimension: _id {} }"}
    assert validate(make(model)) == []
    (wrong,) = validate(make({"m.model.lkml": HEAD + text + "view: _b { dimension: _key {} }"}))
    assert '"_b._id"' in wrong.message


def test_casts_aliases_and_own_names_are_understood(make: Make) -> None:
    text = """
explore: flights {
  join: origin { from: airports sql_on: ${origin.code} = ${flights.origin} ;; relationship: many_to_one }
  join: target { from: airports sql_on: ${target.code} = ${flights.target} ;; relationship: many_to_one }
}
view: flights {
  dimension: origin {}
  dimension: target {}
  dimension_group: left { type: time timeframes: [date] sql: ${TABLE}.left_at ;; }
  dimension: day { sql: ${left_date::datetime} ;; }
  dimension: pair { sql: ${origin.code} || ${target.code} ;; }
}
view: airports {
  dimension: code { primary_key: yes sql: ${TABLE}.code ;; }
  dimension: short { sql: LEFT(${airports.code}, 2) ;; }
}
"""
    assert validate(make({"m.model.lkml": HEAD + text})) == []


def test_a_join_that_repeats_rows_asks_for_a_primary_key(make: Make) -> None:
    text = "explore: a { join: b { relationship: one_to_many sql_on: ${a.id} = ${b.id} ;; } }\n"
    text += "view: a { dimension: id {} measure: n { type: count } }\nview: b { dimension: id {} }"
    (one,) = validate(make({"m.model.lkml": HEAD + text}))
    assert (one.code, one.severity, one.line) == ("no_primary_key", Severity.WARNING, 3)
    cured = text.replace("dimension: id {} measure", "dimension: id { primary_key: yes } measure")
    assert validate(make({"m.model.lkml": HEAD + cured})) == []


def test_a_project_without_models_or_connection_says_so(make: Make) -> None:
    assert [f.code for f in validate(make({"a.view.lkml": "view: a {}"}))] == ["no_model"]
    assert [
        f.code
        for f in validate(
            make({"a.view.lkml": "view: a {}", "m.model.lkml": 'include: "a.view" explore: a {}'})
        )
    ] == ["no_connection"]


def test_findings_of_a_shared_view_are_told_once(make: Make) -> None:
    files = {"v.view.lkml": "view: a { dimension: x { sql: ${y} ;; } }"}
    files |= {f"m{i}.model.lkml": HEAD + 'include: "v.view" explore: a {}' for i in range(5)}
    findings = validate(make(files))
    assert [f.code for f in findings] == ["unknown_field"]


def test_what_production_projects_do_is_no_mistake(make: Make) -> None:
    """Each of these stands in a public project that Looker accepts."""
    text = """
explore: base { extension: required join: b { sql_on: ${b.id} = 1 ;; relationship: one_to_one } }
explore: a { extends: [base] fields: [a*, b*] }
explore: other { from: a  extends: [base] }
view: a {
  dimension: id { primary_key: yes }
  dimension: score { type: number }
  dimension_group: score { type: time timeframes: [date] }
  measure: total { type: sum }
  measure: names { type: list list_field: id }
  measure: last { type: date_time sql: MAX(${TABLE}.at) ;; }
}
view: b {
  derived_table: { sql: SELECT 1 AS id WHERE {% incrementcondition %} at {% endincrementcondition %} ;; }
  dimension: id { primary_key: yes }
}
"""
    assert validate(make({"m.model.lkml": HEAD + text})) == []


FIELDS = """explore: a {
  always_filter: { filters: [a.id: "1", b.idd: "2"] }
  conditionally_filter: { filters: [a.idd: "1"] unless: [id] }
  access_filter: { field: a.city user_attribute: x }
  aggregate_table: daily { query: { dimensions: [id] measures: [a.count] } }
  join: b { sql_on: ${b.id} = ${a.id} ;; relationship: one_to_one }
}
view: b { dimension: id { primary_key: yes } }
view: a {
  dimension: id { primary_key: yes order_by_field: idd drill_fields: [id, all*, some*, b.anything, b*] }
  measure: n { type: count label_from_parameter: id }
  set: all { fields: [id] }
}
"""


def test_fields_named_outside_sql_are_looked_up(make: Make) -> None:
    findings = validate(make({"m.model.lkml": HEAD + FIELDS}))
    assert [(f.line, f.message.split('"')[1], f.severity.value) for f in findings] == [
        (3, "b.idd", "error"),
        (4, "a.idd", "error"),
        (5, "a.city", "error"),
        (6, "a.count", "warning"),
        (11, "a.idd", "error"),
        (11, "a.some", "warning"),
    ]


def test_one_missing_view_is_one_finding(make: Make) -> None:
    text = """explore: a {
  join: gone { relationship: one_to_one sql_on: ${gone.id} = ${a.id} ;; }
  always_filter: { filters: [gone.x: "1", a.inherited: "2"] }
  fields: [ALL_FIELDS*, -gone.x, -a.inherited]
}
view: a { extends: [lost] dimension: id { sql: ${inherited} || ${gone.y} ;; } measure: m { type: sum sql: ${id} ;; filters: [gone.z: "1"] } }
"""
    found = [(f.code, f.line) for f in validate(make({"m.model.lkml": HEAD + text}))]
    assert found == [("unknown_view", 3), ("unknown_extends", 7)]


def test_what_cannot_be_parsed_is_one_finding_and_its_views_are_left_alone(make: Make) -> None:
    model = (
        HEAD
        + 'include: "b.view"\nexplore: a { join: b { relationship: one_to_one sql_on: ${b.id} = ${a.x} ;; } fields: [ALL_FIELDS*, -b.y] }\nview: a { dimension: x { sql: ${b.y} ;; } }'
    )
    found = validate(
        make({"m.model.lkml": model, "b.view.lkml": "view: b { dimension: id { dimension: y {} }"})
    )
    assert [(f.code, f.severity, f.file) for f in found] == [("syntax", Severity.FATAL, "b.view.lkml")]


def test_a_file_that_no_model_includes_is_told_as_information(make: Make) -> None:
    found = validate(
        make({"m.model.lkml": HEAD, "views/a.view.lkml": "view: a {}", "manifest.lkml": 'project_name: "p"'})
    )
    assert [(f.code, f.severity, f.file) for f in found] == [
        ("unreachable", Severity.INFO, "views/a.view.lkml")
    ]


def test_a_former_runs_findings_are_used_until_what_they_depend_on_changes(
    make: Make, tmp_path: Path
) -> None:
    text = "view: t { derived_table: { explore_source: a { column: x { field: b.id } } } dimension: x {} }\n"
    text += "explore: a { join: b { relationship: one_to_one sql_on: ${b.id} = ${a.id} ;; } }\nview: a { dimension: id {} }\n"
    root = make(
        {"m.model.lkml": HEAD + 'include: "b.view"\n' + text, "b.view.lkml": "view: b { dimension: id {} }"}
    ).root
    cache = tmp_path / "cache"
    assert validate(load(root, cache=Cache(cache))) == []
    assert validate(load(root, cache=Cache(cache))) == []
    (root / "b.view.lkml").write_text("view: b { dimension: idd {} }")
    cold, warm = validate(load(root)), validate(load(root, cache=Cache(cache)))
    assert warm == cold
    assert {(f.code, f.line) for f in warm} == {("unknown_field", 3), ("unknown_field", 4)}


def test_references_of_a_part_of_views_are_looked_at_where_they_end_up(make: Make) -> None:
    text = "explore: a {}\nview: part { dimension: x { sql: ${id} || ${z} ;; } }\nview: a { extends: [part] dimension: id {} %s }"
    whole = validate(make({"m.model.lkml": HEAD + text % "dimension: z {}"}))
    assert whole == []
    (one,) = validate(make({"m.model.lkml": HEAD + text % ""}))
    assert (one.code, one.line, one.field) == ("unknown_field", 3, "a.x")
