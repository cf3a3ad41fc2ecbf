"""kill -9 of the server between what people and a runner say to it: schedules played, workflows dispatched,
runs, workflows and jobs retried and canceled, reports read at their upload, big pieces of logs. What was
answered is there, once; what was not is there whole or not at all (reliability.md §2.2, §2.4, §8 rows 1 to
9)."""

from __future__ import annotations

import gzip
import http.client
import json
import random
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.error import URLError

import pytest

from tests.faults.stories import project, trace
from tests.faults.test_repeats import REGISTRATION, packed, registered
from tests.faults.verdict import blob_complaints, sqlite_rows
from tests.live_server import LiveServer

PATH = "team/verbs"
FILES = {
    ".gitlab-ci.yml": "build: {script: [echo]}\nuse: {stage: deploy, script: [echo]}\n",
    ".depot/workflows/w.yml": "on: workflow_dispatch\njobs: {one: {runs-on: x, steps: [{run: echo}]}}\n",
}
JUNIT = b'<testsuite><testcase name="a"/><testcase name="b"><failure/></testcase></testsuite>'
COBERTURA = b"""<coverage line-rate="0.5"><packages><package name="p"><classes><class name="c" filename="c.py">
<lines><line number="1" hits="1"/><line number="2" hits="0"/></lines></class></classes></package></packages></coverage>"""
UPLOADS = {  # type → (format, bytes)
    "archive": ("zip", packed(b"left" * 5000)),
    "junit": ("gzip", gzip.compress(JUNIT)),
    "cobertura": ("gzip", gzip.compress(COBERTURA)),
    "dotenv": ("gzip", gzip.compress(b"FROM_BUILD=yes\n")),
}
DEPOT = "/depot.ci.v1.CIService/"
ON_WORKFLOWS = {"rerun": "RerunWorkflow", "failed": "RetryFailedJobs", "end": "CancelWorkflow"}
GONE = (OSError, HTTPException, URLError)


@dataclass
class Insistent:
    """A runner that repeats what was not answered, as a real one does, until it is told to stop or that the
    job is no longer its own."""

    server: LiveServer
    token: str
    stop: threading.Event = field(default_factory=threading.Event)
    logs: dict[int, bytes] = field(default_factory=dict)  # of attempts whose end was answered

    def work(self) -> None:
        """Job after job."""
        said = {"token": self.token, "info": {"features": {"runyard": True, "cancel_gracefully": True}}}
        while not self.stop.is_set():
            status, _, body = self.ask("POST", "/jobs/request", json.dumps(said).encode())
            if status == 201:
                self.one(json.loads(body))
            else:
                time.sleep(0.05)

    def one(self, job: dict[str, Any]) -> None:
        """A job from its claim to its end, or until somebody else has it."""
        log = b"".join(b"line %d of %d\n" % (n, job["id"]) for n in range(3000))
        at, path = 0, f"/jobs/{job['id']}"
        while at < len(log):
            head = {"JOB-TOKEN": job["token"], "Content-Range": f"{at}-{min(at + 20_000, len(log)) - 1}"}
            status, headers, _ = self.ask("PATCH", f"{path}/trace", log[at : at + 20_000], head)
            if status not in (202, 416):
                return
            at = int(headers["range"].rpartition("-")[2])
        for kind, (form, data) in UPLOADS.items():
            edge = (
                b'--edge\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
                + data
                + b"\r\n--edge--\r\n"
            )
            head = {"JOB-TOKEN": job["token"], "Content-Type": "multipart/form-data; boundary=edge"}
            query = f"?artifact_format={form}&artifact_type={kind}"
            if self.ask("POST", f"{path}/artifacts{query}", edge, head)[0] != 201:
                return
        output = {"checksum": f"crc32:{zlib.crc32(log):08x}", "bytesize": len(log)}
        end = {"token": job["token"], "state": "success", "output": output}
        status, headers, _ = self.ask("PUT", path, json.dumps(end).encode())
        if status == 200 and headers["job-status"] == "success":
            self.logs[job["id"]] = log

    def ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """The answer, however often it takes; 410 once this runner is to stop."""
        while not self.stop.is_set():
            connection = http.client.HTTPConnection(self.server.listen, timeout=20)
            with suppress(*GONE), closing(connection):
                head = {"Content-Type": "application/json", **(headers or {})}
                connection.request(method, "/api/v4" + path, body, head)
                answer = connection.getresponse()
                if answer.status < 500:
                    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
            time.sleep(0.05)
        return 410, {}, b""


