"""The runner's own files inside a box: scripts, file variables, the $GITHUB_* files. Used by `steps.py`.

The folder belongs to the job, so everything is opened through one descriptor of it and never through a link:
what a job puts in place of our files cannot make us read or write elsewhere.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Room:
    """One folder, `outside` for us and `inside` for the job."""

    def __init__(self, outside: str, inside: str, uid: int | None) -> None:
        self.inside = inside
        self._uid = uid
        self._fd = os.open(outside, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def write(self, name: str, data: bytes, mode: int = 0o600) -> str:
        """A fresh file; answers its path as the job sees it."""
        try:
            fd = os.open(name, _NEW, mode, dir_fd=self._fd)
        except FileExistsError:
            os.unlink(name, dir_fd=self._fd)
            fd = os.open(name, _NEW, mode, dir_fd=self._fd)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if self._uid is not None:
                os.fchown(fd, self._uid, self._uid)
        finally:
            os.close(fd)
        return f"{self.inside}/{name}"

    def remove(self, name: str) -> None:
        """One of our files, where it still is."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self._fd)

    def folder(self, name: str) -> None:
        """An empty folder for the job, unless something has that name."""
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=self._fd)
            if self._uid is not None:
                os.chown(name, self._uid, self._uid, dir_fd=self._fd, follow_symlinks=False)

    def read(self, name: str, limit_bytes: int) -> bytes:
        """At most one byte more than the limit; empty when there is no regular file (any more)."""
        try:
            fd = os.open(name, _READ, dir_fd=self._fd)
        except OSError:
            return b""
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return b""
            parts = []
            left = limit_bytes + 1
            while left > 0 and (piece := os.read(fd, left)):
                parts.append(piece)
                left -= len(piece)
            return b"".join(parts)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Lets the folder go."""
        os.close(self._fd)


def opened_beneath(folder: str, path: str) -> int | None:
    """A regular file below the folder, open for reading; None when it is none, is not there, or when a link
    or `..` is on the way. Component by component, because the job's processes may still live and change what
    lies there."""
    parts = path.split("/")
    if not path or ".." in parts or "\0" in path:
        return None
    fds: list[int] = []
    try:
        fds.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for part in parts[:-1]:
            fds.append(
                os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fds[-1])
            )
        file = os.open(parts[-1], _READ, dir_fd=fds[-1])
    except OSError:
        return None
    finally:
        for fd in fds:
            os.close(fd)
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    return None


def safe_folder(root: Path, relative: str) -> Path | None:
    """`root/relative` when it stays inside without following any link; made when it is not there. None when
    it leads out."""
    path = root
    for part in relative.split("/"):
        if part in ("", "."):
            continue
        if part == ".." or "\0" in part:
            return None
        path = path / part
        try:
            info = path.lstat()
        except FileNotFoundError:
            path.mkdir()
            parent = path.parent.lstat()
            with suppress(PermissionError):
                os.chown(path, parent.st_uid, parent.st_gid)
            continue
        if not stat.S_ISDIR(info.st_mode):
            return None
    return path
