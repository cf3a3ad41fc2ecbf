"""Large pieces of logs lie in files with room reserved ahead; small ones in the database. Readers see one log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runyard.store.log_files import FROM_BYTES
from runyard.store.sqlite import SqliteStore


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
    assert [path.name for path in (tmp_path / "a.db-logs").iterdir()] == [str(attempt.id)]
