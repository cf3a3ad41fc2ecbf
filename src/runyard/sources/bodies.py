"""Request bodies as chunks: inflated when gzipped, cut off at a limit, never waited for too long. Called by
smart_http."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from runyard.model.errors import Invalid, TooLarge

IDLE_S = 60.0
_INFLATE_BYTES = 1 << 20


async def chunks_of(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    limit_bytes: int,
) -> AsyncIterator[bytes]:
    """The body's bytes. TooLarge beyond the limit (counted after inflating), Invalid when it stalls, breaks
    off or is no gzip."""
    encoding = next((v for k, v in scope["headers"] if k.lower() == b"content-encoding"), b"identity").lower()
    if encoding not in (b"identity", b"gzip", b"x-gzip"):
        raise Invalid("the content encoding is not known")
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS) if encoding != b"identity" else None
    total, more = 0, True
    while more:
        data, more = await _next(receive)
        for piece in _inflated(inflate, data) if inflate else (data,):
            total += len(piece)
            if total > limit_bytes:
                raise TooLarge
            if piece:
                yield piece
    if inflate and not inflate.eof:
        raise Invalid("the compressed body is cut short")


async def _next(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> tuple[bytes, bool]:
    try:
        message = await asyncio.wait_for(receive(), IDLE_S)
    except TimeoutError:
        raise Invalid("the body did not arrive in time") from None
    if message["type"] == "http.disconnect":
        raise Invalid("the client left")
    return message.get("body", b""), message.get("more_body", False)


def _inflated(inflate: Any, data: bytes) -> list[bytes]:
    """Bounded pieces, so that a small bomb never becomes one large string before the limit is looked at."""
    pieces = []
    try:
        while data and not inflate.eof:
            pieces.append(inflate.decompress(data, _INFLATE_BYTES))
            data = inflate.unconsumed_tail
            if len(pieces) > 64:
                raise TooLarge
    except zlib.error:
        raise Invalid("the body is not valid gzip") from None
    return pieces
