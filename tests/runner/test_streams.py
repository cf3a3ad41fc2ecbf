"""When pieces of a log travel: with the end of a short job, soon in a longer one, never more than twenty a second."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from runyard.engine.dispatch import Verdict
from runyard.runner import streams
from runyard.runner.link import Taken


def test_short_jobs_wait_and_longer_ones_are_heard_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(streams.time, "monotonic", lambda: now[0])
    sent: list[bytes] = []

    def send(offset: int, data: bytes) -> Future[Taken]:
        sent.append(data)
        done: Future[Taken] = Future()
        done.set_result(Taken(Verdict.GO, True, offset + len(data)))
        return done

    log = streams.Log(send, ())
    assert log.due_in_s() is None
    log.write(b"early\n")
    assert log.due_in_s() == pytest.approx(streams.SHOW_AFTER_S)
    now[0] += 0.2
    assert log.due_in_s() == 0
    log.flush()
    now[0] += 5
    log.write(b"later\n")
    assert log.due_in_s() == pytest.approx(streams.SOON_S)
    now[0] += streams.SOON_S
    log.flush()
    log.write(b"and on\n")
    assert log.due_in_s() == pytest.approx(streams.GAP_S)
    log.drain()
    assert b"".join(sent) == b"early\nlater\nand on\n" and len(sent) == 3
