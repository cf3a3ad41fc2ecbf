"""A sealed log gives back any range of its bytes."""

from __future__ import annotations

import base64
import gzip
import io
import random
from typing import BinaryIO

import pytest

from runyard.engine import sealing as logs


class OneBlob:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def seekable(self, key: str) -> BinaryIO:
        return io.BytesIO(self.data)


@pytest.mark.parametrize("size", [0, 1, 1000, logs.MEMBER_BYTES, 3 * logs.MEMBER_BYTES + 17])
def test_any_range_of_a_sealed_log_is_what_was_written(size: int) -> None:
    text = random.Random(size).randbytes(size)
    pieces = [text[i : i + 300_001] for i in range(0, size, 300_001)]
    blob = OneBlob(b"".join(logs.sealed(pieces)))
    spots = sorted({0, 1, size // 2, max(0, size - 1), size, logs.MEMBER_BYTES - 1, logs.MEMBER_BYTES})
    for start in spots:
        for end in spots:
            got = b"".join(logs.unsealed(blob, "k", start, end)) if start <= end else b""  # type: ignore[arg-type]
            assert got == (text[start:end] if start <= end else b"")


def test_a_sealed_log_is_ordinary_gzip_with_a_footer() -> None:
    data = b"".join(logs.sealed([b"hello\n" * 10]))
    assert gzip.decompress(data[:-12]) == b"hello\n" * 10


@pytest.mark.parametrize("what", ["noise", "encoded", "words"])
def test_noise_is_not_searched_for_repeats_and_gets_no_larger_for_it(what: str) -> None:
    noise = random.Random(1).randbytes(logs.MEMBER_BYTES)
    text = {
        "noise": noise,
        "encoded": base64.encodebytes(noise),
        "words": b"".join(b"test_%d passed in %d ms\n" % (n, n % 97) for n in range(60_000)),
    }[what]
    member = text[: logs.MEMBER_BYTES]
    assert logs._is_noise(member) is (what != "words")
    data = b"".join(logs.sealed([text]))
    assert b"".join(logs.unsealed(OneBlob(data), "k", 0, len(text))) == text  # type: ignore[arg-type]
    assert len(data) <= len(gzip.compress(text, 1)) + 2000


def test_a_blob_that_is_no_log_is_refused() -> None:
    with pytest.raises(ValueError, match="not a sealed log"):
        list(logs.unsealed(OneBlob(b"x" * 64), "k", 0, 1))  # type: ignore[arg-type]


def test_a_sealed_log_knows_when_its_bytes_came_and_time_never_goes_back() -> None:
    pieces = [b"a" * 400_000] * 4
    times = [
        (0, 1_800_000_000_000),
        (400_000, 1_800_000_000_200),
        (800_000, 1_700_000_000_000),
        (1_200_000, 1_800_000_009_000),
    ]
    blob = OneBlob(b"".join(logs.sealed(pieces, times)))
    assert b"".join(logs.unsealed(blob, "k", 399_999, 1_100_000)) == b"a" * 700_001  # type: ignore[arg-type]
    assert logs.times_of(blob, "k") == [*times[:2], (800_000, 1_800_000_000_200), times[3]]  # type: ignore[arg-type]
    assert logs.times_of(OneBlob(b"".join(logs.sealed(pieces))), "k") == []  # type: ignore[arg-type]
