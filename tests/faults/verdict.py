"""The checker: after the faults, does the server's word hold? Reads the API, the database (read-only) and the
blobs; answers complaints.

After Jepsen's total-queue and set checkers: what was acknowledged must be there, what is there must make
sense, nothing happened twice.
"""

from __future__ import annotations

import hashlib
import io
import re
import sqlite3
import urllib.request
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.faults.stories import ENDED, jobs, pipeline, project, trace
from tests.faults.watch import Witness
from tests.live_server import LiveServer

Rows = Callable[[str], list[tuple[Any, ...]]]
SAFE_ENDS = {("passed", ""), ("errored", "runner_lost")}


def sqlite_rows(folder: Path) -> Rows:
    """Reads the server's database while it serves."""

    def rows(sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{folder}/data/runyard.db?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()

    return rows


def complaints(
    server: LiveServer, path: str, acknowledged: Iterable[int], rows: Rows, lines: int
) -> list[str]:
    """Everything that is wrong with the runs of a project whose jobs are `stories.job`."""
    return [
        *_runs(server, path, acknowledged, rows),
        *_attempts(rows),
        *_contents(server, path, lines),
        *_bytes(rows),
    ]


def _runs(server: LiveServer, path: str, acknowledged: Iterable[int], rows: Rows) -> list[str]:
    found = []
    for number in acknowledged:
        status = pipeline(server, path, number)["status"]
        if status not in ENDED:
            found.append(f"run {number} never ended: {status}")
    half = rows(
        "SELECT id FROM runs WHERE coalesce(outcome, '') <> 'skipped' AND id NOT IN (SELECT run_id FROM jobs)"
    )
    found += [f"run {i} is half made" for (i,) in half]
    return found


def _attempts(rows: Rows) -> list[str]:
    found = []
    history: dict[int, list[tuple[int, str, str, str, int]]] = defaultdict(list)
    for job, number, state, outcome, reason, latest in rows(
        "SELECT job_id, number, state, coalesce(outcome, ''), reason, latest FROM attempts ORDER BY job_id, number"
    ):
        history[job].append((number, state, outcome, reason, latest))
    for job, tries in history.items():
        if [t[0] for t in tries] != list(range(1, len(tries) + 1)):
            found.append(f"job {job}: attempts are numbered {[t[0] for t in tries]}")
        if [bool(t[4]) for t in tries] != [False] * (len(tries) - 1) + [True]:
            found.append(f"job {job}: not exactly its last attempt is the latest")
        if sum(t[2] == "passed" for t in tries) > 1:
            found.append(f"job {job} was done twice: {tries}")
        found += [f"job {job}: {t}" for t in tries[:-1] if (t[2], t[3]) != ("errored", "runner_lost")]
    left = rows("SELECT attempt_id FROM queue")
    found += [f"attempt {i} is still in the queue" for (i,) in left]
    odd = rows("SELECT id, message FROM attempts WHERE outcome = 'passed' AND message <> ''")
    return found + [f"attempt {i}: {message}" for i, message in odd]


def _contents(server: LiveServer, path: str, lines: int) -> list[str]:
    """For attempts that passed: every line once and in order, and the artifact that was announced."""
    found = []
    for run in _all_runs(server, path):
        for one in jobs(server, path, run):
            if one["status"] == "success":
                found += _content(server, path, one["id"], lines)
    return found


def _content(server: LiveServer, path: str, attempt: int, lines: int) -> list[str]:
    text = trace(server, path, attempt)
    said = re.findall(rf"^line (\d+) of {attempt}\r?$", text, re.MULTILINE)
    found = []
    if [int(n) for n in said] != list(range(1, lines + 1)):
        found.append(
            f"attempt {attempt}: the log has {len(said)} lines of {lines}: {Counter(said).most_common(2)}"
        )
    announced = re.search(r"^left ([0-9a-f]{64})", text, re.MULTILINE)
    packed = fetch(server, f"{project(server, path)}/jobs/{attempt}/artifacts")
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        digest = hashlib.sha256(archive.read("left.bin")).hexdigest()
    if announced is None or announced[1] != digest:
        found.append(f"attempt {attempt}: the artifact is not what the job left")
    return found


def _all_runs(server: LiveServer, path: str) -> Sequence[int]:
    found: list[int] = []
    page = 1
    while True:
        _, answer = server.call("GET", f"{project(server, path)}/pipelines?per_page=100&page={page}")
        found += [one["id"] for one in answer]
        if len(answer) < 100:
            return found
        page += 1


def _bytes(rows: Rows) -> list[str]:
    """Logs still in chunks have no gap and no double."""
    found = []
    ends: dict[int, int] = {}
    for attempt, start, size in rows("SELECT attempt_id, start, length(data) FROM log_chunks ORDER BY 1, 2"):
        if start != ends.get(attempt, 0):
            found.append(f"attempt {attempt}: its log has a gap or a double at {start}")
        ends[attempt] = start + size
    return found


def blob_complaints(rows: Rows, blobs: Path) -> list[str]:
    """Every row's bytes are there and are what the row says. Bytes without a row are allowed: a crash leaves
    them to the sweep."""
    found = []
    for key, size, sha256 in rows("SELECT blob, size_bytes, sha256 FROM artifacts"):
        file = blobs / key
        if not file.is_file():
            found.append(f"the blob {key} is not there")
        elif file.stat().st_size != size or hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            found.append(f"the blob {key} is not what its row says")
    found += [
        f"the log {key} is not there"
        for (key,) in rows("SELECT log_blob FROM attempts WHERE log_blob <> ''")
        if not (blobs / key).is_file()
    ]
    return found


def witness_complaints(witness: Witness, rows: Rows) -> list[str]:
    """Nothing ran twice; who ran was started; who passed had run."""
    started = {i for (i,) in rows("SELECT id FROM attempts WHERE started_at IS NOT NULL")}
    passed = {i for (i,) in rows("SELECT id FROM attempts WHERE outcome = 'passed'")}
    seen = {v.attempt for v in witness.visits}
    return [
        *witness.broken,
        *(f"attempt {i} ran but was never handed out" for i in seen - started),
        *(f"attempt {i} passed but never ran" for i in passed - seen),
        *(f"attempt {v.attempt} still runs" for v in witness.inside()),
    ]


def fetch(server: LiveServer, path: str) -> bytes:
    """Bytes of an answer."""
    request = urllib.request.Request(server.url + path, headers={"PRIVATE-TOKEN": server.token})
    with urllib.request.urlopen(request, timeout=60) as answer:
        data: bytes = answer.read()
        return data
