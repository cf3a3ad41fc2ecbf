"""What the server reads out of a job's bytes on the runner's side: dotenv variables and the coverage figure. Pure but for reading the file."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from runyard.model.errors import Invalid
from runyard.syntax import patterns

DOTENV_BYTES = 5 << 10
DOTENV_VARIABLES = 20
TAIL_BYTES = 1 << 20
_KEY = re.compile(r"[A-Za-z0-9_]+")
_ESCAPES = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]|\r")
_NUMBER = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,10})?")


def dotenv_variables(file: Path) -> dict[str, str]:
    """`KEY=VALUE` lines of a (gzipped) dotenv report, by GitLab's rules: no quoting, last wins (contracts/gitlab.md §2.6)."""
    data = file.read_bytes() if file.stat().st_size <= 64 << 10 else b""
    try:
        text = zlib.decompressobj(47).decompress(data, DOTENV_BYTES + 1) if data[:2] == b"\x1f\x8b" else data
        lines = text.decode("utf-8-sig").split("\n")
    except (zlib.error, UnicodeDecodeError):
        raise Invalid("dotenv: Invalid Format") from None
    if not data or len(text) > DOTENV_BYTES:
        raise Invalid("dotenv: the file is empty or too big")
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, lines)):
        key, equals, value = line.partition("=")
        if not equals or not _KEY.fullmatch(key) or "\0" in value:
            raise Invalid("dotenv: Invalid Format")
        found[key] = value
    if len(found) > DOTENV_VARIABLES:
        raise Invalid(f"dotenv: more than {DOTENV_VARIABLES} variables")
    return found


def coverage(pattern: str, tail: bytes) -> float | None:
    """The number in the last matching line of a log's tail; a group narrows the match (GitLab: the last group counts)."""
    try:
        machine = patterns.compile(pattern.strip("/"))
    except patterns.PatternError:
        return None
    for line in reversed(_ESCAPES.sub(b"", tail).decode("utf-8", "replace").splitlines()):
        match = machine.first(line)
        if match is not None:
            groups = [group for group in match[1:] if group]
            number = _NUMBER.search(groups[-1] if groups else match[0] or "")
            if number is not None:
                return min(100.0, float(number.group(0)))
    return None
