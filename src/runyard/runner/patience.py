"""Asks a database that is away again, until it is back or patience ends. Used by `local.py`: a restart or a
failover of the database costs no job.

A work is repeated as a whole, so it has to be one that may be: every verb of `engine/dispatch.py` is. Only
`Away` is asked again; a full disk, a lost lease or a closed store answer at once.
"""

from __future__ import annotations

import heapq
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from runyard.engine.ports import Database, Tx
from runyard.model.errors import Away
from runyard.runner.link import PATIENCE_S

log = logging.getLogger("runyard.runner")

T = TypeVar("T")

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0  # a beat is among what waits, so it is well below a lease


@dataclass(order=True, slots=True)
class _Asked:
    """A work on its way. Ordered by when it is to be asked again."""

    due: float
    ask: Callable[[], Future[Any]] = field(compare=False)
    answer: Future[Any] = field(compare=False)
    until: float = field(compare=False)
    pause_s: float = field(compare=False)


class Patience:
    """As `engine.ports.Database` for threads. Answers Away once a work has been refused for `patience_s`
    seconds, and at once after `close`."""

    def __init__(self, db: Database, patience_s: float = PATIENCE_S) -> None:
        self._db = db
        self._patience_s = patience_s
        self._turn = threading.Condition()
        self._waiting: list[_Asked] = []
        self._thread: threading.Thread | None = None
        self._is_away = False  # as the log knows
        self._is_closed = False

    def submit_read(self, work: Callable[[Tx], T]) -> Future[T]:
        """As the database's."""
        return self._begin(partial(self._db.submit_read, work))

    def submit_write(self, work: Callable[[Tx], T]) -> Future[T]:
        """As the database's; in its order while it answers."""
        return self._begin(partial(self._db.submit_write, work))

    def close(self) -> None:
        """Nothing is asked again any more, and who waits is told."""
        with self._turn:
            self._is_closed = True
            waiting, self._waiting = self._waiting, []
            self._turn.notify()
        for asked in waiting:
            asked.answer.set_exception(Away("The runner stops before the database is back."))

    def _begin(self, ask: Callable[[], Future[T]]) -> Future[T]:
        answer: Future[T] = Future()
        now = time.monotonic()
        self._ask(_Asked(now, ask, answer, now + self._patience_s, FIRST_PAUSE_S))
        return answer

    def _ask(self, asked: _Asked) -> None:
        asked.ask().add_done_callback(partial(self._heard, asked))

    def _heard(self, asked: _Asked, said: Future[Any]) -> None:
        error = said.exception()
        if error is None:
            if self._is_away:
                self._note(away=False)
            asked.answer.set_result(said.result())
        elif not (isinstance(error, Away) and self._waits(asked)):
            asked.answer.set_exception(error)

    def _waits(self, asked: _Asked) -> bool:
        """Whether it is asked again, later."""
        pause_s = asked.pause_s * random.uniform(0.5, 1)  # noqa: S311 - only spreads the repeats
        asked.due = time.monotonic() + pause_s
        asked.pause_s = min(asked.pause_s * 2, LONGEST_PAUSE_S)
        with self._turn:
            if self._is_closed or asked.due > asked.until:
                return False
            heapq.heappush(self._waiting, asked)
            if self._thread is None:
                self._thread = threading.Thread(target=self._repeat, name="patience", daemon=True)
                self._thread.start()
            self._turn.notify()
        self._note(away=True)
        return True

    def _note(self, *, away: bool) -> None:
        """Says once that it waits, and once that it is over."""
        with self._turn:
            if self._is_away is away:
                return
            self._is_away = away
        if away:
            log.warning("the database is away, jobs wait for it", extra={"patience_s": self._patience_s})
        else:
            log.info("the database is back")

    def _repeat(self) -> None:
        while (asked := self._next()) is not None:
            self._ask(asked)

    def _next(self) -> _Asked | None:
        """What is due, when it is; None once closed."""
        with self._turn:
            while not self._is_closed:
                left_s = self._waiting[0].due - time.monotonic() if self._waiting else None
                if left_s is not None and left_s <= 0:
                    return heapq.heappop(self._waiting)
                self._turn.wait(left_s)
        return None
