"""Functions of one row: mathematics, texts, dates. Each declares its parameters' kinds; null in gives null
out.

Kinds: n number, t text, d date, * anything; `?` after one: may be left out, `+` after the last: may be
repeated.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any

from runyard.tasks.lookml.lexp.tree import LexpError, Value
from runyard.tasks.lookml.lexp.values import MATH, compare, kind, make_date, number, parse_date, shown, text


@dataclass(frozen=True, slots=True)
class Scalar:
    """A function of values; `least` to `most` arguments."""

    compute: Callable[..., Value]
    kinds: str
    least: int
    most: int


_KINDS = {"n": (Decimal, "a number"), "t": (str, "a text"), "d": (datetime, "a date")}


def apply(name: str, function: Scalar, arguments: list[Value], at: int) -> Value:
    """The function's value, or LexpError when an argument has the wrong kind."""
    if any(a is None for a in arguments):
        return None
    for index, argument in enumerate(arguments):
        wanted = function.kinds[min(index, len(function.kinds) - 1)]
        if wanted in _KINDS and (not isinstance(argument, _KINDS[wanted][0]) or isinstance(argument, bool)):
            raise LexpError(
                f"{name}() needs {_KINDS[wanted][1]} as argument {index + 1}, found {kind(argument)}", at
            )
    return function.compute(*arguments)


def _declared(signature: str, compute: Callable[..., Any]) -> Scalar:
    kinds = signature.replace("?", "").replace("+", "")
    most = 200 if signature.endswith("+") else len(kinds)
    return Scalar(compute, kinds or "*", len(kinds) - signature.count("?"), most)


def _round(value: Decimal, digits: Decimal = Decimal(0)) -> Decimal | None:
    places = max(-40, min(40, int(digits)))
    if value.adjusted() + places > 38:
        return value
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, MATH)


def _whole(rounding: str) -> Callable[[Decimal], Decimal]:
    return lambda value: value.to_integral_value(rounding, MATH)


def _mod(value: Decimal, divisor: Decimal) -> Decimal | None:
    return number(MATH.remainder(value, divisor))


def _substring(value: str, start: Decimal, length: Decimal | None = None) -> str:
    first = max(0, int(start) - 1)
    return value[first:] if length is None else value[first : first + max(0, int(length))]


def _replace(value: str, old: str, new: str) -> str | None:
    grown = len(value) + value.count(old) * (len(new) - len(old)) if old else len(value)
    return text(value.replace(old, new)) if old and grown <= 200_000 else value if not old else None


def _to_number(value: Value) -> Decimal | None:
    try:
        return value if isinstance(value, Decimal) else number(Decimal(shown(value).strip()[:100]))
    except ArithmeticError:
        return None


def _to_date(value: Value) -> Value:
    return value if isinstance(value, datetime) else parse_date(shown(value))


def _date(*parts: Decimal) -> datetime | None:
    return make_date(*(int(p) for p in parts)) if all(abs(p) < 10_000 and p >= 1 for p in parts[:3]) else None


def _extreme(operator: str) -> Callable[..., Value]:
    def pick(*values: Value) -> Value:
        best = values[0]
        for value in values[1:]:
            best = value if compare(operator, value, best, 0) else best
        return best

    return pick


_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}


def _add(unit: str) -> Callable[[Value, Value], Value]:
    def add(count: Value, start: Value) -> Value:
        # The documentation has the number first; people write both.
        if isinstance(count, datetime):
            count, start = start, count
        if not isinstance(count, Decimal) or not isinstance(start, datetime):
            raise LexpError(f"add_{unit}() needs a number and a date", 0)
        try:
            if unit in _SECONDS:
                return start + timedelta(seconds=int(count) * _SECONDS[unit])
            months = start.year * 12 + start.month - 1 + int(count) * (12 if unit == "years" else 1)
            year, month = divmod(months, 12)
            return start.replace(
                year=year, month=month + 1, day=min(start.day, calendar.monthrange(year, month + 1)[1])
            )
        except (OverflowError, ValueError, calendar.IllegalMonthError):
            return None

    return add


