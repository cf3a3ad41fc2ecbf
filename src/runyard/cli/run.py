"""`runyard run`: the working copy's pipeline or workflow now, without a server: the same engine, runner and sandbox, on a database in memory.

Exit 0 passed, 1 failed, 2 could not run. Uncommitted changes are part of it; the working copy itself is never touched.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runyard.app.local import Local, clock, dialects_of, has_signs
from runyard.cli.pairs import pair
from runyard.cli.progress import Screen, follow
from runyard.dialects import Dialect
from runyard.engine import control
from runyard.engine.ports import Tx
from runyard.http.services import RunRequest
from runyard.model.errors import Invalid, NotFound, NothingToRun, Problem, RunyardError
from runyard.model.plan import Gate, JobPlan, Order, Plan, Variable, When, WorkflowPlan
from runyard.model.state import Outcome
from runyard.model.trigger import Files, Push
from runyard.model.work import Attempt, Job, Project, Run
from runyard.sources.workcopy import Workcopy, import_folder, import_workcopy


def run(args: Sequence[str], prog_name: str) -> None:
    """The verb, with its own reading of the command line: typer takes longer to import than ten small jobs to run (docs/decisions/0012)."""
    asked = _parser(prog_name).parse_args(args)
    choice = Choice(asked.jobs, asked.needs)
    try:
        with tempfile.TemporaryDirectory(prefix="runyard-run-", ignore_cleanup_errors=True) as scratch:
            local = LocalRun(
                Path(scratch), asked.slots, asked.folder, asked.file, [pair(v) for v in asked.var]
            )
            try:
                if asked.list:
                    local.show(asked.output)
                    code = 0
                else:
                    code = local.go(local.picked(choice) if asked.pick else choice, Screen.of(asked.output))
            finally:
                local.close()
    except Invalid as error:
        for problem in error.problems or (Problem(error.message),):
            _complain(str(problem))
        code = 2
    except RunyardError as error:
        _complain(f"runyard: {error.message}")
        code = 2
    sys.exit(code)


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=name, description="Run this working copy's pipeline or workflow now.", allow_abbrev=False
    )
    add = parser.add_argument
    add("jobs", nargs="*", metavar="JOB", help="only these jobs and what they name as needs")
    add("-f", "--file", default="", help="the file to run; default: what a push would run")
    add("-C", "--folder", type=Path, default=Path(), help="the working copy")
    add(
        "--needs",
        action="append",
        default=[],
        metavar="JOB",
        help="this job and all that it waits for, earlier stages too; as often as needed",
    )
    add("-i", "--pick", action="store_true", help="choose the jobs from a list")
    add("--var", action="append", default=[], metavar="KEY=VALUE", help="for the jobs, as often as needed")
    add(
        "--slots",
        type=_count,
        default=max(2, os.cpu_count() or 2),
        metavar="N",
        help="jobs at once (1 to 1000; default: %(default)s)",
    )
    add("--list", action="store_true", help="show the jobs, run nothing")
    add(
        "--output",
        choices=("text", "json"),
        default="text",
        help="text, or json for the result alone on stdout",
    )
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError("from 1 to 1000")
    return number


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")


Result = tuple[Run, list[tuple[Job, Attempt]]]


class Choice:
    """Which jobs: `names` with what they name as needs, `whole` with everything they wait for. Neither: all."""

    def __init__(self, names: Sequence[str] = (), whole: Sequence[str] = ()) -> None:
        self.names = frozenset(names)
        self.whole = frozenset(whole)

    @property
    def all(self) -> frozenset[str]:
        """Every name that was given."""
        return self.names | self.whole


class LocalRun:
    """What to run of a working copy, and running it."""

    def __init__(
        self, scratch: Path, slots: int, folder: Path, file: str, variables: Sequence[Variable]
    ) -> None:
        if not folder.is_dir():
            raise NotFound(f"There is no folder {folder}.")
        folder = folder.resolve()
        self.variables = variables
        self.file = file
        self.copy, self.house = self._copied(scratch, slots, folder)
        self.project = replace(self.house.project, default_branch=self.copy.branch)
        # A clean copy differs from nothing, and path filters would leave nothing to run: then all files count as changed.
        self.base = self.copy.base_sha if self.copy.changed else ""
        self.files: Files = self.house.source.files(self.project.id, self.copy.sha, self.base or None)

    def _copied(self, scratch: Path, slots: int, folder: Path) -> tuple[Workcopy, Local]:
        """The working copy around the folder; the folder alone when it has a pipeline or workflow itself, as in a repository of many."""
        alone = has_signs(folder) or bool(self.file and (folder / self.file).is_file())
        root = (
            folder if alone else next((p for p in (folder, *folder.parents) if (p / ".git").exists()), folder)
        )
        house = Local(scratch, slots, dialects_of(root, self.file))
        take = import_folder if alone else import_workcopy
        return take(folder, house.source, house.project.id), house

    def close(self) -> None:
        """Lets everything go."""
        self.house.close()

    def requests(self) -> list[RunRequest]:
        """What to start: the named file, or everything that a push of this working copy would start."""
        file, dialects = self.file, self.house.dialects.values()
        if file:
            wanted = [self._request(d) for d in dialects if file in d.entries(self.files)]
            wanted = wanted or [self._request(d) for d in dialects if self._is_configuration(d)]
            if not wanted:
                raise Invalid(
                    problems=[Problem("no door runs a file of this name, or it is not there", file=file)]
                )
            return wanted
        push = Push(
            self.project, self.house.user, self.copy.branch, False, self.base or "0" * 40, self.copy.sha
        )
        found = [
            self._request(dialect, start.source, dict(start.options))
            for dialect in dialects
            for start in dialect.on_push(push, self.files)
        ]
        if not found:
            raise NothingToRun(
                "There is no .gitlab-ci.yml and no workflow that runs on push here; name one with --file."
            )
        return found

    def _is_configuration(self, dialect: Dialect) -> bool:
        """GitLab's configuration may have any name (`ci_config_path`)."""
        is_yaml = self.file.endswith((".yml", ".yaml"))
        return dialect.name == "gitlab" and is_yaml and self.files.read(self.file) is not None

    def _request(
        self, dialect: Dialect, source: str = "push", options: dict[str, object] | None = None
    ) -> RunRequest:
        chosen = {"workflow": self.file} if self.file else {}
        return RunRequest(
            project=_with_file(self.project, dialect.name, self.file),
            dialect=dialect.name,
            source=source,
            actor=self.house.user,
            ref=f"refs/heads/{self.copy.branch}",
            sha=self.copy.sha,
            before_sha=self.base or None,
            variables=tuple(self.variables),
            options={**(options or {}), **chosen},
        )

    def jobs(self) -> list[tuple[WorkflowPlan, JobPlan]]:
        """Every job that would run, with its workflow."""
        plans = [self.house.compiled(request) for request in self.requests()]
        return [(workflow, job) for plan in plans for workflow in plan.workflows for job in workflow.jobs]

    def show(self, output: str) -> None:
        """Shows the jobs: a line each, or one JSON document."""
        found = self.jobs()
        if output == "json":
            sys.stdout.write(
                json.dumps([_described(workflow, job) for workflow, job in found], indent=2) + "\n"
            )
            return
        for workflow, job in found:
            sys.stdout.write(f"{_line(workflow, job)}\n")

    def picked(self, choice: Choice) -> Choice:
        """Asks which of the jobs; nothing chosen is all of them."""
        found = self.jobs()
        for number, (workflow, job) in enumerate(found, 1):
            _complain(f"{number:>4}  {_line(workflow, job)}")
        sys.stderr.write("Numbers (1 3-5) or names, with what they need; nothing for all: ")
        sys.stderr.flush()
        names = [job.name for _, job in found]
        return Choice((*choice.names, *chosen(sys.stdin.readline(), names)), tuple(choice.whole))

    def go(self, choice: Choice, screen: Screen) -> int:
        """Runs; the worst outcome decides."""
        runs = [self.house.start(r, lambda plan: only(plan, choice)) for r in self.requests()]
        allowed = os.environ.get("RUNYARD_ALLOW_PLAIN", "").lower() in ("1", "true", "yes", "on")
        for note in self.house.begin(allow_plain=allowed, bridges=any(map(self._has_bridges, runs))):
            screen.note(note)
        results: list[Result] = []
        try:
            self._follow(runs, screen, results)
        except KeyboardInterrupt:
            self._cancel(runs)
            results.clear()
            self._follow(runs, screen, results)
        screen.done(results)
        return max(_code(result) for result, _ in results)

    def _has_bridges(self, run: Run) -> bool:
        graph = self.house.db.submit_read(lambda tx: tx.graph(run.id)).result()
        return any(not job.plan.claimable for job, _ in graph)

    def _follow(self, runs: Sequence[Run], screen: Screen, results: list[Result]) -> None:
        """The runs, and the children that they start."""
        for run in runs:
            result = follow(self.house, run.id, screen)
            results.append(result)
            ids = [int(id) for _, attempt in result[1] if (id := attempt.extra.get("downstream_run_id"))]
            found = self.house.db.submit_read(lambda tx: [tx.get(Run, id) for id in ids]).result()  # noqa: B023 - used at once
            self._follow([child for child in found if child is not None], screen, results)

    def _cancel(self, runs: Sequence[Run]) -> None:
        def cancel(tx: Tx) -> None:
            for run in runs:
                control.cancel_run(tx, run.id, clock())

        self.house.db.submit_write(cancel).result()


