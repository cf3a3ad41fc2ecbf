"""The target branch's tree for `runyard lookml check --target`: a branch, tag or commit of the project's own
repository, or a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pygit2

from runyard.model.errors import RunyardError
from runyard.sources.trees import CommitFiles, find_commit, resolve

SUFFIXES = (".lkml", ".lookml", ".json", ".yaml", ".yml", ".md")


class NoTarget(Exception):
    """The target cannot be found; the text says what was tried."""


@contextmanager
def target_tree(project: Path, target: str) -> Iterator[Path]:
    """A folder with what validators read of the target. A ref of git comes first, then `origin/ref`, then a
    folder of that name."""
    git_dir = pygit2.discover_repository(str(project.resolve()))
    repository = pygit2.Repository(git_dir) if git_dir else None
    commit = _commit(repository, target) if repository is not None else None
    if repository is None or commit is None:
        if not Path(target).is_dir():
            where = (
                f"{repository.workdir or git_dir}"
                if repository is not None
                else "a git repository (there is none here)"
            )
            raise NoTarget(
                f"the target {target!r} is neither a branch, tag or commit of {where} nor a folder"
            )
        yield Path(target)
        return
    inside = project.resolve().relative_to(Path(repository.workdir or project).resolve()).as_posix()
    prefix = "" if inside == "." else f"{inside}/"
    with TemporaryDirectory(prefix="runyard-target-") as folder:
        _write(CommitFiles(repository, commit, None), prefix, Path(folder))
        yield Path(folder)


def _commit(repository: pygit2.Repository, target: str) -> pygit2.Commit | None:
    for ref in (target, f"refs/remotes/origin/{target}"):
        try:
            return find_commit(repository, resolve(repository, ref)[0].sha)
        except RunyardError:
            continue
    return None


def _write(files: CommitFiles, prefix: str, folder: Path) -> None:
    for path in files.paths():
        if not path.startswith(prefix) or not path.endswith(SUFFIXES):
            continue
        try:
            data = files.read(path)
        except RunyardError:
            continue  # too large for a file of LookML
        if data is not None:
            into = folder / path.removeprefix(prefix)
            into.parent.mkdir(parents=True, exist_ok=True)
            into.write_bytes(data)
