"""From an agreed plan to a run: `accept` stores it whole or not at all, `extend` adds jobs to a run that is
already there.

accept(tx, trigger, plan, now, terms=Terms()) -> Run
    the same idempotency key gives the same run, whatever the plan
extend(tx, run_id, workflow_key, jobs, now, terms=Terms()) -> Run

Called by http (start) and by dialects that learn of jobs later (Datafold's submitted diffs). Raises Invalid
before anything is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from runyard.engine import environments
from runyard.engine.board import Board, child_of, load
from runyard.engine.lineage import is_child
from runyard.engine.order import checked
from runyard.engine.ports import Page, RunFilter, Tx
from runyard.engine.settle import finish_board, settle
from runyard.engine.terms import Terms
from runyard.engine.unfolding import add_jobs
from runyard.model.errors import Conflict, Invalid, NotFound
from runyard.model.plan import JobPlan, Plan, WorkflowPlan
from runyard.model.state import OPEN, Outcome, Reason, State
from runyard.model.trigger import Trigger
from runyard.model.work import Run, Workflow

SUPERSEDED_BY = "superseded_by_newer"  # in a run's extra: the rule a newer commit cancels it by
SUPERSEDABLE = 100  # older open runs of one ref that one trigger looks at; more cannot pile up when each does


def accept(tx: Tx, trigger: Trigger, plan: Plan, now: int, terms: Terms = Terms()) -> Run:  # noqa: B008 - frozen
    """The stored run, settled: its first jobs are queued when this returns."""
    key = trigger.idempotency_key
    if key:
        known = tx.run_by_idempotency(trigger.project.id, key)
        if known is not None:
            return known
    _check(plan, terms)
    plan = _bounded(plan, terms)
    try:
        run = tx.add(_run_of(tx, trigger, plan, now))
    except Conflict:  # another transaction has it since the look above (PostgreSQL)
        known = tx.run_by_idempotency(trigger.project.id, key) if key else None
        if known is None:
            raise
        return known
    for workflow in plan.workflows:
        _add_workflow(tx, run, plan, workflow, now)
    if not plan.skipped:
        jobs = [job for workflow in plan.workflows if not workflow.error for job in workflow.jobs]
        environments.expect(tx, run.project_id, [job.environment for job in jobs if job.environment], now)
        _supersede(tx, run, now)
    return settle(tx, run.id, now)


def extend(
    tx: Tx,
    run_id: int,
    workflow_key: str,
    jobs: Sequence[JobPlan],
    now: int,
    terms: Terms = Terms(),  # noqa: B008
) -> Run:
    """The run with more jobs. A job whose key is already there stays as it is, so that a repeated submission
    changes nothing."""
    board = load(tx, run_id, now)
    flow = next((f for f in board.flows.values() if f.row.key == workflow_key), None)
    if flow is None:
        raise NotFound(f"Run {run_id} has no workflow {workflow_key!r}.")
    known = {node.plan.key for node in flow.nodes}
    fresh = [job for job in jobs if job.key not in known]
    if len(board.nodes) + len(fresh) > terms.jobs_per_run:
        raise Invalid(_too_many(len(board.nodes) + len(fresh), terms))
    checked([node.plan for node in flow.nodes] + fresh, flow.row.path)
    add_jobs(tx, board.run, flow.row, fresh, len(flow.nodes), now)
    return settle(tx, run_id, now)


def _check(plan: Plan, terms: Terms) -> None:
    count = sum(len(workflow.jobs) for workflow in plan.workflows)
    if count > terms.jobs_per_run:
        raise Invalid(_too_many(count, terms))
    keys = [workflow.key for workflow in plan.workflows]
    if not keys or len(set(keys)) != len(keys):
        raise Invalid("A run needs at least one workflow, each with a key of its own.")
    for workflow in plan.workflows:
        checked(workflow.jobs, workflow.path)


def _bounded(plan: Plan, terms: Terms) -> Plan:
    """Jobs that make others know how many a run may have."""
    if not any(job.unfold for workflow in plan.workflows for job in workflow.jobs):
        return plan
    return replace(
        plan,
        workflows=tuple(
            replace(
                workflow,
                jobs=tuple(
                    replace(job, unfold=replace(job.unfold, most=terms.jobs_per_run)) if job.unfold else job
                    for job in workflow.jobs
                ),
            )
            for workflow in plan.workflows
        ),
    )


def _too_many(count: int, terms: Terms) -> str:
    return (
        f"This run would have {count} jobs; at most {terms.jobs_per_run} are allowed (RUNYARD_JOBS_PER_RUN)."
    )


def _run_of(tx: Tx, trigger: Trigger, plan: Plan, now: int) -> Run:
    return Run(
        id=0,
        project_id=trigger.project.id,
        number=tx.next_number(trigger.project.id),
        dialect=trigger.dialect,
        source=trigger.source,
        ref=trigger.ref,
        sha=trigger.sha,
        before_sha=trigger.before_sha,
        tag=trigger.tag,
        name=plan.name,
        actor_id=trigger.actor.id or None,
        error="; ".join(w.error for w in plan.workflows if w.error),
        variables=trigger.variables,
        idempotency_key=trigger.idempotency_key or None,
        created_at=now,
        updated_at=now,
        extra=_extra(trigger, plan),
    )


def _extra(trigger: Trigger, plan: Plan) -> dict[str, Any]:
    title = {"title": trigger.commit.title[:200]} if trigger.commit.message else {}
    rule = {SUPERSEDED_BY: plan.supersedes} if plan.supersedes != "none" else {}
    return {**title, **rule, **plan.extra}


def _add_workflow(tx: Tx, run: Run, plan: Plan, workflow: WorkflowPlan, now: int) -> None:
    row = Workflow(
        id=0,
        run_id=run.id,
        key=workflow.key,
        name=workflow.name,
        path=workflow.path,
        error=workflow.error,
        created_at=now,
        extra=workflow.extra,
    )
    ended = _outcome_without_jobs(plan, workflow)
    if ended is not None:
        tx.add(replace(row, state=State.DONE, outcome=ended, finished_at=now))
        return
    row = tx.add(row)
    add_jobs(tx, run, row, [_finished_plan(plan, workflow, job) for job in workflow.jobs], 0, now)


def _outcome_without_jobs(plan: Plan, workflow: WorkflowPlan) -> Outcome | None:
    """How a workflow ends that never gets jobs; None when it has some or awaits them."""
    if workflow.error:
        return Outcome.ERRORED
    if plan.skipped:
        return Outcome.SKIPPED
    return None if workflow.jobs or workflow.awaits else Outcome.PASSED


def _finished_plan(plan: Plan, workflow: WorkflowPlan, job: JobPlan) -> JobPlan:
    """Rules of the whole plan, laid down with each job: settle reads jobs only. A job's own concurrency group
    wins over its workflow's."""
    if workflow.concurrency is not None and job.concurrency is None:
        job = replace(job, concurrency=replace(workflow.concurrency, by_workflow=True))
    return replace(job, fail_run=True) if plan.cancel_on_failure else job


