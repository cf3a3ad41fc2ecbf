"""Commits made of another and a patch, or of two, in the bare repository, without a work tree. Called by
repositories.

The commit carries its parent's time and a fixed author, so the same patch on the same commit is the same
commit, however often it is made.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pygit2

from runyard.model.errors import Invalid
from runyard.sources.process import GitFailed, run_git

PATCH_BYTES = 64 << 20
GROWTH_BYTES = 512 << 20
TIME_S = 120.0
MESSAGE = "Local changes\n"


def patched(git_dir: Path, parent: pygit2.Commit, patch: bytes) -> str:
    """The new commit's sha. Invalid when the patch is too large or does not apply."""
    if len(patch) > PATCH_BYTES:
        raise Invalid(f"The patch may have at most {PATCH_BYTES} bytes.")
    with tempfile.TemporaryDirectory(prefix="runyard-patch-") as folder:
        empty = [] if patch.strip() else ["--allow-empty"]
        index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
        run_git(git_dir, ["read-tree", str(parent.id)], environment=index, timeout_s=TIME_S)
        try:
            # --cached: nothing is laid out, so no path of the patch can touch a file of ours; git itself
            # refuses `.git` and paths that lead out.
            run_git(
                git_dir,
                ["apply", "--cached", "--whitespace=nowarn", *empty, "-"],
                stdin=patch,
                environment=index,
                timeout_s=TIME_S,
                growth_limit_bytes=GROWTH_BYTES,
            )
        except GitFailed as error:
            raise Invalid(f"The patch does not apply to {str(parent.id)[:12]}: {error.message}") from None
        tree = run_git(git_dir, ["write-tree"], environment=index, timeout_s=TIME_S).decode().strip()
    when = f"{parent.commit_time} +0000"
    who = {
        f"GIT_{role}_{name}": value
        for role in ("AUTHOR", "COMMITTER")
        for name, value in (("NAME", "Runyard"), ("EMAIL", "noreply@runyard.invalid"), ("DATE", when))
    }
    arguments = ["commit-tree", "-p", str(parent.id), "-F", "-", tree]
    made = run_git(git_dir, arguments, stdin=MESSAGE.encode(), environment=who, timeout_s=TIME_S)
    return made.decode().strip()


def merged(
    repository: pygit2.Repository, base: pygit2.Commit, head: pygit2.Commit, message: str
) -> str | None:
    """The sha of a merge commit, made in memory; None when the two conflict, or have nothing in common. It
    carries the later parent's time."""
    if repository.merge_base(base.id, head.id) is None:
        return None
    index = repository.merge_commits(base, head)
    if index.conflicts is not None:
        return None
    when = max(base.commit_time, head.commit_time)
    who = pygit2.Signature("Runyard", "noreply@runyard.invalid", when, 0)
    tree = index.write_tree(repository)
    return str(repository.create_commit(None, who, who, message, tree, [base.id, head.id]))
