"""Large pieces of logs lie in sealed files; small ones in the database. Readers see one log, and no power cut
takes what was answered."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runyard.engine.ports import AttemptFilter, Page
from runyard.model.state import State
from runyard.model.work import Attempt, User
from runyard.store.log_files import FROM_BYTES, HEAD_BYTES, OPEN_FILES, SEALED_FROM_BYTES, LogFiles
from runyard.store.sqlite import SqliteStore
from runyard.store.sqlite_database import SqliteDatabase, open_sqlite

BIG = SEALED_FROM_BYTES


def running(made: Any, path: Path, count: int = 1) -> list[Attempt]:
    """Attempts that a runner has, in a database of that path."""
    store = SqliteStore(path)
    with store.begin() as tx:
        _, pairs = made.add_graph(tx, *[made.plan(f"j{n}") for n in range(count)])
        rows = [made.moved(made.moved(a, State.QUEUED), State.RUNNING, lease_until_at=9) for _, a in pairs]
        for row in rows:
            tx.save(row)
    store.close()
    return rows


def add(db: SqliteDatabase, attempt_id: int, piece: bytes, also: Any = None) -> int:
    """Appends as a runner's PATCH does; the size after it."""

    def work(tx: Any) -> int:
        attempt = tx.get(Attempt, attempt_id)
        tx.append_log(attempt_id, attempt.log_bytes, piece, 1)
        grown = replace(attempt, log_bytes=attempt.log_bytes + len(piece), lease_until_at=10)
        tx.save(grown)
        if also is not None:
            also(tx)
        return grown.log_bytes

    return db.submit_append(work, len(piece)).result(60)


def log_of(store: SqliteStore, attempt_id: int) -> tuple[int, bytes]:
    """(size the row says, bytes)."""
    with store.look() as tx:
        size = tx.get(Attempt, attempt_id).log_bytes
        return size, b"".join(data for _, data in tx.log_chunks(attempt_id, 0, size + 1))


def piece(mark: int, size: int = BIG) -> bytes:
    return bytes([mark]) * size


def test_pieces_of_every_size_make_one_log_before_and_after_a_restart(tmp_path: Path, made: Any) -> None:
    store = SqliteStore(tmp_path / "a.db")
    with store.begin() as tx:
        _, [(_, attempt)] = made.add_graph(tx, made.plan("a"))
    pieces = [b"s" * 10, b"L" * FROM_BYTES, b"m" * (FROM_BYTES - 1), b"H" * (5 * FROM_BYTES), b"e"]
    at = 0
    for piece in pieces[:3]:
        with store.begin() as tx:
            tx.append_log(attempt.id, at, piece, 1)
        at += len(piece)
    store.close()
    store = SqliteStore(tmp_path / "a.db")
    for piece in pieces[3:]:
        with store.begin() as tx:
            tx.append_log(attempt.id, at, piece, 1)
        at += len(piece)
    with store.look() as tx:
        found = tx.log_chunks(attempt.id, 0, at)
    store.close()
    assert b"".join(data for _, data in found) == b"".join(pieces)
    assert [path.name for path in (tmp_path / "a.db-logs").iterdir()] == [f"{attempt.id}.log"]


class Cut:
    """A database whose rows a power cut sets back to `note`, while its log files have all that was synced."""

    def __init__(self, folder: Path) -> None:
        self.path, self.kept = folder / "a.db", folder / "kept"

    def note(self) -> None:
        self.kept.mkdir()
        for file in self.path.parent.glob("a.db*"):
            if file.is_file() and file.suffix != ".db-shm":
                shutil.copy(file, self.kept / file.name)

    def happens(self) -> None:
        for file in self.path.parent.glob("a.db*"):
            if file.is_file():
                file.unlink()
        for file in self.kept.iterdir():
            shutil.copy(file, self.path.parent / file.name)


