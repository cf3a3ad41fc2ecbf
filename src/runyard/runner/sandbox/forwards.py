"""Ports of services at a job's own localhost: a small proxy in the job's network namespace. Called by
`services`.

GitHub's jobs that run in no container reach their services so. The listeners belong to the job's namespace,
so nothing of the host is opened.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNET = 0x40000000
PIECE_BYTES = 1 << 16
READY_S = 10.0


@dataclass(frozen=True, slots=True)
class Forward:
    """`port` 0: any free one. `name` is what the job calls it by: its number inside the service."""

    port: int
    host: str
    inner: int
    name: str


class Forwards:
    """Listens from `open` until `close`; `ports` says where, in the order asked for (0: that port was
    taken)."""

    def __init__(self, namespace: str, wanted: Sequence[Forward]) -> None:
        self.ports: list[int] = []
        self._namespace = namespace  # a path; empty: where we are
        self._wanted = wanted
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._work, name="forwards", daemon=True)

    def open(self) -> Forwards:
        """Returns once everything listens."""
        self._thread.start()
        self._ready.wait(READY_S)
        return self

    def close(self) -> None:
        """Ends all connections."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(loop.stop)
            self._thread.join(READY_S)

    def _work(self) -> None:
        """In a thread of its own, because it enters the job's network namespace and never comes back."""
        try:
            if self._namespace:
                _enter(self._namespace)
            listeners = [_listener(forward.port) for forward in self._wanted]
        except OSError:
            self._ready.set()
            return
        self.ports = [one.getsockname()[1] if one else 0 for one in listeners]
        self._loop = loop = asyncio.new_event_loop()
        try:
            for forward, listener in zip(self._wanted, listeners, strict=True):
                if listener is not None:
                    loop.run_until_complete(_serve(forward, listener))
            self._ready.set()
            loop.run_forever()
        finally:
            loop.run_until_complete(_ended(asyncio.all_tasks(loop)))
            for listener in listeners:
                if listener is not None:
                    listener.close()
            loop.close()


def _enter(path: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(path).open("rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot enter the job's network")


def _listener(port: int) -> socket.socket | None:
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(("127.0.0.1", port))
    except OSError:
        found.close()
        return None
    found.listen(64)
    return found


async def _serve(forward: Forward, listener: socket.socket) -> None:
    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(forward.host, forward.inner)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(
                _pour(reader, inner_writer), _pour(inner_reader, writer), return_exceptions=True
            )
        finally:
            writer.close()
            inner_writer.close()

    await asyncio.start_server(meet, sock=listener)


async def _ended(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
