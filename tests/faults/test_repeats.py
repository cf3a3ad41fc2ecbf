"""The same request ten times at once has one effect (reliability.md §2.4, §8 rows 29 and 33), spoken as a
runner and as a user over HTTP."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.faults.stories import jobs, pipeline, project, trace, trigger
from tests.faults.verdict import fetch, sqlite_rows
from tests.live_server import LiveServer

PATH = "team/repeats"
REGISTRATION = "registration-token-of-the-fault-battery"
FILES = {
    ".gitlab-ci.yml": """
one: {script: [echo]}
after: {stage: deploy, script: [echo]}
asked: {stage: test, script: [echo], when: manual, allow_failure: true}
"""
}


class Raw:
    """Plain requests, many at once."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server

    def one(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body)."""
        connection = http.client.HTTPConnection(self.server.listen, timeout=60)
        try:
            connection.request(method, "/api/v4" + path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def ten(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> list[tuple[int, dict[str, str], bytes]]:
        """Ten at once."""
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        with ThreadPoolExecutor(10) as pool:
            return list(pool.map(lambda _: self.one(method, path, body, named), range(10)))

    def ten_json(self, method: str, path: str, said: Any = None) -> list[tuple[int, Any]]:
        """Ten at once, as the administrator."""
        found = self.ten(
            method, path, json.dumps(said).encode() if said is not None else b"",
            PRIVATE_TOKEN=self.server.token, Content_Type="application/json",
        )  # fmt: skip
        return [(status, json.loads(body) if body else None) for status, _, body in found]


@pytest.fixture
def server(serve: Callable[..., LiveServer]) -> LiveServer:
    made = serve(RUNYARD_RUNNER_SLOTS="0", RUNYARD_REGISTRATION_TOKEN=REGISTRATION)
    made.push(PATH, FILES, "start [skip ci]")
    return made


def registered(server: LiveServer) -> str:
    said = {
        "token": REGISTRATION,
        "run_untagged": True,
        "info": {"features": {"runyard": True, "cancel_gracefully": True}},
    }
    status, answer = server.call("POST", "/api/v4/runners", said)
    assert status == 201
    return str(answer["token"])


def claimed(server: LiveServer, runner: str) -> tuple[int, str]:
    """(attempt, job token) of the next job."""
    features = {"features": {"runyard": True, "cancel_gracefully": True}}
    status, answer = server.call("POST", "/api/v4/jobs/request", {"token": runner, "info": features})
    assert status == 201, answer
    return int(answer["id"]), str(answer["token"])


def by_name(server: LiveServer, run: int) -> dict[str, dict[str, Any]]:
    return {j["name"]: j for j in jobs(server, PATH, run, retried=False)}


def packed(data: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("left.bin", data)
    return held.getvalue()


def test_everything_a_runner_says_counts_once(server: LiveServer) -> None:
    raw, run, runner = Raw(server), trigger(server, PATH), registered(server)
    asked = json.dumps({"token": runner, "info": {"features": {"runyard": True}}}).encode()
    answers = raw.ten("POST", "/jobs/request", asked, Content_Type="application/json")
    assert Counter(status for status, _, _ in answers) == {201: 1, 204: 9}
    job = json.loads(next(body for status, _, body in answers if status == 201))
    attempt, token = job["id"], job["token"]

    piece = b"".join(b"line %d\n" % i for i in range(1000))
    for _ in range(2):
        told = raw.ten(
            "PATCH", f"/jobs/{attempt}/trace", piece, JOB_TOKEN=token, Content_Range=f"0-{len(piece) - 1}"
        )
        assert {(status, headers["range"]) for status, headers, _ in told} == {(202, f"0-{len(piece)}")}
    gap = raw.ten("PATCH", f"/jobs/{attempt}/trace", b"late", JOB_TOKEN=token, Content_Range="999999-1000002")
    assert {(status, headers["range"]) for status, headers, _ in gap} == {(416, f"0-{len(piece)}")}
    assert trace(server, PATH, attempt) == piece.decode()

    archive = packed(b"what the job left" * 1000)
    edge = "edge"
    body = (
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="artifacts.zip"\r\n\r\n'.encode()
        + archive
        + f"\r\n--{edge}--\r\n".encode()
    )
    sent = raw.ten(
        "POST", f"/jobs/{attempt}/artifacts?artifact_format=zip&artifact_type=archive", body,
        JOB_TOKEN=token, Content_Type=f"multipart/form-data; boundary={edge}",
    )  # fmt: skip
    assert {status for status, _, _ in sent} == {201}
    rows = sqlite_rows(server.folder)
    assert rows("SELECT count(*), min(sha256) FROM artifacts") == [(1, hashlib.sha256(archive).hexdigest())]
    assert fetch(server, f"{project(server, PATH)}/jobs/{attempt}/artifacts") == archive

    said = {
        "token": token, "state": "success",
        "output": {"checksum": f"crc32:{zlib.crc32(piece):08x}", "bytesize": len(piece)},
    }  # fmt: skip
    for _ in range(2):
        ends = raw.ten("PUT", f"/jobs/{attempt}", json.dumps(said).encode(), Content_Type="application/json")
        assert {(status, headers["job-status"]) for status, headers, _ in ends} == {(200, "success")}
    other = raw.ten(
        "PUT",
        f"/jobs/{attempt}",
        json.dumps({**said, "state": "failed"}).encode(),
        Content_Type="application/json",
    )
    assert {headers["job-status"] for _, headers, _ in other} == {"success"}
    late = raw.ten(
        "PATCH",
        f"/jobs/{attempt}/trace",
        b"late",
        JOB_TOKEN=token,
        Content_Range=f"{len(piece)}-{len(piece) + 3}",
    )
    assert {status for status, _, _ in late} == {403}
    assert by_name(server, run)["one"]["status"] == "success"
    assert trace(server, PATH, attempt) == piece.decode()
    assert [row for row in rows("SELECT attempt_id, count(*) FROM queue GROUP BY 1") if row[1] != 1] == []


def test_cancel_retry_and_play_count_once(server: LiveServer) -> None:
    raw, run, runner = Raw(server), trigger(server, PATH), registered(server)
    place = f"/projects/{project(server, PATH).rpartition('/')[2]}"
    asked = by_name(server, run)["asked"]["id"]
    played = raw.ten_json("POST", f"{place}/jobs/{asked}/play")
    assert 200 in {status for status, _ in played}
    assert all(status in (200, 400, 403) for status, _ in played), played
    assert [j["id"] for j in jobs(server, PATH, run) if j["name"] == "asked"] == [asked]

    first, token = claimed(server, runner)
    ended = json.dumps(
        {"token": token, "state": "failed", "failure_reason": "script_failure", "exit_code": 1}
    ).encode()
    raw.one("PUT", f"/jobs/{first}", ended, {"Content-Type": "application/json"})
    retried = raw.ten_json("POST", f"{place}/jobs/{first}/retry")
    assert Counter(status for status, _ in retried)[201] == 1, retried
    assert {status for status, _ in retried} <= {201, 403}
    name = next(j["name"] for j in jobs(server, PATH, run) if j["id"] == first)
    assert len([j for j in jobs(server, PATH, run) if j["name"] == name]) == 2

    canceled = raw.ten_json("POST", f"{place}/pipelines/{run}/cancel")
    assert {status for status, _ in canceled} <= {200}, canceled
    assert pipeline(server, PATH, run)["status"] == "canceled"
    again = raw.ten_json("POST", f"{place}/pipelines/{run}/retry")
    assert {status for status, _ in again} <= {201}, again
    rows = sqlite_rows(server.folder)
    assert rows("SELECT job_id FROM attempts WHERE state <> 'done' GROUP BY 1 HAVING count(*) > 1") == []
    assert rows("SELECT job_id, max(number) FROM attempts GROUP BY 1 HAVING count(*) <> max(number)") == []
    assert max(n for _, n in rows("SELECT job_id, max(number) FROM attempts GROUP BY 1")) <= 3


def test_ten_claimers_share_a_queue_without_a_double(server: LiveServer) -> None:
    runner = registered(server)
    server.push("team/wide", {".gitlab-ci.yml": "w: {script: [echo], parallel: 40}"})
    asked = json.dumps({"token": runner, "info": {"features": {"runyard": True}}}).encode()
    raw, found = Raw(server), []

    def drain(_: int) -> list[int]:
        mine = []
        while True:
            status, _headers, body = raw.one(
                "POST", "/jobs/request", asked, {"Content-Type": "application/json"}
            )
            if status == 204:
                return mine
            assert status in (201, 409), body
            if status == 201:
                mine.append(json.loads(body)["id"])

    with ThreadPoolExecutor(10) as pool:
        for mine in pool.map(drain, range(10)):
            found += mine
    assert len(found) == len(set(found)) == 40


def test_the_same_project_ten_times_is_one(server: LiveServer) -> None:
    raw = Raw(server)
    made = raw.ten_json("POST", "/projects", {"name": "same", "path": "same"})
    assert Counter(status for status, _ in made)[201] == 1, made
    assert {status for status, _ in made} <= {201, 400}
