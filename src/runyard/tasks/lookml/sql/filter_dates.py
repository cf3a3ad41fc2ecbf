"""The grammar of date filters: `3 days`, `7 days ago for 7 days`, `last month`, `2018-Q1`, `before today`;
comma means OR. Called by `filters`.

Every expression is a half-open range [start, end) of moments in the query's zone, worked out from the moment
of the query: `ranges`. What Looker's page leaves open is decided here: `this A to B` ends where the running B
starts, a weekday is its last occurrence (today counts), `after` means from the start of the named day or unit
on.
"""

from __future__ import annotations

import calendar as calendars
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import MAXYEAR, datetime, timedelta

from runyard.tasks.lookml.language.timeframes import DAYS
from runyard.tasks.lookml.sql.filter_text import BadFilter, X, either
from runyard.tasks.lookml.sql.timeframes import PLAIN, Calendar

_UNIT = r"(fiscal quarter|fiscal year|second|minute|hour|day|week|month|quarter|year)s?"
_COUNT = rf"(\d{{1,6}})\s+{_UNIT}"
_DATE = r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[ T]+(\d{1,2}):(\d{2})(?::(\d{2}))?)?"
_MONTHS = {"month": 1, "quarter": 3, "year": 12, "fiscal quarter": 3, "fiscal year": 12}
_SPANS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_NULL = "NULL"


@dataclass(frozen=True, slots=True)
class Range:
    """Moments from `start` (included) to `end` (not included); None is open. `null` "null" or "not null"
    instead of a range."""

    start: datetime | None = None
    end: datetime | None = None
    null: str = ""


def condition(text: str, now: datetime, calendar: Calendar) -> str:
    """The condition on the mark X."""
    return either(list(dict.fromkeys(_test(r) for r in ranges(text, now, calendar)))) or "1=1"


def ranges(text: str, now: datetime, calendar: Calendar = PLAIN) -> list[Range]:
    """What the expression means; BadFilter when an item is none of the grammar's."""
    clock = _Clock(now.replace(tzinfo=None), calendar)
    found = []
    for word in text.split(","):
        bare = " ".join(word.split())
        if not bare:
            continue
        try:
            one = clock.range(bare.lower())
        except (ValueError, OverflowError):
            one = None
        if one is None:
            raise BadFilter(
                f'"{bare}" is not a date filter such as 2024-05-06, 2024-05, 7 days, last month, before 2 days ago or "2024-01-01 to 2024-02-01"'
            )
        found.append(one)
    return found or [Range()]


def _test(one: Range) -> str:
    if one.null:
        return f"{X} IS {one.null.upper()}"
    tests = []
    if one.start is not None:
        tests.append(f"{X} >= {moment(one.start)}")
    if one.end is not None:
        tests.append(f"{X} < {moment(one.end)}")
    return "(" + " AND ".join(tests) + ")" if tests else "1=1"


def moment(at: datetime) -> str:
    """A moment as a SQL literal."""
    return f"TIMESTAMP '{at:%Y-%m-%d %H:%M:%S}'" if at.year > 999 else f"TIMESTAMP '{at.isoformat(' ')}'"


