"""When pieces of a log travel: with the end of a short job, soon in a longer one, never more than twenty a
second."""

from __future__ import annotations

import threading
import time
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


def test_lines_of_other_threads_come_between_lines_and_too_many_are_counted() -> None:
    sent = b""

    def send(offset: int, data: bytes) -> Future[Taken]:
        nonlocal sent
        sent += data
        done: Future[Taken] = Future()
        done.set_result(Taken(Verdict.GO, True, offset + len(data)))
        return done

    log = streams.Log(send, ["hush"])
    log.write(b"half")
    for n in range(streams.MOST_LATER + 7):
        log.later(f"hush {n}")
    log.speak_up()
    log.write(b" a line\n")
    log.speak_up()
    log.speak_up()
    log.drain()
    lines = sent.decode().splitlines()
    assert lines[:2] == ["half a line", "[MASKED] 0"] and len(lines) == streams.MOST_LATER + 2
    assert lines[-1] == "(7 lines that came too fast are left out)"


def test_a_drain_waits_for_pieces_that_had_to_be_sent_again() -> None:
    """Where pieces are written side by side one may overtake another: it is refused, and its second way takes
    time too."""
    way: list[tuple[int, bytes, Future[Taken]]] = []

    def send(offset: int, data: bytes) -> Future[Taken]:
        way.append((offset, data, Future()))
        return way[-1][2]

    log = streams.Log(send, ())
    log.write(b"first")
    log.flush()
    log.write(b"second")
    log.flush()
    thread = threading.Thread(target=log.drain)
    thread.start()
    way[1][2].set_result(Taken(Verdict.GO, False, 0))
    way[0][2].set_result(Taken(Verdict.GO, True, 5))
    until = time.monotonic() + 20
    while len(way) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    offset, data, again = way[2]
    assert b"second".endswith(data) and thread.is_alive()
    thread.join(0.2)
    assert thread.is_alive(), "it did not wait for what was sent again"
    again.set_result(Taken(Verdict.GO, True, offset + len(data)))
    thread.join(20)
    assert not thread.is_alive() and not log.stopped


def test_a_server_that_takes_nothing_is_not_asked_for_ever() -> None:
    asked: list[int] = []

    def send(offset: int, data: bytes) -> Future[Taken]:
        asked.append(offset)
        done: Future[Taken] = Future()
        done.set_result(Taken(Verdict.GO, False, offset))
        return done

    log = streams.Log(send, ())
    log.write(b"text")
    log.drain()
    assert log.stopped and len(asked) == streams.REFUSALS + 1
