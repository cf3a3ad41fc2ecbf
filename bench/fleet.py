"""The figures of the runner protocol: a claim with a long queue, log bytes by PATCH, an artifact of 1 GiB up
and down. A server of its own, no built-in runner.

The floors are this disk's: the same chunks written and fsynced one by one, the same file copied (up: copied
and fsynced, because an answered upload is durable).
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

from bench.figures import Figure
from bench.live import TOKEN, Live, server

GIB = 1 << 30
PIECE = 1 << 20
FEW = ".gitlab-ci.yml", "a: {script: [x], parallel: 10}\n"
MANY = ".gitlab-ci.yml", "".join(f"j{n}: {{script: [x], parallel: 200}}\n" for n in range(5))
PROJECTS, PIPELINES = 20, 5


class Stock:
    """A stock runner's side of the protocol over one kept connection."""

    def __init__(self, live: Live) -> None:
        self.connection = http.client.HTTPConnection(live.host, timeout=600)
        self.token = live.call("POST", "/user/runners", {"runner_type": "instance_type"})["token"]

    def send(self, method: str, path: str, body: Any, **headers: str) -> http.client.HTTPResponse:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        given = {"Content-Type": "application/json", **named}
        try:
            self.connection.request(method, f"/api/v4{path}", body, given)
        except OSError:  # an idle connection was closed meanwhile
            self.connection.close()
            self.connection.request(method, f"/api/v4{path}", body, given)
        return self.connection.getresponse()

    def claim(self) -> tuple[float, dict[str, Any]]:
        """Seconds, and the job; there must be one."""
        body = json.dumps({"token": self.token, "system_id": "s_bench", "info": {"name": "gitlab-runner"}})
        start = time.perf_counter()
        answer = self.send("POST", "/jobs/request", body)
        data = answer.read()
        took = time.perf_counter() - start
        if answer.status != 201:
            raise RuntimeError(f"no job came: {answer.status}")
        return took, json.loads(data)

    def end(self, job: dict[str, Any]) -> None:
        body = json.dumps({"token": job["token"], "state": "success"})
        self.send("PUT", f"/jobs/{job['id']}", body).read()


def claims(live: Live) -> Figure:
    """Medians over 50 claims: from queues of 10 down to 1, and from one of 100,000."""
    stock = Stock(live)
    few: list[float] = []
    project = live.project("bench/few", dict([FEW]))
    for _ in range(5):
        live.call("POST", f"{project}/pipeline", {"ref": "main"})
        found = [stock.claim() for _ in range(10)]
        few += [took for took, _ in found]
        for _, job in found:
            stock.end(job)
    for number in range(PROJECTS):
        project = live.project(f"bench/many{number}", dict([MANY]))
        for _ in range(PIPELINES):
            live.call("POST", f"{project}/pipeline", {"ref": "main"})
    many = [stock.claim()[0] for _ in range(50)]
    ours, floor = statistics.median(many), statistics.median(few)
    return Figure(
        "claim with 100,000 queued jobs of 20 projects, median of 50", f"{ours * 1e3:.2f} ms", f"{floor * 1e3:.2f} ms (10 queued)", ours / floor, 2
    )  # fmt: skip


class Pieces:
    """Sends a job's log over one kept connection; a bare socket, so that the client costs next to nothing
    (http.client: 0.1 ms a request)."""

    def __init__(self, live: Live, job: dict[str, Any]) -> None:
        host, _, port = live.host.rpartition(":")
        self.connection = socket.create_connection((host, int(port)))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.start = (
            f"PATCH /api/v4/jobs/{job['id']}/trace HTTP/1.1\r\nHost: {host}\r\nJOB-TOKEN: {job['token']}\r\n"
        )
        self.at = 0

    def send(self, piece: bytes) -> None:
        end = self.at + len(piece)
        head = f"{self.start}Content-Range: {self.at}-{end - 1}\r\nContent-Length: {len(piece)}\r\n\r\n"
        _send_both(self.connection, head.encode(), piece)
        said = self.connection.recv(65536)
        if not said.startswith(b"HTTP/1.1 202") or f"0-{end}\r\n".encode() not in said:
            raise RuntimeError(f"the piece at {self.at} was answered {said[:300]!r}")
        self.at = end

    def stream(self, piece: bytes, count: int) -> float:
        """Seconds for so many."""
        start = time.perf_counter()
        for _ in range(count):
            self.send(piece)
        return time.perf_counter() - start


def _send_both(connection: socket.socket, head: bytes, body: bytes) -> None:
    """Without joining them first."""
    sent = connection.sendmsg([head, body])
    if sent < len(head) + len(body):
        connection.sendall(memoryview(body)[sent - len(head) :] if sent >= len(head) else head[sent:] + body)


