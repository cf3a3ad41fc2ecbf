"""A working copy as it stands, uncommitted changes and new files included, as a commit in a repository of
ours. For `runyard run`.

Nothing is written into the person's repository: new objects go to ours, which borrows the rest through
`objects/info/alternates`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pygit2

from runyard.model.errors import Invalid, NotFound
from runyard.sources.repositories import GitSource

FILE_LIMIT_BYTES = 512 << 20
SUBMODULE_LEVELS = 10
HEADS = "refs/heads/"
AUTHOR = pygit2.Signature("runyard run", "run@localhost", 0, 0)


@dataclass(frozen=True, slots=True)
class Workcopy:
    """Where it is and what it is of."""

    root: Path
    branch: str
    sha: str
    base_sha: str  # HEAD, or "" before the first commit
    changed: int  # files that differ from HEAD


def import_workcopy(folder: Path, source: GitSource, project_id: int) -> Workcopy:
    """Takes the working copy around `folder` into the project's repository, on its present branch."""
    theirs = _around(folder)
    branch = _branch(theirs)
    source.create(project_id, branch)
    ours = _borrowing(source.git_dir(project_id), theirs)
    base = None if theirs.head_is_unborn else theirs.head.peel(pygit2.Commit)
    tree, changed = _tree(ours, theirs, base)
    if base is not None and tree == base.tree.id:
        sha = str(base.id)
    else:
        parents = [] if base is None else [base.id]
        sha = str(ours.create_commit(None, AUTHOR, AUTHOR, "The working copy as it is", tree, parents))
    _name_refs(ours, theirs)
    _stand_on(ours, branch, sha)
    return Workcopy(Path(theirs.workdir), branch, sha, str(base.id) if base else "", changed)


def import_folder(folder: Path, source: GitSource, project_id: int) -> Workcopy:
    """Takes a folder of a working copy as if it were a repository of its own, without the history of the one
    around it."""
    theirs = _around(folder)
    if folder.samefile(theirs.workdir):
        return import_workcopy(folder, source, project_id)
    branch = _branch(theirs)
    source.create(project_id, branch)
    ours = _borrowing(source.git_dir(project_id), theirs)
    base = None if theirs.head_is_unborn else theirs.head.peel(pygit2.Commit)
    tree, _ = _tree(ours, theirs, base)
    inside = ours[tree].peel(pygit2.Tree)[folder.relative_to(Path(theirs.workdir).resolve()).as_posix()]
    sha = str(ours.create_commit(None, AUTHOR, AUTHOR, "The folder as it is", inside.id, []))
    _stand_on(ours, branch, sha)
    return Workcopy(folder, branch, sha, "", 0)


def _name_refs(ours: pygit2.Repository, theirs: pygit2.Repository) -> None:
    """Their branches and tags, those of `origin` where there is none of their own, so that `compare_to` finds
    what it names. In one file: a repository may have thousands."""
    found: dict[str, str] = {}
    for name in theirs.references:
        kept = name.replace("refs/remotes/origin/", HEADS, 1)
        if kept.startswith((HEADS, "refs/tags/")) and (name == kept or kept not in found):
            target = theirs.references[name].target
            found |= {kept: str(target)} if isinstance(target, pygit2.Oid) else {}
    lines = [f"{sha} {name}\n" for name, sha in sorted(found.items())]
    (Path(ours.path) / "packed-refs").write_text("".join(lines), encoding="utf-8")


def _stand_on(ours: pygit2.Repository, branch: str, sha: str) -> None:
    """The branch there, and HEAD on it: the repository may have been made before anybody knew which branch it
    would be."""
    ours.references.create(f"refs/heads/{branch}", sha, force=True)
    if (Path(ours.path) / "HEAD").read_text(encoding="utf-8") != f"ref: refs/heads/{branch}\n":
        ours.set_head(f"refs/heads/{branch}")


