"""Caches of jobs: one zip per (project, protected?, key) under hashed names, in a folder of this runner or in
a store that several share. Called by `builtins.py`.

A protected branch's cache is never written by an unprotected one (contracts/reliability.md §5 C19): the two
have keys of their own.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from runyard.runner.artifacts import Choice, unpack
from runyard.runner.packing import pack

if TYPE_CHECKING:
    from runyard.runner.bucket import Bucket

MAX_KEY_CHARS = 512
LIMIT_BYTES = 5 << 30
BEGUN, BEGUN_S = "new-", 86400  # an archive that is being written; older ones are of runners that were killed


class CacheKeyError(ValueError):
    """The key cannot be used."""


def open_cache(url: str, folder: Path) -> Cache:
    """Empty: `folder`; a path: that folder; `s3://bucket/prefix`, `gs://…`, `az://…` or `file://…`: shared
    with whoever names the same. Invalid when nothing can be kept there."""
    if "://" not in url:
        return Cache(Path(url) if url else folder)
    from runyard.runner.bucket import Bucket

    return Cache(folder, bucket=Bucket(url))


class Cache:
    """Zips. `keep_bytes` bounds a folder: the longest unused go first; a bucket's life is its owner's
    business."""

    def __init__(self, folder: Path, keep_bytes: int = 20 << 30, bucket: Bucket | None = None) -> None:
        self._folder = folder
        self._keep_bytes = keep_bytes
        self._bucket = bucket

    def restore(
        self, project_id: int, protected: bool, keys: Iterable[str], into: Path, uid: int | None
    ) -> str | None:
        """Unpacks the first key that is there; answers it."""
        for key in keys:
            file = self._opened(_name(project_id, protected, key))
            if file is not None:
                with file:
                    unpack(file, into, uid=uid, limit_bytes=LIMIT_BYTES)
                return key
        return None

    def _opened(self, name: str) -> BinaryIO | None:
        if self._bucket is not None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return self._bucket.fetch(name, self._folder)
        path = self._folder / name
        with suppress(OSError):
            os.utime(path)
        try:
            return path.open("rb")
        except FileNotFoundError:
            return None

    def save(self, project_id: int, protected: bool, key: str, root: Path, choice: Choice) -> int:
        """Packs the choice as this key's newest content; answers its size in bytes."""
        name = _name(project_id, protected, key)
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w+b", dir=path.parent, prefix=BEGUN, delete=False) as file:
            try:
                pack(root, choice.paths, file)  # type: ignore[arg-type]
                size = file.seek(0, os.SEEK_END)
                if self._bucket is None:
                    file.flush()
                    Path(file.name).replace(path)
                else:
                    self._bucket.keep(name, file)  # type: ignore[arg-type]
                    Path(file.name).unlink()
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        if self._bucket is None:
            self._bound()
        return size

    def _bound(self) -> None:
        for begun in self._folder.glob(f"*/{BEGUN}*"):
            with suppress(FileNotFoundError):
                if begun.stat().st_mtime < time.time() - BEGUN_S:
                    begun.unlink()
        found = []
        for path in self._folder.glob("*/*.zip"):
            with suppress(FileNotFoundError):  # another slot does the same
                about = path.stat()
                found.append((about.st_mtime, about.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._keep_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


def _name(project_id: int, protected: bool, key: str) -> str:
    if not key or len(key) > MAX_KEY_CHARS or any(ord(c) < 32 for c in key):
        raise CacheKeyError(f"a cache key has 1 to {MAX_KEY_CHARS} characters and no line breaks")
    scope = "protected" if protected else "open"
    return f"{project_id}/{hashlib.sha256(f'{scope}{chr(0)}{key}'.encode()).hexdigest()}.zip"
