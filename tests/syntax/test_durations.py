"""Durations as GitLab reads them."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.syntax.durations import DurationError, seconds, seconds_or_never

DAY = 86400


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42), (42, 42), ("42 seconds", 42), ("3 mins 4 sec", 184), ("2 hrs 20 min", 8400), ("2h20min", 8400),
        ("1 week", 7 * DAY), ("6 mos 1 day", 181 * DAY), ("3 weeks and 2 days", 23 * DAY), ("1 day, 2 hours", DAY + 7200),
        ("47 yrs 6 mos and 4d", 47 * 31_557_600 + 184 * DAY), ("1.5 hours", 5400), ("1h", 3600), ("90m", 5400), ("4:30", 270),
        ("1:02:03", 3723), (" 1 HOUR ", 3600), ("0", 0), ("0.5 s", 1), (1.5, 2),
    ],
)  # fmt: skip
def test_durations_are_read(text: str | int | float, value: int) -> None:
    assert seconds(text) == value
    assert seconds_or_never(text) == value


def test_never_is_only_a_moment_of_expiry() -> None:
    assert seconds_or_never("never") is None
    with pytest.raises(DurationError):
        seconds("never")


@pytest.mark.parametrize(
    "text",
    ["", " ", "abc", "1 fortnight", "99999999999 years", "-1", "1h -2m", "1 2", "1h 20", -5, True, "9" * 5000, "h", "1e5 s", "inf", float("inf"), float("nan")],
)  # fmt: skip
def test_what_is_no_duration_is_refused(text: str | int | float) -> None:
    with pytest.raises(DurationError):
        seconds(text)


@given(st.text(alphabet="0123456789 hmsdwy.,:and", max_size=60))
def test_any_text_is_a_duration_or_a_clean_error(text: str) -> None:
    start = time.process_time()
    with contextlib.suppress(DurationError):
        assert seconds(text) >= 0
    assert time.process_time() - start < 1
