"""Gives a checkout the objects and refs its `.git` needs. Called by workspace.

A small store is copied as it is; a large one is packed by git down to the wished depth (deltas are reused). Never hard links: a job that owns
the folder could then reach the mirror's own files.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pygit2
import pygit2.enums

from runyard.sources.process import run_git

COPY_FILES = 64
COPY_BYTES = 64 << 20
TAGS_LIMIT = 2000
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Share:
    """What the checkout knows: refs as (name, target, peeled or "") and the commits where history is cut."""

    refs: tuple[tuple[str, str, str], ...]
    shallow: tuple[str, ...]


def share_objects(
    repository: pygit2.Repository, commit: pygit2.Commit, ref: str, depth: int, git: int
) -> Share:
    """Fills `objects` of the `.git` folder open as `git`. Depth 0 is the whole history of every branch and tag."""
    included, shallow = _within(commit, depth)
    refs = _refs(repository, commit, ref, included)
    os.mkdir("objects", 0o755, dir_fd=git)
    objects = os.open("objects", _DIRECTORY, dir_fd=git)
    try:
        source = Path(repository.path) / "objects"
        if not _copy_small(source, objects):
            wanted = [str(commit.id), *(target for _, target, _ in refs)]
            _pack(Path(repository.path), wanted, shallow, objects)
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
    """Every object file, when there are few and they are small; else None."""
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


def _pack(git_dir: Path, wanted: list[str], shallow: tuple[str, ...], objects: int) -> None:
    """One pack of what is reachable down to the cut, made where no job can reach and then copied in."""
    given = "".join(
        [*(f"--shallow {sha}\n" for sha in shallow), *(f"{sha}\n" for sha in dict.fromkeys(wanted))]
    )
    with tempfile.TemporaryDirectory(prefix="runyard-pack-") as folder:
        arguments = ["pack-objects", "--revs", "--quiet", "--delta-base-offset", "--shallow", "--threads=1"]
        run_git(git_dir, [*arguments, f"{folder}/pack"], stdin=given.encode(), timeout_s=600.0)
        os.mkdir("pack", 0o755, dir_fd=objects)
        into = os.open("pack", _DIRECTORY, dir_fd=objects)
        try:
            for file in sorted(Path(folder).iterdir(), reverse=True):
                with file.open("rb") as reading:
                    _copy_file(reading.fileno(), file.name, into)
        finally:
            os.close(into)
