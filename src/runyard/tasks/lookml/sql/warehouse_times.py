"""Timeframes, intervals and moments as BigQuery, Snowflake and Redshift say them. Pure text; called by
`timeframes`.

Each dialect gives its few words (`_Words`), from its vendor's reference; what timeframes are made of is the
same for the three. `tests/tasks/lookml` runs them all on DuckDB after sqlglot has translated them, beside
DuckDB's own, and Snowflake's on fakesnow.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from runyard.tasks.lookml.language.timeframes import COUNTED
from runyard.tasks.lookml.sql.dialects import Warehouse


@dataclass(frozen=True, slots=True)
class _Words:
    """How a dialect says: a value as a timestamp without zone, as text by a pattern, a numeric part, the
    start of a unit, a sum, a weekday (0 Monday)."""

    stamp: Callable[[str], str]
    text: Callable[[str, str], str]
    part: Callable[[str, str], str]
    start: Callable[[str, str], str]
    add: Callable[[str, str, str], str]  # (count, unit, timestamp)
    weekday: Callable[[str], str]
    days: Callable[[str, str], str]  # (count, date)
    day_name: Callable[[str], str]
    month_name: Callable[[str], str]
    patterns: Mapping[str, str]
    parts: Mapping[str, str]
    string: str
    integer: str


_PATTERNS = {
    "time": "YYYY-MM-DD HH24:MI:SS",
    "second": "YYYY-MM-DD HH24:MI:SS",
    "minute": "YYYY-MM-DD HH24:MI",
    "hour": "YYYY-MM-DD HH24",
    "month": "YYYY-MM",
    "time_of_day": "HH24:MI",
}
_FORMATS = {
    "time": "%Y-%m-%d %H:%M:%S",
    "second": "%Y-%m-%d %H:%M:%S",
    "minute": "%Y-%m-%d %H:%M",
    "hour": "%Y-%m-%d %H",
    "month": "%Y-%m",
    "time_of_day": "%H:%M",
    "millisecond": "%Y-%m-%d %H:%M:%E3S",
    "microsecond": "%Y-%m-%d %H:%M:%E6S",
}
_PARTS = {
    "year": "year",
    "quarter": "quarter",
    "month_num": "month",
    "day_of_month": "day",
    "day_of_year": "doy",
    "hour_of_day": "hour",
    "week_of_year": "week",
}
_MONTH_NAMES = tuple(calendar.month_name)[1:]
_DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _named(index: str, names: Sequence[str]) -> str:
    """A name by its index from 0; Snowflake's own names of days have three letters, Redshift's names are
    padded."""
    cases = " ".join(f"WHEN {n} THEN '{name}'" for n, name in enumerate(names))
    return f"CASE {index} {cases} END"


_WORDS: dict[Warehouse, _Words] = {
    "bigquery": _Words(
        stamp=lambda x: f"CAST({x} AS DATETIME)",
        text=lambda t, p: f"FORMAT_DATETIME('{p}', {t})",
        part=lambda t, p: f"EXTRACT({p} FROM {t})",
        start=lambda u, t: f"DATETIME_TRUNC({t}, {u.upper()})",
        add=lambda n, u, t: f"DATETIME_ADD({t}, INTERVAL {n} {u.upper()})",
        weekday=lambda t: f"DATE_DIFF(CAST({t} AS DATE), DATE_TRUNC(CAST({t} AS DATE), ISOWEEK), DAY)",
        days=lambda n, d: f"DATE_ADD({d}, INTERVAL {n} DAY)",
        day_name=lambda t: f"FORMAT_DATETIME('%A', {t})",
        month_name=lambda t: f"FORMAT_DATETIME('%B', {t})",
        patterns=_FORMATS,
        parts={k: v.upper() for k, v in _PARTS.items()}
        | {"day_of_year": "DAYOFYEAR", "week_of_year": "ISOWEEK"},
        string="STRING",
        integer="INT64",
    ),
    "snowflake": _Words(
        stamp=lambda x: f"CAST({x} AS TIMESTAMP_NTZ)",
        text=lambda t, p: f"TO_CHAR({t}, '{p}')",
        part=lambda t, p: f"DATE_PART({p}, {t})",
        start=lambda u, t: f"DATE_TRUNC('{u}', {t})",
        add=lambda n, u, t: f"DATEADD({u}, {n}, {t})",
        weekday=lambda t: f"(DAYOFWEEKISO({t}) - 1)",
        days=lambda n, d: f"DATEADD(day, {n}, {d})",
        day_name=lambda t: _named(f"DAYOFWEEKISO({t}) - 1", _DAY_NAMES),
        month_name=lambda t: f"TO_CHAR({t}, 'MMMM')",
        patterns={
            **_PATTERNS,
            "millisecond": "YYYY-MM-DD HH24:MI:SS.FF3",
            "microsecond": "YYYY-MM-DD HH24:MI:SS.FF6",
        },
        parts={**_PARTS, "day_of_year": "dayofyear", "week_of_year": "weekiso"},
        string="VARCHAR",
        integer="INTEGER",
    ),
    "redshift": _Words(
        stamp=lambda x: f"CAST({x} AS TIMESTAMP)",
        text=lambda t, p: f"TO_CHAR({t}, '{p}')",
        part=lambda t, p: f"DATE_PART('{p}', {t})",
        start=lambda u, t: f"DATE_TRUNC('{u}', {t})",
        add=lambda n, u, t: f"DATEADD({u}, {n}, {t})",
        weekday=lambda t: f"MOD(CAST(DATE_PART('dow', {t}) AS INTEGER) + 6, 7)",
        days=lambda n, d: f"DATEADD(day, {n}, {d})",
        day_name=lambda t: _named(f"DATE_PART('dow', {t})", ("Sunday", *_DAY_NAMES[:-1])),
        month_name=lambda t: _named(f"DATE_PART('month', {t}) - 1", _MONTH_NAMES),
        patterns={
            **_PATTERNS,
            "millisecond": "YYYY-MM-DD HH24:MI:SS.MS",
            "microsecond": "YYYY-MM-DD HH24:MI:SS.US",
        },
        parts=_PARTS,
        string="VARCHAR",
        integer="INTEGER",
    ),
}


def to_timestamp(sql: str, datatype: str, dialect: Warehouse) -> str:
    """A column of a `datatype` as a timestamp or date."""
    if datatype == "epoch":
        return {
            "bigquery": f"TIMESTAMP_SECONDS({sql})",
            "snowflake": f"DATEADD(second, {sql}, CAST('1970-01-01' AS TIMESTAMP_NTZ))",
            "redshift": f"DATEADD(second, {sql}, CAST('1970-01-01' AS TIMESTAMP))",
        }[dialect]
    if datatype == "yyyymmdd":
        text = f"CAST({sql} AS {_WORDS[dialect].string})"
        return f"PARSE_DATE('%Y%m%d', {text})" if dialect == "bigquery" else f"TO_DATE({text}, 'YYYYMMDD')"
    return sql


def in_zone(sql: str, database_zone: str, zone: str, dialect: Warehouse) -> str:
    """A moment kept in the database's zone as a timestamp without zone of the query's."""
    stamp = _WORDS[dialect].stamp(sql)
    if dialect == "bigquery":
        return f"DATETIME(TIMESTAMP({stamp}, '{database_zone}'), '{zone}')"
    return f"CONVERT_TIMEZONE('{database_zone}', '{zone}', {stamp})"


def later(sql: str, count: int, unit: str, dialect: Warehouse) -> str:
    """The moment some units later."""
    words = _WORDS[dialect]
    return words.add(str(count), unit, words.stamp(sql))


def timeframe(x: str, name: str, dialect: Warehouse, week_start: int, fiscal_offset: int) -> str:
    """The SQL of one timeframe of `x`; raw, yesno and date are the caller's."""
    words = _WORDS[dialect]
    t = words.stamp(x)
    if name == "week":
        date = f"CAST({x} AS DATE)"
        # Redshift's DATEADD makes a timestamp of a date.
        return f"CAST({words.days(f'-MOD({words.weekday(t)} + {7 - week_start}, 7)', date)} AS DATE)"
    if name.startswith("fiscal_"):
        return _fiscal(words.add(str(-fiscal_offset), "month", t) if fiscal_offset else t, name, words)
    counted = COUNTED.fullmatch(name)
    if counted:
        return _bucket(t, counted.group(1), int(counted.group(2)), dialect)
    match name:
        case "day_of_week_index":
            return f"CAST(MOD({words.weekday(t)} + {7 - week_start}, 7) AS {words.integer})"
        case "day_of_week":
            return words.day_name(t)
        case "month_name":
            return words.month_name(t)
        case "quarter":
            return words.text(words.start("quarter", t), words.patterns["month"])
        case "quarter_of_year":
            return _quarter(t, words)
    if name in words.parts:
        return _number(t, name, words)
    return words.text(t, words.patterns[name])


