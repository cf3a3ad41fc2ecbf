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


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_tables_and_code_are_whole(page: Path) -> None:
    """A table's rows have as many cells as its head, every block of code ends, and headings come one level at
    a time."""
    lines = page.read_text().splitlines()
    assert sum(line.startswith("```") for line in lines) % 2 == 0
    in_code, width, level = False, 0, 0
    for number, line in enumerate(lines, 1):
        in_code ^= line.startswith("```")
        if in_code or line.startswith("```"):
            continue
        if line.startswith("|"):
            cells = len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", line))) - 1
            assert line.rstrip().endswith("|"), f"line {number} is no whole row: {line}"
            assert width in (0, cells), f"line {number} has {cells} cells, its table {width}: {line}"
            width = cells
        else:
            width = 0
        if heading := re.match(r"(#+) ", line):
            assert len(heading[1]) <= level + 1, f"line {number} skips a level: {line}"
            level = len(heading[1])


def test_the_readme_shows_every_door_and_how_to_start() -> None:
    text = (ROOT / "README.md").read_text()
    wanted = ("make demo", "runyard serve", "runyard-data/root-token", "git push http://root:", "DEPOT_API_URL", "LOOKERSDK_BASE_URL", "DATAFOLD_HOST", "runyard run")  # fmt: skip
    assert [part for part in wanted if part not in text] == []
