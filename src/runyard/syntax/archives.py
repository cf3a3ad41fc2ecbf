"""Zip archives of strangers, read under budgets: the directory, names that are safe, one entry's bytes. Pure,
over any seekable file.

Called by http and dialects (listings, single files) and by the runner (unpacking). Promises: nothing is
allocated by a claimed count, entries never overlap, an entry never yields more than it declares, and its CRC
is checked (contracts/reliability.md §5 C).
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_ENTRIES = 200_000
MAX_DIRECTORY_BYTES = 64 << 20
MAX_TOTAL_BYTES = 1 << 40
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4000
MAX_DEPTH = 100
READ_BYTES = 1 << 20
STORED, DEFLATED = 0, 8

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")


class ArchiveError(ValueError):
    """This is not an archive that may be used."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or link of an archive. `name` as written; ask `is_safe` before using it as a path."""

    name: str
    size_bytes: int
    packed_bytes: int
    method: int
    crc: int
    offset: int
    mode: int
    modified: tuple[int, int, int, int, int, int]

    @property
    def is_folder(self) -> bool:
        """By its name or its mode."""
        return self.name.endswith("/") or stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """A symbolic link, whose content is its target."""
        return stat.S_ISLNK(self.mode)


def is_safe(name: str) -> bool:
    """Whether a name stays inside the folder it is unpacked to, on any system, and can exist there."""
    path = name.removesuffix("/")
    if not path or path.startswith("/") or "\\" in path or "\0" in path or path[1:2] == ":":
        return False
    try:
        raw = path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    parts = path.split("/")
    return (
        len(raw) <= MAX_PATH_BYTES
        and len(parts) <= MAX_DEPTH
        and all(part not in ("", ".", "..") and len(part.encode()) <= MAX_NAME_BYTES for part in parts)
    )


def directory(file: BinaryIO, max_total_bytes: int = MAX_TOTAL_BYTES) -> list[Entry]:
    """Every entry in the order of the directory. ArchiveError when anything in it contradicts the file."""
    size = file.seek(0, 2)
    count, start, length = _end(file, size)
    if length > MAX_DIRECTORY_BYTES or count > MAX_ENTRIES:
        raise ArchiveError(
            f"the archive has more than {MAX_ENTRIES} entries or {MAX_DIRECTORY_BYTES} bytes of directory"
        )
    file.seek(start)
    raw = file.read(length)
    entries: list[Entry] = []
    at = 0
    while at < len(raw):
        entry, at = _central(raw, at)
        entries.append(entry)
        if len(entries) > count:
            break
    if len(entries) != count:
        raise ArchiveError("the archive's directory does not have as many entries as it claims")
    _check_places(entries, start)
    if sum(entry.size_bytes for entry in entries) > max_total_bytes:
        raise ArchiveError(f"the archive would unpack to more than {max_total_bytes} bytes")
    return entries


def find(entries: Iterable[Entry], path: str) -> Entry | None:
    """The file of that name; of two the last, as an unpacking would leave it. None for folders, links and
    unsafe names."""
    found = None
    for entry in entries:
        if entry.name == path and is_safe(entry.name) and not entry.is_folder and not entry.is_link:
            found = entry
    return found


