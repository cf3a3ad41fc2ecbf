"""One port of the runner's side inside a box's own network: `runyard.localhost`, behind which is the CI
server and nothing else. Made by a box on demand.

A box may reach the world but nothing of this machine, and the server mostly is on it. So a socket is opened
in the box's network namespace (a socket stays where it was made) and what connects to it is handed on to the
server; jobs still present their token there as anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from socket import AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket

NAME = "runyard.localhost"
CLONE_NEWNET = 0x40000000
PIECE_BYTES = 1 << 18
CONNECTIONS = 64
FIRST_PORT, LAST_PORT = 8080, 8180


class Doorway:
    """Listens until closed. OSError when it cannot be opened."""

    def __init__(self, namespace: str, host: str, port: int, *, secure: bool) -> None:
        self._target = (host, port)
        self._secure = ssl.create_default_context() if secure else None
        listening = _listening(namespace)
        self.url = f"http://{NAME}:{listening.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._stop: Callable[[], None] = lambda: None
        self._open = 0
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(listening, ready), name="doorway", daemon=True
        )
        self._thread.start()
        ready.wait(5)

    def close(self) -> None:
        """Ends every connection."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(5)

    def _run(self, listening: socket, ready: threading.Event) -> None:
        try:
            self._loop.run_until_complete(self._serve(listening, ready))
        finally:
            self._loop.close()

    async def _serve(self, listening: socket, ready: threading.Event) -> None:
        done = asyncio.Event()
        self._stop = done.set
        server = await asyncio.start_server(self._join, sock=listening, limit=PIECE_BYTES)
        ready.set()
        await done.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, both ways until either side ends."""
        self._open += 1
        try:
            if self._open > CONNECTIONS:
                return
            host, port = self._target
            there, back = await asyncio.open_connection(
                host,
                port,
                ssl=self._secure,
                server_hostname=host if self._secure else None,
                limit=PIECE_BYTES,
            )
            with contextlib.suppress(OSError):
                await asyncio.gather(_hand_on(reader, back), _hand_on(there, writer))
            await _ended(back)
        except OSError:
            pass  # the server is away; the client sees a closed connection and tries again
        finally:
            self._open -= 1
            await _ended(writer)


async def _hand_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await source.read(PIECE_BYTES):
        target.write(piece)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()


async def _ended(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


def _listening(namespace: str) -> socket:
    """A socket on the namespace's loopback, made by a thread that goes in there and never comes back."""
    made: list[socket | OSError] = []

    def enter() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(namespace).open("rb") as there:
                if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "the job's network cannot be entered")
            made.append(_bound())
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=enter, name="doorway-opener", daemon=True)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def _bound() -> socket:
    listening = socket(AF_INET, SOCK_STREAM)
    listening.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    for port in range(FIRST_PORT, LAST_PORT):
        with contextlib.suppress(OSError):
            listening.bind(("127.0.0.1", port))
            listening.listen(CONNECTIONS)
            return listening
    listening.close()
    raise OSError("no free port in the job's network")
