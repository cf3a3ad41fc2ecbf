"""The local cache: one zip per (project, protected?, key) under hashed names, replaced atomically. Called by `builtins.py`.

A protected branch's cache is never written by an unprotected one (contracts/reliability.md §5 C19): the two have keys of their own.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from runyard.runner.artifacts import Choice, unpack
from runyard.runner.packing import pack

MAX_KEY_CHARS = 512
LIMIT_BYTES = 5 << 30


class CacheKeyError(ValueError):
    """The key cannot be used."""


class Cache:
    """A folder of zips. `keep_bytes` bounds it: the longest unused go first."""

    def __init__(self, folder: Path, keep_bytes: int = 20 << 30) -> None:
        self._folder = folder
        self._keep_bytes = keep_bytes

    def restore(
        self, project_id: int, protected: bool, keys: Iterable[str], into: Path, uid: int | None
    ) -> str | None:
        """Unpacks the first key that is there; answers it."""
        for key in keys:
            path = self._path(project_id, protected, key)
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            with file:
                unpack(file, into, uid=uid, limit_bytes=LIMIT_BYTES)
            with suppress(OSError):
                os.utime(path)
            return key
        return None

    def save(self, project_id: int, protected: bool, key: str, root: Path, choice: Choice) -> int:
        """Packs the choice as this key's newest content; answers its size in bytes."""
        path = self._path(project_id, protected, key)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix="new-", delete=False) as file:
            try:
                pack(root, choice.paths, file)  # type: ignore[arg-type]
                size = file.tell()
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        self._bound()
        return size

    def _path(self, project_id: int, protected: bool, key: str) -> Path:
        if not key or len(key) > MAX_KEY_CHARS or any(ord(c) < 32 for c in key):
            raise CacheKeyError(f"a cache key has 1 to {MAX_KEY_CHARS} characters and no line breaks")
        scope = "protected" if protected else "open"
        name = hashlib.sha256(f"{scope}\0{key}".encode()).hexdigest()
        return self._folder / str(project_id) / f"{name}.zip"

    def _bound(self) -> None:
        found = [(p.stat().st_mtime, p.stat().st_size, p) for p in self._folder.glob("*/*.zip")]
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._keep_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size
