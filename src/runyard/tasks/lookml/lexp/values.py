"""Values of Looker expressions: what databases return made uniform, their kinds, comparison, and exact
arithmetic that never raises.

Numbers are decimals of 40 digits; what has no value (division by zero, the root of -1, an overflow) is null.
Dates are naive datetimes in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal

from runyard.tasks.lookml.lexp.tree import LexpError, Value

MAX_TEXT = 100_000
MATH = Context(prec=40, rounding=ROUND_HALF_EVEN, Emin=-6000, Emax=6000, traps=[])

_DATE_TEXT = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[ T](\d{2})(?::(\d{2})(?::(\d{2}))?)?)?)?)?")


def from_database(value: object, kind: str = "") -> Value:
    """A database's value; `kind` "yesno" and "date" (any timeframe that Looker treats as a date) say how a
    text is meant."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | Decimal):
        return number(Decimal(value))
    if isinstance(value, float):
        return number(Decimal(repr(value)))
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001  naive by definition
    if isinstance(value, timedelta):
        return number(Decimal(repr(value.total_seconds())))
    text = str(value)
    if kind == "yesno" and text in ("Yes", "No"):
        return text == "Yes"
    if kind == "date" and (found := parse_date(text)) is not None:
        return found
    return text


def parse_date(text: str) -> datetime | None:
    """`2024`, `2024-05`, `2024-05-06`, `2024-05-06 07:08:09` and less; None when it is none of these."""
    match = _DATE_TEXT.match(text)
    if match is None or (match.end() < len(text) and text[match.end()] != "."):
        return None
    parts = [int(p) for p in match.groups(default="0")]
    return make_date(*parts)


def make_date(
    year: int, month: int = 1, day: int = 1, hour: int = 0, minute: int = 0, second: int = 0
) -> datetime | None:
    """None when there is no such moment."""
    try:
        return datetime(year, month or 1, day or 1, hour, minute, second)  # noqa: DTZ001  naive by definition
    except (ValueError, OverflowError):
        return None


def number(value: Decimal) -> Decimal | None:
    """Infinities and NaN are null."""
    return value if value.is_finite() else None


def text(value: str) -> str | None:
    """Texts that an expression made too long are null: nobody compares them, and memory is finite."""
    return value if len(value) <= MAX_TEXT else None


def kind(value: Value) -> str:
    """The kind in the words of messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "yes or no"
    for types, name in ((Decimal, "a number"), (str, "a text"), (list, "a list")):
        if isinstance(value, types):
            return name
    return "a date"


def shown(value: Value) -> str:
    """As to_string gives it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, Decimal):
        plain = format(value, "f") if abs(value.adjusted()) < 60 else str(value)
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d" if value.time() == datetime.min.time() else "%Y-%m-%d %H:%M:%S")
    if isinstance(value, list):
        return ", ".join(shown(v) for v in value)
    return str(value)


def compare(operator: str, left: Value, right: Value, at: int) -> bool | None:
    """One of the six comparisons; null when a side is null; LexpError for two kinds that cannot be
    compared."""
    if left is None or right is None:
        return None
    if isinstance(left, bool) and isinstance(right, str):
        left = shown(left)
    elif isinstance(right, bool) and isinstance(left, str):
        right = shown(right)
    if kind(left) != kind(right):
        hint = _HINTS.get(frozenset((kind(left), kind(right))), "")
        raise LexpError(f"cannot compare {kind(left)} with {kind(right)}{hint}", at)
    if operator in ("=", "!="):
        return (left == right) is (operator == "=")
    order = _order(left, right, at)
    return {"<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[operator]


_HINTS = {
    frozenset(("a number", "a text")): "; to_number() and to_string() convert",
    frozenset(("a date", "a text")): '; date(2024, 1, 31) and to_date("2024-01-31") make dates',
}


def _order(left: Value, right: Value, at: int) -> int:
    for types in (Decimal, str, datetime):
        if isinstance(left, types) and isinstance(right, types):
            return (left > right) - (left < right)  # type: ignore[operator]
    raise LexpError(f"{kind(left)} has no order", at)


def arithmetic(operator: str, left: Value, right: Value, at: int) -> Decimal | None:
    """+ - * / of numbers; null when a side is null or there is no result."""
    if left is None or right is None:
        return None
    if not isinstance(left, Decimal) or not isinstance(right, Decimal):
        wrong = right if isinstance(left, Decimal) else left
        hint = {
            "a text": "; concat() joins texts",
            "a date": "; add_days() and diff_days() compute with dates",
        }
        raise LexpError(f'"{operator}" needs numbers, found {kind(wrong)}{hint.get(kind(wrong), "")}', at)
    compute = {"+": MATH.add, "-": MATH.subtract, "*": MATH.multiply, "/": MATH.divide}[operator]
    return number(compute(left, right))


def identity(values: Sequence[Value]) -> set[str]:
    """Different values of a column, null left out."""
    return {f"{kind(v)}:{v.normalize() if isinstance(v, Decimal) else v}" for v in values if v is not None}
