"""Writes zip archives of a workspace, GitLab-compatible and fast. Called by `artifacts.py` and `cache.py`.

Small compressible files are deflated at level 1, everything else is stored: artifacts are packed and unpacked
far more often than kept.
"""

from __future__ import annotations

import os
import stat
import struct
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

SMALL_BYTES = 1 << 20
DEFLATE_UP_TO_BYTES = 64 << 20
SAMPLE_BYTES = 1 << 16
WORTH_IT = 0.6
WIDE = 0xFFFFFFFF
UTF8 = 1 << 11


class ZipWriter:
    """Adds entries to a seekable file; `close` writes the directory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0
        self._directory: list[bytes] = []
        self.size_bytes = 0  # of what was packed

    def add_data(self, name: str, data: bytes, info: os.stat_result) -> None:
        """A small file or a link's target."""
        crc = zlib.crc32(data)
        packed, method = data, 0
        if len(data) > 128 and stat.S_ISREG(info.st_mode):
            shorter = _deflated(data[:SAMPLE_BYTES])
            if len(shorter) < WORTH_IT * min(len(data), SAMPLE_BYTES):
                packed, method = shorter if len(data) <= SAMPLE_BYTES else _deflated(data), 8
        self._entry(name, info, method, crc, len(packed), len(data))
        self._file.write(packed)
        self._at += len(packed)
        self.size_bytes += len(data)

    def add_file(self, name: str, source: int, info: os.stat_result) -> None:
        """A file of any size; the header is written again when sizes are known."""
        if info.st_size <= SMALL_BYTES:
            data = _read_all(source, info.st_size)
            if len(data) <= SMALL_BYTES:
                self.add_data(name, data, info)
                return
            os.lseek(source, 0, os.SEEK_SET)
        head_at = self._at
        self._entry(name, info, 0, 0, info.st_size, info.st_size)
        sample = os.pread(source, SAMPLE_BYTES, info.st_size // 2)
        deflate = info.st_size <= DEFLATE_UP_TO_BYTES and len(zlib.compress(sample, 1)) < WORTH_IT * len(
            sample
        )
        engine = zlib.compressobj(1, zlib.DEFLATED, -15) if deflate else None
        crc = size = packed = 0
        while data := os.read(source, SMALL_BYTES):
            crc, size = zlib.crc32(data, crc), size + len(data)
            data = engine.compress(data) if engine else data
            self._file.write(data)
            packed += len(data)
        if engine:
            rest = engine.flush()
            self._file.write(rest)
            packed += len(rest)
        end = self._at + packed
        self._directory.pop()
        self._at = head_at
        self._file.seek(head_at)
        self._entry(name, info, 8 if engine else 0, crc, packed, size)
        self._at = end
        self._file.seek(end)
        self.size_bytes += size

    def add_folder(self, name: str, info: os.stat_result) -> None:
        """An (empty) folder."""
        self._entry(name.rstrip("/") + "/", info, 0, 0, 0, 0)

    def close(self) -> None:
        """The directory, with zip64 records where numbers are large."""
        start = self._at
        for record in self._directory:
            self._file.write(record)
        length = sum(map(len, self._directory))
        count = len(self._directory)
        if count >= 0xFFFF or start >= WIDE or length >= WIDE:
            end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, start)
            self._file.write(end + struct.pack("<4sLQL", b"PK\x06\x07", 0, start + length, 1))
            count, start, length = min(count, 0xFFFF), min(start, WIDE), min(length, WIDE)
        self._file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, length, start, 0))
        self._file.flush()

    def _entry(self, name: str, info: os.stat_result, method: int, crc: int, packed: int, size: int) -> None:
        raw = name.encode("utf-8", "surrogateescape")
        day, clock = _dos_time(info.st_mtime)
        # The same width before and after a file was read, so that its header can be written twice.
        large = max(info.st_size, packed, size) >= WIDE
        local_extra = struct.pack("<HHQQ", 1, 16, size, packed) if large else b""
        sizes = (WIDE, WIDE) if large else (packed, size)
        version = 45 if large else 20
        self._file.write(
            struct.pack(
                "<4s5H3L2H",
                b"PK\x03\x04",
                version,
                UTF8,
                method,
                clock,
                day,
                crc,
                *sizes,
                len(raw),
                len(local_extra),
            )
            + raw
            + local_extra
        )
        offset = self._at
        wide = [
            value for value, is_wide in ((size, large), (packed, large), (offset, offset >= WIDE)) if is_wide
        ]
        extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        self._directory.append(
            struct.pack(
                "<4s6H3L5H2L", b"PK\x01\x02", 3 << 8 | version, version, UTF8, method, clock, day, crc, *sizes, len(raw), len(extra),
                0, 0, 0, (info.st_mode & 0xFFFF) << 16, min(offset, WIDE),
            )
            + raw
            + extra
        )  # fmt: skip
        self._at += 30 + len(raw) + len(local_extra)


def pack(root: Path, paths: Iterable[str], file: BinaryIO) -> ZipWriter:
    """Packs files, folders and links that `artifacts.choose` has already judged. What vanished meanwhile is
    left out."""
    writer = ZipWriter(file)
    base = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in paths:
            _add(writer, base, path)
    finally:
        os.close(base)
    writer.close()
    return writer


def _add(writer: ZipWriter, base: int, path: str) -> None:
    try:
        info = os.stat(path, dir_fd=base, follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            writer.add_data(path, os.fsencode(os.readlink(path, dir_fd=base)), info)
        elif stat.S_ISDIR(info.st_mode):
            writer.add_folder(path, info)
        else:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=base)
            try:
                writer.add_file(path, fd, os.fstat(fd))
            finally:
                os.close(fd)
    except FileNotFoundError:
        return


def _read_all(fd: int, expected: int) -> bytes:
    """At most one byte more than a small file may have."""
    data = os.read(fd, expected + 1)
    while len(data) <= SMALL_BYTES and (more := os.read(fd, SMALL_BYTES)):
        data += more
    return data


def _deflated(data: bytes) -> bytes:
    engine = zlib.compressobj(1, zlib.DEFLATED, -15)
    return engine.compress(data) + engine.flush()


def _dos_time(mtime: float) -> tuple[int, int]:
    moment = time.gmtime(max(mtime, 315_532_800))
    year = min(moment.tm_year, 2107)
    day = (year - 1980) << 9 | moment.tm_mon << 5 | moment.tm_mday
    return day, moment.tm_hour << 11 | moment.tm_min << 5 | moment.tm_sec // 2
