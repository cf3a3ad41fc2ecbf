"""`depot.cache.v1.CacheService`: entries that clients upload in parts and fetch by key (contracts/depot.md
§5, §6). Called by routes and acting.

An entry belongs to who made it: its key is unique per person, so that nobody reads or replaces another's
local changes by guessing a key. It is a Record (`depot.cache`), each uploaded part one of its own
(`depot.cache.part`) until the entry is finalized. Blob first, record second.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from protobuf.wkt import Timestamp

from runyard.dialects.depot import ids
from runyard.dialects.depot.access import asker, require_person
from runyard.dialects.depot.gen.depot.cache.v1 import cache_pb as pb
from runyard.dialects.depot.gen.depot.cache.v1.cache_connect import CacheService
from runyard.engine.ports import Page, Tx
from runyard.http.services import Principal, Services
from runyard.model.errors import Conflict, Invalid, NotFound
from runyard.model.work import Record

ENTRY, PART, SEGMENT = "depot.cache", "depot.cache.part", "depot.cache.segment"
PATH = "/depot/cache/"
UPLOAD_S, DOWNLOAD_S = 3600, 900
MOST_PARTS = 64
PART_BYTES = 64 << 20
KEEP_S = 7 * 86400  # as Depot's own cache by default
MOST_SEGMENTS = 1000
SCANNED = 20_000
Segments = list[tuple[str, int, int]]
"""(subkey, offset, size) of pieces of an entry that are found by themselves."""
_TYPE = re.compile(r"[a-z0-9_-]{1,40}\Z")
_Ctx = RequestContext[Any, Any]


def record_key(who: Principal, entry_type: str, key: str) -> str:
    """Unique among all entries. Invalid for what cannot be a key."""
    if not _TYPE.match(entry_type):
        raise Invalid("entry_type must be a short lower-case word, as `generic`")
    if not 0 < len(key) <= 512 or any(ord(c) < 32 for c in key):
        raise Invalid("key must have 1 to 512 printable characters")
    return f"{who.user.id}/{entry_type}/{key}"


def find(tx: Tx, who: Principal, entry_type: str, key: str) -> Record | None:
    """The entry, whether its bytes have come or not."""
    found = tx.records(ENTRY, None, record_key(who, entry_type, key), Page(limit=1))
    return found[0] if found else None


def ready(tx: Tx, who: Principal, entry_type: str, key: str) -> Record:
    """An entry that can be fetched; NotFound otherwise."""
    entry = find(tx, who, entry_type, key)
    if entry is None or not entry.data.get("blob"):
        raise NotFound(f"cache entry '{key[:200]}' not found")
    return entry


def patch_blob(tx: Tx, who: Principal, key: str) -> str:
    """Where the patch lies that `Run` names by its key."""
    return str(ready(tx, who, "generic", key).data["blob"])


def mine(tx: Tx, who: Principal, entry_id: str) -> Record:
    """An entry by its id, if this person made it."""
    entry = tx.get(Record, ids.hear(entry_id, ids.Kind.CACHE_ENTRY)[1])
    if entry is None or entry.kind != ENTRY or entry.data["user_id"] != who.user.id:
        raise NotFound("cache entry not found")
    return entry


def parts(tx: Tx, entry_id: int) -> dict[int, Record]:
    """Parts uploaded so far, by their number from 1."""
    named = ((n, tx.records(PART, None, f"{entry_id}/{n}", Page(limit=1))) for n in range(1, MOST_PARTS + 1))
    return {number: found[0] for number, found in named if found}


def entries(tx: Tx, who: Principal, entry_type: str, prefix: str) -> list[Record]:
    """The caller's entries that can be fetched and whose keys begin so, oldest first."""
    start = record_key(who, entry_type, prefix or "-").removesuffix("" if prefix else "-")
    found: list[Record] = []
    last: int | None = None
    for _ in range(SCANNED // 1000):
        page = tx.records(ENTRY, None, None, Page(limit=1000, after_id=last, descending=False))
        found += [entry for entry in page if entry.key.startswith(start) and entry.data.get("blob")]
        if len(page) < 1000:
            break
        last = page[-1].id
    return found


def drop(tx: Tx, entry: Record) -> None:
    """The entry and its parts; their blobs become orphans and are swept."""
    for part in parts(tx, entry.id).values():
        tx.remove(Record, part.id)
    home = f"{entry.data['user_id']}/{entry.data['type']}/"
    for subkey, _, _ in entry.data.get("segments") or ():
        for row in tx.records(SEGMENT, None, home + subkey, Page(limit=1)):
            if row.data["entry"] == entry.id:
                tx.remove(Record, row.id)
    tx.remove(Record, entry.id)


def sweep(tx: Tx, now: int) -> int:
    """Removes entries older than a week; answers how many. A few at a time: the round comes again."""
    old = [
        e
        for e in tx.records(ENTRY, None, None, Page(limit=100, descending=False))
        if e.updated_at < now - KEEP_S * 1000
    ]
    for entry in old:
        drop(tx, entry)
    return len(old)


@dataclass(frozen=True, slots=True)
class Cache(CacheService):
    """The service."""

    services: Services

    async def create_entry(self, request: pb.CreateEntryRequest, ctx: _Ctx, /) -> pb.CreateEntryResponse:
        """A place to upload to. already_exists when the key has its bytes: then nothing needs to be sent."""
        who = _person()
        key = record_key(who, request.entry_type, request.key)
        now = self.services.now()

        def create(tx: Tx) -> Record:
            known = find(tx, who, request.entry_type, request.key)
            if known is not None and (known.data.get("blob") or request.fail_if_upload_in_progress):
                raise ConnectError(Code.ALREADY_EXISTS, f"cache entry '{request.key[:200]}' already exists")
            if known is not None:
                return known
            data = {"user_id": who.user.id, "type": request.entry_type, "key": request.key}
            return tx.add(Record(0, ENTRY, None, key, data, now, now))

        entry = await self.services.db.write(create)
        return pb.CreateEntryResponse(entry_id=_id(entry), upload_part_urls=self._urls(entry, 1, 1))

    async def fetch_more_presigned_ur_ls(
        self, request: pb.FetchMorePresignedURLsRequest, ctx: _Ctx, /
    ) -> pb.FetchMorePresignedURLsResponse:
        """Places for further parts."""
        who = _person()
        entry = await self.services.db.read(lambda tx: mine(tx, who, request.entry_id))
        first, count = request.next_part, request.count
        if not (first >= 1 and count >= 1 and first + count - 1 <= MOST_PARTS):
            raise Invalid(f"parts are numbered from 1 to {MOST_PARTS}")
        return pb.FetchMorePresignedURLsResponse(upload_part_urls=self._urls(entry, first, count))

    async def finalize_entry(
        self, request: pb.FinalizeEntryRequest, ctx: _Ctx, /
    ) -> pb.FinalizeEntryResponse:
        """Joins the parts in the order of their ETags; only now can the entry be fetched. Repeating it
        changes nothing."""
        who = _person()
        if request.children:
            raise ConnectError(Code.UNIMPLEMENTED, "children of entries are not served")
        segments = _segments(request)

        def uploaded(tx: Tx) -> tuple[Record, list[Record]]:
            entry = mine(tx, who, request.entry_id)
            return entry, [] if entry.data.get("blob") else list(parts(tx, entry.id).values())

        entry, there = await self.services.db.read(uploaded)
        if not entry.data.get("blob"):
            entry = await self._finalized(who, request, there, segments)
        return pb.FinalizeEntryResponse(created_at=_time(entry.updated_at), id=_id(entry))

    async def _finalized(
        self, who: Principal, request: pb.FinalizeEntryRequest, there: list[Record], segments: Segments
    ) -> Record:
        by_etag = {str(part.data["etag"]): part for part in there}
        wanted = [by_etag.get(etag.strip('"')) for etag in request.upload_part_etags]
        chosen = [part for part in wanted if part is not None]
        if not chosen or len(chosen) != len(wanted):
            raise Conflict("the parts of this entry are not all uploaded")
        size = sum(int(part.data["size_bytes"]) for part in chosen)
        if size != request.size_bytes:
            raise Invalid(f"size_bytes is {request.size_bytes}, but {size} bytes were uploaded")
        if any(offset + length > size for _, offset, length in segments):
            raise Invalid("a segment reaches beyond the entry")
        blob = str(chosen[0].data["blob"])
        if len(chosen) > 1:
            blob = (await asyncio.to_thread(self.services.blobs.put, self._joined(chosen))).key
        now = self.services.now()

        def finalize(tx: Tx) -> Record:
            entry = mine(tx, who, request.entry_id)
            for part in parts(tx, entry.id).values():
                tx.remove(Record, part.id)
            data = {
                **entry.data,
                "blob": blob,
                "size_bytes": size,
                "name": request.name or "",
                "segments": segments,
            }
            done = replace(entry, data=data, updated_at=now)
            tx.save(done)
            for subkey, _, _ in segments:
                key = record_key(who, str(entry.data["type"]), subkey)
                for old in tx.records(SEGMENT, None, key, Page(limit=1)):
                    tx.remove(Record, old.id)
                tx.add(Record(0, SEGMENT, None, key, {"entry": entry.id}, now, now))
            return done

        return await self.services.db.write(finalize)

    def _joined(self, chosen: list[Record]) -> Iterator[bytes]:
        for part in chosen:
            yield from self.services.blobs.open(str(part.data["blob"]))

    async def get_download_url(
        self, request: pb.GetDownloadURLRequest, ctx: _Ctx, /
    ) -> pb.GetDownloadURLResponse:
        """A signed link."""
        who = asker()
        entry = await self.services.db.read(lambda tx: ready(tx, who, request.entry_type, request.key))
        return pb.GetDownloadURLResponse(
            url=self._link(entry, "", DOWNLOAD_S),
            size_bytes=entry.data["size_bytes"],
            name=entry.data["name"] or None,
        )

    async def get_download_url_by_prefix(
        self, request: pb.GetDownloadURLByPrefixRequest, ctx: _Ctx, /
    ) -> pb.GetDownloadURLByPrefixResponse:
        """The newest entry of the first prefix that has one. The field's name is a plural and its type one
        text: lines, as restore keys are."""
        who = asker()
        prefixes = list(filter(None, request.key_prefixes.splitlines()))
        if not 0 < len(prefixes) <= 100:
            raise Invalid("key_prefixes must have 1 to 100 lines")

        def newest(tx: Tx) -> Record:
            for prefix in prefixes:
                if found := entries(tx, who, request.entry_type, prefix):
                    return max(found, key=lambda entry: (entry.updated_at, entry.id))
            raise NotFound("no cache entry begins so")

        entry = await self.services.db.read(newest)
        return pb.GetDownloadURLByPrefixResponse(
            url=self._link(entry, "", DOWNLOAD_S),
            size_bytes=entry.data["size_bytes"],
            name=entry.data["name"] or None,
            matched_key=str(entry.data["key"]),
        )

    async def get_bundle(self, request: pb.GetBundleRequest, ctx: _Ctx, /) -> pb.GetBundleResponse:
        """The entry that holds a segment, with all its segments: the client fetches the range it wants."""
        who = asker()

        def holder(tx: Tx) -> Record:
            key = record_key(who, request.entry_type, request.subkey)
            for row in tx.records(SEGMENT, None, key, Page(limit=1)):
                entry = tx.get(Record, int(row.data["entry"]))
                if entry is not None and entry.data.get("blob"):
                    return entry
            raise NotFound(f"no cache entry holds '{request.subkey[:200]}'")

        entry = await self.services.db.read(holder)
        segments = [pb.Segment(subkey=k, offset=o, size=s) for k, o, s in entry.data["segments"]]
        return pb.GetBundleResponse(
            url=self._link(entry, "", DOWNLOAD_S),
            key=str(entry.data["key"]),
            size=entry.data["size_bytes"],
            segments=segments,
        )

    async def list_entries(self, request: pb.ListEntriesRequest, ctx: _Ctx, /) -> pb.ListEntriesResponse:
        """The caller's, oldest first; 100 a page, at most 1,000."""
        who = asker()
        size = min(max(request.page_size, 0) or 100, 1000)
        after = _after(request.page_token)
        found = await self.services.db.read(
            lambda tx: entries(tx, who, request.entry_type, request.key_prefix)
        )
        rows = [entry for entry in found if entry.id > after]
        shown = [
            pb.ListEntriesResponse.Entry(
                key=str(entry.data["key"]),
                size_bytes=entry.data["size_bytes"],
                name=entry.data["name"] or None,
                created_at=_time(entry.created_at),
            )
            for entry in rows[:size]
        ]
        more = _id(rows[size - 1]) if len(rows) > size else ""
        return pb.ListEntriesResponse(entry_ids=shown, next_page_token=more)

    async def check_entries(self, request: pb.CheckEntriesRequest, ctx: _Ctx, /) -> pb.CheckEntriesResponse:
        """Which keys can be fetched."""
        who = asker()
        if len(request.keys) > 1000:
            raise Invalid("at most 1000 keys at a time")

        def look(tx: Tx) -> list[pb.CheckEntryResult]:
            found = ((key, find(tx, who, request.entry_type, key)) for key in request.keys)
            return [pb.CheckEntryResult(key=k, found=bool(e and e.data.get("blob"))) for k, e in found]

        return pb.CheckEntriesResponse(entries=await self.services.db.read(look))

    async def delete_entry(self, request: pb.DeleteEntryRequest, ctx: _Ctx, /) -> pb.DeleteEntryResponse:
        """Takes it away; NotFound when it is not there."""
        who = _person()

        def delete(tx: Tx) -> None:
            entry = find(tx, who, request.entry_type, request.key)
            if entry is None:
                raise NotFound(f"cache entry '{request.key[:200]}' not found")
            drop(tx, entry)

        await self.services.db.write(delete)
        return pb.DeleteEntryResponse()

    def _urls(self, entry: Record, first: int, count: int) -> list[str]:
        return [self._link(entry, f"/{number}", UPLOAD_S) for number in range(first, first + count)]

    def _link(self, entry: Record, part: str, life_s: int) -> str:
        """`part` "/n" for uploads; a link for one says nothing about the other."""
        services = self.services
        expires = services.now() + life_s * 1000
        signature = services.sign(f"depot-cache:{entry.id}{part}", expires)
        return f"{services.server.url}{PATH}{_id(entry)}{part}?expires={expires}&signature={signature}"


def _segments(request: pb.FinalizeEntryRequest) -> Segments:
    found = [(one.subkey, one.offset, one.size) for one in request.segments]
    if len(found) > MOST_SEGMENTS or len({subkey for subkey, _, _ in found}) < len(found):
        raise Invalid(f"at most {MOST_SEGMENTS} segments, each with a subkey of its own")
    if any(not 0 < len(subkey) <= 512 or offset < 0 or size < 0 for subkey, offset, size in found):
        raise Invalid("a segment has a subkey of 1 to 512 characters, an offset and a size")
    return found


def _after(token: str) -> int:
    if not token:
        return 0
    try:
        return ids.hear(token, ids.Kind.CACHE_ENTRY)[1]
    except NotFound:
        raise Invalid("The page token is not one of this server's.") from None


def _person() -> Principal:
    who = asker()
    require_person(who)
    return who


def _id(entry: Record) -> str:
    return ids.say(ids.Kind.CACHE_ENTRY, entry.id)


def _time(ms: int) -> Timestamp:
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)
