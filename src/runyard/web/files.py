"""What is in an artifact's archive: the list, and one file of it. Text and pictures are shown, all else is a
download. Called by routes.

An archive is a stranger's: it is read under the budgets of syntax/archives, and nothing of it is ever served
as a page or a script.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from runyard.http.giving import attachment
from runyard.http.services import Services
from runyard.http.session import who
from runyard.model.errors import Invalid, NotFound
from runyard.model.work import Artifact
from runyard.syntax import archives
from runyard.web import pages
from runyard.web.render import Templates

MOST_LISTED = 2000
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
TEXTS = frozenset(
    {"application/json", "application/xml", "application/javascript", "application/x-sh", "image/svg+xml"}
)
PLAIN, BYTES = "text/plain; charset=utf-8", "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Files:
    """The handlers."""

    services: Services
    templates: Templates

    async def listing(self, request: Request) -> Response:
        """Every file that a reader may open, by name."""
        person, path = await who(self.services, request), request.path_params["path"]
        found = await self._archive(request)
        entries = await asyncio.to_thread(self._entries, found)
        named = sorted({e.name: e for e in entries if _is_file(e)}.items())
        facts: dict[str, Any] = {
            "path": path,
            "archive": found,
            "files": [e for _, e in named[:MOST_LISTED]],
            "left_out": max(0, len(named) - MOST_LISTED),
        }
        return self.templates.page(request, "files.html", person, **facts)

    async def file(self, request: Request) -> Response:
        """One file's bytes."""
        found, name = await self._archive(request), request.path_params["name"]
        entry, pieces = await asyncio.to_thread(self._opened, found, name)
        kind = shown_as(name)
        headers = {"Content-Disposition": attachment(name), "Content-Length": str(entry.size_bytes)}
        if kind != BYTES:
            headers["Content-Disposition"] = "inline"
        return StreamingResponse(pieces, media_type=kind, headers=headers)

    async def _archive(self, request: Request) -> Artifact:
        person, path = await who(self.services, request), request.path_params["path"]
        id = request.path_params["id"]
        now = self.services.now()
        found = await self.services.db.read(lambda tx: pages.find_artifact(tx, person, path, id, now))
        if found.format != "zip":
            raise NotFound("This artifact is one file, not an archive of files.")
        return found

    def _entries(self, found: Artifact) -> list[archives.Entry]:
        with self.services.blobs.seekable(found.blob) as file:
            return _directory(file)

    def _opened(self, found: Artifact, name: str) -> tuple[archives.Entry, Iterator[bytes]]:
        with ExitStack() as closing:
            file = closing.enter_context(self.services.blobs.seekable(found.blob))
            entry = archives.find(_directory(file), name)
            if entry is None:
                raise NotFound("There is no such file in this archive.")
            closing.pop_all()
        return entry, _read(file, entry)


def _read(file: BinaryIO, entry: archives.Entry) -> Iterator[bytes]:
    with file:
        yield from archives.read(file, entry)


def _directory(file: BinaryIO) -> list[archives.Entry]:
    try:
        return archives.directory(file)
    except archives.ArchiveError as error:
        raise Invalid(f"This archive cannot be read: {error}.") from None


def _is_file(entry: archives.Entry) -> bool:
    return archives.is_safe(entry.name) and not entry.is_folder and not entry.is_link


def shown_as(name: str) -> str:
    """The type that a browser is told: never one that it would run."""
    guessed = mimetypes.guess_type(name)[0] or ""
    if guessed in PICTURES:
        return guessed
    is_text = (
        guessed.startswith("text/") or guessed in TEXTS or name.endswith((".log", ".yml", ".yaml", ".toml"))
    )
    return PLAIN if is_text else BYTES
