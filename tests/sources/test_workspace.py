"""A checkout works offline, for another user, and does not let a hostile repository or folder lead it
astray."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pygit2
import pytest

from runyard.model.errors import Invalid
from runyard.sources import GitSource, objects

Git = Callable[..., str]

KINDS = ["copied", "packed"]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to hand objects over."""
    if request.param == "packed":
        monkeypatch.setattr(objects, "COPY_FILES", 0)
    return str(request.param)


def lay_out(source: GitSource, ref: str, depth: int, into: Path) -> str:
    commit = source.resolve(1, ref)[0]
    source.checkout(1, commit.sha, ref, depth, into)
    return commit.sha


def test_git_works_inside(git: Git, store: str, mirrored: GitSource, tmp_path: Path) -> None:
    into = tmp_path / "into"
    sha = lay_out(mirrored, "main", 20, into)
    assert (into / "a.txt").read_text() == "two\n"
    assert os.readlink(into / "dir" / "lnk") == "/etc/passwd"
    assert os.access(into / "dir" / "run.sh", os.X_OK) and not os.access(into / "a.txt", os.X_OK)
    assert git("status", "--porcelain", cwd=into) == ""
    assert git("diff-index", "HEAD", cwd=into) == ""
    assert git("rev-parse", "HEAD", "origin/main", cwd=into).split() == [sha, sha]
    assert git("describe", "--dirty", cwd=into).startswith("v1-2-g")
    assert len(git("log", "--oneline", cwd=into).splitlines()) == 3
    assert "error" not in git("fsck", "--full", cwd=into)


def test_depth_cuts_history(git: Git, store: str, mirrored: GitSource, tmp_path: Path) -> None:
    into = tmp_path / "into"
    lay_out(mirrored, "main", 2, into)
    assert len(git("log", "--oneline", cwd=into).splitlines()) == 2
    assert git("rev-parse", "--is-shallow-repository", cwd=into).strip() == "true"
    assert git("status", "--porcelain", cwd=into) == ""


def test_depth_zero_brings_every_branch_and_tag(
    git: Git, store: str, mirrored: GitSource, tmp_path: Path
) -> None:
    into = tmp_path / "into"
    lay_out(mirrored, "v1", 0, into)
    assert {"origin/feat/x", "origin/main"} <= set(
        git("branch", "-r", "--format=%(refname:short)", cwd=into).split()
    )
    assert git("tag", cwd=into).split() == ["light", "v1"]
    assert git("describe", cwd=into).strip() == "v1"


def test_a_full_branch_name_puts_head_on_it(git: Git, mirrored: GitSource, tmp_path: Path) -> None:
    into = tmp_path / "into"
    lay_out(mirrored, "refs/heads/feat/x", 1, into)
    assert git("rev-parse", "--abbrev-ref", "HEAD", cwd=into).strip() == "feat/x"
    assert git("status", "--porcelain", cwd=into) == ""


def test_an_earlier_checkout_is_replaced_and_links_in_it_are_not_followed(
    mirrored: GitSource, tmp_path: Path
) -> None:
    into, outside = tmp_path / "into", tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("x")
    into.mkdir()
    (into / "dir").symlink_to(outside)
    (into / "a.txt").symlink_to(outside / "keep")
    (into / "junk" / "deep").mkdir(parents=True)
    (into / "junk" / "out").symlink_to(outside)
    lay_out(mirrored, "main", 1, into)
    assert (outside / "keep").read_text() == "x" and list(outside.iterdir()) == [outside / "keep"]
    assert not (into / "junk").exists() and not (into / "dir").is_symlink()


def test_a_link_as_the_folder_itself_is_refused(mirrored: GitSource, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "into").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):
        lay_out(mirrored, "main", 1, tmp_path / "into")
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_checkout_shares_no_file_with_the_mirror(mirrored: GitSource, tmp_path: Path) -> None:
    into = tmp_path / "into"
    lay_out(mirrored, "main", 1, into)
    assert all(
        path.stat().st_nlink == 1 for path in into.rglob("*") if path.is_file() and not path.is_symlink()
    )


