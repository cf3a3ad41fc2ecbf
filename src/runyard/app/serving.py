"""A server from its settings to its last byte: first start, one port, the ready line, the loops, a clean
stop. Called by `runyard serve`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from functools import partial

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from runyard.app.compose import House, build
from runyard.app.first_start import key_notes, prepare
from runyard.app.journal import write_json_lines
from runyard.app.loops import Loops
from runyard.app.second import Second, place
from runyard.model.errors import Invalid, Unavailable
from runyard.runner.link import Door
from runyard.settings import Settings

DRAIN_S = 10.0
BODY_PIECE_BYTES = (
    1 << 20
)  # at most, of a body whose sender is fast: each piece costs two hops between threads
COLLECT_AFTER = (10_000, 20, 20)  # new objects, then young collections before an older one


def serve_forever(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises before the ready line when it cannot start."""
    write_json_lines()
    host, port = address(settings.listen)  # first: a start that cannot be leaves nothing behind
    keys = prepare(settings)
    url = (settings.external_url or f"http://{_shown(host)}:{port}").rstrip("/")
    house = build(settings, keys, url)
    try:
        asyncio.run(_serve(house, host, port))
    finally:
        house.close()


async def _serve(house: House, host: str, port: int) -> None:
    logging.getLogger("_granian").setLevel(logging.WARNING)
    server = Server(
        house.front,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        websockets=False,
        log_enabled=False,
        backlog=1024,
        http1_settings=HTTP1Settings(max_buffer_size=BODY_PIECE_BYTES),
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    serving = asyncio.create_task(server.serve())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loops = Loops(house, Door(_reached(host), port))
    second: Second | None = None
    try:
        await _accepting(host, port, serving)
        notes = await asyncio.to_thread(loops.start)
        notes += await house.services.db.write(partial(key_notes, vault=house.services.vault))
        second = _second(house, host, port, notes)
        for note in notes:
            sys.stderr.write(f"{note}\n")
        sys.stderr.flush()
        sys.stdout.write(f"runyard ready http://{_shown(host)}:{port}\n")
        sys.stdout.flush()
        warming = asyncio.create_task(_warm(house))
        await asyncio.wait([serving, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
        warming.cancel()
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await asyncio.to_thread(loops.stop)
        house.services.bell.close()  # else who follows a run or waits for a job would hold up the stop
        if second is not None:
            await second.stop()
        server.stop()  # type: ignore[no-untyped-call]  # granian has no types here
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            await asyncio.wait_for(serving, DRAIN_S)


def _reached(host: str) -> str:
    """An address at which one that listens there is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, nothing listens


def _second(house: House, host: str, port: int, notes: list[str]) -> Second | None:
    """The listener for gRPC, waiting; where it lies, or why there is none, goes to the notes."""
    settings = house.settings
    wanted = place(settings.grpc_listen, host, port, is_free=settings.listen.endswith(":0"))
    if wanted is None or house.front is None:
        return None
    second = Second(house.front, wanted)
    try:
        second.bind()
    except Unavailable as error:
        notes.append(error.message)
        return None
    second.start()
    notes.append(f"gRPC and terminals: {second.url}")
    return second


async def _warm(house: House) -> None:
    """Makes every door's application, one after the other, beside the first requests."""
    for app in house.late:
        await asyncio.to_thread(app.made)
    await asyncio.to_thread(_settle_memory)


def _settle_memory() -> None:
    """What was imported stays: the collector need not walk through it again and again, which showed as the
    slowest answers of a busy server."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def _accepting(host: str, port: int, serving: asyncio.Task[None]) -> None:
    """Returns once the port answers."""
    for _ in range(500):
        if serving.done():
            break
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return
    raise Unavailable(f"The server did not come up on {host}:{port}.")


def address(listen: str) -> tuple[str, int]:
    """(host, port) of HOST:PORT; port 0 becomes a free one. A taken port is refused here, with the name of
    the flag."""
    host, _, text = listen.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise Invalid(f"--listen takes HOST:PORT, not {listen!r}.")
    try:
        family = socket.getaddrinfo(host, int(text), type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, int(text)))
            return host, probe.getsockname()[1]
    except OSError as error:
        raise Unavailable(
            f"Cannot listen on {listen}: {error.strerror}. Choose another with --listen."
        ) from None


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
