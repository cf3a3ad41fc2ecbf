"""Bytes by signed link, as block blobs of Azure's kind: one PUT, or blocks and then their list
(contracts/actions.md §10.1). Called by `door`.

An upload is a Record that says whose it is; a block is one of its own until the list joins them. Blob first,
record second; what is never finished is swept after a day. A link dies with its job, whatever its expiry
says.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request

from runyard.dialects.depot.downloads import is_signed
from runyard.dialects.depot.results.callers import Caller
from runyard.engine.ports import BlobRef, Page, Tx
from runyard.http.bodies import stream, whole
from runyard.http.front import Receive, Scope, Send, plain
from runyard.http.services import Services
from runyard.model.errors import Conflict, Invalid, NotFound, RunyardError, TooLarge
from runyard.model.state import LEASED
from runyard.model.work import Attempt, Record

UPLOAD = "actions.upload"
PATH = "/_results/uploads/"
LINK_S = 3600
KEEP_MS = 86_400_000
MOST_BLOCKS = 10_000
BLOCK_BYTES = 256 << 20
LIST_BYTES = 2 << 20
_NUMBER = re.compile(r"[0-9]{1,18}\Z")
_ITEM = re.compile(r"<(Latest|Committed|Uncommitted)>([A-Za-z0-9+/=]{1,128})</\1>")


def begin(tx: Tx, attempt: Attempt, purpose: str, limit_bytes: int, now: int) -> Record:
    """A place for bytes of this job."""
    data = {"attempt_id": attempt.id, "purpose": purpose, "limit": limit_bytes, "bytes": 0, "blocks": 0}
    return tx.add(Record(0, UPLOAD, attempt.project_id, "", data, now, now))


def link(services: Services, who: Caller, upload: Record) -> str:
    """Where the bytes go."""
    expires = services.now() + LINK_S * 1000
    signature = services.sign(f"actions-upload:{upload.id}", expires)
    return f"{who.base}{PATH}{upload.id}?expires={expires}&signature={signature}"


def finished(tx: Tx, attempt: Attempt, upload_id: int) -> Record:
    """An upload of this job whose bytes are there. NotFound otherwise."""
    upload = tx.get(Record, upload_id)
    if (
        upload is None
        or upload.kind != UPLOAD
        or upload.data["attempt_id"] != attempt.id
        or not upload.data.get("blob")
    ):
        raise NotFound("nothing was uploaded")
    return upload


def offset_name(start: int) -> str:
    """A block that is known by its first byte's place (v1 caches)."""
    return f"{start:020d}"


def offsets(tx: Tx, attempt: Attempt, upload_id: int) -> list[tuple[int, int]]:
    """(place, length) of such blocks, in order. NotFound for an upload that is not this job's."""
    upload = tx.get(Record, upload_id)
    if upload is None or upload.kind != UPLOAD or upload.data["attempt_id"] != attempt.id:
        raise NotFound("no such reservation")
    return sorted((int(b.data["name"]), int(b.data["size_bytes"])) for b in _blocks(tx, upload_id).values())


def drop(tx: Tx, upload: Record) -> None:
    """The upload and its blocks; their blobs become orphans unless another row names them."""
    for block in _blocks(tx, upload.id).values():
        tx.remove(Record, block.id)
    tx.remove(Record, upload.id)


def sweep(tx: Tx, now: int) -> int:
    """Uploads that came to nothing."""
    rows = tx.records(UPLOAD, None, None, Page(limit=100, descending=False))
    old = [row for row in rows if now - row.updated_at > KEEP_MS]
    for row in old:
        drop(tx, row)
    return len(old)


def _blocks(tx: Tx, upload_id: int) -> dict[str, Record]:
    """By the digest of their id."""
    rows = tx.records(_kind(upload_id), None, None, Page(limit=MOST_BLOCKS, descending=False))
    return {row.key: row for row in rows}