@dataclass
class People:
    """Somebody who presses every button once in a while; counts what was said and what was answered."""

    server: LiveServer
    schedule: int
    chance: random.Random
    stop: threading.Event = field(default_factory=threading.Event)
    said: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    odd: list[tuple[str, int]] = field(default_factory=list)
    workflows: list[str] = field(default_factory=list)  # Depot's ids of those that were dispatched

    def work(self) -> None:
        """Until told to stop; a server that is away is waited for."""
        place = project(self.server, PATH)
        newest = place + "/pipelines?per_page=3"
        while not self.stop.wait(0.05):
            verb = self.chance.choice(
                ["play", "dispatch", "trigger", "retry", "cancel", "again", *ON_WORKFLOWS]
            )
            with suppress(*GONE):
                if verb == "play":
                    self.press(verb, f"{place}/pipeline_schedules/{self.schedule}/play")
                elif verb == "dispatch":
                    body = {"repo": PATH, "workflow": "w.yml", "ref": "main"}
                    run = self.press(verb, f"{DEPOT}DispatchWorkflow", body)["runId"]
                    self.workflows += self._workflows(run)
                elif verb in ON_WORKFLOWS:
                    for workflow in self.workflows[-1:]:
                        self.press(verb, DEPOT + ON_WORKFLOWS[verb], {"workflowId": workflow})
                elif verb == "trigger":
                    self.press(verb, f"{place}/pipeline", {"ref": "main"})
                elif verb == "again":
                    jobs = self.server.call("GET", place + "/jobs?per_page=20")[1]
                    if ended := [j["id"] for j in jobs if j["status"] in ("success", "canceled")]:
                        self.press(verb, f"{place}/jobs/{self.chance.choice(ended)}/retry", {})
                elif runs := self.server.call("GET", newest)[1]:
                    self.press(verb, f"{place}/pipelines/{self.chance.choice(runs)['id']}/{verb}", {})

    def press(self, verb: str, path: str, body: Any = None) -> Any:
        """One button. A 5xx is odd while the server serves."""
        self.said[verb] += 1
        status, answer = (
            self._depot(path, body) if path.startswith(DEPOT) else self.server.call("POST", path, body)
        )
        self.answered[verb] += status < 300
        if status >= 500 and status != 503:
            self.odd.append((verb, status))
        return answer

    def _workflows(self, run: str) -> list[str]:
        _, answer = self._depot(f"{DEPOT}GetRunStatus", {"runId": run})
        return [workflow["workflowId"] for workflow in answer["workflows"]]

    def _depot(self, path: str, body: Any) -> tuple[int, Any]:
        head = {"Content-Type": "application/json", "Authorization": f"Bearer {self.server.token}"}
        with closing(http.client.HTTPConnection(self.server.listen, timeout=20)) as connection:
            connection.request("POST", path, json.dumps(body), head)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())


