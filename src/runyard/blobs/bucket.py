"""Blobs in an S3-compatible bucket, by obstore. Made by opening.py.

Small blobs are one PUT; larger ones stream in parts, so that memory stays flat. An upload that fails is
aborted: S3 shows an object only when it is complete.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from runyard.blobs.keys import checked, new_key
from runyard.engine.ports import BlobRef
from runyard.model.errors import Invalid, NotFound, TooLarge, Unavailable

ONE_PUT_BYTES = 8 << 20
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 4
READ_BYTES = 1 << 20


class BucketBlobs:
    """Keeps the promises of `engine.ports.Blobs`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if not parts.netloc:
            raise Invalid("Blobs at S3 need a bucket: s3://bucket/prefix.")
        endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
        try:
            self._store = S3Store(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                client_options={
                    "allow_http": endpoint.startswith("http://"),
                    "connect_timeout": timedelta(seconds=5),
                    "timeout": timedelta(minutes=10),
                },
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=15)},
            )
        except BaseError as error:
            raise Invalid(f"Blobs cannot be opened at {url}: {_short(error)}") from error

    def put(self, chunks: Iterable[bytes], limit_bytes: int | None = None) -> BlobRef:
        key = new_key()
        counted = _Counted(chunks, limit_bytes)
        head = counted.take(ONE_PUT_BYTES)
        try:
            if counted.ended:
                obstore.put(self._store, key, head, use_multipart=False)
            else:
                obstore.put(
                    self._store,
                    key,
                    counted.rest(head),
                    use_multipart=True,
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_AT_ONCE,
                )
        except (BaseError, OSError) as error:
            raise _refusal(error) from error
        return BlobRef(key, counted.size_bytes, counted.digest.hexdigest())

    def put_file(self, path: Path, sha256: str = "") -> BlobRef:
        with path.open("rb", buffering=0) as file:
            return self.put(iter(lambda: file.read(READ_BYTES), b""))

    def open(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        size = self._size(key)
        stop = size if end is None else min(end, size)
        return self._range(key, start, stop) if start < stop else iter(())

    def _range(self, key: str, start: int, end: int) -> Iterator[bytes]:
        try:
            found = obstore.get(self._store, key, options={"range": (start, end)})
            for chunk in found.stream(min_chunk_size=READ_BYTES):
                yield bytes(chunk)
        except (BaseError, OSError) as error:
            raise _refusal(error) from error

    def _size(self, key: str) -> int:
        try:
            return int(obstore.head(self._store, checked(key))["size"])
        except (BaseError, OSError) as error:
            raise _refusal(error) from error

    def seekable(self, key: str) -> BinaryIO:
        return io.BufferedReader(_Seekable(self._store, key, self._size(key)), READ_BYTES)

    def local_path(self, key: str) -> Path | None:
        self._size(key)
        return None

    def link(self, key: str, for_s: int) -> str | None:
        try:
            return obstore.sign(self._store, "GET", checked(key), timedelta(seconds=for_s))
        except BaseError as error:
            raise _refusal(error) from error

    def delete(self, key: str) -> None:
        try:
            obstore.delete(self._store, checked(key))
        except (FileNotFoundError, NotFound):
            return
        except (BaseError, OSError) as error:
            raise _refusal(error) from error

    def walk(self) -> Iterator[tuple[str, int]]:
        try:
            for batch in obstore.list(self._store):
                for found in batch:
                    yield str(found["path"]), int(found["last_modified"].timestamp() * 1000)
        except (BaseError, OSError) as error:
            raise _refusal(error) from error


class _Counted:
    """Chunks on their way: hashed, counted, and stopped beyond the limit."""

    def __init__(self, chunks: Iterable[bytes], limit_bytes: int | None) -> None:
        self._chunks = iter(chunks)
        self._limit_bytes = limit_bytes
        self.size_bytes = 0
        self.digest = hashlib.sha256()
        self.ended = False

    def _next(self) -> bytes | None:
        chunk = next(self._chunks, None)
        if chunk is None:
            self.ended = True
            return None
        self.size_bytes += len(chunk)
        if self._limit_bytes is not None and self.size_bytes > self._limit_bytes:
            raise TooLarge(f"This is larger than {self._limit_bytes} bytes.")
        self.digest.update(chunk)
        return chunk

    def take(self, least_bytes: int) -> bytes:
        head = bytearray()
        while len(head) <= least_bytes and (chunk := self._next()) is not None:
            head += chunk
        return bytes(head)

    def rest(self, head: bytes) -> Iterator[bytes]:
        yield head
        while (chunk := self._next()) is not None:
            if chunk:
                yield chunk


class _Seekable(io.RawIOBase):
    """Range requests as a file."""

    def __init__(self, store: S3Store, key: str, size_bytes: int) -> None:
        self._store = store
        self._key = key
        self._size_bytes = size_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size_bytes)
        if end <= self._at:
            return 0
        try:
            found = obstore.get_range(self._store, self._key, start=self._at, end=end)
        except (BaseError, OSError) as error:
            raise _refusal(error) from error
        data = memoryview(found)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _short(error: Exception) -> str:
    """The first line: obstore appends a long debug dump."""
    return str(error).split("\n", 1)[0][:200]


def _refusal(error: Exception) -> Exception:
    if isinstance(error, FileNotFoundError):
        return NotFound("There is no such blob.")
    return Unavailable("The blob store cannot be reached.", retry_after_s=30)
