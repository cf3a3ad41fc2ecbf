"""An attempt's log as an asynchronous stream, for every door and page; `engine.views.log_from` does the
reading."""

from __future__ import annotations

from collections.abc import AsyncIterator

from runyard.engine import views
from runyard.engine.ports import Tx
from runyard.http.services import Services
from runyard.model.work import Attempt

PIECE_BYTES = 1 << 20


async def log_bytes(services: Services, attempt_id: int, start: int, end: int) -> AsyncIterator[bytes]:
    """Bytes [start, end) in pieces; ends early at what has arrived (or at nothing, when it was erased)."""

    def load(tx: Tx, at: int) -> bytes:
        attempt = tx.get(Attempt, attempt_id)
        return views.log_from(tx, services.blobs, attempt, at, min(PIECE_BYTES, end - at)) if attempt else b""

    at = start
    while at < end:
        here = at
        piece = await services.db.read(lambda tx: load(tx, here))  # noqa: B023 - awaited before `here` moves
        if not piece:
            return
        at += len(piece)
        yield piece


async def opened(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces, the first of them read already: bytes that cannot be reached are an error while the
    answer can still be one."""
    first = await anext(pieces, b"")

    async def all_of_them() -> AsyncIterator[bytes]:
        if first:
            yield first
        async for piece in pieces:
            yield piece

    return all_of_them()
