"""Commits and refs made by the API instead of a push: files changed on a branch, branches and tags made and
removed. Called by repositories.

Objects are written first, then the one ref is moved from exactly where it was (`git update-ref` with the old
value): of two edits at the same time one is refused, and a crash leaves only objects that nothing names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pygit2
import pygit2.enums

from runyard.engine.ports import Edit, RefUpdate
from runyard.model.errors import Conflict, Invalid, NotFound
from runyard.model.trigger import ZERO_SHA
from runyard.sources import trees
from runyard.sources.names import check_ref
from runyard.sources.process import GitFailed, run_git

MOST_EDITS = 1_000
_REGULAR, _EXECUTABLE = pygit2.enums.FileMode.BLOB, pygit2.enums.FileMode.BLOB_EXECUTABLE


@dataclass(frozen=True, slots=True)
class Author:
    """Who stands in the commit, and when (seconds)."""

    name: str
    email: str
    at_s: int


def commit_edits(
    repository: pygit2.Repository,
    git_dir: Path,
    branch: str,
    start: str,
    edits: Sequence[Edit],
    message: str,
    author: Author,
) -> RefUpdate:
    """A commit with these edits on top of the branch. A branch that does not exist begins at `start` (a ref
    or sha), or empty in an empty repository."""
    check_ref(branch)
    name = f"refs/heads/{branch}"
    tip = repository.references.get(name)
    before = str(tip.resolve().target) if tip is not None else ZERO_SHA
    parent = _parent(repository, before, start, branch)
    index = pygit2.Index()
    if parent is not None:
        index.read_tree(parent.tree)
    if not edits or len(edits) > MOST_EDITS:
        raise Invalid(f"A commit changes between 1 and {MOST_EDITS} files.")
    for edit in edits:
        _apply(repository, index, edit)
    signature = pygit2.Signature(author.name or "nobody", author.email or "nobody@localhost", author.at_s, 0)
    tree = index.write_tree(repository)
    made = repository.create_commit(
        None, signature, signature, message, tree, [parent.id] if parent is not None else []
    )
    move(git_dir, name, before, str(made))
    return RefUpdate(name, before, str(made))


def _parent(repository: pygit2.Repository, before: str, start: str, branch: str) -> pygit2.Commit | None:
    if before != ZERO_SHA:
        return trees.find_commit(repository, before)
    if start:
        return trees.find_commit(repository, trees.resolve(repository, start)[0].sha)
    if repository.is_empty or repository.head_is_unborn:
        return None
    raise Invalid(f"The branch {branch} does not exist; name where it starts.")


def _apply(repository: pygit2.Repository, index: pygit2.Index, edit: Edit) -> None:
    path = check_path(edit.path)
    here = path in index
    match edit.action:
        case "create":
            if here:
                raise Invalid("A file with this name already exists")
            _put(repository, index, path, edit.content or b"", _REGULAR)
        case "update":
            _put(repository, index, path, edit.content or b"", _at(index, path).mode)
        case "delete":
            _at(index, path)
            index.remove(path)
        case "move":
            old = _at(index, check_path(edit.previous_path))
            if here:
                raise Invalid("A file with this name already exists")
            index.remove(edit.previous_path)
            if edit.content is None:
                index.add(pygit2.IndexEntry(path, old.id, old.mode))
            else:
                _put(repository, index, path, edit.content, old.mode)
        case "chmod":
            entry = _at(index, path)
            index.add(pygit2.IndexEntry(path, entry.id, _EXECUTABLE if edit.executable else _REGULAR))
        case other:
            raise Invalid(f"{other!r} is no action: create, update, delete, move or chmod was expected.")


def _put(
    repository: pygit2.Repository, index: pygit2.Index, path: str, data: bytes, mode: pygit2.enums.FileMode
) -> None:
    parts = path.split("/")
    if any("/".join(parts[:i]) in index for i in range(1, len(parts))):
        raise Invalid("A file stands where this path needs a folder")
    index.add(pygit2.IndexEntry(path, repository.create_blob(data), mode))


def _at(index: pygit2.Index, path: str) -> pygit2.IndexEntry:
    try:
        entry = index[path]
    except KeyError:
        raise NotFound("A file with this name doesn't exist") from None
    return entry


def check_path(path: str) -> str:
    """A path inside a repository that every system can lay out; Invalid otherwise (reliability.md §5 G4)."""
    parts = path.split("/")
    bad = {"", ".", ".."}
    if len(path) > 4096 or any(p in bad or p.lower() in (".git", "git~1") or len(p) > 255 for p in parts):
        raise Invalid("The file path is not valid")
    if any(ord(c) < 32 or c in "\x7f\\" for c in path) or any(
        p.lower().startswith(".git\u200c") for p in parts
    ):
        raise Invalid("The file path is not valid")
    return path


def move(git_dir: Path, ref: str, before: str, after: str) -> None:
    """Points a ref from where it was to somewhere else (ZERO_SHA: nowhere). Conflict when someone was
    faster."""
    arguments = ["update-ref", "--no-deref"]
    arguments += ["-d", ref, before] if after == ZERO_SHA else [ref, after, before]
    try:
        run_git(git_dir, arguments)
    except GitFailed as error:
        raise Conflict("The branch was changed by someone else at the same moment; try again.") from error


def make_ref(repository: pygit2.Repository, git_dir: Path, name: str, start: str) -> RefUpdate:
    """A branch or tag (full name) at a ref or sha. Conflict when it is there already."""
    check_ref(name)
    if name in repository.references:
        raise Conflict("It already exists")
    after = trees.resolve(repository, start)[0].sha
    move(git_dir, name, ZERO_SHA, after)
    return RefUpdate(name, ZERO_SHA, after)


def make_tag(
    repository: pygit2.Repository, git_dir: Path, name: str, start: str, message: str, author: Author
) -> RefUpdate:
    """A tag with a message of its own."""
    check_ref(name)
    full = f"refs/tags/{name}"
    if full in repository.references:
        raise Conflict("It already exists")
    commit = trees.resolve(repository, start)[0].sha
    signature = pygit2.Signature(author.name or "nobody", author.email or "nobody@localhost", author.at_s, 0)
    text = (
        f"object {commit}\ntype commit\ntag {name}\n"
        f"tagger {signature.name} <{signature.email}> {author.at_s} +0000\n\n{message}\n"
    )
    made = str(repository.write(pygit2.enums.ObjectType.TAG, text.encode("utf-8", "replace")))
    move(git_dir, full, ZERO_SHA, made)
    return RefUpdate(full, ZERO_SHA, commit)


def drop_ref(repository: pygit2.Repository, git_dir: Path, name: str) -> RefUpdate:
    """Removes a branch or tag (full name)."""
    check_ref(name)
    found = repository.references.get(name)
    if found is None:
        raise NotFound("Reference not found")
    before = str(found.target)
    move(git_dir, name, before, ZERO_SHA)
    return RefUpdate(name, before, ZERO_SHA)


def merge_base(repository: pygit2.Repository, one: str, other: str) -> str | None:
    """The best common ancestor of two commits; None when they share none."""
    first, second = trees.find_commit(repository, one), trees.find_commit(repository, other)
    found: pygit2.Oid | None = repository.merge_base(first.id, second.id)
    return str(found) if found else None
