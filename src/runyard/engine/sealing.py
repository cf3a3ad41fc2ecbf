"""A sealed log: one compressed blob from which any range can be read. Used by upkeep (writing) and views
(reading); pure but for the Blobs port.

gzip members of 1 MiB of log each, then when which bytes arrived (zlib: pairs of uint64, offset and
milliseconds, as differences), the members' compressed sizes (uint32 each), the size of the times, the count
of members and a magic number: a range costs its members only, and `zcat` on the blob still gives the whole
log (it warns of trailing bytes). A log without times has another magic number and neither them nor their
size.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from runyard.engine.ports import Blobs

MEMBER_BYTES = 1 << 20
SAMPLE_BYTES = 1 << 15
NOISE = 0.55
MAGIC = 0x52594C31  # "RYL1": without times
TIMED = 0x52594C32  # "RYL2"
_FOOT = struct.Struct(">II")
_PAIR = struct.Struct(">QQ")
Times = Sequence[tuple[int, int]]
"""(offset, milliseconds) of pieces of a log as they arrived, both ascending."""


def sealed(pieces: Iterable[bytes], times: Times = ()) -> Iterator[bytes]:
    """The blob's bytes for a whole log; memory stays at one member."""
    sizes: list[int] = []
    for member in _members(pieces):
        data = _compressed(member, zlib.Z_HUFFMAN_ONLY if _is_noise(member) else zlib.Z_DEFAULT_STRATEGY)
        sizes.append(len(data))
        yield data
    table = struct.pack(f">{len(sizes)}I", *sizes)
    if times:
        index = _packed(times)
        yield index + table + struct.pack(">I", len(index)) + _FOOT.pack(len(sizes), TIMED)
    else:
        yield table + _FOOT.pack(len(sizes), MAGIC)


def _compressed(data: bytes, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    """Level 6 takes twice to five times as long for a tenth less."""
    machine = zlib.compressobj(1, wbits=31, strategy=strategy)
    return machine.compress(data) + machine.flush()


def _is_noise(member: bytes) -> bool:
    """Whether nothing much repeats in it (encoded archives, keys, dumps): then to look for repeats takes
    three times as long as all the rest, and what it finds makes the blob larger."""
    sample = member[:SAMPLE_BYTES]
    return len(member) > 2 * SAMPLE_BYTES and len(_compressed(sample)) > NOISE * len(sample)


def _packed(times: Times) -> bytes:
    """Clocks may go back; times in a log do not."""
    offset = at = 0
    rows: list[bytes] = []
    for start, taken_at in times:
        taken_at = max(at, taken_at)
        rows.append(_PAIR.pack(start - offset, taken_at - at))
        offset, at = start, taken_at
    return zlib.compress(b"".join(rows), 6)


def _members(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= MEMBER_BYTES:
            yield bytes(held[:MEMBER_BYTES])
            del held[:MEMBER_BYTES]
    if held:
        yield bytes(held)


def unsealed(blobs: Blobs, key: str, start: int, end: int) -> Iterator[bytes]:
    """Bytes [start, end) of a sealed log."""
    with blobs.seekable(key) as file:
        sizes = _sizes(file)
        offset = 0
        for index, size in enumerate(sizes):
            first = index * MEMBER_BYTES
            if first + MEMBER_BYTES > start and first < end:
                file.seek(offset)
                data = zlib.decompress(file.read(size), wbits=31)
                yield data[max(0, start - first) : end - first]
            offset += size


def times_of(blobs: Blobs, key: str) -> list[tuple[int, int]]:
    """When which bytes of a sealed log arrived; empty when it was sealed without."""
    with blobs.seekable(key) as file:
        sizes, length = _foot(file)
        if not length:
            return []
        file.seek(sum(sizes))
        data = zlib.decompress(file.read(length))
    found = []
    offset = at = 0
    for further, later in _PAIR.iter_unpack(data):
        offset, at = offset + further, at + later
        found.append((offset, at))
    return found


def _sizes(file: BinaryIO) -> tuple[int, ...]:
    return _foot(file)[0]


def _foot(file: BinaryIO) -> tuple[tuple[int, ...], int]:
    """(the members' sizes, the size of the times)."""
    total = file.seek(0, 2)
    file.seek(total - _FOOT.size)
    count, magic = _FOOT.unpack(file.read(_FOOT.size))
    extra = 4 if magic == TIMED else 0
    if magic not in (MAGIC, TIMED) or count * 4 + _FOOT.size + extra > total:
        raise ValueError("not a sealed log")
    file.seek(total - _FOOT.size - extra - 4 * count)
    sizes = struct.unpack(f">{count}I", file.read(4 * count))
    return sizes, struct.unpack(">I", file.read(4))[0] if extra else 0
