"""The loops that time drives: leases, delayed starts and deadlines in one thread; sealing, expiry and
orphans, which may take long, in another. Every round is safe to repeat."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from runyard.engine import upkeep
from runyard.engine.housekeeping import seal_logs, sweep_blobs
from runyard.engine.ports import Blobs, Clock, Database, Tx
from runyard.engine.terms import Terms
from runyard.model.errors import RunyardError

log = logging.getLogger("runyard.upkeep")

ROUND_S = 1.0
SWEEP_LIMIT = 100
BEATS = 3  # how often at least a runner renews its lease before it ends
SLOW_ROUNDS = 60  # expiry, retention: once a minute
BLOB_ROUNDS = 3600  # walking all blobs: once an hour


@dataclass(slots=True)
class Upkeep:
    """Runs until stopped; a round that fails is logged and tried again."""

    db: Database
    blobs: Blobs
    now: Clock
    terms: Terms
    stopping: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Grants every open lease one fresh period (the silence was ours), then begins."""
        self.db.submit_write(lambda tx: upkeep.forgive(tx, self.now(), self.terms)).result()
        for work in (self._watch, self._tidy):
            thread = threading.Thread(target=work, name=f"upkeep{work.__name__}", daemon=True)
            thread.start()
            self.threads.append(thread)

    def stop(self) -> None:
        """Ends after the present rounds."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(5)

    def _watch(self) -> None:
        wall, steady = self.now(), time.monotonic()
        looked = steady  # when the latest look began that the database answered
        while not self.stopping.wait(ROUND_S):
            jump = upkeep.jumped(wall, self.now(), int((time.monotonic() - steady) * 1000))
            wall, steady = self.now(), time.monotonic()
            if jump:
                log.warning("the clock jumped", extra={"milliseconds": jump})
                self._try(partial(self._forgive, jump))
            if self._try(partial(self._look, steady - looked - ROUND_S)):
                looked = steady

    def _tidy(self) -> None:
        number = 0
        while not self.stopping.wait(ROUND_S):
            number += 1
            self._try(lambda: seal_logs(self.db, self.blobs))
            if number % SLOW_ROUNDS == 0:
                self._try(self.expire)
            if number % BLOB_ROUNDS == 0:
                self._try(lambda: sweep_blobs(self.db, self.blobs, self.now(), self.terms))

    def _forgive(self, jump: int) -> None:
        self.db.submit_write(lambda tx: upkeep.forgive(tx, self.now(), self.terms, jump)).result()

    def _look(self, silent_s: float) -> None:
        """Nobody could keep a lease while the database was away or stood still: after a silence as long as
        the pause between two beats all get a fresh one before any is found to be over."""
        now = self.now()  # before anything is asked: what the answers take is no runner's silence
        if silent_s > self.terms.lease_s / BEATS:
            log.warning("the database was away, leases are renewed", extra={"seconds": round(silent_s, 1)})
            self._forgive(0)
        self._sweep(now)

    def _sweep(self, now: int) -> None:
        due_at = self.db.submit_read(lambda tx: tx.next_due_at()).result()
        stuck = now - self.terms.stuck_after_s * 1000
        waiting = self.db.submit_read(lambda tx: tx.queued_before(stuck, 1)).result()
        if not waiting and (due_at is None or due_at > now):
            return
        while self._swept(now) == SWEEP_LIMIT:
            pass

    def _swept(self, now: int) -> int:
        return self.db.submit_write(lambda tx: upkeep.sweep(tx, now, self.terms, SWEEP_LIMIT)).result()

    def expire(self) -> None:
        """Removes what has been kept long enough."""
        self._drain(lambda tx: upkeep.expire_artifacts(tx, self.now()))
        self._drain(lambda tx: upkeep.retire_runs(tx, self.now(), self.terms))

    def _drain(self, verb: Callable[[Tx], int]) -> None:
        """A transaction for each batch, until nothing is left that is due."""
        while self.db.submit_write(verb).result() and not self.stopping.is_set():
            pass

    def _try(self, work: Callable[[], object]) -> bool:
        """Whether it went well."""
        try:
            work()
        except RunyardError as error:
            log.warning("upkeep failed, will try again", extra={"error": error.message})
        except Exception:
            log.exception("upkeep failed, will try again")
        else:
            return True
        return False
