"""How a bridge follows its run, and how an end goes down to it: settle asks `follow` for every open board,
`concerned` whom a change concerns.

A followed run that is opened again (one of its jobs was retried) opens its bridge again, as a new attempt of
it; so the parent waits once more.
"""

from __future__ import annotations

from runyard.engine.board import DOWNSTREAM, FOLLOWERS, UPSTREAM, Board
from runyard.engine.flow import Node
from runyard.engine.moves import NO_LEASE_AT
from runyard.engine.reopening import reopen, reopen_skipped
from runyard.model.plan import Follow
from runyard.model.state import Outcome, Reason, State
from runyard.model.work import Run

_DEPENDS: dict[Outcome, Outcome] = {
    Outcome.PASSED: Outcome.PASSED,
    Outcome.CANCELED: Outcome.CANCELED,
    Outcome.FAILED: Outcome.FAILED,
    Outcome.ERRORED: Outcome.FAILED,
    Outcome.SKIPPED: Outcome.FAILED,
}
_MIRRORS: dict[Outcome, Outcome] = _DEPENDS | {Outcome.SKIPPED: Outcome.SKIPPED}


def follow(board: Board) -> None:
    """Ends running bridges whose run has ended; opens ended ones again whose run goes on."""
    for node in [node for flow in board.flows.values() for node in flow.bridges]:
        bridge = node.plan.bridge
        run_id = node.attempt.extra.get(DOWNSTREAM) if bridge is not None else None
        if bridge is None or run_id is None or bridge.follow is Follow.NONE:
            continue
        run = board.tx.get(Run, run_id)
        if node.attempt.state is State.RUNNING:
            _end(board, node, run, _MIRRORS if bridge.follow is Follow.MIRROR else _DEPENDS)
        elif node.is_done and run is not None and run.state is not State.DONE:
            _again(board, node, run)


def _end(board: Board, node: Node, run: Run | None, shown: dict[Outcome, Outcome]) -> None:
    if run is None:
        text = "The pipeline that this job follows was removed."
        board.move(node, State.DONE, outcome=Outcome.ERRORED, reason=Reason.DOWNSTREAM_MISSING, message=text)
    elif run.state is State.DONE and run.outcome is not None:
        board.move(node, State.DONE, outcome=shown[run.outcome])


def _again(board: Board, node: Node, run: Run) -> None:
    """Not for a bridge that was canceled: that was somebody's wish for the bridge itself."""
    if node.attempt.outcome is Outcome.CANCELED:
        return
    extra = dict(node.attempt.extra)
    reopen(board, node, automatic=True, extra=extra)
    board.move(node, State.QUEUED)
    board.move(node, State.RUNNING, lease_until_at=NO_LEASE_AT)
    reopen_skipped(board, [node])


def concerned(before: Run, after: Run) -> set[int]:
    """Runs above whose bridges must look: those of a run that has just ended, or goes on after its end."""
    if (before.state is State.DONE) == (after.state is State.DONE):
        return set()
    above = after.extra.get(UPSTREAM)
    followers = {int(run_id) for run_id in after.extra.get(FOLLOWERS, ())}
    return followers | {int(above["run_id"])} if above else followers
