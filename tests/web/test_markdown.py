"""Summaries of jobs as HTML: what reports use is rendered, everything else is text."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runyard.web.markdown import LINES, render

TAGS = {"p", "br", "h3", "h4", "h5", "h6", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "div", "pre", "code", "em", "strong", "a", "hr"}  # fmt: skip


class Seen(HTMLParser):
    """Which tags and attributes a browser would make of it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(k, v or "") for k, v in attrs}


def test_tasks_have_boxes_that_are_signs() -> None:
    html = render("- [x] **done**\n- [ ] open\n- [X] too\n- [y] no task\n- [ ]none")
    assert (
        html
        == "<ul><li>☑ <strong>done</strong></li><li>☐ open</li><li>☑ too</li><li>[y] no task</li><li>[ ]none</li></ul>"
    )


def test_a_report_becomes_a_page() -> None:
    html = render(
        "### Title\n\n**bold** and `co*de*`\n\n| a | b |\n|---|---:|\n| x\\|y | 1 |\n\n- one\n- two\n\n```\n<pre>\n```\n"
    )
    assert "<h5>Title</h5>" in html
    assert "<strong>bold</strong> and <code>co*de*</code>" in html
    assert "<td>x|y</td><td class=num>1</td>" in html
    assert "<ul><li>one</li><li>two</li></ul>" in html
    assert "<pre>&lt;pre&gt;</pre>" in html


def test_links_lead_to_the_web_only() -> None:
    html = render(
        "[ok](https://example.org/a?b=1&c=2) [no](javascript:alert(1)) [no](/sign-out) ![pic](https://example.org/p.png)"
    )
    assert 'href="https://example.org/a?b=1&amp;c=2"' in html
    assert html.count("<a ") == 2
    assert "<img" not in html


pieces = st.sampled_from(["<script>", "<img src=x onerror=alert(1)>", "**", "*", "`", "|", "\n", "- ", "# ", "```", "|---|", "[a](https://x/\"onclick=1)", "[x](javascript:1)", "&", "'", '"', "a", " ", "_"])  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.lists(pieces, max_size=40))
def test_nothing_but_our_own_tags_comes_out(parts: list[str]) -> None:
    seen = Seen()
    seen.feed(render("".join(parts)))
    assert seen.tags <= TAGS
    assert {k for k, _ in seen.attributes} <= {"class", "href", "rel"}
    assert all(v.startswith("https://") for k, v in seen.attributes if k == "href")


@pytest.mark.parametrize("piece", ["[", "*", "`", "|", "**a", "#", "- \n", "[a](https://", "|-|\n", "_ "])
def test_a_hostile_summary_costs_little(piece: str) -> None:
    began = time.monotonic()
    render(piece * (256 * 1024 // len(piece)))
    assert time.monotonic() - began < 5


def test_endless_summaries_are_cut() -> None:
    assert render("a\n\n" * LINES).endswith("<p>…</p>")
