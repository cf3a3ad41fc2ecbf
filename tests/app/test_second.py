"""The second listener: where it lies, what it says when it cannot, what it costs until somebody comes."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from runyard.app.second import Second, place
from runyard.http.front import plain
from runyard.model.errors import Unavailable


def test_it_lies_above_the_first_port_unless_told() -> None:
    assert place("", "127.0.0.1", 8080, is_free=False) == "127.0.0.1:8081"
    assert place("", "::1", 8080, is_free=False) == "[::1]:8081"
    assert place("", "127.0.0.1", 34567, is_free=True) == "127.0.0.1:0"
    assert place("0.0.0.0:9", "127.0.0.1", 1, is_free=True) == "0.0.0.0:9"
    assert place("off", "127.0.0.1", 1, is_free=True) is None


@pytest.mark.parametrize("wanted", ["127.0.0.1:99999", "127.0.0.1:x", "300.1.1.1:0", "taken"])
def test_a_place_that_cannot_be_had_is_said(wanted: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        given = f"127.0.0.1:{taken.getsockname()[1]}" if wanted == "taken" else wanted
        with pytest.raises(Unavailable, match="RUNYARD_GRPC_LISTEN"):
            Second(lambda *_: plain(_[2], 200, {}), given).bind()


def test_nothing_is_imported_before_the_first_client_and_it_stops() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        if scope["type"] == "lifespan":  # type: ignore[index]
            while True:
                message = await receive()  # type: ignore[operator]
                await send({"type": message["type"] + ".complete"})  # type: ignore[operator]
                if message["type"] == "lifespan.shutdown":
                    return
        await plain(send, 200, {"hello": 1})  # type: ignore[arg-type]

    async def all_of_it() -> None:
        before = "hypercorn" in sys.modules
        second = Second(app, "127.0.0.1:0")
        second.bind()
        second.start()
        await asyncio.sleep(0.05)
        assert ("hypercorn" in sys.modules) == before
        host, port = second.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b'{"hello": 1}' in await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await second.stop()

    asyncio.run(all_of_it())


def test_a_listener_that_nobody_used_stops_at_once() -> None:
    async def all_of_it() -> None:
        second = Second(lambda *_: plain(_[2], 200, {}), "127.0.0.1:0")
        second.bind()
        second.start()
        await second.stop()

    asyncio.run(all_of_it())
