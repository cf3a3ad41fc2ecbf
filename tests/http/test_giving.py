"""Blobs given to clients: whole, without a body for HEAD, and a 404 instead of half an answer when the bytes
are gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

from runyard.blobs.folder import FolderBlobs
from runyard.http.front import Message
from runyard.http.giving import OPAQUE, give


def _given(
    blobs: FolderBlobs, key: str, size_bytes: int, method: str
) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(give(send, blobs, key, size_bytes, OPAQUE, method))
    assert [m["type"] for m in sent].count("http.response.start") == 1
    assert not sent[-1].get("more_body", False)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(m.get("body", b"") for m in sent[1:])


def test_a_blob_is_given_whole_and_head_gives_only_its_headers(tmp_path: Path) -> None:
    blobs, data = FolderBlobs(tmp_path), bytes(range(256)) * 20_000
    ref = blobs.put([data])
    status, headers, body = _given(blobs, ref.key, ref.size_bytes, "GET")
    assert (status, headers[b"content-length"], body) == (200, str(len(data)).encode(), data)
    assert _given(blobs, ref.key, ref.size_bytes, "HEAD") == (200, headers, b"")


def test_an_empty_blob_has_an_empty_body(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    ref = blobs.put([])
    assert _given(blobs, ref.key, 0, "GET")[2] == b""


def test_bytes_that_are_gone_are_a_404(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    ref = blobs.put([b"soon gone"])
    blobs.delete(ref.key)
    assert _given(blobs, ref.key, ref.size_bytes, "GET")[0] == 404
