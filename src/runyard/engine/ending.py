"""How attempts end and begin again: the automatic retry rules, the lost runner's rule, and the making of the
next attempt.

Called by dispatch (finish), upkeep (lost leases, deadlines, stuck queue) and control (retry). All end in
settle.
"""

from __future__ import annotations

from typing import Any

from runyard.engine.board import Board, load
from runyard.engine.flow import Flow, Node
from runyard.engine.gates import Answer, decide
from runyard.engine.groups import enter
from runyard.engine.moves import NO_LEASE_AT, move
from runyard.engine.ports import AttemptFilter, Page, Tx
from runyard.engine.reopening import reopen, reopen_skipped
from runyard.engine.rooms import has_room
from runyard.engine.settle import finish_board
from runyard.engine.terms import Terms
from runyard.model.plan import Retry
from runyard.model.state import Outcome, Reason, State
from runyard.model.work import Attempt, Job

NEVER_RETRIED = frozenset({Reason.MISSING_DEPENDENCY, Reason.BAD_PLAN, Reason.STUCK})
"""A new attempt would end the same way (GitLab's retry overrides, contracts/gitlab.md §3.9)."""

GIVEN_BACK = "given_back"
"""In an attempt's `extra`: its runner was shut down in good order, so the job is not suspected of killing
runners (reliability.md §8 row 13)."""

UNCOMMITTED = "uncommitted"
"""In a leased attempt's `extra`: its runner has not said yet that it begins (`dispatch.commit`). Lost so, it
is not suspected either."""

HISTORY = Page(limit=1000, descending=False)


def end(tx: Tx, attempt: Attempt, outcome: Outcome, reason: Reason, now: int, **changes: Any) -> Attempt:
    """Ends an open attempt, tries again where its rules say so, and settles the run. Returns the ended
    attempt."""
    board = load(tx, attempt.run_id, now)
    node = board.nodes[attempt.job_id]
    ended = move(tx, node.job, attempt, State.DONE, now, outcome=outcome, reason=reason, **changes)
    node.attempt = ended
    if _retries(tx, node.job, ended):
        again(board, node, automatic=True)
        _left(board, node)
    else:
        board.ended(node)
    finish_board(board)
    return ended


def lose(tx: Tx, attempt: Attempt, now: int, terms: Terms, message: str = "") -> Attempt:
    """A leased attempt whose runner fell silent or gave it back: errored, or canceled when it was told to
    stop; handed out again at most `terms.requeues` times (reliability.md §2.3), not counted against the job's
    own retry rule."""
    board = load(tx, attempt.run_id, now)
    node = board.nodes[attempt.job_id]
    outcome, reason = (
        stopped_as(attempt) if attempt.state is State.STOPPING else (Outcome.ERRORED, Reason.RUNNER_LOST)
    )
    text = message or "The runner fell silent; its lease ran out."
    node.attempt = move(
        tx,
        node.job,
        attempt,
        State.DONE,
        now,
        outcome=outcome,
        reason=reason,
        message=attempt.message or text,
    )
    ended = node.attempt
    if reason is Reason.RUNNER_LOST and node.plan.requeue_lost and _losses(tx, node.job) <= terms.requeues:
        again(board, node, automatic=True)
        _left(board, node)
    else:
        board.ended(node)
    finish_board(board)
    return ended


def stopped_as(attempt: Attempt) -> tuple[Outcome, Reason]:
    """What a STOPPING attempt becomes, whatever its runner says (GitLab: canceling → canceled): a time limit
    is a failure, all else is canceled."""
    if attempt.reason is Reason.TIMEOUT:
        return Outcome.FAILED, Reason.TIMEOUT
    return Outcome.CANCELED, attempt.reason or Reason.BY_USER


def again(board: Board, node: Node, *, automatic: bool, **changes: Any) -> Attempt:
    """Makes the job's next attempt and starts it at once, whatever its gate said before; only while something
    that it looks at is open again (retried too), or while there is no room, it waits. Those that made it go
    on with it, as new attempts of theirs."""
    flow = board.flows[node.job.workflow_id]
    makers = [maker for maker in flow.makers(node) if maker.is_done]
    for maker in reversed(makers):
        reopen(board, maker, automatic=automatic)
        _start(board, flow, maker)
        if maker.attempt.state is State.QUEUED:  # it begins with what is there, nothing is asked for anew
            board.move(maker, State.RUNNING, lease_until_at=NO_LEASE_AT)
    reopen(board, node, automatic=automatic, **changes)
    _start(board, flow, node)
    reopen_skipped(board, makers)
    return node.attempt


def _start(board: Board, flow: Flow, node: Node) -> None:
    if decide(flow, node).answer is not Answer.WAIT and has_room(flow, node):
        enter(board, node)


def may_retry(rule: Retry, reason: Reason, exit_code: int | None) -> bool:
    """Whether the rule names this end; exit codes are an alternative, not a further condition."""
    if reason in NEVER_RETRIED:
        return False
    return (
        "always" in rule.when
        or reason.value in rule.when
        or (exit_code is not None and exit_code in rule.exit_codes)
    )


def _retries(tx: Tx, job: Job, ended: Attempt) -> bool:
    rule = job.plan.retry
    if rule.max <= 0 or ended.outcome not in (Outcome.FAILED, Outcome.ERRORED):
        return False
    if not may_retry(rule, ended.reason, ended.exit_code):
        return False
    earlier = [a for a in _history(tx, job) if a.number < ended.number and _tried(a)]
    return len(earlier) < rule.max


def _tried(attempt: Attempt) -> bool:
    """An attempt that was skipped, or lost with its runner, took nothing from the rule's `max`."""
    return attempt.outcome is not Outcome.SKIPPED and attempt.reason is not Reason.RUNNER_LOST


def _losses(tx: Tx, job: Job) -> int:
    """Lost attempts since a person last started it, those that were given back aside."""
    count = 0
    for attempt in reversed(_history(tx, job)):
        count += attempt.reason is Reason.RUNNER_LOST and not {GIVEN_BACK, UNCOMMITTED} & set(attempt.extra)
        if not attempt.automatic:
            break
    return count


def _history(tx: Tx, job: Job) -> list[Attempt]:
    return [attempt for _, attempt in tx.attempts(AttemptFilter(job_id=job.id), HISTORY)]


def _left(board: Board, node: Node) -> None:
    if node.plan.concurrency is not None:
        board.groups.add(node.plan.concurrency.group)
