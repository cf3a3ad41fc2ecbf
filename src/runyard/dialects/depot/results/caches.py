"""Caches for actions: Twirp `CacheService` (v2) and the REST calls of v1, over the same entries
(contracts/actions.md §10.2). Called by `door`.

What may be read and written where is `engine.caches`' business alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runyard.dialects.depot.downloads import is_signed
from runyard.dialects.depot.results import uploads
from runyard.dialects.depot.results.callers import Caller
from runyard.engine import caches
from runyard.engine.caches import Wanted
from runyard.engine.ports import Tx
from runyard.http.front import Receive, Scope, Send, plain
from runyard.http.giving import OPAQUE, give
from runyard.http.services import Services
from runyard.model.errors import Conflict, Invalid, NotFound
from runyard.model.work import Record

PATH = "/_results/caches/"
DOWNLOAD_S = 3600
Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Caches:
    """One method each."""

    services: Services

    async def get_cache_entry_download_url(self, who: Caller, body: Body) -> Body:
        """`ok` false: there is none, which is no error."""
        wanted = Wanted(_text(body, "key"), _text(body, "version"), _texts(body.get("restore_keys")))
        found = await self.find(who, wanted)
        if found is None:
            return {"ok": False, "signed_download_url": "", "matched_key": ""}
        return {"ok": True, "signed_download_url": self.link(who, found), "matched_key": found.data["key"]}

    async def create_cache_entry(self, who: Caller, body: Body) -> Body:
        """`ok` false: it is there already or being made; the client then keeps what there is."""
        try:
            upload = await self.reserve(who, _text(body, "key"), _text(body, "version"))
        except Conflict as error:
            return {"ok": False, "signed_upload_url": "", "message": error.message}
        return {"ok": True, "signed_upload_url": uploads.link(self.services, who, upload)}

    async def finalize_cache_entry_upload(self, who: Caller, body: Body) -> Body:
        """The entry can be found from now on."""
        size = str(body.get("size_bytes") or "0")
        if not (size.isascii() and size.isdigit() and len(size) < 19):
            raise Invalid("size_bytes must be a number")
        number = await self.complete(who, _text(body, "key"), _text(body, "version"), int(size))
        return {"ok": True, "entry_id": str(number)}

    async def find(self, who: Caller, wanted: Wanted) -> Record | None:
        """The entry to restore."""
        now = self.services.now()
        return await self.services.db.write(lambda tx: caches.find(tx, who.attempt, wanted, now))

    def link(self, who: Caller, entry: Record) -> str:
        """Where an entry's bytes are for an hour."""
        expires = self.services.now() + DOWNLOAD_S * 1000
        return f"{who.base}{PATH}{entry.id}?expires={expires}&signature={self.services.sign(f'actions-cache:{entry.id}', expires)}"

    async def reserve(self, who: Caller, key: str, version: str) -> Record:
        """The upload of a fresh reservation; Conflict when the key is taken."""
        now = self.services.now()

        def make(tx: Tx) -> Record:
            entry = caches.reserve(tx, who.attempt, key, version, now)
            upload = uploads.begin(tx, who.attempt, "cache", caches.KEEP_BYTES, now)
            tx.save(replace(entry, data={**entry.data, "upload": upload.id}))
            return upload

        return await self.services.db.write(make)

    async def complete(self, who: Caller, key: str, version: str, size: int) -> int:
        """The entry's number."""
        now = self.services.now()
        return await self.services.db.write(
            lambda tx: _completed(tx, who, caches.reserved(tx, who.attempt, key, version), size, now)
        )

    # version 1

    async def v1_find(self, who: Caller, keys: Sequence[str], version: str) -> Body | None:
        """The first key is the key, the others restore keys."""
        found = await self.find(who, Wanted(keys[0] if keys else "", version, tuple(keys[1:])))
        if found is None:
            return None
        return {
            "archiveLocation": self.link(who, found),
            "cacheKey": found.data["key"],
            "scope": found.data["scope"],
            "cacheVersion": version,
        }

    async def v1_commit(self, who: Caller, upload_id: int, size: int) -> None:
        """Chunks, by their first byte, become the entry."""
        blocks = await self.services.db.read(lambda tx: uploads.offsets(tx, who.attempt, upload_id))
        at = 0
        for start, length in blocks:
            if start != at:
                raise Invalid(f"bytes from {at} on are missing")
            at += length
        if at != size:
            raise Invalid(f"{at} bytes were uploaded, not {size}")
        joined = uploads.Uploads(self.services)
        await joined.join(upload_id, [uploads.offset_name(start) for start, _ in blocks])
        now = self.services.now()

        def finish(tx: Tx) -> None:
            entry = next(
                (r for r in caches.open_entries(tx, who.attempt) if r.data.get("upload") == upload_id), None
            )
            if entry is None:
                raise NotFound("no such reservation")
            _completed(tx, who, entry, size, now)

        await self.services.db.write(finish)


def _completed(tx: Tx, who: Caller, entry: Record, size: int, now: int) -> int:
    upload = uploads.finished(tx, who.attempt, int(entry.data.get("upload") or 0))
    if int(upload.data["size_bytes"]) != size:
        raise Invalid(f"{upload.data['size_bytes']} bytes were uploaded, not {size}")
    caches.complete(tx, entry, str(upload.data["blob"]), size, now)
    uploads.drop(tx, upload)
    return entry.id


def _text(body: Body, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Invalid(f"{name} must be given")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Invalid("restore_keys must be a list of texts")
    return tuple(value)


@dataclass(frozen=True, slots=True)
class Downloads:
    """An ASGI application for `/_results/caches/<id>?expires=…&signature=…`."""

    services: Services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The bytes, 403 for a link that is not (or no longer) valid."""
        if scope["method"] not in ("GET", "HEAD"):
            return await plain(send, 405, {"message": "method not allowed"}, {"Allow": "GET, HEAD"})
        name = scope["path"].removeprefix(PATH)
        number = int(name) if name.isascii() and name.isdigit() and len(name) < 19 else 0
        if not number or not is_signed(self.services, scope, f"actions-cache:{number}"):
            return await plain(send, 403, {"message": "this link is not valid or has expired"})
        entry = await self.services.db.read(lambda tx: tx.get(Record, number))
        if entry is None or entry.kind != caches.ENTRY or not entry.data.get("blob"):
            return await plain(send, 404, {"message": "this cache entry is gone"})
        blob, size_bytes = str(entry.data["blob"]), int(entry.data["size_bytes"])
        return await give(send, self.services.blobs, blob, size_bytes, OPAQUE, scope["method"])
