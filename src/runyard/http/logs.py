"""An attempt's log as bytes, wherever it lies: chunks while it grows, one compressed blob once sealed. For every door and page.

A sealed log is gzip members of 1 MiB of log each, then their compressed sizes (uint32 each), then their count and a magic number: any range
costs one member, and `zcat` on the blob still gives the whole log (it warns of trailing bytes).
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import Future
from typing import BinaryIO

from runyard.engine.ports import Blobs, Database, Tx
from runyard.http.services import Services
from runyard.model.work import Attempt

MEMBER_BYTES = 1 << 20
READ_BYTES = 1 << 20
MAGIC = 0x52594C31  # "RYL1"
_FOOT = struct.Struct(">II")


async def log_size(services: Services, attempt: Attempt) -> int:
    """Bytes of log there are now; an erased log has none."""
    return 0 if attempt.erased_at else attempt.log_bytes


async def log_bytes(services: Services, attempt: Attempt, start: int, end: int) -> AsyncIterator[bytes]:
    """Bytes [start, end) in pieces; what has not arrived yet is not waited for."""
    at = start
    while at < end and not attempt.erased_at:
        if attempt.log_blob:
            pieces = unsealed(services.blobs, attempt.log_blob, at, end)
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                yield piece
            return
        piece = await asyncio.wrap_future(_chunks(services.db, attempt.id, at, end))
        if not piece:
            fresh = await services.db.read(lambda tx: tx.get(Attempt, attempt.id))
            if fresh is None or not fresh.log_blob:
                return
            attempt = fresh  # it was sealed between two reads
            continue
        at += len(piece)
        yield piece


def _chunks(db: Database, attempt_id: int, start: int, end: int) -> Future[bytes]:
    def load(tx: Tx) -> bytes:
        chunks = tx.log_chunks(attempt_id, start, min(READ_BYTES, end - start))
        return b"".join(data[max(0, start - offset) :] for offset, data in chunks)[: end - start]

    return db.submit_read(load)


def sealed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The blob's bytes for a whole log; memory stays at one member."""
    sizes: list[int] = []
    for member in _members(pieces):
        machine = zlib.compressobj(6, wbits=31)
        data = machine.compress(member) + machine.flush()
        sizes.append(len(data))
        yield data
    yield struct.pack(f">{len(sizes)}I", *sizes) + _FOOT.pack(len(sizes), MAGIC)


def _members(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= MEMBER_BYTES:
            yield bytes(held[:MEMBER_BYTES])
            del held[:MEMBER_BYTES]
    if held:
        yield bytes(held)


def unsealed(blobs: Blobs, key: str, start: int, end: int) -> Iterator[bytes]:
    """Bytes [start, end) of a sealed log."""
    with blobs.seekable(key) as file:
        sizes = _sizes(file)
        offset = 0
        for index, size in enumerate(sizes):
            first = index * MEMBER_BYTES
            if first + MEMBER_BYTES > start and first < end:
                file.seek(offset)
                data = zlib.decompress(file.read(size), wbits=31)
                yield data[max(0, start - first) : end - first]
            offset += size


def _sizes(file: BinaryIO) -> tuple[int, ...]:
    total = file.seek(0, 2)
    file.seek(total - _FOOT.size)
    count, magic = _FOOT.unpack(file.read(_FOOT.size))
    if magic != MAGIC or count * 4 + _FOOT.size > total:
        raise ValueError("not a sealed log")
    file.seek(total - _FOOT.size - 4 * count)
    return struct.unpack(f">{count}I", file.read(4 * count))
