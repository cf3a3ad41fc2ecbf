"""kill -9 of the server between what jobs say to its caches: the two protocols of actions/cache, Depot's
cache, and the archives of GitLab's `cache:`. What was answered is there, byte for byte; what can be found is
whole."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from runyard.model.plan import Assignment
from runyard.runner.actions.reach import runtime_token
from tests.faults.stories import jobs, trace, trigger, until_status
from tests.faults.test_repeats import REGISTRATION, registered
from tests.faults.verdict import sqlite_rows
from tests.live_server import LiveServer

PATH = "team/caches"
WORKFLOW = "on: workflow_dispatch\njobs: {one: {runs-on: x, steps: [{run: echo}]}}\n"
TWIRP = "/twirp/github.actions.results.api.v1.CacheService/"
V1 = "/_apis/artifactcache/"
DEPOT = "/depot.cache.v1.CacheService/"


class Cut(Exception):
    """The server did not answer, or cannot now."""


@dataclass
class Hoarder:
    """A job's client that keeps one entry after the other, each again from its start when the server did not
    answer, as `actions/cache` would in the next run."""

    server: LiveServer
    work: Assignment
    kind: str
    chance: random.Random
    stop: threading.Event = field(default_factory=threading.Event)
    begun: dict[str, bytes] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Until told to stop."""
        keep = {"v2": self._v2, "v1": self._v1, "depot": self._depot}[self.kind]
        while not self.stop.is_set():
            key = f"{self.kind}-{len(self.begun)}"
            self.begun[key] = data = self.chance.randbytes(self.chance.randrange(1, 200_000))
            while not self.stop.is_set():
                try:
                    keep(key, data)
                except (Cut, OSError, HTTPException):
                    time.sleep(0.05)
                    continue
                self.kept.append(key)
                break

    def _v2(self, key: str, data: bytes) -> None:
        made = self._json("POST", TWIRP + "CreateCacheEntry", {"key": key, "version": "v"})
        if made["ok"]:
            self.ask("PUT", made["signed_upload_url"], data, token="")
            size = {"key": key, "version": "v", "size_bytes": str(len(data))}
            assert self._json("POST", TWIRP + "FinalizeCacheEntryUpload", size)["ok"]
        assert self.found(key) == data

    def _v1(self, key: str, data: bytes) -> None:
        status, answer = self.ask(
            "POST", V1 + "caches", json.dumps({"key": key, "version": "v"}).encode(), odd=(409,)
        )
        if status != 409:
            place = f"{V1}caches/{json.loads(answer)['cacheId']}"
            middle = len(data) // 2
            for start, piece in ((0, data[:middle]), (middle, data[middle:])):
                span = {"Content-Range": f"bytes {start}-{start + len(piece) - 1}/*"}
                if piece:
                    self.ask("PATCH", place, piece, **span)
            self.ask("POST", place, json.dumps({"size": len(data)}).encode())
        assert self.found(key) == data

    def _depot(self, key: str, data: bytes) -> None:
        said = {"entryType": "generic", "key": key}
        status, answer = self.ask("POST", DEPOT + "CreateEntry", json.dumps(said).encode(), odd=(409,))
        if status != 409:
            made = json.loads(answer)
            etag = self._etag(made["uploadPartUrls"][0], data)
            end = {"entryId": made["entryId"], "sizeBytes": str(len(data)), "uploadPartEtags": [etag]}
            self._json("POST", DEPOT + "FinalizeEntry", end)
        assert self.found(key) == data

    def found(self, key: str) -> bytes | None:
        """What a job would restore."""
        if self.kind == "v2":
            told = self._json(
                "POST",
                TWIRP + "GetCacheEntryDownloadURL",
                {"key": key, "restore_keys": [], "version": "v"},
            )
            return self.ask("GET", told["signed_download_url"], token="")[1] if told["ok"] else None
        if self.kind == "v1":
            status, answer = self.ask("GET", f"{V1}cache?keys={key}&version=v")
            return (
                self.ask("GET", json.loads(answer)["archiveLocation"], token="")[1] if status == 200 else None
            )
        said = {"entryType": "generic", "key": key}
        status, answer = self.ask("POST", DEPOT + "GetDownloadURL", json.dumps(said).encode(), odd=(404,))
        return self.ask("GET", json.loads(answer)["url"], token="")[1] if status == 200 else None

    def _etag(self, url: str, data: bytes) -> str:
        self.ask("PUT", url, data, token="")
        return self.headers["etag"]

    def _json(self, method: str, path: str, said: Any) -> Any:
        return json.loads(self.ask(method, path, json.dumps(said).encode())[1])

    def ask(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        *,
        token: str | None = None,
        odd: tuple[int, ...] = (),
        **headers: str,
    ) -> tuple[int, bytes]:
        """(status, body); Cut for a 5xx, an assertion for what a client does not expect."""
        parts = urlsplit(url)
        own = self.server.token if self.kind == "depot" else runtime_token(self.work)
        head = {"Content-Type": "application/json", **headers}
        if token is None:
            head["Authorization"] = f"Bearer {own}"
        with closing(http.client.HTTPConnection(self.server.listen, timeout=20)) as connection:
            connection.request(
                method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, head
            )
            answer = connection.getresponse()
            said = answer.read()
        if answer.status >= 500:
            raise Cut(said)
        assert answer.status < 300 or answer.status in odd, (method, url, answer.status, said)
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, said


