"""Answers that clients poll, kept for as long as nothing was written and one second at most. Wraps the whole door; made by routes.mount.

Dashboards, `glab ci status` and scripts ask for the same page again and again, mostly while nothing has changed. An answer is used again only for the
same path, query and credentials, and only while the database has the version that was read before the answer was made (`Database.version`), so nobody
ever sees less than what was acknowledged to anyone. The second bounds what depends on the clock: durations, runners online, expiring tokens.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from runyard.engine.ports import Clock, Database

Scope = MutableMapping[str, Any]
Key = tuple[bytes, ...]
KEPT = "runyard.kept"  # in the scope: where the dispatcher leaves a response that may be kept
LIFE_MS = 1000
MOST, MOST_BYTES = 256, 256 << 10
_CREDENTIALS = frozenset({b"private-token", b"authorization", b"job-token"})


@dataclass(frozen=True, slots=True)
class _Kept:
    response: Response
    version: int
    until: int


class Recent:
    """The ASGI wrapper."""

    def __init__(self, app: Any, db: Database, now: Clock) -> None:
        self._app = app
        self._version: Callable[[], int | None] = db.version
        self._now = now
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Other methods than GET pass through."""
        version = self._version() if scope["type"] == "http" and scope["method"] == "GET" else None
        if version is None:
            await self._app(scope, receive, send)
            return
        key, now = _key(scope), self._now()
        kept = self._kept.get(key)
        if kept is not None and kept.version == version and 0 <= kept.until - now <= LIFE_MS:
            await kept.response(scope, receive, send)
            return
        left: list[Response] = []
        scope[KEPT] = left
        await self._app(scope, receive, send)
        if left and len(left[0].body) <= MOST_BYTES:
            self._kept[key] = _Kept(left[0], version, now + LIFE_MS)
            self._kept.move_to_end(key)
            if len(self._kept) > MOST:
                self._kept.popitem(last=False)


def _key(scope: Scope) -> Key:
    told = [part for pair in scope["headers"] if pair[0].lower() in _CREDENTIALS for part in pair]
    return (scope.get("raw_path") or scope["path"].encode(), scope["query_string"], *told)
