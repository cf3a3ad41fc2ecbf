"""Cron lines with a time zone: when does it fire next? Called by the doors that keep schedules. Raises
`CronError` only.

Five fields as cron(5) and GitLab's documentation have them, names of months and days, `@daily` and its kin.
Daylight saving follows Debian's cron (the library's rule): what falls in the missing hour runs right after
it, what falls in the doubled hour runs once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_MOST_CHARACTERS = 200
_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class CronError(ValueError):
    """Not a cron line, not a time zone, or a line that never fires; the text is for people."""


def next_after(line: str, zone: str, after_ms: int) -> int:
    """The first time strictly after `after_ms` (milliseconds since the epoch, UTC, as is the answer) at which
    the line fires in that zone."""
    try:
        start = datetime.fromtimestamp(after_ms // 1000, _zone(zone))
        found = next(CronSim(_fields(line), start))
    except CronSimError as error:
        raise CronError(f"{line!r} is not a cron line: {error}") from None
    except StopIteration:
        raise CronError(f"{line!r} never fires.") from None
    except (OverflowError, OSError, ValueError) as error:
        raise CronError(str(error)) from None
    return int(found.astimezone(UTC).timestamp()) * 1000


def check(line: str, zone: str = "UTC") -> None:
    """CronError unless the line fires some day in a zone that exists."""
    next_after(line, zone, 1_750_000_000_000)


def _fields(line: str) -> str:
    text = line.strip()
    if len(text) > _MOST_CHARACTERS:
        raise CronError(f"A cron line has at most {_MOST_CHARACTERS} characters.")
    text = _NAMED.get(text.lower(), text)
    if len(text.split()) != 5:
        raise CronError(f"{line!r} is not a cron line: five fields, as in '0 4 * * 1-5', were expected.")
    return text


@lru_cache(256)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CronError(f"There is no time zone {name!r}; give one like 'Europe/Berlin' or 'UTC'.") from None
