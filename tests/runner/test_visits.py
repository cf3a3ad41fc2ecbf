"""Terminals and commands beside a running job: what they see, that they end with it, who was there."""

from __future__ import annotations

import os
import select
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from runyard.engine import control
from runyard.engine.ports import Visit, Wanted
from runyard.model.errors import Busy, Conflict, Invalid
from runyard.model.plan import Variable
from runyard.model.state import Outcome, State
from runyard.runner import visits

from .conftest import Yard, clock, sh

SLOW = "echo made > made.txt; echo begun; for i in $(seq 600); do sleep 0.1; done"


@pytest.fixture
def running(make_yard: object) -> Iterator[tuple[Yard, int]]:
    """A job that takes a minute, begun."""
    yard: Yard = make_yard()  # type: ignore[operator]
    (attempt,) = yard.submit(yard_job())
    yard.wait(attempt, State.RUNNING)
    until = time.monotonic() + 20
    while b"begun" not in yard.log_bytes(attempt):
        assert time.monotonic() < until
        time.sleep(0.05)
    yield yard, attempt
    if yard.attempt(attempt).state is not State.DONE:
        cancel(yard, attempt)
        yard.wait(attempt)


def yard_job() -> object:
    from runyard.model.plan import JobPlan

    return JobPlan("a", "a", steps=(sh(SLOW),), variables=(Variable("WORD", "from the job"),))


def cancel(yard: Yard, attempt: int) -> None:
    job = yard.attempt(attempt).job_id
    yard.ports.db.submit_write(lambda tx: control.cancel_job(tx, job, clock(), None)).result()


def open_(yard: Yard, attempt: int, wanted: Wanted) -> Visit:
    return yard.loop._means.visits.open(attempt, wanted, "ada")


def heard(visit: Visit, until: bytes = b"", seconds: float = 20) -> bytes:
    """What a visit shows until these bytes came, or its end."""
    found, end = b"", time.monotonic() + seconds
    while time.monotonic() < end and not (until and until in found):
        if select.select([visit.stdout], [], [], 0.2)[0]:
            try:
                data = os.read(visit.stdout, 65536)
            except OSError:
                return found
            if not data:
                return found
            found += data
    return found


def alive(mark: str) -> list[str]:
    """Processes whose command line has the mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_a_command_sees_the_jobs_files_and_environment(running: tuple[Yard, int]) -> None:
    yard, attempt = running
    visit = open_(
        yard, attempt, Wanted(("sh", "-c", 'cat made.txt; echo "$WORD"; cat; echo wrong >&2; exit 3'))
    )
    assert visit.stdin is not None and visit.stderr is not None
    os.write(visit.stdin, b"typed\n")
    visit.shut_stdin()
    assert heard(visit) == b"made\nfrom the job\ntyped\n"
    assert visit.wait(10) == 3 and os.read(visit.stderr, 100) == b"wrong\n"
    visit.close()
    visit.close()


def test_a_terminal_is_one_and_ctrl_c_reaches_what_runs_in_it(running: tuple[Yard, int]) -> None:
    yard, attempt = running
    visit = open_(yard, attempt, Wanted(rows=30, columns=100))
    assert visit.stdin is not None
    os.write(visit.stdin, b"stty size; test -t 0 && echo is-a-$((1))-tty; sleep 100\n")
    assert b"30 100" in heard(visit, b"is-a-1-tty")
    visit.resize(40, 120)
    time.sleep(0.5)
    os.write(visit.stdin, b"\x03")
    os.write(visit.stdin, b"stty size; echo now-$((2)); exit 5\n")
    shown = heard(visit, b"now-2")
    assert b"40 120" in shown and b"now-2" in shown
    assert visit.wait(10) == 5
    visit.close()


def test_visits_end_with_their_job_with_everything_they_started(running: tuple[Yard, int]) -> None:
    yard, attempt = running
    mark = f"mark-{uuid.uuid4().hex}"
    visit = open_(yard, attempt, Wanted(rows=24, columns=80))
    assert visit.stdin is not None
    os.write(
        visit.stdin,
        f"(setsid nohup sh -c 'sleep 600; : {mark}' &) ; trap '' HUP TERM; echo up-$((3))\n".encode(),
    )
    heard(visit, b"up-3")
    until = time.monotonic() + 30
    while not alive(mark):  # the shell said so before its child had become that program
        assert time.monotonic() < until
        time.sleep(0.05)
    cancel(yard, attempt)
    assert yard.wait(attempt).outcome is Outcome.CANCELED
    assert visit.wait(10) is not None
    until = time.monotonic() + 5
    while alive(mark) and time.monotonic() < until:
        time.sleep(0.05)
    assert alive(mark) == []
    visit.close()
    with pytest.raises(Conflict):
        open_(yard, attempt, Wanted(("true",)))


def test_closing_a_visit_ends_it_and_not_the_job(running: tuple[Yard, int]) -> None:
    yard, attempt = running
    mark = f"mark-{uuid.uuid4().hex}"
    visit = open_(yard, attempt, Wanted(("sh", "-c", f"echo up; sleep 600; : {mark}")))
    assert heard(visit, b"up") and alive(mark)
    visit.close()
    until = time.monotonic() + 5
    while alive(mark) and time.monotonic() < until:
        time.sleep(0.05)
    assert alive(mark) == [] and yard.attempt(attempt).state is State.RUNNING


def test_the_log_says_who_came_between_lines_of_the_job(running: tuple[Yard, int]) -> None:
    yard, attempt = running
    open_(yard, attempt, Wanted(("true",))).wait(5)
    until = time.monotonic() + 10
    while b"ada opened a command in this job.\n" not in yard.log_bytes(attempt):
        assert time.monotonic() < until, yard.log(attempt)
        time.sleep(0.1)


def test_so_many_and_no_more_and_nothing_strange(
    running: tuple[Yard, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    yard, attempt = running
    monkeypatch.setattr(visits, "MOST", 2)
    opened = [open_(yard, attempt, Wanted(("sleep", "60"))) for _ in range(2)]
    with pytest.raises(Busy):
        open_(yard, attempt, Wanted(("true",)))
    for one in opened:
        one.close()
        assert one.wait(5) is not None
    for bad in (
        Wanted(("true",), {"A=B": "x"}),
        Wanted(("true",), {"": "x"}),
        Wanted(("a\0b",)),
        Wanted(("true",), {"A": "\0"}),
    ):
        with pytest.raises(Invalid):
            open_(yard, attempt, bad)
    with pytest.raises(Conflict):
        open_(yard, attempt + 1000, Wanted(("true",)))
