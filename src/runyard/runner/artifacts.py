"""Which files of a workspace an artifact or a cache takes, and how an archive comes back. Called by
`builtins.py` and `cache.py`.

No process of the job lives while this runs, but everything it left is hostile: links never lead out, devices
and pipes are skipped with a warning, names that could not be unpacked are left out, unpacking resolves no
name twice (contracts/reliability.md §5 C).
"""

from __future__ import annotations

import calendar
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from runyard.syntax import archives
from runyard.syntax.patterns import path_glob

MAX_FILES = archives.MAX_ENTRIES
GLOB_SIGNS = frozenset("*?[{")
OPEN_FOLDERS = 64
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TooManyFiles(Exception):
    """More files than an archive may hold."""


@dataclass(slots=True)
class Choice:
    """Relative paths in the order found, and what was left out, in sentences. `size_bytes` counts files
    only."""

    paths: dict[str, None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    matched: dict[str, int] = field(default_factory=dict)  # pattern -> how many
    size_bytes: int = 0

    def warn(self, sentence: str) -> None:
        """At most twenty; a job can make any number of pipes."""
        if len(self.warnings) < 20:
            self.warnings.append(sentence)


def choose(root: Path, patterns: Iterable[str], exclude: Iterable[str] = (), inside: str = "") -> Choice:
    """Files that `paths:` and `exclude:` of GitLab and `path` of upload-artifact name. `inside`: the
    workspace as the job calls it."""
    choice = Choice()
    unwanted = [path_glob(p) for p in (_relative(e, inside) for e in exclude) if p]
    for given in patterns:
        pattern = _relative(given, inside)
        found = 0
        if pattern is None:
            choice.warn(f"{given}: is not inside the workspace, skipped")
        else:
            for path, info in _matching(root, pattern, choice):
                if not any(one.found_in(path) for one in unwanted):
                    _judge(root, path, info, choice)
                    found += path in choice.paths
        choice.matched[given] = found
    return choice


def add_files(root: Path, paths: Iterable[str], exclude: Iterable[str], choice: Choice) -> None:
    """Single files by name (untracked ones)."""
    unwanted = [path_glob(p) for p in exclude]
    for path in paths:
        with suppress(OSError):
            if not any(one.found_in(path) for one in unwanted):
                _judge(root, path, (root / path).lstat(), choice)


def _relative(given: str, inside: str) -> str | None:
    """The pattern below the workspace: '' for all of it, None when it lies outside."""
    text = given.strip()
    if text.startswith("/"):
        if not inside or not (text == inside or text.startswith(inside + "/")):
            return None
        text = text[len(inside) :].lstrip("/")
    while text.startswith("./"):
        text = text[2:].lstrip("/")
    text = "" if text in (".", "/") else text
    return None if ".." in text.split("/") else text


def _matching(root: Path, pattern: str, choice: Choice) -> Iterator[tuple[str, os.stat_result]]:
    """A folder stands for all that is in it; a glob is looked for below its literal part only."""
    parts = pattern.rstrip("/").split("/") if pattern else []
    literal: list[str] = []
    for part in parts:
        if GLOB_SIGNS & set(part):
            break
        literal.append(part)
    start = "/".join(literal)
    if not _stays(root, start):
        choice.warn(f"{pattern}: leads out of the workspace, skipped")
        return
    try:
        info = (root / start).lstat()
    except OSError:
        return
    if len(literal) == len(parts):
        yield start, info
        if stat.S_ISDIR(info.st_mode):
            yield from _below(root, start, choice)
        return
    if stat.S_ISDIR(info.st_mode):
        yield from _globbed(root, start, pattern, choice)


def _globbed(root: Path, start: str, pattern: str, choice: Choice) -> Iterator[tuple[str, os.stat_result]]:
    """What matches below `start`, and all that is in a folder that matches. `a/*/` means folders only."""
    glob, only_folders = path_glob(pattern.rstrip("/")), pattern.endswith("/")
    taken: set[str] = set()
    for path, info in _below(root, start, choice):
        is_folder = stat.S_ISDIR(info.st_mode)
        below = path.rpartition("/")[0] in taken
        if below or ((is_folder or not only_folders) and glob.found_in(path)):
            yield path, info
            if is_folder:
                taken.add(path)


def _below(root: Path, start: str, choice: Choice) -> Iterator[tuple[str, os.stat_result]]:
    """Everything under a folder, depth first, links not followed; without recursion, because depth is the
    job's choice."""
    stack = [start]
    while stack:
        folder = stack.pop()
        try:
            with os.scandir(root / folder) as found:
                entries = sorted(found, key=lambda e: e.name)
        except OSError as error:
            choice.warn(f"{folder}: {error.strerror}, skipped")
            continue
        folders = []
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            with suppress(OSError):
                info = entry.stat(follow_symlinks=False)
                yield path, info
                if stat.S_ISDIR(info.st_mode):
                    folders.append(path)
        stack.extend(reversed(folders))


def _stays(root: Path, path: str) -> bool:
    """Whether no link on the way leads out of the workspace."""
    top = os.path.realpath(root)
    real = os.path.realpath(root / path)
    return real == top or real.startswith(top + "/")


def _judge(root: Path, path: str, info: os.stat_result, choice: Choice) -> None:
    mode = info.st_mode
    if not path or path in choice.paths:
        return
    if not archives.is_safe(path):
        choice.warn(f"{path!r}: this name cannot be unpacked everywhere, skipped")
    elif stat.S_ISLNK(mode):
        if _link_stays(root, path):
            choice.paths[path] = None
        else:
            choice.warn(f"{path}: a link out of the workspace, skipped")
    elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        choice.paths[path] = None
        choice.size_bytes += info.st_size if stat.S_ISREG(mode) else 0
    else:
        choice.warn(f"{path}: neither a file nor a folder, skipped")
    if len(choice.paths) > MAX_FILES:
        raise TooManyFiles(f"more than {MAX_FILES} files")


def _link_stays(root: Path, path: str) -> bool:
    target = str((root / path).readlink())
    return not target.startswith("/") and _stays(root, f"{path.rpartition('/')[0]}/{target}".lstrip("/"))


def unpack(
    file: BinaryIO,
    into: Path,
    *,
    uid: int | None,
    limit_bytes: int,
    only: Callable[[str], bool] | None = None,
) -> int:
    """Unpacks all (or what `only` says) below `into`; answers how many entries. ArchiveError before anything
    is written when a name, a size or a place in the archive is not acceptable."""
    entries = archives.directory(file, limit_bytes)
    for entry in entries:
        if not archives.is_safe(entry.name):
            raise archives.ArchiveError(
                f"the archive holds a name that leads out of it: {entry.name[:200]!r}"
            )
    links: list[tuple[str, str]] = []
    with _Unpacking(into, uid) as place:
        count = 0
        for entry in entries:
            if only is not None and not only(entry.name):
                continue
            count += 1
            if entry.is_folder:
                place.folder(entry.name.strip("/").split("/"))
            elif entry.is_link:
                target = b"".join(archives.read(file, entry)).decode("utf-8", "surrogateescape")
                links.append((entry.name, target))
            else:
                place.file(entry, archives.read(file, entry))
        for name, target in links:  # last, so that nothing is ever written through one
            place.link(name, target)
    return count


class _Unpacking:
    """Writes below one folder through descriptors of real folders only."""

    def __init__(self, top: Path, uid: int | None) -> None:
        self._uid = uid
        self._stack = ExitStack()
        self._top = os.open(top, _FOLDER)
        self._stack.callback(os.close, self._top)
        self._folders: dict[tuple[str, ...], int] = {}

    def __enter__(self) -> _Unpacking:
        return self

    def __exit__(self, *error: object) -> None:
        self._forget()
        self._stack.close()

    def _forget(self) -> None:
        for fd in self._folders.values():
            os.close(fd)
        self._folders.clear()

    def folder(self, parts: Sequence[str]) -> int:
        """The folder's descriptor, made on the way. A file or link in its place gives way."""
        key = tuple(parts)
        if not key:
            return self._top
        if key in self._folders:
            return self._folders[key]
        parent = self.folder(key[:-1])
        try:
            fd = os.open(key[-1], _FOLDER, dir_fd=parent)
        except OSError:
            with suppress(FileNotFoundError):
                os.unlink(key[-1], dir_fd=parent)
            os.mkdir(key[-1], 0o755, dir_fd=parent)
            fd = os.open(key[-1], _FOLDER, dir_fd=parent)
            if self._uid is not None:
                os.fchown(fd, self._uid, self._uid)
        if len(self._folders) >= OPEN_FOLDERS + len(key):
            keep = {key[:n] for n in range(1, len(key))}
            for old in [k for k in self._folders if k not in keep]:
                os.close(self._folders.pop(old))
        self._folders[key] = fd
        return fd

    def file(self, entry: archives.Entry, pieces: Iterable[bytes]) -> None:
        """A regular file; setuid bits stay behind."""
        *folder, name = entry.name.split("/")
        parent = self.folder(folder)
        try:
            fd = os.open(name, _NEW_FILE, 0o644, dir_fd=parent)
        except FileExistsError:
            os.unlink(name, dir_fd=parent)
            fd = os.open(name, _NEW_FILE, 0o644, dir_fd=parent)
        try:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[os.write(fd, view) :]
            if self._uid is not None:
                os.fchown(fd, self._uid, self._uid)
            os.fchmod(fd, entry.mode & 0o777 or 0o644)
            with suppress(ValueError, OverflowError):
                moment = calendar.timegm(entry.modified)
                os.utime(fd, (moment, moment))
        finally:
            os.close(fd)

    def link(self, name: str, target: str) -> None:
        """A link, when it stays inside; others are dropped."""
        *folder, last = name.split("/")
        steps = os.path.normpath("/".join([*folder, target]))
        if target.startswith("/") or "\0" in target or steps == ".." or steps.startswith("../"):
            return
        parent = self.folder(folder)
        with suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(last, dir_fd=parent)
        with suppress(FileExistsError):
            os.symlink(target, last, dir_fd=parent)
            if self._uid is not None:
                os.chown(last, self._uid, self._uid, dir_fd=parent, follow_symlinks=False)


def give_to(root: Path, uid: int | None) -> None:
    """Makes a tree of ours the job's, links themselves included; without recursion."""
    if uid is None:
        return
    stack = [os.fspath(root)]
    while stack:
        with os.scandir(stack.pop()) as found:
            for entry in found:
                os.chown(entry.path, uid, uid, follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)


def clear(root: Path) -> None:
    """Empties a folder of ours or the job's."""
    from runyard.runner.sandbox.folders import remove_tree

    for entry in list(root.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            remove_tree(entry)
        else:
            entry.unlink()