def _diff(unit: str) -> Callable[[datetime, datetime], Decimal]:
    """Complete units from the first to the second."""

    def diff(start: datetime, end: datetime) -> Decimal:
        if end < start:
            return -diff(end, start)
        if unit in _SECONDS:
            return Decimal(int((end - start).total_seconds()) // _SECONDS[unit])
        months = (end.year - start.year) * 12 + end.month - start.month
        whole = months - ((end.day, end.time()) < (start.day, start.time()))
        return Decimal(whole // 12 if unit == "years" else whole)

    return diff


def _trunc(unit: str) -> Callable[[datetime], datetime]:
    keep = ["years", "months", "days", "hours", "minutes"].index(unit)

    def trunc(value: datetime) -> datetime:
        parts = [value.year, value.month, value.day, value.hour, value.minute][: keep + 1]
        return make_date(*parts) or value

    return trunc


def _extract(unit: str) -> Callable[[datetime], Decimal]:
    return lambda value: Decimal(int(getattr(value, unit.removesuffix("s"))))


def _dates() -> dict[str, Scalar]:
    units = ("seconds", "minutes", "hours", "days", "months", "years")
    found = {f"add_{u}": _declared("**", _add(u)) for u in units}
    found |= {f"diff_{u}": _declared("dd", _diff(u)) for u in units}
    found |= {f"extract_{u}": _declared("d", _extract(u)) for u in units}
    return found | {f"trunc_{u}": _declared("d", _trunc(u)) for u in units[1:]}


def _float(compute: str) -> Callable[..., Decimal | None]:
    """Functions of floating point mathematics, out of its range null."""
    import math

    def made(*values: Decimal) -> Decimal | None:
        try:
            return number(Decimal(repr(getattr(math, compute)(*(float(v) for v in values)))))
        except (ValueError, OverflowError):
            return None

    return made


SCALARS: dict[str, Scalar] = {
    "abs": _declared("n", MATH.abs),
    "ceiling": _declared("n", _whole(ROUND_CEILING)),
    "floor": _declared("n", _whole(ROUND_FLOOR)),
    "round": _declared("nn?", _round),
    "mod": _declared("nn", _mod),
    "power": _declared("nn", lambda a, b: number(MATH.power(a, b))),
    "sqrt": _declared("n", lambda a: number(MATH.sqrt(a))),
    "exp": _declared("n", lambda a: number(MATH.exp(a))),
    "ln": _declared("n", lambda a: number(MATH.ln(a))),
    "log": _declared("n", lambda a: number(MATH.log10(a))),
    "pi": _declared("", lambda: Decimal("3.141592653589793")),
    **{
        name: _declared("n", _float(name))
        for name in ("sin", "cos", "tan", "asin", "acos", "atan", "degrees", "radians")
    },
    "min": _declared("**+", _extreme("<")),
    "max": _declared("**+", _extreme(">")),
    "concat": _declared("*+", lambda *parts: text("".join(shown(p) for p in parts))),
    "contains": _declared("tt", lambda a, b: b in a),
    "starts_with": _declared("tt", lambda a, b: a.startswith(b)),
    "length": _declared("t", lambda a: Decimal(len(a))),
    "lower": _declared("t", str.lower),
    "upper": _declared("t", str.upper),
    "position": _declared("tt", lambda a, b: Decimal(a.find(b) + 1)),
    "replace": _declared("ttt", _replace),
    "split": _declared("tt", lambda a, b: list(a.split(b)) if b else [a]),
    "substring": _declared("tnn?", _substring),
    "to_string": _declared("*", shown),
    "to_number": _declared("*", _to_number),
    "to_date": _declared("*", _to_date),
    "date": _declared("nnn", _date),
    "date_time": _declared("nnnn?n?n?", _date),
    **_dates(),
}
