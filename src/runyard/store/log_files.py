"""Big pieces of growing logs as plain files beside an SQLite database; their rows keep place and size. Called by sqlite.py and content.py.

A megabyte through SQLite is written twice, with checksums; through here once. The order keeps the promise that an answered write is durable and
a row never names bytes that are not there: bytes, then fdatasync, then COMMIT. A crash before the commit leaves bytes that no row names; the
next piece at that offset overwrites them.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from pathlib import Path

from runyard.blobs.growing import reserve

FROM_BYTES = 256 << 10  # below it one fsync for row and bytes together is cheaper than one for each
OPEN_FILES = 64
LINGER_S = 60.0  # a reader whose snapshot still has the rows may come for the bytes


class LogFiles:
    """One file per attempt, written by the one thread that has the write transaction, read by any."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[int, int] = {}
        self._reserved: dict[int, int] = {}  # bytes that the open files have room for
        self._dirty: set[int] = set()
        self._born = False
        self._leaving: deque[tuple[float, int]] = deque()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def write(self, attempt_id: int, start: int, data: bytes) -> None:
        """Bytes at their offset; durable only after `sync`."""
        try:
            fd = self._descriptor(attempt_id)
            view = memoryview(data)
            self._reserved[attempt_id] = reserve(fd, self._reserved.get(attempt_id, start), start + len(view))
            while view:
                written = os.pwrite(fd, view, start)
                view, start = view[written:], start + written
        except OSError as error:
            code = sqlite3.SQLITE_FULL if error.errno in (ENOSPC, EDQUOT) else sqlite3.SQLITE_IOERR
            raise _as_sqlite_says(error, code) from error
        self._dirty.add(attempt_id)

    def sync(self) -> None:
        """Makes everything written durable. After a failure nothing may be taken for written."""
        try:
            for attempt_id in self._dirty:
                if attempt_id in self._open:
                    os.fdatasync(self._open[attempt_id])
            if self._born:
                _sync_folder(self._folder)
        except OSError as error:
            raise _as_sqlite_says(error, sqlite3.SQLITE_IOERR_FSYNC) from error
        finally:
            self._dirty.clear()
        self._born = False
        while len(self._open) > OPEN_FILES:
            self._close(next(iter(self._open)))

    def read(self, attempt_id: int, start: int, size: int) -> bytes:
        """The piece a row names."""
        with self._path(attempt_id).open("rb") as file:
            file.seek(start)
            return file.read(size)

    def forget(self, attempt_ids: Iterable[int]) -> None:
        """After the commit that dropped their rows: their files go a little later."""
        now = time.monotonic()
        self._leaving.extend((now + LINGER_S, attempt_id) for attempt_id in attempt_ids)
        while self._leaving and self._leaving[0][0] <= now:
            self._remove(self._leaving.popleft()[1])

    def sweep(self, known: set[int]) -> None:
        """At start: removes files whose rows are gone."""
        for path in self._folder.iterdir():
            if path.name.isdigit() and int(path.name) not in known:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Lets the files go."""
        for attempt_id in list(self._open):
            self._close(attempt_id)

    def _remove(self, attempt_id: int) -> None:
        if attempt_id in self._open:
            self._close(attempt_id)
        with suppress(OSError):
            self._path(attempt_id).unlink(missing_ok=True)

    def _close(self, attempt_id: int) -> None:
        self._reserved.pop(attempt_id, None)
        os.close(self._open.pop(attempt_id))

    def _descriptor(self, attempt_id: int) -> int:
        fd = self._open.get(attempt_id)
        if fd is None:
            self._born = True
            fd = os.open(self._path(attempt_id), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._open[attempt_id] = fd
        return fd

    def _path(self, attempt_id: int) -> Path:
        return self._folder / str(attempt_id)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _as_sqlite_says(error: OSError, code: int) -> sqlite3.OperationalError:
    """The same trouble in SQLite's words, so that a full or failing disk is met in one place."""
    said = sqlite3.OperationalError(f"log file: {error.strerror}")
    said.sqlite_errorcode = code
    return said
