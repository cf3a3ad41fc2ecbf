"""SIGTERM: running jobs are handed back and run again by the next server (reliability.md §8 rows 13 and
14)."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from http.client import HTTPException
from urllib.error import URLError

from httpx import Client, TransportError

from tests.faults.stories import (
    LINES,
    fan,
    jobs,
    single,
    trace,
    trigger,
    until_job,
    until_printed,
    until_status,
)
from tests.faults.verdict import blob_complaints, complaints, sqlite_rows
from tests.faults.watch import Witness, groups_of, living
from tests.live_server import LiveServer

PATH = "team/stop"


def test_a_stopped_server_hands_its_jobs_back_and_the_next_one_runs_them(
    serve: Callable[..., LiveServer], mark: str
) -> None:
    server = serve(RUNYARD_RUNNER_SLOTS="2")
    server.push(PATH, single("echo begun; test -e /nowhere || sleep 20; echo ended", mark), "start [skip ci]")
    run = trigger(server, PATH)
    first = until_job(server, PATH, run, {"running"})
    until_printed(server, PATH, first["id"], "begun")
    pid, before = server.process.pid, time.monotonic()
    server.stop()
    assert time.monotonic() - before < 15
    assert server.process.returncode == 0
    assert living(mark) == []
    assert groups_of(pid) == []
    server.start()
    again = server.until(
        lambda: jobs(server, PATH, run), lambda js: len(js) == 2 and js[0]["status"] == "running", 20
    )
    assert sorted(j["status"] for j in again) == ["failed", "running"]
    assert server.call("POST", f"/api/v4/projects/team%2Fstop/pipelines/{run}/cancel")[0] == 200
    until_status(server, PATH, run, {"canceled"})


def test_being_stopped_many_times_is_no_failure_of_the_job(
    serve: Callable[..., LiveServer], mark: str
) -> None:
    server = serve(RUNYARD_RUNNER_SLOTS="1", RUNYARD_REQUEUES="0")
    server.push(PATH, single("echo begun; sleep 30", mark), "start [skip ci]")
    run = trigger(server, PATH)
    for count in range(2):  # more often than a lost runner is forgiven
        found = server.until(lambda: jobs(server, PATH, run), lambda js: js[0]["status"] == "running", 20)
        assert len(found) == count + 1
        server.stop()
        server.start()
    server.until(lambda: jobs(server, PATH, run), lambda js: js[0]["status"] == "running", 20)


def test_who_waits_for_something_does_not_hold_up_a_stop(serve: Callable[..., LiveServer], mark: str) -> None:
    """Runners that wait for jobs, and pages that follow a run."""
    server = serve(RUNYARD_RUNNER_SLOTS="0")
    server.push(PATH, single("true", mark), "start [skip ci]")
    run = trigger(server, PATH)
    tagged = {"runner_type": "instance_type", "tag_list": ["other"], "run_untagged": False}
    made = server.call("POST", "/api/v4/user/runners", tagged)
    heard: list[int] = []
    with ExitStack() as stack:
        runner, page = (stack.enter_context(Client(base_url=server.url, timeout=60)) for _ in range(2))
        page.post("/sign-in", data={"token": server.token})
        asked = {"token": made[1]["token"]}
        first = runner.post("/api/v4/jobs/request", json=asked)
        asked["last_update"] = first.headers["X-GitLab-Last-Update"]

        def ask() -> None:
            with suppress(TransportError):
                heard.append(runner.post("/api/v4/jobs/request", json=asked).status_code)

        def follow() -> None:
            with suppress(TransportError), page.stream("GET", f"/-/events/run/{run}") as answer:
                for _ in answer.iter_lines():
                    following.release()
                heard.append(answer.status_code)

        following = threading.Semaphore(0)
        threads = [threading.Thread(target=act) for act in (ask, follow) for _ in range(5)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            assert following.acquire(timeout=10)
        time.sleep(0.5)
        assert heard == []
        before = time.monotonic()
        server.stop()
        took = time.monotonic() - before
        for thread in threads:
            thread.join(10)
    assert took < 8  # requests that nobody ends are waited for ten seconds
    assert sorted(heard) == [200] * 5 + [503] * 5
    assert "InvalidStateError" not in server.log.read_text()


def test_stopping_while_everything_goes_on_loses_nothing(
    serve: Callable[..., LiveServer], witness: Witness, mark: str
) -> None:
    server = serve(RUNYARD_RUNNER_SLOTS="4", RUNYARD_REQUEUES="100")
    server.push(PATH, fan(witness, mark, width=3))
    acknowledged: list[int] = []
    stop = threading.Event()

    def press() -> None:
        while not stop.wait(0.2):
            try:
                acknowledged.append(trigger(server, PATH))
            except (URLError, HTTPException, OSError, AssertionError):
                return  # refused or cut off: not acknowledged

    for pause in (0.5, 1.5):
        thread = threading.Thread(target=press)
        thread.start()
        stop.wait(pause)
        before = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.stop()
        assert time.monotonic() - before < 15
        assert server.process.returncode == 0
        thread.join()
        assert living(mark) == []
        server.start()
    for number in acknowledged:
        until_status(server, PATH, number, {"success"}, 120)
    rows = sqlite_rows(server.folder)
    server.until(lambda: rows("SELECT id FROM runs WHERE state <> 'done'"), lambda left: not left, 120)
    assert complaints(server, PATH, acknowledged, rows, LINES) == []
    assert blob_complaints(rows, server.folder / "data" / "blobs") == []
    assert witness.broken == []
    assert all("Traceback" not in line for line in server.log.read_text().splitlines())
    assert trace(server, PATH, jobs(server, PATH, acknowledged[0])[0]["id"])
