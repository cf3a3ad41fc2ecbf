"""Reading commits and trees without a work tree, through libgit2. Called by repositories; promises plain
values and size caps.

Refs are looked up before anything is taken for a sha, so a branch named like one means the branch
(reliability.md §5 G13).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import pygit2
import pygit2.enums

from runyard.model.errors import Invalid, NotFound, TooLarge
from runyard.model.trigger import ZERO_SHA, Commit
from runyard.sources.names import check_ref, is_sha, may_be_sha

READ_LIMIT_BYTES = 1 << 20
PATHS_LIMIT = 500_000
DEPTH_LIMIT = 256
REFS_LIMIT = 20_000
_REGULAR = (pygit2.enums.FileMode.BLOB, pygit2.enums.FileMode.BLOB_EXECUTABLE, 0o100664)


def resolve(repository: pygit2.Repository, ref: str) -> tuple[Commit, str, bool]:
    """(commit, short ref name, is a tag). For a sha the name is a branch that ends there, else the sha
    itself."""
    if ref == "HEAD":
        return _resolve_head(repository)
    check_ref(ref)
    candidates = [ref] if ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
    for name in candidates:
        found = repository.references.get(name)
        if found is not None:
            return commit_of(_peeled(found)), _short(name), name.startswith("refs/tags/")
    if may_be_sha(ref):
        commit = find_commit(repository, ref)
        return commit_of(commit), _branch_ending_at(repository, commit) or str(commit.id), False
    raise NotFound("Reference not found")


def _resolve_head(repository: pygit2.Repository) -> tuple[Commit, str, bool]:
    if repository.head_is_unborn:
        raise NotFound("Reference not found")
    return commit_of(repository.head.peel(pygit2.Commit)), repository.head.shorthand, False


def _peeled(reference: pygit2.Reference) -> pygit2.Commit:
    try:
        return reference.peel(pygit2.Commit)
    except (pygit2.GitError, ValueError, KeyError):  # a tag of a tree or blob, a dangling symbolic ref
        raise NotFound("Reference not found") from None


def _short(name: str) -> str:
    for prefix in ("refs/heads/", "refs/tags/"):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _branch_ending_at(repository: pygit2.Repository, commit: pygit2.Commit) -> str:
    if not repository.head_is_unborn and repository.head.target == commit.id:
        return str(repository.head.shorthand)
    for name in islice(repository.references.iterator(pygit2.enums.ReferenceFilter.BRANCHES), 1000):
        if name.target == commit.id:
            return str(name.shorthand)
    return ""


def find_commit(repository: pygit2.Repository, sha: str) -> pygit2.Commit:
    """By full or abbreviated (7 digits or more, unambiguous) object name."""
    if not may_be_sha(sha):
        raise Invalid("a commit is named by 7 to 40 hexadecimal digits")
    try:
        found: pygit2.Object = repository[sha]
    except (KeyError, ValueError):  # unknown; ambiguous
        raise NotFound("Commit not found") from None
    if isinstance(found, pygit2.Tag):
        found = repository[found.peel(pygit2.Commit).id]
    if not isinstance(found, pygit2.Commit):
        raise NotFound("Commit not found")
    return found


def commit_of(commit: pygit2.Commit) -> Commit:
    """libgit2's commit as our value."""
    author, committer = commit.author, commit.committer
    return Commit(
        sha=str(commit.id),
        message=commit.raw_message.decode("utf-8", "replace"),
        parents=tuple(str(parent) for parent in commit.parent_ids),
        author_name=author.raw_name.decode("utf-8", "replace"),
        author_email=author.raw_email.decode("utf-8", "replace"),
        authored_at=author.time * 1000,
        committer_name=committer.raw_name.decode("utf-8", "replace"),
        committer_email=committer.raw_email.decode("utf-8", "replace"),
        committed_at=committer.time * 1000,
    )


def history(repository: pygit2.Repository, sha: str, limit: int, skip: int) -> list[Commit]:
    """Ancestors of a commit, itself first, newest first."""
    walk = repository.walk(
        pygit2.Oid(hex=sha), pygit2.enums.SortMode.TOPOLOGICAL | pygit2.enums.SortMode.TIME
    )
    return [commit_of(commit) for commit in islice(walk, skip, skip + limit)]


