"""What the pages show, put together from the store; no HTML here. Called by routes, calls the engine's
views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runyard.engine.ports import ArtifactFilter, AttemptFilter, Blobs, Page, RunFilter, Tx
from runyard.http.services import Principal
from runyard.model.access import Role
from runyard.model.errors import Forbidden, NotFound
from runyard.model.state import Outcome, Reason, State
from runyard.model.usage import unpacked
from runyard.model.work import Artifact, Attempt, Job, Project, Run, Runner, Step, User, Workflow
from runyard.web.failing import Failure, failures
from runyard.web.graph import Picture, in_families, lay_out
from runyard.web.notes import Note, notes
from runyard.web.usage import Curve, curves
from runyard.web.why import why

PAGE = 30
LAST_PAGE = 10_000 // PAGE  # a page costs what lies before it; older runs are found by a filter
NOT_YOURS = "Developers of this project may do this: ask a maintainer to make you one."

GLYPHS = {
    "waiting": "○",
    "held": "◷",
    "queued": "◌",
    "running": "◐",
    "stopping": "◑",
    "passed": "✓",
    "warned": "!",
    "failed": "✗",
    "errored": "⚠",
    "canceled": "⊘",
    "skipped": "»",
}

FILTERS: dict[str, tuple[tuple[State, Outcome | None], ...]] = {
    "open": tuple((s, None) for s in State if s is not State.DONE),
    "passed": ((State.DONE, Outcome.PASSED),),
    "failed": ((State.DONE, Outcome.FAILED), (State.DONE, Outcome.ERRORED)),
    "canceled": ((State.DONE, Outcome.CANCELED),),
}


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in a list."""

    run: Run
    project: Project
    actor: User | None


@dataclass(frozen=True, slots=True)
class RunPage:
    """All of a run."""

    run: Run
    project: Project
    actor: User | None
    workflows: Sequence[
        tuple[Workflow, Picture, Sequence[tuple[Job, Attempt, str]]]
    ]  # str: why it is where it is
    artifacts: Sequence[tuple[Artifact, Job]]
    retriable: bool
    failures: Sequence[Failure]


@dataclass(frozen=True, slots=True)
class JobPage:
    """All of an attempt."""

    run: Run
    project: Project
    job: Job
    attempt: Attempt
    attempts: Sequence[Attempt]
    steps: Sequence[Step]
    artifacts: Sequence[Artifact]
    runner: Runner | None
    actor: User | None
    why: str
    usage: Sequence[Curve]
    notes: Sequence[Note]


def mark(state: State, outcome: Outcome | None, warnings: bool = False) -> str:
    """The one word a badge shows."""
    if state is not State.DONE or outcome is None:
        return str(state)
    return "warned" if warnings and outcome is Outcome.PASSED else str(outcome)


def list_runs(tx: Tx, who: Principal | None, filter: RunFilter, page: int) -> list[RunLine]:
    """One page of runs, newest first (one more than PAGE when there is a next page). Strangers see public
    projects only."""
    runs = tx.runs(filter, Page(limit=PAGE + 1, offset=PAGE * page))
    projects = {i: tx.get(Project, i) for i in {r.project_id for r in runs}}
    actors = {i: tx.get(User, i) for i in {r.actor_id for r in runs if r.actor_id}}
    lines = []
    for run in runs:
        home = projects[run.project_id]
        if home is not None and _may_see(who, home):
            lines.append(RunLine(run, home, actors.get(run.actor_id or 0)))
    return lines


def find_project(tx: Tx, who: Principal | None, path: str) -> Project:
    """The project, as far as this person may know of it."""
    project = tx.project_by_path(path)
    if project is None or not _may_see(who, project):
        raise NotFound("There is no such project, or you may not see it.")
    return project


def find_run(tx: Tx, who: Principal | None, path: str, run_id: int) -> tuple[Project, Run]:
    """A run of that project."""
    project, run = find_project(tx, who, path), tx.get(Run, run_id)
    if run is None or run.project_id != project.id:
        raise NotFound("There is no such run.")
    return project, run


def find_attempt(
    tx: Tx, who: Principal | None, path: str, attempt_id: int
) -> tuple[Project, Run, Job, Attempt]:
    """An attempt of that project, with its job and run."""
    project, attempt = find_project(tx, who, path), tx.get(Attempt, attempt_id)
    job = tx.get(Job, attempt.job_id) if attempt is not None and attempt.project_id == project.id else None
    run = tx.get(Run, job.run_id) if job is not None else None
    if attempt is None or job is None or run is None:
        raise NotFound("There is no such job.")
    return project, run, job, attempt


