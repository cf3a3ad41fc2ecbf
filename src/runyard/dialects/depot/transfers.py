"""Signed links of cache entries: PUT of a part, GET of a whole entry, both without a header that says who
(contracts/depot.md §5). Called by routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import Request

from runyard.dialects.depot import ids
from runyard.dialects.depot.cache import ENTRY, MOST_PARTS, PART, PART_BYTES, PATH
from runyard.dialects.depot.downloads import is_signed
from runyard.engine.ports import BlobRef, Page, Tx
from runyard.http.bodies import stream
from runyard.http.front import Receive, Scope, Send, plain
from runyard.http.giving import OPAQUE, give
from runyard.http.services import Services
from runyard.model.errors import NotFound
from runyard.model.work import Record


@dataclass(frozen=True, slots=True)
class Transfers:
    """An ASGI application for `/depot/cache/<entry>[/<part>]?expires=…&signature=…`."""

    services: Services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """403 for a link that is not (or no longer) valid, 404 for what is gone."""
        name, _, number = scope["path"].removeprefix(PATH).partition("/")
        methods = ("PUT",) if number else ("GET", "HEAD")
        if scope["method"] not in methods:
            return await plain(send, 405, {"message": "method not allowed"}, {"Allow": ", ".join(methods)})
        entry_id = self._signed(scope, name, number)
        if entry_id is None:
            return await plain(send, 403, {"message": "this link is not valid or has expired"})
        entry = await self.services.db.read(lambda tx: tx.get(Record, entry_id))
        if entry is None or entry.kind != ENTRY:
            return await plain(send, 404, {"message": "cache entry not found"})
        if number:
            return await self._take(entry, int(number), Request(scope, receive), send)
        return await self._give(entry, scope["method"], send)

    def _signed(self, scope: Scope, name: str, number: str) -> int | None:
        if number and not (number.isascii() and number.isdigit() and 1 <= int(number[:3]) <= MOST_PARTS):
            return None
        try:
            _, entry_id = ids.hear(name, ids.Kind.CACHE_ENTRY)
        except NotFound:
            return None
        text = f"depot-cache:{entry_id}" + (f"/{number}" if number else "")
        return entry_id if is_signed(self.services, scope, text) else None

    async def _take(self, entry: Record, number: int, request: Request, send: Send) -> None:
        """Blob first, record second; the same part again replaces the former. The answer's ETag is what
        FinalizeEntry must name."""
        if entry.data.get("blob"):
            return await plain(send, 409, {"message": "this entry is complete"})
        blob = await self._stored(stream(request, PART_BYTES))
        now = self.services.now()

        def note(tx: Tx) -> bool:
            still = tx.get(Record, entry.id)
            if still is None or still.data.get("blob"):
                return False
            for old in tx.records(PART, None, f"{entry.id}/{number}", Page(limit=1)):
                tx.remove(Record, old.id)
            data = {"blob": blob.key, "size_bytes": blob.size_bytes, "etag": f"{number}-{blob.sha256}"}
            tx.add(Record(0, PART, None, f"{entry.id}/{number}", data, now, now))
            return True

        if not await self.services.db.write(note):
            return await plain(send, 409, {"message": "this entry is complete or gone"})
        return await plain(send, 200, {}, {"ETag": f'"{number}-{blob.sha256}"'})

    async def _stored(self, pieces: AsyncIterator[bytes]) -> BlobRef:
        data = [piece async for piece in pieces]
        return await asyncio.to_thread(self.services.blobs.put, data)

    async def _give(self, entry: Record, method: str, send: Send) -> None:
        blob = str(entry.data.get("blob") or "")
        if not blob:
            return await plain(send, 404, {"message": "cache entry not found"})
        return await give(send, self.services.blobs, blob, int(entry.data["size_bytes"]), OPAQUE, method)
