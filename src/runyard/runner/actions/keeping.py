"""actions/cache as a built-in step: which files, how they are packed, what the server is asked. Called by
`builtins.py`.

Paths may lie in the workspace (or beside it, in $RUNNER_TEMP) and in the home folder, nowhere else: nothing
else outlives a step. An archive is two zips, one per place, behind the length of the first. The entries are
those of `engine.caches`, which alone decides who reads what.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from runyard.model.errors import RunyardError
from runyard.model.plan import Assignment
from runyard.model.state import Outcome, Reason
from runyard.runner.artifacts import Choice, choose, unpack
from runyard.runner.link import Link, Sought
from runyard.runner.packing import pack
from runyard.runner.steps import Ended, Scene
from runyard.syntax.archives import ArchiveError

LIMIT_BYTES = 20 << 30
_LENGTH = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Keeping:
    """Restore and save for one attempt."""

    link: Link
    work: Assignment
    spool: Path

    def restore(self, scene: Scene, params: Mapping[str, Any]) -> Ended:
        """Outputs as the action's: `cache-hit` ('' when nothing was found), `cache-matched-key`,
        `cache-primary-key`."""
        key, fallback = str(params["key"]), tuple(map(str, params["fallback_keys"]))
        sought = Sought(key, _version(params), fallback, look_only=bool(params["lookup_only"]))
        primary = {"cache-primary-key": key}
        try:
            found = self.link.cache_find(self.work, sought)
        except RunyardError as error:
            scene.log.system(f"##[warning]Failed to restore: {error.message}")
            found = None
        if found is None:
            wanted = ", ".join((key, *fallback))
            if params["fail_on_miss"]:
                message = (
                    f"Failed to restore cache entry. Exiting as fail-on-cache-miss is set. Input key: {key}"
                )
                scene.log.system(f"##[error]{message}")
                return Ended(Outcome.FAILED, Reason.SCRIPT, message=message, outputs=primary)
            scene.log.system(f"Cache not found for input keys: {wanted}")
            return Ended(Outcome.PASSED, outputs={**primary, "cache-hit": ""})
        matched, file = found
        if file is None:
            scene.log.system(f"Cache found and can be restored from key: {matched}")
        else:
            with file:
                try:
                    self._unpack(scene, file)
                except (ArchiveError, struct.error, ValueError) as error:
                    scene.log.system(f"##[warning]The cache {matched} cannot be unpacked: {error}")
                    return Ended(Outcome.PASSED, outputs={**primary, "cache-hit": ""})
            scene.log.system(f"Cache restored from key: {matched}")
        hit = {"cache-hit": "true" if matched == key else "false", "cache-matched-key": matched}
        return Ended(Outcome.PASSED, outputs={**primary, **hit})

    def save(self, scene: Scene, params: Mapping[str, Any]) -> Ended:
        """A key that is there already stays as it is; trouble here never fails a job, as at the vendor's."""
        key = str(params["key"])
        choices = [
            choose(root, patterns, exclude, inside)
            for root, inside, patterns, exclude in _places(scene, params)
        ]
        for choice in choices:
            for warning in choice.warnings:
                scene.log.system(f"##[warning]{warning}")
        if not any(choice.paths for choice in choices):
            scene.log.system(
                "##[warning]Path Validation Error: Path(s) specified in the action for caching do(es) not exist, hence no cache is being saved."
            )
            return Ended(Outcome.PASSED)
        self.spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self.spool) as folder:
            file = Path(folder) / "cache"
            _write(scene, choices, file)
            try:
                kept = self.link.cache_keep(self.work, key, _version(params), file)
            except RunyardError as error:
                scene.log.system(f"##[warning]Failed to save: {error.message}")
                return Ended(Outcome.PASSED)
        scene.log.system(
            f"Cache saved with key: {key}"
            if kept
            else f"Failed to save: a cache with the key {key} exists already or is being made"
        )
        return Ended(Outcome.PASSED)

    @staticmethod
    def _unpack(scene: Scene, file: BinaryIO) -> None:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        (first,) = _LENGTH.unpack(file.read(_LENGTH.size))
        begin = _LENGTH.size
        if first > size - begin:
            raise ValueError("the archive is cut short")
        pieces = ((begin, first), (begin + first, size - begin - first))
        for (start, length), root in zip(
            pieces, (scene.box.outside.builds, scene.box.outside.home), strict=True
        ):
            if length:
                unpack(
                    cast(BinaryIO, _Segment(file, start, length)),
                    Path(root),
                    uid=scene.box.uid,
                    limit_bytes=LIMIT_BYTES,
                )


class _Segment(io.RawIOBase):
    """A part of a file as a file."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file, self._start, self._length, self._at = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, min(self._length, base + offset))
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = self._length - self._at
        wanted = left if size < 0 else min(size, left)
        self._file.seek(self._start + self._at)
        data = self._file.read(wanted)
        self._at += len(data)
        return data


def _version(params: Mapping[str, Any]) -> str:
    """What of the inputs makes archives of one key different ones."""
    said = "\0".join(
        ["runyard-1", *map(str, params["paths"]), "!", *map(str, params["exclude"]), str(params["cross_os"])]
    )
    return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()


_Place = tuple[Path, str, list[str], list[str]]


def _places(scene: Scene, params: Mapping[str, Any]) -> tuple[_Place, _Place]:
    """(folder, its name inside, patterns, exclusions) of /builds and of home."""
    inside, outside = scene.box.inside, scene.box.outside
    found: tuple[_Place, _Place] = (
        (Path(outside.builds), inside.builds, [], []),
        (Path(outside.home), inside.home, [], []),
    )
    for name, part in (("paths", 2), ("exclude", 3)):
        for given in map(str, params[name]):
            path = _absolute(given, inside.home, inside.workspace)
            which = 1 if path == inside.home or path.startswith(inside.home + "/") else 0
            target = found[which][part]
            if isinstance(target, list):
                target.append(path)
    return found


def _absolute(given: str, home: str, workspace: str) -> str:
    if given == "~" or given.startswith("~/"):
        return home + given[1:]
    return given if given.startswith("/") else f"{workspace}/{given.removeprefix('./')}"


def _write(scene: Scene, choices: Sequence[Choice], target: Path) -> None:
    with target.open("w+b") as out:
        out.write(_LENGTH.pack(0))
        first = 0
        for number, (choice, root) in enumerate(
            zip(choices, (scene.box.outside.builds, scene.box.outside.home), strict=True)
        ):
            with tempfile.TemporaryFile(dir=target.parent) as part:
                if choice.paths:
                    pack(Path(root), list(choice.paths), part)
                length = part.seek(0, os.SEEK_END)
                part.seek(0)
                shutil.copyfileobj(part, out, 1 << 20)
            first = length if number == 0 else first
        out.seek(0)
        out.write(_LENGTH.pack(first))
