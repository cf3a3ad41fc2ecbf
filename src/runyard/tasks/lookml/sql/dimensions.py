"""What a dimension's type makes of its SQL: timeframes, durations, tiers, cases, locations. Called by
`compiler`."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from runyard.tasks.lookml.language.model import Field
from runyard.tasks.lookml.language.timeframes import is_interval, is_timeframe
from runyard.tasks.lookml.sql.dialects import literal, type_name
from runyard.tasks.lookml.sql.expressions import Expression, Unresolved, filled, joined
from runyard.tasks.lookml.sql.timeframes import duration, in_zone, later, timeframe, to_timestamp

if TYPE_CHECKING:
    from runyard.tasks.lookml.sql.compiler import FieldCompiler


def dimension(compiler: FieldCompiler, alias: str, wanted: Field) -> Expression:
    """The dimension as other SQL sees it (a yesno is its condition)."""
    kind = wanted.type
    if wanted.is_duration:
        return _duration(compiler, alias, wanted, wanted.part)
    if wanted.part:
        return _timeframe(compiler, alias, wanted, wanted.part)
    if wanted.node.get("case"):
        return _cases(compiler, alias, wanted)
    if kind == "location":
        latitude, longitude = (compiler.raw(alias, wanted, key) for key in ("sql_latitude", "sql_longitude"))
        end = f" AS {type_name('VARCHAR', compiler.context.dialect)})"
        return joined("CAST(", latitude, f"{end} || ',' || CAST(", longitude, end)
    if kind == "distance":
        return _distance(compiler, alias, wanted)
    if kind.startswith("duration_"):
        return _duration(compiler, alias, wanted, kind.removeprefix("duration_"))
    if kind == "date" or (kind.startswith("date_") and is_timeframe(kind.removeprefix("date_"))):
        return _timeframe(compiler, alias, wanted, kind.removeprefix("date_"))
    if kind in ("tier", "bin"):
        return _tiers(compiler, alias, wanted)
    return compiler.sql(alias, wanted)


def _refuse(wanted: Field, message: str) -> Unresolved:
    return Unresolved(message, wanted.node.file.path, wanted.node.line)


def _timeframe(compiler: FieldCompiler, alias: str, wanted: Field, part: str) -> Expression:
    if not is_timeframe(part):
        raise _refuse(wanted, f'unknown timeframe "{part}" of "{wanted.id}"')
    text = timeframe("\0", part, compiler.context.dialect, compiler.context.calendar)
    return filled(text, {"\0": moment(compiler, alias, wanted)})


def moment(compiler: FieldCompiler, alias: str, wanted: Field) -> Expression:
    """The timestamp or date behind a time dimension, in the zone of the query: what timeframes are made of
    and date filters are put on."""
    context = compiler.context
    dialect, base = context.dialect, compiler.sql(alias, wanted)
    datatype = wanted.node.text("datatype", "datetime")
    text = to_timestamp("\0", datatype, dialect)
    if datatype not in ("date", "yyyymmdd") and wanted.node.text("convert_tz") != "no":
        text = in_zone(text, context.database_timezone, context.timezone, dialect)
    shift = context.shifts.get((alias, wanted.group or wanted.name))
    if shift:
        text = later(text, *shift, dialect)
    return filled(text, {"\0": base}) if text != "\0" else base


def _duration(compiler: FieldCompiler, alias: str, wanted: Field, interval: str) -> Expression:
    if not is_interval(interval):
        raise _refuse(wanted, f'unknown interval "{interval}" of "{wanted.id}"')
    start, end = (compiler.raw(alias, wanted, key).grouped() for key in ("sql_start", "sql_end"))
    kind, dialect = wanted.node.text("datatype"), compiler.context.dialect
    text = duration(to_timestamp("\0", kind, dialect), to_timestamp("\1", kind, dialect), interval, dialect)
    return filled(text, {"\0": start, "\1": end})


def _distance(compiler: FieldCompiler, alias: str, wanted: Field) -> Expression:
    """Great-circle distance between the two named location dimensions; miles unless `units` says
    kilometers."""
    points: list[Expression] = []
    for key in ("start_location_field", "end_location_field"):
        there_alias, there = compiler.lookup(wanted.node.text(key), alias, wanted.node, wanted.view)
        points += [compiler.raw(there_alias, there, k).grouped() for k in ("sql_latitude", "sql_longitude")]
    if compiler.context.dialect == "bigquery":  # which has no RADIANS
        points = [p.wrapped("(", " * ACOS(-1) / 180)") for p in points]
    radius = "3958.8" if wanted.node.text("units", "miles") == "miles" else "6371.0"
    text = (
        f"(2 * {radius} * ASIN(SQRT(POWER(SIN(RADIANS(\0 - \2) / 2), 2)"
        " + COS(RADIANS(\0)) * COS(RADIANS(\2)) * POWER(SIN(RADIANS(\1 - \3) / 2), 2))))"
    )
    if compiler.context.dialect == "bigquery":
        text = text.replace("RADIANS", "")
    return filled(text, dict(zip("\0\1\2\3", points, strict=True)))


def _cases(compiler: FieldCompiler, alias: str, wanted: Field) -> Expression:
    block = wanted.node.get("case")
    parts: list[Expression | str] = ["CASE"]
    for when in block.all("when") if block else ():
        sql = when.get("sql")
        if sql is None:
            raise Unresolved("a `when` without sql", when.file.path, when.line)
        parts += [
            " WHEN ",
            compiler.expand(sql, alias, wanted.id, wanted.view),
            f" THEN {literal(when.text('label'), compiler.context.dialect)}",
        ]
    other = block.get("else") if block else None
    return joined(*parts, f" ELSE {literal(other.value, compiler.context.dialect)}" if other else "", " END")


def _tiers(compiler: FieldCompiler, alias: str, wanted: Field) -> Expression:
    """A CASE chain over the borders, with labels by style."""
    borders = wanted.node.words("tiers") or wanted.node.words("bins")
    style = wanted.node.text("style", "classic")
    base = compiler.sql(alias, wanted)
    for border in borders:
        if not re.fullmatch(r"-?\d{1,30}(?:\.\d{1,30})?", border):
            raise _refuse(wanted, f'tier "{border}" is not a number')
    parts: list[Expression | str] = [
        "CASE WHEN ",
        base,
        " IS NULL THEN ",
        literal(tier_label("", "", 0, style), compiler.context.dialect),
    ]
    bounds = ["", *borders, ""]
    for index, (low, high) in enumerate(pairwise(bounds)):
        test: list[Expression | str] = (
            [base, f" < {high}"] if high else [base, f" >= {low}"] if low else ["TRUE"]
        )
        parts += [
            " WHEN ",
            *test,
            f" THEN {literal(tier_label(low, high, index, style), compiler.context.dialect)}",
        ]
    return joined(*parts, " END")


def tier_label(low: str, high: str, index: int, style: str) -> str:
    """The text of one tier; both borders empty and index 0 is the tier of NULL."""
    undefined = not low and not high
    match style:
        case "integer":
            if undefined:
                return "Undefined"
            if not low:
                return f"Below {high}"
            return f"{low} or Above" if not high else f"{low} to {_before(high)}"
        case "relational":
            if undefined:
                return "Undefined"
            if not low:
                return f"< {high}"
            return f">= {low}" if not high else f">= {low} and < {high}"
    bounds = f"[{low or '-inf'},{high or 'inf'})"
    if style == "interval":
        return "Undefined" if undefined else bounds
    return "TXX Undefined" if undefined else f"T{index:02d} {bounds}"


def _before(border: str) -> str:
    return str(int(border) - 1) if border.lstrip("-").isdigit() else border