class _Clock:
    """Works ranges out from one moment."""

    def __init__(self, now: datetime, calendar: Calendar) -> None:
        self.now = now
        self.calendar = calendar

    def range(self, text: str) -> Range | None:
        """One item in lower case with single spaces; None when nothing fits."""
        if text in ("null", "not null"):
            return Range(null=text)
        if text in ("any time", "anytime"):
            return Range()
        for pattern, make in _FORMS:
            found = pattern.fullmatch(text)
            if found:
                return make(self, found)
        return self._span(text)

    def start(self, unit: str, count: int = 0) -> datetime:
        """The start of the running unit, moved by `count` units."""
        return self.moved(self._truncated(unit), unit, count)

    def unit(self, unit: str, count: int = 0) -> Range:
        """One whole unit."""
        return Range(self.start(unit, count), self.start(unit, count + 1))

    def moved(self, at: datetime, unit: str, count: int) -> datetime:
        """A moment some units later; a month's day is cut to the month's last."""
        if unit in _SPANS:
            return at + timedelta(seconds=_SPANS[unit] * count)
        months = at.year * 12 + at.month - 1 + _MONTHS[unit] * count
        year, month = divmod(months, 12)
        if not 1 <= year <= MAXYEAR:
            raise OverflowError
        return at.replace(
            year=year, month=month + 1, day=min(at.day, calendars.monthrange(year, month + 1)[1])
        )

    def _truncated(self, unit: str) -> datetime:
        now = self.now.replace(microsecond=0)
        if unit == "second":
            return now
        now = now.replace(second=0)
        if unit == "minute":
            return now
        now = now.replace(minute=0)
        if unit == "hour":
            return now
        day = now.replace(hour=0)
        if unit == "day":
            return day
        if unit == "week":
            return day - timedelta(days=(day.weekday() - self.calendar.week_start) % 7)
        month = day.replace(day=1)
        offset = self.calendar.fiscal_offset if unit.startswith("fiscal") else 0
        size = _MONTHS[unit]
        behind = (month.month - 1 - offset) % size
        return self.moved(month, "month", -behind)

    def point(self, text: str) -> datetime | None:
        """A moment as `before` and `to` name it: the start of a date, of a day's word, of a month or a
        relative unit."""
        ago = re.fullmatch(rf"{_COUNT}(?: (ago|from now))?", text)
        if ago:
            count = int(ago[1])
            return self.start(ago[2], count if ago[3] == "from now" else -count)
        if text == "now":
            return self.now
        found = self._span(text)
        return found.start if found else None

    def _span(self, text: str) -> Range | None:
        """A named stretch of time: a date, month, quarter, year, day's word."""
        date = re.fullmatch(_DATE, text)
        if date:
            return self._date(date)
        words = {"today": 0, "yesterday": -1, "tomorrow": 1}
        if text in words:
            return self.unit("day", words[text])
        if text in DAYS:
            day = self.start("day")
            behind = (day.weekday() - DAYS.index(text)) % 7
            return Range(day - timedelta(days=behind), day - timedelta(days=behind - 1))
        named = re.fullmatch(r"(fy)?(\d{4})(?:[-/](?:q([1-4])|(\d{1,2})))?", text)
        if named is None:
            return None
        year, quarter, month = int(named[2]), int(named[3] or 0), int(named[4] or 0)
        size = 3 if quarter else 1 if month else 12
        first = datetime(year, (quarter - 1) * 3 + 1 if quarter else month or 1, 1)  # noqa: DTZ001 - local to the query's zone
        if named[1]:
            if month:
                return None
            first = self.moved(first, "month", self.calendar.fiscal_offset)
        return Range(first, self.moved(first, "month", size))

    def _date(self, found: re.Match[str]) -> Range:
        year, month, day, hour, minute, second = (int(g or 0) for g in found.groups())
        at = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - local to the query's zone
        unit = "second" if found[6] else "minute" if found[4] else "day"
        return Range(at, self.moved(at, unit, 1))


def _past(clock: _Clock, m: re.Match[str]) -> Range:
    """`3 days`: the running one and the two before it."""
    return Range(clock.start(m[2], 1 - int(m[1])), clock.start(m[2], 1))


def _sign(word: str) -> int:
    return 1 if word == "from now" else -1


def _ago_for(clock: _Clock, m: re.Match[str]) -> Range:
    start = clock.start(m[2], _sign(m[3]) * int(m[1]))
    return Range(start, clock.moved(start, m[5], int(m[4])))


def _this_to(clock: _Clock, m: re.Match[str]) -> Range:
    return Range(clock.start(m[1]), clock.start(m[2]))


_STEPS = {"this": 0, "next": 1, "last": -1}


def _border(clock: _Clock, m: re.Match[str]) -> Range | None:
    """`before …` and `after …`."""
    named = re.fullmatch(rf"(this|next|last) ?{_UNIT}", m[2])
    at = clock.start(named[2], _STEPS[named[1]]) if named else clock.point(m[2])
    if at is None:
        return None
    return Range(None, at) if m[1] == "before" else Range(at, None)


def _between(clock: _Clock, m: re.Match[str]) -> Range | None:
    start, end = clock.point(m[1]), clock.point(m[2])
    return Range(start, end) if start and end else None


def _for(clock: _Clock, m: re.Match[str]) -> Range | None:
    start = clock.point(m[1])
    return Range(start, clock.moved(start, m[3], int(m[2]))) if start else None


_FORMS: list[tuple[re.Pattern[str], Callable[[_Clock, re.Match[str]], Range | None]]] = [
    (re.compile(rf"(?:last ?)?{_COUNT}"), _past),
    (re.compile(rf"{_COUNT} (ago|from now)"), lambda c, m: c.unit(m[2], _sign(m[3]) * int(m[1]))),
    (re.compile(rf"{_COUNT} (ago|from now) for {_COUNT}"), _ago_for),
    (re.compile(rf"next ?{_COUNT}"), lambda c, m: Range(c.start(m[2], 1), c.start(m[2], 1 + int(m[1])))),
    (re.compile(rf"(this|next|last) ?{_UNIT}"), lambda c, m: c.unit(m[2], _STEPS[m[1]])),
    (re.compile(rf"this ?{_UNIT} to {_UNIT}"), _this_to),
    (re.compile(r"(before|after) ?(.{1,60})"), _border),
    (re.compile(r"(.{1,60}) to (.{1,60})"), _between),
    (re.compile(rf"(.{{1,60}}) for {_COUNT}"), _for),
]
