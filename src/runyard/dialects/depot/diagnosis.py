"""GetFailureDiagnosis: what failed in a run, workflow, job or attempt, grouped by what looks the same
(contracts/depot.md §3.1). Called by routes.

Skipped dependants are counted and not mistaken for causes; a job that was allowed to fail is no problem. All
figures are the contract's bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runyard.dialects.depot import ids, shapes
from runyard.dialects.depot.access import asker, visible_run
from runyard.dialects.depot.asking import job_in, workflow_in
from runyard.dialects.depot.evidence import RELEVANT_LINES, Evidence, evidence
from runyard.dialects.depot.gen.depot.ci.v1 import ci_pb as pb
from runyard.dialects.depot.loglines import Line
from runyard.dialects.depot.words import conclusion
from runyard.engine import views
from runyard.engine.ports import Blobs, Tx
from runyard.engine.views import JobView, RunView, WorkflowView
from runyard.http.services import Services
from runyard.model.errors import Invalid, NotFound
from runyard.model.state import Outcome
from runyard.model.work import Attempt, Project, Run, Workflow

CANDIDATE_CAP, GROUP_LIMIT, REPRESENTATIVES, RECENT_ATTEMPTS = 512, 20, 3, 5
LINE_CHARS, MESSAGE_CHARS, LABEL_CHARS, BREAKDOWN = 8000, 2000, 255, 25
LOGS_READ = 64  # of the other candidates only the rows are asked

Kind = pb.FailureDiagnosisTargetType
Status = pb.FailureDiagnosisResourceStatus
Conclusion = pb.FailureDiagnosisConclusion
_STATUS = {status.name.lower(): status for status in Status if status is not Status.UNSPECIFIED}
_CONCLUSION = {one.name.lower(): one for one in Conclusion} | {"": Conclusion.UNSPECIFIED}
_BROKEN = frozenset({Outcome.FAILED, Outcome.ERRORED})
_IDS = {
    Kind.RUN: ids.Kind.RUN,
    Kind.WORKFLOW: ids.Kind.WORKFLOW,
    Kind.JOB: ids.Kind.JOB,
    Kind.ATTEMPT: ids.Kind.ATTEMPT,
}


@dataclass(frozen=True, slots=True)
class Target:
    """What was asked for, with everything around it."""

    kind: Kind
    project: Project
    tree: RunView
    flows: tuple[WorkflowView, ...]
    job: JobView | None = None
    attempt: Attempt | None = None

    @property
    def run(self) -> Run:
        return self.tree.run


@dataclass(frozen=True, slots=True)
class Problem:
    """A failed attempt that counts, and where it stands."""

    flow: Workflow
    job: JobView
    attempt: Attempt
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The call."""

    services: Services

    async def get(self, request: pb.GetFailureDiagnosisRequest) -> pb.GetFailureDiagnosisResponse:
        """Invalid without a target type, NotFound for what is not there."""
        kind = Kind(request.target_type)
        if kind not in _IDS:
            raise Invalid("target_type must be run, workflow, job or attempt")
        who = asker()
        number = ids.hear(request.target_id, _IDS[kind])[1]

        def look(tx: Tx) -> pb.GetFailureDiagnosisResponse:
            run_id, job_id, flow_id = _place(tx, kind, number)
            _, project = visible_run(tx, who, run_id)
            target = _target(kind, project, views.run_tree(tx, run_id), number, job_id, flow_id)
            return diagnose(tx, self.services.blobs, target, request.target_id)

        return await self.services.db.read(look)


def _place(tx: Tx, kind: Kind, number: int) -> tuple[int, int, int]:
    """(run, job or 0, workflow or 0)."""
    if kind is Kind.RUN:
        return number, 0, 0
    if kind is Kind.WORKFLOW:
        return workflow_in(tx, number).run_id, 0, number
    if kind is Kind.ATTEMPT:
        attempt = tx.get(Attempt, number)
        if attempt is None:
            raise NotFound("attempt not found")
        number = attempt.job_id
    job = job_in(tx, number)
    return job.run_id, job.id, job.workflow_id


