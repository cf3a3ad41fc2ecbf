"""Big pieces of growing logs as plain files beside an SQLite database; their rows keep place and size. Called
by sqlite.py and content.py.

A megabyte through SQLite is written twice, with checksums; through here once. Order: bytes and their seal,
fdatasync, COMMIT: a row never names bytes that are not there. A crash before the commit leaves bytes that no
row names; the next piece at that offset overwrites them.

A seal says from where to where bytes lie and what their checksum is. The two of a file are written in turns,
so that a torn one leaves the other. They make bytes findable without their rows, so a commit of rows that
only go on where a seal ends needs no sync of its own (`goes_on`): what a power cut takes of such rows is read
back at the next start (`sealed_end`).
"""

from __future__ import annotations

import os
import sqlite3
import struct
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path

from runyard.blobs.growing import FOLIO_BYTES, hasten, reserve, uncache

FROM_BYTES = 256 << 10  # below it one fsync for row and bytes together is cheaper than one for each
SEALED_FROM_BYTES = 16 << 10  # the same where the rows are not synced: below it the row itself is cheaper
OPEN_FILES = 64
LINGER_S = 60.0  # a reader whose snapshot still has the rows may come for the bytes
CACHED_BYTES = 2 << 20  # of the end of a log: who follows it comes for these
UNCACHED_AT_ONCE_BYTES = 256 << 10
HEAD_BYTES = 4096  # before the log's first byte; each seal in a sector of its own
_PLACES = (0, 512)
_SEAL = struct.Struct("<QQI")
_CHECK = struct.Struct("<I")
_SUFFIX = ".log"
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Seal:
    """Bytes [start, end) of a log and their CRC-32."""

    start: int
    end: int
    crc: int

    def packed(self) -> bytes:
        """With a checksum of its own."""
        body = _SEAL.pack(self.start, self.end, self.crc)
        return body + _CHECK.pack(zlib.crc32(body))


@dataclass(slots=True)
class GrowingFile:
    """A file that is written, and what its next seal will say."""

    descriptor: int
    reserved: int
    seal: Seal
    turn: int = 0  # whose place the next seal takes
    cached_from: int = HEAD_BYTES  # place in the file

    def write(self, start: int, data: bytes) -> None:
        """Bytes at their offset, which the next seal covers too when they touch what it covers already."""
        seal = self.seal
        if not seal.start <= start <= seal.end:
            seal = Seal(start, start, 0)
        elif start < seal.end:  # what came after it was rolled back
            seal = Seal(seal.start, start, checksum(self.descriptor, seal.start, start))
        view, at = memoryview(data), HEAD_BYTES + start
        self.reserved = reserve(self.descriptor, self.reserved, at + len(view))
        while view:
            written = os.pwrite(self.descriptor, view, at)
            view, at = view[written:], at + written
        if len(data) >= FROM_BYTES:  # its checksum takes as long as a good part of the writing
            hasten(self.descriptor, at - len(data), at)
        self.seal = Seal(seal.start, start + len(data), zlib.crc32(data, seal.crc))

    def sync(self) -> None:
        """Bytes and seal are durable after it."""
        os.pwrite(self.descriptor, self.seal.packed(), _PLACES[self.turn])
        self.turn = 1 - self.turn
        os.fdatasync(self.descriptor)
        old = HEAD_BYTES + self.seal.end - CACHED_BYTES
        if old >= self.cached_from + UNCACHED_AT_ONCE_BYTES:
            uncache(self.descriptor, max(HEAD_BYTES, self.cached_from - FOLIO_BYTES), old)
            self.cached_from = old


