"""What people ask of work that is already there. Every verb may be repeated: the second time it changes
nothing or is refused with Conflict.

cancel_run, cancel_workflow(tx, …_id, now, actor_id=None) -> Run
cancel_job, cancel_attempt(tx, …_id, now, actor_id=None) -> Attempt
force_cancel(tx, attempt_id, now, actor_id=None) -> Attempt
    a STOPPING attempt ends now, without its runner's word
retry(tx, attempt_id, now, actor_id=None, variables=None, inputs={}) -> Attempt
    the NEW attempt; Conflict when not retryable
retry_run(tx, run_id, now, actor_id=None) -> Run
    every failed or canceled latest attempt again
retry_jobs(tx, run_id, job_ids, now, actor_id=None) -> list[int]
    these jobs again, in their order; ids of all that have a new attempt
has_begun_behind(tx, attempt_id, now) -> bool
    whether a job that needs this one has begun
play(tx, attempt_id, now, actor_id=None, variables=None, inputs={}) -> Attempt
    starts a held (manual or delayed) attempt now
unschedule(tx, attempt_id, now) -> Attempt
    a delayed attempt becomes manual
reorder(tx, project_id, group, now) -> None
    a concurrency group's mode has changed
conclude(tx, run_id, now) -> Run
    a run that awaited jobs (WorkflowPlan.awaits) and got none ends passed
erase(tx, attempt_id, now, actor_id=None) -> Attempt
    log and artifacts gone; Conflict while it is open
keep(tx, attempt_id, now) -> Attempt
    its artifacts never expire; NotFound when it has none
delete_artifacts(tx, attempt_id) -> int
delete_run(tx, run_id, now) -> None

Blobs of erased and deleted rows are swept by upkeep (`orphans`): row first, bytes later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from runyard.engine.board import Board, child_of, children_of, load
from runyard.engine.ending import again
from runyard.engine.flow import CANCELED, Flow, Node
from runyard.engine.gates import outlives
from runyard.engine.groups import enter, release
from runyard.engine.moves import move, rehold
from runyard.engine.ports import ArtifactFilter, AttemptFilter, Page, Tx
from runyard.engine.reopening import INPUTS, reopen_all, reopen_skipped, take_cancel_back
from runyard.engine.settle import end_all, end_empty, finish_board, settle
from runyard.model.errors import Conflict, NotFound
from runyard.model.plan import Variable, When
from runyard.model.state import Hold, Outcome, Reason, State
from runyard.model.work import Artifact, Attempt, Job, Run, Workflow

RETRYABLE = frozenset({Outcome.PASSED, Outcome.FAILED, Outcome.ERRORED, Outcome.CANCELED})
BROKEN = frozenset({Outcome.FAILED, Outcome.ERRORED, Outcome.CANCELED})
NO_INPUTS: Mapping[str, Any] = MappingProxyType({})
_ALL = Page(limit=10_000, descending=False)


def cancel_run(tx: Tx, run_id: int, now: int, actor_id: int | None = None) -> Run:
    """Cancels all that is open, but for jobs whose condition holds even then; what runs is told to stop. A
    run without jobs that still awaits some ends too."""
    board = load(tx, run_id, now)
    for flow in board.flows.values():
        _cancel_flow(board, flow, actor_id)
    for node in board.nodes.values():
        if (child := child_of(node)) is not None:
            board.orphans[child] = (Reason.BY_USER, "")
    end_empty(board, Outcome.CANCELED)
    return finish_board(board)


def cancel_workflow(tx: Tx, workflow_id: int, now: int, actor_id: int | None = None) -> Run:
    """Cancels one workflow's open jobs, but for those whose condition holds even then."""
    row = tx.get(Workflow, workflow_id)
    if row is None:
        raise NotFound(f"Workflow {workflow_id} does not exist.")
    board = load(tx, row.run_id, now)
    _cancel_flow(board, board.flows[workflow_id], actor_id)
    return finish_board(board)


