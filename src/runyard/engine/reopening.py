"""A job's next attempt, and the jobs behind it that had been skipped. Called by retries (ending, control) and by bridges (following)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from runyard.engine.board import Board
from runyard.engine.flow import CANCELED, Node
from runyard.model.state import Outcome
from runyard.model.work import Attempt

INPUTS = "inputs"  # in Attempt.extra: what was given for the job's own inputs when it was played or retried


def reopen(board: Board, node: Node, *, automatic: bool, **changes: Any) -> None:
    """Makes the job's next attempt; its gate will be asked by settle. A person who retries takes the workflow's cancel back."""
    flow = board.flows[node.job.workflow_id]
    if not automatic and flow.is_canceled:
        extra = {key: value for key, value in flow.row.extra.items() if key != CANCELED}
        flow.row = replace(flow.row, extra=extra)
        board.tx.save(flow.row)
    old = replace(node.attempt, latest=False)
    board.tx.save(old)
    fresh = Attempt(
        id=0,
        job_id=old.job_id,
        run_id=old.run_id,
        project_id=old.project_id,
        number=old.number + 1,
        automatic=automatic,
        created_at=board.now,
        actor_id=old.actor_id,
        variables=old.variables,
        extra={INPUTS: old.extra[INPUTS]} if INPUTS in old.extra else {},
    )
    node.attempt = board.tx.add(replace(fresh, **changes))
    board.tx.ring(f"attempt:{old.id}")


def reopen_skipped(board: Board, nodes: Sequence[Node]) -> None:
    """Skipped jobs behind these get new attempts, never edits (reliability.md §8 row 37); their gates are asked again. Not those whose maker is over."""
    for job_id in sorted(_behind(board, nodes)):  # makers before what they made
        node = board.nodes[job_id]
        makers = board.flows[node.job.workflow_id].makers(node)
        if node.attempt.outcome is Outcome.SKIPPED and not any(maker.is_done for maker in makers):
            reopen(board, node, automatic=True)


def _behind(board: Board, nodes: Sequence[Node]) -> set[int]:
    """Job ids that look at one of these, directly or not."""
    found: set[int] = set()
    for flow in board.flows.values():
        mine = [node for node in nodes if node.job.workflow_id == flow.row.id]
        if mine:
            found |= flow.behind(mine)
    return found