def test_a_power_cut_takes_no_answered_piece(tmp_path: Path, made: Any) -> None:
    cut = Cut(tmp_path)
    one, other, small = running(made, cut.path, 3)
    db, _ = open_sqlite(cut.path)
    assert add(db, one.id, piece(1)) == BIG
    add(db, other.id, b"few bytes first")
    add(db, other.id, piece(9))
    add(db, small.id, b"few")
    cut.note()  # all of this was synced; what follows may never have come to the disk but for the files
    for mark in range(2, 9):
        assert add(db, one.id, piece(mark)) == mark * BIG
    add(db, other.id, piece(10))
    db.close()
    cut.happens()
    store = SqliteStore(cut.path)
    assert log_of(store, one.id) == (8 * BIG, b"".join(map(piece, range(1, 9))))
    assert log_of(store, other.id) == (15 + 2 * BIG, b"few bytes first" + piece(9) + piece(10))
    assert log_of(store, small.id) == (3, b"few")
    store.close()
    db, _ = open_sqlite(cut.path)
    assert add(db, one.id, piece(11)) == 9 * BIG  # and it goes on there
    assert log_of(db._store, one.id)[1].endswith(piece(8) + piece(11))
    db.close()


@pytest.mark.parametrize("torn", ["newest bytes", "newest seal", "both seals", "no file"])
def test_what_was_torn_is_not_taken_for_whole(tmp_path: Path, made: Any, torn: str) -> None:
    cut = Cut(tmp_path)
    (one,) = running(made, cut.path)
    db, _ = open_sqlite(cut.path)
    add(db, one.id, piece(1))
    cut.note()
    for mark in (2, 3, 4):
        add(db, one.id, piece(mark))
    db.close()
    cut.happens()
    file = Path(f"{cut.path}-logs") / f"{one.id}.log"
    data = bytearray(file.read_bytes())
    newest = 512  # the fourth
    match torn:
        case "newest bytes":
            data[HEAD_BYTES + 4 * BIG - 1] ^= 1
        case "newest seal":
            data[newest + 9] ^= 1
        case "both seals":
            data[newest + 9] ^= 1
            data[9] ^= 1
    file.write_bytes(data)
    if torn == "no file":
        file.unlink()
    store = SqliteStore(cut.path)
    with store.look() as tx:
        found = tx.get(Attempt, one.id).log_bytes
    assert found == {"newest bytes": 3, "newest seal": 3, "both seals": 1, "no file": 1}[torn] * BIG
    store.close()


def test_only_rows_that_a_sealed_file_tells_go_unsynced(tmp_path: Path, made: Any) -> None:
    one, *many = running(made, tmp_path / "a.db", OPEN_FILES + 2)
    db, _ = open_sqlite(tmp_path / "a.db")
    hardened: list[bool] = []
    harden = db._store.harden

    def counted() -> None:
        hardened.append(True)
        harden()

    db._store.harden = counted  # type: ignore[method-assign]

    def syncs(*args: Any, **named: Any) -> bool:
        hardened.clear()
        add(db, *args, **named)
        return bool(hardened)

    assert syncs(one.id, piece(1))  # the first of a file: what lies before it must be synced once
    assert not syncs(one.id, piece(2))
    assert not syncs(one.id, piece(3))
    assert syncs(one.id, piece(4), also=lambda tx: tx.add(User(0, "a")))
    assert syncs(one.id, piece(5), also=lambda tx: tx.next_number(1))  # written by a statement that answers
    assert not syncs(one.id, piece(6))
    assert syncs(one.id, piece(7), also=lambda tx: tx.save(replace(tx.get(Attempt, one.id), message="m")))
    assert not syncs(one.id, b"few")  # an ordinary write, which syncs by itself
    assert syncs(one.id, piece(8))  # after bytes that lie in a row
    assert not syncs(one.id, piece(9))
    for other in many:
        assert syncs(other.id, piece(1))
    assert syncs(one.id, piece(10))  # its file had been closed
    db.close()


def test_a_hardened_commit_is_in_the_synced_log(tmp_path: Path, made: Any) -> None:
    (one,) = running(made, tmp_path / "a.db")
    db, _ = open_sqlite(tmp_path / "a.db")
    said: list[str] = []
    db._store._writer.set_trace_callback(said.append)
    add(db, one.id, piece(1))
    add(db, one.id, piece(2))
    db.submit_write(lambda tx: tx.add(User(0, "a"))).result(60)
    db._store._writer.set_trace_callback(None)
    db.close()
    steps = [line for line in said if line.startswith(("PRAGMA", "COMMIT", "UPDATE alembic"))]
    assert steps == [
        "PRAGMA synchronous = NORMAL", "COMMIT", "PRAGMA synchronous = FULL", "UPDATE alembic_version SET version_num = version_num", "COMMIT",
        "PRAGMA synchronous = NORMAL", "COMMIT", "PRAGMA synchronous = FULL", "COMMIT",
    ]  # fmt: skip


