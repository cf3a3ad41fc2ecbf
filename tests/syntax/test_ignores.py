"""gitignore's patterns, compared with git itself where git can say it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runyard.syntax.ignores import Ignores
from runyard.syntax.patterns import PatternError


@pytest.mark.parametrize(
    ("lines", "path", "expected"),
    [
        (["*.md"], "docs/a.md", True),
        (["*.md"], "docs/a.sql", False),
        (["/a.md"], "docs/a.md", False),
        (["docs/"], "docs/deep/a.sql", True),
        (["docs/"], "docs", False),
        (["a/**"], "a/b/c", True),
        (["**/c"], "a/b/c", True),
        (["a/*/c"], "a/b/c", True),
        (["a/*/c"], "a/b/b/c", False),
        (["# a", "", "a {b}"], "a {b}", True),
        (["*", "!dbt/*", "dbt/*.md"], "dbt/model.sql", False),
        (["*", "!dbt/*", "dbt/*.md"], "dbt/readme.md", True),
        (["*", "!dbt/*", "dbt/*.md"], "airflow/dag.py", True),
        (["*_at", "!created_at"], "updated_at", True),
        (["*_at", "!created_at"], "created_at", False),
        ([], "a", False),
    ],
)
def test_the_last_match_decides(lines: list[str], path: str, expected: bool) -> None:
    assert Ignores(lines).ignores(path) is expected


def test_all_of_nothing_is_not_ignored() -> None:
    assert not Ignores(["*"]).ignores_all([])
    assert Ignores(["*"]).ignores_all(["a", "b/c"])
    assert not Ignores(["a"]).ignores_all(["a", "b"])


def test_giants_are_refused() -> None:
    with pytest.raises(PatternError):
        Ignores(["a"] * 2000)
    with pytest.raises(PatternError):
        Ignores(["a" * 10_000])


NAME = st.text("ab.", min_size=1, max_size=3).filter(lambda t: t.strip(".") != "" and not t.endswith("."))
PATH = st.lists(NAME, min_size=1, max_size=3).map("/".join)
GLOB = st.lists(st.sampled_from(["a", "b", "*", "?", "a*", "**", "[ab]", "ab"]), min_size=1, max_size=3).map(
    "/".join
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["", "/"]), GLOB, st.sampled_from(["", "/"])), min_size=1, max_size=4),
    PATH,
)
def test_without_negation_it_is_what_git_says(
    tmp_path_factory: pytest.TempPathFactory, rules: list[tuple[str, str, str]], path: str
) -> None:
    folder: Path = tmp_path_factory.getbasetemp() / "ignored"
    if not folder.exists():
        folder.mkdir()
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    lines = ["".join(rule) for rule in rules]
    (folder / ".gitignore").write_text("\n".join(lines) + "\n")
    told = subprocess.run(["git", "check-ignore", "-q", "--no-index", path], cwd=folder, check=False)
    assert Ignores(lines).ignores(path) is (told.returncode == 0)
