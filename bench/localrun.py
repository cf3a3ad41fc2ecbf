"""`runyard run` of 100 jobs (50, and 50 more each needing one) against npm gitlab-ci-local on the same file, process start included, our sandbox on.

`npm install --prefix .clients gitlab-ci-local@4.75.1 node@22` brings the other side; without it the figure is left out, loudly.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure
from bench.live import Live

MODULES = Path(__file__).parents[1] / ".clients" / "node_modules"
PIPELINE = "stages: [one, two]\n" + "".join(
    f"a{i}:\n  stage: one\n  script: ['true']\nb{i}:\n  stage: two\n  needs: [a{i}]\n  script: ['true']\n" for i in range(50)
)  # fmt: skip


def localrun(_: Live) -> list[Figure]:
    """The best of five in turns."""
    package = MODULES / "gitlab-ci-local"
    if not package.is_dir():
        print("!! gitlab-ci-local is not in .clients: `runyard run` is not compared", file=sys.stderr)
        return []
    given = json.loads((package / "package.json").read_text())["bin"]
    script = given if isinstance(given, str) else next(iter(given.values()))
    theirs = [str(MODULES / ".bin" / "node"), str(package / script), "--force-shell-executor"]
    ours = [sys.executable, "-m", "runyard", "run"]
    with tempfile.TemporaryDirectory(prefix="runyard-bench-") as folder:
        Path(folder, ".gitlab-ci.yml").write_text(PIPELINE)
        base = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "bench"]):
            subprocess.run([*base, *command], cwd=folder, check=True)
        rounds = [(_seconds(ours, folder), _seconds(theirs, folder)) for _ in range(5)]
    best, floor = min(mine for mine, _ in rounds), min(other for _, other in rounds)
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


def _seconds(argv: list[str], folder: str) -> float:
    start = time.perf_counter()
    done = subprocess.run(argv, cwd=folder, capture_output=True, check=False)
    took = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError(f"{argv[:2]} ended with {done.returncode}: {done.stderr[-300:]!r}")
    shutil.rmtree(Path(folder, ".gitlab-ci-local"), ignore_errors=True)
    return took
