"""Rounds come at start, when their time is over and when their bell rings; a failure does not end them, a
stop does."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from runyard.app.rounds import Rounds
from runyard.dialects import Round
from runyard.store.bell import LocalBell

PATIENCE_S = 20.0


@contextmanager
def running(
    work: Callable[[], Awaitable[None]], every_s: float = 3600, topic: str = ""
) -> Iterator[LocalBell]:
    bell = LocalBell()
    rounds = Rounds(bell, [Round("test", work, every_s, topic)])
    rounds.start()
    try:
        yield bell
    finally:
        rounds.stop()


def test_a_bell_brings_the_next_round() -> None:
    came = threading.Semaphore(0)

    async def work() -> None:
        came.release()

    with running(work, topic="queue") as bell:
        assert came.acquire(timeout=PATIENCE_S)
        bell.ring(["queue"])
        assert came.acquire(timeout=PATIENCE_S)


def test_a_ring_during_a_round_is_not_lost() -> None:
    came = threading.Semaphore(0)
    bells: list[LocalBell] = []
    rung: list[bool] = []

    async def work() -> None:
        while not bells:
            await asyncio.sleep(0.001)
        if not rung:
            rung.append(True)
            bells[0].ring(["queue"])
        came.release()

    with running(work, topic="queue") as bell:
        bells.append(bell)
        assert came.acquire(timeout=PATIENCE_S)
        assert came.acquire(timeout=PATIENCE_S)


def test_a_failure_is_told_and_the_round_comes_again(caplog: pytest.LogCaptureFixture) -> None:
    came = threading.Semaphore(0)

    async def work() -> None:
        came.release()
        raise ValueError("this one")

    with caplog.at_level(logging.ERROR, "runyard.rounds"), running(work, every_s=0.01):
        for _ in range(3):
            assert came.acquire(timeout=PATIENCE_S)
    assert "a round failed" in caplog.text


def test_a_stop_does_not_wait_for_a_round_that_hangs() -> None:
    begun, cut = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cut.set()

    with running(work):
        assert begun.wait(PATIENCE_S)
    assert cut.is_set()