def read(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    """The entry's bytes, never more than declared; ArchiveError at the end when size or CRC differ."""
    crc = done = 0
    for piece in _pieces(file, entry):
        done += len(piece)
        if done > entry.size_bytes:
            raise ArchiveError(f"{entry.name!r} holds more than it declares")
        crc = zlib.crc32(piece, crc)
        yield piece
    if done != entry.size_bytes or crc != entry.crc:
        raise ArchiveError(f"{entry.name!r} is damaged: size or CRC differ from the directory's")


def _pieces(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    file.seek(entry.offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        raise ArchiveError(f"{entry.name!r} does not begin where the directory says")
    name_bytes, extra_bytes = _LOCAL.unpack(header)[9:11]
    at = entry.offset + _LOCAL.size + name_bytes + extra_bytes
    left = entry.packed_bytes
    if entry.method == STORED:
        while left > 0:
            file.seek(at)
            data = file.read(min(READ_BYTES, left))
            if not data:
                return
            at, left = at + len(data), left - len(data)
            yield data
    elif entry.method == DEFLATED:
        yield from _inflated(file, at, left, entry.size_bytes)
    else:
        raise ArchiveError(f"{entry.name!r} is packed by a method that is not served ({entry.method})")


def _inflated(file: BinaryIO, at: int, left: int, declared: int) -> Iterator[bytes]:
    """One byte beyond the declared size is enough to know that it lies."""
    engine = zlib.decompressobj(-15)
    room = declared + 1
    try:
        while left > 0 and room > 0 and not engine.eof:
            file.seek(at)
            data = file.read(min(READ_BYTES, left))
            if not data:
                return
            at, left = at + len(data), left - len(data)
            while data and room > 0:
                piece = engine.decompress(data, min(READ_BYTES, room))
                room -= len(piece)
                if piece:
                    yield piece
                elif not engine.unconsumed_tail:
                    break
                data = engine.unconsumed_tail
        while room > 0 and (piece := engine.decompress(engine.unconsumed_tail, min(READ_BYTES, room))):
            room -= len(piece)
            yield piece
    except zlib.error as error:
        raise ArchiveError(f"the archive is damaged: {error}") from error


def _end(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """(entries, start, length) of the directory; data before the first entry or after the end is refused."""
    tail_bytes = min(size, _END.size + 65535)
    file.seek(size - tail_bytes)
    tail = file.read(tail_bytes)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise ArchiveError("not a zip archive")
    _, disk, start_disk, here, count, length, start, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail) or disk != start_disk or here != count:
        raise ArchiveError("not a whole zip archive")
    end_at = size - tail_bytes + at
    if 0xFFFF in (here, count) or 0xFFFFFFFF in (length, start):
        count, start, length, end_at = _end64(file, end_at)
    if start + length != end_at:
        raise ArchiveError("the archive's directory is not where it claims to be")
    return count, start, length


def _end64(file: BinaryIO, end_at: int) -> tuple[int, int, int, int]:
    locator_at = end_at - _END64_LOCATOR.size
    if locator_at < 0:
        raise ArchiveError("not a whole zip archive")
    file.seek(locator_at)
    magic, _, at, _ = _END64_LOCATOR.unpack(file.read(_END64_LOCATOR.size))
    if magic != b"PK\x06\x07" or at + _END64.size > locator_at:
        raise ArchiveError("not a whole zip archive")
    file.seek(at)
    values = _END64.unpack(file.read(_END64.size))
    if values[0] != b"PK\x06\x06":
        raise ArchiveError("not a whole zip archive")
    return values[7], values[9], values[8], at


def _central(raw: bytes, at: int) -> tuple[Entry, int]:
    if len(raw) - at < _CENTRAL.size or raw[at : at + 4] != b"PK\x01\x02":
        raise ArchiveError("the archive's directory is damaged")
    values = _CENTRAL.unpack_from(raw, at)
    flags, method, clock, day, crc, packed, size = values[3:10]
    name_bytes, extra_bytes, comment_bytes = values[10:13]
    attributes, offset = values[15], values[16]
    name_at = at + _CENTRAL.size
    end = name_at + name_bytes + extra_bytes + comment_bytes
    if end > len(raw):
        raise ArchiveError("the archive's directory is damaged")
    if flags & 1:
        raise ArchiveError("the archive is encrypted")
    extra = raw[name_at + name_bytes : name_at + name_bytes + extra_bytes]
    size, packed, offset = _wide(extra, size, packed, offset)
    name = raw[name_at : name_at + name_bytes].decode("utf-8", "surrogateescape")
    modified = (
        (day >> 9) + 1980, day >> 5 & 15, day & 31, clock >> 11, clock >> 5 & 63, (clock & 31) * 2
    )  # fmt: skip
    mode = attributes >> 16 if values[1] >> 8 == 3 else 0
    return Entry(name, size, packed, method, crc, offset, mode, modified), end


def _wide(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Zip64 values stand, in this order, for those that did not fit."""
    values = [size, packed, offset]
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            values = [next(wide, v) if v == 0xFFFFFFFF else v for v in values]
        at += 4 + length
    return values[0], values[1], values[2]


def _check_places(entries: list[Entry], end: int) -> None:
    """Python's own reader accepts entries that share bytes (a quoted bomb); here each has its own."""
    at = 0
    for entry in sorted(entries, key=lambda e: e.offset):
        if entry.offset < at:
            raise ArchiveError("entries of the archive overlap")
        at = entry.offset + _LOCAL.size + entry.packed_bytes
    if at > end:
        raise ArchiveError("entries of the archive overlap its directory")