def cancel_job(tx: Tx, job_id: int, now: int, actor_id: int | None = None) -> Attempt:
    """Cancels a job's open attempt, if it has one."""
    job = tx.get(Job, job_id)
    if job is None:
        raise NotFound(f"Job {job_id} does not exist.")
    board = load(tx, job.run_id, now)
    node = board.nodes.get(job_id)
    if node is None:  # retired
        return tx.attempts(AttemptFilter(job_id=job_id), Page(limit=1))[0][1]
    _cancel(board, [node], actor_id)
    finish_board(board)
    return _again(tx, node.attempt.id)


def cancel_attempt(tx: Tx, attempt_id: int, now: int, actor_id: int | None = None) -> Attempt:
    """Cancels an attempt; one that has ended or is stopping stays as it is."""
    board, node = _latest(tx, attempt_id, now)
    if node is not None:
        _cancel(board, [node], actor_id)
        finish_board(board)
    return _again(tx, attempt_id)


def force_cancel(tx: Tx, attempt_id: int, now: int, actor_id: int | None = None) -> Attempt:
    """Ends a STOPPING attempt at once; its runner will be told to abort. Conflict when it is not stopping and
    not done."""
    board, node = _latest(tx, attempt_id, now)
    attempt = _again(tx, attempt_id)
    if attempt.state is State.DONE:
        return attempt
    if node is None or attempt.state is not State.STOPPING:
        raise Conflict("Only an attempt that is being canceled can be force-canceled.")
    who = {} if actor_id is None else {"actor_id": actor_id}
    board.move(node, State.DONE, outcome=Outcome.CANCELED, reason=attempt.reason or Reason.BY_USER, **who)
    finish_board(board)
    return _again(tx, attempt_id)


def retry(
    tx: Tx,
    attempt_id: int,
    now: int,
    actor_id: int | None = None,
    variables: tuple[Variable, ...] | None = None,
    inputs: Mapping[str, Any] = NO_INPUTS,
) -> Attempt:
    """The new attempt. Dependants that were skipped are asked again, as new attempts. `variables` are instead
    of those of the attempt before (None: the same), `inputs` go over them."""
    board, node = _latest(tx, attempt_id, now)
    if node is None or node.attempt.outcome not in RETRYABLE:
        raise Conflict("Job is not retryable")
    given: dict[str, Any] = {"actor_id": actor_id, **({} if variables is None else {"variables": variables})}
    if inputs:
        given["extra"] = {INPUTS: {**node.attempt.extra.get(INPUTS, {}), **inputs}}
    take_cancel_back(board, [node])
    again(board, node, automatic=False, **given)
    reopen_skipped(board, [node])
    finish_board(board)
    return _again(tx, node.attempt.id)


def retry_run(tx: Tx, run_id: int, now: int, actor_id: int | None = None) -> Run:
    """Every latest attempt that failed or was canceled gets a new one and is asked for its gate again, so
    that manual jobs stay manual and jobs run in their order; nothing happens when there is none."""
    board = load(tx, run_id, now)
    broken = [node for node in board.nodes.values() if node.attempt.outcome in BROKEN]
    return _retried(board, broken, actor_id) if broken else board.run


def retry_jobs(
    tx: Tx, run_id: int, job_ids: Iterable[int], now: int, actor_id: int | None = None
) -> list[int]:
    """The same for these jobs of a run, whatever their outcome; Conflict, and nothing has happened, when one
    is open or was skipped. Ids of the jobs with a new attempt: these, and those skipped behind them."""
    board = load(tx, run_id, now)
    ids = list(job_ids)
    chosen = [board.nodes[job_id] for job_id in ids if job_id in board.nodes]
    if len(chosen) < len(ids) or any(node.attempt.outcome not in RETRYABLE for node in chosen):
        raise Conflict("Job is not retryable")
    before = {job_id: node.attempt.number for job_id, node in board.nodes.items()}
    _retried(board, chosen, actor_id)
    return [job_id for job_id, number in before.items() if board.nodes[job_id].attempt.number > number]


