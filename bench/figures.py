"""The figures of the foundation: a no-op job, a hundred, a chain, a log, artifacts, the start. Each prints
ours, the floor, the ratio and the limit."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.live import Live, server

NOOP = 'noop:\n  variables: {GIT_STRATEGY: none}\n  script: [":"]\n'


@dataclass(frozen=True)
class Figure:
    """One line of the report. `higher`: the ratio must be at least the limit (throughputs)."""

    name: str
    ours: str
    floor: str
    ratio: float
    limit: float
    higher: bool = False

    @property
    def holds(self) -> bool:
        return self.ratio >= self.limit if self.higher else self.ratio <= self.limit


def bare_seconds(count: int, slots: int) -> float:
    """Wall time of `count` times `sh -c true` in the runner's own sandbox, from a bare loop on `slots`
    threads."""
    from runyard.model.plan import Network
    from runyard.runner.sandbox.box import BoxPlan
    from runyard.runner.sandbox.levels import choose

    with tempfile.TemporaryDirectory() as folder:
        sandbox = choose(Path(folder, "work"), network=Network.INTERNET)
        try:

            def one(slot: int) -> None:
                box = sandbox.open(BoxPlan(slot=slot, project="bench", network=Network.INTERNET))
                process = box.run(["sh", "-c", "true"], {"PATH": "/usr/bin:/bin"}, box.inside.workspace)
                with open(process.output, "rb") as pipe:
                    pipe.read()
                assert process.wait() == 0
                box.close()

            def many(slot: int) -> None:
                for _ in range(count // slots):
                    one(slot)

            for slot in range(slots):
                one(slot)
            start = time.perf_counter()
            with ThreadPoolExecutor(slots) as pool:
                list(pool.map(many, range(slots)))
            return time.perf_counter() - start
        finally:
            sandbox.close()


def in_turns(floor: Callable[[], float], ours: Callable[[], float], rounds: int = 5) -> tuple[float, float]:
    """The best of each, measured in turns, so that a disturbance of the machine meets both."""
    pairs = [(floor(), ours()) for _ in range(rounds)]
    return min(f for f, _ in pairs), min(o for _, o in pairs)


def noop(live: Live) -> Figure:
    floor = statistics.median(bare_seconds(5, 1) / 5 for _ in range(5))
    project = live.project("bench/noop", {".gitlab-ci.yml": NOOP})
    times = [live.run(project)[0] for _ in range(30)][5:]
    ours = statistics.median(times)
    return Figure(
        "no-op job, POST to success seen, median of 25",
        f"{ours * 1000:.1f} ms",
        f"{floor * 1000:.1f} ms",
        ours / floor,
        6,
    )


def hundred(live: Live) -> Figure:
    project = live.project("bench/hundred", {".gitlab-ci.yml": NOOP + "  parallel: 100\n"})
    live.run(project)
    floor, ours = in_turns(lambda: bare_seconds(100, 4), lambda: live.run(project, 0.01)[0])
    return Figure(
        "100 no-op jobs, 4 slots, best of 5 each", f"{ours:.2f} s", f"{floor:.2f} s", ours / floor, 3
    )


def chain(live: Live) -> Figure:
    jobs = "".join(
        f"j{i}:\n  variables: {{GIT_STRATEGY: none}}\n  script: [':']\n"
        + (f"  needs: [j{i - 1}]\n" if i else "")
        for i in range(20)
    )
    project = live.project("bench/chain", {".gitlab-ci.yml": jobs})
    live.run(project)
    floor, ours = (s / 20 for s in in_turns(lambda: bare_seconds(20, 1), lambda: live.run(project)[0]))
    return Figure(
        "chain of 20 jobs, per job, best of 5 each",
        f"{ours * 1000:.1f} ms",
        f"{floor * 1000:.1f} ms",
        ours / floor,
        6,
    )


LINE = "0123456789" * 9 + "abcdefghi"
LINES = 1_000_000
PRINT = f"(yes {LINE} || true) | head -n {LINES}"


def log(live: Live) -> list[Figure]:
    floor = max(_piped_rate() for _ in range(2))
    text = f"chatty:\n  variables: {{GIT_STRATEGY: none, HIDDEN: {LINE[:40]}zz}}\n  script: ['{PRINT}']\n"
    project = live.project("bench/log", {".gitlab-ci.yml": text})
    live.call(
        "POST", f"{project}/variables", {"key": "SECRET", "value": "never-printed-secret", "masked": True}
    ) if _has_variables(live, project) else None
    live.forget_peak()
    before = live.memory()[0]
    _, pipeline = live.run(project, 0.05)
    grown = live.memory()[1] - before
    job = live.call("GET", f"{project}/pipelines/{pipeline['id']}/jobs")[0]
    status, trace = live.raw("GET", f"{project}/jobs/{job['id']}/trace")
    body = (LINE + "\n").encode() * LINES
    start = trace.find((LINE + "\n").encode())
    crc = zlib.crc32(trace[start : start + len(body)])
    if status != 200 or crc != zlib.crc32(body):
        held = len(trace) - start
        raise RuntimeError(
            f"the log is not complete: {held} of {len(body)} bytes from {start} on, status {status}"
        )
    rate = len(body) / job["duration"]
    return [
        Figure(
            "100 MB log in 1,000,000 lines, complete (CRC equal)",
            f"{rate / 1e6:.0f} MB/s",
            f"{floor / 1e6:.0f} MB/s",
            rate / floor,
            0.3,
            True,
        ),
        Figure("  server memory growth meanwhile", f"{grown / 2**20:.1f} MiB", "32 MiB", grown / 2**25, 1),
    ]


def _has_variables(live: Live, project: str) -> bool:
    return live.raw("GET", f"{project}/variables")[0] == 200


def _piped_rate() -> float:
    """Bytes a second of the same output through a pipe into an fsynced file."""
    with tempfile.NamedTemporaryFile() as file:
        start = time.perf_counter()
        process = subprocess.Popen(["sh", "-c", PRINT], stdout=subprocess.PIPE)
        assert process.stdout is not None
        shutil.copyfileobj(process.stdout, file, 1 << 16)
        process.wait()
        file.flush()
        os.fsync(file.fileno())
        return file.tell() / (time.perf_counter() - start)


ARTIFACTS = """
make:
  stage: build
  variables: {{GIT_STRATEGY: none}}
  script:
    - {make}
    - date +stamp-%s%N
  artifacts: {{paths: [tree]}}
