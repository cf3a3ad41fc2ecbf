"""The second listener: the same application over HTTP/2 with trailers, which gRPC needs and granian does not
send. Made by `serving`.

It costs a socket until somebody comes; only then its server (hypercorn) is imported. docs/decisions tells why
it is not the first listener.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from runyard.http.front import Asgi
from runyard.model.errors import Unavailable

log = logging.getLogger("runyard.http")
BACKLOG = 256
STREAMS = 128  # of one connection at a time
GRACE_S = 3.0


def place(given: str, host: str, port: int, *, is_free: bool) -> str | None:
    """HOST:PORT to bind, None for none. Without a setting it is the next port, or any free one when that was
    what the first had."""
    if given == "off":
        return None
    shown = f"[{host}]" if ":" in host else host
    return given or f"{shown}:{0 if is_free else port + 1}"


class Second:
    """`bind`, `start`, `stop`."""

    def __init__(self, app: Asgi, wanted: str) -> None:
        self._app = app
        self._wanted = wanted
        self._socket: socket.socket | None = None
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self.url = ""

    def bind(self) -> None:
        """Unavailable when the port is taken."""
        host, _, text = self._wanted.rpartition(":")
        host = host.strip("[]") or "127.0.0.1"
        try:
            family = socket.getaddrinfo(host, int(text), type=socket.SOCK_STREAM)[0][0]
            made = socket.socket(family, socket.SOCK_STREAM)
            try:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind((host, int(text)))
                made.listen(BACKLOG)
                made.setblocking(False)
            except BaseException:
                made.close()
                raise
        except (OSError, ValueError, OverflowError) as error:
            said = getattr(error, "strerror", None) or str(error)
            raise Unavailable(
                f"gRPC and terminals: off, cannot listen on {self._wanted}: {said}. Choose another with RUNYARD_GRPC_LISTEN."
            ) from None
        self._socket = made
        self.url = f"http://{self._wanted.rpartition(':')[0]}:{made.getsockname()[1]}"

    def start(self) -> None:
        """Waits for the first client without a server."""
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._first)

    def _first(self) -> None:
        if (made := self._socket) is not None:
            asyncio.get_running_loop().remove_reader(made)
            self._serving = asyncio.create_task(self._serve(made))

    async def _serve(self, made: socket.socket) -> None:
        serve, config = await asyncio.to_thread(_hypercorn)
        config.bind = [f"fd://{made.fileno()}"]
        try:
            await serve(self._app, config, shutdown_trigger=self._stop.wait, mode="asgi")
        except Exception:
            log.exception("the second listener ended")

    async def stop(self) -> None:
        """Ends streams that are open."""
        if self._socket is None:
            return
        if self._serving is None:
            asyncio.get_running_loop().remove_reader(self._socket)
        else:
            self._stop.set()
            with suppress(asyncio.CancelledError, TimeoutError):
                await asyncio.wait_for(self._serving, GRACE_S + 2)
        with suppress(OSError):
            self._socket.close()


def _hypercorn() -> tuple[Callable[..., Any], Any]:
    from hypercorn import protocol
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    from runyard.app.http2 import Http2

    vars(protocol)["H2Protocol"] = Http2  # hypercorn has no setting for it
    config = Config()
    config.accesslog = config.errorlog = None
    config.include_server_header = False
    config.graceful_timeout = GRACE_S
    config.h2_max_concurrent_streams = STREAMS
    config.keep_alive_timeout = 3600.0  # a client of terminals and log streams is silent for long
    return serve, config
