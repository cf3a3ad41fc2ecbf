"""The Source port over real repositories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runyard.model.errors import Forbidden, Invalid, NotFound, RunyardError, TooLarge, Unavailable
from runyard.model.trigger import ZERO_SHA
from runyard.sources import GitSource

Git = Callable[..., str]


def test_a_new_repository_is_empty_and_stays_when_made_again(source: GitSource) -> None:
    source.create(7, "trunk")
    source.create(7, "other")
    assert source.default_branch(7) is None
    assert source.branches(7) == []
    assert "trunk" in (source.git_dir(7) / "HEAD").read_text()
    with pytest.raises(NotFound):
        source.resolve(7, "HEAD")
    with pytest.raises(NotFound):
        source.resolve(8, "main")


def test_a_mirror_has_every_branch_and_tag(mirrored: GitSource, work: Path) -> None:
    assert mirrored.default_branch(1) == "main"
    assert [name for name, _ in mirrored.branches(1)] == ["feat/x", "main"]
    tags = dict(mirrored.tags(1))
    assert tags["v1"].title == "first" and tags["light"].title == "second"


def test_a_mirror_follows_and_prunes(git: Git, mirrored: GitSource, work: Path) -> None:
    git("branch", "-D", "feat/x", cwd=work)
    git("commit", "-q", "--allow-empty", "-m", "fourth", cwd=work)
    assert mirrored.mirror(1, str(work)) == "main"
    assert [(n, c.title) for n, c in mirrored.branches(1)] == [("main", "fourth")]


def test_refs_and_shas_resolve(git: Git, mirrored: GitSource, work: Path) -> None:
    sha = git("rev-parse", "HEAD", cwd=work).strip()
    third, name, tag = mirrored.resolve(1, "main")
    assert (third.sha, name, tag, third.title) == (sha, "main", False, "third")
    assert third.author_email == "a@b.invalid" and third.committed_at > 0 and len(third.parents) == 1
    assert mirrored.resolve(1, "HEAD")[0].sha == sha
    assert mirrored.resolve(1, sha[:8])[:2] == (third, "main")
    assert mirrored.resolve(1, "refs/heads/feat/x")[1:] == ("feat/x", False)
    assert mirrored.resolve(1, "v1")[1:] == ("v1", True)
    assert mirrored.resolve(1, third.parents[0])[1] == "feat/x"
    for unknown in ("nope", "a" * 40, "abcdef1", "refs/heads/nope"):
        with pytest.raises(NotFound):
            mirrored.resolve(1, unknown)
    with pytest.raises(Invalid):
        mirrored.resolve(1, "--upload-pack=x")


def test_a_branch_named_like_a_sha_means_the_branch(git: Git, mirrored: GitSource, work: Path) -> None:
    first = git("rev-list", "--max-parents=0", "HEAD", cwd=work).strip()
    git("update-ref", f"refs/heads/{first}", "HEAD", cwd=work)
    mirrored.mirror(1, str(work))
    commit, name, _ = mirrored.resolve(1, first)
    assert commit.title == "third" and name == first


def test_files_are_read_without_a_work_tree(mirrored: GitSource) -> None:
    commit = mirrored.resolve(1, "main")[0]
    files = mirrored.files(1, commit.sha, commit.parents[0])
    assert files.paths() == ["a.txt", "b.txt", "dir/run.sh"]
    assert files.read("a.txt") == b"two\n"
    for absent in ("dir/lnk", "dir", "nope", "", "/etc/passwd", "../a.txt", "a.txt/x", "a\x00"):
        assert files.read(absent) is None
    assert files.changed() == {"b.txt"}
    assert files.changed("v1") == {"a.txt", "b.txt"}
    assert files.changed(ZERO_SHA) is None and files.changed("f" * 40) is None


def test_a_ref_is_compared_with_from_where_the_commit_left_it(
    git: Git, mirrored: GitSource, work: Path
) -> None:
    git("checkout", "-qb", "feature", "HEAD~1", cwd=work)
    (work / "new.txt").write_text("x")
    git("add", "new.txt", cwd=work)
    git("commit", "-qm", "apart", cwd=work)
    mirrored.mirror(1, str(work))
    files = mirrored.files(1, mirrored.resolve(1, "feature")[0].sha)
    assert files.changed("main") == {"new.txt"}, "what main has got since is no change of this branch"


def test_a_large_file_is_too_large(git: Git, mirrored: GitSource, work: Path) -> None:
    (work / "big").write_bytes(b"x" * ((1 << 20) + 1))
    git("add", ".", cwd=work)
    git("commit", "-qm", "big", cwd=work)
    mirrored.mirror(1, str(work))
    with pytest.raises(TooLarge):
        mirrored.files(1, mirrored.resolve(1, "main")[0].sha).read("big")


def test_a_kept_commit_survives_until_it_is_let_go(mirrored: GitSource) -> None:
    commit = mirrored.resolve(1, "main")[0]
    mirrored.keep(1, 42, commit.sha)
    assert mirrored.resolve(1, "refs/pipelines/42")[0] == commit
    mirrored.unkeep(1, 42)
    mirrored.unkeep(1, 42)
    with pytest.raises(NotFound):
        mirrored.resolve(1, "refs/pipelines/42")
    with pytest.raises(NotFound):
        mirrored.keep(1, 43, "a" * 40)


def test_local_mirrors_need_the_operators_leave(tmp_path: Path, work: Path) -> None:
    strict = GitSource(tmp_path / "strict")
    for url in (str(work), f"file://{work}", "http://127.0.0.1:1/x"):
        with pytest.raises(Forbidden):
            strict.mirror(1, url)


def test_a_mirror_that_is_not_there_says_so_without_our_paths(source: GitSource, tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        source.mirror(1, "/nonexistent/x.git")
    assert str(tmp_path) not in caught.value.message
    with pytest.raises(Unavailable) as caught:
        source.mirror(1, "http://user:hunter2@127.0.0.1:9/x.git")
    assert "hunter2" not in caught.value.message


def test_a_repository_is_removed(mirrored: GitSource) -> None:
    mirrored.remove(1)
    mirrored.remove(1)
    with pytest.raises(RunyardError):
        mirrored.branches(1)


def test_history_pages(mirrored: GitSource) -> None:
    assert [c.title for c in mirrored.commits(1, "main", 2)] == ["third", "second"]
    assert [c.title for c in mirrored.commits(1, "main", 2, skip=2)] == ["first"]


def test_many_packs_are_joined(git: Git, mirrored: GitSource, work: Path) -> None:
    for number in range(45):
        git("commit", "-q", "--allow-empty", "-m", f"n{number}", cwd=work)
        mirrored.mirror(1, str(work))
    packs = mirrored.git_dir(1) / "objects" / "pack"
    before = len(list(packs.glob("*.pack")))
    mirrored.tidy(1)
    assert before > 40 > len(list(packs.glob("*.pack")))
    assert mirrored.resolve(1, "main")[0].title == "n44"


def test_two_commits_merge_in_memory_unless_they_conflict(git: Git, mirrored: GitSource, work: Path) -> None:
    git("checkout", "-qb", "side", cwd=work)
    (work / "side.txt").write_text("side\n")
    git("add", ".", cwd=work)
    git("commit", "-qm", "side", cwd=work)
    git("checkout", "-q", "main", cwd=work)
    (work / "main.txt").write_text("main\n")
    git("add", ".", cwd=work)
    git("commit", "-qm", "on", cwd=work)
    git("checkout", "-qb", "clash", cwd=work)
    (work / "side.txt").write_text("another\n")
    git("add", ".", cwd=work)
    git("commit", "-qm", "clash", cwd=work)
    mirrored.mirror(1, str(work))
    base, head, clash = (mirrored.resolve(1, name)[0].sha for name in ("main", "side", "clash"))
    made = mirrored.merged(1, base, head, "Merge\n")
    assert made is not None and mirrored.merged(1, base, head, "Merge\n") == made
    assert mirrored.commit(1, made).parents == (base, head)
    files = mirrored.files(1, made)
    assert files.read("side.txt") == b"side\n" and files.read("main.txt") == b"main\n"
    assert [name for name, _ in mirrored.branches(1)] == ["clash", "feat/x", "main", "side"]
    assert mirrored.merged(1, clash, head, "Merge\n") is None
