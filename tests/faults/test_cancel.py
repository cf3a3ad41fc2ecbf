"""Cancel ends everything, whenever it comes (reliability.md §2.6, §8 row 36)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from tests.faults.stories import jobs, project, single, trace, trigger, until_job, until_printed, until_status
from tests.faults.verdict import sqlite_rows
from tests.faults.watch import Witness, living
from tests.live_server import LiveServer

PATH = "team/cancel"
STUBBORN = """
trap '' TERM INT HUP
(trap '' TERM; setsid sh -c 'trap "" TERM; (sleep 300 &) ; sleep 300' &)
setsid -f sleep 300 < /dev/null > /dev/null 2>&1
nohup sh -c 'trap "" TERM; while :; do sleep 1; done' > /dev/null 2>&1 &
echo begun
while :; do sleep 1; done
"""


@pytest.fixture
def server(serve: Callable[..., LiveServer]) -> LiveServer:
    return serve(RUNYARD_RUNNER_SLOTS="4", RUNYARD_CANCEL_GRACE_S="1")


def cancel(server: LiveServer, run: int) -> None:
    status, answer = server.call("POST", f"{project(server, PATH)}/pipelines/{run}/cancel")
    assert status == 200, answer


def test_no_process_of_a_stubborn_job_survives_a_cancel(server: LiveServer, mark: str) -> None:
    server.push(PATH, single(STUBBORN, mark), "start [skip ci]")
    run = trigger(server, PATH)
    attempt = until_job(server, PATH, run, {"running"})["id"]
    until_printed(server, PATH, attempt, "begun")
    server.until(lambda: living(mark), lambda found: len(found) >= 4, 10)
    before = time.monotonic()
    cancel(server, run)
    assert jobs(server, PATH, run)[0]["status"] in ("canceling", "canceled")
    until_status(server, PATH, run, {"canceled"}, 20)
    assert living(mark) == []  # at once: the word `canceled` means that nothing runs any more
    assert time.monotonic() - before < 15


def test_a_cancel_at_any_moment_has_one_end_and_leaves_nothing(
    server: LiveServer, witness: Witness, mark: str
) -> None:
    """Before the claim, at it, while printing, at the finish: seeded moments over some dozen runs."""
    script = f'exec 9<>/dev/tcp/127.0.0.1/{witness.port}; echo "$CI_JOB_ID $CI_PIPELINE_ID $CI_JOB_NAME" >&9\necho begun; sleep 0.3; echo ended'
    server.push(
        PATH, single(script, mark, "after:\n  stage: deploy\n  script: [echo after]\n"), "start [skip ci]"
    )
    chance = random.Random(7)
    runs = []
    for _ in range(16):
        runs.append(trigger(server, PATH))
        time.sleep(chance.uniform(0.0, 1.2))
        cancel(server, runs[-1])
    ends = [until_status(server, PATH, run, {"canceled", "success"}, 30)["status"] for run in runs]
    assert "canceled" in ends
    server.until(lambda: living(mark), lambda left: not left, 5)
    server.until(witness.inside, lambda inside: not inside, 5)
    rows = sqlite_rows(server.folder)
    assert rows("SELECT id FROM attempts WHERE state <> 'done'") == []
    assert rows("SELECT * FROM queue") == []
    assert witness.broken == []
    ran = {v.attempt for v in witness.visits}
    started = {i for (i,) in rows("SELECT id FROM attempts WHERE started_at IS NOT NULL")}
    assert ran <= started
    for run in runs:
        work = next(j for j in jobs(server, PATH, run) if j["name"] == "work")
        assert (work["status"] == "success") <= ("ended" in trace(server, PATH, work["id"]))


def test_a_canceled_job_stays_canceled_when_the_server_dies_meanwhile(server: LiveServer, mark: str) -> None:
    server.push(PATH, single(STUBBORN, mark), "start [skip ci]")
    run = trigger(server, PATH)
    until_printed(server, PATH, until_job(server, PATH, run, {"running"})["id"], "begun")
    cancel(server, run)
    server.kill()
    server.until(lambda: living(mark), lambda left: not left, 5)
    server.settings["RUNYARD_LEASE_S"] = "1"
    server.start()
    until_status(server, PATH, run, {"canceled"}, 20)
    assert len(jobs(server, PATH, run)) == 1
