"""The child that the resident keeps ready: everything of a run that needs no working copy is done, then it
waits for an order.

An order is a caller's arguments, folder, environment and its three open files; the answer is the exit code.
Called by `server`.
"""

from __future__ import annotations

import array
import os
import signal
import socket
import sys
import threading
import time
import traceback
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from runyard.cli.resident.client import ACCEPTED, ENDED

if TYPE_CHECKING:
    from runyard.cli.run import Prepared

ORDER_LIMIT_BYTES = 8 << 20
READ_S = 5.0
BOXES = 4  # that wait for their jobs, at most: each is four small processes


@dataclass(frozen=True)
class Order:
    """What a caller wants run."""

    body: bytes
    files: tuple[int, ...]

    def close(self) -> None:
        """Lets the caller's files go."""
        for fd in self.files:
            os.close(fd)


def take(line: socket.socket, key: bytes) -> Order | None:
    """Reads an order; None for one that is not whole, not for us, or too large."""
    line.settimeout(READ_S)
    files: list[int] = []
    try:
        head, files, _, _ = socket.recv_fds(line, 8, 3)
        size = int.from_bytes(head[:4], "big")
        fits = len(head) == 8 and len(files) == 3 and size <= ORDER_LIMIT_BYTES
        if fits and int.from_bytes(head[4:], "big") == zlib.crc32(key):
            body = _exactly(line, size)
            if body is not None:
                return Order(body, tuple(files))
    except OSError:
        pass
    for fd in files:
        os.close(fd)
    return None


def _exactly(line: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        piece = line.recv(min(1 << 16, size - len(parts)))
        if not piece:
            return None
        parts += piece
    return bytes(parts)


@dataclass(frozen=True)
class Spare:
    """A child that waits. `hand` gives it its one order; `close` ends it if it has none."""

    pid: int
    line: socket.socket

    def hand(self, caller: socket.socket, order: Order) -> None:
        """Passes the caller on; the child answers it."""
        with self.line:
            rights = array.array("i", [caller.fileno(), *order.files])
            head = len(order.body).to_bytes(4, "big")
            with suppress(OSError):
                self.line.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                self.line.sendall(order.body)
        order.close()

    def close(self) -> None:
        """Without an order it ends."""
        self.line.close()


def fork(listener: socket.socket, lock: IO[bytes]) -> Spare:
    """A new child, preparing. It keeps nothing that makes a resident, which another one may become while this
    child still runs."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return Spare(pid, ours)
    ours.close()
    listener.close()
    lock.close()
    code = 70
    try:
        _live(theirs)
        code = 0
    except BaseException:  # noqa: BLE001 - the rim of this process
        traceback.print_exc()
    finally:
        os._exit(code)


def _live(orders: socket.socket) -> None:
    from runyard.cli.run import Prepared

    os.setsid()
    prepared = Prepared()
    prepared.equip(min(BOXES, prepared.house.settings.slots))
    try:
        head, files, _, _ = socket.recv_fds(orders, 4, 4)
        for fd in files:
            os.set_inheritable(fd, False)
        body = _exactly(orders, int.from_bytes(head, "big")) if len(head) == 4 and len(files) == 4 else None
        if body is not None:
            _serve(prepared, socket.socket(fileno=files[0]), tuple(files[1:]), body)
    finally:
        prepared.close()


def _serve(prepared: Prepared, caller: socket.socket, files: tuple[int, ...], body: bytes) -> None:
    from runyard.cli.run import finish

    caller.setblocking(True)  # its timeout came along with it
    args = _become(files, body)
    caller.send(ACCEPTED)
    ended = threading.Event()
    threading.Thread(target=_obey, args=(caller, ended), daemon=True).start()
    code = finish(args, "runyard run", prepared)
    ended.set()
    with suppress(OSError):
        caller.sendall(ENDED + bytes([code & 0xFF]))
        caller.shutdown(socket.SHUT_RDWR)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # whoever reads our output must not wait for the tidying up
        os.dup2(null, fd)


def _become(files: tuple[int, ...], body: bytes) -> list[str]:
    """Takes on the caller's files, folder, environment; answers its arguments."""
    fields = body.decode("utf-8", "surrogateescape").split("\0")
    umask, folder, count = int(fields[0]), fields[1], int(fields[2])
    environment = dict(pair.partition("=")[::2] for pair in fields[3 + count :])
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.umask(umask)
    for fd, file in enumerate(files):
        os.dup2(file, fd)
        os.close(file)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115 - for the rest of this process's life
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return fields[3 : 3 + count]


def _obey(caller: socket.socket, ended: threading.Event) -> None:
    """Ctrl-C of the caller, or its death, is ours."""
    said = b"I"
    while said:
        try:
            said = caller.recv(1)
        except OSError:
            return
        if not ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)
