"""A multipart upload streamed into a file, whatever its size. Called by routes_transfer.

Only the part `file` is kept; small fields beside it are texts. A body that is cut, lies about its form or
grows beyond the limit leaves nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from runyard.blobs.growing import FOLIO_BYTES, Growing, uncache
from runyard.http.bodies import stream
from runyard.model.errors import Invalid

# The parser logs every malformed body as a warning; a stranger must not be able to fill our log with them.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

SPOOL, PREFIX = "spool", "runyard-upload-"  # below the server's data
FIELD_BYTES = 64 << 10
FIELDS = 50
BATCH_BYTES = 1 << 20
SYNC_BYTES = 16 << 20
CACHED_BYTES = 64 << 20  # of its beginning stay cached: a next job comes for it at once, and few are larger


@dataclass(frozen=True, slots=True)
class Upload:
    """A received file; whoever asked for it deletes `path`."""

    path: Path
    filename: str
    size_bytes: int
    sha256: str
    fields: dict[str, str]


@dataclass(slots=True)
class _Parts:
    """Callbacks of the push parser."""

    file: Growing
    fields: dict[str, str] = field(default_factory=dict)
    filename: str = ""
    digest: Any = field(default_factory=hashlib.sha256)
    found: bool = False
    ended: bool = False
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _disposition: bytes = b""
    _name: str = ""
    _is_file: bool = False
    _text: bytearray = field(default_factory=bytearray)

    def part_begin(self) -> None:
        self._disposition, self._name, self._is_file = b"", "", False
        self._text.clear()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = self._name == "file" and b"filename" in options
        if self._is_file:
            if self.found:
                raise Invalid("more than one file")
            self.found = True
            name = options[b"filename"].decode("utf-8", "replace").replace("\\", "/").rsplit("/", 1)[-1]
            self.filename = "".join(c for c in name if c.isprintable())[:255]

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            piece = memoryview(data)[start:end]
            self.digest.update(piece)
            self.file.write(piece)
        else:
            self._text += data[start:end]
            if len(self._text) > FIELD_BYTES:
                raise Invalid("a field is too long")

    def part_end(self) -> None:
        if not self._is_file and self._name:
            if len(self.fields) >= FIELDS:
                raise Invalid("too many fields")
            self.fields[self._name] = self._text.decode("utf-8", "replace")

    def end(self) -> None:
        self.ended = True


CALLBACKS = (
    "part_begin",
    "header_field",
    "header_value",
    "header_end",
    "headers_finished",
    "part_data",
    "part_end",
    "end",
)


async def receive_upload(request: Request, limit_bytes: int, folder: Path) -> Upload:
    """The upload's file in the folder, beside where blobs lie so that it need not be copied. Invalid when the
    body is no multipart with a part `file`, TooLarge beyond the limit."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise Invalid("the artifact comes as multipart/form-data")
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=PREFIX, dir=folder)
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            parts = _Parts(Growing(file.fileno()))
            callbacks: dict[str, Callable[..., None]] = {f"on_{c}": getattr(parts, c) for c in CALLBACKS}
            parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
            await _fed(parser, parts.file, file, stream(request, limit_bytes + FIELD_BYTES))
            if not parts.ended or not parts.found:
                raise Invalid("the artifact did not arrive whole")
            parts.file.finish()
    except FormParserError:
        path.unlink(missing_ok=True)
        raise Invalid("the multipart body cannot be read") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Upload(path, parts.filename, parts.file.size, parts.digest.hexdigest(), parts.fields)


async def _fed(
    parser: MultipartParser, growing: Growing, file: BinaryIO, pieces: AsyncIterator[bytes]
) -> None:
    """Three hands at once: this one receives, one parses, hashes and writes batches in order, one brings to
    the disk what is written."""
    loop = asyncio.get_running_loop()
    writing: asyncio.Future[None] | None = None
    syncing: asyncio.Future[None] | None = None
    batch, size, synced = list[bytes](), 0, 0

    def write(given: list[bytes]) -> None:
        for one in given:
            parser.write(one)

    def sync(start: int, end: int) -> None:
        os.fdatasync(file.fileno())
        uncache(file.fileno(), max(start - FOLIO_BYTES, CACHED_BYTES), end)

    try:
        async for piece in pieces:
            batch.append(piece)
            size += len(piece)
            if size < BATCH_BYTES:
                continue
            if writing is not None:
                await writing
            written = growing.size
            writing = loop.run_in_executor(None, write, batch)
            batch, size = [], 0
            if written - synced >= SYNC_BYTES and (syncing is None or syncing.done()):
                if syncing is not None:
                    syncing.result()  # what one sync could not bring to the disk, the next does not tell
                syncing, synced = loop.run_in_executor(None, sync, synced, written), written
        if writing is not None:
            await writing
        writing = loop.run_in_executor(None, write, batch)
        await writing
        if syncing is not None:
            await syncing
    finally:  # nobody may use the file any more once it is closed
        await asyncio.gather(*(f for f in (writing, syncing) if f is not None), return_exceptions=True)
