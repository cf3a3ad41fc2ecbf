"""An answered write survives kill -9 (reliability.md §2.2, §8 rows 1 and 2)."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from runyard.engine.ports import Page
from runyard.store import open_database

ROUNDS = 20

WRITER = """
import sys
from pathlib import Path
from runyard.model.work import User
from runyard.store import open_database
db, _ = open_database("", Path(sys.argv[1]))
start = int(sys.argv[2])
waiting = [(n, db.submit_write(lambda tx, n=n: tx.add(User(0, f"u{n}")))) for n in range(start, start + 5)]
print("ready", flush=True)
while True:
    n, future = waiting.pop(0)
    future.result()
    print(n, flush=True)
    n = waiting[-1][0] + 1
    waiting.append((n, db.submit_write(lambda tx, n=n: tx.add(User(0, f"u{n}")))))
"""


def test_every_acknowledged_write_survives_kill_9(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    for round in range(ROUNDS):
        argv = [sys.executable, "-c", WRITER, str(tmp_path), str(round * 1_000_000)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "src"}) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            time.sleep(0.002 * round)
            first = child.stdout.readline()
            child.send_signal(signal.SIGKILL)
            lines = [first, *child.stdout.readlines()]
        acknowledged.update(int(line) for line in lines if line.endswith(b"\n"))
    assert len(acknowledged) >= ROUNDS
    db, _ = open_database("", tmp_path)
    lost = db.submit_read(lambda tx: [n for n in acknowledged if tx.user_by_name(f"u{n}") is None]).result(60)
    assert lost == []
    assert db.submit_read(lambda tx: tx.projects("", Page())).result(5) == []
    db.close()
    connection = sqlite3.connect(tmp_path / "runyard.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
