"""Blob keys: `ab/abcdef…`, 128 random bits. Called by folder.py and bucket.py."""

from __future__ import annotations

import re
import secrets

from runyard.model.errors import NotFound

_KEY = re.compile(r"[0-9a-f]{2}/[0-9a-f]{32}\Z")


def new_key() -> str:
    name = secrets.token_hex(16)
    return f"{name[:2]}/{name}"


def checked(key: str) -> str:
    """The key itself; NotFound for anything that `new_key` cannot have made (`../`, empty, foreign)."""
    if not _KEY.match(key):
        raise NotFound("There is no such blob.")
    return key
