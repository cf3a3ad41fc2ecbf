"""The runner as a process of its own: killed, paused, cut off (reliability.md §2.3, §8 rows 12, 13, 28)."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.faults.stories import jobs, project, single, trace, trigger, until_printed, until_status
from tests.faults.verdict import sqlite_rows
from tests.faults.watch import Witness, groups_of, living
from tests.live_server import LiveRunner, LiveServer, runner_token

PATH = "team/fleet"
REGISTRATION = "registration-token-of-the-fault-battery"


class Fleet:
    """Runner processes of one server that has none built in."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.runners: list[LiveRunner] = []
        self.token = runner_token(server)

    def start(self) -> LiveRunner:
        """Returns once it asks for jobs."""
        options = ("--slots", "1", "--network", "host")
        self.runners.append(LiveRunner(self.server, self.token, *options, name=f"runner{len(self.runners)}"))
        return self.runners[-1]

    def close(self) -> None:
        for runner in self.runners:
            runner.kill()


@pytest.fixture
def fleet(serve: Callable[..., LiveServer]) -> Iterator[Fleet]:
    server = serve(
        RUNYARD_RUNNER_SLOTS="0",
        RUNYARD_LEASE_S="3",
        RUNYARD_REQUEUES="2",
        RUNYARD_REGISTRATION_TOKEN=REGISTRATION,
    )
    made = Fleet(server)
    yield made
    made.close()


def hello(witness: Witness, then: str) -> str:
    """A job that the witness sees."""
    return f'exec 9<>/dev/tcp/127.0.0.1/{witness.port}; echo "$CI_JOB_ID $CI_PIPELINE_ID $CI_JOB_NAME" >&9\necho begun\n{then}'


def running(fleet: Fleet, run: int, attempts: int) -> int:
    """The id of the last attempt, once that many exist and it has begun to print."""
    found = fleet.server.until(
        lambda: jobs(fleet.server, PATH, run),
        lambda js: len(js) == attempts and js[0]["status"] == "running",
        30,
    )
    until_printed(fleet.server, PATH, found[0]["id"], "begun", 20)
    return int(found[0]["id"])


def test_a_killed_runner_gives_the_job_back_twice_and_then_it_is_lost(
    fleet: Fleet, witness: Witness, mark: str
) -> None:
    server = fleet.server
    server.push(PATH, single(hello(witness, "sleep 60"), mark), "start [skip ci]")
    run = trigger(server, PATH)
    for attempt in (1, 2, 3):
        runner = fleet.start()
        running(fleet, run, attempt)
        runner.kill()
        server.until(lambda: living(mark), lambda left: not left, 5)
        if attempt < 3:
            server.until(lambda: jobs(server, PATH, run), lambda js, n=attempt: len(js) == n + 1, 15)  # type: ignore[misc]
    until_status(server, PATH, run, {"failed"}, 15)
    ends = sqlite_rows(server.folder)("SELECT outcome, reason FROM attempts ORDER BY id")
    assert ends == [("errored", "runner_lost")] * 3
    assert witness.broken == []
    fresh = fleet.start()
    assert [groups_of(r.process.pid) for r in fleet.runners if r is not fresh] == [[], [], []]


def test_a_runner_that_slept_beyond_its_lease_is_told_to_stop_and_one_result_stands(
    fleet: Fleet, witness: Witness, mark: str
) -> None:
    server = fleet.server
    script = hello(witness, 'for i in $(seq 1 40); do echo "line $i of $CI_JOB_ID"; sleep 0.1; done')
    server.push(PATH, single(script, mark), "start [skip ci]")
    sleeper = fleet.start()
    run = trigger(server, PATH)
    first = running(fleet, run, 1)
    sleeper.process.send_signal(signal.SIGSTOP)  # its job goes on printing into the pipe
    server.until(lambda: jobs(server, PATH, run), lambda js: len(js) == 2, 15)
    before = trace(server, PATH, first)
    sleeper.process.send_signal(signal.SIGCONT)
    until_status(server, PATH, run, {"success"}, 60)
    found = {j["id"]: j for j in jobs(server, PATH, run)}
    second = max(found)
    assert {i: j["status"] for i, j in found.items()} == {first: "failed", second: "success"}
    assert re.findall(rf"line (\d+) of {second}", trace(server, PATH, second)) == [
        str(i) for i in range(1, 41)
    ]
    assert trace(server, PATH, first) == before
    server.until(lambda: living(mark), lambda left: not left, 10)
    assert [b for b in witness.broken if "was run twice" in b] == []


def test_a_server_that_is_away_for_a_while_gets_the_whole_log(
    fleet: Fleet, witness: Witness, mark: str
) -> None:
    server = fleet.server
    lines = 400
    script = hello(witness, f'for i in $(seq 1 {lines}); do echo "line $i of $CI_JOB_ID"; sleep 0.02; done')
    server.push(PATH, single(script, mark), "start [skip ci]")
    fleet.start()
    run = trigger(server, PATH)
    attempt = running(fleet, run, 1)
    server.kill()
    time.sleep(5)  # the outage itself: longer than the lease
    server.start()
    until_status(server, PATH, run, {"success"}, 60)
    assert [j["id"] for j in jobs(server, PATH, run)] == [attempt]
    text = trace(server, PATH, attempt)
    assert re.findall(rf"^line (\d+) of {attempt}\r?$", text, re.MULTILINE) == [
        str(i) for i in range(1, lines + 1)
    ]
    assert sqlite_rows(server.folder)("SELECT message FROM attempts") == [("",)]
    assert witness.broken == []


def test_a_runner_that_is_told_to_end_gives_its_job_back_at_once(
    fleet: Fleet, witness: Witness, mark: str
) -> None:
    server = fleet.server
    server.kill()
    server.settings |= {"RUNYARD_LEASE_S": "60", "RUNYARD_REQUEUES": "0"}
    server.start()
    server.push(PATH, single(hello(witness, "sleep 60"), mark), "start [skip ci]")
    run = trigger(server, PATH)
    runner = fleet.start()
    running(fleet, run, 1)
    runner.stop()
    assert runner.process.returncode == 0
    assert living(mark) == []
    server.until(lambda: jobs(server, PATH, run), lambda js: len(js) == 2, 10)
    assert server.call("POST", f"{project(server, PATH)}/pipelines/{run}/cancel")[0] == 200