def chosen(text: str, names: Sequence[str]) -> list[str]:
    """The names that an answer means: numbers from 1, ranges, names; a name with blanks stands alone or in quotes. Invalid for what is neither."""
    text = text.strip()
    if text in names:
        return [text]
    found: list[str] = []
    for quoted, word in re.findall(r"\"([^\"]*)\"|([^\s,]+)", text):
        word = quoted or word
        first, dash, last = word.partition("-")
        if word in names:
            found.append(word)
        elif (
            first.isdigit()
            and (last.isdigit() or not dash)
            and 1 <= int(first) <= int(last or first) <= len(names)
        ):
            found += names[int(first) - 1 : int(last or first)]
        else:
            raise Invalid(f"{word!r} is neither a job's name nor a number from 1 to {len(names)}.")
    return found


def _line(workflow: WorkflowPlan, job: JobPlan) -> str:
    needs = ", ".join(need.group for need in job.needs)
    when = "" if job.gate.when is When.ON_SUCCESS else f"  {job.gate.when}"
    return f"{job.stage or workflow.path:<20} {job.name}{when}{f'  needs {needs}' if needs else ''}"


def _described(workflow: WorkflowPlan, job: JobPlan) -> dict[str, object]:
    return {
        "name": job.name,
        "stage": job.stage or None,
        "file": workflow.path or None,
        "when": str(job.gate.when),
        "needs": [need.group for need in job.needs] if job.gate.order is Order.NEEDS else None,
        "allow_failure": job.allow_failure,
        "image": job.image.name if job.image else None,
    }


