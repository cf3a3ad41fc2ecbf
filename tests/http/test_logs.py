"""Logs as streams: what cannot be reached is said before the first byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from runyard.http.logs import opened
from runyard.model.errors import Unavailable


async def _pieces(*pieces: bytes | Exception) -> AsyncIterator[bytes]:
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


async def _read(pieces: AsyncIterator[bytes]) -> list[bytes]:
    return [piece async for piece in pieces]


@pytest.mark.parametrize("pieces", [(), (b"one",), (b"one", b"two", b"three")])
def test_an_opened_stream_has_the_same_pieces(pieces: tuple[bytes, ...]) -> None:
    async def read() -> list[bytes]:
        return await _read(await opened(_pieces(*pieces)))

    assert asyncio.run(read()) == list(pieces)


def test_a_stream_that_cannot_begin_is_refused_when_it_is_opened() -> None:
    async def read() -> None:
        with pytest.raises(Unavailable):
            await opened(_pieces(Unavailable("away")))
        begun = await opened(_pieces(b"one", Unavailable("away")))
        with pytest.raises(Unavailable):
            await _read(begun)

    asyncio.run(read())
