"""A sealed log: one compressed blob from which any range can be read. Used by upkeep (writing) and views (reading); pure but for the Blobs port.

gzip members of 1 MiB of log each, then their compressed sizes (uint32 each), then their count and a magic number: a range costs its members
only, and `zcat` on the blob still gives the whole log (it warns of trailing bytes).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from runyard.engine.ports import Blobs

MEMBER_BYTES = 1 << 20
MAGIC = 0x52594C31  # "RYL1"
_FOOT = struct.Struct(">II")


def sealed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The blob's bytes for a whole log; memory stays at one member."""
    sizes: list[int] = []
    for member in _members(pieces):
        machine = zlib.compressobj(1, wbits=31)  # level 6 takes five times as long for a tenth less
        data = machine.compress(member) + machine.flush()
        sizes.append(len(data))
        yield data
    yield struct.pack(f">{len(sizes)}I", *sizes) + _FOOT.pack(len(sizes), MAGIC)


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


def _sizes(file: BinaryIO) -> tuple[int, ...]:
    total = file.seek(0, 2)
    file.seek(total - _FOOT.size)
    count, magic = _FOOT.unpack(file.read(_FOOT.size))
    if magic != MAGIC or count * 4 + _FOOT.size > total:
        raise ValueError("not a sealed log")
    file.seek(total - _FOOT.size - 4 * count)
    return struct.unpack(f">{count}I", file.read(4 * count))