def test_large_files_arrive_whole(git: Git, mirrored: GitSource, work: Path, tmp_path: Path) -> None:
    data = os.urandom(9 << 20)
    (work / "big").write_bytes(data)
    git("add", ".", cwd=work)
    git("commit", "-qm", "big", cwd=work)
    mirrored.mirror(1, str(work))
    lay_out(mirrored, "main", 1, tmp_path / "into")
    assert (tmp_path / "into" / "big").read_bytes() == data


def raw_tree(source: GitSource, entries: list[tuple[str, bytes, pygit2.Oid]]) -> str:
    """A commit whose tree git itself would never write."""
    repository = source.open(1)
    body = b"".join(mode.encode() + b" " + name + b"\x00" + oid.raw for mode, name, oid in entries)
    tree = repository.odb.write(pygit2.enums.ObjectType.TREE, body)
    who = b"A <a@b> 0 +0000"
    text = b"tree " + str(tree).encode() + b"\nauthor " + who + b"\ncommitter " + who + b"\n\nhostile\n"
    return str(repository.odb.write(pygit2.enums.ObjectType.COMMIT, text))


@pytest.mark.parametrize("name", [b".git", b".GIT", b"..", b".", b"a/b", b"../evil", b"x" * 300])
def test_a_hostile_name_in_a_tree_is_refused(mirrored: GitSource, tmp_path: Path, name: bytes) -> None:
    blob = mirrored.open(1).create_blob(b"evil")
    sha = raw_tree(mirrored, [("100644", name, blob)])
    with pytest.raises(Invalid):
        mirrored.checkout(1, sha, "", 1, tmp_path / "in" / "to")
    assert not (tmp_path / "in" / "evil").exists()


def test_a_link_and_a_folder_of_one_name_cannot_write_outside(mirrored: GitSource, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    repository = mirrored.open(1)
    link = repository.create_blob(str(outside).encode())
    builder = repository.TreeBuilder()
    builder.insert("evil", repository.create_blob(b"evil"), pygit2.enums.FileMode.BLOB)
    sha = raw_tree(mirrored, [("120000", b"a", link), ("40000", b"a", builder.write())])
    with pytest.raises(Invalid):
        mirrored.checkout(1, sha, "", 1, tmp_path / "into")
    assert list(outside.iterdir()) == []


def test_a_submodule_is_an_empty_folder(mirrored: GitSource, tmp_path: Path) -> None:
    repository = mirrored.open(1)
    modules = repository.create_blob(b'[submodule "x"]\n path = sub\n url = ext::sh -c touch% PWN\n')
    sha = raw_tree(
        mirrored, [("100644", b".gitmodules", modules), ("160000", b"sub", pygit2.Oid(hex="1" * 40))]
    )
    mirrored.checkout(1, sha, "", 1, tmp_path / "into")
    assert list((tmp_path / "into" / "sub").iterdir()) == []


def test_a_filter_named_by_attributes_does_not_run(mirrored: GitSource, tmp_path: Path) -> None:
    repository = mirrored.open(1)
    attributes = repository.create_blob(b"* filter=lfs eol=crlf\n")
    text = repository.create_blob(b"a\nb\n")
    sha = raw_tree(mirrored, [("100644", b".gitattributes", attributes), ("100644", b"t", text)])
    mirrored.checkout(1, sha, "", 1, tmp_path / "into")
    assert (tmp_path / "into" / "t").read_bytes() == b"a\nb\n"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be someone else")
def test_git_works_inside_for_another_user(mirrored: GitSource, tmp_path: Path) -> None:
    into = tmp_path / "into"
    lay_out(mirrored, "main", 20, into)
    for folder in [*tmp_path.parents, tmp_path]:
        if folder.stat().st_mode & 0o055 != 0o055 and "pytest" in str(folder):
            folder.chmod(0o755)
    subprocess.run(["chown", "-hR", "20001:20001", str(into)], check=True)
    done = subprocess.run(
        ["setpriv", "--reuid", "20001", "--regid", "20001", "--clear-groups", "sh", "-ec",
         "git status --porcelain; git diff-index HEAD; git describe; git log --oneline | wc -l; echo x > a.txt; git status --porcelain"],
        cwd=into, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}, check=False,
    )  # fmt: skip
    lines = done.stdout.split("\n")
    assert done.returncode == 0, done.stderr
    assert lines[0].startswith("v1-2-g") and lines[1:3] == ["3", " M a.txt"]
