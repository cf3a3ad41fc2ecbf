"""kill -9 of the server while pushes come in and schedules fall due: a branch that git has stored has its
pipeline, a due time its own, and none has two."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.stories import project
from tests.faults.verdict import sqlite_rows
from tests.live_server import TOKEN, LiveServer

PATH = "team/events"
FILES = {".gitlab-ci.yml": "job: {script: [echo]}\n"}
DUE = "UPDATE records SET data = json_set(data, '$.next_run_at', ?) WHERE id = ?"
SCHEDULES = "SELECT id, json_extract(data, '$.next_run_at') FROM records WHERE kind = 'gitlab.schedule'"


class Pusher:
    """Pushes one new branch after the other, each until git says that it is there."""

    def __init__(self, server: LiveServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.url = f"{server.url.replace('://', f'://root:{TOKEN}@')}/{PATH}.git"
        self.stop = threading.Event()
        self.pushed: list[str] = []
        server.git(folder.parent, "clone", "-q", self.url, str(folder))

    def work(self) -> None:
        """Until told to stop."""
        while not self.stop.is_set():
            self.push(f"b{len(self.pushed)}")

    def push(self, name: str) -> None:
        git = self.server.git
        git(self.folder, "checkout", "-q", "-b", name)
        git(self.folder, "commit", "-qm", name, "--allow-empty")
        until = time.monotonic() + 60
        while True:
            try:
                git(self.folder, "push", "-q", self.url, name)
                break
            except AssertionError:
                assert time.monotonic() < until
        self.pushed.append(name)


def make_due(server: LiveServer) -> int:
    """While the server is away: schedules that were moved on are due again, at a time of their own. How many
    that are."""
    now, made = time.time_ns() // 1_000_000, 0
    with closing(sqlite3.connect(server.folder / "data/runyard.db")) as database:
        for id, at in database.execute(SCHEDULES).fetchall():
            if at > now:
                database.execute(DUE, (now - 1000, id))
                made += 1
        database.commit()
    return made


@pytest.mark.parametrize(("rounds", "seed"), [(4, 1), pytest.param(40, 2, marks=pytest.mark.slow)])
def test_what_happens_is_heard_once(
    serve: Callable[..., LiveServer], tmp_path: Path, rounds: int, seed: int
) -> None:
    server, chance = serve(RUNYARD_RUNNER_SLOTS="0"), random.Random(seed)
    server.push(PATH, FILES, "start [skip ci]")
    place = project(server, PATH)
    for number in range(3):
        given = {"description": f"s{number}", "ref": "main", "cron": "0 4 1 1 *"}
        assert server.call("POST", f"{place}/pipeline_schedules", given)[0] == 201
    pusher, due = Pusher(server, tmp_path / "clone"), 0
    thread = threading.Thread(target=pusher.work)
    thread.start()
    try:
        for _ in range(rounds):
            time.sleep(chance.uniform(0.1, 1.0))
            server.kill()
            due += make_due(server)
            server.start()
    finally:
        pusher.stop.set()
        thread.join()
    pusher.push("last")  # what earlier pushes left is heard before it
    rows = sqlite_rows(server.folder)
    now = time.time_ns() // 1_000_000
    server.until(lambda: rows(SCHEDULES), lambda found: all(at > now for _, at in found), 60)
    runs: list[tuple[Any, ...]] = rows(
        "SELECT source, ref FROM runs WHERE ref <> 'main' OR source = 'schedule'"
    )
    by_push = Counter(ref for source, ref in runs if source == "push")
    there = server.git(tmp_path / "clone", "ls-remote", "--heads", pusher.url).split()[1::2]
    assert by_push == Counter(ref.removeprefix("refs/heads/") for ref in there if ref != "refs/heads/main")
    assert set(pusher.pushed) <= set(by_push)
    assert sum(source == "schedule" for source, _ in runs) == due > 0
    assert rows("SELECT key FROM records WHERE kind = 'push'") == []
