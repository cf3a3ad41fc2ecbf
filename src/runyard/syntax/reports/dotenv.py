"""A dotenv report: variables that a job hands on. Rules are GitLab's (contracts/gitlab.md §2.6)."""

from __future__ import annotations

import re
from collections.abc import Sequence

BYTES = 5 << 10
MOST = 20
TOO_BIG = f"Dotenv Artifact Too Big. Maximum Allowable Size: {BYTES}"
_KEY = re.compile(r"[A-Za-z0-9_]+")


def variables(files: Sequence[bytes]) -> dict[str, str]:
    """Lines `KEY=VALUE`, split at the first `=`, no quoting; the last of equal keys wins. ValueError in
    GitLab's words for anything else."""
    if sum(map(len, files)) > BYTES:
        raise ValueError(TOO_BIG)
    found: dict[str, str] = {}
    for file in files:
        for line in _text(file).split("\n"):
            stripped = line.strip()
            if not stripped:
                continue
            key, equals, value = stripped.partition("=")
            if not equals or not _KEY.fullmatch(key) or "\0" in value:
                raise ValueError("Invalid Format")
            found[key] = value
    if len(found) > MOST:
        raise ValueError(f"Dotenv files cannot have more than {MOST} variables")
    return found


def _text(file: bytes) -> str:
    try:
        return file.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("Invalid Format") from None
