"""A job that unfolds and begins again: what it had made meets what its needs ask for now. Called by
unfolding.

Parts are known by their keys (a leg's has its values). Who is asked for still keeps its job, with the plan of
now; who is asked for no more is retired: its attempts stay as history, none of them is `latest`, so boards,
folds and needs do not know it any more. Asked for once more it comes back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from runyard.engine.board import Board
from runyard.engine.flow import Flow, Node
from runyard.engine.reopening import reopen_all, reopen_skipped
from runyard.engine.views import attempts_of
from runyard.model.plan import JobPlan
from runyard.model.state import LEASED, Outcome, Reason
from runyard.model.work import Attempt, Job

BROKEN = frozenset({Outcome.FAILED, Outcome.ERRORED, Outcome.CANCELED})
_ASKED_NO_MORE = "{} was tried again and does not ask for this job any more."


def remake(board: Board, flow: Flow, node: Node, plans: Sequence[JobPlan]) -> list[JobPlan]:
    """Gives new attempts to those parts that are to be done (again), retires others, and says which plans
    never had a job.

    To be done again is what did not pass, and what is older than anything that the node or a maker of it
    needs; everything when that is nothing.
    """
    asked = {plan.key: plan for plan in plans}
    retire(board, flow, node, [part for part in _made(flow, node) if part.plan.key not in asked])
    made = _made(flow, node)
    back = _retired(board, flow, asked.keys() - {part.plan.key for part in made})
    since = _newest_needed(flow, node)
    due = [p for p in made if p.is_done and (p.attempt.outcome in BROKEN or p.attempt.id < since)]
    new = [plan for key, plan in asked.items() if key not in {part.plan.key for part in (*made, *back)}]
    if not due and not back and not new and all(part.is_done for part in made):
        due = made
    _replan(board, flow, [part for part in made if part in due or not part.is_done], back, asked)
    reopen_all(board, [*due, *back], automatic=False, actor_id=node.attempt.actor_id)
    reopen_skipped(board, due)
    return new


def retire(board: Board, flow: Flow, node: Node, parts: Collection[Node]) -> None:
    """Takes parts of a node, with all that they have made, out of the run. None of them may be at work."""
    if not parts:
        return
    gone = [*parts, *below(flow, parts)]
    for part in gone:
        board.cancel(part, Reason.SUPERSEDED, _ASKED_NO_MORE.format(repr(node.job.name)))
    for part in gone:
        board.tx.save(replace(part.attempt, latest=False))
        del board.nodes[part.job.id]
    ids = {part.job.id for part in gone}
    flow.rearrange(part for part in flow.nodes if part.job.id not in ids)


def is_at_rest(flow: Flow, node: Node) -> bool:
    """Whether nobody works on what the node has made: a job that was ended from outside may be retried while
    its parts are still stopping."""
    return all(part.attempt.state not in LEASED for part in below(flow, [node]))


def below(flow: Flow, nodes: Iterable[Node]) -> Iterator[Node]:
    """All that these have made, and what that has made."""
    for node in nodes:
        made = _made(flow, node)
        yield from made
        yield from below(flow, made)


def _made(flow: Flow, node: Node) -> list[Node]:
    return list(flow.made.get(node.plan.key, ()))


def _newest_needed(flow: Flow, node: Node) -> int:
    """The id of the newest attempt that what it makes is made of. Ids ascend within a run."""
    return max((n.attempt.id for one in (node, *flow.makers(node)) for n in flow.needed(one)), default=0)


def _retired(board: Board, flow: Flow, keys: Collection[str]) -> list[Node]:
    """Jobs of these keys that were there once, with their last attempts."""
    if not keys:
        return []
    found: dict[int, tuple[Job, Attempt]] = {}
    for job, attempt in attempts_of(board.tx, board.run.id):
        if job.key in keys and job.workflow_id == flow.row.id:
            found[job.id] = job, attempt
    return [Node(job, attempt) for _, (job, attempt) in sorted(found.items())]


def _replan(
    board: Board, flow: Flow, kept: Sequence[Node], back: Sequence[Node], asked: dict[str, JobPlan]
) -> None:
    """Gives these their plans of now, and lets the flow know those that are back."""
    changed = list(back)
    for part in (*kept, *back):
        plan = replace(asked[part.plan.key], protected=part.plan.protected)
        if plan != part.plan:
            part.job, part.plan = replace(part.job, plan=plan, name=plan.name), plan
            board.tx.save(part.job)
            changed.append(part)
    board.nodes |= {part.job.id: part for part in back}
    if changed:
        flow.rearrange((*flow.nodes, *back))