def has_begun_behind(tx: Tx, attempt_id: int, now: int) -> bool:
    """Whether a job that looks at this one has run or runs: a vendor that retries only what nobody has seen
    the end of asks this first."""
    board, node = _latest(tx, attempt_id, now)
    if node is None:
        return False
    behind = board.flows[node.job.workflow_id].behind([node])
    return any(board.nodes[job_id].attempt.started_at is not None for job_id in behind)


def _retried(board: Board, chosen: list[Node], actor_id: int | None) -> Run:
    """Those that made one of them go on too."""
    again = {node.job.id: node for node in chosen}
    for node in chosen:
        makers = board.flows[node.job.workflow_id].makers(node)
        again |= {maker.job.id: maker for maker in makers if maker.is_done}
    nodes = [again[job_id] for job_id in sorted(again)]  # makers before what they made
    take_cancel_back(board, nodes)
    reopen_all(board, nodes, automatic=False, actor_id=actor_id)
    reopen_skipped(board, nodes)
    return finish_board(board)


def play(
    tx: Tx,
    attempt_id: int,
    now: int,
    actor_id: int | None = None,
    variables: tuple[Variable, ...] | None = None,
    inputs: Mapping[str, Any] = NO_INPUTS,
) -> Attempt:
    """Starts a manual or delayed attempt. One that was played before (queued or further) is returned as it
    is. `variables` and `inputs` as with `retry`."""
    board, node = _latest(tx, attempt_id, now)
    if node is None:
        raise Conflict("Unplayable Job")
    attempt = node.attempt
    if attempt.state is State.HELD and attempt.hold in (Hold.MANUAL, Hold.DELAYED):
        told = {INPUTS: {**attempt.extra.get(INPUTS, {}), **inputs}} if inputs else {}
        node.attempt = replace(
            attempt,
            actor_id=actor_id or attempt.actor_id,
            variables=attempt.variables if variables is None else variables,
            extra={**attempt.extra, **told},
        )
        enter(board, node)
        reopen_skipped(board, [node])
        finish_board(board)
    elif not _was_played(node):
        raise Conflict("Unplayable Job")
    return _again(tx, attempt_id)


def reorder(tx: Tx, project_id: int, group: str, now: int) -> None:
    """After a concurrency group's mode has changed: who may go on by the new one does."""
    for run_id in release(tx, project_id, group, now):
        settle(tx, run_id, now)


def unschedule(tx: Tx, attempt_id: int, now: int) -> Attempt:
    """A delayed attempt waits for a person from now on (GitLab: scheduled → manual)."""
    board, node = _latest(tx, attempt_id, now)
    if node is None or node.attempt.state is not State.HELD or node.attempt.hold is Hold.CONCURRENCY:
        raise Conflict("Job is not scheduled")
    if node.attempt.hold is Hold.DELAYED:
        node.attempt = rehold(tx, node.attempt, Hold.MANUAL)
        board.groups |= {node.plan.concurrency.group} if node.plan.concurrency else set()
        finish_board(board)
    return node.attempt


def conclude(tx: Tx, run_id: int, now: int) -> Run:
    """Ends workflows that awaited jobs and got none: there was nothing to do."""
    board = load(tx, run_id, now)
    end_empty(board, Outcome.PASSED)
    return finish_board(board)


def erase(tx: Tx, attempt_id: int, now: int, actor_id: int | None = None) -> Attempt:
    """Takes log and artifacts away, for good."""
    attempt = _again(tx, attempt_id)
    if attempt.state is not State.DONE:
        raise Conflict("Job is not erasable!")
    if attempt.erased_at is not None:
        return attempt
    delete_artifacts(tx, attempt_id)
    tx.drop_log(attempt_id)
    extra = attempt.extra if actor_id is None else {**attempt.extra, "erased_by": actor_id}
    erased = replace(attempt, erased_at=now, log_bytes=0, log_crc=None, log_blob="", extra=extra)
    tx.save(erased)
    tx.ring(f"attempt:{attempt_id}")
    return erased