def running_job(server: LiveServer) -> Assignment:
    """A job that runs for as long as the test does: nobody executes it."""
    server.push(PATH, {".depot/workflows/w.yml": WORKFLOW}, "start [skip ci]")
    runner = registered(server)
    with closing(http.client.HTTPConnection(server.listen, timeout=20)) as connection:
        said = json.dumps({"repo": PATH, "workflow": "w.yml", "ref": "main"})
        head = {"Content-Type": "application/json", "Authorization": f"Bearer {server.token}"}
        connection.request("POST", "/depot.ci.v1.CIService/DispatchWorkflow", said, head)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
    features = {"features": {"runyard": True, "cancel_gracefully": True}}
    status, payload = server.call("POST", "/api/v4/jobs/request", {"token": runner, "info": features})
    assert status == 201, payload
    return msgspec.convert(payload["runyard"], Assignment, strict=False)


@pytest.mark.parametrize(("rounds", "seed"), [(2, 1), pytest.param(30, 2, marks=pytest.mark.slow)])
def test_entries_that_were_answered_are_whole(
    serve: Callable[..., LiveServer], rounds: int, seed: int
) -> None:
    server = serve(RUNYARD_RUNNER_SLOTS="0", RUNYARD_REGISTRATION_TOKEN=REGISTRATION, RUNYARD_LEASE_S="600")
    work, chance = running_job(server), random.Random(seed)
    hoarders = [Hoarder(server, work, kind, random.Random(seed)) for kind in ("v2", "v1", "depot")]
    troubles: list[BaseException] = []

    def hoard(one: Hoarder) -> None:
        try:
            one.run()
        except BaseException as error:  # told by the test's own thread
            troubles.append(error)

    threads = [threading.Thread(target=hoard, args=(one,)) for one in hoarders]
    for thread in threads:
        thread.start()
    try:
        for _ in range(rounds):
            time.sleep(chance.uniform(0.3, 1.0))
            server.kill()
            server.start()
        server.until(lambda: [len(one.kept) for one in hoarders], lambda sizes: min(sizes) > 2, 60)
    finally:
        for one in hoarders:
            one.stop.set()
        for thread in threads:
            thread.join()
    assert troubles == []
    for one in hoarders:
        for key, data in one.begun.items():
            found = one.found(key)
            assert found == data if key in one.kept else found in (None, data), key
    server.kill()
    server.start()
    assert list((server.folder / "data/spool").iterdir()) == [], "what was on its way is swept at the start"
    assert sqlite_rows(server.folder)("PRAGMA integrity_check") == [("ok",)]


ARCHIVES = {
    ".gitlab-ci.yml": """
work:
  cache: {key: one, paths: [kept]}
  script:
    - 'test ! -d kept || (cd kept && sha256sum -c sum && echo "restored whole")'
    - mkdir -p kept && rm -f kept/*
    - for i in 1 2 3; do head -c 2000000 /dev/urandom > kept/data.$i; done
    - cd kept && sha256sum data.* > sum
"""
}


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_an_archive_is_restored_whole_or_not_at_all(serve: Callable[..., LiveServer], rounds: int) -> None:
    """The kill comes while archives are packed; each brings the sums that the next job checks."""
    server = serve(RUNYARD_RUNNER_SLOTS="1", RUNYARD_LEASE_S="2", RUNYARD_REQUEUES="1000")
    server.push(PATH, ARCHIVES, "start [skip ci]")
    first = trigger(server, PATH)
    until_status(server, PATH, first, {"success"}, 60)
    pipelines = [first]
    rows = sqlite_rows(server.folder)
    for number in range(rounds):
        pipelines.append(trigger(server, PATH))
        ended = f"SELECT count(*) FROM steps s JOIN attempts a ON a.id = s.attempt_id WHERE a.run_id = {pipelines[-1]} AND s.outcome = 'passed' AND s.exit_code = 0"
        server.until(lambda q=ended: rows(q)[0][0], bool, 60)  # type: ignore[misc]
        time.sleep(number % 5 * 0.05)
        server.kill()
        server.start()
    said = ""
    for number in pipelines:
        until_status(server, PATH, number, {"success"}, 60)
        said += "".join(trace(server, PATH, one["id"]) for one in jobs(server, PATH, number))
    assert "restored whole" in said
    assert {
        p.suffix for p in (server.folder / "data/cache").glob("*/*") if not p.name.startswith("new-")
    } == {".zip"}
