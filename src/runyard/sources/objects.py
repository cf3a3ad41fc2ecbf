"""Gives a checkout the objects and refs its `.git` needs. Called by workspace.

A small store is copied as it is; a large one, or one that borrows from another, is packed down to the wished
depth, once for all jobs of a commit. Never hard links: a job that owns the folder could then reach the
mirror's own files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pygit2
import pygit2.enums

from runyard.sources.process import run_git
from runyard.sources.turns import Turns

COPY_FILES = 64
COPY_BYTES = 64 << 20
PACKED_HERE = (
    200  # objects; above it git, which reuses deltas, is faster than libgit2 although it is a process
)
PACKS_KEPT = 4  # of a repository: its jobs mostly want the same few commits
TAGS_LIMIT = 2000
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_TURNS = Turns()
"""Whoever makes a pack; others wait for it instead of making it too."""


@dataclass(frozen=True, slots=True)
class Share:
    """What the checkout knows: refs as (name, target, peeled or "") and the commits where history is cut."""

    refs: tuple[tuple[str, str, str], ...]
    shallow: tuple[str, ...]


def share_objects(
    repository: pygit2.Repository, commit: pygit2.Commit, ref: str, depth: int, git: int
) -> Share:
    """Fills `objects` of the `.git` folder open as `git`. Depth 0 is the whole history of every branch and
    tag."""
    included, shallow = _within(commit, depth)
    refs = _refs(repository, commit, ref, included)
    os.mkdir("objects", 0o755, dir_fd=git)
    objects = os.open("objects", _DIRECTORY, dir_fd=git)
    try:
        source = Path(repository.path) / "objects"
        if not _copy_small(source, objects):
            wanted = list(dict.fromkeys([str(commit.id), *(target for _, target, _ in refs)]))
            _copy_pack(repository, wanted, shallow, objects)
    finally:
        os.close(objects)
    return Share(refs, shallow)


def _within(commit: pygit2.Commit, depth: int) -> tuple[set[str], tuple[str, ...]]:
    """Commits at most `depth` generations away, and those among them whose parents are cut off."""
    if depth == 0:
        return set(), ()
    seen = {str(commit.id)}
    generation = [commit]
    for _ in range(depth - 1):
        following = []
        for one in generation:
            for parent in one.parents:
                if str(parent.id) not in seen:
                    seen.add(str(parent.id))
                    following.append(parent)
        generation = following
        if not generation:
            return seen, ()
    cut = [str(one.id) for one in generation if any(str(p) not in seen for p in one.parent_ids)]
    return seen, tuple(cut)


def _refs(
    repository: pygit2.Repository, commit: pygit2.Commit, ref: str, included: set[str]
) -> tuple[tuple[str, str, str], ...]:
    """Where the run's ref points, and the tags (with depth 0: and branches) whose commits are there."""
    found: dict[str, tuple[str, str]] = {}
    for name in islice(_named(repository, "refs/tags/"), TAGS_LIMIT):
        target, peeled = _target(repository, name)
        if peeled and (not included or peeled in included):
            found[name] = (target, peeled if peeled != target else "")
    if not included:
        for name in islice(_named(repository, "refs/heads/"), TAGS_LIMIT):
            target, _ = _target(repository, name)
            found[f"refs/remotes/origin/{name.removeprefix('refs/heads/')}"] = (target, "")
    short = ref.removeprefix("refs/heads/")
    if ref and not ref.startswith("refs/tags/") and f"refs/tags/{ref}" not in found and not _is_other(short):
        found[f"refs/remotes/origin/{short}"] = (str(commit.id), "")
    if ref.startswith("refs/heads/"):
        found[ref] = (str(commit.id), "")
    return tuple((name, target, peeled) for name, (target, peeled) in found.items())


def _is_other(short: str) -> bool:
    return short.startswith("refs/") or short == "HEAD"


def _named(repository: pygit2.Repository, prefix: str) -> list[str]:
    return [name for name in repository.references if name.startswith(prefix)]


def _target(repository: pygit2.Repository, name: str) -> tuple[str, str]:
    reference = repository.references[name].resolve()
    try:
        return str(reference.target), str(reference.peel(pygit2.Commit).id)
    except (pygit2.GitError, ValueError, KeyError):
        return str(reference.target), ""


def _small_store(source: Path) -> list[str] | None:
    """Every object file, when there are few, they are small and nothing is borrowed from elsewhere; else
    None."""
    if (source / "info/alternates").exists():
        return None
    found: list[str] = []
    total = 0
    for folder in source.iterdir():
        if len(folder.name) != 2 and folder.name != "pack":
            continue
        for file in folder.iterdir():
            if folder.name == "pack" and file.suffix not in (".pack", ".idx"):
                continue
            total += file.lstat().st_size
            found.append(f"{folder.name}/{file.name}")
            if len(found) > COPY_FILES or total > COPY_BYTES:
                return None
    return found


