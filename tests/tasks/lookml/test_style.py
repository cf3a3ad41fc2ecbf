"""The style validator: each rule finds what it is for and nothing else, both forms of the configuration,
located mistakes in it."""

from __future__ import annotations

import pytest

from runyard.tasks.lookml.validators.style.catalogue import RULES
from runyard.tasks.lookml.validators.style.check import StyleFinding, check, new_ones
from runyard.tasks.lookml.validators.style.config import BadConfig, read

from .conftest import Make

ALL = "schema_version: 1\nruleset_version: all-v1.0\n"
GOOD = """view: shops {
  label: "Shops"
  sql_table_name: shops ;;
  dimension: id { primary_key: yes hidden: yes type: number sql: ${TABLE}.id ;; }
  dimension: area { type: number description: "m2" sql: ${TABLE}.area ;; }
  dimension: is_open { type: yesno description: "d" label: "Open" sql: ${TABLE}.open ;; }
  dimension_group: opened { type: time description: "d" sql: ${TABLE}.opened_at ;; }
  measure: average_area { type: average description: "d" sql: ${area} ;; }
  measure: count_shops { type: count description: "d" filters: [area: ">0"] }
  measure: total_area { type: sum description: "d" sql: ${area} ;; }
}
explore: shops {
  fields: [ALL_FIELDS*]
  join: others { type: inner relationship: one_to_one sql_on: 1 = 1 ;; }
}
view: others { label: "Others" derived_table: { sql: SELECT 1 AS id ;; }
  dimension: id { primary_key: yes hidden: yes type: number sql: ${TABLE}.id ;; } }
"""


def found(make: Make, text: str, config: str = ALL) -> list[StyleFinding]:
    return check(make({"shop.view.lkml": text}), read(config, "lkmlstyle.yaml"))


def test_good_style_is_found_good(make: Make) -> None:
    assert found(make, GOOD) == []
    assert found(make, GOOD, "{}") == []


@pytest.mark.parametrize(
    ("code", "old", "new", "name"),
    [
        ("V100", "view: others {", "view: Others {", "Others"),
        ("D101", "dimension: area ", "dimension: aRea ", "shops.aRea"),
        ("M103", "measure: total_area", "measure: total_Area", "shops.total_Area"),
        ("M100", "measure: count_shops", "measure: counts", "shops.counts"),
        ("M101", "measure: total_area", "measure: sum_area", "shops.sum_area"),
        ("M102", "measure: average_area", "measure: a_mean_area", "shops.a_mean_area"),
        ("D100", "dimension: is_open", "dimension: open", "shops.open"),
        ("M110", "sql: ${area} ;; }\n}", "sql: ${TABLE}.area ;; }\n}", "shops.total_area"),
        ("D300", 'dimension: area { type: number description: "m2"', 'dimension: area { type: string description: "m2"', "shops.area"),
        ("J100", "type: inner", "type: left_outer", "shops.others"),
        ("D200", "dimension_group: opened", "dimension_group: opened_at", "shops.opened_at"),
        ("D303", 'label: "Open"', 'label: "Open (Yes / No)"', "shops.is_open"),
        ("E100", "fields: [ALL_FIELDS*]", "", "shops"),
        ("D301", 'description: "m2"', "", "shops.area"),
        ("M112", 'measure: total_area { type: sum description: "d"', "measure: total_area { type: sum", "shops.total_area"),
        ("V110", "dimension: id { primary_key: yes hidden: yes type: number sql: ${TABLE}.id ;; } }", "dimension: id { hidden: yes type: number sql: ${TABLE}.id ;; } }", "others"),
        ("V111", 'label: "Others"', "", "others"),
        ("D302", "primary_key: yes hidden: yes type: number sql: ${TABLE}.id ;; } }", 'primary_key: yes description: "d" type: number sql: ${TABLE}.id ;; } }', "others.id"),
        ("D107", "dimension: id { primary_key: yes hidden: yes type: number sql: ${TABLE}.id ;; } }",
         "dimension: a { hidden: yes } dimension: id { primary_key: yes hidden: yes type: number sql: ${TABLE}.id ;; } }", "others.id"),
        ("D106", "dimension: area ", "dimension: narea ", "shops.is_open"),
        ("M106", "measure: average_area { type: average", "measure: zest { type: max", "shops.count_shops"),
        ("V112", "derived_table: { sql: SELECT 1 AS id ;; }", "sql_table_name:  SHOPS ;;", "others"),
        ("V113", "derived_table: { sql: SELECT 1 AS id ;; }", 'derived_table: { sql: SELECT 1 AS id ;; persist_for: "1 hour" }', "others"),
    ],
)  # fmt: skip
def test_each_rule_finds_exactly_its_own(make: Make, code: str, old: str, new: str, name: str) -> None:
    assert GOOD.count(old) == 1
    text = GOOD.replace(old, new)
    (one,) = found(make, text)
    assert (one.code, one.entity_name, one.severity) == (code, name, "error")
    assert one.line == one.context_line + list(one.context).index(text.split("\n")[one.line - 1])
    assert text.split("\n")[one.line - 1][one.column - 1 :].startswith(
        (one.entity_type, "sql", "type", "label", "sql_table_name")
    )


