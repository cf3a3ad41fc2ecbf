"""What attempts used, as Depot's metrics: an attempt with its samples, a job or a run in summaries. Called by
routes.

Figures are shares from 0 to 1 of what the job may use. More than 5,000 samples are thinned
(contracts/depot.md §3): of each of 5,000 equal stretches the sample with the most CPU is kept, so that peaks
stay; statistics are always over all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from runyard.dialects.depot import ids, shapes
from runyard.dialects.depot.access import asker, visible_run
from runyard.dialects.depot.asking import job_in, workflow_in
from runyard.dialects.depot.gen.depot.ci.v1 import ci_pb as pb
from runyard.dialects.depot.words import conclusion
from runyard.engine import views
from runyard.engine.ports import Tx
from runyard.http.services import Services
from runyard.model.errors import Busy, NotFound
from runyard.model.state import Outcome
from runyard.model.usage import Sample, unpacked
from runyard.model.work import Attempt, Job, Project, Run, Workflow

MOST_SAMPLES = 5000
MOST_ATTEMPTS_OF_RUN = 500
MOST_ATTEMPTS_OF_JOB = 50
STRATEGY = "max_cpu_per_bucket"
A = TypeVar("A", pb.GetJobAttemptMetricsResponse, pb.GetJobMetricsResponse, pb.GetRunMetricsResponse)
_Code = pb.CIMetricsAvailabilityCode


@dataclass(frozen=True, slots=True)
class _Figures:
    """An attempt's samples in Depot's words."""

    availability: pb.CIMetricsAvailability
    stats: pb.CIMetricsStats
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Metrics:
    """The three metrics calls of CIService."""

    services: Services

    async def of_attempt(self, request: pb.GetJobAttemptMetricsRequest) -> pb.GetJobAttemptMetricsResponse:
        """With its samples."""
        who = asker()
        _, number = ids.hear(request.attempt_id, ids.Kind.ATTEMPT)

        def found(tx: Tx) -> pb.GetJobAttemptMetricsResponse:
            attempt = tx.get(Attempt, number)
            if attempt is None:
                raise NotFound("attempt not found")
            run, project = visible_run(tx, who, attempt.run_id)
            job = job_in(tx, attempt.job_id)
            tree = views.job_view(tx, job)
            figures = _figures(tx, attempt)
            shown = thinned(figures.samples)
            return pb.GetJobAttemptMetricsResponse(
                run=_run(run, project),
                workflow=_workflow(workflow_in(tx, job.workflow_id)),
                job=_job(tree),
                attempt=pb.CIMetricsAttemptMetrics(
                    attempt=_attempt(attempt),
                    availability=figures.availability,
                    stats=figures.stats,
                    cap=_cap(len(figures.samples), len(shown)),
                    samples=[_sample(one) for one in shown],
                ),
            )

        return await self._now(found)

    async def of_job(self, request: pb.GetJobMetricsRequest) -> pb.GetJobMetricsResponse:
        """All its attempts, without samples."""
        who = asker()
        _, number = ids.hear(request.job_id, ids.Kind.JOB)

        def found(tx: Tx) -> pb.GetJobMetricsResponse:
            job = job_in(tx, number)
            run, project = visible_run(tx, who, job.run_id)
            view = views.job_view(tx, job)
            _check(len(view.attempts), MOST_ATTEMPTS_OF_JOB, "job", run)
            return pb.GetJobMetricsResponse(
                run=_run(run, project),
                workflow=_workflow(workflow_in(tx, job.workflow_id)),
                job=_job(view),
                attempts=[_summary(tx, one) for one in shapes.shown_attempts(view.attempts)],
            )

        return await self._now(found)

    async def of_run(self, request: pb.GetRunMetricsRequest) -> pb.GetRunMetricsResponse:
        """All its jobs and their attempts, without samples."""
        who = asker()
        _, number = ids.hear(request.run_id, ids.Kind.RUN)

        def found(tx: Tx) -> pb.GetRunMetricsResponse:
            run, project = visible_run(tx, who, number)
            tree = views.run_tree(tx, number)
            _check(sum(len(job.attempts) for job in tree.jobs), MOST_ATTEMPTS_OF_RUN, "run", run)
            return pb.GetRunMetricsResponse(
                run=_run(run, project), workflows=[_flow(tx, flow) for flow in tree.workflows]
            )

        return await self._now(found)

    async def _now(self, found: Callable[[Tx], A]) -> A:
        """The answer with the time at which it was made."""
        answer = await self.services.db.read(found)
        answer.snapshot_at = shapes.time(self.services.now())
        return answer


def _check(count: int, most: int, what: str, run: Run) -> None:
    """The CLI looks for `Use GetRunStatus for run <id>` and prints what to do instead."""
    if count > most:
        raise Busy(
            f"This {what} has {count} attempts, which is too many to summarize at once (at most {most})."
            f" Use GetRunStatus for run {ids.run(run.id)} to find attempts, and ask for the metrics of one."
        )


def _flow(tx: Tx, flow: views.WorkflowView) -> pb.CIMetricsWorkflowMetrics:
    jobs = [
        pb.CIMetricsJobMetrics(
            job=_job(view), attempts=[_summary(tx, one) for one in shapes.shown_attempts(view.attempts)]
        )
        for view in flow.jobs
    ]
    return pb.CIMetricsWorkflowMetrics(workflow=_workflow(flow.workflow), jobs=jobs)


def _figures(tx: Tx, attempt: Attempt) -> _Figures:
    samples = [one for batch in tx.samples(attempt.id) for one in unpacked(batch)]
    if attempt.started_at is None:
        code, reason = _Code.NO_SANDBOX, "no_sandbox"
    elif samples:
        code, reason = _Code.AVAILABLE, "available"
    else:
        code, reason = _Code.NO_SAMPLES, "no_samples"
    return _Figures(pb.CIMetricsAvailability(code=code, reason=reason), stats(samples), samples)


def stats(samples: Sequence[Sample]) -> pb.CIMetricsStats:
    """Over all samples; figures that nobody took are absent."""
    cpu = [one.cpu for one in samples if one.cpu is not None]
    memory = [one.memory for one in samples if one.memory is not None]
    sizes = [one.memory_bytes for one in samples if one.memory_bytes is not None]
    return pb.CIMetricsStats(
        sample_count=len(samples),
        cpu_sample_count=len(cpu),
        memory_sample_count=len(memory),
        peak_cpu_utilization=max(cpu, default=None),
        average_cpu_utilization=sum(cpu) / len(cpu) if cpu else None,
        peak_memory_utilization=max(memory, default=None),
        average_memory_utilization=sum(memory) / len(memory) if memory else None,
        observed_started_at=shapes.time(samples[0].at) if samples else "",
        observed_finished_at=shapes.time(samples[-1].at) if samples else "",
        peak_memory_usage_bytes=max(sizes, default=None),
        average_memory_usage_bytes=sum(sizes) / len(sizes) if sizes else None,
    )


def thinned(samples: Sequence[Sample]) -> Sequence[Sample]:
    """At most 5,000, in order."""
    if len(samples) <= MOST_SAMPLES:
        return samples
    edges = [len(samples) * n // MOST_SAMPLES for n in range(MOST_SAMPLES + 1)]
    return [
        max(samples[start:end], key=lambda one: (one.cpu or 0, one.memory_bytes or 0))
        for start, end in pairwise(edges)
    ]


def _cap(raw: int, returned: int) -> pb.CIMetricsCapMetadata:
    return pb.CIMetricsCapMetadata(
        raw_sample_count=raw,
        returned_sample_count=returned,
        max_returned_sample_count=MOST_SAMPLES,
        downsampled=returned < raw,
        downsample_strategy=STRATEGY if returned < raw else "",
    )


def _sample(one: Sample) -> pb.CIMetricSample:
    return pb.CIMetricSample(
        timestamp=shapes.time(one.at),
        cpu_utilization=one.cpu,
        memory_utilization=one.memory,
        memory_usage_bytes=one.memory_bytes,
    )


def _summary(tx: Tx, attempt: Attempt) -> pb.CIMetricsAttemptSummary:
    figures = _figures(tx, attempt)
    raw = len(figures.samples)
    return pb.CIMetricsAttemptSummary(
        attempt=_attempt(attempt),
        availability=figures.availability,
        stats=figures.stats,
        cap=_cap(raw, min(raw, MOST_SAMPLES)),
    )


def _run(run: Run, project: Project) -> pb.CIMetricsRunContext:
    return pb.CIMetricsRunContext(
        run_id=ids.run(run.id),
        repo=project.path,
        ref=shapes.ref(run),
        sha=run.sha,
        head_sha=shapes.head_sha(run),
        trigger=run.source,
        status=shapes.status(run),
        created_at=shapes.time(run.created_at),
        started_at=shapes.time(run.started_at),
        finished_at=shapes.time(run.finished_at),
    )


def _workflow(row: Workflow) -> pb.CIMetricsWorkflowContext:
    return pb.CIMetricsWorkflowContext(
        workflow_id=ids.workflow(row.id),
        workflow_path=shapes.workflow_path(row),
        name=row.name,
        status=shapes.status(row),
        created_at=shapes.time(row.created_at),
        started_at=shapes.time(row.started_at),
        finished_at=shapes.time(row.finished_at),
    )


def _job(view: views.JobView) -> pb.CIMetricsJobContext:
    job: Job = view.job
    latest = view.latest
    return pb.CIMetricsJobContext(
        job_id=ids.job(job.id),
        job_key=shapes.job_key(job),
        status=shapes.job_status(view),
        conclusion=conclusion(latest),
        current_attempt=0 if latest.outcome is Outcome.SKIPPED else latest.number,
        created_at=shapes.time(job.created_at),
        started_at=shapes.time(latest.started_at),
        finished_at=shapes.time(latest.finished_at),
    )


def _attempt(attempt: Attempt) -> pb.CIMetricsAttemptContext:
    return pb.CIMetricsAttemptContext(
        attempt_id=ids.attempt(attempt.id),
        attempt=attempt.number,
        status=shapes.status(attempt),
        conclusion=conclusion(attempt),
        sandbox_id=shapes.sandbox_id(attempt),
        session_id=shapes.session_id(attempt),
        created_at=shapes.time(attempt.created_at),
        started_at=shapes.time(attempt.started_at),
        finished_at=shapes.time(attempt.finished_at),
    )
