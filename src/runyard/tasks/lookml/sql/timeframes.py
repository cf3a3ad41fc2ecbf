"""Timeframes and intervals as SQL: DuckDB's and PostgreSQL's here, the warehouses' in `warehouse_times`. Pure
text; called by `dimensions`.

Every expression here was run against both databases; `tests/tasks/lookml` repeats that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runyard.tasks.lookml.language.timeframes import COUNTED
from runyard.tasks.lookml.sql import warehouse_times
from runyard.tasks.lookml.sql.dialects import Dialect, Native


@dataclass(frozen=True, slots=True)
class Calendar:
    """What a model says about weeks and fiscal years."""

    week_start: int = 0  # 0 = Monday
    fiscal_offset: int = 0


PLAIN = Calendar()


def to_timestamp(sql: str, datatype: str, dialect: Dialect) -> str:
    """A column of a `datatype` as a timestamp or date."""
    if dialect == "bigquery" or dialect == "snowflake" or dialect == "redshift":
        return warehouse_times.to_timestamp(sql, datatype, dialect)
    match (datatype, dialect):
        case ("epoch", "duckdb"):
            return f"to_timestamp({sql})::TIMESTAMP"
        case ("epoch", "postgres"):
            return f"(TO_TIMESTAMP({sql}) AT TIME ZONE 'UTC')"
        case ("yyyymmdd", "duckdb"):
            return f"strptime(CAST({sql} AS VARCHAR), '%Y%m%d')"
        case ("yyyymmdd", "postgres"):
            return f"TO_DATE(CAST({sql} AS VARCHAR), 'YYYYMMDD')"
    return sql


def in_zone(sql: str, database_zone: str, zone: str, dialect: Dialect) -> str:
    """A timestamp without zone, kept in the database's zone, as a timestamp without zone of the query's."""
    if not zone or zone == database_zone:
        return sql
    if dialect == "bigquery" or dialect == "snowflake" or dialect == "redshift":
        return warehouse_times.in_zone(sql, database_zone, zone, dialect)
    if dialect == "duckdb":
        return f"timezone('{zone}', timezone('{database_zone}', CAST({sql} AS TIMESTAMP)))"
    return f"(CAST({sql} AS TIMESTAMP) AT TIME ZONE '{database_zone}' AT TIME ZONE '{zone}')"


def later(sql: str, count: int, unit: str, dialect: Dialect) -> str:
    """The moment some units later; `unit` is day, week, month or year."""
    if dialect == "bigquery" or dialect == "snowflake" or dialect == "redshift":
        return warehouse_times.later(sql, count, unit, dialect)
    return f"({sql} + INTERVAL '{count} {unit}')"


def timeframe(x: str, name: str, dialect: Dialect, calendar: Calendar = PLAIN) -> str:
    """The SQL of one timeframe of the timestamp expression `x`."""
    if name == "raw":
        return x
    if name == "yesno":
        return f"({x} IS NOT NULL)"
    if name == "date":
        return f"CAST({x} AS DATE)"
    if dialect == "bigquery" or dialect == "snowflake" or dialect == "redshift":
        return warehouse_times.timeframe(x, name, dialect, calendar.week_start, calendar.fiscal_offset)
    if name == "week":
        return _week(x, calendar.week_start)
    if name.startswith("fiscal_"):
        return _fiscal(x, name, dialect, calendar)
    counted = COUNTED.fullmatch(name)
    if counted:
        return _bucket(x, counted.group(1), int(counted.group(2)), dialect)
    if name in _NUMBERS:
        return f"CAST(DATE_PART('{_NUMBERS[name]}', {x}) AS INTEGER)"
    if name == "day_of_week_index":
        index = f"CAST(DATE_PART('isodow', {x}) AS INTEGER) - 1"
        return f"({index})" if not calendar.week_start else f"(({index} + {7 - calendar.week_start}) % 7)"
    if name == "quarter_of_year":
        return f"('Q' || CAST(DATE_PART('quarter', {x}) AS INTEGER))"
    formats = _FORMATS[name]
    return formats[0](x) if dialect == "duckdb" else formats[1](x)


_NUMBERS = {
    "year": "year",
    "month_num": "month",
    "day_of_month": "day",
    "day_of_year": "doy",
    "hour_of_day": "hour",
    "week_of_year": "week",
}


def _strftime(pattern: str) -> Callable[[str], str]:
    return lambda x: f"strftime({x}, '{pattern}')"


def _to_char(pattern: str) -> Callable[[str], str]:
    return lambda x: f"TO_CHAR({x}, '{pattern}')"


_FORMATS: dict[str, tuple[Callable[[str], str], Callable[[str], str]]] = {
    "time": (_strftime("%Y-%m-%d %H:%M:%S"), _to_char("YYYY-MM-DD HH24:MI:SS")),
    "month": (_strftime("%Y-%m"), _to_char("YYYY-MM")),
    "quarter": (
        lambda x: f"strftime(date_trunc('quarter', {x}), '%Y-%m')",
        lambda x: f"TO_CHAR(DATE_TRUNC('quarter', {x}), 'YYYY-MM')",
    ),
    "hour": (_strftime("%Y-%m-%d %H"), _to_char("YYYY-MM-DD HH24")),
    "minute": (_strftime("%Y-%m-%d %H:%M"), _to_char("YYYY-MM-DD HH24:MI")),
    "second": (_strftime("%Y-%m-%d %H:%M:%S"), _to_char("YYYY-MM-DD HH24:MI:SS")),
    "millisecond": (_strftime("%Y-%m-%d %H:%M:%S.%g"), _to_char("YYYY-MM-DD HH24:MI:SS.MS")),
    "microsecond": (_strftime("%Y-%m-%d %H:%M:%S.%f"), _to_char("YYYY-MM-DD HH24:MI:SS.US")),
    "time_of_day": (_strftime("%H:%M"), _to_char("HH24:MI")),
    "day_of_week": (lambda x: f"dayname({x})", _to_char("FMDay")),
    "month_name": (lambda x: f"monthname({x})", _to_char("FMMonth")),
}


def _week(x: str, start: int) -> str:
    """The first day of the week; both databases truncate to Monday, so other starts shift forward and
    back."""
    if not start:
        return f"CAST(DATE_TRUNC('week', {x}) AS DATE)"
    shift = 7 - start
    return f"(CAST(DATE_TRUNC('week', {x} + INTERVAL '{shift}' DAY) AS DATE) - {shift})"


def _fiscal(x: str, name: str, dialect: Native, calendar: Calendar) -> str:
    """Fiscal parts: shift by the offset, then the plain part."""
    shifted = f"({x} - INTERVAL '{calendar.fiscal_offset}' MONTH)" if calendar.fiscal_offset else x
    year = f"CAST(DATE_PART('year', {shifted}) AS INTEGER)"
    quarter = f"('Q' || CAST(DATE_PART('quarter', {shifted}) AS INTEGER))"
    match name:
        case "fiscal_year":
            return year
        case "fiscal_month_num":
            return f"CAST(DATE_PART('month', {shifted}) AS INTEGER)"
        case "fiscal_quarter_of_year":
            return quarter
    return f"('FY' || {year} || '-' || {quarter})"


def _bucket(x: str, unit: str, count: int, dialect: Native) -> str:
    """hourN, minuteN, secondN, millisecondN: the start of the bucket."""
    shape = {"hour": ("%Y-%m-%d %H", "YYYY-MM-DD HH24"), "minute": ("%Y-%m-%d %H:%M", "YYYY-MM-DD HH24:MI")}
    duck, post = shape.get(unit, ("%Y-%m-%d %H:%M:%S.%g", "YYYY-MM-DD HH24:MI:SS.MS"))
    step = f"INTERVAL '{count} {unit}s'"
    if dialect == "duckdb":
        return f"strftime(time_bucket({step}, CAST({x} AS TIMESTAMP), TIMESTAMP '2000-01-01'), '{duck}')"
    return f"TO_CHAR(DATE_BIN({step}, CAST({x} AS TIMESTAMP), TIMESTAMP '2000-01-01'), '{post}')"


_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


def duration(start: str, end: str, interval: str, dialect: Dialect) -> str:
    """Whole intervals between two timestamps, rounded down. date_diff would count borders instead, hence the
    epoch."""
    if dialect == "bigquery" or dialect == "snowflake" or dialect == "redshift":
        return warehouse_times.duration(start, end, interval, dialect)
    if interval in _SECONDS:
        ts_start, ts_end = f"CAST({start} AS TIMESTAMP)", f"CAST({end} AS TIMESTAMP)"
        if dialect == "duckdb":
            spent = f"(epoch({ts_end}) - epoch({ts_start}))"
        else:
            spent = f"EXTRACT(EPOCH FROM {ts_end} - {ts_start})"
        return f"CAST(FLOOR({spent} / {_SECONDS[interval]}) AS BIGINT)"
    if dialect == "duckdb":
        months = f"date_sub('month', CAST({start} AS TIMESTAMP), CAST({end} AS TIMESTAMP))"
    else:
        age = f"AGE(CAST({end} AS TIMESTAMP), CAST({start} AS TIMESTAMP))"
        months = f"(EXTRACT(YEAR FROM {age}) * 12 + EXTRACT(MONTH FROM {age}))"
    return f"CAST(FLOOR({months} / {_MONTHS[interval]}.0) AS BIGINT)"