def named_commits(repository: pygit2.Repository, prefix: str) -> list[tuple[str, Commit]]:
    """Refs under a prefix, by name, with their commits; refs that mean no commit, or have a hostile name, are
    left out."""
    names = sorted(name for name in repository.references if name.startswith(prefix) and _is_harmless(name))
    found = []
    for name in names[:REFS_LIMIT]:
        try:
            found.append((name.removeprefix(prefix), commit_of(_peeled(repository.references[name]))))
        except NotFound:
            continue
    return found


COUNTED_FILES = 1000


def stats(repository: pygit2.Repository, sha: str) -> tuple[int, int] | None:
    """(lines added, lines deleted) since the first parent, all lines of a first commit; None beyond
    COUNTED_FILES, because every line of every file is compared."""
    commit = find_commit(repository, sha)
    if commit.parents:
        difference = repository.diff(commit.parents[0], commit)
    else:
        difference = commit.tree.diff_to_tree(swap=True)
    if len(difference) > COUNTED_FILES:
        return None
    counted = difference.stats
    return counted.insertions, counted.deletions


def annotation(repository: pygit2.Repository, tag: str) -> tuple[str, int | None, str]:
    """(message, time in milliseconds, the object's own id) of a tag object; ("", None, "") of a tag that is
    only a name for a commit."""
    reference = repository.references.get(f"refs/tags/{tag}")
    if reference is None:
        raise NotFound("Tag not found")
    found = repository.get(reference.resolve().target)
    if not isinstance(found, pygit2.Tag):
        return "", None, ""
    tagger: pygit2.Signature | None = found.tagger  # none in tags of very old gits
    made_at = tagger.time * 1000 if tagger else None
    return found.raw_message.decode("utf-8", "replace").rstrip("\n"), made_at, str(found.id)


def _is_harmless(name: str) -> bool:
    try:
        check_ref(name)
    except Invalid:
        return False
    return True


class CommitFiles:
    """The Files port: one commit's tree."""

    def __init__(self, repository: pygit2.Repository, commit: pygit2.Commit, before_sha: str | None) -> None:
        self._repository = repository
        self._tree = commit.tree
        self._id = commit.id
        self._before = before_sha

    def read(self, path: str) -> bytes | None:
        """The bytes of a regular file. Links and submodules have none: what they point to is not this
        commit's."""
        if not path or path.startswith("/") or "\x00" in path or len(path) > 4096:
            return None
        try:
            found = self._tree[path]
        except (KeyError, ValueError):
            return None
        if not isinstance(found, pygit2.Blob) or found.filemode not in _REGULAR:
            return None
        if found.size > READ_LIMIT_BYTES:
            raise TooLarge(f"{path} is larger than {READ_LIMIT_BYTES} bytes")
        return bytes(found.data)

    def paths(self) -> Sequence[str]:
        """Every regular file's path, sorted."""
        return sorted(islice(_walk(self._tree, "", 0), PATHS_LIMIT))

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        """Paths that differ from where the commit left `base` (their merge base), or from before_sha; None
        when there is nothing to compare with."""
        before = base or self._before
        if not before or before == ZERO_SHA:
            return None
        try:
            if is_sha(before):
                other = find_commit(self._repository, before)
            else:
                other = find_commit(self._repository, resolve(self._repository, before)[0].sha)
            if base:
                shared = self._repository.merge_base(other.id, self._id)
                other = find_commit(self._repository, str(shared)) if shared else other
        except NotFound:  # a force-push whose old commit is gone
            return None
        difference = other.tree.diff_to_tree(self._tree, pygit2.enums.DiffOption.IGNORE_SUBMODULES)
        deltas = difference.deltas
        return frozenset(path for d in deltas for path in (d.old_file.path, d.new_file.path) if path)


def _walk(tree: pygit2.Tree, prefix: str, depth: int) -> Iterator[str]:
    if depth > DEPTH_LIMIT:
        return
    for entry in tree:
        name = (entry.raw_name or b"").decode("utf-8", "replace")
        if isinstance(entry, pygit2.Tree):
            yield from _walk(entry, f"{prefix}{name}/", depth + 1)
        elif entry.filemode in _REGULAR:
            yield prefix + name
