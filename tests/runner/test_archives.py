"""Packing and unpacking hostile trees and archives (contracts/reliability.md §5 C)."""

from __future__ import annotations

import io
import os
import struct
import time
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runyard.runner.artifacts import choose, unpack
from runyard.runner.cache import Cache, CacheKeyError
from runyard.runner.packing import pack
from runyard.syntax import archives
from runyard.syntax.archives import ArchiveError

LIMIT = 1 << 30


def zipped(*entries: tuple[str, bytes], mode: int = 0o100644) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, data)
    return file


def out(file: io.BytesIO, folder: Path, limit: int = LIMIT) -> int:
    folder.mkdir(exist_ok=True)
    return unpack(file, folder, uid=None, limit_bytes=limit)


BAD_NAMES = [
    "../evil",
    "/abs/evil",
    "a/../../evil",
    "a/./b",
    "..\\win",
    "C:evil",
    "a//b",
    "x" * 256,
    "d/" * 200 + "x",
    "..",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_c1_names_that_leave_are_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    file = zipped(("good", b"1"), (name, b"2"))
    with pytest.raises(ArchiveError):
        out(file, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []
    assert archives.find(archives.directory(file), name) is None


def test_c1_names_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    raw = zipped(("abcd", b"1")).getvalue().replace(b"abcd", b"\xff\xfe\xfdd")
    with pytest.raises(ArchiveError):
        out(io.BytesIO(raw), tmp_path / "to")


def test_c2_links_never_lead_out_and_nothing_is_written_through_one(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, target in (("lnk", str(tmp_path / "outside")), ("up", "../outside"), ("in", "d")):
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16
            made.writestr(info, target)
        made.writestr("d/x", b"1")
    out(file, tmp_path / "to")
    assert sorted(p.name for p in (tmp_path / "to").iterdir()) == ["d", "in"]
    assert (tmp_path / "to" / "in").readlink() == Path("d")
    assert archives.find(archives.directory(file), "lnk") is None


def test_c2_a_link_already_in_the_workspace_is_replaced_not_followed(tmp_path: Path) -> None:
    outside, to = tmp_path / "outside", tmp_path / "to"
    outside.mkdir()
    to.mkdir()
    (to / "lnk").symlink_to(outside)
    (to / "file").symlink_to(outside / "target")
    out(zipped(("lnk/x", b"1"), ("file", b"2")), to)
    assert list(outside.iterdir()) == [] and (to / "lnk" / "x").read_bytes() == b"1"


def test_c3_a_bomb_meets_the_limit(tmp_path: Path) -> None:
    file = zipped(("zeros", b"\0" * (64 << 20)))
    assert len(file.getvalue()) < 100_000
    with pytest.raises(ArchiveError):
        out(file, tmp_path / "to", limit=32 << 20)


def test_c4_a_header_that_lies_about_the_size_is_found_out(tmp_path: Path) -> None:
    raw = bytearray(zipped(("x", b"\0" * (16 << 20))).getvalue())
    central = raw.rfind(b"PK\x01\x02")
    struct.pack_into("<L", raw, central + 24, 10)
    struct.pack_into("<L", raw, 22, 10)
    with pytest.raises(ArchiveError):
        out(io.BytesIO(bytes(raw)), tmp_path / "to")
    written = tmp_path / "to" / "x"
    assert not written.exists() or written.stat().st_size <= 11


def test_c5_entries_that_share_bytes_are_refused() -> None:
    raw = bytearray(zipped(("aa", b"x" * 1000), ("bb", b"y" * 1000)).getvalue())
    second = raw.rfind(b"PK\x01\x02")
    struct.pack_into("<L", raw, second + 42, 0)
    with pytest.raises(ArchiveError, match="overlap"):
        archives.directory(io.BytesIO(bytes(raw)))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:-1],
        lambda raw: raw + b"trailing",
        lambda raw: b"#!/bin/sh\n" + raw,
        lambda raw: b"",
        lambda raw: raw.replace(b"PK\x05\x06", b"PK\x05\x07"),
        lambda raw: raw[:-12] + b"\xff\xff\xff\xff" * 2 + raw[-4:],
        lambda raw: raw[:-14] + b"\xfe\xff\xfe\xff" + raw[-10:],
    ],
)
def test_c7_what_is_no_whole_archive_is_refused_at_once(change) -> None:  # type: ignore[no-untyped-def]
    started = time.monotonic()
    with pytest.raises(ArchiveError):
        archives.directory(io.BytesIO(change(zipped(("x", b"1" * 100)).getvalue())))
    assert time.monotonic() - started < 1


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_c7_any_damage_is_an_archive_error_or_harmless(data: st.DataObject) -> None:
    raw = bytearray(zipped(("a/b", b"1" * 50), ("c", b"2" * 50)).getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    file = io.BytesIO(bytes(raw))
    try:
        for entry in archives.directory(file):
            assert len(b"".join(archives.read(file, entry))) == entry.size_bytes
    except ArchiveError:
        pass


def test_c9_of_two_equal_names_the_last_wins(tmp_path: Path) -> None:
    with pytest.warns(UserWarning):
        file = zipped(("x", b"first"), ("x", b"second"), ("X", b"other"))
    out(file, tmp_path / "to")
    assert (tmp_path / "to" / "x").read_bytes() == b"second"
    found = archives.find(archives.directory(file), "x")
    assert found is not None and b"".join(archives.read(file, found)) == b"second"


def test_setuid_bits_stay_behind(tmp_path: Path) -> None:
    out(zipped(("s", b"1"), mode=0o104755), tmp_path / "to")
    assert (tmp_path / "to" / "s").stat().st_mode & 0o7777 == 0o755


def test_c17_c18_links_out_devices_and_pipes_are_left_out_with_a_word(tmp_path: Path) -> None:
    ws = tmp_path / "ws"
    (ws / "d").mkdir(parents=True)
    (ws / "d" / "ok").write_text("1")
    (ws / "d" / "in").symlink_to("ok")
    (ws / "d" / "shadow").symlink_to("/etc/shadow")
    (ws / "d" / "up").symlink_to("../../other-job")
    (ws / "etc").symlink_to("/etc")
    (ws / "bad\\name").write_text("1")
    os.mkfifo(ws / "d" / "fifo")
    choice = choose(ws, ["d", "etc/passwd", "etc", "/etc/passwd", "../ws", "bad*"], inside="/builds/g/p")
    assert list(choice.paths) == ["d", "d/in", "d/ok"]
    assert len(choice.warnings) == 8


def test_globs_excludes_and_folders(tmp_path: Path) -> None:
    for name in ("a/x.log", "a/b/y.log", "a/b/z.txt", "top.log", ".hidden/h"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    files = lambda *a, **k: [p for p in choose(tmp_path, *a, **k).paths if (tmp_path / p).is_file()]  # noqa: E731
    assert files(["**/*.log"]) == ["top.log", "a/x.log", "a/b/y.log"]
    assert files(["a"], ["a/**/*.txt"]) == ["a/x.log", "a/b/y.log"]
    assert files(["a/*/"]) == ["a/b/y.log", "a/b/z.txt"]
    assert files(["./a/x.log", "/w/top.log"], inside="/w") == ["a/x.log", "top.log"]
    assert (
        files(["."]) == [".hidden/h", "a/x.log", "a/b/y.log", "a/b/z.txt", "top.log"]
        or len(files(["."])) == 5
    )
    assert files(["nothing*"]) == []


def test_what_is_packed_comes_back_and_others_can_read_it(tmp_path: Path) -> None:
    ws = tmp_path / "ws"
    ws.mkdir()
    contents = {
        "empty": b"",
        "small": b"s",
        "text": b"hello world\n" * 9000,
        "noise": os.urandom(3 << 20),
        "large": b"zero" * (2 << 20),
        "ünï": b"u",
    }
    for name, data in contents.items():
        (ws / name).write_bytes(data)
    (ws / "small").chmod(0o755)
    with (tmp_path / "z.zip").open("w+b") as file:
        pack(ws, choose(ws, ["."]).paths, file)
        assert zipfile.ZipFile(file).testzip() is None
        to = tmp_path / "to"
        to.mkdir()
        unpack(file, to, uid=None, limit_bytes=LIMIT)
    assert {p.name: p.read_bytes() for p in to.iterdir()} == contents
    assert os.access(to / "small", os.X_OK)
    assert abs((to / "text").stat().st_mtime - (ws / "text").stat().st_mtime) <= 2


def test_a_sparse_tebibyte_counts_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    assert choose(tmp_path, ["huge"]).size_bytes == 1 << 40


def test_deep_trees_are_walked_without_recursion(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        deeper = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    choice = choose(tmp_path, ["."])
    assert 0 < len(choice.paths) <= archives.MAX_DEPTH and choice.warnings
    from runyard.runner.sandbox.folders import remove_tree

    remove_tree(tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_c19_c20_cache_scopes_and_keys(tmp_path: Path) -> None:
    cache, ws, to = Cache(tmp_path / "cache"), tmp_path / "ws", tmp_path / "to"
    ws.mkdir()
    to.mkdir()
    (ws / "f").write_text("1")
    for key in ("../../x", "k" * 512, "ключ"):
        cache.save(1, False, key, ws, choose(ws, ["f"]))
        assert cache.restore(1, False, [key], to, None) == key
    assert cache.restore(1, True, ["../../x"], to, None) is None
    assert cache.restore(2, False, ["../../x"], to, None) is None
    assert cache.restore(1, False, ["none", "../../x"], to, None) == "../../x"
    for key in ("", "k" * 513, "a\nb"):
        with pytest.raises(CacheKeyError):
            cache.save(1, False, key, ws, choose(ws, ["f"]))
    assert all(p.is_relative_to(tmp_path / "cache") for p in tmp_path.rglob("*.zip"))


def test_caches_that_vanish_while_room_is_made_are_no_trouble(tmp_path: Path) -> None:
    cache, ws = Cache(tmp_path / "cache", keep_bytes=1), tmp_path / "ws"
    ws.mkdir()
    (ws / "f").write_text("1")
    (tmp_path / "cache" / "9").mkdir(parents=True)
    (tmp_path / "cache" / "9" / "gone.zip").symlink_to("nowhere")  # as one that another slot removed
    assert cache.save(1, False, "k", ws, choose(ws, ["f"])) > 1
    assert not [p for p in tmp_path.rglob("*.zip") if p.exists()], "more than may be kept"


def test_the_reader_agrees_with_zlib_on_sizes() -> None:
    data = os.urandom(100) * 50_000
    file = zipped(("x", data))
    (entry,) = archives.directory(file)
    assert entry.crc == zlib.crc32(data)
    assert b"".join(archives.read(file, entry)) == data
