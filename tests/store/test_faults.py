"""Disks that are full or fail, files that others hold (reliability.md §3, §8 rows 18, 20, 21)."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runyard.model.errors import Unavailable
from runyard.model.work import Record, User
from runyard.store import open_database
from runyard.store.sqlite import SqliteStore
from runyard.store.sqlite_database import Ballast, SqliteDatabase


def names(db: Any, *wanted: str) -> list[bool]:
    found: list[bool] = db.submit_read(lambda tx: [tx.user_by_name(n) is not None for n in wanted]).result(10)
    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder]).returncode
    ):
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.root
def test_a_full_disk_refuses_writes_keeps_reads_and_recovers_without_restart(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(b"\0" * (2 << 20))
    db, _ = open_database("", small_disk)
    assert db.submit_write(lambda tx: tx.add(User(0, "before"))).result(10).id
    kept: list[str] = []
    with pytest.raises(Unavailable) as caught:
        for i in range(10_000):
            key = f"r{i}"
            db.submit_write(
                lambda tx, key=key: tx.add(Record(0, "k.n", None, key, {"x": "y" * 20_000}))
            ).result(10)
            kept.append(key)
    assert caught.value.retry_after_s
    assert names(db, "before") == [True]
    assert not (small_disk / "ballast").exists()
    # The ballast was given back: small writes go on although nobody has cleaned up yet.
    assert db.submit_write(lambda tx: tx.add(User(0, "after"))).result(10).id
    assert names(db, "before", "after") == [True, True]
    db.close()
    connection = sqlite3.connect(small_disk / "runyard.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("SELECT count(*) FROM records").fetchone() == (len(kept),)
    connection.close()


def test_a_file_that_another_process_holds_is_unavailable_after_five_seconds(tmp_path: Path) -> None:
    db, _ = open_database("", tmp_path)
    other = sqlite3.connect(tmp_path / "runyard.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    futures = [db.submit_write(lambda tx, i=i: tx.add(User(0, f"u{i}"))) for i in range(3)]
    for future in futures:
        with pytest.raises(Unavailable):
            future.result(30)
    assert 4 < time.monotonic() - began < 9
    assert names(db, "u0") == [False]
    other.execute("ROLLBACK")
    other.close()
    assert db.submit_write(lambda tx: tx.add(User(0, "later"))).result(10).id
    db.close()


FAILING = """
import sys
from pathlib import Path
from runyard.model.errors import Unavailable
from runyard.model.work import User
from runyard.store import open_database
db, _ = open_database("", Path(sys.argv[1]))
said = []
for i in range(60):
    try:
        db.submit_write(lambda tx, i=i: tx.add(User(0, f"u{i}"))).result(20)
        said.append("ok")
    except Unavailable as error:
        said.append("restart" if "restart" in error.message else "failed")
print(" ".join(said), flush=True)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace injects the fault")
@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
def test_after_a_failed_fsync_no_write_is_accepted(tmp_path: Path, call: str) -> None:
    inject = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:error=EIO:when=10+",
    ]
    argv = [*inject, sys.executable, "-c", FAILING, str(tmp_path)]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": "src"}
    )
    said = done.stdout.split()
    if "failed" not in said:
        assert call == "fsync", said  # this SQLite syncs with the other call
        return
    first = said.index("failed")
    assert set(said[:first]) == {"ok"}
    assert set(said[first + 1 :]) == {"restart"}
    connection = sqlite3.connect(tmp_path / "runyard.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for i in range(first):
        assert connection.execute("SELECT 1 FROM users WHERE username = ?", (f"u{i}",)).fetchone(), i
    connection.close()


def test_a_group_that_cannot_commit_is_answered_with_nothing_kept(tmp_path: Path) -> None:
    """COMMIT itself fails (a deferred foreign key stands in for the disk): every work of the group hears of
    it."""
    store = SqliteStore(tmp_path / "x.db")
    with store.turn() as connection:
        connection.execute(
            "CREATE TABLE late (id INTEGER REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)"
        )
    db = SqliteDatabase(store)

    def slow(tx: Any) -> None:
        time.sleep(0.1)
        tx.add(User(0, "one"))

    futures = [
        db.submit_write(slow),
        db.submit_write(lambda tx: tx.add(User(0, "two"))),
        db.submit_write(lambda tx: tx._link.run("INSERT INTO late VALUES (999)")),
    ]
    errors = [f.exception(10) for f in futures]
    # The first may have been committed before the others arrived; whoever was answered is there, who was
    # refused is not.
    assert names(db, "one", "two") == [errors[0] is None, errors[1] is None]
    assert errors[2] is not None
    assert db.submit_write(lambda tx: tx.add(User(0, "three"))).result(10).id
    db.close()


def test_no_ballast_is_laid_where_space_is_short(small_disk: Path) -> None:
    assert not Ballast(small_disk / "ballast").drop()
    assert not (small_disk / "ballast").exists()