def run_page(tx: Tx, blobs: Blobs, who: Principal | None, path: str, run_id: int, now: int) -> RunPage:
    """All of a run, with why its jobs failed."""
    project, run = find_run(tx, who, path, run_id)
    graph = in_families(tx.graph(run.id))
    by_job = {a.id: j for j, a in graph}
    runners = _runners(tx, graph)
    workflows = []
    for workflow in tx.workflows(run.id):
        members = [(j, a) for j, a in graph if j.workflow_id == workflow.id]
        told = [(j, a, why(j, a, graph, runners, now)) for j, a in members]
        workflows.append((workflow, lay_out(members), told))
    artifacts = tx.artifacts(ArtifactFilter(run_id=run.id), Page(limit=500, descending=False))
    shown = [
        (a, by_job[a.attempt_id])
        for a in artifacts
        if a.attempt_id in by_job and may_fetch(who, project, by_job[a.attempt_id])
    ]
    unwell = any(a.outcome in (Outcome.FAILED, Outcome.ERRORED, Outcome.CANCELED) for _, a in graph)
    everyone = [member for _, _, told in workflows for member in told]
    broken = failures(tx, blobs, everyone)
    return RunPage(run, project, _actor(tx, run.actor_id), workflows, shown, unwell, broken)


def job_page(tx: Tx, who: Principal | None, path: str, attempt_id: int, now: int) -> JobPage:
    """All of an attempt."""
    project, run, job, attempt = find_attempt(tx, who, path, attempt_id)
    looks_around = attempt.state is State.WAITING or attempt.reason is Reason.GATE
    graph = tx.graph(run.id) if looks_around else []
    siblings = tx.attempts(AttemptFilter(job_id=job.id), Page(limit=100, descending=False))
    steps = tx.steps(attempt.id)
    return JobPage(
        run=run,
        project=project,
        job=job,
        attempt=attempt,
        attempts=[a for _, a in siblings],
        steps=steps,
        artifacts=tx.artifacts(ArtifactFilter(attempt_id=attempt.id), Page(limit=200, descending=False))
        if may_fetch(who, project, job)
        else (),
        runner=tx.get(Runner, attempt.runner_id) if attempt.runner_id else None,
        actor=_actor(tx, attempt.actor_id or run.actor_id),
        why=why(job, attempt, graph, _runners(tx, [(job, attempt)]), now),
        usage=curves([one for batch in tx.samples(attempt.id) for one in unpacked(batch)]),
        notes=notes(steps),
    )


def _runners(tx: Tx, graph: Sequence[tuple[Job, Attempt]]) -> list[Runner]:
    """Looked at only when something waits for one."""
    return tx.runners(Page(limit=500)) if any(a.state is State.QUEUED for _, a in graph) else []


def may_change(who: Principal | None, project: Project, run: Run | None = None) -> bool:
    """Whether buttons are shown: for developers of the project, on a protected branch or tag for those whom
    it takes."""
    if who is None or run is None:
        return who is not None and who.may_run(project)
    return who.may_run_on(project, run.ref, run.tag)


def check_change(who: Principal, project: Project, run: Run) -> None:
    """Forbidden where `may_change` says no, with the reason."""
    if not may_change(who, project):
        raise Forbidden(NOT_YOURS)
    if not may_change(who, project, run):
        raise Forbidden(f"{run.ref} is protected: ask a maintainer to let you change its runs.")


def may_fetch(who: Principal | None, project: Project, job: Job) -> bool:
    """Whether this person may have the job's artifacts, of which pages show a part."""
    return who.may_fetch(project, job.plan) if who else job.plan.artifacts_from == Role.NONE


def find_artifact(tx: Tx, who: Principal | None, path: str, artifact_id: int, now: int) -> Artifact:
    """An artifact of that project which this person may have."""
    project = find_project(tx, who, path)
    found = tx.get(Artifact, artifact_id)
    attempt = tx.get(Attempt, found.attempt_id) if found and found.project_id == project.id else None
    job = tx.get(Job, attempt.job_id) if attempt else None
    if found is None or job is None or found.is_over(now) or not may_fetch(who, project, job):
        raise NotFound("There is no such artifact, or it has expired.")
    return found


def _may_see(who: Principal | None, project: Project) -> bool:
    return who.may_see(project) if who else project.visibility == "public"


def _actor(tx: Tx, user_id: int | None) -> User | None:
    return tx.get(User, user_id) if user_id else None


def sees_project(tx: Tx, who: Principal | None, project_id: int) -> bool:
    """Whether this person may know of the project."""
    project = tx.get(Project, project_id)
    return project is not None and _may_see(who, project)
