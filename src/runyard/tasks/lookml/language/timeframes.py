"""The names of timeframes and intervals, and what leaving the list out means. Data of the language; their SQL
is in `sql.timeframes`."""

from __future__ import annotations

import re

DEFAULT_TIMEFRAMES = [
    "raw", "time", "date", "week", "month", "quarter", "year", "time_of_day", "hour", "hour_of_day", "minute", "second", "day_of_week",
    "day_of_week_index", "day_of_month", "day_of_year", "week_of_year", "month_num", "month_name", "quarter_of_year",
]  # fmt: skip
"""What `timeframes` left out means (the common ones; rarer ones exist only when listed)."""

DEFAULT_INTERVALS = ["second", "minute", "hour", "day", "week", "month", "quarter", "year"]
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
COUNTED = re.compile(r"(hour|minute|second|millisecond)(\d{1,3})")
_PLAIN = frozenset(DEFAULT_TIMEFRAMES) | {
    "millisecond", "microsecond", "yesno", "fiscal_month_num", "fiscal_quarter", "fiscal_quarter_of_year", "fiscal_year",
}  # fmt: skip


def is_timeframe(name: str) -> bool:
    """Whether Looker knows this timeframe."""
    if name in _PLAIN:
        return True
    counted = COUNTED.fullmatch(name)
    return bool(counted and int(counted.group(2)) > 0)


def is_interval(name: str) -> bool:
    """Whether a duration can be measured in it."""
    return name in DEFAULT_INTERVALS