def _around(folder: Path) -> pygit2.Repository:
    found = pygit2.discover_repository(str(folder))
    if found is None:
        raise NotFound(f"{folder} is not inside a git working copy; run `git init` there first.")
    try:
        theirs = pygit2.Repository(found)
    except pygit2.GitError as error:
        raise Invalid(f"git refuses {folder}: {error}.") from None
    if theirs.is_bare or theirs.workdir is None:
        raise Invalid(f"{folder} is a bare repository; a working copy is needed.")
    return theirs


def _branch(theirs: pygit2.Repository) -> str:
    return "main" if theirs.head_is_detached or theirs.head_is_unborn else str(theirs.head.shorthand)


def _borrowing(git_dir: Path, theirs: pygit2.Repository) -> pygit2.Repository:
    (git_dir / "objects/info/alternates").write_text(f"{_objects(theirs)}\n", encoding="utf-8")
    return pygit2.Repository(str(git_dir))


def _objects(theirs: pygit2.Repository) -> Path:
    objects = Path(theirs.path).resolve() / "objects"
    if objects.is_dir():
        return objects
    # A linked worktree keeps its objects with the main one.
    return (Path(theirs.path) / (Path(theirs.path) / "commondir").read_text().strip()).resolve() / "objects"


def _tree(
    ours: pygit2.Repository, theirs: pygit2.Repository, base: pygit2.Commit | None, depth: int = 0
) -> tuple[pygit2.Oid, int]:
    index = pygit2.Index()
    if base is not None:
        index.read_tree(base.tree)
    changed = 0
    for path, status in theirs.status(untracked_files="all").items():
        if status in (pygit2.enums.FileStatus.CURRENT, pygit2.enums.FileStatus.IGNORED):
            continue
        changed += 1
        if path in index and index[path].mode == pygit2.enums.FileMode.COMMIT:
            continue
        entry = _entry(ours, Path(theirs.workdir), path)
        if entry is not None:
            index.add(entry)
        elif base is not None and path in base.tree:
            index.remove(path)
    for path in [e.path for e in index if e.mode == pygit2.enums.FileMode.COMMIT]:
        _add_submodule(ours, Path(theirs.workdir) / path, path, index, depth)
    return index.write_tree(ours), changed


def _add_submodule(ours: pygit2.Repository, folder: Path, path: str, index: pygit2.Index, depth: int) -> None:
    """A submodule that is checked out comes as the files that it has there: nobody need fetch it."""
    if depth >= SUBMODULE_LEVELS or not (folder / ".git").exists():
        return
    try:
        theirs = pygit2.Repository(str(folder))
        base = None if theirs.head_is_unborn else theirs.head.peel(pygit2.Commit)
    except pygit2.GitError as error:
        raise Invalid(f"git refuses the submodule {path}: {error}.") from None
    with (Path(ours.path) / "objects/info/alternates").open("a", encoding="utf-8") as alternates:
        alternates.write(f"{_objects(theirs)}\n")
    ours.odb.add_disk_alternate(str(_objects(theirs)))
    tree, _ = _tree(ours, theirs, base, depth + 1)
    index.remove(path)
    inside = pygit2.Index()
    inside.read_tree(ours[tree].peel(pygit2.Tree))
    for entry in inside:
        index.add(pygit2.IndexEntry(f"{path}/{entry.path}", entry.id, entry.mode))


def _entry(ours: pygit2.Repository, root: Path, path: str) -> pygit2.IndexEntry | None:
    """The file as it lies on disk; None when it is gone or is neither a file nor a link."""
    full = root / path
    if full.is_symlink():
        blob = ours.create_blob(os.fsencode(os.readlink(full)))  # noqa: PTH115 - the link's bytes
        return pygit2.IndexEntry(path, blob, pygit2.enums.FileMode.LINK)
    if not full.is_file():
        return None
    info = full.stat()
    if info.st_size > FILE_LIMIT_BYTES:
        raise Invalid(f"{path} has {info.st_size} bytes; ignore it in .gitignore to run without it.")
    mode = pygit2.enums.FileMode.BLOB_EXECUTABLE if info.st_mode & 0o111 else pygit2.enums.FileMode.BLOB
    return pygit2.IndexEntry(path, ours.create_blob_fromdisk(str(full)), mode)