def test_twenty_three_rules_run_by_default_and_one_when_named(make: Make) -> None:
    assert sum(r.by_default for r in RULES) == 23
    text = GOOD.replace('filters: [area: ">0"]', "")
    assert found(make, text) == []
    assert [f.code for f in found(make, text, "select: ['LAMS:F3']")] == ["LAMS:F3"]
    assert [f.code for f in found(make, text, ALL + "rules: {count_has_filter: {severity: warn}}")] == [
        "LAMS:F3"
    ]


def test_old_form_selects_and_ignores_by_prefix(make: Make) -> None:
    text = GOOD.replace("view: others {", "view: Others {").replace("fields: [ALL_FIELDS*]", "")
    assert [f.code for f in found(make, text, "{}")] == ["E100", "V100"]
    assert [f.code for f in found(make, text, "select: [V]")] == ["V100"]
    assert [f.code for f in found(make, text, "ignore: [V1]")] == ["E100"]


def test_new_form_sets_severities_by_rule_and_by_path(make: Make) -> None:
    files = {
        "a/x.view.lkml": 'view: A { label: "A" }',
        "b/x.view.lkml": 'view: B { label: "B" }',
        "c/x.view.lkml": "view: C {}",
    }
    config = (
        ALL
        + "ignore_files: ['c/**']\nrules: {V110: {severity: disabled}, V100: {severity: warn}}\noverrides: [{files: ['b/*'], rules: {V100: {severity: error, version: 1}, V111: disabled}}]\n"
    )
    found = check(make(files), read(config, "lkmlstyle.yaml"))
    assert [(f.file, f.code, f.severity) for f in found] == [
        ("a/x.view.lkml", "V100", "warn"),
        ("b/x.view.lkml", "V100", "error"),
    ]
    none = "schema_version: 1\nruleset_version: none\nrules: {view_name_snake_case: {}}\n"
    assert [f.code for f in check(make(files), read(none, "lkmlstyle.yaml"))] == ["V100"] * 3


CUSTOM = """custom_rules:
  - {title: no stars, code: C1, type: PatternMatchRule, select: [measure.sql, dimension.sql], regex: '\\*', negative: true, rationale: be precise}
  - {code: C2, type: ParameterRule, select: dimension, filters: [{type: number}], parameter: value_format_name}
  - {name: sorted_sets, kind: order, select: set}
  - {name: id_first, kind: first_child, select: dimension, filters: [{parameter: primary_key}]}
  - {name: one_label, kind: unique, select: dimension.label, severity: warn}
  - {code: V100, title: ours, select: [view.name], regex: '^v_'}
"""


@pytest.mark.parametrize(
    "head",
    [
        "select: [C, V100, sorted_sets, id_first, one_label]\n",
        "schema_version: 1\nruleset_version: none\nrules: {V100: error}\n",
    ],
)
def test_custom_rules_of_every_kind_in_both_forms(make: Make, head: str) -> None:
    text = """view: v_a {
  dimension: a { type: number sql: ${b} * 2 ;; label: "L" }
  dimension: b { primary_key: yes label: "L" }
  set: z { fields: [a] }
  set: y { fields: [b] }
}
view: b { dimension: x { type: number value_format_name: usd } }
"""
    codes = [(f.code, f.entity_name, f.line) for f in found(make, text, head + CUSTOM)]
    assert sorted(codes) == [
        ("C1", "v_a.a", 2),
        ("C2", "v_a.a", 2),
        ("V100", "b", 7),
        ("id_first", "v_a.b", 3),
        ("one_label", "v_a.b", 3),
        ("sorted_sets", "v_a.y", 5),
    ]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("schema_version: 2\nruleset_version: none", "1:17", "schema_version must be 1"),
        ("schema_version: 1", "1:1", "ruleset_version must be one of all-v1.0, none"),
        (ALL + "rules: {V10: {severity: warn}}", "3:9", 'unknown rule "V10"; did you mean V100?'),
        (ALL + "rules: {V100: {severity: bad}}", "3:26", 'unknown severity "bad"'),
        (ALL + "ignore_fles: []", "3:1", "did you mean ignore_files?"),
        ("select: [X9]", "1:10", 'no rule begins with "X9"'),
        ("custom_rules: [{code: A, select: [dimensoin], regex: a}]", "1:35", "did you mean dimension?"),
        ("custom_rules: [{code: A, select: [dimension], regex: '(?=a)'}]", "1:54", "invalid pattern"),
        ("custom_rules: [{code: A, select: [dimension]}]", "1:16", "needs a `regex`"),
        ("custom_rules: [{code: A, type: Magic, select: [dimension]}]", "1:16", "unknown kind of rule"),
        ("- a", "1:1", "expected a mapping"),
        ("a: [", "1:5", ""),
    ],
)  # fmt: skip
def test_a_mistake_in_the_configuration_has_its_place(text: str, place: str, message: str) -> None:
    with pytest.raises(BadConfig) as caught:
        read(text, "lkmlstyle.yaml")
    assert str(caught.value).startswith(f"lkmlstyle.yaml:{place}: ") or not message
    assert message in str(caught.value)


def test_only_new_violations_count_wherever_lines_went(make: Make) -> None:
    before = found(make, 'view: A { label: "a" }')
    after = found(make, '# a comment\n\nview: A { label: "a" measure: X { type: max description: "d" } }')
    (new,) = new_ones(after, before)
    assert (new.code, new.is_incremental) == ("M103", True)