def _target(kind: Kind, project: Project, tree: RunView, number: int, job_id: int, flow_id: int) -> Target:
    flows = tuple(flow for flow in tree.workflows if not flow_id or flow.workflow.id == flow_id)
    job = next((job for flow in flows for job in flow.jobs if job.job.id == job_id), None)
    attempt = None
    if kind is Kind.ATTEMPT and job is not None:
        attempt = next((a for a in job.attempts if a.id == number), None)
    return Target(kind, project, tree, flows, job, attempt)


def diagnose(tx: Tx, blobs: Blobs, target: Target, id: str) -> pb.GetFailureDiagnosisResponse:
    """The whole answer."""
    jobs = [
        (f.workflow, j)
        for f in target.flows
        for j in f.jobs
        if target.job is None or j.job.id == target.job.job.id
    ]
    found = [(flow, job, attempt) for flow, job in jobs if (attempt := _broken(target, job)) is not None]
    answer = pb.GetFailureDiagnosisResponse(
        org_id=ids.ORG,
        target=pb.FailureDiagnosisTarget(target_id=id, target_type=target.kind, status=_status_of(target)),
        context=_context(target),
        command_capabilities=pb.FailureDiagnosisCommandCapabilities(summary_command_available=True),
    )
    bounds = _bounds(jobs, len(found))
    if len(found) > CANDIDATE_CAP:
        answer.state = pb.FailureDiagnosisState.OVER_LIMIT
        answer.over_limit_breakdown.extend(_breakdown(target, found, bounds))
        bounds.truncated = True
    else:
        problems = [
            Problem(flow, job, attempt, evidence(tx, blobs, attempt, look_at_log=place < LOGS_READ))
            for place, (flow, job, attempt) in enumerate(found)
        ]
        _fill(answer, target, problems, bounds)
    answer.bounds = bounds
    return answer


def _broken(target: Target, job: JobView) -> Attempt | None:
    """The attempt that makes a job a problem: the asked one, else its latest."""
    attempt = target.attempt or job.latest
    return attempt if attempt.outcome in _BROKEN and not attempt.tolerated else None


def _fill(
    answer: pb.GetFailureDiagnosisResponse, target: Target, problems: list[Problem], bounds: pb.FailureDiagnosisBounds
) -> None:  # fmt: skip
    flows = [f.workflow for f in target.flows if f.workflow.error]
    if not problems and not flows:
        answer.state = pb.FailureDiagnosisState.EMPTY
        answer.empty_reason = pb.FailureDiagnosisEmptyReason.NO_FAILURE_EVIDENCE
        return
    groups = _groups(target, problems, flows)
    bounds.total_failure_group_count = len(groups)
    bounds.omitted_failure_group_count = max(0, len(groups) - GROUP_LIMIT)
    answer.failure_groups.extend(groups[:GROUP_LIMIT])
    is_one = len(problems) + len(flows) == 1
    answer.state = (
        pb.FailureDiagnosisState.FOCUSED_FAILURE if is_one else pb.FailureDiagnosisState.GROUPED_FAILURES
    )
    if len(problems) == 1:
        answer.representative_attempts.append(_representative(target, problems[0]))
        answer.next_commands.extend(_commands(problems[0]))
    elif target.kind is Kind.RUN:
        broken = dict.fromkeys(p.flow.id for p in problems)
        answer.next_commands.extend(
            _diagnose("workflow", ids.workflow(flow)) for flow in list(broken)[:RECENT_ATTEMPTS]
        )
    else:
        answer.next_commands.extend(
            _diagnose("job", ids.job(p.job.job.id)) for p in problems[:RECENT_ATTEMPTS]
        )
    bounds.truncated = bounds.omitted_failure_group_count > 0 or len(problems) > LOGS_READ


def _groups(target: Target, problems: list[Problem], flows: list[Workflow]) -> list[pb.FailureGroup]:
    """The largest first, of equally large ones the one that failed first."""
    by_print: dict[str, list[Problem]] = {}
    for problem in problems:
        by_print.setdefault(problem.evidence.fingerprint, []).append(problem)
    groups = [_group(target, fingerprint, members) for fingerprint, members in by_print.items()]
    for flow in flows:
        text, cut, length = _cut(flow.error, MESSAGE_CHARS)
        groups.append(
            pb.FailureGroup(
                fingerprint=f"workflow_error:{ids.workflow(flow.id)}", source="workflow_error", count=1, error_message=text,
                error_message_truncated=cut, error_message_original_length=length, diagnosis="The workflow file could not be used.",
                possible_fix="Correct the line that the message names; `runyard check` finds all of them at once.",
            )
        )  # fmt: skip
    return sorted(groups, key=lambda group: -group.count)


