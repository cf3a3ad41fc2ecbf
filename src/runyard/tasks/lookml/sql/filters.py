"""Looker filter expressions as SQL conditions: one entry for every type. Called by `measures`, `query` and
the LookML validator.

`condition` compiles, `problem` only says what is wrong. The grammars are in `filter_strings`,
`filter_numbers` and `filter_dates`; their source is Looker's page "Looker filter expressions" and its
published grammars.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from runyard.tasks.lookml.language.model import Field
from runyard.tasks.lookml.sql import filter_dates, filter_numbers, filter_strings
from runyard.tasks.lookml.sql.dialects import Dialect
from runyard.tasks.lookml.sql.expressions import Expression, filled
from runyard.tasks.lookml.sql.filter_text import BadFilter, X
from runyard.tasks.lookml.sql.timeframes import PLAIN, Calendar

_NUMERIC_TYPES = """
    number tier_number int count count_distinct sum sum_distinct average average_distinct median median_distinct percentile
    percentile_distinct running_total percent_of_total percent_of_previous period_over_period
    duration_second duration_minute duration_hour duration_day duration_week duration_month duration_quarter duration_year distance
"""
NUMERIC_TYPES = frozenset(_NUMERIC_TYPES.split())
_NUMERIC_PARTS_WORDS = """
    year hour_of_day day_of_week_index day_of_month day_of_year week_of_year month_num fiscal_month_num fiscal_year
"""
NUMERIC_PARTS = frozenset(_NUMERIC_PARTS_WORDS.split())
TEXT_PARTS = frozenset(
    {"day_of_week", "month_name", "quarter_of_year", "fiscal_quarter_of_year", "time_of_day"}
)
_ATTRIBUTE = re.compile(r"\{\{\s*_user_attributes\[\s*['\"]([\w.\- ]+)['\"]\s*\]\s*\}\}")


MAX_FILTER = 100_000


@dataclass(frozen=True, slots=True)
class Setting:
    """What relative dates and letters mean: the moment of the query in its own zone (no zone kept), the
    model's calendar."""

    now: datetime
    calendar: Calendar = PLAIN
    folds_case: bool = False
    user_attributes: Mapping[str, str] | None = None


def kind_of(field: Field) -> str:
    """Which grammar a field's filters are written in: string, number, date, yesno or location."""
    if field.is_duration:
        return "number"
    part = field.part or (field.type.removeprefix("date_") if field.type.startswith("date_") else "")
    if (part and part != "time") or field.type == "date_time":
        return (
            "number"
            if part in NUMERIC_PARTS
            else "string"
            if part in TEXT_PARTS
            else "yesno"
            if part == "yesno"
            else "date"
        )
    if field.type in ("date", "time", "date_time"):
        return "date"
    if field.type in NUMERIC_TYPES or field.type.startswith("duration_"):
        return "number"
    if field.kind == "measure" and field.type in ("min", "max"):
        return "number"
    return field.type if field.type in ("yesno", "location") else "string"


def is_raw_date(field: Field) -> bool:
    """Whether the filter is put on the column itself instead of the timeframe made of it."""
    return kind_of(field) == "date" and field.kind != "measure"


def problem(kind: str, text: str) -> str:
    """What is wrong with a filter expression of this kind; "" when nothing is."""
    try:
        condition_text(
            kind,
            _ATTRIBUTE.sub("1", text) if kind != "string" else text,
            Setting(datetime(2000, 1, 1, tzinfo=UTC)),
            "duckdb",
        )
    except BadFilter as bad:
        return str(bad)
    return ""


def condition(
    x: Expression, kind: str, text: str, setting: Setting, dialect: Dialect = "duckdb"
) -> Expression:
    """The condition that `text` puts on `x`; raises BadFilter when the expression is not understood."""
    text = with_attributes(text, setting.user_attributes or {})
    return filled(condition_text(kind, text, setting, dialect), {X: x})


def with_attributes(text: str, values: Mapping[str, str]) -> str:
    """`{{ _user_attributes['x'] }}` replaced by the attribute's value; unknown ones by nothing, which filters
    nothing."""
    return _ATTRIBUTE.sub(lambda m: values.get(m.group(1), ""), text) if "{{" in text else text


def _yesno(text: str) -> str:
    """Comma is OR here as everywhere."""
    answers = {_ANSWERS.get(word.strip().lower(), "") for word in text.split(",") if word.strip()}
    if "" in answers:
        raise BadFilter(f'"{text}" is not Yes or No')
    if len(answers) != 1:
        return "1=1"
    return X if answers == {"yes"} else f"NOT COALESCE({X}, FALSE)"


_ANSWERS = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}


def condition_text(kind: str, text: str, setting: Setting, dialect: Dialect) -> str:
    """The condition on the mark X."""
    text = text.replace("\0", "")
    if len(text) > MAX_FILTER:
        raise BadFilter(f"the filter expression is longer than {MAX_FILTER} characters")
    if not text.strip():
        return "1=1"
    match kind:
        case "yesno":
            return _yesno(text)
        case "number":
            return filter_numbers.condition(text)
        case "date":
            return filter_dates.condition(text, setting.now, setting.calendar)
        case "location":
            raise BadFilter("filters on locations are not compiled")
    return filter_strings.condition(text, setting.folds_case, dialect)
