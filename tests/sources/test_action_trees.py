"""Actions' repositories: what a ref means, what is kept, and what git never hears."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path
from typing import BinaryIO

import pytest

from runyard.model.errors import Forbidden, Invalid, NotFound
from runyard.sources import actions
from runyard.sources.actions import ActionTrees


def git(folder: Path, *arguments: str) -> str:
    argv = [
        "git",
        "-c",
        "user.name=T",
        "-c",
        "user.email=t@x.test",
        "-c",
        "init.defaultBranch=main",
        *arguments,
    ]
    return subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """`o/r` with a tag, a branch of the same name on another commit, an annotated tag and a link that leads
    out."""
    folder = tmp_path / "base" / "o" / "r"
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    for number, name in enumerate(("one", "two")):
        (folder / "action.yml").write_text(f"name: {name}")
        (folder / "run.sh").write_text("echo")
        (folder / "run.sh").chmod(0o755)
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", name)
        git(folder, *(("tag", "v1") if number == 0 else ("tag", "-am", "x", "v2")))
    git(folder, "branch", "v1", "HEAD")
    return tmp_path / "base"


def text(got: tuple[str, BinaryIO]) -> str:
    with got[1], zipfile.ZipFile(got[1]) as archive:
        return archive.read("action.yml").decode()


def sha(got: tuple[str, BinaryIO]) -> str:
    got[1].close()
    return got[0]


def kept(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*/*/*.zip") if path.exists())


def test_tags_come_before_branches_and_annotations_are_peeled(base: Path, tmp_path: Path) -> None:
    trees = ActionTrees(tmp_path / "kept", f"file://{base}")
    first = git(base / "o" / "r", "rev-parse", "refs/tags/v1")
    second = git(base / "o" / "r", "rev-parse", "HEAD")
    assert sha(trees.tree("o/r", "v1")) == first and text(trees.tree("o/r", "v1")) == "name: one"
    assert sha(trees.tree("o/r", "v2")) == second == sha(trees.tree("o/r", "main"))
    assert sha(trees.tree("o/r", "refs/heads/v1")) == second
    assert sha(trees.tree("o/r", second)) == second
    with trees.tree("o/r", "v2")[1] as file, zipfile.ZipFile(file) as archive:
        assert archive.getinfo("run.sh").external_attr >> 16 & 0o111


def test_a_commit_is_kept_when_its_repository_is_gone(base: Path, tmp_path: Path) -> None:
    trees = ActionTrees(tmp_path / "kept", str(base))
    commit = sha(trees.tree("o/r", "v1"))
    git(base / "o" / "r", "update-ref", "-d", "refs/tags/v1")
    assert text(ActionTrees(tmp_path / "kept", str(base)).tree("o/r", commit)) == "name: one"
    assert sha(trees.tree("o/r", "v1")) == commit  # asked a moment ago
    assert not list((tmp_path / "kept").glob("fetching-*"))


@pytest.mark.parametrize(
    ("repository", "ref", "error"),
    [
        ("o/r", "nope", NotFound),
        ("o/none", "v1", NotFound),
        ("o/r", "--upload-pack=touch PWN", Invalid),
        ("o/r", "x --upload-pack", Invalid),
        ("o/r", "-v1", Invalid),
        ("o/r", "a..b", Invalid),
        ("o/r", "v1^{commit}", Invalid),
        ("o/r", "0" * 40, NotFound),
        ("../o/r", "v1", Invalid),
        ("o/..", "v1", Invalid),
        ("-o/r", "v1", Invalid),
        ("o/r/sub", "v1", Invalid),
        ("o", "v1", Invalid),
        ("", "", Invalid),
        ("file:///etc/x", "v1", Invalid),
    ],
)
def test_what_cannot_be_had(
    base: Path, tmp_path: Path, repository: str, ref: str, error: type[Exception]
) -> None:
    trees = ActionTrees(tmp_path / "kept", str(base))
    with pytest.raises(error):
        trees.tree(repository, ref)
    assert not (tmp_path / "PWN").exists() and not list((tmp_path / "kept").glob("*/*/*.zip"))


def test_switched_off(tmp_path: Path) -> None:
    with pytest.raises(Forbidden, match="actions_url"):
        ActionTrees(tmp_path, "").tree("o/r", "v1")


def test_the_oldest_trees_go_but_who_has_one_reads_it_to_its_end(base: Path, tmp_path: Path) -> None:
    trees = ActionTrees(tmp_path / "kept", str(base), keep_bytes=1)
    first = trees.tree("o/r", "v1")
    assert kept(tmp_path / "kept") == [first[0]]
    second = sha(trees.tree("o/r", "v2"))
    assert kept(tmp_path / "kept") == [second]
    assert text(first) == "name: one"


def test_what_strangers_asked_for_is_not_remembered_for_ever(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "MOST_KNOWN", 2)
    trees = ActionTrees(tmp_path / "kept", str(base))
    for ref in ("v1", "v2", "main", "refs/heads/v1"):
        sha(trees.tree("o/r", ref))
    for number in range(20):
        with pytest.raises(NotFound):
            trees.tree(f"o/none{number}", "v1")
    assert len(trees._known) <= 2 and len(trees._turns) == 0


def test_a_small_repository_with_a_huge_tree_is_given_up(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file under 4,096 names: the fetch is small, the archive would have a gigabyte."""
    repository = base / "o" / "r"
    (repository / "noise").write_bytes(os.urandom(256 << 10))
    entry = f"100644 blob {git(repository, 'hash-object', '-w', 'noise')}"
    for _ in range(4):
        rows = "".join(f"{entry}\tn{number}\n" for number in range(8))
        made = subprocess.run(
            ["git", "mktree"], cwd=repository, check=True, capture_output=True, text=True, input=rows
        )
        entry = f"040000 tree {made.stdout.strip()}"
    commit = git(repository, "commit-tree", entry.split()[-1], "-m", "many")
    git(repository, "update-ref", "refs/heads/many", commit)
    monkeypatch.setattr(actions, "GROWTH_BYTES", 8 << 20)
    with pytest.raises(NotFound, match="grew by more than"):
        ActionTrees(tmp_path / "kept", str(base)).tree("o/r", "many")
    assert not list((tmp_path / "kept").glob("**/*.zip")), "nothing of it stays"


def test_files_that_vanish_while_room_is_made_are_no_trouble(base: Path, tmp_path: Path) -> None:
    trees = ActionTrees(tmp_path / "kept", str(base), keep_bytes=1)
    (tmp_path / "kept" / "a" / "b").mkdir(parents=True)
    (tmp_path / "kept" / "a" / "b" / "gone.zip").symlink_to("nowhere")  # as one that another thread removed
    first = sha(trees.tree("o/r", "v1"))
    second = sha(trees.tree("o/r", "v2"))
    assert kept(tmp_path / "kept") == [second]
    assert sha(trees.tree("o/r", "v1")) == first, "what was removed is fetched again"
    assert kept(tmp_path / "kept") == [first]
