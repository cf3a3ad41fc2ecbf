"""Human durations ("3 mins 4 sec", "2h20min", "1 week", 90) as seconds, the way GitLab reads `timeout` and
`expire_in`.

Called by compilers. A month is 30 days and a year 365.25 days, as in the Ruby library GitLab uses. Raises
`DurationError` only.
"""

import re

MAX_S = 100 * 31_557_600  # a century: whatever is longer is a slip of the pen

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_UNITS: dict[str, int] = {
    name: seconds
    for seconds, names in {
        1: "s sec secs second seconds",
        _MINUTE: "m min mins minute minutes",
        _HOUR: "h hr hrs hour hours",
        _DAY: "d day days dy",
        7 * _DAY: "w wk wks week weeks",
        30 * _DAY: "mo mos month months mth mths mon mons",
        31_557_600: "y yr yrs year years",
    }.items()
    for name in names.split()
}
_PART = re.compile(
    r"([0-9]{1,12}(?:\.[0-9]{1,6})?)[ \t]*([a-z]*)[ \t]*,?[ \t]*(?:and[ \t]+|plus[ \t]+|with[ \t]+)?"
)
_CLOCK = re.compile(r"([0-9]{1,6}):([0-9]{2})(?::([0-9]{2}))?")


class DurationError(ValueError):
    """Not a duration."""


def seconds(value: str | int | float) -> int:
    """Whole seconds, rounded up. A number without a unit is seconds, but only when it stands alone."""
    if isinstance(value, bool):
        raise DurationError("a duration must be a text like `1h 30m` or a number of seconds")
    if isinstance(value, int | float):
        return _checked(value)
    text = value.strip().lower()
    if clock := _CLOCK.fullmatch(text):
        first, second, third = (int(part or 0) for part in clock.groups())
        return _checked(first * _HOUR + second * _MINUTE + third if clock[3] else first * _MINUTE + second)
    return _checked(_sum(text))


def seconds_or_never(value: str | int | float) -> int | None:
    """As `seconds`; None for "never"."""
    if isinstance(value, str) and value.strip().lower() == "never":
        return None
    return seconds(value)


def _sum(text: str) -> float:
    if len(text) > 200:
        raise DurationError("the duration is too long a text")
    total, at = 0.0, 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or (not part[2] and part.end() - at != len(text)):
            raise DurationError(f"{text!r} is not a duration; write for example `1h 30m` or `2 days`")
        if part[2] and part[2] not in _UNITS:
            raise DurationError(f"{part[2]!r} is not a unit of time in {text!r}")
        total += float(part[1]) * _UNITS[part[2] or "s"]
        at = part.end()
    if not text:
        raise DurationError("the duration is empty")
    return total


def _checked(number: float) -> int:
    if not 0 <= number <= MAX_S:
        raise DurationError("the duration must be between 0 and 100 years")
    whole = int(number)
    return whole if whole == number else whole + 1
