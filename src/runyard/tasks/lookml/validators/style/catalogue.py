"""The built-in style rules: the codes of lkmlstyle 0.0.8, and for each a name to use in the newer form of the
configuration.

Source: lookml.md §13. Looker's own names for the rules of "all-v1.0" are not published in text that we have;
both code and name are accepted.
"""

from __future__ import annotations

from runyard.syntax.patterns import compile as pattern
from runyard.tasks.lookml.validators.style.rule import Condition, Kind, Rule

_SNAKE = pattern("^[_a-z0-9]+$")
_FIELDS = ("dimension", "dimension_group")
_VISIBLE = Condition("hidden", pattern("^(?i:yes|true)$"), negative=True)
# A view that is only there to be extended gets these from the view that extends it.
_QUERYABLE = Condition("extension", pattern("^required$"), negative=True)
_KEY = Condition("primary_key", pattern("^(?i:yes|true)$"))
_PERSISTED = (
    "datagroup_trigger",
    "sql_trigger_value",
    "persist_for",
    "interval_trigger",
    "materialized_view",
)


def _type(word: str) -> Condition:
    return Condition("type", pattern(f"^{word}$"))


def _named(
    code: str,
    name: str,
    title: str,
    select: tuple[str, ...],
    regex: str,
    *filters: Condition,
    negative: bool = False,
) -> Rule:
    return Rule(
        code,
        name,
        title,
        Kind.PATTERN_MATCH,
        select,
        filters,
        pattern=pattern(regex),
        negative=negative,
        refinements=True,
    )


def _property(
    code: str, name: str, title: str, select: tuple[str, ...], parameter: str, *filters: Condition
) -> Rule:
    return Rule(code, name, title, Kind.PROPERTY, select, filters, parameter=parameter)


RULES: tuple[Rule, ...] = (
    _named("V100", "view_name_snake_case", "A view's name is snake_case.", ("view",), _SNAKE.source),
    _named("D101", "dimension_name_snake_case", "A dimension's name is snake_case.", _FIELDS, _SNAKE.source),
    _named("M103", "measure_name_snake_case", "A measure's name is snake_case.", ("measure",), _SNAKE.source),
    _named("M100", "count_measure_prefix", 'The name of a count begins with "count_".', ("measure",), "^count_", _type("count")),
    _named("M101", "sum_measure_prefix", 'The name of a sum begins with "total_".', ("measure",), "^total_", _type("sum")),
    _named("M102", "average_measure_prefix", 'The name of an average begins with "avg_" or "average_".', ("measure",), "^(?:avg|average)_", _type("average")),
    _named("D100", "yesno_dimension_prefix", 'The name of a yesno begins with "is_" or "has_".', ("dimension",), "^(?:is|has)_", _type("yesno")),
    _named("M110", "measure_references_dimension", "A measure's sql uses dimensions, not ${TABLE}.", ("measure.sql",), r"\$\{TABLE\}", negative=True),
    _named("D300", "redundant_string_type", "`type: string` is the default and is left out.", ("dimension.type",), "^string$", negative=True),
    _named("J100", "redundant_left_outer", "`type: left_outer` is the default and is left out.", ("join.type",), "^left_outer$", negative=True),
    _named("D200", "dimension_group_suffix", 'The name of a dimension_group does not end with "_at", "_date" or "_time".', ("dimension_group",), "_(?:at|date|time)$", negative=True),
    _named("D303", "yesno_label", 'The label of a yesno does not say "Yes/No"; Looker adds that.', ("dimension.label",), r"(?i)yes\s*/\s*no", _type("yesno"), negative=True),
    _property("E100", "explore_fields", "An explore declares `fields`.", ("explore",), "fields"),
    _property("D301", "dimension_description", "A visible dimension has a description.", _FIELDS, "description", _VISIBLE),
    _property("M112", "measure_description", "A visible measure has a description.", ("measure",), "description", _VISIBLE),
    Rule("V110", "view_primary_key", "A view has a primary key.", Kind.PROPERTY, ("view",), (_QUERYABLE,), parameter="dimension.primary_key"),
    Rule("V111", "view_label", "A view has a label.", Kind.PROPERTY, ("view",), (_QUERYABLE,), parameter="label|view_label"),
    Rule("D302", "primary_key_hidden", "A primary key is hidden.", Kind.PROPERTY, ("dimension",), (_KEY,), parameter="hidden"),
    Rule("D107", "primary_key_first", "The primary key is the first dimension.", Kind.FIRST_CHILD, ("dimension",), (_KEY,)),
    Rule("D106", "dimensions_alphabetical", "Dimensions stand in alphabetical order.", Kind.ORDER, ("dimension",), (Condition("primary_key", negative=True),)),
    Rule("M106", "measures_alphabetical", "Measures stand in alphabetical order.", Kind.ORDER, ("measure",)),
    Rule("V112", "view_table_unique", "No two views share one table.", Kind.UNIQUE, ("view",), parameter="sql_table_name"),
    Rule("V113", "pdt_name_prefix", 'The name of a persistent derived table begins with "pdt_".', Kind.PATTERN_MATCH, ("view",), (Condition("derived_table." + "|".join(_PERSISTED)),), pattern=pattern("^pdt_")),
    Rule("LAMS:F3", "count_has_filter", "A count has a filter.", Kind.PROPERTY, ("measure",), (_type("count"),), parameter="filters", by_default=False),
)  # fmt: skip

BY_WORD = {word: rule for rule in RULES for word in (rule.code, rule.name)}
"""The rules by code and by name."""