def _group(target: Target, fingerprint: str, members: list[Problem]) -> pb.FailureGroup:
    first = members[0].evidence
    text, cut, length = _cut(first.message, MESSAGE_CHARS)
    return pb.FailureGroup(
        fingerprint=fingerprint,
        source="attempt_error",
        count=len(members),
        error_message=text,
        error_message_truncated=cut,
        error_message_original_length=length,
        diagnosis=first.diagnosis,
        possible_fix=first.possible_fix,
        representatives=[_representative(target, member) for member in members[:REPRESENTATIVES]],
        omitted_representative_count=max(0, len(members) - REPRESENTATIVES),
    )


def _representative(target: Target, problem: Problem) -> pb.RepresentativeAttempt:
    attempt, found, flow = problem.attempt, problem.evidence, problem.flow
    text, cut, length = _cut(found.message, MESSAGE_CHARS)
    return pb.RepresentativeAttempt(
        run_id=ids.run(target.run.id),
        workflow_id=ids.workflow(flow.id),
        workflow_name=flow.name[:LABEL_CHARS],
        workflow_path=shapes.workflow_path(flow)[:LABEL_CHARS],
        job_id=ids.job(problem.job.job.id),
        job_key=shapes.job_key(problem.job.job)[:LABEL_CHARS],
        job_display_name=problem.job.job.name[:LABEL_CHARS],
        job_status=_STATUS[shapes.job_status(problem.job)],
        job_conclusion=_conclusion(problem.job.latest),
        attempt_id=ids.attempt(attempt.id),
        attempt=attempt.number,
        attempt_status=_STATUS[shapes.status(attempt)],
        attempt_conclusion=_conclusion(attempt),
        error_message=text,
        error_message_truncated=cut,
        error_message_original_length=length,
        diagnosis=found.diagnosis,
        possible_fix=found.possible_fix,
        relevant_lines=[_line(line) for line in found.relevant],
        next_commands=_commands(problem),
    )


def _line(line: Line) -> pb.RelevantErrorLine:
    text, cut, length = _cut(line.body, LINE_CHARS)
    return pb.RelevantErrorLine(
        step_id=line.step_id or line.step_key, line_number=line.number, content=text, content_truncated=cut,
        content_original_length=length,
    )  # fmt: skip


def _commands(problem: Problem) -> list[pb.DrillDownCommand]:
    id = ids.attempt(problem.attempt.id)
    kinds = pb.DrillDownCommandKind
    found = [
        pb.DrillDownCommand(kind=kinds.LOGS, argv=["depot", "ci", "logs", id], target_id=id, label="Logs")
    ]
    if problem.evidence.has_summary:
        argv = ["depot", "ci", "summary", id]
        found.append(pb.DrillDownCommand(kind=kinds.SUMMARY, argv=argv, target_id=id, label="Summary"))
    return found


def _diagnose(what: str, id: str) -> pb.DrillDownCommand:
    kinds = pb.DrillDownCommandKind
    kind = kinds.DIAGNOSE_WORKFLOW if what == "workflow" else kinds.DIAGNOSE_JOB
    argv = ["depot", "ci", "diagnose", f"--{what}", id]
    return pb.DrillDownCommand(kind=kind, argv=argv, target_id=id, label=f"Diagnose {what}")


