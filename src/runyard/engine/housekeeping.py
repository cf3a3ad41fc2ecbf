"""Upkeep that touches bytes: sealing logs and sweeping blobs. Joins upkeep's verbs over the ports; app calls
it from a worker thread.

seal_logs(db, blobs, limit=20) -> int · sweep_blobs(db, blobs, now, terms) -> int

Blob first, row second; on delete the row first. A crash between the two leaves a blob that nobody names,
which `sweep_blobs` removes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import partial

from runyard.engine.ports import Blobs, Database
from runyard.engine.sealing import sealed as compressed
from runyard.engine.terms import Terms
from runyard.engine.upkeep import orphans, sealed, to_seal
from runyard.engine.views import LOG_PIECE_BYTES, log_from
from runyard.model.errors import Unavailable
from runyard.model.work import Attempt

BATCH = 500


def seal_logs(db: Database, blobs: Blobs, limit: int = 20) -> int:
    """Turns the chunks of ended attempts into one blob each; says how many logs were sealed.

    A log that cannot be read holds up no other: Unavailable is raised once there is nothing else to seal.
    """
    done, after_id, trouble = 0, 0, None
    while not done and (ended := db.submit_read(partial(to_seal, limit=limit, after_id=after_id)).result()):
        after_id = ended[-1].id
        for attempt in ended:
            try:
                done += _seal(db, blobs, attempt)
            except Unavailable as error:
                trouble = error
    if trouble is not None and not done:
        raise trouble
    return done


def _seal(db: Database, blobs: Blobs, attempt: Attempt) -> bool:
    reading = _Reading(db, blobs, attempt)
    key = ""
    if attempt.log_bytes and attempt.erased_at is None:
        key = blobs.put(compressed(reading.pieces(), reading.times())).key
    return db.submit_write(lambda tx: sealed(tx, attempt.id, key, reading.size, reading.crc)).result()


class _Reading:
    """Reads a log piece by piece, one short read transaction each, counting as it goes."""

    def __init__(self, db: Database, blobs: Blobs, attempt: Attempt) -> None:
        self.db, self.blobs, self.attempt = db, blobs, attempt
        self.size = 0
        self.crc = 0

    def times(self) -> list[tuple[int, int]]:
        """When its pieces arrived."""
        return self.db.submit_read(
            lambda tx: tx.log_times(self.attempt.id, 0, self.attempt.log_bytes)
        ).result()

    def pieces(self) -> Iterator[bytes]:
        """The log's bytes."""
        while piece := self.db.submit_read(
            lambda tx: log_from(tx, self.blobs, self.attempt, self.size, LOG_PIECE_BYTES)
        ).result():
            self.size += len(piece)
            self.crc = zlib.crc32(piece, self.crc)
            yield piece


def sweep_blobs(db: Database, blobs: Blobs, now: int, terms: Terms) -> int:
    """Deletes blobs that no row names and that nobody touched for `orphan_blob_s`; says how many."""
    before = now - terms.orphan_blob_s * 1000
    removed = 0
    batch: list[str] = []
    for key, changed_at in blobs.walk():
        if changed_at < before:
            batch.append(key)
        if len(batch) >= BATCH:
            removed += _sweep(db, blobs, batch)
            batch = []
    return removed + _sweep(db, blobs, batch)


def _sweep(db: Database, blobs: Blobs, keys: list[str]) -> int:
    if not keys:
        return 0
    gone = db.submit_read(lambda tx: orphans(tx, keys)).result()
    for key in gone:
        blobs.delete(key)
    return len(gone)
