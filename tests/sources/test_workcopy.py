"""A working copy is run as it stands, and is left as it was."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runyard.model.errors import NotFound
from runyard.sources import objects
from runyard.sources.repositories import GitSource
from runyard.sources.workcopy import import_workcopy


def git(folder: Path, *arguments: str) -> str:
    base = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(base, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "topic")
    (folder / "kept.txt").write_text("kept")
    (folder / "edited.txt").write_text("old")
    (folder / "gone.txt").write_text("gone")
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def test_uncommitted_work_is_part_of_it_and_the_repository_is_untouched(copy: Path, tmp_path: Path) -> None:
    (copy / "edited.txt").write_text("new")
    (copy / "gone.txt").unlink()
    (copy / "sub").mkdir()
    (copy / "sub/added.sh").write_text("#!/bin/sh\n")
    (copy / "sub/added.sh").chmod(0o755)
    (copy / "link").symlink_to("kept.txt")
    (copy / "noise.log").write_text("ignored")
    before = sorted(p.as_posix() for p in (copy / ".git/objects").rglob("*"))
    source = GitSource(tmp_path / "repositories")
    found = import_workcopy(copy / "sub", source, 1)
    assert found.branch == "topic"
    assert found.changed == 4
    files = source.files(1, found.sha)
    assert files.paths() == [".gitignore", "edited.txt", "kept.txt", "sub/added.sh"]
    assert files.read("edited.txt") == b"new"
    assert sorted(p.as_posix() for p in (copy / ".git/objects").rglob("*")) == before
    into = tmp_path / "workspace"
    into.mkdir()
    source.checkout(1, found.sha, found.branch, 20, into)
    assert (into / "sub/added.sh").stat().st_mode & 0o111
    assert (into / "link").readlink() == Path("kept.txt")
    assert git(into, "-c", "safe.directory=*", "status", "--porcelain") == ""


def test_a_clean_copy_runs_its_own_commit(copy: Path, tmp_path: Path) -> None:
    source = GitSource(tmp_path / "repositories")
    found = import_workcopy(copy, source, 1)
    assert found.sha == git(copy, "rev-parse", "HEAD").strip() == found.base_sha


def test_a_copy_without_commits_runs(tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.txt").write_text("a")
    source = GitSource(tmp_path / "repositories")
    found = import_workcopy(folder, source, 1)
    assert source.files(1, found.sha).paths() == ["a.txt"]


def test_outside_a_repository_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="git init"):
        import_workcopy(tmp_path, GitSource(tmp_path / "repositories"), 1)


def test_submodules_come_as_they_are_checked_out(copy: Path, tmp_path: Path) -> None:
    """Nested ones too, uncommitted work in them included; one that is not checked out stays what it is."""
    for name in ("deep", "lib"):
        (tmp_path / name).mkdir()
        git(tmp_path / name, "init", "-q", "-b", "main")
        (tmp_path / name / f"{name}.txt").write_text(name)
    allowed = ("-c", "protocol.file.allow=always", "submodule", "add", "-q")
    git(tmp_path / "deep", "add", "-A")
    git(tmp_path / "deep", "commit", "-qm", "deep")
    git(tmp_path / "lib", *allowed, str(tmp_path / "deep"), "deep")
    git(tmp_path / "lib", "add", "-A")
    git(tmp_path / "lib", "commit", "-qm", "lib")
    git(copy, *allowed, str(tmp_path / "lib"), "lib")
    git(copy, *allowed, str(tmp_path / "deep"), "absent")
    git(copy, "commit", "-qm", "submodules")
    git(copy, "submodule", "deinit", "-f", "absent")
    git(copy, "-c", "protocol.file.allow=always", "submodule", "update", "-q", "--init", "--recursive", "lib")
    (copy / "lib/lib.txt").write_text("edited")
    source = GitSource(tmp_path / "repositories")
    found = import_workcopy(copy, source, 1)
    files = source.files(1, found.sha)
    assert files.read("lib/lib.txt") == b"edited"
    into = tmp_path / "workspace"
    into.mkdir()
    source.checkout(1, found.sha, found.branch, 20, into)
    assert (into / "lib/deep/deep.txt").read_text() == "deep"
    assert list((into / "absent").iterdir()) == []


@pytest.mark.parametrize("state", ["clean", "edited"])
@pytest.mark.parametrize("files", [1, 300])
def test_git_works_in_a_checkout_though_the_objects_are_borrowed(
    copy: Path, tmp_path: Path, state: str, files: int
) -> None:
    """The run's repository has next to nothing of its own; a job's must have all, down to its depth. 300
    files are more than are packed in-process."""
    for number in range(files):
        (copy / f"many{number}").write_text(f"{number}\n")
    git(copy, "add", "-A")
    git(copy, "commit", "-qm", "second")
    if state == "edited":
        (copy / "edited.txt").write_text("new")
    source = GitSource(tmp_path / "repositories")
    found = import_workcopy(copy, source, 1)
    for depth, number in ((1, 1), (20, 2), (0, 2)):
        into = tmp_path / f"job{depth}"
        source.checkout(1, found.sha, "refs/heads/topic", depth, into)
        assert git(into, "status", "--porcelain") == ""
        commits = git(into, "log", "--format=%s").splitlines()
        assert len(commits) == (number + (state == "edited") if depth != 1 else 1)
        git(into, "fsck", "--full", "--strict")
        assert not (into / ".git/objects/info/alternates").exists()


def test_a_pack_is_made_once_for_all_jobs_of_a_commit_and_few_are_kept(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(
        objects, "_make_pack", lambda *given, make=objects._make_pack: (made.append(given), make(*given))
    )
    source = GitSource(tmp_path / "repositories")
    found = import_workcopy(copy, source, 1)
    with ThreadPoolExecutor(4) as slots:
        jobs = [
            slots.submit(source.checkout, 1, found.sha, "refs/heads/topic", 1, tmp_path / str(n))
            for n in range(8)
        ]
        assert [job.result() for job in jobs] == [None] * 8
    assert len(made) == 1
    for number in range(objects.PACKS_KEPT + 2):
        git(copy, "tag", f"v{number}")
        source.checkout(1, found.sha, f"refs/heads/other{number}", 1, tmp_path / "again")
        (copy / "edited.txt").write_text(str(number))
        found = import_workcopy(copy, source, 1)
        source.checkout(1, found.sha, "refs/heads/topic", 1, tmp_path / "again")
    assert len(list((source.git_dir(1) / "packed").iterdir())) == objects.PACKS_KEPT


def test_other_branches_tags_and_those_of_origin_can_be_compared_with(copy: Path, tmp_path: Path) -> None:
    git(copy, "branch", "older")
    git(copy, "tag", "-am", "annotated", "v1")
    git(copy, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(copy, "update-ref", "refs/remotes/origin/older", "HEAD")
    git(copy, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    (copy / "edited.txt").write_text("new")
    git(copy, "commit", "-qam", "second")
    (copy / "fresh.txt").write_text("fresh")
    source = GitSource(tmp_path / "repositories")
    files = source.files(1, import_workcopy(copy, source, 1).sha)
    for ref in ("older", "refs/heads/older", "v1", "main"):
        assert files.changed(ref) == {"edited.txt", "fresh.txt"}, ref
    assert files.changed("gone") is None