def _breakdown(
    target: Target, found: Sequence[tuple[Workflow, JobView, Attempt]], bounds: pb.FailureDiagnosisBounds
) -> list[pb.FailureDiagnosisBreakdownRow]:
    """Workflows with the most problems first, then jobs in their order."""
    counts: dict[int, int] = {}
    for flow, _, _ in found:
        counts[flow.id] = counts.get(flow.id, 0) + 1
    flows = sorted(
        {flow.id: flow for flow, _, _ in found}.values(), key=lambda flow: (-counts[flow.id], flow.id)
    )
    bounds.omitted_workflow_breakdown_count = max(0, len(flows) - BREAKDOWN)
    bounds.omitted_job_breakdown_count = max(0, len(found) - BREAKDOWN)
    rows = [
        pb.FailureDiagnosisBreakdownRow(
            target_type=Kind.WORKFLOW, target_id=ids.workflow(flow.id), label=flow.name[:LABEL_CHARS], status=_STATUS[shapes.status(flow)],
            failed_problem_candidate_count=counts[flow.id], next_commands=[_diagnose("workflow", ids.workflow(flow.id))],
        )
        for flow in flows[:BREAKDOWN]
    ]  # fmt: skip
    rows += [
        pb.FailureDiagnosisBreakdownRow(
            target_type=Kind.JOB, target_id=ids.job(job.job.id), label=job.job.name[:LABEL_CHARS], status=_STATUS[shapes.job_status(job)],
            failed_problem_candidate_count=1, next_commands=[_diagnose("job", ids.job(job.job.id))],
        )
        for _, job, _ in found[:BREAKDOWN]
    ]  # fmt: skip
    return rows


def _bounds(jobs: Sequence[tuple[Workflow, JobView]], count: int) -> pb.FailureDiagnosisBounds:
    attempts = sum(len(shapes.shown_attempts(job.attempts)) for _, job in jobs)
    return pb.FailureDiagnosisBounds(
        failed_problem_candidate_count=count,
        failed_problem_candidate_cap=CANDIDATE_CAP,
        total_problem_job_count=count,
        skipped_dependent_count=sum(_is_collateral(job) for _, job in jobs),
        failure_group_limit=GROUP_LIMIT,
        representatives_per_group_limit=REPRESENTATIVES,
        recent_attempt_limit=RECENT_ATTEMPTS,
        total_attempt_count=attempts,
        relevant_line_limit=RELEVANT_LINES,
        error_line_body_char_limit=LINE_CHARS,
        error_message_char_limit=MESSAGE_CHARS,
        context_label_char_limit=LABEL_CHARS,
        over_limit_workflow_breakdown_limit=BREAKDOWN,
        over_limit_job_breakdown_limit=BREAKDOWN,
    )


def _is_collateral(job: JobView) -> bool:
    return job.latest.outcome is Outcome.SKIPPED and bool(job.job.plan.needs)


def _context(target: Target) -> pb.FailureDiagnosisContext:
    run = target.run
    context = pb.FailureDiagnosisContext(
        run_id=ids.run(run.id),
        repo=target.project.path,
        ref=shapes.ref(run),
        sha=run.sha,
        head_sha=shapes.head_sha(run),
        trigger=run.source,
        run_status=_STATUS[shapes.status(run)],
    )
    if target.kind is not Kind.RUN and target.flows:
        flow = target.flows[0].workflow
        context.workflow_id, context.workflow_name = ids.workflow(flow.id), flow.name[:LABEL_CHARS]
        context.workflow_path = shapes.workflow_path(flow)[:LABEL_CHARS]
        context.workflow_status = _STATUS[shapes.status(flow)]
    if target.job is not None:
        context.job_id, context.job_key = (
            ids.job(target.job.job.id),
            shapes.job_key(target.job.job)[:LABEL_CHARS],
        )
        context.job_display_name = target.job.job.name[:LABEL_CHARS]
        context.job_status, context.job_conclusion = (
            _STATUS[shapes.job_status(target.job)],
            _conclusion(target.job.latest),
        )
    if target.attempt is not None:
        context.attempt_id, context.attempt = ids.attempt(target.attempt.id), target.attempt.number
        context.attempt_status, context.attempt_conclusion = (
            _STATUS[shapes.status(target.attempt)],
            _conclusion(target.attempt),
        )
    return context


def _status_of(target: Target) -> Status:
    if target.attempt is not None:
        return _STATUS[shapes.status(target.attempt)]
    if target.job is not None:
        return _STATUS[shapes.job_status(target.job)]
    return _STATUS[shapes.status(target.flows[0].workflow if target.kind is Kind.WORKFLOW else target.run)]


def _conclusion(attempt: Attempt) -> Conclusion:
    return _CONCLUSION[conclusion(attempt)]


def _cut(text: str, limit: int) -> tuple[str, bool, int]:
    return text[:limit], len(text) > limit, len(text)
