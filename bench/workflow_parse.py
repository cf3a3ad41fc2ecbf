"""Parsing and checking 1,000 workflow files in one process, beside npm @actions/workflow-parser on Node
(scripts/oracle.sh), start of the process not counted."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.figures import Figure
from bench.live import Live

ORACLE = Path(__file__).parents[1] / ".oracle"
FILES = 1000
JOB = """  job{n}:
    name: Job {n} on ${{{{ matrix.os }}}}
    needs: {needs}
    if: github.event_name == 'push' && contains(github.ref, 'main')
    runs-on: ${{{{ matrix.os }}}}
    strategy:
      fail-fast: false
      matrix:
        os: [ubuntu-latest, ubuntu-22.04]
        version: ['3.11', '3.12']
    env:
      VERSION: ${{{{ matrix.version }}}}
      TOKEN: ${{{{ secrets.TOKEN_{n} }}}}
    outputs:
      digest: ${{{{ steps.build.outputs.digest }}}}
    steps:
      - uses: actions/checkout@v4
        with: {{fetch-depth: 0}}
      - uses: actions/setup-python@v5
        with:
          python-version: ${{{{ matrix.version }}}}
      - name: Build
        id: build
        run: |
          make build
          echo "digest=$(sha256sum out | cut -d' ' -f1)" >> "$GITHUB_OUTPUT"
      - name: Test
        if: success() && steps.build.outputs.digest != ''
        run: make test VERSION="$VERSION"
        timeout-minutes: 10
      - uses: actions/upload-artifact@v4
        if: always()
        with: {{name: 'out-${{{{ matrix.os }}}}-{n}', path: out}}
"""


def workflow_text(number: int) -> str:
    """A file of four jobs, each file different."""
    jobs = "".join(
        JOB.format(n=f"{number}_{k}", needs=f"[job{number}_{k - 1}]" if k else "[]") for k in range(4)
    )
    return f"name: W{number}\non:\n  push: {{branches: [main, 'release/**']}}\n  pull_request:\n  schedule: [{{cron: '{number % 60} 4 * * *'}}]\njobs:\n{jobs}"


def workflow_parse(_: Live) -> list[Figure]:
    """The best of five in turns."""
    node = ORACLE / "node_modules/.bin/node"
    if not (ORACLE / "actions.mjs").exists() or not node.exists():
        print("!! @actions/workflow-parser is not in .oracle: parsing is not compared", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory(prefix="runyard-bench-") as folder:
        for number in range(FILES):
            Path(folder, f"w{number:04}.yml").write_text(workflow_text(number))
        rounds = [(_ours(folder), _theirs(node, folder)) for _ in range(5)]
    best, floor = min(mine for mine, _ in rounds), min(other for _, other in rounds)
    return [
        Figure(
            "1,000 workflow files parsed and checked, best of 5",
            f"{best:.2f} s", f"{floor:.2f} s (workflow-parser)", floor / best, 1.0, True,
        )
    ]  # fmt: skip


_CODE = """
import gc, sys, time
from pathlib import Path
from runyard.cli.compiling import FolderFiles
from runyard.dialects.depot.compile import check
texts = {p.name: p.read_bytes() for p in sorted(Path(sys.argv[1]).iterdir())}
class One:
    def read(self, path): return texts[path]
    def paths(self): return list(texts)
    def changed(self, base=None): return None
tree = One()
gc.disable()  # as `runyard check` does
start = time.perf_counter()
found = sum(len(check(tree, name)) for name in texts)
print(time.perf_counter() - start, found)
"""


def _ours(folder: str) -> float:
    done = subprocess.run([sys.executable, "-c", _CODE, folder], capture_output=True, text=True, check=True)
    seconds, found = done.stdout.split()
    if found != "0":
        raise RuntimeError(f"the files were to be in order, but {found} problems were found")
    return float(seconds)


def _theirs(node: Path, folder: str) -> float:
    done = subprocess.run(
        [str(node), str(ORACLE / "actions.mjs"), "--time", folder], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    if found["errors"] or found["files"] != FILES:
        raise RuntimeError(f"the oracle answers {found}")
    return float(found["seconds"])
