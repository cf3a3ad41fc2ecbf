"""One file out of an artifact archive, read safely. Called by routes_artifacts (single files) with a seekable
blob.

An archive is a stranger's: names are judged, links are never followed, directories and claims are bounded
before anything is allocated (reliability.md §5 C1 to C7, C12).
"""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from runyard.model.errors import Invalid, NotFound

DIRECTORY_BYTES = 64 << 20
FILE_BYTES = 5 << 30
RATIO, RATIO_FROM_BYTES = 200, 10 << 20
_PIECE = 256 << 10
# What zipfile raises for archives that lie: offsets before the file's start, odd methods, passwords, names
# that are no text.
DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError,
)  # fmt: skip
_END = struct.Struct("<4s4H2LH")


def check_path(path: str) -> str:
    """The path itself when it may name a file inside an archive."""
    parts = path.split("/")
    if (
        not path
        or path.startswith("/")
        or any(p in ("", ".", "..") for p in parts)
        or "\\" in path
        or "\x00" in path
    ):
        raise Invalid("invalid artifact path")
    if len(path) > 4096 or any(ord(c) < 32 for c in path):
        raise Invalid("invalid artifact path")
    return path


def open_file(file: BinaryIO, path: str) -> tuple[int, Iterator[bytes]]:
    """(size, bytes) of a regular file of the archive. NotFound when it is not there, Invalid when the archive
    cannot be trusted."""
    _check_directory(file)
    try:
        archive = zipfile.ZipFile(file)
        found = archive.getinfo(check_path(path))
    except KeyError:
        raise NotFound("404 Not found") from None
    except DAMAGE:
        raise Invalid("the archive cannot be read") from None
    kind = stat.S_IFMT(found.external_attr >> 16)  # many writers leave it empty
    if found.is_dir() or kind not in (0, stat.S_IFREG):
        raise NotFound("404 Not found")
    if found.file_size > FILE_BYTES or (
        found.file_size > RATIO_FROM_BYTES and found.file_size > RATIO * max(1, found.compress_size)
    ):
        raise Invalid("the file inflates too much")
    return found.file_size, _pieces(archive, found)


def _pieces(archive: zipfile.ZipFile, found: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(found) as reading:
            while piece := reading.read(_PIECE):
                yield piece
    except DAMAGE as error:
        raise ConnectionError("the archive is damaged") from error


def _check_directory(file: BinaryIO) -> None:
    """zipfile reads the whole central directory into memory, so its claimed size is judged first."""
    size = file.seek(0, 2)
    start = max(0, size - (65535 + _END.size))
    file.seek(start)
    tail = file.read(size - start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise Invalid("the artifact is not an archive")
    directory_bytes = _END.unpack_from(tail, at)[5]
    if directory_bytes != 0xFFFFFFFF and directory_bytes > min(size, DIRECTORY_BYTES):
        raise Invalid("the archive's directory is too large")
    if directory_bytes == 0xFFFFFFFF and size > FILE_BYTES + DIRECTORY_BYTES:
        raise Invalid("the archive's directory is too large")
    file.seek(0)
