"""Concurrency groups: at most one member of a project's group is active; settle asks before it queues, and
again when someone left.

A member is an attempt (GitLab resource_group) or, `by_workflow`, a whole workflow (Actions). Whose turn it is
says the group's mode in its project: `unordered` who has waited longest · `newest_ready_first` who is of the
newest run · `oldest_first` and `newest_first` the run whose turn it is, even when its members have yet to ask
(waiting or delayed; not manual ones): all others wait for them (GitLab ResourceGroup#upcoming_processables).
"""

from __future__ import annotations

from collections.abc import Callable

from runyard.engine.board import STOP_LIMIT_S, Board, child_of, stop
from runyard.engine.flow import Node
from runyard.engine.moves import move, rehold
from runyard.engine.ports import Tx
from runyard.model.plan import Concurrency
from runyard.model.state import Hold, Outcome, Reason, State
from runyard.model.work import Attempt, Job, Project

RESOURCE_GROUPS = "resource_groups"  # in Project.extra: group → whose turn it is when it becomes free
ORDERED = frozenset({"oldest_first", "newest_first"})  # who has yet to ask has a turn too
MODES = frozenset({"unordered", "oldest_first", "newest_first", "newest_ready_first"})
Member = tuple[Job, Attempt]
Owner = tuple[str, int]
ACTIVE = frozenset({State.QUEUED, State.RUNNING, State.STOPPING})

_DEADLOCK = "Canceling since a deadlock for concurrency group '{group}' was detected between 'top level workflow' and '{job}'"
_NEWER = "A newer member of its concurrency group took its place."


def enter(board: Board, node: Node) -> None:
    """Queues a node whose gate is open, or holds it until its group is free. Who wants the group that its own
    workflow is in would wait for itself: it is canceled, as at GitHub."""
    rule = node.plan.concurrency
    if rule is None:
        board.move(node, State.QUEUED)
        return
    if not rule.by_workflow and rule.group in board.flows[node.job.workflow_id].groups:
        board.cancel(node, Reason.BAD_PLAN, _DEADLOCK.format(group=rule.group, job=node.job.name))
        board.restless = True
        return
    is_free = _free_at_a_glance(board.tx, node, rule)
    if is_free is None:
        is_free = _free_after_looking(board, node, rule)
    if is_free and not _comes_later(board.tx, node, rule):
        board.move(node, State.QUEUED)
    elif node.attempt.state is State.HELD:
        node.attempt = rehold(board.tx, node.attempt, Hold.CONCURRENCY)
        board.groups.add(rule.group)
    else:
        board.move(node, State.HELD, hold=Hold.CONCURRENCY)
        board.groups.add(rule.group)


def _free_at_a_glance(tx: Tx, node: Node, rule: Concurrency) -> bool | None:
    """Whether the group is free for a node, where its two oldest members say so: a thousand may wait for it.
    None: look at all of them."""
    active, ready = tx.group_heads(node.job.project_id, rule.group)
    own = _owner(node.job, node.attempt)
    if ready is None and (active is None or _owner(*active) == own):
        return True  # what is active belongs to one owner
    if rule.by_workflow or rule.cancel_in_progress or rule.single_pending:
        return None
    return False


def _free_after_looking(board: Board, node: Node, rule: Concurrency) -> bool:
    others = _others(board.tx, node.job, node.attempt, rule)
    if rule.cancel_in_progress or rule.single_pending:
        for member in others:
            if _arrives_after(node, member, rule) and (rule.cancel_in_progress or _is_held(member[1])):
                _cancel(board, member)
        others = _others(board.tx, node.job, node.attempt, rule)
    return not _blocks(others, rule)


def release(tx: Tx, project_id: int, group: str, now: int, board: Board | None = None) -> set[int]:
    """Queues the held member of a free group whose turn it is, with all attempts of the same owner; says
    which runs that changed. `board`: one that is to see it too."""
    mode = _mode(tx, project_id, group)
    members = _next_at_a_glance(tx, project_id, group, mode)
    if members is None:
        members = tx.in_group(project_id, group, upcoming=mode in ORDERED)
    active = [m for m in members if m[1].state in ACTIVE]
    ready = [m for m in members if _is_ready(m[1])]
    if not ready:
        return set()
    first = (active or sorted(members, key=_order(mode)))[0]
    if first[1].state not in ACTIVE and not _is_ready(first[1]):
        return set()  # its turn comes when it asks
    turn = _owner(*first)
    changed = set()
    for job, attempt in ready:
        if _owner(job, attempt) == turn:
            moved = move(tx, job, attempt, State.QUEUED, now)
            if board is not None and job.id in board.nodes:
                board.nodes[job.id].attempt = moved
            changed.add(job.run_id)
    return changed


def _next_at_a_glance(tx: Tx, project_id: int, group: str, mode: str) -> list[Member] | None:
    """As many members as decide whose turn it is; none: nobody's. None: look at all of them."""
    active, ready = tx.group_heads(project_id, group)
    if ready is None:
        return []
    if active is not None:
        return None if _is_workflow(active) else []
    return None if mode in MODES - {"unordered"} or _is_workflow(ready) else [ready]


def _is_workflow(member: Member) -> bool:
    return _owner(*member)[0] == "workflow"


def _mode(tx: Tx, project_id: int, group: str) -> str:
    project = tx.get(Project, project_id)
    return str(project.extra.get(RESOURCE_GROUPS, {}).get(group, "")) if project else ""


def _order(mode: str) -> Callable[[Member], tuple[int, bool, int]]:
    """Sort key of members, the next one first."""
    sign = {"oldest_first": 1, "newest_first": -1, "newest_ready_first": -1}.get(mode, 0)
    return lambda member: (sign * member[1].run_id, not _is_ready(member[1]), member[1].id)


def _comes_later(tx: Tx, node: Node, rule: Concurrency) -> bool:
    """Whether the group goes in order of runs and a run before this one has members that have yet to ask."""
    mode = _mode(tx, node.job.project_id, rule.group)
    if mode not in ORDERED or rule.by_workflow:
        return False
    sign = 1 if mode == "oldest_first" else -1
    upcoming = tx.in_group(node.job.project_id, rule.group, upcoming=True)
    return any(sign * attempt.run_id < sign * node.attempt.run_id for _, attempt in upcoming)


def _blocks(others: list[Member], rule: Concurrency) -> bool:
    """Active others always block. Held ones are older, so they go first, unless a whole workflow is the
    member: it owns the group until it ends."""
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


def _is_ready(attempt: Attempt) -> bool:
    return attempt.hold is Hold.CONCURRENCY


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
