"""Where several runners keep one cache: a bucket (S3, GCS, Azure) or a shared folder, by obstore. Made by
`cache.open_cache`.

Objects are named as the local cache names its files. A cache is never worth a job: what fails is an OSError,
which the cache steps tell and tolerate.
"""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from runyard.model.errors import Invalid

PIECE_BYTES = 1 << 20
PART_BYTES = 8 << 20


class Bucket:
    """Named blobs; the last writer wins, and nobody sees half of one."""

    def __init__(self, url: str) -> None:
        endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
        try:
            if url.startswith("file://"):
                Path(url.removeprefix("file://")).mkdir(parents=True, exist_ok=True)
                self._store = from_url(url)
            else:
                options = {"allow_http": endpoint.startswith("http://"), "connect_timeout": timedelta(seconds=5), "timeout": timedelta(minutes=10)}  # fmt: skip
                retry = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}
                self._store = from_url(url, client_options=options, retry_config=retry)  # type: ignore[call-overload]
        except (BaseError, OSError, ValueError) as error:
            raise Invalid(f"The cache cannot be kept at {url}: {_short(error)}") from error

    def fetch(self, name: str, into: Path) -> BinaryIO | None:
        """The blob as a nameless file in a folder of ours, at its start; None when there is none."""
        try:
            found = obstore.get(self._store, name)
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise OSError(f"the cache's store cannot be reached: {_short(error)}") from error
        file = tempfile.TemporaryFile(dir=into)  # noqa: SIM115 - the caller closes it
        try:
            for piece in found.stream(min_chunk_size=PIECE_BYTES):
                file.write(bytes(piece))
        except BaseError as error:
            file.close()
            raise OSError(f"the cache's store broke off: {_short(error)}") from error
        file.seek(0)
        return file

    def keep(self, name: str, file: BinaryIO) -> None:
        """Stores the file's bytes from its start."""
        file.seek(0)
        pieces = iter(lambda: file.read(PIECE_BYTES), b"")
        try:
            obstore.put(self._store, name, pieces, use_multipart=True, chunk_size=PART_BYTES)
        except BaseError as error:
            raise OSError(f"the cache's store did not take it: {_short(error)}") from error


def _short(error: Exception) -> str:
    """The first line: obstore appends a long debug dump."""
    return str(error).split("\n", 1)[0][:200]