take:
  stage: test
  variables: {{GIT_STRATEGY: none}}
  script:
    - date +stamp-%s%N
    - ls tree | wc -l
"""
ONE_FILE = "mkdir tree && head -c 500000000 /dev/urandom > tree/big.bin"
MANY_FILES = 'mkdir tree && cd tree && seq -w 1 10000 | while read i; do echo "file number $i of many" > f$i.txt; done && cd ..'


def artifacts(live: Live, name: str, make: str) -> Figure:
    """Ours and the floor in turns, the best of three each: ext4 is slow for a minute wherever many files were
    just removed, whoever comes next."""
    project = live.project(
        f"bench/artifacts-{len(make)}", {".gitlab-ci.yml": ARTIFACTS.format(make=f"'{make}'")}
    )
    rounds = [(_handed_on(live, project), _zip_floor(make)) for _ in range(3)]
    ours = min(seconds for seconds, _ in rounds)
    floor, how = min(found for _, found in rounds)
    return Figure(
        f"artifacts to a next job, {name}", f"{ours:.2f} s", f"{floor:.2f} s ({how})", ours / floor, 2.5
    )


def _handed_on(live: Live, project: str) -> float:
    """Seconds from the end of the first job's script to the start of the second's."""
    _, pipeline = live.run(project, 0.05)
    jobs = {j["name"]: j["id"] for j in live.call("GET", f"{project}/pipelines/{pipeline['id']}/jobs")}
    stamps = {n: _stamp(live.raw("GET", f"{project}/jobs/{i}/trace")[1]) for n, i in jobs.items()}
    return (stamps["take"] - stamps["make"]) / 1e9


def _stamp(trace: bytes) -> int:
    return max(
        int(word[6:])
        for word in trace.replace(b"\x1b[0;m", b" ").split()
        if word.startswith(b"stamp-") and word[6:].isdigit()
    )


def _zip_floor(make: str) -> tuple[float, str]:
    """Seconds of the fastest plain zip and unzip of the same tree here."""
    best = (float("inf"), "")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["bash", "-c", make], cwd=folder, check=True)
        for flag in ("-0", "-1"):
            if not shutil.which("zip"):
                break
            start = time.perf_counter()
            subprocess.run(["zip", "-q", flag, "-r", "a.zip", "tree"], cwd=folder, check=True)
            subprocess.run(["unzip", "-q", "a.zip", "-d", "out"], cwd=folder, check=True)
            best = min(best, (time.perf_counter() - start, f"zip {flag}, unzip"))
            shutil.rmtree(Path(folder, "out"))
            Path(folder, "a.zip").unlink()
        start = time.perf_counter()
        shutil.make_archive(str(Path(folder, "b")), "zip", folder, "tree")
        shutil.unpack_archive(Path(folder, "b.zip"), Path(folder, "out"))
        return min(best, (time.perf_counter() - start, "Python zipfile"))


def start(live: Live) -> list[Figure]:
    def imports() -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import fastapi, sqlalchemy"], check=True)
        return time.perf_counter() - begin

    floor = min(imports() for _ in range(5))
    times = []
    for _ in range(3):
        with server(2) as other:
            times.append(other.seconds_to_ready)
            time.sleep(1)
            idle = other.memory()[0]
    return [
        Figure(
            "cold start to ready",
            f"{min(times):.2f} s",
            f"{floor:.2f} s (import fastapi, sqlalchemy)",
            min(times) / floor,
            3,
        ),
        Figure(
            "  idle memory (no floor asked)",
            f"{idle / 2**20:.0f} MiB",
            "90 MiB target",
            idle / (90 * 2**20),
            float("inf"),
        ),
    ]
