"""An answered write survives kill -9, and so does an upgrade (reliability.md §2.2, §8 rows 1, 2 and 10)."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from runyard.engine.ports import AttemptFilter, Page
from runyard.model.plan import JobPlan
from runyard.model.work import Attempt, Job, Project, Run, Workflow
from runyard.store import open_database
from runyard.store.sqlite import SqliteStore

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


DIES_AT = """
import os, sqlite3, sys
from functools import partial
from pathlib import Path
from runyard.store import open_database

class Dying(sqlite3.Connection):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.set_trace_callback(lambda sql: sys.argv[2] in sql and os.kill(os.getpid(), 9))

sqlite3.connect = partial(sqlite3.connect, factory=Dying)
open_database("", Path(sys.argv[1]))
"""


@pytest.mark.parametrize(
    "statement", ["ADD COLUMN outline", "SET outline", "ADD COLUMN card", "INDEX attempts_undrawn", "'0007'"]
)
def test_an_upgrade_that_is_killed_leaves_the_old_schema(tmp_path: Path, statement: str) -> None:
    file = tmp_path / "runyard.db"
    _old_database(file, attempts=5000)
    argv = [sys.executable, "-c", DIES_AT, str(tmp_path), statement]
    assert subprocess.run(argv, env={**os.environ, "PYTHONPATH": "src"}).returncode == -signal.SIGKILL
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0005",)]
        columns = {row[1] for row in connection.execute("PRAGMA table_info(attempts)")}
        assert not columns & {"outline", "card"}
    store = SqliteStore(file)
    with store.look() as tx:
        rows = tx.listed(AttemptFilter(), Page(limit=6000))
        assert [row.outline.name for row in rows] == ["kä"] * 5000
        assert tx._link.rows("PRAGMA integrity_check") == [("ok",)]
    store.close()


def _old_database(path: Path, attempts: int) -> None:
    """As release 0005 left it."""
    store = SqliteStore(path)
    with store.begin() as tx:
        project = tx.add(Project(0, "g/n"))
        run = tx.add(Run(0, project.id, 1, "gitlab", "push", "main", "a" * 40))
        flow = tx.add(Workflow(0, run.id, "main"))
        plan = JobPlan("k", "kä", stage="build")
        jobs = tx.add_all([Job(0, run.id, flow.id, project.id, f"k{i}", "kä", plan) for i in range(attempts)])
        tx.add_all([Attempt(0, job.id, run.id, project.id, 1) for job in jobs])
        tx._link.run("DROP INDEX attempts_undrawn")
        for column in ("outline", "card"):
            tx._link.run(f"ALTER TABLE attempts DROP COLUMN {column}")
        tx._link.run("UPDATE alembic_version SET version_num = '0005'")
    store.close()
