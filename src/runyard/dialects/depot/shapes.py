"""Depot's messages from our rows. Called by routes; nothing here asks the database.

Times are RFC 3339 strings in UTC, empty where not yet; ids are `ids`, statuses are `words`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from runyard.dialects.depot import ids
from runyard.dialects.depot.executions import Execution, executions
from runyard.dialects.depot.gen.depot.ci.v1 import ci_pb as pb
from runyard.dialects.depot.loglines import Line
from runyard.dialects.depot.words import job_word, parent_word
from runyard.engine.views import JobView, WorkflowView
from runyard.model.listing import Brief
from runyard.model.state import LEASED, Outcome
from runyard.model.work import Artifact, Attempt, Job, Project, Run, Workflow

_EXECUTIONS = 1 << 16  # of one workflow, in the numbers of their ids
A = TypeVar("A", Attempt, Brief)


def head_sha(run: Run) -> str:
    """What the caller asked for; `sha` is what is checked out: with local changes (depot.md §5) a commit on
    top of it."""
    return str(run.extra.get("head_sha") or run.sha)


def time(at: int | None) -> str:
    """RFC 3339 with milliseconds, or an empty string."""
    if not at:
        return ""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ref(run: Run) -> str:
    """The full ref."""
    if run.ref.startswith("refs/"):
        return run.ref
    return f"refs/tags/{run.ref}" if run.tag else f"refs/heads/{run.ref}"


def status(row: Run | Workflow | Attempt | Brief) -> str:
    """The word of a run, workflow or attempt."""
    return parent_word(row.state, row.outcome, row.hold)


def job_status(view: JobView) -> str:
    """A job's word: its latest attempt's."""
    latest = view.latest
    return job_word(latest.state, latest.outcome, latest.hold)


def job_key(job: Job) -> str:
    """`<file>:<job id>[:<leg>]`, made by the compiler; a job that another made is `<file>:` and its own
    key."""
    own: Any = job.plan.extra.get("depot", {})
    if job.plan.origin is not None and "job_key" in own:
        return f"{str(own['job_key']).partition(':')[0]}:{job.key}"
    return str(own.get("job_key") or job.key)


def shown_attempts(attempts: Iterable[A]) -> list[A]:
    """Attempts as Depot has them: a skipped job was never tried."""
    return [attempt for attempt in attempts if attempt.outcome is not Outcome.SKIPPED]


def get_run(run: Run, project: Project) -> pb.GetRunResponse:
    """A flat record."""
    return pb.GetRunResponse(
        org_id=ids.ORG,
        run_id=ids.run(run.id),
        repo=project.path,
        ref=ref(run),
        sha=run.sha,
        head_sha=head_sha(run),
        trigger=run.source,
        status=status(run),
        created_at=time(run.created_at),
        started_at=time(run.started_at),
        finished_at=time(run.finished_at),
    )


def list_run(run: Run, project: Project) -> pb.ListRunsResponseRun:
    """One row of ListRuns."""
    return pb.ListRunsResponseRun(
        run_id=ids.run(run.id),
        repo=project.path,
        trigger=run.source,
        sha=run.sha,
        status=status(run),
        created_at=time(run.created_at),
        ref=ref(run),
        head_sha=head_sha(run),
    )


def run_status(run: Run, workflows: list[pb.WorkflowStatus]) -> pb.GetRunStatusResponse:
    """The tree of a run."""
    return pb.GetRunStatusResponse(
        org_id=ids.ORG, run_id=ids.run(run.id), status=status(run), workflows=workflows
    )


def workflow_path(row: Workflow) -> str:
    """Empty for inline content."""
    return "" if row.path.startswith("_inline_") else row.path


def workflow_status(row: Workflow, jobs: list[pb.JobStatus]) -> pb.WorkflowStatus:
    """A workflow in that tree."""
    return pb.WorkflowStatus(
        workflow_id=ids.workflow(row.id),
        status=status(row),
        workflow_path=workflow_path(row),
        name=row.name,
        error_message=row.error,
        jobs=jobs,
    )


def job_in_status(key: str, tries: Sequence[Brief]) -> pb.JobStatus:
    """A job in that tree, from all its tries, oldest first."""
    latest = tries[-1]
    return pb.JobStatus(
        job_id=ids.job(latest.job_id),
        job_key=key,
        status=job_word(latest.state, latest.outcome, latest.hold),
        job_display_name=latest.name,
        attempts=[
            pb.AttemptStatus(
                attempt_id=ids.attempt(one.id),
                attempt=one.number,
                status=status(one),
                sandbox_id=sandbox_id(one),
                session_id=session_id(one),
            )
            for one in shown_attempts(tries)
        ],
    )


def get_workflow(run: Run, project: Project, view: WorkflowView) -> pb.GetWorkflowResponse:
    """A workflow with its run's fields, its executions, jobs and attempts."""
    row = view.workflow
    return pb.GetWorkflowResponse(
        org_id=ids.ORG,
        run_id=ids.run(run.id),
        repo=project.path,
        ref=ref(run),
        sha=run.sha,
        head_sha=head_sha(run),
        trigger=run.source,
        run_status=status(run),
        run_created_at=time(run.created_at),
        run_started_at=time(run.started_at),
        run_finished_at=time(run.finished_at),
        workflow_id=ids.workflow(row.id),
        workflow_name=row.name,
        workflow_path=workflow_path(row),
        workflow_status=status(row),
        workflow_error_message=row.error,
        workflow_created_at=time(row.created_at),
        workflow_started_at=time(row.started_at),
        workflow_finished_at=time(row.finished_at),
        executions=[_execution(row, one) for one in executions(view, status(row))],
        jobs=[_workflow_job(job) for job in view.jobs],
    )


