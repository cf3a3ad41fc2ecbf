"""Archives with a few bytes changed: both readers refuse or read, neither is surprised
(contracts/reliability.md §5 C)."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import zipfile

import pytest

from runyard.dialects.gitlab.archives import open_file
from runyard.model.errors import RunyardError
from runyard.syntax import archives


def made(*entries: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return out.getvalue()


PLAIN = made(("a", b"x" * 300), ("b/c", b"y"))


def patched(mark: bytes, at: int, value: bytes) -> bytes:
    data = bytearray(PLAIN)
    place = data.find(mark) + at
    data[place : place + len(value)] = value
    return bytes(data)


LIES = {
    "a directory before the file's start": patched(b"PK\5\6", 16, b"\xff\xff\xff\x7f"),
    "a directory larger than the file": patched(b"PK\5\6", 12, b"\xff\xff\xff\x7f"),
    "a count that is not there": patched(b"PK\5\6", 8, b"\xff\xff\xff\xff"),
    "an entry beyond the end": patched(b"PK\1\2", 42, b"\xff\xff\xff\x7f"),
    "an unknown method": patched(b"PK\1\2", 10, struct.pack("<H", 99)),
    "a password": patched(b"PK\1\2", 8, b"\1"),
    "a size that is too small": patched(b"PK\1\2", 24, struct.pack("<L", 3)),
    "a size that is too large": patched(b"PK\1\2", 24, struct.pack("<L", 10_000_000)),
    "a bomb": made(("a", b"\0" * (32 << 20))),
    "nothing": b"",
    "a cut": PLAIN[:-10],
}


def served(data: bytes) -> int:
    """Bytes of `a` as the GitLab door serves them; refused or broken off are fine."""
    size = 0
    with contextlib.suppress(RunyardError, ConnectionError):
        _, pieces = open_file(io.BytesIO(data), "a")
        for piece in pieces:
            size += len(piece)
    return size


def unpacked(data: bytes) -> int:
    """Bytes of all entries as the runner would unpack them."""
    size = 0
    with contextlib.suppress(archives.ArchiveError):
        file = io.BytesIO(data)
        for entry in archives.directory(file, 1 << 20):
            for piece in archives.read(file, entry):
                size += len(piece)
    return size


@pytest.mark.parametrize("lie", LIES)
def test_an_archive_that_lies_gives_little_and_surprises_nobody(lie: str) -> None:
    assert served(LIES[lie]) <= 300
    assert unpacked(LIES[lie]) <= 301


def test_no_change_of_a_few_bytes_surprises_a_reader() -> None:
    chance = random.Random(7)
    for _ in range(1500):
        data = bytearray(PLAIN)
        for _ in range(3):
            data[chance.randrange(len(data))] = chance.randrange(256)
        assert served(bytes(data)) < 1 << 20
        assert unpacked(bytes(data)) < 2 << 20


def test_an_honest_archive_is_read() -> None:
    assert (served(PLAIN), unpacked(PLAIN)) == (300, 301)
