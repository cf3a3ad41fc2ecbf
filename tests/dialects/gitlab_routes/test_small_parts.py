"""The pure pieces: words, dotenv, coverage, archives, reports, parameters."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import pytest

from runyard.dialects import all_statuses
from runyard.dialects.gitlab import words
from runyard.dialects.gitlab.archives import check_path, open_file
from runyard.dialects.gitlab.asking import _nest
from runyard.model.errors import Invalid, NotFound
from runyard.model.state import Reason


def test_words_are_total_and_agree_both_ways() -> None:
    assert set(words.SAY) == set(all_statuses()) and set(words.REASONS) == set(Reason)
    assert set(words.LOOKS) == set(words.HEAR) and set(words.SAY.values()) <= set(words.HEAR)
    for (state, outcome, _), word in words.SAY.items():
        assert (state, outcome) in words.HEAR[word]


def archive(**files: str) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as writing:
        for name, text in files.items():
            writing.writestr(name, text)
    return out


def test_a_file_of_an_archive() -> None:
    size, pieces = open_file(archive(**{"a/b.txt": "hello"}), "a/b.txt")
    assert (size, b"".join(pieces)) == (5, b"hello")


def test_hostile_archives() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as writing:
        link = zipfile.ZipInfo("lnk")
        link.external_attr = 0o120777 << 16
        writing.writestr(link, "/etc/passwd")
        writing.writestr("bomb", b"\0" * (64 << 20))
        writing.writestr("../evil", "x")
        writing.writestr("folder/", "")
    for path, error in (
        ("lnk", NotFound),
        ("bomb", Invalid),
        ("../evil", Invalid),
        ("folder", NotFound),
        ("nope", NotFound),
    ):
        with pytest.raises(error):
            open_file(out, path)
    for junk in (b"", b"PK", b"x" * 1000, b"PK\x05\x06" + b"\xff" * 18, archive(a="b").getvalue()[:-10]):
        with pytest.raises(Invalid):
            open_file(io.BytesIO(junk), "a")
    claimed = bytearray(archive(a="b").getvalue())
    struct.pack_into("<L", claimed, len(claimed) - 10, 0x7FFFFFFF)
    with pytest.raises(Invalid):
        open_file(io.BytesIO(bytes(claimed)), "a")


@pytest.mark.parametrize(
    "path", ["", "/a", "a//b", "a/../b", "..", "a\\b", "a\x00", "a\n", "./a", "a/", "x" * 5000]
)
def test_a_path_that_leaves_the_archive_is_refused(path: str) -> None:
    with pytest.raises(Invalid):
        check_path(path)


def test_parameters_nest() -> None:
    pairs = [
        ("a", "1"),
        ("a", "2"),
        ("s[]", "x"),
        ("s[]", "y"),
        ("v[A]", "1"),
        ("v[B][c]", "2"),
        ("l[][k]", "1"),
        ("l[][v]", "2"),
        ("l[][k]", "3"),
        ("[", "x"),
    ]
    expected: dict[str, Any] = {
        "a": "2",
        "s": ["x", "y"],
        "v": {"A": "1", "B": {"c": "2"}},
        "l": [{"k": "1", "v": "2"}, {"k": "3"}],
    }
    assert _nest(pairs) == expected
    with pytest.raises(Invalid):
        _nest([("a[b][c][d][e][f]", "1")])
