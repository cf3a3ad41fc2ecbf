"""`runyard run`: the working copy's pipeline or workflow now, without a server: the same engine, runner and sandbox, on a database in memory.

Exit 0 passed, 1 failed, 2 could not run. Uncommitted changes are part of it; the working copy itself is never touched.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from runyard.app.compose import House, build_core, clock
from runyard.app.first_start import prepare
from runyard.app.loops import Loops
from runyard.cli.check import FolderFiles, pair
from runyard.cli.progress import Screen, follow
from runyard.dialects import Dialect
from runyard.engine import control
from runyard.engine.ports import Tx
from runyard.http.services import RunRequest
from runyard.model.errors import Invalid, NotFound, NothingToRun, Problem, RunyardError
from runyard.model.plan import Gate, JobPlan, Plan, Variable, When, WorkflowPlan
from runyard.model.state import Outcome
from runyard.model.trigger import Files, Push
from runyard.model.work import Project, Run, User
from runyard.settings import Settings
from runyard.sources.workcopy import Workcopy, import_folder, import_workcopy

LOCAL = "local/project"


def run(
    jobs: Annotated[list[str] | None, typer.Argument(help="Only these jobs and what they need")] = None,
    file: Annotated[
        str, typer.Option("--file", "-f", help="The file to run; default: what a push would run")
    ] = "",
    folder: Annotated[Path, typer.Option("--folder", "-C", help="The working copy")] = Path(),
    var: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the jobs, as often as needed")] = None,
    slots: Annotated[int, typer.Option(min=1, max=1000, help="Jobs at once")] = max(2, os.cpu_count() or 2),
    list_jobs: Annotated[bool, typer.Option("--list", help="Show the jobs, run nothing")] = False,
    output: Annotated[
        Literal["text", "json"], typer.Option(help="text, or json for the result alone on stdout")
    ] = "text",
) -> None:
    """Run this working copy's pipeline or workflow now."""
    try:
        with tempfile.TemporaryDirectory(prefix="runyard-run-") as scratch:
            settings = Settings(
                data=Path(scratch),
                database="sqlite://",
                runner_slots=slots,
                allow_plain=Settings().allow_plain,
            )
            local = LocalRun(settings, folder, [pair(v) for v in var or []])
            try:
                code = local.list(file) if list_jobs else local.go(file, jobs or [], Screen.of(output))
            finally:
                local.close()
    except Invalid as error:
        for problem in error.problems or (Problem(error.message),):
            typer.echo(str(problem), err=True)
        raise typer.Exit(2) from None
    except RunyardError as error:
        typer.echo(f"runyard: {error.message}", err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(code)


class LocalRun:
    """A house for one run."""

    def __init__(self, settings: Settings, folder: Path, variables: Sequence[Variable]) -> None:
        self.variables = variables
        self.house: House = build_core(settings, prepare(settings), "http://localhost")
        services = self.house.services
        self.project = services.db.submit_write(
            lambda tx: tx.add(Project(id=0, path=LOCAL, name="project", created_at=clock()))
        ).result()
        self.copy = self._copy(folder.resolve())
        self.project = replace(self.project, default_branch=self.copy.branch)
        # A clean copy differs from nothing, and path filters would leave nothing to run: then all files count as changed.
        self.base = self.copy.base_sha if self.copy.changed else ""
        self.actor: User = services.db.submit_read(lambda tx: tx.user_by_name("root")).result() or User(
            1, "root"
        )
        self.files: Files = services.source.files(self.project.id, self.copy.sha, self.base or None)

    def _copy(self, folder: Path) -> Workcopy:
        """The working copy around the folder; the folder alone when it has a pipeline or workflow itself, as in a repository of many."""
        if not folder.is_dir():
            raise NotFound(f"There is no folder {folder}.")
        own = FolderFiles(folder)
        take = import_folder if any(d.entries(own) for d in self.house.dialects.values()) else import_workcopy
        return take(folder, self.house.source, self.project.id)

    def close(self) -> None:
        """Lets everything go."""
        self.house.close()

    def requests(self, file: str) -> list[RunRequest]:
        """What to start: the named file, or everything that a push of this working copy would start."""
        wanted = [
            self._request(dialect, file)
            for dialect in self.house.dialects.values()
            if file in dialect.entries(self.files)
        ]
        if file:
            if not wanted:
                raise Invalid(
                    problems=[Problem("no door runs a file of this name, or it is not there", file=file)]
                )
            return wanted
        push = Push(self.project, self.actor, self.copy.branch, False, self.base or "0" * 40, self.copy.sha)
        found = [
            self._request(dialect, "", start.source, dict(start.options))
            for dialect in self.house.dialects.values()
            for start in dialect.on_push(push, self.files)
        ]
        if not found:
            raise NothingToRun(
                "There is no .gitlab-ci.yml and no workflow that runs on push here; name one with --file."
            )
        return found

    def _request(
        self, dialect: Dialect, file: str, source: str = "push", options: dict[str, object] | None = None
    ) -> RunRequest:
        chosen = {"workflow": file} if file else {}
        return RunRequest(
            project=_with_file(self.project, dialect.name, file),
            dialect=dialect.name,
            source=source,
            actor=self.actor,
            ref=f"refs/heads/{self.copy.branch}",
            sha=self.copy.sha,
            before_sha=self.base or None,
            variables=tuple(self.variables),
            options={**(options or {}), **chosen},
        )

    def list(self, file: str) -> int:
        """Shows the jobs."""
        for request in self.requests(file):
            for workflow in asyncio.run(self.house.launcher.compiled(request)).workflows:
                for job in workflow.jobs:
                    needs = ", ".join(need.group for need in job.needs)
                    when = "" if job.gate.when is When.ON_SUCCESS else f"  {job.gate.when}"
                    typer.echo(
                        f"{job.stage or workflow.path:<20} {job.name}{when}{f'  needs {needs}' if needs else ''}"
                    )
        return 0

    def go(self, file: str, jobs: Sequence[str], screen: Screen) -> int:
        """Runs; the worst outcome decides."""
        requests = self.requests(file)
        runs = [
            asyncio.run(self.house.launcher.start(r, edit=lambda plan: only(plan, jobs))) for r in requests
        ]
        loops = Loops(self.house)
        for note in loops.start():
            screen.note(note)
        try:
            results = [follow(self.house.services, run.id, screen) for run in runs]
        except KeyboardInterrupt:
            self._cancel(runs)
            results = [follow(self.house.services, run.id, screen) for run in runs]
        finally:
            loops.stop()
        screen.done(results)
        return max(_code(result) for result, _ in results)

    def _cancel(self, runs: Sequence[Run]) -> None:
        def cancel(tx: Tx) -> None:
            for run in runs:
                control.cancel_run(tx, run.id, clock())

        self.house.services.db.submit_write(cancel).result()


def _code(run: Run) -> int:
    return {Outcome.PASSED: 0, Outcome.SKIPPED: 0, Outcome.ERRORED: 2}.get(run.outcome or Outcome.ERRORED, 1)


def _with_file(project: Project, dialect: str, file: str) -> Project:
    """GitLab's file is a setting of the project, not of the trigger."""
    return (
        replace(project, extra={"gitlab": {"ci_config_path": file}})
        if file and dialect == "gitlab"
        else project
    )


def only(plan: Plan, names: Sequence[str]) -> Plan:
    """The plan with just these jobs (by name, group or key) and all they need; a manual one that was named starts by itself."""
    if not names:
        return plan
    known = {n for w in plan.workflows for j in w.jobs for n in (j.name, j.key, j.matrix_group)}
    for name in names:
        if name not in known:
            raise Invalid(f"There is no job {name!r} here; `runyard run --list` shows them.")
    return replace(plan, workflows=tuple(_only(w, set(names)) for w in plan.workflows))


def _only(workflow: WorkflowPlan, names: set[str]) -> WorkflowPlan:
    kept: dict[str, JobPlan] = {}
    wanted = [j for j in workflow.jobs if {j.name, j.key, j.matrix_group} & names]
    while wanted:
        job = wanted.pop()
        if job.key not in kept:
            kept[job.key] = job
            groups = {need.group for need in job.needs}
            wanted += [j for j in workflow.jobs if {j.key, j.matrix_group} & groups]
    return replace(workflow, jobs=tuple(_started(j, names) for j in workflow.jobs if j.key in kept))


def _started(job: JobPlan, names: set[str]) -> JobPlan:
    if {job.name, job.key, job.matrix_group} & names and job.gate.when in (When.MANUAL, When.DELAYED):
        return replace(job, gate=Gate(order=job.gate.order, expression=job.gate.expression))
    return job