def test_a_piece_that_was_rolled_back_is_written_again(tmp_path: Path, made: Any) -> None:
    cut = Cut(tmp_path)
    (one,) = running(made, cut.path)
    db, _ = open_sqlite(cut.path)
    add(db, one.id, piece(1))
    add(db, one.id, piece(2))

    def fail(tx: Any) -> None:
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):
            add(db, one.id, piece(7, 3 * BIG), also=fail)
    assert add(db, one.id, piece(3)) == 3 * BIG
    cut.note()
    assert add(db, one.id, piece(4)) == 4 * BIG
    db.close()
    cut.happens()
    store = SqliteStore(cut.path)
    assert log_of(store, one.id) == (4 * BIG, b"".join(map(piece, (1, 2, 3, 4))))
    store.close()


def test_files_from_before_there_were_seals_are_read_and_go_on(tmp_path: Path, made: Any) -> None:
    (one,) = running(made, tmp_path / "a.db")
    store = SqliteStore(tmp_path / "a.db")
    with store.begin() as tx:
        tx.append_log(one.id, 0, piece(1, FROM_BYTES), 1)
        tx.save(replace(one, log_bytes=FROM_BYTES))
    store.close()
    folder = tmp_path / "a.db-logs"
    (folder / str(one.id)).write_bytes((folder / f"{one.id}.log").read_bytes()[HEAD_BYTES:])
    (folder / f"{one.id}.log").unlink()
    db, _ = open_sqlite(tmp_path / "a.db")
    assert add(db, one.id, piece(2)) == FROM_BYTES + BIG
    assert log_of(db._store, one.id)[1] == piece(1, FROM_BYTES) + piece(2)
    db.close()
    assert [path.name for path in folder.iterdir()] == [f"{one.id}.log"]


def test_files_without_an_attempt_or_rows_go(tmp_path: Path, made: Any) -> None:
    running(made, tmp_path / "a.db")
    files = LogFiles(tmp_path / "a.db-logs")
    files.write(77, 0, piece(1))
    files.sync()
    files.close()
    SqliteStore(tmp_path / "a.db").close()
    assert list((tmp_path / "a.db-logs").iterdir()) == []


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from runyard.model.work import Attempt
from runyard.store.sqlite_database import open_sqlite
db, _ = open_sqlite(Path(sys.argv[1]))
size = int(sys.argv[3])
def work(tx):
    attempt = tx.get(Attempt, int(sys.argv[2]))
    at = attempt.log_bytes
    tx.append_log(attempt.id, at, bytes([at // size % 251]) * size, 1)
    tx.save(replace(attempt, log_bytes=at + size))
    return at + size
print("ready", flush=True)
while True:
    print(db.submit_append(work, size).result(), flush=True)
"""


def test_every_answered_piece_survives_kill_9(tmp_path: Path, made: Any) -> None:
    path = tmp_path / "a.db"
    (one,) = running(made, path)
    argv = [sys.executable, "-c", WRITER, str(path), str(one.id), str(BIG)]
    answered = 0
    for round in range(6):
        with subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "src"}) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            first = child.stdout.readline()
            time.sleep(0.004 * round)
            child.send_signal(signal.SIGKILL)
            lines = [first, *child.stdout.readlines()]
        answered = max(int(line) for line in lines if line.endswith(b"\n"))
        store = SqliteStore(path)
        size, found = log_of(store, one.id)
        with store.look() as tx:
            assert [row.id for row in tx.listed(AttemptFilter(), Page())] == [one.id]
        store.close()
        assert size >= answered
        assert found == b"".join(bytes([n % 251]) * BIG for n in range(size // BIG))
    assert answered >= 6 * BIG


def test_a_long_log_is_read_whole_although_only_its_end_stays_cached(tmp_path: Path, made: Any) -> None:
    [attempt] = running(made, tmp_path / "a.db")
    store = SqliteStore(tmp_path / "a.db")
    db = SqliteDatabase(store)
    pieces = [os.urandom(700_001) for _ in range(6)]
    for one in pieces:
        add(db, attempt.id, one)
    assert store.files is not None
    assert store.files._open[attempt.id].cached_from > HEAD_BYTES + 1_000_000
    assert log_of(store, attempt.id) == (6 * 700_001, b"".join(pieces))
    db.close()