def appended(live: Live) -> list[Figure]:
    """Pieces of 1 MiB, in which gitlab-runner sends a log that grows fast (its DefaultTracePatchLimit), and
    smaller ones, which it sends of a slow log, one every three seconds: there only the latency shows."""
    stock = Stock(live)
    project = live.project("bench/log", dict([FEW]))
    live.call("POST", f"{project}/pipeline", {"ref": "main"})
    return [
        _appended(live, stock, "256 MiB in pieces of 1 MiB", PIECE, 256, 0.5),
        _together(live, "4 runners at once, each 64 MiB in pieces of 1 MiB", PIECE, 64, 4, 0.5),
        _appended(live, stock, "32 MiB in pieces of 128 KiB", 128 << 10, 256),
        _appended(live, stock, "16 MiB in pieces of 64 KiB", 64 << 10, 256),
        _together(live, "4 runners at once, each 16 MiB in pieces of 64 KiB", 64 << 10, 256, 4),
        _asked(live, stock),
    ]


def _together(live: Live, name: str, size: int, count: int, runners: int, least: float = 0) -> Figure:
    """Several runners stream: what waits for the disk together shares a commit. The floor is one writer of
    all their pieces."""
    piece = os.urandom(size // 2).hex().encode()
    live.call("POST", "/projects/bench%2Flog/pipeline", {"ref": "main"})
    stocks = [Stock(live) for _ in range(runners)]
    ours, floor = [], []
    for _ in range(2):
        _await_sealing(live)
        floor.append(_synced(live.data, piece, count * runners))
        jobs = [stock.claim()[1] for stock in stocks]
        lines = [Pieces(live, job) for job in jobs]
        start = time.perf_counter()
        with ThreadPoolExecutor(runners) as pool:
            list(pool.map(lambda line: line.stream(piece, count), lines))
        ours.append(time.perf_counter() - start)
        for stock, job in zip(stocks, jobs, strict=True):
            stock.end(job)
    total, best, bare = size * count * runners, min(ours), min(floor)
    rates = f"{total / best / 1e6:.0f} MB/s", f"{total / bare / 1e6:.0f} MB/s (write + fsync)"
    return Figure(
        f"log by PATCH, {name}{'' if least else ' (no limit asked)'}", *rates, bare / best, least, True
    )


def _appended(live: Live, stock: Stock, name: str, size: int, count: int, least: float = 0) -> Figure:
    piece = os.urandom(size // 2).hex().encode()
    ours, floor = [], []
    for _ in range(3):
        _await_sealing(live)
        floor.append(_synced(live.data, piece, count))
        _, job = stock.claim()
        ours.append(Pieces(live, job).stream(piece, count))
        stock.end(job)
    total, best, bare = size * count, min(ours), min(floor)
    rates = f"{total / best / 1e6:.0f} MB/s", f"{total / bare / 1e6:.0f} MB/s (write + fsync)"
    return Figure(
        f"log by PATCH, {name}{'' if least else ' (no limit asked)'}", *rates, bare / best, least, True
    )


def _asked(live: Live, stock: Stock) -> Figure:
    """What a request costs by itself: a piece that the server has already is received, looked at, and changes
    nothing but the lease."""
    piece, count = os.urandom(32 << 10).hex().encode(), 256
    _await_sealing(live)
    _, job = stock.claim()
    Pieces(live, job).stream(piece, 1)
    took = min(_again(live, job, piece, count) for _ in range(3))
    stock.end(job)
    floor = _synced(live.data, piece, count)
    each = f"{took / count * 1e3:.2f} ms", f"{floor / count * 1e3:.2f} ms (write + fsync)"
    return Figure("  a piece of 64 KiB that is there already (no limit asked)", *each, floor / took, 0, True)


def _again(live: Live, job: dict[str, Any], piece: bytes, count: int) -> float:
    line = Pieces(live, job)
    start = time.perf_counter()
    for _ in range(count):
        line.at = 0
        line.send(piece)
    return time.perf_counter() - start


def _await_sealing(live: Live) -> None:
    """Logs of jobs that have ended are compressed beside everything else, which takes a core for seconds; the
    floor should not be spared that alone."""
    with closing(sqlite3.connect(f"file:{live.data}/runyard.db?mode=ro", uri=True)) as db:
        while db.execute("SELECT 1 FROM log_chunks LIMIT 1").fetchone():
            time.sleep(0.2)


def _synced(folder: Path, piece: bytes, count: int) -> float:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        start = time.perf_counter()
        for _ in range(count):
            file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        return time.perf_counter() - start


def transferred(live: Live) -> Sequence[Figure]:
    """Best of three each, in turns."""
    stock = Stock(live)
    project = live.project("bench/artifact", dict([FEW]))
    live.call("POST", f"{project}/pipeline", {"ref": "main"})
    with tempfile.TemporaryDirectory(dir=live.data) as folder:
        file = Path(folder, "file")
        with file.open("wb") as out:
            for _ in range(GIB // PIECE):
                out.write(os.urandom(PIECE))
        before = live.memory()[0]
        live.forget_peak()
        up, up_floor, down, down_floor = [], [], [], []
        for _ in range(3):
            _, job = stock.claim()
            up_floor.append(_copied(file, sync=True))
            up.append(_uploaded(live, job, file))
            down_floor.append(_copied(file, sync=False))
            down.append(_downloaded(stock, job, Path(folder, "down")))
            stock.end(job)
            _forget(stock, job)
        grown = live.memory()[1] - before
    return [
        _transfer("artifact of 1 GiB up", min(up), min(up_floor), "copy + fsync"),
        _transfer("artifact of 1 GiB down", min(down), min(down_floor), "copy"),
        Figure(
            "  server memory growth meanwhile", f"{grown / 2**20:.1f} MiB", "64 MiB", grown / (64 << 20), 1
        ),
    ]


def _forget(stock: Stock, job: dict[str, Any]) -> None:
    at = f"/projects/{job['job_info']['project_id']}/jobs/{job['id']}/artifacts"
    stock.send("DELETE", at, None, PRIVATE_TOKEN=TOKEN).read()


def _transfer(name: str, ours: float, floor: float, how: str) -> Figure:
    rates = f"{GIB / ours / 1e6:.0f} MB/s", f"{GIB / floor / 1e6:.0f} MB/s ({how})"
    return Figure(name, *rates, floor / ours, 0.5, True)


def _copied(file: Path, *, sync: bool) -> float:
    target = file.with_name("copy")
    start = time.perf_counter()
    with file.open("rb") as source, target.open("wb") as out:
        shutil.copyfileobj(source, out, PIECE)
        if sync:
            out.flush()
            os.fsync(out.fileno())
    took = time.perf_counter() - start
    target.unlink()
    return took


def _uploaded(live: Live, job: dict[str, Any], file: Path) -> float:
    """Seconds. The client's part is one sendfile, so that it takes as little as it can from the server's two
    cores."""
    edge = os.urandom(30).hex()  # as long as gitlab-runner's
    head = (
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="artifacts.zip"\r\n\r\n'.encode()
    )
    tail = f"\r\n--{edge}--\r\n".encode()
    host, _, port = live.host.rpartition(":")
    asked = (
        f"POST /api/v4/jobs/{job['id']}/artifacts?artifact_format=zip&artifact_type=archive HTTP/1.1\r\nHost: {host}\r\n"
        f"JOB-TOKEN: {job['token']}\r\nContent-Type: multipart/form-data; boundary={edge}\r\n"
        f"Content-Length: {len(head) + GIB + len(tail)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as connection, file.open("rb") as source:
        start = time.perf_counter()
        connection.sendall(asked.encode() + head)
        connection.sendfile(source)
        connection.sendall(tail)
        said = connection.recv(65536)
        took = time.perf_counter() - start
    if not said.startswith(b"HTTP/1.1 201"):
        raise RuntimeError(f"the upload was answered {said[:300]!r}")
    return took


def _downloaded(stock: Stock, job: dict[str, Any], into: Path) -> float:
    start = time.perf_counter()
    answer = stock.send("GET", f"/jobs/{job['id']}/artifacts", None, JOB_TOKEN=job["token"])
    buffer = memoryview(bytearray(PIECE))
    with into.open("wb", buffering=0) as out:
        while count := answer.readinto(buffer):
            out.write(buffer[:count])
    took = time.perf_counter() - start
    if into.stat().st_size != GIB:
        raise RuntimeError(f"{into.stat().st_size} of {GIB} bytes came")
    return took


def fleet_logs(_: Live) -> Sequence[Figure]:
    """Log by PATCH alone."""
    with _without_slots() as live:
        return appended(live)


def fleet_artifacts(_: Live) -> Sequence[Figure]:
    """The artifact of 1 GiB alone."""
    with _without_slots() as live:
        return transferred(live)


def fleet_claims(_: Live) -> Sequence[Figure]:
    """The claim alone."""
    with _without_slots() as live:
        return [claims(live)]


def _without_slots() -> AbstractContextManager[Live]:
    return server(0, RUNYARD_LOG_LIMIT_BYTES=str(GIB))
