"""A slot's folders: what a job has not touched is kept for the next one, what it has touched in any way is
not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runyard.runner.sandbox.folders import SlotFolders

NAMES = ("builds", "builds/group", "builds/group/app", "builds/group/app.tmp", "home", "tmp")


@pytest.fixture
def folders(tmp_path: Path) -> SlotFolders:
    made = SlotFolders(tmp_path, 1, None)
    made.renew("group/app")
    return made


def inodes(folders: SlotFolders) -> dict[str, int]:
    return {name: (folders.path / name).stat().st_ino for name in NAMES}


def test_untouched_folders_are_kept(folders: SlotFolders) -> None:
    before = inodes(folders)
    folders.retire()
    folders.renew("group/app")
    assert inodes(folders) == before


@pytest.mark.parametrize(
    "touch",
    [
        lambda home: (home / "left").write_text("x"),
        lambda home: ((home / "left").write_text("x"), (home / "left").unlink()),
        lambda home: home.chmod(0o777),
        lambda home: os.setxattr(home, "user.note", b"x"),
    ],
    ids=["a file", "a file that went", "its mode", "an attribute"],
)
def test_a_touched_folder_is_not(folders: SlotFolders, touch: Callable[[Path], object]) -> None:
    before = inodes(folders)
    touch(folders.path / "home")
    folders.retire()
    assert not (folders.path / "home").exists()
    folders.renew("group/app")
    after = inodes(folders)
    assert {name for name in NAMES if after[name] != before[name]} == {"home"}
    assert not os.listdir(folders.path / "home") and (folders.path / "home").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("where", ["builds", "builds/group", "."])
def test_something_beside_the_frame_takes_everything_along(folders: SlotFolders, where: str) -> None:
    (folders.path / where / "left").mkdir()
    folders.retire()
    assert not folders.path.exists()
    folders.renew("group/app")
    assert set(os.listdir(folders.path)) == {"builds", "home", "tmp"} and os.listdir(
        folders.path / "builds"
    ) == ["group"]


def test_another_project_gets_folders_of_its_own(folders: SlotFolders) -> None:
    folders.retire()
    folders.renew("other")
    assert sorted(os.listdir(folders.path / "builds")) == ["other", "other.tmp"]
