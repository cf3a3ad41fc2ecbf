"""A project's files as bytes, under budgets: walked from a folder or given in memory. Called by `project`.

Stays inside the folder: links that lead out are not followed. Folders that start with "." are not part of a
project.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from runyard.tasks.lookml.language.findings import Finding, Severity

MAX_FILES = 20_000
MAX_FILE_BYTES = 8 << 20
MAX_TOTAL_BYTES = 256 << 20
SKIPPED_FOLDERS = frozenset({"node_modules"})
IMPORTED = "imported_projects/"


def walk(root: Path, findings: list[Finding]) -> Iterator[tuple[str, Path]]:
    """(path from the root with forward slashes, where it is) of every file, sorted."""
    found: list[str] = []
    for folder, folders, files in os.walk(root, followlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in SKIPPED_FOLDERS)
        prefix = os.path.relpath(folder, root).replace(os.sep, "/")
        found.extend(f if prefix == "." else f"{prefix}/{f}" for f in files)
        if len(found) > MAX_FILES:
            findings.append(Finding("too_large", f"more than {MAX_FILES} files", Severity.FATAL))
            break
    return ((path, root / path) for path in sorted(found[:MAX_FILES]))


def read(full: Path, path: str, root: Path, findings: list[Finding]) -> bytes | None:
    """The file's bytes; None (with a finding) when it is too large or a link that leads out of the
    project."""
    if full.is_symlink() and not full.resolve().is_relative_to(root.resolve()):
        problem = "is a link that leads out of the project"
    elif not full.is_file():
        problem = "is not a regular file"
    elif full.stat().st_size > MAX_FILE_BYTES:
        problem = f"is larger than {MAX_FILE_BYTES >> 20} MiB"
    else:
        return full.read_bytes()
    findings.append(unreadable(path, problem))
    return None


def decoded(data: bytes, path: str, findings: list[Finding]) -> str | None:
    """The text of UTF-8 bytes, with line ends as \\n; None (with a finding) when it is not UTF-8."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        findings.append(unreadable(path, f"is not UTF-8 (byte {error.start})"))
        return None


def unreadable(path: str, problem: str) -> Finding:
    """A finding about a whole file."""
    return Finding("unreadable", f"the file {problem}", Severity.FATAL, path, 1, 1)


def blob_id(data: bytes) -> str:
    """The id that git gives these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def home(path: str) -> str:
    """The root that "/" means in this file: an imported project's own folder, or "" for the project's."""
    if not path.startswith(IMPORTED):
        return ""
    parts = path.split("/")
    return "/".join(parts[:2]) if len(parts) > 2 else ""
