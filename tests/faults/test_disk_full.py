"""A full disk: new work is refused in the vendor's shape, what is there stays readable, and freed space is
enough (reliability.md §3, §8 row 18).

The data folder is a small tmpfs in a mount namespace of the server's own; nothing of the host is mounted
over.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.faults.stories import (
    ENDED,
    LINES,
    fan,
    jobs,
    pipeline,
    project,
    single,
    trace,
    trigger,
    until_job,
    until_status,
)
from tests.faults.verdict import blob_complaints, complaints, sqlite_rows
from tests.live_server import LiveServer

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace of its own"),
]

PATH = "team/full"
ON_TMPFS = 'mkdir -p "$1" && mount -t tmpfs -o size=800m,mode=0700 none "$1" && shift && exec "$@"'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    wrap = ["unshare", "--mount", "sh", "-c", ON_TMPFS, "sh", str(tmp_path / "data")]
    made = LiveServer(tmp_path, wrap, RUNYARD_NETWORK="host", RUNYARD_RUNNER_SLOTS="2", RUNYARD_LEASE_S="5")
    yield made
    made.kill()


def inside(server: LiveServer) -> Path:
    """The data folder as the server sees it."""
    return Path(f"/proc/{server.process.pid}/root{server.folder}/data")


def _free(server: LiveServer) -> int:
    status = os.statvfs(inside(server))
    return max(0, status.f_bavail - 64) * status.f_frsize + 1


def fill(server: LiveServer, leave: int = 0) -> None:
    """To the last byte, or until so much is left; never less in between."""
    with suppress(OSError), (inside(server) / "filler").open("ab", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, _free(server) - leave)
        while not leave:
            file.write(bytes(4096))


def copied(server: LiveServer) -> Path:
    """A copy of the idle database that this mount namespace can open."""
    target = server.folder / "copy"
    (target / "data").mkdir(parents=True)
    for name in ("runyard.db", "runyard.db-wal"):
        shutil.copy(inside(server) / name, target / "data" / name)
    return target


def ask(
    server: LiveServer, method: str, path: str, body: Any, **headers: str
) -> tuple[int, dict[str, str], Any]:
    """(status, headers, JSON)."""
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), method=method)
    for name, value in {"Content-Type": "application/json", **headers}.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, json.loads(answer.read())
    except HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, json.loads(error.read())


def test_a_full_disk_refuses_new_work_keeps_the_old_and_recovers_by_itself(
    server: LiveServer, mark: str
) -> None:
    server.push(PATH, fan(None, mark, width=2), "start [skip ci]")
    acknowledged = [trigger(server, PATH)]
    until_status(server, PATH, acknowledged[0], {"success"}, 60)
    done = jobs(server, PATH, acknowledged[0])[0]["id"]
    acknowledged.append(trigger(server, PATH))
    until_job(server, PATH, acknowledged[1], {"running"})
    fill(server)

    def press() -> tuple[int, dict[str, str], Any]:
        name = f"p{time.monotonic_ns()}"
        return ask(
            server, "POST", "/api/v4/projects", {"name": name, "path": name}, PRIVATE_TOKEN=server.token
        )

    status, headers, body = server.until(press, lambda found: found[0] != 201, 60)
    assert status in (503, 507), body
    assert int(headers["retry-after"]) > 0
    status, headers, body = ask(
        server, "POST", project(server, PATH) + "/pipeline", {"ref": "main"}, PRIVATE_TOKEN=server.token
    )
    assert status == 503
    assert int(headers["retry-after"]) > 0
    assert "full" in body["message"]
    token = server.token
    depot = ask(
        server, "POST", "/depot.ci.v1.CIService/Run", {"repo": PATH, "workflowContent": ["jobs: {a: {steps: [{run: echo}]}}"]},
        Authorization=f"Bearer {token}",
    )  # fmt: skip
    assert depot[0] == 503, depot
    assert depot[2]["code"] == "unavailable", depot

    def add_source() -> tuple[int, dict[str, str], Any]:
        said = {"name": f"d{time.monotonic_ns()}", "type": "duckdb", "options": {"path": "/x.duckdb"}}
        return ask(server, "POST", "/api/v1/data_sources", said, Authorization=f"Key {token}")

    status, _, body = server.until(add_source, lambda found: found[0] != 200, 30)
    assert status in (503, 507), body
    for _ in range(3):
        assert pipeline(server, PATH, acknowledged[0])["status"] == "success"
        assert "line 1 of" in trace(server, PATH, done)
        assert server.call("GET", f"{project(server, PATH)}/jobs/{done}/artifacts")[0] == 200
        assert server.call("GET", "/healthz")[0] == 200

    (inside(server) / "filler").unlink()

    def try_again() -> int:
        found, _, answer = ask(
            server, "POST", project(server, PATH) + "/pipeline", {"ref": "main"}, PRIVATE_TOKEN=token
        )
        if found == 201:
            acknowledged.append(answer["id"])
        return found

    server.until(try_again, lambda found: found == 201, 20)
    for number in acknowledged:
        until_status(server, PATH, number, ENDED, 90)
    assert pipeline(server, PATH, acknowledged[-1])["status"] == "success"
    rows = sqlite_rows(copied(server))
    found = complaints(server, PATH, acknowledged, rows, LINES)
    assert [c for c in found if "runner_system" not in c] == []
    assert blob_complaints(rows, inside(server) / "blobs") == []


def test_new_work_is_refused_while_there_is_still_room_for_the_old(server: LiveServer, mark: str) -> None:
    server.push(
        PATH, single("for i in $(seq 1 20); do echo line $i; sleep 0.1; done", mark), "start [skip ci]"
    )
    run = trigger(server, PATH)
    until_job(server, PATH, run, {"running"})
    fill(server, leave=400 << 20)
    said = {"ref": "main"}
    status, headers, body = server.until(
        lambda: ask(server, "POST", project(server, PATH) + "/pipeline", said, PRIVATE_TOKEN=server.token),
        lambda found: found[0] != 201,
        10,
    )
    assert status == 503
    assert int(headers["retry-after"]) > 0
    assert "space" in body["message"]
    until_status(server, PATH, run, {"success"}, 30)
    (inside(server) / "filler").unlink()
    until_status(server, PATH, server.until(lambda: trigger(server, PATH), bool, 10), {"success"}, 30)