@pytest.mark.parametrize(
    ("rounds", "seed", "longest_s"),
    [(3, 1, 1.0), pytest.param(30, 2, 2.0, marks=pytest.mark.slow)],
)
def test_what_was_answered_is_there_once_and_nothing_is_half_made(
    serve: Callable[..., LiveServer], rounds: int, seed: int, longest_s: float
) -> None:
    server = serve(
        RUNYARD_RUNNER_SLOTS="0",
        RUNYARD_REGISTRATION_TOKEN=REGISTRATION,
        RUNYARD_LEASE_S="2",
        RUNYARD_REQUEUES="1000",
    )
    server.push(PATH, FILES, "start [skip ci]")
    given = {"description": "x", "ref": "main", "cron": "0 4 1 1 *"}
    status, row = server.call("POST", project(server, PATH) + "/pipeline_schedules", given)
    assert status == 201, row
    runner, chance = Insistent(server, registered(server)), random.Random(seed)
    people = People(server, row["id"], random.Random(seed))
    pressing, working = threading.Thread(target=people.work), threading.Thread(target=runner.work)
    pressing.start()
    working.start()
    try:
        for _ in range(rounds):
            time.sleep(chance.uniform(0.3, longest_s))
            server.kill()
            server.start()
        people.stop.set()
        pressing.join()
        rows = sqlite_rows(server.folder)
        still_open = "SELECT id FROM runs WHERE state <> 'done' AND dialect = 'gitlab'"
        server.until(lambda: rows(still_open), lambda left: not left, 240)
    finally:
        people.stop.set()
        runner.stop.set()
        working.join()
    assert people.odd == [] and runner.logs
    assert rounds < 10 or (people.answered["rerun"] and people.answered["failed"])
    made = dict(
        rows(
            "SELECT CASE dialect WHEN 'depot' THEN 'dispatch' ELSE source END, count(*) FROM runs GROUP BY 1"
        )
    )
    for verb, source in (("play", "schedule"), ("dispatch", "dispatch"), ("trigger", "api")):
        assert people.answered[verb] <= made.get(source, 0) <= people.said[verb], (verb, made, people.said)
    tried = "SELECT count(*) FROM attempts a JOIN runs r ON r.id = a.run_id WHERE r.dialect = 'depot' AND a.number > 1"
    again = rows(tried)[0][0]
    assert (
        people.answered["rerun"] + people.answered["failed"]
        <= again
        <= people.said["rerun"] + people.said["failed"]
    )
    _nothing_is_half_made(server, rows)
    for attempt, log in runner.logs.items():
        left = rows(f"SELECT type, extra FROM artifacts WHERE attempt_id = {attempt} ORDER BY 1")
        assert [kind for kind, _ in left] == ["archive", "cobertura", "dotenv", "junit"], (attempt, left)
        told = {kind: json.loads(extra).get("report") for kind, extra in left}
        assert told["junit"] and told["cobertura"], told
        assert json.loads(rows(f"SELECT outputs FROM attempts WHERE id = {attempt}")[0][0]) == {
            "FROM_BUILD": "yes"
        }
        assert trace(server, PATH, attempt).encode() == log
    server.stop()
    assert rows("PRAGMA integrity_check") == [("ok",)]


def _nothing_is_half_made(server: LiveServer, rows: Callable[[str], list[tuple[Any, ...]]]) -> None:
    assert blob_complaints(rows, server.folder / "data" / "blobs") == []
    empty = (
        "SELECT id FROM runs WHERE coalesce(outcome, '') <> 'skipped' AND id NOT IN (SELECT run_id FROM jobs)"
    )
    assert rows(empty) == []
    assert rows("SELECT id FROM jobs WHERE id NOT IN (SELECT job_id FROM attempts WHERE latest = 1)") == []
    assert (
        rows("SELECT job_id FROM attempts GROUP BY 1 HAVING count(*) <> max(number) OR sum(latest) <> 1")
        == []
    )
    queued = "SELECT id FROM attempts WHERE state = 'queued'"
    assert sorted(rows(queued)) == sorted(rows("SELECT attempt_id FROM queue"))
    shown = {}
    for page in range(1, 100):
        found = server.call("GET", f"{project(server, PATH)}/jobs?per_page=100&page={page}")[1]
        shown |= {job["id"]: job["status"] for job in found}
        if len(found) < 100:
            break
    words = {"passed": "success", "canceled": "canceled", "skipped": "skipped", "errored": "failed"}
    ended = "SELECT a.id, a.outcome FROM attempts a JOIN runs r ON r.id = a.run_id WHERE r.dialect = 'gitlab' AND a.state = 'done'"
    for attempt, outcome in rows(ended):
        assert shown[attempt] == words[outcome], "a card tells of another end than the row"
