"""Depot's API: the status of a run of 200 jobs beside a constant body of that size, and how fast a job's line
reaches 20 followers. `python -m bench depot_api`.

GetRunStatus is asked while nothing is written, and while the jobs of that very run change, twenty a second.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import struct
import threading
import time
from pathlib import Path

from bench.figures import Figure
from bench.gitlab_lists import CONNECTIONS, ROUNDS, constant, load
from bench.live import TOKEN, Live

SERVICE = "/depot.ci.v1.CIService/"
STREAMS, LINES = 20, 60
MANY = """
name: Many
on: workflow_dispatch
jobs:
  leg:
    runs-on: ubuntu-latest
    strategy: {matrix: {n: [%s]}}
    steps: [{run: "true"}]
"""
UNCLAIMED = MANY.replace("ubuntu-latest", "[self-hosted, nobody]")
CHANGES_S = 0.05
SPEAKER = """
name: Speaker
on: workflow_dispatch
jobs:
  speak:
    runs-on: ubuntu-latest
    steps:
      - run: |
          sleep 1
          for n in $(seq %d); do echo "at $(date +%%s%%N)"; sleep %s; done
"""


def depot_api(live: Live) -> list[Figure]:
    """All figures of this module."""
    live.project("bench/depot", {"README.md": "x"})
    return [*_status(live), _latency(live)]


def call(live: Live, method: str, body: object) -> tuple[bytes, dict[str, object]]:
    """(the answer's bytes, the answer) of a unary call in JSON."""
    connection = http.client.HTTPConnection(live.host, timeout=120)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    connection.request("POST", SERVICE + method, json.dumps(body), headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{method}: {answer.status} {data[:300]!r}")
    return data, json.loads(data)


def start(live: Live, workflow: str) -> str:
    """A run's id."""
    return str(call(live, "Run", {"repo": "bench/depot", "workflowContent": [workflow]})[1]["runId"])


def _status(live: Live) -> list[Figure]:
    legs = ", ".join(map(str, range(200)))
    run = start(live, MANY % legs)
    while call(live, "GetRun", {"runId": run})[1]["status"] != "finished":
        time.sleep(0.2)
    body, _ = call(live, "GetRunStatus", {"runId": run})
    port = int(live.host.rsplit(":", 1)[1])
    request = _request(json.dumps({"runId": run}))
    with constant(body) as other:
        rounds = [(load(other, "/"), load(port, request)) for _ in range(ROUNDS)]
        moving, changes = _while_it_changes(live, port, start(live, UNCLAIMED % legs))
    floor, ours = (max((r[i] for r in rounds), key=lambda found: found[0]) for i in range(2))
    limit = min(1000.0, 0.4 * floor[0]) / floor[0]
    size = f"{len(body) / 1024:.0f} KiB"
    against = f"{floor[0]:.0f}/s (constant body)"
    return [
        Figure(f"GetRunStatus of 200 jobs, {CONNECTIONS} connections ({size})", f"{ours[0]:.0f}/s", against, ours[0] / floor[0], limit, True),
        Figure(f"  while {changes:.0f} jobs of the run change a second (no limit asked)", f"{moving:.0f}/s", against, moving / floor[0], 0, True),
    ]  # fmt: skip


def _while_it_changes(live: Live, port: int, run: str) -> tuple[float, float]:
    """(answers a second, changes a second): jobs that nobody takes are canceled one after the other
    meanwhile."""
    (flow,) = call(live, "GetRunStatus", {"runId": run})[1]["workflows"]  # type: ignore[attr-defined]
    over = threading.Event()
    times: list[float] = []

    def change() -> None:
        for job in flow["jobs"]:
            if over.is_set():
                return
            call(live, "CancelJob", {"workflowId": flow["workflowId"], "jobId": job["jobId"]})
            times.append(time.perf_counter())
            time.sleep(CHANGES_S)

    changing = threading.Thread(target=change)
    changing.start()
    found = max(load(port, _request(json.dumps({"runId": run})))[0] for _ in range(2))
    if not changing.is_alive():
        raise RuntimeError("all jobs had changed before the end")
    over.set()
    changing.join()
    (after,) = call(live, "GetRunStatus", {"runId": run})[1]["workflows"]  # type: ignore[attr-defined]
    shown = sum(job["status"] == "cancelled" for job in after["jobs"])
    if shown != len(times):
        raise RuntimeError(f"{len(times)} jobs changed, {shown} are shown")
    call(live, "CancelRun", {"runId": run})
    return found, len(times) / (times[-1] - times[0])


def _request(body: str) -> bytes:
    """GetRunStatus as bytes on the wire."""
    return (
        f"POST {SERVICE}GetRunStatus HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _latency(live: Live) -> Figure:
    """From the job's write (its own clock in the line) to the line at each of 20 followers. A line is shown
    once it is durable, so its slowest moments are the disk's: those of a bare fdatasync on the same disk in
    the same seconds stand beside them."""
    run = start(live, SPEAKER % (LINES, 0.1))
    attempt = ""
    while not attempt:
        _, tree = call(live, "GetRunStatus", {"runId": run})
        attempt = tree["workflows"][0]["jobs"][0]["attempts"][0]["attemptId"]  # type: ignore[index]
    found: list[list[float]] = [[] for _ in range(STREAMS)]
    threads = [threading.Thread(target=follow, args=(live, attempt, some)) for some in found]
    syncs: list[float] = []
    over = threading.Event()
    syncing = threading.Thread(target=_sync, args=(live.data / "sync", over, syncs))
    for thread in (syncing, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    syncing.join()
    times = [t for some in found for t in some]
    if len(times) != STREAMS * LINES:
        raise RuntimeError(f"{len(times)} lines arrived of {STREAMS * LINES}")
    median = statistics.median(times)
    shown = f"{median * 1000:.1f} ms"
    p95 = f"50 ms (p95 {_p95_ms(times):.0f} ms, of a bare fdatasync {_p95_ms(syncs):.0f} ms)"
    return Figure(f"a job's line at {STREAMS} followers, median", shown, p95, median / 0.05, 1)


def _p95_ms(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.95)] * 1000


def _sync(file: Path, over: threading.Event, times: list[float]) -> None:
    with file.open("wb", buffering=0) as out:
        while not over.wait(0.05):
            out.write(bytes(8192))
            start = time.perf_counter()
            os.fdatasync(out.fileno())
            times.append(time.perf_counter() - start)


def follow(live: Live, attempt: str, times: list[float]) -> None:
    """One StreamJobAttemptLogs to its end."""
    connection = http.client.HTTPConnection(live.host, timeout=120)
    body = json.dumps({"attemptId": attempt}).encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/connect+json"}
    framed = b"\0" + struct.pack(">I", len(body)) + body
    connection.request("POST", SERVICE + "StreamJobAttemptLogs", framed, headers)
    answer = connection.getresponse()
    while head := answer.read(5):
        message = answer.read(struct.unpack(">I", head[1:])[0])
        came = time.time()
        if head[0] & 2:
            break
        words = json.loads(message).get("line", {}).get("body", "").split()
        if len(words) == 2 and words[0] == "at":
            times.append(came - int(words[1]) / 1e9)
    connection.close()
