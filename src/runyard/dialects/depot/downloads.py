"""Artifacts by signed link, without a header: what GetArtifactDownloadURL points at. Called by routes.

The link is an HMAC over the artifact and its expiry; the answer never shows in a browser as a page of this origin.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qs, quote

from runyard.dialects.depot import ids
from runyard.dialects.depot.asking import DOWNLOAD_PATH
from runyard.http.front import Receive, Scope, Send, plain
from runyard.http.services import Services
from runyard.model.errors import NotFound
from runyard.model.work import Artifact

TYPES = {"zip": b"application/zip", "gzip": b"application/gzip"}


@dataclass(frozen=True, slots=True)
class Downloads:
    """An ASGI application for `/depot/artifacts/<id>?expires=…&signature=…`."""

    services: Services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The bytes, 403 for a link that is not (or no longer) valid, 404 for an artifact that is gone."""
        if scope["method"] not in ("GET", "HEAD"):
            return await plain(send, 405, {"message": "method not allowed"}, {"Allow": "GET, HEAD"})
        number = self._signed(scope)
        if number is None:
            return await plain(send, 403, {"message": "this link is not valid or has expired"})
        row = await self.services.db.read(lambda tx: tx.get(Artifact, number))
        if row is None:
            return await plain(send, 404, {"message": "artifact not found"})
        await send({"type": "http.response.start", "status": 200, "headers": _headers(row)})
        if scope["method"] == "GET":
            async for piece in self._pieces(row):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        return await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _signed(self, scope: Scope) -> int | None:
        try:
            _, number = ids.hear(scope["path"].removeprefix(DOWNLOAD_PATH), ids.Kind.ARTIFACT)
        except NotFound:
            return None
        return number if is_signed(self.services, scope, f"depot-artifact:{number}") else None

    async def _pieces(self, row: Artifact) -> AsyncIterator[bytes]:
        pieces = await asyncio.to_thread(self.services.blobs.open, row.blob)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece


def is_signed(services: Services, scope: Scope, text: str) -> bool:
    """Whether the query's `expires` and `signature` are ours for this text, and still valid."""
    try:
        query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=10)
    except ValueError:
        return False
    expires, signature = query.get("expires", [""])[0], query.get("signature", [""])[0]
    if not (expires.isascii() and expires.isdigit() and len(expires) < 16):
        return False
    wanted = services.sign(text, int(expires))
    is_ours = hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace"))
    return is_ours and int(expires) > services.now()


def _headers(row: Artifact) -> list[tuple[bytes, bytes]]:
    suffix = {"zip": ".zip", "gzip": ".gz"}.get(row.format, "")
    name = row.filename or (row.name if row.name.endswith(suffix) else row.name + suffix)
    shown = "".join(
        char if char.isascii() and char.isprintable() and char not in '"\\' else "_" for char in name
    )
    disposition = f"attachment; filename=\"{shown}\"; filename*=UTF-8''{quote(name, safe='')}"
    return [
        (b"content-type", TYPES.get(row.format, b"application/octet-stream")),
        (b"content-length", str(row.size_bytes).encode()),
        (b"content-disposition", disposition.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
        (b"cache-control", b"private, no-store"),
    ]
