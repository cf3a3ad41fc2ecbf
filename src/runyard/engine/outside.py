"""Jobs that no runner may claim (`JobPlan.claimable` false): someone outside says how they go. Commit
statuses and bridges are such jobs.

begin(tx, attempt_id, now) -> Attempt
    QUEUED → RUNNING, with a lease that never ends
conclude(tx, attempt_id, outcome, now, **changes) -> Attempt
    any open state → DONE; Conflict once it is done
"""

from __future__ import annotations

from typing import Any

from runyard.engine.board import load
from runyard.engine.moves import NO_LEASE_AT
from runyard.engine.ports import Tx
from runyard.engine.settle import finish_board
from runyard.model.errors import Conflict, NotFound
from runyard.model.state import Outcome, Reason, State
from runyard.model.work import Attempt


def begin(tx: Tx, attempt_id: int, now: int) -> Attempt:
    """The attempt runs, elsewhere."""
    return _moved(tx, attempt_id, State.RUNNING, now, lease_until_at=NO_LEASE_AT)


def conclude(
    tx: Tx, attempt_id: int, outcome: Outcome, now: int, reason: Reason = Reason.NONE, **changes: Any
) -> Attempt:
    """The attempt has ended; what waits for it goes on."""
    return _moved(tx, attempt_id, State.DONE, now, outcome=outcome, reason=reason, **changes)


def _moved(tx: Tx, attempt_id: int, state: State, now: int, **changes: Any) -> Attempt:
    attempt = tx.get(Attempt, attempt_id)
    if attempt is None:
        raise NotFound(f"Attempt {attempt_id} does not exist.")
    board = load(tx, attempt.run_id, now)
    node = board.nodes[attempt.job_id]
    if node.attempt.id != attempt_id or node.plan.claimable or node.plan.unfold is not None:
        raise Conflict(f"Attempt {attempt_id} is not decided from outside.")
    board.move(node, state, **changes)
    moved = node.attempt
    finish_board(board)
    return moved
