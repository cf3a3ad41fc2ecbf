"""What time brings. Verbs over one transaction; app's loop calls them, `housekeeping.py` joins those that
also touch blobs.

sweep(tx, now, terms, limit=100) -> int
    delayed starts, lost runners, deadlines, stuck queue; how many attempts moved
forgive(tx, now, terms, jumped_ms=0) -> int
    once at boot, and after a clock jump: every leased attempt gets a fresh lease
jumped(wall_before, wall_now, elapsed_ms) -> int
    how far the wall clock jumped between two looks; 0 when within 5 s
expire_artifacts(tx, now, limit=500) -> int
retire_runs(tx, now, terms, limit=50) -> int
to_seal(tx, limit, after_id=0) -> list[Attempt]
sealed(tx, attempt_id, blob, size_bytes, crc) -> bool
orphans(tx, keys) -> set[str]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runyard.engine.board import STOP_LIMIT_S, load
from runyard.engine.ending import end, lose, stopped_as
from runyard.engine.flow import Node
from runyard.engine.groups import enter
from runyard.engine.moves import NO_LEASE_AT
from runyard.engine.ports import ArtifactFilter, AttemptFilter, Page, RunFilter, Tx
from runyard.engine.settle import finish_board
from runyard.engine.terms import Terms
from runyard.model.state import LEASED, Hold, Outcome, Reason, State
from runyard.model.work import Artifact, Attempt, Run

JUMP_MS = 5000
_PAGE = 1000


def sweep(tx: Tx, now: int, terms: Terms, limit: int = 100) -> int:
    """Moves what is due. Called again at once when it answers `limit`."""
    moved = 0
    for attempt in tx.due(now, limit):
        fresh = tx.get(Attempt, attempt.id)
        moved += fresh is not None and _due(tx, fresh, now, terms)
    for attempt in tx.queued_before(now - terms.stuck_after_s * 1000, limit):
        fresh = tx.get(Attempt, attempt.id)  # an earlier one's end may have moved it
        if fresh is not None and fresh.state is State.QUEUED:
            text = f"No runner took this job within {terms.stuck_after_s} seconds."
            end(tx, fresh, Outcome.ERRORED, Reason.STUCK, now, message=text)
            moved += 1
    return moved


def _due(tx: Tx, attempt: Attempt, now: int, terms: Terms) -> bool:
    if attempt.state is State.HELD:
        return _start_delayed(tx, attempt, now)
    if attempt.state not in LEASED:
        return False
    if attempt.lease_until_at is not None and attempt.lease_until_at <= now:
        lose(tx, attempt, now, terms)
        return True
    if attempt.deadline_at is None or attempt.deadline_at > now:
        return False
    if attempt.state is State.STOPPING:
        outcome, reason = stopped_as(attempt)
        end(tx, attempt, outcome, reason, now, message=attempt.message)
    else:
        _time_out(tx, attempt, now)
    return True


def _start_delayed(tx: Tx, attempt: Attempt, now: int) -> bool:
    if attempt.hold is not Hold.DELAYED or attempt.run_after_at is None or attempt.run_after_at > now:
        return False
    board = load(tx, attempt.run_id, now)
    enter(board, board.nodes[attempt.job_id])
    finish_board(board)
    return True


def _time_out(tx: Tx, attempt: Attempt, now: int) -> None:
    """The runner should have ended it by itself; it is told to, and has STOP_LIMIT_S to say so."""
    board = load(tx, attempt.run_id, now)
    node: Node = board.nodes[attempt.job_id]
    board.move(
        node,
        State.STOPPING,
        reason=Reason.TIMEOUT,
        message="The job ran longer than its time limit.",
        deadline_at=now + STOP_LIMIT_S * 1000,
    )
    finish_board(board)


def forgive(tx: Tx, now: int, terms: Terms, jumped_ms: int = 0) -> int:
    """Silence while the server was away, or while the clock lied, is nobody's fault (reliability.md §2.7, §8
    rows 24 to 26)."""
    touched = 0
    soon = now + terms.lease_s * 1000
    for attempt in _in_states(tx, (State.RUNNING, State.STOPPING)):
        if attempt.lease_until_at == NO_LEASE_AT:
            continue
        deadline = attempt.deadline_at
        if deadline is not None:
            deadline = max(deadline + jumped_ms, soon)
        tx.save(replace(attempt, lease_until_at=soon, deadline_at=deadline))
        touched += 1
    if jumped_ms:
        for attempt in _in_states(tx, (State.HELD,)):
            if attempt.run_after_at is not None:
                tx.save(replace(attempt, run_after_at=attempt.run_after_at + jumped_ms))
    return touched


def _in_states(tx: Tx, states: tuple[State, ...]) -> list[Attempt]:
    wanted = AttemptFilter(wanted=tuple((state, None) for state in states))
    found: list[Attempt] = []
    last: int | None = None
    while True:
        page = tx.attempts(wanted, Page(limit=_PAGE, after_id=last, descending=False))
        found += [attempt for _, attempt in page]
        if len(page) < _PAGE:
            return found
        last = page[-1][1].id


def jumped(wall_before: int, wall_now: int, elapsed_ms: int) -> int:
    """Milliseconds that the wall clock moved beyond the monotonic one; small drift is no jump."""
    by = (wall_now - wall_before) - elapsed_ms
    return by if abs(by) > JUMP_MS else 0


def expire_artifacts(tx: Tx, now: int, limit: int = 500) -> int:
    """Removes rows whose life is over and notes it on their attempts, so that dependants can say why they
    cannot run."""
    rows = tx.artifacts(ArtifactFilter(expired_before_at=now), Page(limit=limit, descending=False))
    for row in rows:
        tx.remove(Artifact, row.id)
    for attempt_id in {row.attempt_id for row in rows}:
        attempt = tx.get(Attempt, attempt_id)
        if attempt is not None:
            tx.save(replace(attempt, extra={**attempt.extra, "artifacts_expired_at": now}))
    return len(rows)


def retire_runs(tx: Tx, now: int, terms: Terms, limit: int = 50) -> int:
    """Removes done runs older than the retention; 0 keeps all."""
    if terms.run_retention_s <= 0:
        return 0
    before = now - terms.run_retention_s * 1000
    old = tx.runs(
        RunFilter(wanted=((State.DONE, None),), updated_before_at=before),
        Page(limit=limit, descending=False),
    )
    for run in old:
        tx.remove(Run, run.id)
    if old:
        tx.ring("runs")
    return len(old)


def to_seal(tx: Tx, limit: int = 20, after_id: int = 0) -> list[Attempt]:
    """Ended attempts whose log still lies in chunks, the oldest first."""
    return tx.unsealed(limit, after_id)


def sealed(tx: Tx, attempt_id: int, blob: str, size_bytes: int, crc: int) -> bool:
    """Names the blob as the attempt's log and drops the chunks, in one transaction: readers see the same
    bytes before and after.

    False when the log is not what was sealed (erased meanwhile); then only chunks that nobody can read are
    dropped.
    """
    attempt = tx.get(Attempt, attempt_id)
    if attempt is None:
        return False
    if attempt.state is not State.DONE:
        return False
    if attempt.erased_at is not None or attempt.log_blob:
        tx.drop_log(attempt_id)
        return False
    if attempt.log_bytes != size_bytes:
        return False
    message = attempt.message
    if attempt.log_crc is not None and attempt.log_crc != crc and not message:
        message = "The log differs from what the runner sent (checksum)."
    tx.save(replace(attempt, log_blob=blob, message=message))
    tx.drop_log(attempt_id)
    tx.ring(f"attempt:{attempt_id}")
    return True


def orphans(tx: Tx, keys: Sequence[str]) -> set[str]:
    """Those keys that no row names."""
    return set(keys) - tx.blobs_in_use(keys)
