"""Visits of jobs at other runners, without a network: the visitor's descriptors on one side, the runner's
calls on the other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest

from runyard.engine.ports import Visit, Wanted
from runyard.http import visiting
from runyard.http.visiting import CalledVisit, Switchboard
from runyard.model.errors import Busy, Conflict, Invalid, NotFound
from runyard.runner.calling import Said, Shown

TERMINAL = Wanted(rows=24, columns=80)
PIPES = Wanted(("cat",))


class Nobody:
    """No job runs here."""

    def open(self, attempt_id: int, wanted: Wanted, by: str) -> Visit:
        raise Conflict("not here")


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Switchboard:
    monkeypatch.setattr(visiting, "HOLD_S", 0.2)
    made = Switchboard(Nobody())
    made.attend(7)
    return made


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


def opened(board: Switchboard, wanted: Wanted) -> tuple[Any, CalledVisit]:
    """(the visitor's side, the runner's) of the same, fetched."""
    visit = board.open(7, wanted, "ada")
    (id,) = board.attend(7)
    theirs = board.visit(7, id)
    assert asyncio.run(theirs.said()) == Said(wanted=wanted, by="ada")
    assert board.attend(7) == []
    return visit, theirs


def test_a_job_whose_runner_has_not_been_heard_cannot_be_entered(board: Switchboard) -> None:
    with pytest.raises(Conflict, match="not here"):
        board.open(8, TERMINAL, "ada")
    with pytest.raises(NotFound):
        board.visit(7, "nonsense")


def test_what_is_typed_resized_and_shut_reaches_the_runner_in_order(board: Switchboard) -> None:
    visit, theirs = opened(board, PIPES)
    assert asyncio.run(theirs.said()) == Said()  # nothing within the hold
    os.write(visit.stdin, b"typed")
    assert asyncio.run(theirs.said()) == Said(stdin=b"typed")
    visit.resize(30, 100)
    assert asyncio.run(theirs.said()) == Said(rows=30, columns=100)
    os.write(visit.stdin, b"last")
    visit.shut_stdin()
    assert asyncio.run(theirs.said()) == Said(stdin=b"last")
    assert asyncio.run(theirs.said()) == Said(shut=True)
    assert asyncio.run(theirs.said()) == Said()
    visit.close()
    visit.close()


def test_what_is_shown_comes_apart_and_then_the_exit_code(board: Switchboard) -> None:
    visit, theirs = opened(board, PIPES)
    assert asyncio.run(theirs.show(Shown(stdout=b"out"))) == 3
    assert asyncio.run(theirs.show(Shown(stderr=b"wrong"))) == 5
    assert visit.wait(0) is None
    asyncio.run(theirs.show(Shown(exit_code=3)))
    assert visit.wait(0) == 3
    assert [os.read(fd, 9) for fd in (visit.stdout, visit.stderr, visit.stdout)] == [b"out", b"wrong", b""]
    with pytest.raises(NotFound):
        asyncio.run(theirs.said())
    visit.close()


def test_who_does_not_read_holds_up_the_process_and_loses_nothing(board: Switchboard) -> None:
    visit, theirs = opened(board, TERMINAL)
    data = os.urandom(1 << 20)
    taken = asyncio.run(theirs.show(Shown(stdout=data)))
    assert 0 < taken < len(data)
    found = b""
    while len(found) < taken:
        found += os.read(visit.stdout, 1 << 20)
    assert found == data[:taken]
    visit.close()


def test_a_refusal_of_the_runner_is_the_visitors(board: Switchboard) -> None:
    visit, theirs = opened(board, TERMINAL)
    asyncio.run(theirs.show(Shown(problem=("invalid", "there is no such folder"))))
    with pytest.raises(Invalid, match="no such folder"):
        visit.wait(0)
    visit.close()


@pytest.mark.parametrize("waits", [True, False], ids=["in its call", "between two calls"])
def test_the_runner_hears_that_the_visitor_left(board: Switchboard, waits: bool) -> None:
    visit, theirs = opened(board, TERMINAL)

    async def leave() -> Said:
        call = asyncio.ensure_future(theirs.said())
        await asyncio.sleep(0.05)
        visit.close()
        return await call

    if waits:
        assert asyncio.run(leave()) == Said(over=True)
    else:
        visit.close()
    with pytest.raises(NotFound):
        asyncio.run(theirs.show(Shown(stdout=b"late")))


def test_a_runner_that_never_comes_or_falls_silent_ends_the_visit(
    board: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    visit = board.open(7, TERMINAL, "ada")
    other, _ = opened_second(board)
    monkeypatch.setattr(visiting, "FETCHED_S", -1.0)
    with pytest.raises(Conflict, match="did not come"):
        visit.wait(0)
    assert other.wait(0) is None
    monkeypatch.setattr(visiting, "SILENCE_S", -1.0)
    assert other.wait(0) == 137
    visit.close()
    other.close()


def opened_second(board: Switchboard) -> tuple[Any, CalledVisit]:
    """Beside one that nobody has come for."""
    visit = board.open(7, TERMINAL, "ada")
    theirs = board.visit(7, board.attend(7)[-1])
    asyncio.run(theirs.said())
    return visit, theirs


def test_a_jobs_visits_are_bounded_and_room_comes_back(board: Switchboard) -> None:
    visits = [board.open(7, PIPES, "ada") for _ in range(visiting.MOST)]
    with pytest.raises(Busy):
        board.open(7, PIPES, "ada")
    visits.pop().close()
    visits.append(board.open(7, PIPES, "ada"))
    for visit in visits:
        visit.close()
