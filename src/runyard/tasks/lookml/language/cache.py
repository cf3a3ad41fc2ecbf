"""What a run of the LookML checks may keep for the next: outlines of files and findings of units, by digests
of all that they depend on.

In memory for one run, or in a folder over runs (`Cache(folder)`). A folder may be lost, cut short or written
by a stranger: what cannot be read is as if it was not there. It is JSON and nothing in it is executed. Keys
carry a digest of this program's own code.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from runyard.tasks.lookml.language.findings import Finding
from runyard.tasks.lookml.language.outline import Outline, packed, packed_finding, unpacked, unpacked_finding

MAX_ENTRIES = 200_000
MAX_BYTES = 256 << 20
NAME = "lookml-cache.json"
_BROKEN = (KeyError, TypeError, ValueError, IndexError)


@lru_cache(maxsize=1)
def program() -> str:
    """A digest of the code whose results are kept."""
    here = Path(__file__).parents[1]
    facts = sorted((p.as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in here.rglob("*.py"))
    return digest(repr(facts))


def digest(*parts: str) -> str:
    """One text for several; each part is measured, so that no two lists of parts meet."""
    made = hashlib.sha1(usedforsecurity=False)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        made.update(b"%d:" % len(data))
        made.update(data)
    return made.hexdigest()


class Cache:
    """Outlines and findings by digest. `keep()` writes what this run used."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._outlines: dict[str, Any] = {}
        self._findings: dict[str, Any] = {}
        self._used: dict[str, dict[str, Any]] = {"outlines": {}, "findings": {}}
        self._made: dict[str, list[Finding]] = {}
        if folder is not None:
            self._read(folder / NAME)

    def _read(self, file: Path) -> None:
        with contextlib.suppress(OSError, *_BROKEN, RecursionError):
            if file.stat().st_size > MAX_BYTES:
                return
            data = json.loads(file.read_bytes())
            if data["program"] == program():
                self._outlines, self._findings = dict(data["outlines"]), dict(data["findings"])

    def outline(self, key: str, path: str) -> Outline | None:
        """The outline kept for a file."""
        data = self._outlines.get(key)
        if data is None:
            return None
        try:
            found = unpacked(data, path)
        except _BROKEN:
            return None
        self._used["outlines"][key] = data
        return found

    def keep_outline(self, key: str, outline: Outline) -> None:
        """Keeps a file's outline for the next run."""
        if self.folder is not None:
            self._used["outlines"][key] = packed(outline)

    def findings(self, key: str, make: Callable[[], Iterable[Finding]]) -> list[Finding]:
        """The findings kept for a unit, or made now."""
        made = self._made.get(key)
        if made is not None:
            return made
        data = self._findings.get(key)
        found: list[Finding] | None = None
        if data is not None:
            with contextlib.suppress(*_BROKEN):
                found = [unpacked_finding(f) for f in data]
        if found is None:
            found = list(make())
        self._made[key] = found
        if self.folder is not None:
            self._used["findings"][key] = data if data is not None else [packed_finding(f) for f in found]
        return found

    def keep(self) -> None:
        """Writes the folder's file anew, whole or not at all; a folder that cannot be written is no error."""
        if self.folder is None or sum(len(v) for v in self._used.values()) > MAX_ENTRIES:
            return
        text = json.dumps({"program": program(), **self._used}, separators=(",", ":"), ensure_ascii=False)
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=NAME)
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogatepass") as file:
                file.write(text)
            Path(name).replace(self.folder / NAME)
