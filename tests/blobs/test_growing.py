"""Files that reserve room ahead hold what was written and no more."""

from __future__ import annotations

import os
from errno import ENOSPC, EOPNOTSUPP
from pathlib import Path
from typing import Any

import pytest

from runyard.blobs import growing
from runyard.blobs.growing import FIRST_BYTES, Growing, reserve


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
