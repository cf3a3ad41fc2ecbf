"""Artifacts by signed link, without a header: what GetArtifactDownloadURL points at. Called by routes.

The link is an HMAC over the artifact and its expiry; the answer never shows in a browser as a page of this
origin.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from urllib.parse import parse_qs

from runyard.dialects.depot import ids
from runyard.dialects.depot.asking import DOWNLOAD_PATH
from runyard.http.front import Receive, Scope, Send, plain
from runyard.http.giving import OPAQUE, attachment, give
from runyard.http.services import Services
from runyard.model.errors import NotFound
from runyard.model.work import Artifact

TYPES = {"zip": "application/zip", "gzip": "application/gzip"}


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
        if row is None or row.is_over(self.services.now()):
            return await plain(send, 404, {"message": "artifact not found"})
        return await give(send, self.services.blobs, row.blob, row.size_bytes, _headers(row), scope["method"])

    def _signed(self, scope: Scope) -> int | None:
        try:
            _, number = ids.hear(scope["path"].removeprefix(DOWNLOAD_PATH), ids.Kind.ARTIFACT)
        except NotFound:
            return None
        return number if is_signed(self.services, scope, f"depot-artifact:{number}") else None


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


def _headers(row: Artifact) -> dict[str, str]:
    suffix = {"zip": ".zip", "gzip": ".gz"}.get(row.format, "")
    name = row.filename or (row.name if row.name.endswith(suffix) else row.name + suffix)
    return {
        **OPAQUE,
        "content-type": TYPES.get(row.format, OPAQUE["content-type"]),
        "content-disposition": attachment(name),
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
    }
