"""The loop that time drives: leases, delayed starts, deadlines, sealing, expiry, orphans. One thread; every
round is safe to repeat."""

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
    thread: threading.Thread | None = None

    def start(self) -> None:
        """Grants every open lease one fresh period (the silence was ours), then begins."""
        self.db.submit_write(lambda tx: upkeep.forgive(tx, self.now(), self.terms)).result()
        self.thread = threading.Thread(target=self._rounds, name="upkeep", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Ends after the present round."""
        self.stopping.set()
        if self.thread is not None:
            self.thread.join(5)

    def _rounds(self) -> None:
        number, wall, steady = 0, self.now(), time.monotonic()
        while not self.stopping.wait(ROUND_S):
            number += 1
            jump = upkeep.jumped(wall, self.now(), int((time.monotonic() - steady) * 1000))
            wall, steady = self.now(), time.monotonic()
            if jump:
                log.warning("the clock jumped", extra={"milliseconds": jump})
                self._try(partial(self._forgive, jump))
            self._try(self._sweep)
            self._try(lambda: seal_logs(self.db, self.blobs))
            if number % SLOW_ROUNDS == 0:
                self._try(self.expire)
            if number % BLOB_ROUNDS == 0:
                self._try(lambda: sweep_blobs(self.db, self.blobs, self.now(), self.terms))

    def _forgive(self, jump: int) -> None:
        self.db.submit_write(lambda tx: upkeep.forgive(tx, self.now(), self.terms, jump)).result()

    def _sweep(self) -> None:
        due_at = self.db.submit_read(lambda tx: tx.next_due_at()).result()
        stuck = self.now() - self.terms.stuck_after_s * 1000
        waiting = self.db.submit_read(lambda tx: tx.queued_before(stuck, 1)).result()
        if not waiting and (due_at is None or due_at > self.now()):
            return
        while self._swept() == SWEEP_LIMIT:
            pass

    def _swept(self) -> int:
        return self.db.submit_write(lambda tx: upkeep.sweep(tx, self.now(), self.terms, SWEEP_LIMIT)).result()

    def expire(self) -> None:
        """Removes what has been kept long enough."""
        self._drain(lambda tx: upkeep.expire_artifacts(tx, self.now()))
        self._drain(lambda tx: upkeep.retire_runs(tx, self.now(), self.terms))

    def _drain(self, verb: Callable[[Tx], int]) -> None:
        """A transaction for each batch, until nothing is left that is due."""
        while self.db.submit_write(verb).result() and not self.stopping.is_set():
            pass

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except RunyardError as error:
            log.warning("upkeep failed, will try again", extra={"error": error.message})
        except Exception:
            log.exception("upkeep failed, will try again")
