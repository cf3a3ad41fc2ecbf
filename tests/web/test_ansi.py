"""A stranger's bytes become harmless lines."""

from __future__ import annotations

import re
from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.web.ansi import LogHtml


def html(data: bytes, cut: int = 0) -> str:
    view = LogHtml()
    pieces = [data[:cut], data[cut:]] if cut else [data]
    return "".join(line for piece in pieces for line in view.feed(piece)) + "".join(view.rest())


def text(data: bytes) -> str:
    found = re.findall(r"<code>(.*?)</code>", html(data), re.S)
    return "\n".join(re.sub(r"<[^>]+>", "", f) for f in found)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain\n", "plain"),
        (b"<script>alert(1)</script>\n", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        (b"\x1b]0;title\x07after\n", "after"),
        (b"\x1b]52;c;aGVsbG8=\x07after\n", "after"),
        (b"\x1b[2J\x1b[10;10Hafter\n", "after"),
        (b"\x1bPdcs\x1b\\after\n", "after"),
        (b"\x1bcafter\n", "after"),
        (b"10%\r50%\r100%\n", "100%"),
        (b"old\x1b[2Knew\n", "new"),
        ("a\u202eb\n".encode(), "a\\u202eb"),
        (b"nul\x00\n", "nul\\x00"),
        (b"bad\xff\n", "bad\ufffd"),
    ],
)
def test_only_what_a_reader_needs_is_left(data: bytes, shown: str) -> None:
    assert text(data) == shown


def test_colours_become_classes_and_carry_over_lines() -> None:
    out = html(b"\x1b[31;1mred\nstill\x1b[0m off\n")
    assert '<span class="bold f1">red</span>' in out
    assert '<span class="bold f1">still</span> off' in out


@pytest.mark.parametrize(
    ("code", "expected"),
    [("38;5;196", "color:#ff0000"), ("38;2;1;2;300", "color:#0102ff"), ("48;5;232", "background:#080808")],
)
def test_extended_colours(code: str, expected: str) -> None:
    assert expected in html(f"\x1b[{code}mx\n".encode())


def test_links_only_to_the_web() -> None:
    good = html(b"\x1b]8;;https://example.org/a\x1b\\here\x1b]8;;\x1b\\\n")
    assert '<a href="https://example.org/a" rel="noopener noreferrer nofollow">here</a>' in good
    bad = html(b"\x1b]8;;javascript:alert(1)\x1b\\here\x1b]8;;\x1b\\\n")
    assert "javascript" not in bad


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("see https://example.org/a?b=1&c=2.", "https://example.org/a?b=1&c=2"),
        ("(http://example.org/x)", "http://example.org/x"),
        ("https://example.org/a_(b), and", "https://example.org/a_(b)"),
        ('<a href="https://example.org/q">', "https://example.org/q"),
        ("https://example.org/\u202egpj", "https://example.org/"),
    ],
)
def test_addresses_in_a_log_are_links_without_what_stands_around_them(said: str, address: str) -> None:
    out = html(f"{said}\n".encode())
    assert re.findall(r'<code>.*?<a href="([^"]*)" rel=', out) == [escape(address)]
    assert text(f"{said}\n".encode()) == escape(said.replace("\u202e", "\\u202e"))


def test_a_section_that_asks_for_it_begins_folded() -> None:
    start = b"section_start:1:a%s\r\x1b[0KTitle\ninside\nsection_end:2:a\r\x1b[0K\n"
    assert "data-shut" in html(start % b"[collapsed=true]")
    assert "data-shut" in html(start % b"[hide_duration=true,collapsed=true]")
    assert "data-shut" not in html(start % b"[collapsed=false]")
    assert "data-shut" not in html(start % b"")


def test_gitlab_sections_fold_their_lines() -> None:
    out = html(
        b"section_start:1700000000:get_sources\r\x1b[0K\x1b[0K\x1b[36;1mGetting source\x1b[0;m\ninside\n"
        b"section_end:1700000001:get_sources\r\x1b[0K\nafter\n"
    )
    assert 'data-fold="s1-0"' in out
    assert re.search(r'data-s="s1-0"[^>]*>.*?inside', out)
    assert re.search(r'id="L4"><a[^>]*>4</a><code>after', out)


def test_actions_groups_and_marks() -> None:
    out = html(b"::group::Build\nin\n::endgroup::\n##[error]broken\n")
    assert 'class="l head"' in out
    assert "m-error" in out
    assert ">broken<" in out


def test_a_forged_end_of_section_changes_nothing_else() -> None:
    assert "after" in html(b"section_end:1:x\r\x1b[0K\n" * 50 + b"after\n")


@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_bytes_are_harmless_and_cuts_do_not_matter(data: bytes, cut: int) -> None:
    whole = html(data)
    assert html(data, min(cut, len(data))) == whole
    assert not re.search(r"<(?!/?(div|a|code|span|button|i)\b)", whole)
    assert "\x1b" not in whole


def test_long_lines_and_endless_escapes_stay_bounded() -> None:
    out = html(b"x" * 3_000_000 + b"\n")
    assert len(out) < 40_000
    out = html(b"\x1b[" + b"1;" * 1_000_000 + b"m\n")
    assert len(out) < 40_000


STAMPED = (
    b"2026-11-21T20:35:29.976692Z 00O \x1b[0Kfeature flags\x1b[0;m\n"
    b"2026-11-21T20:35:30.783193Z 00O section_end:1795293330:get_sources\r\n"
    b"2026-11-21T20:35:30.783199Z 00O+\x1b[0Ksection_start:1795293330:step_script\r\n"
    b"2026-11-21T20:35:30.783771Z 00O+\x1b[0K\x1b[0K\x1b[36;1mExecuting\x1b[0;m\x1b[0;m\n"
    b"2026-11-21T20:35:31.143087Z 01O hello\n"
    b"2026-11-21T20:35:31.143031Z 01E err\n"
)


@pytest.mark.parametrize("size", [1, 7, 50, 4096])
def test_stamps_of_the_runner_become_titles_and_parts_one_line(size: int) -> None:
    view = LogHtml()
    html = [line for at in range(0, len(STAMPED), size) for line in view.feed(STAMPED[at : at + size])]
    html += view.rest()
    assert [re.sub(r"<[^>]*>", "", line) for line in html] == [
        "1feature flags",
        "2Executing",
        "5hello",
        "6err",
    ]
    assert 'title="2026-11-21T20:35:31.143087Z"' in html[2] and 'class="fold"' in html[1]
    assert view.pending == b""


def test_bytes_that_were_not_shown_yet_can_be_asked_for_again() -> None:
    """A page that was made in the middle of a log goes on where it says."""
    for cut in range(len(STAMPED)):
        first = LogHtml()
        shown = list(first.feed(STAMPED[:cut]))
        second = LogHtml(line=first.line, sections=first.sections)
        shown += [*second.feed(STAMPED[cut - len(first.pending) :]), *second.rest()]
        assert len(shown) == 4, cut
