"""kill -9 of the server while everything goes on, again and again; then nothing is lost and nothing happened
twice (reliability.md §2, §8 rows 1 to 12)."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from urllib.error import URLError

import pytest

from tests.faults.stories import ENDED, LINES, fan, pipeline, trigger
from tests.faults.verdict import blob_complaints, complaints, sqlite_rows, witness_complaints
from tests.faults.watch import Witness, groups_of, living
from tests.live_server import LiveServer

PATH = "team/fan"


def storm(server: LiveServer, mark: str, rounds: int, seed: int, longest_s: float) -> list[int]:
    """Triggers from two threads while the server dies at random moments; answers the acknowledged runs."""
    chance = random.Random(seed)
    acknowledged: list[int] = []
    for number in range(rounds):
        stop = threading.Event()

        def press(stop: threading.Event = stop) -> None:
            while not stop.wait(0.3):
                try:
                    acknowledged.append(trigger(server, PATH))
                except (URLError, HTTPException, OSError):
                    return

        threads = [threading.Thread(target=press) for _ in range(2)]
        for thread in threads[: 1 + number % 2]:
            thread.start()
        time.sleep(chance.uniform(0.2, longest_s))
        pid = server.process.pid
        server.kill()
        stop.set()
        for thread in threads[: 1 + number % 2]:
            thread.join()
        server.until(lambda: living(mark), lambda left: not left, 5)
        server.start()
        assert not groups_of(pid), "a restart sweeps what a dead server left"
    return acknowledged


@pytest.mark.parametrize(
    ("rounds", "seed", "longest_s"),
    [
        (4, 1, 1.5),
        pytest.param(25, 2, 4.0, marks=pytest.mark.slow),
        pytest.param(40, 3, 1.0, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_lost_when_the_server_is_killed_again_and_again(
    serve: Callable[..., LiveServer], witness: Witness, mark: str, rounds: int, seed: int, longest_s: float
) -> None:
    server = serve(RUNYARD_LEASE_S="2", RUNYARD_REQUEUES="1000", RUNYARD_RUNNER_SLOTS="4")
    server.push(PATH, fan(witness, mark, width=4))
    acknowledged = storm(server, mark, rounds, seed, longest_s)
    assert acknowledged
    for number in acknowledged:
        server.until(lambda n=number: pipeline(server, PATH, n), lambda p: p["status"] in ENDED, 240)  # type: ignore[misc]
    rows = sqlite_rows(server.folder)
    server.until(lambda: rows("SELECT id FROM runs WHERE state <> 'done'"), lambda left: not left, 240)
    assert complaints(server, PATH, acknowledged, rows, LINES) == []
    assert blob_complaints(rows, server.folder / "data" / "blobs") == []
    server.until(lambda: witness_complaints(witness, rows), lambda found: not found, 5)
    assert {pipeline(server, PATH, n)["status"] for n in acknowledged} == {"success"}
    server.stop()
    assert server.process.returncode == 0
    assert living(mark) == []
    assert rows("PRAGMA integrity_check") == [("ok",)]


def test_a_kill_between_a_row_and_its_part_in_git_is_mended_by_the_next_start(
    serve: Callable[..., LiveServer], mark: str
) -> None:
    """The two moments are a few hundred microseconds long, so what a kill there leaves is laid out by
    hand."""
    server = serve(RUNYARD_RUNNER_SLOTS="0")
    sha = server.push(PATH, fan(None, mark, width=1), "start [skip ci]")
    run = trigger(server, PATH)
    assert (
        server.call("POST", "/api/v4/projects", {"name": "half", "path": "half", "namespace_path": "team"})[0]
        == 201
    )
    server.kill()
    repositories = server.folder / "data" / "repositories"
    (half,) = (head.parent for head in repositories.rglob("HEAD") if not list((head.parent / "objects").rglob("pack-*"))
               and not list((head.parent / "refs" / "heads").iterdir()) and not (head.parent / "packed-refs").exists())  # fmt: skip
    shutil.rmtree(half)
    kept = [path for path in repositories.rglob(str(run)) if path.parent.name == "pipelines"]
    assert kept
    for path in kept:
        path.unlink()
    server.start()
    assert [path.read_text().strip() for path in kept] == [sha]
    assert server.call("GET", "/api/v4/projects/team%2Fhalf")[0] == 200
    server.push("team/half", {"a": "b"})