def _supersede(tx: Tx, run: Run, now: int) -> None:
    """GitLab's auto_cancel for a new commit: older open runs of the branch, other commit, same dialect
    (contracts/gitlab.md §3.9), each by the rule of its own configuration, not by the newer one's. Children go
    with their parents, and supersede nobody."""
    if run.tag or is_child(run):
        return
    wanted = tuple((state, None) for state in sorted(OPEN))
    older = tx.runs(
        RunFilter(project_id=run.project_id, dialect=run.dialect, ref=run.ref, tag=False, wanted=wanted),
        Page(limit=SUPERSEDABLE),
    )
    for old in older:
        rule = old.extra.get(SUPERSEDED_BY, "none")
        if old.id != run.id and old.sha != run.sha and rule != "none" and not is_child(old):
            family = _family(tx, old.id, now)
            hard = rule != "interruptible" and any(map(_has_begun_hard, family))
            for run_id in [] if hard else [board.run.id for board in family]:
                board = load(tx, run_id, now)  # the one before may have ended some of these
                for node in board.nodes.values():
                    if rule != "interruptible" or node.plan.interruptible:
                        board.cancel(node, Reason.SUPERSEDED, f"Superseded by run {run.number}.")
                finish_board(board)


def _family(tx: Tx, run_id: int, now: int) -> list[Board]:
    """A run and its open children, parents first."""
    boards: list[Board] = []
    pending = [run_id]
    while pending:
        found = tx.get(Run, pending.pop())
        if found is None or (boards and found.state is State.DONE):
            continue
        board = load(tx, found.id, now)
        boards.append(board)
        pending += [child for node in board.nodes.values() if (child := child_of(node)) is not None]
    return boards


def _has_begun_hard(board: Board) -> bool:
    """Whether something that may not be interrupted has started."""
    return any(
        node.attempt.started_at is not None and not node.plan.interruptible for node in board.nodes.values()
    )
