"""The resident process: `python -m runyard.cli.resident.server`. Started by `runyard run` as it ends; ends
itself when nobody has asked for a while, when the code it was made from has changed, or when its socket is
gone.

It stays single-threaded and only forks: every run happens in a child of its own, which the caller's terminal,
folder and environment are given to.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import os
import selectors
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from runyard.cli.resident.client import STALE, address, surroundings
from runyard.cli.resident.rehearsal import rehearse
from runyard.cli.resident.spare import Spare, fork, take

IDLE_S = 600.0
SPARE_S = 120.0  # a prepared sandbox holds copies of /etc: an old one is thrown away
WARM = (
    "runyard.cli.run",
    "runyard.dialects.gitlab",
    "runyard.dialects.depot",
    "runyard.dialects.depot.compile",
    "runyard.runner.sandbox.bubblewrap",
    "runyard.store.sqlite_database",
    "runyard.app.rounds",
    "runyard.http.bridging",
)


def main() -> None:
    """Serves until it is no longer of use."""
    os.chdir("/")
    os.umask(0o022)
    path = Path(address())
    path.parent.mkdir(mode=0o700, exist_ok=True)
    lock = _only_one(path)
    if lock is None:
        return
    for name in WARM:
        importlib.import_module(name)
    rehearse()
    gc.collect()
    gc.freeze()
    with suppress(OSError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(16)
    try:
        Resident(listener, path, lock).serve()
    finally:
        with suppress(OSError):
            path.unlink()


def _only_one(path: Path) -> IO[bytes] | None:
    lock = path.with_suffix(".lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


class Resident:
    """Accepts, hands on, keeps a spare."""

    def __init__(self, listener: socket.socket, path: Path, lock: IO[bytes]) -> None:
        self._listener = listener
        self._path = path
        self._lock = lock
        self._key = surroundings()
        self._made = _modified()
        self._spare: Spare | None = None
        self._born = time.monotonic()
        self._asked = time.monotonic()
        self._children: set[int] = set()

    def serve(self) -> None:
        """Until idle, stale or without a socket."""
        self._renew()
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._listener, selectors.EVENT_READ)
            while True:
                ready = waiting.select(0.2 if self._children else 5.0)
                self._reap()
                if ready and not self._answer():
                    break
                if not ready and not self._is_of_use():
                    break
        if self._spare is not None:
            self._spare.close()

    def _is_of_use(self) -> bool:
        now = time.monotonic()
        if self._children:
            self._asked = now
        if self._spare is not None and now - self._born > SPARE_S:
            self._spare.close()
            self._spare = None
        return self._path.exists() and now - self._asked < IDLE_S

    def _renew(self) -> None:
        self._spare, self._born = fork(self._listener, self._lock), time.monotonic()
        self._children.add(self._spare.pid)

    def _reap(self) -> None:
        """Ended runs; the next spare is made when the machine has nothing of ours to run."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self._children.discard(ended)
                if self._spare is not None and self._spare.pid == ended:
                    self._spare.close()
                    self._spare = None
        if self._spare is not None:
            self._children.discard(self._spare.pid)
        if not self._children and self._spare is None and time.monotonic() - self._asked < SPARE_S:
            self._renew()

    def _answer(self) -> bool:
        """Hands one caller to the spare. False when this process is not what the caller should be served
        by."""
        line, _ = self._listener.accept()
        with line:
            if not _is_same_user(line):
                return True
            order = take(line, self._key)
            if order is None:
                return True
            if _modified() != self._made:
                line.send(STALE)
                order.close()
                return False
            self._asked = time.monotonic()
            if self._spare is None:
                self._spare = fork(self._listener, self._lock)
            spare, self._spare = self._spare, None
            self._children.add(spare.pid)
            spare.hand(line, order)
        return True


def _is_same_user(line: socket.socket) -> bool:
    uid: int = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    return uid == os.getuid()


def _modified() -> float:
    """When our own code changed last, of what is loaded."""
    found = 0.0
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and name.startswith("runyard"):
            try:
                found = max(found, os.stat(file).st_mtime)  # noqa: PTH116 - a hundred of them for each run
            except OSError:
                return -1.0
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main()
