"""`runyard run` of 100 jobs (50, and 50 more each needing one) beside npm gitlab-ci-local on the same file,
process start included, our sandbox on.

scripts/oracle.sh brings the other side; without it the figure is left out, loudly.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.beside import best_of
from bench.figures import Figure
from bench.live import Live

MODULES = Path(__file__).parents[1] / ".oracle/node_modules"
THEIRS = (
    str(MODULES / ".bin/node"),
    str(MODULES / "gitlab-ci-local/dist/index.js"),
    "--force-shell-executor",
)
PIPELINE = "stages: [one, two]\n" + "".join(
    f"a{i}:\n  stage: one\n  script: ['true']\nb{i}:\n  stage: two\n  needs: [a{i}]\n  script: ['true']\n" for i in range(50)
)  # fmt: skip


def localrun(_: Live) -> list[Figure]:
    """The best of five in turns."""
    if not all(Path(part).exists() for part in THEIRS[:2]):
        print("!! gitlab-ci-local is not in .oracle: `runyard run` is not compared", file=sys.stderr)
        return []
    best, floor = best_of(5, THEIRS, {".gitlab-ci.yml": PIPELINE})
    return [
        Figure(
            "runyard run, 100 jobs",
            f"{best:.2f} s",
            f"{floor:.2f} s (gitlab-ci-local)",
            floor / best,
            1.3,
            True,
        )
    ]
