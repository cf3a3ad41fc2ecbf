"""Two command lines on the same working copy, in turns. Used by localrun and actrun.

Neither side is measured while other programs use the machine, if it can be helped: the side with more threads
would suffer more (gitlab-ci-local took 1.5 s alone and 15 s at a load of 12, with the same processor time).
Both have run once before, so both find a warm disk and what they keep between runs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

OURS = (str(Path(sys.executable).with_name("runyard")), "run")
SETTLED_S = 2.0  # the resident is made after our first run
PAUSE_S = 0.5  # neither side tidies up while the other is measured
LOOK_S = 0.2
PATIENCE_S = 30.0  # for all rounds together
BUSY = 0.15  # share of the processors; what a machine does that does nothing


def best_of(rounds: int, theirs: Sequence[str], files: Mapping[str, str]) -> tuple[float, float]:
    """Seconds of our best round and of theirs, in a new repository with these files."""
    with tempfile.TemporaryDirectory(prefix="runyard-bench-") as folder:
        for path, text in files.items():
            Path(folder, path).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, path).write_text(text)
        base = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "bench"]):
            subprocess.run([*base, *command], cwd=folder, check=True)
        for warming in (OURS, theirs):
            _seconds(warming, folder)
        time.sleep(SETTLED_S)
        mine, others, busy = [], [], []
        patience_ends = time.monotonic() + PATIENCE_S
        for _ in range(rounds):
            for command, found in ((OURS, mine), (theirs, others)):
                time.sleep(PAUSE_S)
                busy.append(_quiet(patience_ends))
                found.append(_seconds(command, folder))
    if max(busy) > BUSY:
        share = sum(one > BUSY for one in busy) / len(busy)
        print(
            f"!! other programs used the machine before {share:.0%} of the rounds: not a figure to keep",
            file=sys.stderr,
        )
    return min(mine), min(others)


def _quiet(ends: float) -> float:
    """Waits until the machine is idle, or that moment has come; the share of the processors that was in use
    last."""
    while (share := _busy_share()) > BUSY and time.monotonic() < ends:
        pass
    return share


def _busy_share() -> float:
    before = _ticks()
    time.sleep(LOOK_S)
    idle, total = (after - earlier for after, earlier in zip(_ticks(), before, strict=True))
    return 1 - idle / max(total, 1)


def _ticks() -> tuple[int, int]:
    """(idle, all) of all processors since the start of the machine."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)


def _seconds(argv: Sequence[str], folder: str) -> float:
    start = time.perf_counter()
    done = subprocess.run(argv, cwd=folder, capture_output=True, check=False)
    took = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError(
            f"{argv[:2]} ended with {done.returncode}: {done.stdout[-300:]!r} {done.stderr[-300:]!r}"
        )
    return took
