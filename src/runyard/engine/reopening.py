"""A job's next attempt, and the jobs behind it that had been skipped. Called by retries (ending, control) and
by bridges (following)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from runyard.engine.board import Board
from runyard.engine.flow import CANCELED, Node
from runyard.model.state import Outcome
from runyard.model.work import Attempt

INPUTS = "inputs"  # in Attempt.extra: what was given for the job's own inputs when it was played or retried


def reopen(board: Board, node: Node, *, automatic: bool, **changes: Any) -> None:
    """Makes the job's next attempt; its gate will be asked by settle."""
    reopen_all(board, [node], automatic=automatic, **changes)


def reopen_all(board: Board, nodes: Sequence[Node], *, automatic: bool, **changes: Any) -> None:
    """The same for many, in their order."""
    for node in nodes:
        board.tx.save(replace(node.attempt, latest=False))
        board.tx.ring(f"attempt:{node.attempt.id}")
    fresh = [replace(_after(node.attempt, automatic, board.now), **changes) for node in nodes]
    for node, attempt in zip(nodes, board.tx.add_all(fresh), strict=True):
        node.attempt = attempt


def take_cancel_back(board: Board, nodes: Iterable[Node]) -> None:
    """A person who retries one of these wants its workflow to go on. What settle makes anew does not say
    so."""
    for flow in (board.flows[id] for id in {node.job.workflow_id for node in nodes}):
        if flow.is_canceled:
            extra = {key: value for key, value in flow.row.extra.items() if key != CANCELED}
            flow.row = replace(flow.row, extra=extra)
            board.tx.save(flow.row)


def _after(old: Attempt, automatic: bool, now: int) -> Attempt:
    return Attempt(
        id=0,
        job_id=old.job_id,
        run_id=old.run_id,
        project_id=old.project_id,
        number=old.number + 1,
        automatic=automatic,
        created_at=now,
        actor_id=old.actor_id,
        variables=old.variables,
        extra={INPUTS: old.extra[INPUTS]} if INPUTS in old.extra else {},
    )


def reopen_skipped(board: Board, nodes: Sequence[Node]) -> None:
    """Skipped jobs behind these get new attempts, never edits (reliability.md §8 row 37); their gates are
    asked again. Not those whose maker is over."""
    chosen: dict[int, Node] = {}
    for job_id in sorted(_behind(board, nodes)):  # makers before what they made
        node = board.nodes[job_id]
        makers = board.flows[node.job.workflow_id].makers(node)
        is_over = any(maker.is_done and maker.job.id not in chosen for maker in makers)
        if node.attempt.outcome is Outcome.SKIPPED and not is_over:
            chosen[job_id] = node
    reopen_all(board, list(chosen.values()), automatic=True)


def _behind(board: Board, nodes: Sequence[Node]) -> set[int]:
    """Job ids that look at one of these, directly or not."""
    found: set[int] = set()
    for flow in board.flows.values():
        mine = [node for node in nodes if node.job.workflow_id == flow.row.id]
        if mine:
            found |= flow.behind(mine)
    return found