def _number(t: str, name: str, words: _Words) -> str:
    return f"CAST({words.part(t, words.parts[name])} AS {words.integer})"


def _quarter(t: str, words: _Words) -> str:
    return f"CONCAT('Q', CAST({_number(t, 'quarter', words)} AS {words.string}))"


def _fiscal(t: str, name: str, words: _Words) -> str:
    match name:
        case "fiscal_year":
            return _number(t, "year", words)
        case "fiscal_month_num":
            return _number(t, "month_num", words)
        case "fiscal_quarter_of_year":
            return _quarter(t, words)
    year = f"CONCAT('FY', CAST({_number(t, 'year', words)} AS {words.string}))"
    return f"CONCAT(CONCAT({year}, '-'), {_quarter(t, words)})"


def _bucket(t: str, unit: str, count: int, dialect: Warehouse) -> str:
    """hourN, minuteN, secondN, millisecondN: back to the last multiple of N in the next larger unit."""
    words = _WORDS[dialect]
    if unit == "millisecond":
        part = {
            "bigquery": f"EXTRACT(MILLISECOND FROM {t})",
            "snowflake": f"FLOOR(DATE_PART(nanosecond, {t}) / 1000000)",
            "redshift": f"MOD(CAST(DATE_PART('milliseconds', {t}) AS INTEGER), 1000)",
        }[dialect]
        start = words.start("milliseconds" if dialect == "redshift" else unit, t)
    else:
        part, start = words.part(t, unit), words.start(unit, t)
    behind = f"MOD(CAST({part} AS {words.integer}), {count})"
    pattern = words.patterns[unit if unit in ("hour", "minute") else "millisecond"]
    return words.text(words.add(f"-{behind}", unit, start), pattern)


_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


def duration(start: str, end: str, interval: str, dialect: Warehouse) -> str:
    """Whole intervals between two moments, rounded down."""
    words = _WORDS[dialect]
    start, end = words.stamp(start), words.stamp(end)
    if interval in _SECONDS:
        # They count borders crossed: of microseconds, none is crossed too many.
        spent = f"DATEDIFF(microsecond, {start}, {end})"
        if dialect == "bigquery":
            spent = f"DATETIME_DIFF({end}, {start}, MICROSECOND)"
        return f"CAST(FLOOR({spent} / {_SECONDS[interval]}000000.0) AS {words.integer})"
    crossed = f"DATEDIFF(month, {start}, {end})"
    if dialect == "bigquery":
        crossed = f"DATETIME_DIFF({end}, {start}, MONTH)"
    months = f"({crossed} - CASE WHEN {words.add(crossed, 'month', start)} > {end} THEN 1 ELSE 0 END)"
    return f"CAST(FLOOR({months} / {_MONTHS[interval]}.0) AS {words.integer})"
