"""The same story on PostgreSQL and an S3 bucket: push, pipeline, artifacts, traces; also when the server is
killed in the middle, or its database goes away."""

from __future__ import annotations

import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import Any
from urllib.error import URLError

import psycopg
import pytest

from tests.conftest import Cluster
from tests.faults.stories import ENDED, LINES, fan, pipeline, project, trigger, until_status
from tests.faults.verdict import Rows, complaints, witness_complaints
from tests.faults.watch import Witness, living
from tests.live_server import LiveServer

pytestmark = pytest.mark.postgres

PATH = "team/scale"


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """moto's own server process: no mock inside ours."""
    argv = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        endpoint = next(line.split()[-1] for line in process.stderr if "Running on http://" in line)
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/fleet", method="PUT")).close()
        yield endpoint
        process.kill()
        drain.join()


@pytest.fixture
def server(serve: Callable[..., LiveServer], fresh_postgres_url: str, s3_endpoint: str) -> LiveServer:
    return serve(
        RUNYARD_DATABASE=fresh_postgres_url, RUNYARD_BLOBS="s3://fleet/runyard", RUNYARD_RUNNER_SLOTS="4",
        RUNYARD_LEASE_S="2", RUNYARD_REQUEUES="1000", AWS_ENDPOINT_URL=s3_endpoint, AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="secret", AWS_REGION="us-east-1",
    )  # fmt: skip


@pytest.fixture
def rows(fresh_postgres_url: str) -> Rows:
    def read(sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
            return connection.execute(sql.encode()).fetchall()

    return read


def test_nothing_is_lost_on_postgres_and_s3_when_the_server_is_killed(
    server: LiveServer, rows: Rows, witness: Witness, mark: str
) -> None:
    server.push(PATH, fan(witness, mark, width=3), "start [skip ci]")
    acknowledged = [trigger(server, PATH)]
    until_status(server, PATH, acknowledged[0], {"success"}, 90)
    for pause in (0.7, 2.0):
        stop = threading.Event()

        def press(stop: threading.Event = stop) -> None:
            while not stop.wait(0.4):
                try:
                    acknowledged.append(trigger(server, PATH))
                except (URLError, HTTPException, OSError):
                    return

        thread = threading.Thread(target=press)
        thread.start()
        stop.wait(pause)
        server.kill()
        stop.set()
        thread.join()
        server.until(lambda: living(mark), lambda left: not left, 5)
        server.start()
    for number in acknowledged:
        server.until(lambda n=number: pipeline(server, PATH, n), lambda p: p["status"] in ENDED, 120)  # type: ignore[misc]
    server.until(lambda: rows("SELECT id FROM runs WHERE state <> 'done'"), lambda left: not left, 120)
    assert complaints(server, PATH, acknowledged, rows, LINES) == []
    server.until(lambda: witness_complaints(witness, rows), lambda found: not found, 5)
    assert {pipeline(server, PATH, n)["status"] for n in acknowledged} == {"success"}
    assert not list((server.folder / "data").glob("runyard.db*")), "nothing was kept beside the database"
    server.stop()
    assert server.process.returncode == 0


CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def test_a_database_that_goes_away_again_and_again_is_waited_for(
    server: LiveServer, rows: Rows, postgres_cluster: Cluster, witness: Witness, mark: str
) -> None:
    server.push(PATH, fan(witness, mark, width=3), "start [skip ci]")
    acknowledged: list[int] = []
    refused: list[int] = []
    stop = threading.Event()

    def press() -> None:
        while not stop.wait(0.3):
            status, answer = server.call("POST", f"{project(server, PATH)}/pipeline", {"ref": "main"})
            acknowledged.extend([answer["id"]] if status == 201 else [])
            refused.extend([status] if status != 201 else [])

    thread = threading.Thread(target=press)
    thread.start()
    for pause in (0.5, 0.2, 0.7, 0.05, 1.0, 0.3):
        stop.wait(pause)
        rows(CUT)
    postgres_cluster.stop()
    stop.wait(5)  # two leases
    postgres_cluster.start()
    stop.wait(2)
    stop.set()
    thread.join()
    assert set(refused) <= {503}, refused
    acknowledged.append(server.until(lambda: trigger(server, PATH), bool, 30))
    for number in acknowledged:
        server.until(lambda n=number: pipeline(server, PATH, n), lambda p: p["status"] in ENDED, 120)  # type: ignore[misc]
    server.until(lambda: rows("SELECT id FROM runs WHERE state <> 'done'"), lambda left: not left, 120)
    assert complaints(server, PATH, acknowledged, rows, LINES) == []
    server.until(lambda: witness_complaints(witness, rows), lambda found: not found, 5)
    rest = "latest = 1 AND outcome <> 'passed'"
    assert rows(f"SELECT id, outcome, reason, message FROM attempts WHERE {rest}") == []
    assert {pipeline(server, PATH, n)["status"] for n in acknowledged} == {"success"}
    server.stop()
    assert server.process.returncode == 0
