"""Compiling a large `.gitlab-ci.yml`: our command line beside gitlab-ci-local's on the same files, process
start included; and how it grows.

The configuration has includes, extends, rules and matrices: one part in ten is a file of its own, every job
extends a base with rules, and a third of the jobs are legs of a matrix. Both sides run as a process, best of
three.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.figures import Figure

ROOT = Path(__file__).parents[1]
NODE = ROOT / ".oracle/node_modules/.bin/node"
ORACLE = ROOT / ".oracle/node_modules/gitlab-ci-local/dist/index.js"
TRIES = 3
LEGS = 5


def lay_out(folder: Path, jobs: int) -> None:
    """A repository whose configuration makes about `jobs` jobs."""
    files = 10
    base = """\
stages: [build, test, deploy]
include: [{}]
variables: {{LEVEL: "3", TARGET: prod}}
.base:
  image: alpine:3
  variables: {{A: one, B: two}}
  before_script: [echo before]
  rules:
    - if: $CI_COMMIT_TAG
      when: never
    - if: $CI_COMMIT_BRANCH == "main" && $LEVEL =~ /^[0-9]+$/
      variables: {{C: three}}
    - when: manual
.retried: {{retry: 1, interruptible: true}}
""".format(", ".join(f"ci/{i}.yml" for i in range(files)))
    (folder / "ci").mkdir(parents=True)
    (folder / ".gitlab-ci.yml").write_text(base)
    stages = ("build", "test", "deploy")
    number = 0
    for i in range(files):
        lines = []
        for k in range(jobs // files * 3 // 4 // 1):
            if k >= jobs // files - (jobs // files // 3):
                break
            lines.append(
                f"job-{i}-{k}:\n  extends: [.base, .retried]\n  stage: {stages[k % 3]}\n  script: [echo {number}, make {number}]\n"
            )
            number += 1
        for m in range(jobs // files // 3 // LEGS):
            values = ", ".join(f"v{v}" for v in range(LEGS))
            lines.append(
                f"matrix-{i}-{m}:\n  extends: .base\n  stage: test\n  script: [echo $V]\n  parallel: {{matrix: [{{V: [{values}]}}]}}\n"
            )
            number += LEGS
        (folder / f"ci/{i}.yml").write_text("".join(lines))
    for arguments in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        ["-c", "user.name=b", "-c", "user.email=b@example.org", "commit", "-qm", "one"],
        ["remote", "add", "origin", "https://gitlab.example.org/group/app.git"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def best(argv: Sequence[str], folder: Path) -> float:
    """Seconds of the fastest of a few runs."""
    seconds = []
    for _ in range(TRIES):
        start = time.perf_counter()
        subprocess.run(argv, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def in_process(folder: Path) -> tuple[float, int]:
    """(best processor seconds, jobs) of compiling alone, without a process or printing, the collector off as
    in `runyard compile`."""
    from runyard.cli.compiling import FolderFiles, compile_plan

    tree = FolderFiles(folder)
    seconds, count = [], 0
    gc.disable()
    for _ in range(TRIES):
        start = time.process_time()
        plan = compile_plan(tree, ".gitlab-ci.yml", "main", [])
        seconds.append(time.process_time() - start)
        count = len(plan.workflows[0].jobs)
    gc.enable()
    return min(seconds), count


def compile_figures(jobs: int = 2000) -> list[Figure]:
    """The two figures of the issue: against gitlab-ci-local, and flat from 200 to 4,800 jobs (5,000 are the
    most that we take)."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "main")
        lay_out(folder, jobs)
        ours = [sys.executable, "-m", "runyard", "compile", "--output", "list"]
        mine = best(ours, folder)
        if ORACLE.exists():
            theirs = best([str(NODE), str(ORACLE), "--list"], folder)
            floor = f"gitlab-ci-local --list {theirs:.2f} s"
            found.append(
                Figure(
                    f"compile {jobs:,} jobs, process included",
                    f"{mine:.2f} s",
                    floor,
                    theirs / mine,
                    10,
                    True,
                )
            )
        small, large = Path(name, "small"), Path(name, "large")
        lay_out(small, 200)
        lay_out(large, 4800)
        (few_s, few), (many_s, many) = in_process(small), in_process(large)
        per_few, per_many = few_s / few * 1e6, many_s / many * 1e6
        found.append(
            Figure(
                f"compile, µs per job at {many:,} jobs",
                f"{per_many:.0f} µs",
                f"{few:,} jobs {per_few:.0f} µs",
                per_many / per_few,
                1.5,
            )
        )
    return found


if __name__ == "__main__":
    for figure in compile_figures():
        print(figure)
