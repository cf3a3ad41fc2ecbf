"""Lists of jobs with a million stored, against a constant body of the same size from the same kind of server.
`python -m bench lists`.

The rows are copies of one real pipeline's, made in the database while the server is stopped: 10,000 runs of
100 jobs, each with plan (without its variables), log and archive.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import random
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.figures import Figure
from bench.live import TOKEN, Live, restarted
from runyard.dialects.gitlab.cards import draw_some
from runyard.store.sqlite import SqliteStore

RUNS, JOBS = 10_000, 100
SECONDS, ROUNDS, CONNECTIONS = 2.0, 5, 4
AT_ONCE = 5000
CONFIG = """
make:
  script: ["echo done > out.txt"]
  artifacts: {paths: [out.txt]}
  parallel: 100
"""
# What each request adds to its path, so that no answer is asked for twice; the parameter is nobody's.
RANDOM = "&pagination=keyset&order_by=id&sort=desc&id_before={at}"
NEW = "&asked={at}{at}"
CONSTANT = """
import asyncio, sys
from granian.constants import Interfaces
from granian.server.embed import Server
from runyard.http.front import Door, Front
body = open(sys.argv[1], "rb").read()
headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
front = Front([Door("constant", ("/",), app)], app, app)
server = Server(front, address="127.0.0.1", port=int(sys.argv[2]), interface=Interfaces.ASGI, websockets=False, log_enabled=False, backlog=1024)
asyncio.run(server.serve())
"""


def lists() -> list[Figure]:
    """All figures of this module."""
    with restarted() as again:
        with again() as live:
            project = live.project("bench/lists", {".gitlab-ci.yml": CONFIG})
            _, pipeline = live.run(project, 0.1)
            project_id = live.call("GET", project)["id"]
        fill(again.data / "runyard.db", pipeline["id"])
        draw(again.data / "runyard.db")
        with again() as live:
            return measured(live, f"/projects/{project_id}/jobs?per_page=20")


def fill(database: Path, run_id: int) -> None:
    """Copies the run until there are RUNS of it. Ids go up in step, as they would have."""
    db = sqlite3.connect(database, isolation_level=None)
    for pragma in ("synchronous=OFF", "journal_mode=OFF", "foreign_keys=OFF", "cache_size=-400000"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("BEGIN")
    # Ten kilobytes of predefined variables in each plan would be ten gigabytes to copy; no list reads them.
    db.execute("UPDATE jobs SET plan = json_set(plan, '$.variables', json('[]')) WHERE run_id = ?", (run_id,))
    steps = {"runs": 1, "workflows": 1, "jobs": JOBS, "attempts": JOBS, "artifacts": JOBS}
    where = {"runs": f"id = {run_id}"} | dict.fromkeys(
        ("workflows", "jobs", "attempts", "artifacts"), f"run_id = {run_id}"
    )
    shifted = {
        "run_id": 1,
        "workflow_id": 1,
        "job_id": JOBS,
        "attempt_id": JOBS,
        "number": 0,
        "last_number": 0,
        # Every copy at another time, as runs are: nothing that is made of times can be kept from page to
        # page.
        **dict.fromkeys(("created_at", "queued_at", "started_at", "finished_at", "updated_at"), -7_003),
    }
    for table, step in steps.items():
        names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        values = [
            f"{n} + copy * {step if n == 'id' else shifted[n]}" if n == "id" or n in shifted else n
            for n in names
        ]
        if table == "runs":
            values[names.index("number")] = "number + copy"
        db.execute(
            f"""WITH RECURSIVE copies(copy) AS (SELECT 1 UNION ALL SELECT copy + 1 FROM copies WHERE copy < {RUNS - 1})
                INSERT INTO {table} ({", ".join(names)}) SELECT {", ".join(values)} FROM copies CROSS JOIN
                (SELECT * FROM {table} WHERE {where[table]} ORDER BY id)"""
        )
    count = db.execute("SELECT count(*) FROM attempts").fetchone()[0]
    db.execute("UPDATE attempts SET card = NULL")  # the cards of the one real run
    db.execute("COMMIT")
    db.execute("PRAGMA journal_mode=WAL")
    db.close()
    if count < RUNS * JOBS:
        raise RuntimeError(f"only {count} jobs were stored")


def draw(database: Path) -> None:
    """Draws the cards of all jobs, as the server does little by little once a job is done
    (dialects/gitlab/cards.py)."""
    store = SqliteStore(database)
    for pragma in ("synchronous=OFF", "cache_size=-400000"):
        store._writer.execute(f"PRAGMA {pragma}")
    drawn = AT_ONCE
    while drawn == AT_ONCE:
        with store.begin() as tx:
            drawn = draw_some(tx, AT_ONCE)
    store.close()


def measured(live: Live, path: str) -> list[Figure]:
    """Requests a second and latencies of the first page, of the constant body, and of pages that are made
    anew for each request: at random places of the list, and the deepest by key. The first is asked as pollers
    ask it, the same again and again: while nothing is written the server gives the answer that it has."""
    first = live.raw("GET", path)[1]
    oldest = json.loads(live.raw("GET", f"{path}&pagination=keyset&order_by=id&sort=asc&per_page=40")[1])
    deepest = f"{path}&pagination=keyset&order_by=id&sort=desc&id_before={oldest[-1]['id']}"
    if len(json.loads(first)) != 20 or len(json.loads(live.raw("GET", deepest)[1])) != 20:
        raise RuntimeError("the pages are not full")
    port = int(live.host.rsplit(":", 1)[1])
    with constant(first) as other:
        rounds = [
            (
                load(other, "/"),
                load(port, f"/api/v4{path}", RANDOM),
                load(port, f"/api/v4{deepest}", NEW),
                load(port, f"/api/v4{path}"),
            )
            for _ in range(ROUNDS)
        ]
        bare50, bare99 = spread(other, "/")
        p50, p99 = spread(port, f"/api/v4{path}", RANDOM)
    floor, ours, deep, first_page = (
        max((r[i] for r in rounds), key=lambda found: found[0]) for i in range(4)
    )
    size = f"{len(first) / 1024:.0f} KiB"
    return [
        Figure(f"the first 20 of {RUNS * JOBS:,} jobs, {CONNECTIONS} connections ({size})", f"{first_page[0]:.0f}/s", f"{floor[0]:.0f}/s (constant body)", first_page[0] / floor[0], 0.5, True),
        Figure("  20 at a random place, made anew (no limit asked)", f"{ours[0]:.0f}/s", f"{floor[0]:.0f}/s (constant body)", ours[0] / floor[0], 0, True),
        Figure("  the deepest keyset page, made anew", f"{deep[0]:.0f}/s", f"{ours[0]:.0f}/s (random places)", deep[0] / ours[0], 0.9, True),
        Figure("  p99 of random places, one connection", f"{p99 * 1000:.2f} ms", f"{p50 * 1000:.2f} ms (its p50; constant body: {bare99 / bare50:.1f})", p99 / p50, 3),
    ]  # fmt: skip


@contextlib.contextmanager
def constant(body: bytes) -> Iterator[int]:
    """The port of a server like ours that answers everything with this body."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        process = subprocess.Popen([sys.executable, "-c", CONSTANT, file.name, str(port)])
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def load(port: int, path: str | bytes, added: str = "") -> tuple[float, float]:
    """(answers a second, median latency) of CONNECTIONS busy connections, asked from processes of their
    own."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.starmap(busy, [(port, path, CONNECTIONS // 2, added)] * 2)
    times = [t for some in found for t in some]
    return len(times) / SECONDS, statistics.median(times)


def busy(port: int, path: str | bytes, connections: int, added: str) -> list[float]:
    """Latencies of so many connections, each asking as fast as it is answered."""
    found: list[list[float]] = [[] for _ in range(connections)]
    threads = [threading.Thread(target=ask, args=(port, path, SECONDS, some, added)) for some in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [t for some in found for t in some]


def spread(port: int, path: str, added: str = "") -> tuple[float, float]:
    """(p50, p99) of the calmest of three looks: a neighbour on the machine takes the core for
    milliseconds."""
    calm = [one(port, path, added) for _ in range(3)]
    return min(((c[len(c) // 2], c[int(len(c) * 0.99)]) for c in calm), key=lambda pair: pair[1] / pair[0])


def one(port: int, path: str, added: str) -> Sequence[float]:
    """Sorted latencies of one connection."""
    found: list[float] = []
    ask(port, path, SECONDS, found, added)
    return sorted(found)


def ask(port: int, path: str | bytes, seconds: float, times: list[float], added: str = "") -> None:
    """Asks over one kept connection; a bare socket, so that the client costs next to nothing. A path is asked
    with GET, bytes are a whole request. `added`: to each path, with a random number in it."""
    request = path if isinstance(path, bytes) else written(path)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(20):
            answered(connection, request)
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            if added:
                request = written(f"{path}{added.format(at=random.randrange(100, RUNS * JOBS))}")
            answered(connection, request)
            times.append(time.perf_counter() - begin)


def written(path: str) -> bytes:
    """The request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nPRIVATE-TOKEN: {TOKEN}\r\n\r\n".encode()


def answered(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request)
    data = connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head[:200].decode())
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    left = length - len(body)
    while left > 0:
        left -= len(connection.recv(left))