def _copy_small(source: Path, objects: int) -> bool:
    """False when the store is not small."""
    for _ in range(3):
        try:
            files = _small_store(source)
            reading = _open_all(source, files) if files is not None else {}
        except FileNotFoundError:  # packs were joined (`tidy`) while we looked
            continue
        if files is None:
            return False
        try:
            _copy(reading, objects)
        finally:
            for file in reading.values():
                os.close(file)
        return True
    return False


def _open_all(source: Path, files: list[str]) -> dict[str, int]:
    opened: dict[str, int] = {}
    try:
        for file in files:
            opened[file] = os.open(source / file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except BaseException:
        for number in opened.values():
            os.close(number)
        raise
    return opened


def _copy(reading: dict[str, int], objects: int) -> None:
    folders: dict[str, int] = {}
    try:
        for path, file in reading.items():
            folder, name = path.split("/", 1)
            if folder not in folders:
                os.mkdir(folder, 0o755, dir_fd=objects)
                folders[folder] = os.open(folder, _DIRECTORY, dir_fd=objects)
            _copy_file(file, name, folders[folder])
    finally:
        for number in folders.values():
            os.close(number)


def _copy_file(reading: int, name: str, into: int) -> None:
    writing = os.open(name, _CREATE, 0o444, dir_fd=into)
    try:
        while os.sendfile(writing, reading, None, 1 << 30):
            pass
    finally:
        os.close(writing)


def _copy_pack(
    repository: pygit2.Repository, wanted: list[str], shallow: tuple[str, ...], objects: int
) -> None:
    """One pack of what is reachable down to the cut. It is made where no job can reach, kept for the next
    job, and copied in."""
    asked = "".join([*(f"--shallow {sha}\n" for sha in shallow), *(f"{sha}\n" for sha in wanted)]).encode()
    folder = Path(repository.path) / "packed" / hashlib.sha256(asked).hexdigest()[:32]
    with _TURNS.of(folder):
        if not folder.exists():
            _make_pack(repository, wanted, shallow, asked, folder)
        names = sorted(os.listdir(folder), reverse=True)  # noqa: PTH208 - names are wanted
        reading = _open_all(folder, names)
    try:
        _copy({f"pack/{name}": file for name, file in reading.items()}, objects)
    finally:
        for file in reading.values():
            os.close(file)


def _make_pack(
    repository: pygit2.Repository, wanted: list[str], shallow: tuple[str, ...], asked: bytes, folder: Path
) -> None:
    """Fills `folder`, all at once; the oldest packs go."""
    folder.parent.mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="new-", dir=folder.parent))
    try:
        reached = _reached(repository, wanted, shallow)
        if reached is not None:
            repository.pack(str(made), lambda pack: _add_all(pack, reached))
        else:
            arguments = [
                "pack-objects",
                "--revs",
                "--quiet",
                "--delta-base-offset",
                "--shallow",
                "--window=0",
            ]
            run_git(Path(repository.path), [*arguments, f"{made}/pack"], stdin=asked, timeout_s=600.0)
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    others = [kept for kept in folder.parent.iterdir() if len(kept.name) == 32 and kept != folder]
    for old in sorted(others, key=_changed_at, reverse=True)[PACKS_KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


def _changed_at(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def _add_all(pack: pygit2.PackBuilder, objects: Iterable[pygit2.Oid]) -> None:
    for oid in objects:
        pack.add(oid)


def _reached(
    repository: pygit2.Repository, wanted: list[str], shallow: tuple[str, ...]
) -> set[pygit2.Oid] | None:
    """Every object from the wanted ones down to the cut, or None when there are more than a few."""
    found: set[pygit2.Oid] = set()
    waiting = [pygit2.Oid(hex=sha) for sha in wanted]
    while waiting:
        oid = waiting.pop()
        if oid in found:
            continue
        found.add(oid)
        if len(found) > PACKED_HERE:
            return None
        one = repository[oid]
        if isinstance(one, pygit2.Commit):
            waiting += [one.tree_id, *(() if str(oid) in shallow else one.parent_ids)]
        elif isinstance(one, pygit2.Tag):
            waiting.append(one.target)
        elif isinstance(one, pygit2.Tree):
            waiting += [entry.id for entry in one if entry.filemode != pygit2.enums.FileMode.COMMIT]
    return found
