"""Stored bytes to a client, read in a thread piece by piece. Called by doors whose links lead straight to a
blob."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from urllib.parse import quote

from runyard.engine.ports import Blobs
from runyard.http.front import Send, plain
from runyard.model.errors import NotFound

OPAQUE: Mapping[str, str] = {
    "content-type": "application/octet-stream",
    "content-disposition": "attachment",
    "cache-control": "private, no-store",
}
"""Headers of bytes that are for the client that asked and for no browser to show."""


def attachment(name: str) -> str:
    """The `Content-Disposition` of a download (RFC 6266): a plain name for old clients, the true one encoded.
    Of a path the last part; nothing of a stranger's name can end the header or its quotes."""
    last = name.rpartition("/")[2] or "artifact"
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in last)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(last, safe='')}"


async def in_thread(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces, without holding up the event loop."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


async def give(
    send: Send, blobs: Blobs, key: str, size_bytes: int, headers: Mapping[str, str], method: str
) -> None:
    """Answers GET with the blob and HEAD without it; 404 when the bytes are gone, known before anything was
    said."""
    pieces: Iterator[bytes] = iter(())
    first = b""
    if method == "GET":
        try:
            pieces = await asyncio.to_thread(blobs.open, key)
            first = await asyncio.to_thread(next, pieces, b"")
        except NotFound as error:
            await plain(send, 404, {"message": error.message})
            return
    told = {**headers, "content-length": str(size_bytes)}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in told.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})
    if first:
        await send({"type": "http.response.body", "body": first, "more_body": True})
    async for piece in in_thread(pieces):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
