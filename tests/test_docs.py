"""Generated pages are up to date, and every link between pages leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runyard.app.vendors import load_dialects
from runyard.cli import vocabulary
from runyard.cli.settings import markdown

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md")])


def test_the_settings_page_is_made_from_the_settings() -> None:
    assert (ROOT / "docs/settings.md").read_text() == markdown()


def test_the_vocabulary_is_made_from_the_words() -> None:
    assert (ROOT / "docs/vocabulary.md").read_text() == vocabulary.markdown(load_dialects())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs/decisions").glob("*.md")), ids=lambda p: p.name)
def test_decisions_are_short(page: Path) -> None:
    assert len(page.read_text().splitlines()) <= 40
