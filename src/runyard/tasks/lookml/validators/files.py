"""Files of a project that are not LookML: its style configuration, dashboards, exported content. Never outside the project, never too large."""

from __future__ import annotations

from pathlib import Path

MAX_BYTES = 8 << 20


def read(root: Path, path: str) -> bytes | None:
    """The file's bytes; None when it is not there, is too large, or is a link that leads out of the project."""
    full = root / path
    try:
        if not full.resolve().is_relative_to(root.resolve()) or not full.is_file():
            return None
        return full.read_bytes() if full.stat().st_size <= MAX_BYTES else None
    except OSError:
        return None