def keep(tx: Tx, attempt_id: int, now: int) -> Attempt:
    """Its artifacts live as long as the run."""
    attempt = _again(tx, attempt_id)
    rows = [a for a in tx.artifacts(ArtifactFilter(attempt_id=attempt_id), _ALL) if not _expired(a, now)]
    if not rows:
        raise NotFound("There are no artifacts to keep.")
    for row in rows:
        if row.expires_at is not None:
            tx.save(replace(row, expires_at=None))
    return attempt


def delete_artifacts(tx: Tx, attempt_id: int) -> int:
    """Removes an attempt's artifacts; says how many there were. The log stays."""
    rows = tx.artifacts(ArtifactFilter(attempt_id=attempt_id), _ALL)
    for row in rows:
        tx.remove(Artifact, row.id)
    return len(rows)


def delete_run(tx: Tx, run_id: int, now: int) -> None:
    """Removes a run with everything below it, its child runs too. Its runners are told to abort at their next
    call; nothing happens when it is not there."""
    if tx.get(Run, run_id) is None:
        return
    board = load(tx, run_id, now)
    children = [child for node in board.nodes.values() for child in children_of(tx, node)]
    end_all(board, Reason.BY_USER)
    for node in board.nodes.values():
        if node.attempt.state is State.STOPPING:
            node.attempt = move(tx, node.job, node.attempt, State.DONE, now, outcome=Outcome.CANCELED)
            board.ended(node)
    finish_board(board)
    tx.remove(Run, run_id)
    tx.ring("runs")
    for child in children:
        delete_run(tx, child, now)


def _cancel(board: Board, nodes: Iterable[Node], actor_id: int | None) -> None:
    for node in nodes:
        board.cancel(node, Reason.BY_USER, actor_id=actor_id)


def _cancel_flow(board: Board, flow: Flow, actor_id: int | None) -> None:
    """Jobs whose condition is `always()` and the like go on, or will start yet; the second time nothing
    changes."""
    if all(node.is_done for node in flow.nodes):
        return
    if not flow.is_canceled:
        flow.row = replace(flow.row, extra={**flow.row.extra, CANCELED: True})
        board.tx.save(flow.row)
    makers = {node.job.id for node in flow.unfolding if node.attempt.state is State.RUNNING}
    stays = [node for node in flow.nodes if not node.is_done and node.job.id not in makers]
    while goes := [node for node in stays if not outlives(flow, node)]:  # an end may decide a condition
        _cancel(board, goes, actor_id)
        gone = {node.job.id for node in goes}
        stays = [node for node in stays if node.job.id not in gone and not node.is_done]


def _was_played(node: Node) -> bool:
    if node.plan.gate.when not in (When.MANUAL, When.DELAYED):
        return False
    return node.attempt.state is State.QUEUED or node.attempt.hold is Hold.CONCURRENCY


def _latest(tx: Tx, attempt_id: int, now: int) -> tuple[Board, Node | None]:
    """The board of an attempt and its node; no node when a newer attempt exists, or its job was retired."""
    attempt = _again(tx, attempt_id)
    board = load(tx, attempt.run_id, now)
    node = board.nodes.get(attempt.job_id)
    return board, node if node is not None and node.attempt.id == attempt_id else None


def _again(tx: Tx, attempt_id: int) -> Attempt:
    attempt = tx.get(Attempt, attempt_id)
    if attempt is None:
        raise NotFound(f"Attempt {attempt_id} does not exist.")
    return attempt


def _expired(row: Artifact, now: int) -> bool:
    return row.expires_at is not None and row.expires_at <= now
