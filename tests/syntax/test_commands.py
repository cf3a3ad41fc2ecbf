"""Workflow commands: what is acted on, what shows in the log, and that chunk borders never matter."""

from __future__ import annotations

import random
import time

import pytest

from runyard.syntax.commands import Command, CommandStream, Piece, masks_of, parse


def joined(pieces: list[Piece]) -> list[Piece]:
    """Neighbouring bytes as one, so that chunking does not show."""
    found: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += piece
        else:
            found.append(piece)
    return found


def said(text: bytes, *, debug: bool = False) -> list[Piece]:
    stream = CommandStream(debug=debug)
    return joined([*stream.feed(text), *stream.close()])


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"::group::a b", Command("group", "a b")),
        (b"  ::SET-output name=x::1%0A2%25", Command("set-output", "1\n2%", {"name": "x"})),
        (
            b"::error file=a.py,line=3,title=a%2Cb%3A::m",
            Command("error", "m", {"file": "a.py", "line": "3", "title": "a,b:"}),
        ),
        (b"##[error file=a;line=2]bad%5D%3B", Command("error", "bad];", {"file": "a", "line": "2"})),
        (b"::nothing", None),
        (b"::", None),
        (b"::::x", None),
        (b"text ::group::x", None),
    ],
)
def test_a_line_is_a_command_by_its_form(line: bytes, command: Command | None) -> None:
    assert parse(line) == command


def test_groups_and_annotations_show_as_the_runner_shows_them() -> None:
    assert said(b"a\n::group::G\nb\n::endgroup::\n::warning line=1::w\nc\n") == [
        b"a\n##[group]G\nb\n##[endgroup]\n",
        Command("warning", "w", {"line": "1"}),
        b"##[warning]w\nc\n",
    ]


def test_an_unknown_command_and_a_marker_inside_a_line_are_output() -> None:
    text = b"::foo::bar\nstd::vector<int>::x\n  a ##[group]b\n::no end\n"
    assert said(text) == [text]


def test_stop_commands_holds_until_the_token_returns() -> None:
    text = b"::stop-commands::tok\n::add-mask::secret\n::TOK::\n::add-mask::secret\n"
    assert said(text) == [
        b"::stop-commands::tok\n::add-mask::secret\n::TOK::\n",
        Command("add-mask", "secret"),
    ]


@pytest.mark.parametrize("token", [b"", b"  ", b"add-mask", b"group"])
def test_a_stop_token_must_not_be_empty_or_a_command(token: bytes) -> None:
    pieces = said(b"::stop-commands::" + token + b"\n::add-mask::secret\n")
    assert pieces[-1] == Command("add-mask", "secret")


def test_the_banned_commands_are_printed_and_not_acted_on() -> None:
    pieces = said(b"::set-env name=PATH::/tmp/evil\n::add-path::/tmp/evil\n")
    assert len(pieces) == 1
    assert isinstance(pieces[0], bytes)
    assert pieces[0].startswith(b"::set-env name=PATH::/tmp/evil\n##[error]")


def test_empty_and_short_masks_are_ignored() -> None:
    assert not [p for p in said(b"::add-mask::\n::add-mask::a\n::add-mask::  \n") if isinstance(p, Command)]
    assert masks_of("line one\nline two\nx") == ("line one\nline two\nx", "line one", "line two")


def test_at_most_ten_annotations_of_a_kind_are_stored_but_all_are_shown() -> None:
    pieces = said(b"::error::e\n" * 15 + b"::notice::n\n")
    assert sum(isinstance(p, Command) and p.name == "error" for p in pieces) == 10
    assert b"".join(p for p in pieces if isinstance(p, bytes)).count(b"##[error]e\n") == 15
    assert Command("notice", "n") in pieces


def test_debug_lines_show_only_when_asked_for() -> None:
    assert said(b"::debug::d\n") == []
    assert said(b"::debug::d\n", debug=True) == [b"##[debug]d\n"]


def test_echo_shows_the_command_itself() -> None:
    assert said(b"::echo::on\n::set-output name=a::b\n")[0].__class__ is bytes
    assert b"::set-output name=a::b\n" in said(b"::echo::on\n::set-output name=a::b\n")[0]  # type: ignore[operator]


def test_chunk_borders_never_change_what_is_said() -> None:
    lines = [
        b"plain\n",
        b"::group::g\n",
        b"   ::add-mask::topsecret\n",
        b"a::b\n",
        b"::\n",
        b" \n",
        b"#\n",
        b"##[endgroup]\n",
    ]
    lines += [
        b"::stop-commands::zz\n",
        b"::zz::\n",
        b"::error::e\n",
        b"\r\n",
        b":: ::\n",
        b"::set-output name=k::v\r\n",
    ]
    rng = random.Random(7)
    for _ in range(300):
        text = b"".join(rng.choices(lines, k=12)) + rng.choice([b"", b"::group::end", b" ", b"tail"])
        stream = CommandStream()
        pieces: list[Piece] = []
        at = 0
        while at < len(text):
            size = rng.randrange(1, 9)
            pieces += stream.feed(text[at : at + size])
            at += size
        assert joined([*pieces, *stream.close()]) == said(text)


def test_a_line_too_long_for_a_command_is_output_byte_by_byte_without_copies() -> None:
    stream = CommandStream()
    text = b"::add-mask::" + b"x" * (2 << 20)
    pieces: list[Piece] = []
    began = time.process_time()
    for at in range(0, len(text), 16):
        pieces += stream.feed(text[at : at + 16])
    pieces += stream.close()
    assert time.process_time() - began < 2
    assert b"".join(piece for piece in pieces if isinstance(piece, bytes)) == text


def test_output_without_commands_passes_in_whole_chunks() -> None:
    chunk = b"a line of ordinary output\n" * 2500
    stream = CommandStream()
    assert stream.feed(chunk) == [chunk]
    began = time.process_time()
    for _ in range(500):
        stream.feed(chunk)
    # 32 MB in 1,250,000 lines; a per-line loop takes several times this on any machine we run on.
    assert time.process_time() - began < 1.0
