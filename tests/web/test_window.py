"""The part of a log that a page shows: bounded, and a line has the same number in every part."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from runyard.http.services import Services
from runyard.model.state import Outcome, State
from runyard.model.work import Attempt
from runyard.web import window as windows
from runyard.web.window import Window, window

Show = Callable[..., Window]
LOG = b"".join(
    b"section_start:1:s%d\r\x1b[0KPart %d\n" % (n, n)
    + b"text %d\n" % n * 3
    + b"section_end:1:s%d\r\x1b[0K\n" % n
    for n in range(400)
)


def text(part: Window) -> dict[int, str]:
    """Shown lines by number."""
    found = re.findall(r'id="L(\d+)".*?<code>(.*?)</code>', "".join(part.lines))
    return {int(number): line for number, line in found}


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    """window() of a done job with the given log; `state` for another."""

    def shown(data: bytes, until: int = 0, line: int = 0, state: State = State.DONE) -> Window:
        async def log_bytes(_services: object, _id: int, start: int, end: int) -> AsyncIterator[bytes]:
            for at in range(start, end, 1000):
                yield data[at : min(at + 1000, end)]

        monkeypatch.setattr(windows, "log_bytes", log_bytes)
        attempt = replace(Attempt(1, 1, 1, 1, 1), state=state, outcome=Outcome.PASSED, log_bytes=len(data))
        return run(window(cast(Services, None), attempt, until, line))

    return shown


def run(work: Any) -> Any:
    """Nothing here waits, so that no loop is needed."""
    try:
        while True:
            work.send(None)
    except StopIteration as done:
        return done.value


def test_the_parts_are_the_whole_and_a_line_has_one_number(show: Show) -> None:
    raw = LOG.split(b"\n")
    seen: dict[int, str] = {}
    until, parts = 0, 0
    while parts == 0 or until:
        part = show(LOG, until)
        assert not seen.keys() & text(part).keys()
        seen |= text(part)
        until, parts = part.skipped, parts + 1
    assert parts == 2 and len(seen) == 4 * 400
    assert all(raw[number - 1].endswith(line.encode()) for number, line in seen.items())


@pytest.mark.parametrize("number", [1, 2, 701, 1999])
def test_a_line_is_found_by_its_number(show: Show, number: int) -> None:
    part = show(LOG, line=number)
    assert LOG.split(b"\n")[number - 1].endswith(text(part)[number].encode())
    assert len(part.lines) <= windows.SHOWN_LINES


def test_a_line_that_is_not_there_is_the_end(show: Show) -> None:
    assert show(LOG, line=9_999) == show(LOG)


@pytest.mark.parametrize(
    "data", [b"x\n" * 100_000, b"y" * 300_000, b"progress\r" * 50_000, b"z" * 200 + b"\n" * 5000]
)
def test_a_page_stays_small_whatever_the_log_is_like(show: Show, data: bytes) -> None:
    part = show(data)
    assert len("".join(part.lines)) < 200_000
    assert part.left == 0 and 0 < part.skipped < len(data)
    before = show(data, part.skipped)
    assert before.left == len(data) - part.skipped and before.skipped < part.skipped


def test_what_a_running_job_has_not_ended_is_left_to_the_stream(show: Show) -> None:
    part = show(b"one\ntwo\nthr", state=State.RUNNING)
    assert (list(text(part).values()), part.next_byte, part.line) == (["one", "two"], 8, 2)
