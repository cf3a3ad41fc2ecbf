"""Files that reserve room ahead hold what was written and no more."""

from __future__ import annotations

import os
from errno import EAGAIN, ENOSPC, EOPNOTSUPP
from pathlib import Path
from typing import Any

import pytest

from runyard.blobs import growing
from runyard.blobs.growing import FIRST_BYTES, FOLIO_BYTES, Growing, reserve, uncache


def written(path: Path, pieces: list[bytes]) -> None:
    with path.open("wb", buffering=0) as file:
        grown = Growing(file.fileno())
        for piece in pieces:
            grown.write(piece)
        grown.finish()
        assert grown.size == sum(map(len, pieces))


@pytest.mark.parametrize("size", [0, 1, FIRST_BYTES, FIRST_BYTES + 1, 5 * FIRST_BYTES + 7])
def test_a_file_ends_where_the_last_byte_was_written(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    written(tmp_path / "f", [data[i : i + 300_000] for i in range(0, size, 300_000)])
    assert (tmp_path / "f").read_bytes() == data


def test_small_files_reserve_nothing_and_large_ones_ever_more(monkeypatch: Any) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(growing.os, "posix_fallocate", lambda fd, start, size: asked.append((start, size)))
    mib = FIRST_BYTES
    assert reserve(0, mib, mib) == mib and asked == []
    assert reserve(0, mib, mib + 1) == 2 * mib + 2 and asked == [(mib, mib + 2)]
    assert reserve(0, 0, 500 * mib) == 564 * mib


@pytest.mark.parametrize("errno", [ENOSPC, EOPNOTSUPP])
def test_where_nothing_can_be_reserved_files_are_written_all_the_same(
    tmp_path: Path, monkeypatch: Any, errno: int
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno, "no")

    monkeypatch.setattr(growing.os, "posix_fallocate", refuse)
    written(tmp_path / "f", [b"x" * FIRST_BYTES] * 3)
    assert (tmp_path / "f").stat().st_size == 3 * FIRST_BYTES


def is_cached(descriptor: int, at: int) -> bool:
    """Whether the byte can be read without asking the disk."""
    try:
        return os.preadv(descriptor, [bytearray(1)], at, os.RWF_NOWAIT) == 1
    except OSError as error:
        if error.errno == EOPNOTSUPP:
            pytest.skip("this file system does not tell what it has cached")
        assert error.errno == EAGAIN
        return False


def test_what_leaves_the_cache_is_whole_pages_and_stays_in_the_file(tmp_path: Path) -> None:
    data, size = os.urandom(3 * FOLIO_BYTES), 3 * FOLIO_BYTES
    with (tmp_path / "f").open("w+b", buffering=0) as file:
        fd = file.fileno()
        file.write(data)
        os.fsync(fd)
        middle = size // 2
        assert is_cached(fd, 0) and is_cached(fd, middle)
        uncache(fd, middle + 1, middle + 2)
        assert is_cached(fd, middle), "no whole page"
        uncache(fd, 100, size - 100)
        assert not is_cached(fd, middle)
        assert is_cached(fd, 0) and is_cached(fd, size - 1), "pages of which a part was not named"
        assert os.pread(fd, size, 0) == data
