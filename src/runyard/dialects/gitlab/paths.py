"""Paths as GitLab's router sees them: split at real slashes first, decoded after. Wraps the dispatcher;
called by mount.

`group%2Fproject` must stay one segment and `feat/x` two (contracts/gitlab.md §1.0), but frameworks match on
the decoded path. So an encoded slash travels as a control character that no path may contain, and
`Entry.part` turns it back. Everything is decoded exactly once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from runyard.dialects.gitlab.desk import SLASH
from runyard.dialects.gitlab.refusals import answer_json

Scope = MutableMapping[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]


class SegmentPaths:
    """The ASGI wrapper."""

    def __init__(self, app: Asgi) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Requests whose path cannot be text, or holds control characters, do not exist."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        raw = scope.get("raw_path") or scope["path"].encode()
        path = segmented(raw.split(b"?", 1)[0])
        if path is None:
            await answer_json({"error": "404 Not Found"}, 404)(scope, receive, send)
            return
        shown = raw.split(b"?", 1)[0].decode("ascii", "replace")
        await self.app({**scope, "path": path, "root_path": "", "runyard.path": shown}, receive, send)


def segmented(raw: bytes) -> str | None:
    """The decoded path with SLASH for encoded slashes; None when it is no text or has control characters."""
    if b"%" not in raw and raw.isascii():
        plain = raw.decode("ascii")
        return plain if plain.isprintable() else None
    parts = []
    for part in raw.split(b"/"):
        try:
            text = unquote_to_bytes(part).decode("utf-8")
        except UnicodeDecodeError:
            return None
        if any(ord(c) < 32 or ord(c) == 127 for c in text):
            return None
        parts.append(text.replace("/", SLASH))
    return "/".join(parts)
