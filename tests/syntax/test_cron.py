"""When cron lines fire, around the clock's own jumps too."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from runyard.syntax.cron import CronError, check, next_after


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    ("line", "zone", "after", "fires"),
    [
        ("0 4 * * *", "UTC", "2026-11-21T03:59:59", "2026-11-21T04:00:00"),
        ("0 4 * * *", "UTC", "2026-11-21T04:00:00", "2026-11-22T04:00:00"),
        ("*/15 * * * *", "UTC", "2026-11-21T10:07:00", "2026-11-21T10:15:00"),
        ("0 9 * * mon-fri", "Europe/Berlin", "2026-11-20T12:00:00", "2026-11-23T08:00:00"),
        ("@daily", "America/New_York", "2026-11-21T00:00:00", "2026-11-21T05:00:00"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00", "2026-03-29T01:00:00"),  # 2:30 does not exist
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),  # 2:30 comes twice
        ("0 0 1 * 0", "UTC", "2026-11-21T00:00:00", "2026-11-22T00:00:00"),  # day of month or of week
    ],
)
def test_the_next_time(line: str, zone: str, after: str, fires: str) -> None:
    assert next_after(line, zone, at(after)) == at(fires)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "a b c d e",
        "0 0 30 2 *",
        "*" * 300,
        "@reboot",
        "*/0 * * * *",
    ],
)
def test_what_is_no_cron_line_says_so(line: str) -> None:
    with pytest.raises(CronError):
        check(line)


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "", "../../etc/passwd", "/etc/passwd", "A" * 5000, "Europe\0"]
)
def test_what_is_no_zone_says_so(zone: str) -> None:
    with pytest.raises(CronError):
        check("0 0 * * *", zone)