def _execution(row: Workflow, one: Execution) -> pb.GetWorkflowExecution:
    return pb.GetWorkflowExecution(
        execution_id=ids.say(ids.Kind.EXECUTION, row.id * _EXECUTIONS + one.number),
        execution=one.number,
        status=one.status,
        created_at=time(one.created_at),
        started_at=time(one.started_at),
        finished_at=time(one.finished_at),
    )


def _workflow_job(view: JobView) -> pb.GetWorkflowJob:
    tried = shown_attempts(view.attempts)
    return pb.GetWorkflowJob(
        job_id=ids.job(view.job.id),
        job_key=job_key(view.job),
        status=job_status(view),
        started_at=time(view.latest.started_at),
        finished_at=time(view.latest.finished_at),
        job_display_name=view.job.name,
        attempts=[
            pb.GetWorkflowJobAttempt(
                attempt_id=ids.attempt(attempt.id),
                attempt=attempt.number,
                status=status(attempt),
                sandbox_id=sandbox_id(attempt),
                session_id=session_id(attempt),
                started_at=time(attempt.started_at),
                finished_at=time(attempt.finished_at),
            )
            for attempt in tried
        ],
    )


def list_workflow(run: Run, project: Project, view: WorkflowView) -> pb.ListWorkflowsResponseWorkflow:
    """One row of ListWorkflows."""
    row = view.workflow
    counts = Counter(job_status(job) for job in view.jobs)
    return pb.ListWorkflowsResponseWorkflow(
        workflow_id=ids.workflow(row.id),
        name=row.name,
        workflow_path=workflow_path(row),
        repo=project.path,
        status=status(row),
        trigger=run.source,
        run_id=ids.run(run.id),
        sha=run.sha,
        head_sha=head_sha(run),
        created_at=time(row.created_at),
        job_counts=pb.ListWorkflowsResponseJobCounts(total=len(view.jobs), **counts),
    )


def artifact(row: Artifact, workflow: Workflow, job: Job, attempt: Attempt) -> pb.Artifact:
    """One artifact with where it came from."""
    return pb.Artifact(
        artifact_id=ids.artifact(row.id),
        run_id=ids.run(row.run_id),
        workflow_id=ids.workflow(workflow.id),
        workflow_path=workflow_path(workflow),
        job_id=ids.job(job.id),
        job_key=job_key(job),
        attempt_id=ids.attempt(attempt.id),
        attempt=attempt.number,
        name=row.name,
        size_bytes=row.size_bytes,
        created_at=time(row.created_at),
    )


def log_line(line: Line) -> pb.LogLine:
    """One line; our logs hold both streams as one, which is stdout's number."""
    return pb.LogLine(
        step_key=line.step_key,
        timestamp_ms=line.at,
        line_number=line.number,
        stream=0,
        body=line.body,
        step_id=line.step_id,
        step_name=line.step_name,
    )


def sandbox_id(attempt: Attempt | Brief) -> str:
    """What a terminal is opened by; only while the attempt runs (depot.md §3)."""
    return ids.say(ids.Kind.SANDBOX, attempt.id) if attempt.state in LEASED else ""


def session_id(attempt: Attempt | Brief) -> str:
    """The same for its session: here one per attempt."""
    return ids.say(ids.Kind.SESSION, attempt.id) if attempt.state in LEASED else ""
