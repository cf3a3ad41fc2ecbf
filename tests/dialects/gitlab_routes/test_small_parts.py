"""The pure pieces: words, dotenv, coverage, archives, reports, parameters."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from typing import Any

import pytest

from runyard.dialects import all_statuses
from runyard.dialects.gitlab import reports, words
from runyard.dialects.gitlab.archives import check_path, open_file
from runyard.dialects.gitlab.asking import _nest
from runyard.dialects.gitlab.coverage import last_match
from runyard.dialects.gitlab.dotenv import parse_dotenv
from runyard.model.errors import Invalid, NotFound
from runyard.model.state import Reason


def test_words_are_total_and_agree_both_ways() -> None:
    assert set(words.SAY) == set(all_statuses()) and set(words.REASONS) == set(Reason)
    assert set(words.LOOKS) == set(words.HEAR) and set(words.SAY.values()) <= set(words.HEAR)
    for (state, outcome, _), word in words.SAY.items():
        assert (state, outcome) in words.HEAR[word]


def test_dotenv() -> None:
    assert parse_dotenv(b"A=1\nB=x=y\nA=2\r\n") == {"A": "2", "B": "x=y"}
    for bad in (b"A", b"A B=1", b"=1", b"\xff=1", b"A-B=1", b"A=\x00"):
        with pytest.raises(Invalid):
            parse_dotenv(bad)
    with pytest.raises(Invalid):
        parse_dotenv("\n".join(f"K{n}=1" for n in range(21)).encode())


def test_coverage_takes_the_last_matching_line() -> None:
    log = "Total: 10%\r\n\x1b[32mTotal: 55.5%\x1b[0m\nbye\n"
    assert last_match(r"/Total: (\d+\.\d+|\d+)%/", log) == 55.5
    assert last_match(r"/Total: \d+%/", log) == 10.0
    assert last_match(r"/nothing/", log) is None and last_match(r"/(?=x)/", log) is None


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


def read(text: bytes) -> reports.Suite:
    suite = reports.Suite("s", 1)
    reports._read(text, suite)
    return suite


def test_junit() -> None:
    text = b"<testsuites><testsuite><testcase name='a' time='1,000.5'/><testcase name='b'><skipped/></testcase><testcase name='c'><error message='m'>t</error></testcase></testsuite></testsuites>"
    suite = read(text)
    assert [(c["name"], c["status"], c["system_output"]) for c in suite.cases] == [
        ("a", "success", None),
        ("b", "skipped", None),
        ("c", "error", "m\nt"),
    ]
    assert suite.cases[0]["execution_time"] == 1000.5
    with pytest.raises(ValueError, match="document type"):
        read(b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>')
    assert reports._members(gzip.compress(b"<a/>") + gzip.compress(b"<b/>")) == [b"<a/>", b"<b/>"]
    assert reports._documents(b"<a/><?xml version='1.0'?><b/>") == [b"<a/>", b"<?xml version='1.0'?><b/>"]


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
