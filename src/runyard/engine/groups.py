"""Concurrency groups: at most one member of a project's group is active; settle asks before it queues, and again when someone left.

A member is an attempt (GitLab resource_group) or, `by_workflow`, a whole workflow (Actions). Held members go oldest first.
"""

from __future__ import annotations

from runyard.engine.board import STOP_LIMIT_S, Board, Node, child_of, stop
from runyard.engine.moves import move, rehold
from runyard.engine.ports import Tx
from runyard.model.plan import Concurrency
from runyard.model.state import Hold, Outcome, Reason, State
from runyard.model.work import Attempt, Job, Project

RESOURCE_GROUPS = "resource_groups"  # in Project.extra: group → whose turn it is when it becomes free
MODES = frozenset({"unordered", "oldest_first", "newest_first", "newest_ready_first"})
Member = tuple[Job, Attempt]
Owner = tuple[str, int]

_NEWER = "A newer member of its concurrency group took its place."


def enter(board: Board, node: Node) -> None:
    """Queues a node whose gate is open, or holds it until its group is free."""
    rule = node.plan.concurrency
    if rule is None:
        board.move(node, State.QUEUED)
        return
    others = _others(board.tx, node.job, node.attempt, rule)
    if rule.cancel_in_progress or rule.single_pending:
        for member in others:
            if _arrives_after(node, member, rule) and (rule.cancel_in_progress or _is_held(member[1])):
                _cancel(board, member)
        others = _others(board.tx, node.job, node.attempt, rule)
    if not _blocks(others, rule):
        board.move(node, State.QUEUED)
    elif node.attempt.state is State.HELD:
        node.attempt = rehold(board.tx, node.attempt, Hold.CONCURRENCY)
        board.groups.add(rule.group)
    else:
        board.move(node, State.HELD, hold=Hold.CONCURRENCY)
        board.groups.add(rule.group)


def release(tx: Tx, project_id: int, group: str, now: int) -> set[int]:
    """Queues the oldest held member of a group that is free (the newest where the project says so), with all attempts of the same owner; says which
    runs that changed."""
    members = tx.in_group(project_id, group)
    active = [m for m in members if not _is_held(m[1])]
    held = [m for m in members if _is_held(m[1])]
    if not held:
        return set()
    project = tx.get(Project, project_id)
    mode = project.extra.get(RESOURCE_GROUPS, {}).get(group, "") if project else ""
    if mode.startswith("newest"):
        held.reverse()
    turn = _owner(*(active or held)[0])
    changed = set()
    for job, attempt in held:
        if _owner(job, attempt) == turn:
            move(tx, job, attempt, State.QUEUED, now)
            changed.add(job.run_id)
    return changed


def _blocks(others: list[Member], rule: Concurrency) -> bool:
    """Active others always block. Held ones are older, so they go first, unless a whole workflow is the member: it owns the group until it ends."""
    return any(rule.by_workflow is False or not _is_held(attempt) for _, attempt in others)


def _arrives_after(node: Node, other: Member, rule: Concurrency) -> bool:
    """A workflow arrives once, with its first job: its later jobs take nobody's place."""
    return not rule.by_workflow or node.job.workflow_id > other[0].workflow_id


def _others(tx: Tx, job: Job, attempt: Attempt, rule: Concurrency) -> list[Member]:
    own = _owner(job, attempt)
    return [m for m in tx.in_group(job.project_id, rule.group) if _owner(*m) != own]


def _owner(job: Job, attempt: Attempt) -> Owner:
    rule = job.plan.concurrency
    return ("workflow", job.workflow_id) if rule and rule.by_workflow else ("attempt", attempt.id)


def _is_held(attempt: Attempt) -> bool:
    return attempt.state is State.HELD


def _cancel(board: Board, member: Member) -> None:
    """Cancels a member wherever it is: on this board, or in a run that settles afterwards."""
    job, attempt = member
    node = board.nodes.get(job.id)
    if node is not None:
        stop(board, node, Reason.SUPERSEDED, _NEWER, None)
        board.restless = True
    elif attempt.state is State.RUNNING and job.plan.claimable:
        limit = board.now + STOP_LIMIT_S * 1000
        deadline = min(attempt.deadline_at or limit, limit)
        move(
            board.tx,
            job,
            attempt,
            State.STOPPING,
            board.now,
            reason=Reason.SUPERSEDED,
            message=_NEWER,
            deadline_at=deadline,
        )
        board.others.add(job.run_id)
    elif attempt.state is not State.STOPPING:
        child = child_of(Node(job, attempt))
        if child is not None:
            board.orphans[child] = (Reason.SUPERSEDED, _NEWER)
        move(
            board.tx,
            job,
            attempt,
            State.DONE,
            board.now,
            outcome=Outcome.CANCELED,
            reason=Reason.SUPERSEDED,
            message=_NEWER,
        )
        board.others.add(job.run_id)