def _code(run: Run) -> int:
    return {Outcome.PASSED: 0, Outcome.SKIPPED: 0, Outcome.ERRORED: 2}.get(run.outcome or Outcome.ERRORED, 1)


def _with_file(project: Project, dialect: str, file: str) -> Project:
    """GitLab's file is a setting of the project, not of the trigger."""
    return (
        replace(project, extra={"gitlab": {"ci_config_path": file}})
        if file and dialect == "gitlab"
        else project
    )


def only(plan: Plan, choice: Choice) -> Plan:
    """The plan with just these jobs (by name, group or key) and all they need; a manual one that was named starts by itself."""
    if not choice.all:
        return plan
    known = {n for w in plan.workflows for j in w.jobs for n in _names(j)}
    for name in choice.all:
        if name not in known:
            raise Invalid(f"There is no job {name!r} here; `runyard run --list` shows them.")
    return replace(plan, workflows=tuple(_only(w, choice) for w in plan.workflows))


def _names(job: JobPlan) -> set[str]:
    return {job.name, job.key, job.matrix_group}


def _only(workflow: WorkflowPlan, choice: Choice) -> WorkflowPlan:
    kept: dict[str, bool] = {}  # key → with everything that it waits for
    wanted = [(j, bool(_names(j) & choice.whole)) for j in workflow.jobs if _names(j) & choice.all]
    while wanted:
        job, whole = wanted.pop()
        if kept.get(job.key, False) or (job.key in kept and not whole):
            continue
        kept[job.key] = whole
        groups = {need.group for need in job.needs}
        wanted += [(j, whole) for j in workflow.jobs if {j.key, j.matrix_group} & groups]
        if whole and job.gate.order is Order.STAGE:
            wanted += [(j, True) for j in workflow.jobs if j.stage_index < job.stage_index]
    return replace(workflow, jobs=tuple(_started(j, choice.all) for j in workflow.jobs if j.key in kept))


def _started(job: JobPlan, names: frozenset[str]) -> JobPlan:
    if _names(job) & names and job.gate.when in (When.MANUAL, When.DELAYED):
        return replace(job, gate=Gate(order=job.gate.order, expression=job.gate.expression))
    return job
