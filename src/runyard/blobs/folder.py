"""Blobs as files of a local folder. Made by opening.py.

A key is returned only when the bytes and their name are on disk: write to `tmp/`, fsync, rename, fsync the
folder. obstore's local store does not fsync, which is why files are written here by hand
(docs/decisions/0006-blobs-on-disk.md).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from runyard.blobs.growing import Growing
from runyard.blobs.keys import checked, new_key
from runyard.engine.ports import BlobRef
from runyard.model.errors import NotFound, TooLarge, Unavailable

READ_BYTES = 256 << 10
COPY_BYTES = 1 << 20
ABANDONED_S = 3600


class FolderBlobs:
    """Keeps the promises of `engine.ports.Blobs`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._temporary = self._folder / "tmp"
        try:
            self._temporary.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(
                f"The folder {self._folder} of the blobs cannot be used: {error.strerror}."
            ) from error
        self._shelves = {entry.name for entry in os.scandir(self._folder)}
        self._sweep()

    def put(self, chunks: Iterable[bytes], limit_bytes: int | None = None) -> BlobRef:
        key = new_key()
        temporary = self._temporary / key[3:]
        digest, size = hashlib.sha256(), 0
        try:
            with temporary.open("xb", buffering=0) as file:
                growing = Growing(file.fileno())
                for chunk in chunks:
                    size += len(chunk)
                    if limit_bytes is not None and size > limit_bytes:
                        raise TooLarge(f"This is larger than {limit_bytes} bytes.")
                    digest.update(chunk)
                    growing.write(chunk)
                growing.finish()
                os.fsync(file.fileno())
            self._publish(temporary, key)
        except BaseException as error:
            with suppress(OSError):
                temporary.unlink()
            if isinstance(error, OSError):
                raise _refusal(error) from error
            raise
        return BlobRef(key, size, digest.hexdigest())

    def put_file(self, path: Path, sha256: str = "") -> BlobRef:
        """Takes a hard link where it can: the caller must not write to the file again, but may remove it."""
        key = new_key()
        temporary = self._temporary / key[3:]
        try:
            with path.open("rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                # A link to someone else's file would stay writable for them.
                if status.st_uid != os.geteuid() or status.st_nlink != 1:
                    return self.put(_pieces(file))
                try:
                    os.link(path, temporary)
                except OSError:  # another file system
                    return self.put(_pieces(file))
                digest = sha256 or hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o600)
            if (linked := temporary.stat()).st_ino != status.st_ino or linked.st_size != status.st_size:
                raise Unavailable("The file changed while it was stored.")
            self._publish(temporary, key)
        except BaseException as error:
            with suppress(OSError):
                temporary.unlink()
            if isinstance(error, OSError):
                raise _refusal(error) from error
            raise
        return BlobRef(key, status.st_size, digest)

    def _publish(self, temporary: Path, key: str) -> None:
        shelf = self._folder / key[:2]
        if shelf.name not in self._shelves:
            shelf.mkdir(exist_ok=True)
            _fsync_folder(self._folder)
            self._shelves.add(shelf.name)
        temporary.rename(self._folder / key)
        _fsync_folder(shelf)

    def open(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        path = self._existing(key)
        return _range(path, start, end)

    def seekable(self, key: str) -> BinaryIO:
        try:
            return (self._folder / checked(key)).open("rb")
        except OSError as error:
            raise _refusal(error) from error

    def local_path(self, key: str) -> Path | None:
        return self._existing(key)

    def _existing(self, key: str) -> Path:
        path = self._folder / checked(key)
        if not path.is_file():
            raise NotFound("There is no such blob.")
        return path

    def link(self, key: str, for_s: int) -> str | None:
        return None

    def delete(self, key: str) -> None:
        try:
            (self._folder / checked(key)).unlink()
        except (FileNotFoundError, NotFound):
            return
        except OSError as error:
            raise _refusal(error) from error

    def walk(self) -> Iterator[tuple[str, int]]:
        self._sweep()
        for shelf in sorted(self._folder.iterdir()):
            if len(shelf.name) == 2 and shelf.is_dir():
                for entry in os.scandir(shelf):
                    with suppress(FileNotFoundError):
                        yield f"{shelf.name}/{entry.name}", entry.stat().st_mtime_ns // 1_000_000

    def _sweep(self) -> None:
        """Removes what killed uploads left; a living upload writes, so its file is young."""
        oldest = time.time() - ABANDONED_S
        for entry in os.scandir(self._temporary):
            with suppress(OSError):
                if entry.stat().st_mtime < oldest:
                    Path(entry.path).unlink()


def _range(path: Path, start: int, end: int | None) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            left = None if end is None else end - start
            while left is None or left > 0:
                chunk = file.read(READ_BYTES if left is None else min(READ_BYTES, left))
                if not chunk:
                    return
                if left is not None:
                    left -= len(chunk)
                yield chunk
    except OSError as error:
        raise _refusal(error) from error


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(COPY_BYTES):
        yield chunk


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refusal(error: OSError) -> Exception:
    if isinstance(error, FileNotFoundError):
        return NotFound("There is no such blob.")
    return Unavailable(f"The folder of the blobs fails: {error.strerror}.", retry_after_s=30)
