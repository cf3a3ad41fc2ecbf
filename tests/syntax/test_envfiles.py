"""The $GITHUB_* files: the runner's grammar, its errors, and our caps."""

from __future__ import annotations

import pytest

from runyard.syntax.envfiles import (
    MAX_FILE_BYTES,
    MAX_SUMMARY_BYTES,
    EnvFileError,
    environment,
    pairs,
    summary,
    with_paths,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("a=1\n\nb=x=y\n", {"a": "1", "b": "x=y"}),
        ("a=1\na=2", {"a": "2"}),
        ("a=", {"a": ""}),
        ("a<<E\nE\n", {"a": ""}),
        ("a<<E\none\ntwo\nE\nb=1", {"a": "one\ntwo", "b": "1"}),
        ("a<<E\n\nE\n", {"a": ""}),
        ("a<<E\n\n\nE\n", {"a": "\n"}),
        ("a<<E\nx<<E\n E\nE", {"a": "x<<E\n E"}),
        ("a=b<<c", {"a": "b<<c"}),
        ("a<<x=y\nv\nx=y\n", {"a": "v"}),
        ("\ufeffa=ü", {"a": "ü"}),
        ("a=1\r\n", {"a": "1\r"}),
    ],
)
def test_entries_are_read_as_the_runner_reads_them(text: str, expected: dict[str, str]) -> None:
    assert dict(pairs(text.encode())) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "Invalid format 'nonsense'"),
        ("=v", "Name must not be empty"),
        ("<<E\nE\n", "delimiter must not be empty"),
        ("a<<\nE\n", "delimiter must not be empty"),
        ("a<<E\nv\n", "Matching delimiter not found 'E'"),
        ("a<<E", "Matching delimiter not found 'E'"),
        ("a<<E\nv", "EOF marker missing new line"),
        ("a=\0", "NUL"),
        ("a=" + "x" * MAX_FILE_BYTES, "larger than"),
    ],
)
def test_errors_say_what_the_runner_says(text: str, message: str) -> None:
    with pytest.raises(EnvFileError, match=message):
        pairs(text.encode())


def test_the_environment_refuses_the_names_that_would_take_over_a_step() -> None:
    found = environment(b"A=1\nNODE_OPTIONS=--require=/tmp/x\nGITHUB_SHA=0\nRUNNER_TEMP=/\nB=2\n")
    assert found.variables == (("A", "1"), ("B", "2"))
    assert found.refused == ("NODE_OPTIONS", "GITHUB_SHA", "RUNNER_TEMP")


def test_a_variable_too_long_for_a_process_fails_and_is_named() -> None:
    with pytest.raises(EnvFileError, match="'BIG'"):
        environment(b"BIG=" + b"x" * 140_000)


def test_path_lines_go_to_the_front_and_move_when_repeated() -> None:
    assert with_paths((), b"/a\n/b\n\n") == ("/b", "/a")
    assert with_paths(("/b", "/a"), b"/a\n") == ("/a", "/b")


def test_a_summary_has_a_size() -> None:
    assert summary(b"# hi\xff") == "# hi\ufffd"
    with pytest.raises(EnvFileError, match="aborted"):
        summary(b"x" * (MAX_SUMMARY_BYTES + 1))
