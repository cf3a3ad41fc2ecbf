"""A run of each language that nobody asked for, from the command line to the table, made by the resident
before its first child. Called by `server`.

Whatever Python and its libraries do only the first time (modules imported late, statements and patterns
compiled, pages of memory touched) is then done for every child: it is half of the processor time of a small
run. Nothing of an answer is kept. The jobs themselves are not run: a sandbox has threads and processes, and a
process with threads must not fork.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import zlib
from pathlib import Path

import pygit2

from runyard.app.local import clock
from runyard.cli.asked import read
from runyard.cli.progress import Screen
from runyard.cli.run import LocalRun, Prepared, Result
from runyard.engine.dispatch import Finish
from runyard.model.state import Outcome, State
from runyard.model.work import Step
from runyard.runner.local import LocalLink

log = logging.getLogger("runyard.resident")

PIPELINE = """stages: [build, test]
variables: {WORD: "hello $CI_COMMIT_REF_NAME"}
.base: {before_script: [set -e], rules: [{if: '$CI_COMMIT_BRANCH =~ /^m/ && $WORD != ""', when: on_success}]}
first: {extends: .base, stage: build, script: ['echo "$WORD"'], artifacts: {paths: [out/], expire_in: 1 day}}
second: {stage: test, needs: [first], script: ['true'], parallel: {matrix: [{LEG: [a]}]}}
"""
WORKFLOW = """on: push
jobs:
  first:
    strategy: {matrix: {leg: [a]}}
    runs-on: ubuntu-latest
    outputs: {value: "${{ steps.made.outputs.value }}"}
    steps:
      - run: echo hello
      - id: made
        if: success() && matrix.leg == 'a'
        env: {WORD: "${{ github.ref_name }}"}
        run: echo "value=42" >> "$GITHUB_OUTPUT"
  second:
    needs: first
    runs-on: ubuntu-latest
    steps: [{run: 'test "${{ needs.first.outputs.value }}" = 42'}]
"""
LINES = b"##[group]Run echo hello\necho hello\n##[endgroup]\n\x1b[32mhello\x1b[0m\n"


def rehearse() -> None:
    """Both languages, one after the other. What goes wrong here goes wrong in a real run too, and is told
    there."""
    for dialect in ("gitlab", "depot"):
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                _rehearse(dialect)
        except Exception:
            log.exception("rehearsal", extra={"dialect": dialect, "said": said.getvalue()})


def _rehearse(dialect: str) -> None:
    prepared = Prepared()
    try:
        with tempfile.TemporaryDirectory(prefix="runyard-rehearsal-") as name:
            folder = Path(name)
            _write(folder / "copy")
            asked = read(["-C", str(folder / "copy"), "--dialect", dialect, "--var", "KEY=value"], "run")
            local = LocalRun(prepared, asked)
            link, screen = prepared.house.link(), Screen.of(asked.output)
            runs, results = local.started(asked.choice), list[Result]()
            while _work(link, local, folder / "job"):
                pass
            local.follow(runs, screen, results)
            screen.done(results)
    finally:
        prepared.close()


def _write(folder: Path) -> None:
    for path, text in ((".gitlab-ci.yml", PIPELINE), (".github/workflows/ci.yml", WORKFLOW)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    repository = pygit2.init_repository(str(folder), initial_head="main")
    repository.index.add_all()
    who = pygit2.Signature("rehearsal", "rehearsal@localhost", 0, 0)
    repository.index.write()
    repository.create_commit("HEAD", who, who, "rehearsal", repository.index.write_tree(), [])


def _work(link: LocalLink, local: LocalRun, into: Path) -> bool:
    """What the runner does of a job, without the job. False when there is none."""
    work = link.claim_now()
    if work is None:
        return False
    link.checkout(work, local.copy.sha, f"refs/heads/{local.copy.branch}", 1, into)
    now = clock()
    link.step(work, Step(work.attempt_id, 1, "one", "one", State.DONE, Outcome.PASSED, 0, now, now))
    link.log(work, 0, LINES).result()
    link.finish_if_whole(work, Finish(Outcome.PASSED, log_bytes=len(LINES), log_crc=zlib.crc32(LINES)))
    return True
