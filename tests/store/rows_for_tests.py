"""A project with runs, jobs and attempts in any state, for the store's tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runyard.model.plan import Concurrency, JobPlan, StepPlan
from runyard.model.state import LEASED, Hold, Outcome, State
from runyard.model.work import Attempt, Job, Project, Run, Runner, Workflow

SHA = "0123456789abcdef0123456789abcdef01234567"
ANY_RUNNER = Runner(0, "any", stock=False, tags=("docker", "linux", "arm"))


def plan(key: str, **more: Any) -> JobPlan:
    return JobPlan(key, key, steps=(StepPlan("s", "s", argv=("sh", "{script}"), script="true"),), **more)


def add_project(tx: Any, path: str = "group/name") -> Project:
    return tx.add(Project(0, path, name=path.rpartition("/")[2], created_at=1))


def add_run(
    tx: Any, project: Project, state: State = State.WAITING, outcome: Outcome | None = None, **more: Any
) -> Run:
    number = tx.next_number(project.id)
    values = {"dialect": "gitlab", "source": "api", "ref": "main", "sha": SHA, **more}
    return tx.add(Run(0, project.id, number, state=state, outcome=outcome, **values))


def add_workflow(tx: Any, run: Run, key: str = "main") -> Workflow:
    return tx.add(Workflow(0, run.id, key))


def add_jobs(tx: Any, workflow: Workflow, project: Project, *plans: JobPlan) -> list[tuple[Job, Attempt]]:
    jobs = tx.add_all(
        [
            Job(0, workflow.run_id, workflow.id, project.id, p.key, p.name, p, position=i)
            for i, p in enumerate(plans)
        ]
    )
    attempts = tx.add_all([Attempt(0, job.id, job.run_id, project.id, 1) for job in jobs])
    return list(zip(jobs, attempts, strict=True))


def add_graph(tx: Any, *plans: JobPlan, path: str = "group/name") -> tuple[Run, list[tuple[Job, Attempt]]]:
    project = tx.project_by_path(path) or add_project(tx, path)
    run = add_run(tx, project)
    return run, add_jobs(tx, add_workflow(tx, run), project, *plans)


def moved(attempt: Attempt, state: State, **more: Any) -> Attempt:
    """The attempt in another state, with what the constraints want of it."""
    values: dict[str, Any] = {
        "lease_until_at": 1000 if state in LEASED else None,
        "outcome": Outcome.PASSED if state is State.DONE else None,
        "hold": Hold.MANUAL if state is State.HELD else None,
        "queued_at": 5 if state is State.QUEUED else attempt.queued_at,
    }
    return replace(attempt, state=state, **{**values, **more})


def in_group(key: str, group: str) -> JobPlan:
    return plan(key, concurrency=Concurrency(group))
