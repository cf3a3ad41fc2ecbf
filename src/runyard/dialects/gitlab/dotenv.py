"""A dotenv report as variables. Called when a runner uploads one. Rules are GitLab's (contracts/gitlab.md §2.6); pure."""

from __future__ import annotations

import re

from runyard.model.errors import Invalid

MOST = 20
_KEY = re.compile(r"[A-Za-z0-9_]+")


def parse_dotenv(data: bytes) -> dict[str, str]:
    """Lines `KEY=VALUE`, split at the first `=`, no quoting; the last of equal keys wins. Anything else is `Invalid Format`."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid("Invalid Format") from None
    found: dict[str, str] = {}
    for line in text.split("\n"):
        stripped = line.strip()
        if not stripped:
            continue
        key, equals, value = stripped.partition("=")
        if not equals or not _KEY.fullmatch(key) or "\x00" in value:
            raise Invalid("Invalid Format")
        found[key] = value
    if len(found) > MOST:
        raise Invalid(f"Dotenv files cannot have more than {MOST} variables")
    return found
