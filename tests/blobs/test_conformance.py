"""What every blob store promises: a local folder, and S3 as moto's server speaks it over loopback."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runyard.blobs import open_blobs
from runyard.model.errors import Invalid, NotFound, TooLarge, Unavailable

BIG = random.Random(1).randbytes(20 << 20)
UNKNOWN = "00/" + "0" * 32


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """moto's own server process: no mock inside ours."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    argv = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        endpoint = next(line.split()[-1] for line in process.stderr if "Running on http://" in line)
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        yield endpoint
        process.kill()
        drain.join()


@pytest.fixture(params=["folder", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "folder":
        return open_blobs(tmp_path / "blobs")
    endpoint = request.getfixturevalue("s3_endpoint")
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"b{random.randrange(1 << 40)}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")).close()
    request.node.uploads = f"{endpoint}/{bucket}?uploads"
    return open_blobs(f"s3://{bucket}/some/prefix")


def pieces(data: bytes, size: int = 300_000) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("data", [b"", b"x", BIG], ids=["empty", "one", "large"])
def test_bytes_come_back_with_their_size_and_digest(blobs: Any, data: bytes) -> None:
    ref = blobs.put(pieces(data))
    assert (ref.size_bytes, ref.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert b"".join(blobs.open(ref.key)) == data


def test_equal_bytes_are_two_blobs(blobs: Any) -> None:
    one, two = blobs.put([b"same"]), blobs.put([b"same"])
    assert one.key != two.key
    blobs.delete(one.key)
    assert b"".join(blobs.open(two.key)) == b"same"


@pytest.mark.parametrize("size", [10, 20 << 20])
def test_a_file_is_stored_and_may_be_removed(blobs: Any, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(BIG[:size])
    ref = blobs.put_file(path)
    path.unlink()
    assert (ref.size_bytes, ref.sha256) == (size, hashlib.sha256(BIG[:size]).hexdigest())
    assert b"".join(blobs.open(ref.key)) == BIG[:size]


def test_a_file_with_a_second_name_is_copied(blobs: Any, tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"before")
    other.hardlink_to(path)
    ref = blobs.put_file(path)
    other.write_bytes(b"after!")
    assert b"".join(blobs.open(ref.key)) == b"before"


@pytest.mark.parametrize(
    ("start", "end"), [(0, None), (0, 5), (3, 9), (999_990, None), (5, 5), (1_000_000, None), (2_000_000, 3_000_000), (999_999, 5_000_000)]
)  # fmt: skip
def test_ranges(blobs: Any, start: int, end: int | None) -> None:
    data = BIG[:1_000_000]
    ref = blobs.put(pieces(data))
    assert b"".join(blobs.open(ref.key, start, end)) == data[start:end]


@pytest.mark.parametrize("key", [UNKNOWN, "", "x", "../../etc/passwd", "00/../../x", "tmp/x", UNKNOWN + "\n"])
def test_unknown_and_hostile_keys_are_not_found(blobs: Any, key: str) -> None:
    for ask in (blobs.open, blobs.seekable, blobs.local_path):
        with pytest.raises(NotFound):
            ask(key)
    blobs.delete(key)


@pytest.mark.parametrize("limit", [0, 1000, 15 << 20])
def test_beyond_the_limit_nothing_remains(blobs: Any, tmp_path: Path, request: Any, limit: int) -> None:
    with pytest.raises(TooLarge):
        blobs.put(pieces(BIG), limit_bytes=limit)
    assert_nothing_remains(blobs, tmp_path, request)
    assert blobs.put([b"x" * 1000], limit_bytes=1000).size_bytes == 1000


@pytest.mark.parametrize("after", [0, 1, 60])
def test_a_source_that_breaks_leaves_nothing(blobs: Any, tmp_path: Path, request: Any, after: int) -> None:
    def broken() -> Iterator[bytes]:
        for i, piece in enumerate(pieces(BIG)):
            if i == after:
                raise ZeroDivisionError
            yield piece

    with pytest.raises(ZeroDivisionError):
        blobs.put(broken())
    assert_nothing_remains(blobs, tmp_path, request)


def assert_nothing_remains(blobs: Any, folder: Path, request: Any) -> None:
    assert list(blobs.walk()) == []
    assert [p for p in folder.rglob("*") if p.is_file()] == []
    if hasattr(request.node, "uploads"):
        with urllib.request.urlopen(request.node.uploads) as answer:
            assert b"<Upload>" not in answer.read()


def test_zip_directories_are_read_by_seeking(blobs: Any) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("big", BIG)
        archive.writestr("small", "hello")
    ref = blobs.put(pieces(packed.getvalue()))
    with blobs.seekable(ref.key) as file, zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["big", "small"]
        assert archive.read("small") == b"hello"


def test_walk_names_every_blob_with_its_time_and_delete_forgets(blobs: Any) -> None:
    before = time.time() * 1000 - 2000
    keys = {blobs.put([str(i).encode()]).key for i in range(30)}
    found = dict(blobs.walk())
    assert set(found) == keys
    assert all(before < at < before + 60_000 for at in found.values())
    gone = keys.pop()
    blobs.delete(gone)
    blobs.delete(gone)
    assert set(dict(blobs.walk())) == keys
    with pytest.raises(NotFound):
        blobs.open(gone)


def test_local_files_are_private_and_abandoned_uploads_are_swept(tmp_path: Path) -> None:
    blobs = open_blobs(str(tmp_path / "b"))
    ref = blobs.put([b"x"])
    path = blobs.local_path(ref.key)
    assert path is not None
    assert path.read_bytes() == b"x"
    left, living = tmp_path / "b/tmp/old", tmp_path / "b/tmp/young"
    left.write_bytes(b"")
    living.write_bytes(b"")
    os.utime(left, (1, 1))
    assert [k for k, _ in open_blobs(tmp_path / "b").walk()] == [ref.key]
    assert not left.exists()
    assert living.exists()


@pytest.mark.root
def test_a_full_disk_is_unavailable_and_leaves_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk]).returncode
    ):
        pytest.skip("mounting a small disk needs root")
    try:
        blobs = open_blobs(disk / "b")
        with pytest.raises(Unavailable) as caught:
            blobs.put(pieces(BIG))
        assert caught.value.retry_after_s
        assert list(blobs.walk()) == []
        assert blobs.put(pieces(BIG[: 1 << 20])).size_bytes == 1 << 20
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_places_that_cannot_be_opened_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        open_blobs(tmp_path / "file/below")
    with pytest.raises(Invalid):
        open_blobs("ftp://x/y")
    with pytest.raises(Invalid):
        open_blobs("s3://")


def test_a_bucket_that_cannot_be_reached_is_unavailable_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ENDPOINT_URL": "http://127.0.0.1:9",
        "ACCESS_KEY_ID": "k",
        "SECRET_ACCESS_KEY": "s",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        open_blobs("s3://bucket/x").put([b"x"])
    assert time.monotonic() - began < 30


def test_a_link_opens_the_blob_for_whoever_has_it(blobs: Any) -> None:
    kept = blobs.put([b"linked"])
    link = blobs.link(kept.key, 60)
    if link is not None:  # a folder has none
        assert "Expires" in link or "expires" in link
        with urllib.request.urlopen(link) as answer:
            assert answer.read() == b"linked"
