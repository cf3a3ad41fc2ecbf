"""The second listener: where it lies, what it says when it cannot, what it costs until somebody comes."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import h2.connection
import h2.events
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


def test_bytes_of_a_call_that_is_answered_already_do_not_end_the_others() -> None:
    """A client that is refused may still be sending; its other calls on the connection go on."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        await plain(send, 403, {"path": scope["path"]})

    async def all_of_it() -> None:
        second = Second(app, "127.0.0.1:0")
        second.bind()
        second.start()
        host, port = second.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        client = h2.connection.H2Connection()
        client.initiate_connection()

        async def until_ended(stream: int) -> list[h2.events.Event]:
            seen: list[h2.events.Event] = []
            writer.write(client.data_to_send())
            while not any(isinstance(e, h2.events.StreamEnded) and e.stream_id == stream for e in seen):
                data = await asyncio.wait_for(reader.read(65536), 20)
                assert data, "the connection was ended"
                seen += client.receive_data(data)
                writer.write(client.data_to_send())
            return seen

        for stream in range(1, 41, 4):
            headers = [(":method", "POST"), (":scheme", "http"), (":authority", "x")]
            client.send_headers(stream, [*headers, (":path", "/refused")])
            await until_ended(stream)
            client.send_data(stream, b"late" * 1000)
            client.send_headers(stream + 2, [*headers, (":path", "/next")], end_stream=True)
            seen = await until_ended(stream + 2)
            said = b"".join(bytes(e.data) for e in seen if isinstance(e, h2.events.DataReceived))
            assert said == b'{"path": "/next"}'
            told = [e for e in seen if isinstance(e, h2.events.StreamReset)]
            assert [(e.stream_id, e.error_code) for e in told] == [(stream, 0)]
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