class LogFiles:
    """One file per attempt, written by the one thread that has the write transaction, read by any."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[int, GrowingFile] = {}
        self._dirty: set[int] = set()
        self._born = False
        self._leaving: deque[tuple[float, int]] = deque()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def goes_on(self, attempt_id: int, start: int) -> bool:
        """Whether a piece there would touch bytes that this process has sealed: then the rows before them
        have been synced."""
        file = self._open.get(attempt_id)
        return file is not None and file.seal.start < file.seal.end == start

    def write(self, attempt_id: int, start: int, data: bytes) -> None:
        """Bytes at their offset; durable only after `sync`."""
        try:
            self._file(attempt_id, start).write(start, data)
        except OSError as error:
            code = sqlite3.SQLITE_FULL if error.errno in (ENOSPC, EDQUOT) else sqlite3.SQLITE_IOERR
            raise _as_sqlite_says(error, code) from error
        self._dirty.add(attempt_id)

    def sync(self) -> None:
        """Makes everything written durable. After a failure nothing may be taken for written."""
        try:
            for attempt_id in self._dirty:
                if attempt_id in self._open:
                    self._open[attempt_id].sync()
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
            file.seek(HEAD_BYTES + start)
            return file.read(size)

    def ids(self) -> list[int]:
        """Attempts that have a file."""
        names = (path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"*{_SUFFIX}"))
        return sorted(int(name) for name in names if name.isdigit())

    def sealed_end(self, attempt_id: int, size: int) -> int:
        """Where the log ends whose first `size` bytes have rows: beyond them lie the bytes of a seal that
        covers or touches them, if they are whole."""
        with self._path(attempt_id).open("rb") as file:
            fd = file.fileno()
            ends = [
                seal.end
                for seal in _seals(fd)
                if seal.start <= size < seal.end and checksum(fd, seal.start, seal.end) == seal.crc
            ]
        return max(ends, default=size)

    def adopt(self) -> None:
        """At start: files from before there were seals, whose name is the bare number, get room for them."""
        for path in self._folder.iterdir():
            if not path.name.isdigit():
                continue
            target = self._path(int(path.name))
            with path.open("rb") as old, target.with_suffix(".new").open("wb") as new:
                new.write(bytes(HEAD_BYTES))
                while piece := old.read(_READ_BYTES):
                    new.write(piece)
                new.flush()
                os.fsync(new.fileno())
            target.with_suffix(".new").replace(target)
            _sync_folder(self._folder)
            path.unlink()

    def forget(self, attempt_ids: Iterable[int]) -> None:
        """After the commit that dropped their rows: their files go a little later."""
        now = time.monotonic()
        self._leaving.extend((now + LINGER_S, attempt_id) for attempt_id in attempt_ids)
        while self._leaving and self._leaving[0][0] <= now:
            self._remove(self._leaving.popleft()[1])

    def sweep(self, known: set[int]) -> None:
        """At start: removes files whose rows are gone."""
        for attempt_id in self.ids():
            if attempt_id not in known:
                self._remove(attempt_id)

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
        os.close(self._open.pop(attempt_id).descriptor)

    def _file(self, attempt_id: int, start: int) -> GrowingFile:
        file = self._open.get(attempt_id)
        if file is None:
            self._born = True
            fd = os.open(self._path(attempt_id), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            file = GrowingFile(fd, HEAD_BYTES + start, Seal(start, start, 0))
            self._open[attempt_id] = file
        return file

    def _path(self, attempt_id: int) -> Path:
        return self._folder / f"{attempt_id}{_SUFFIX}"


def checksum(descriptor: int, start: int, end: int) -> int:
    """CRC-32 of bytes [start, end) of the log in this file, as many as there are."""
    crc, at = 0, start
    while at < end:
        piece = os.pread(descriptor, min(_READ_BYTES, end - at), HEAD_BYTES + at)
        if not piece:
            break
        crc, at = zlib.crc32(piece, crc), at + len(piece)
    return crc


def _seal_at(descriptor: int, place: int) -> Seal | None:
    """None where none was written, or not all of it."""
    data = os.pread(descriptor, _SEAL.size + _CHECK.size, place)
    body, check = data[: _SEAL.size], data[_SEAL.size :]
    if len(check) < _CHECK.size or _CHECK.unpack(check)[0] != zlib.crc32(body):
        return None
    return Seal(*_SEAL.unpack(body))


def _seals(descriptor: int) -> Iterator[Seal]:
    for place in _PLACES:
        if (seal := _seal_at(descriptor, place)) is not None:
            yield seal


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