@dataclass(frozen=True, slots=True)
class Uploads:
    """An ASGI application for
    `/_results/uploads/<id>?expires=…&signature=…[&comp=block&blockid=…|&comp=blocklist]`."""

    services: Services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """201 for what was taken, 403 for a link that is not (or no longer) valid."""
        name = scope["path"].removeprefix(PATH)
        if scope["method"] != "PUT":
            return await plain(send, 405, {"message": "method not allowed"}, {"Allow": "PUT"})
        number = int(name) if _NUMBER.match(name) else 0
        if not number or not is_signed(self.services, scope, f"actions-upload:{number}"):
            return await plain(send, 403, {"message": "this link is not valid or has expired"})
        try:
            await self.services.db.read(lambda tx: self._open(tx, number))
            await self._take(number, scope, Request(scope, receive))
        except TooLarge as error:
            return await plain(send, 413, {"message": error.message})
        except Conflict as error:
            return await plain(send, 409, {"message": error.message})
        except NotFound as error:
            return await plain(send, 404, {"message": error.message})
        except RunyardError as error:
            return await plain(send, 400, {"message": error.message})
        return await plain(send, 201, {}, {"ETag": f'"{number}"', "x-ms-request-id": str(number)})

    @staticmethod
    def _open(tx: Tx, number: int) -> Record:
        """The upload while its job runs and its bytes are still to come."""
        upload = tx.get(Record, number)
        attempt = (
            tx.get(Attempt, int(upload.data["attempt_id"])) if upload and upload.kind == UPLOAD else None
        )
        if upload is None or attempt is None or attempt.state not in LEASED:
            raise NotFound("this upload is gone")
        if upload.data.get("blob"):
            raise Conflict("this upload is complete")
        return upload

    async def _take(self, number: int, scope: Scope, request: Request) -> None:
        query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=20)
        match query.get("comp", [""])[0]:
            case "block":
                await self.block(number, query.get("blockid", [""])[0], request)
            case "blocklist":
                await self._join(number, await whole(request, LIST_BYTES))
            case "":
                await self._single(number, request)
            case other:
                raise Invalid(f"comp={other[:40]!r} is not known here")

    async def _stored(self, request: Request, limit: int) -> BlobRef:
        """Through a file, so that an upload costs no memory."""
        with tempfile.NamedTemporaryFile(dir=self._spool(), delete=False) as file:
            path = Path(file.name)
            try:
                digest = hashlib.sha256()
                async for piece in stream(request, limit):
                    digest.update(piece)
                    file.write(piece)
                file.flush()
                return await asyncio.to_thread(self.services.blobs.put_file, path, digest.hexdigest())
            finally:
                path.unlink(missing_ok=True)

    def _spool(self) -> Path:
        folder: Path = self.services.settings.data / "spool"
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    async def _single(self, number: int, request: Request) -> None:
        upload = await self.services.db.read(lambda tx: self._open(tx, number))
        blob = await self._stored(request, int(upload.data["limit"]))
        await self._complete(number, blob)

    async def block(self, number: int, name: str, request: Request) -> None:
        """One block; the same again replaces it."""
        if not 0 < len(name) <= 128:
            raise Invalid("blockid must be given")
        upload = await self.services.db.read(lambda tx: self._open(tx, number))
        limit = int(upload.data["limit"])
        blob = await self._stored(request, min(BLOCK_BYTES, limit))
        key, now = _key(name), self.services.now()

        def note(tx: Tx) -> None:
            fresh = self._open(tx, number)
            size, count = int(fresh.data["bytes"]) + blob.size_bytes, int(fresh.data["blocks"]) + 1
            if size > limit or count > MOST_BLOCKS:
                raise TooLarge(f"an upload may have at most {limit} bytes in {MOST_BLOCKS} blocks")
            for old in tx.records(_kind(number), None, key, Page(limit=1)):
                tx.remove(Record, old.id)
            about = {"name": name, "blob": blob.key, "size_bytes": blob.size_bytes}
            tx.add(Record(0, _kind(number), fresh.project_id, key, about, now, now))
            tx.save(replace(fresh, data={**fresh.data, "bytes": size, "blocks": count}, updated_at=now))

        await self.services.db.write(note)

    async def _join(self, number: int, data: bytes) -> None:
        """The blocks in the order of the list become one blob."""
        try:
            names = [match[2] for match in _ITEM.finditer(data.decode("utf-8"))]
        except UnicodeDecodeError:
            raise Invalid("the block list is not UTF-8") from None
        if len(names) > MOST_BLOCKS or not names:
            raise Invalid(f"a block list names 1 to {MOST_BLOCKS} blocks")
        await self.join(number, names)

    async def join(self, number: int, names: Sequence[str]) -> None:
        """Blocks become the bytes of the upload."""
        upload, there = await self.services.db.read(lambda tx: (self._open(tx, number), _blocks(tx, number)))
        missing = next((name for name in names if _key(name) not in there), None)
        if missing is not None:
            raise Invalid(f"the block {missing} was not uploaded")
        blobs = [str(there[_key(name)].data["blob"]) for name in names]

        def pieces() -> Iterator[bytes]:
            for blob in blobs:
                yield from self.services.blobs.open(blob)

        limit = int(upload.data["limit"])
        joined = await asyncio.to_thread(self.services.blobs.put, pieces(), limit)
        await self._complete(number, joined)

    async def _complete(self, number: int, blob: BlobRef) -> None:
        now = self.services.now()
        about: dict[str, Any] = {"blob": blob.key, "size_bytes": blob.size_bytes, "sha256": blob.sha256}

        def note(tx: Tx) -> None:
            fresh = self._open(tx, number)
            for block in _blocks(tx, number).values():
                tx.remove(Record, block.id)
            tx.save(replace(fresh, data={**fresh.data, **about}, updated_at=now))

        await self.services.db.write(note)


def _kind(upload_id: int) -> str:
    """Blocks of one upload are a kind of their own, so that they are found without a look at any others."""
    return f"actions.block.{int(upload_id)}"


def _key(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
