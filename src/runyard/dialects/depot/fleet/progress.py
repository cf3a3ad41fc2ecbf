"""How a task goes, in the engine's verbs: rows of the log, states of steps, outputs, the end; and what the
runner is told (contracts/depot.md §8).

Rows are numbered from 0 and may come again; the attempt's `extra` keeps how many there are and where some of
them begin, so that a step's rows can be found as bytes. Functions of one transaction. Called by `door`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from protobuf.wkt import Timestamp

from runyard.dialects.depot.gen.runner.v1 import messages_pb as pb
from runyard.engine import dispatch
from runyard.engine.dispatch import Finish, Verdict
from runyard.engine.ports import Tx
from runyard.engine.terms import Terms
from runyard.model.errors import Conflict, Forbidden, Invalid
from runyard.model.state import Outcome, Reason, State
from runyard.model.work import Attempt, Job, Step

KEPT = "fleet"
MARKS = 2000
MOST_ROWS = 5000
ROW_BYTES = 1 << 20
OUTPUT_KEY, OUTPUT_BYTES = 255, 1 << 20
MOST_STEPS = 1000
_OUTCOMES = {
    pb.Result.SUCCESS: Outcome.PASSED,
    pb.Result.FAILURE: Outcome.FAILED,
    pb.Result.CANCELLED: Outcome.CANCELED,
    pb.Result.SKIPPED: Outcome.SKIPPED,
}


def take_rows(
    tx: Tx, attempt: Attempt, token: str, request: pb.UpdateLogRequest, now: int, terms: Terms
) -> int:
    """Appends the rows that are new; the number of rows that are there. A gap is not filled: the answer says
    from where to send."""
    if request.index < 0 or len(request.rows) > MOST_ROWS:
        raise Invalid(f"At most {MOST_ROWS} rows at once, from an index that is not negative.")
    kept: dict[str, Any] = dict(attempt.extra.get(KEPT) or {})
    have = int(kept.get("rows", 0))
    fresh = request.rows[have - request.index :] if request.index <= have else []
    if not fresh:
        return have
    pieces = [(_at(row.time, now), _line(row.content)) for row in fresh]
    marks = [*kept.get("marks", ()), [have, attempt.log_bytes]]
    at = attempt.log_bytes
    for moment, data in _by_second(pieces):
        reply = dispatch.log(tx, attempt.id, token, at, data, moment, terms)
        if not reply.accepted:
            return have + len(fresh)  # the log is full or the job has ended: nothing more is wanted
        at = reply.size
    current = tx.get(Attempt, attempt.id)
    if current is not None:
        tx.save(
            replace(
                current,
                extra={**current.extra, KEPT: {**kept, "rows": have + len(fresh), "marks": _thinned(marks)}},
            )
        )
        dispatch.beat(tx, attempt.id, token, now, terms)
    return have + len(fresh)


def _line(content: str) -> bytes:
    """One row is one line, whatever it holds."""
    return content.replace("\n", " ").encode("utf-8", "replace")[:ROW_BYTES] + b"\n"


def _at(time: Timestamp | None, now: int) -> int:
    """Milliseconds; a runner's clock that runs ahead is not followed."""
    return now if time is None else max(0, min(now, time.to_nanos() // 1_000_000))


def _by_second(pieces: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Lines of one second together, in their order."""
    found: list[tuple[int, bytearray]] = []
    for moment, data in pieces:
        if found and found[-1][0] // 1000 == moment // 1000:
            found[-1][1].extend(data)
        else:
            found.append((moment, bytearray(data)))
    return [(moment, bytes(data)) for moment, data in found]


def _thinned(marks: list[list[int]]) -> list[list[int]]:
    return marks if len(marks) <= MARKS else [*marks[:-1:2], marks[-1]]


def take_state(
    tx: Tx, attempt: Attempt, token: str, request: pb.UpdateTaskRequest, now: int, terms: Terms
) -> pb.UpdateTaskResponse:
    """Keeps the lease, notes steps and outputs, ends the attempt when the runner says so. CANCELLED in the
    answer means: stop."""
    state = request.state or pb.TaskState()
    if len(state.steps) > MOST_STEPS:
        raise Invalid(f"A task has at most {MOST_STEPS} steps.")
    try:
        reply = dispatch.beat(tx, attempt.id, token, now, terms)
    except Forbidden:
        return _answer(attempt.id, pb.Result.CANCELLED, ())
    if reply.verdict is Verdict.ABORT:
        return _answer(attempt.id, pb.Result.CANCELLED, request.outputs)
    outputs = _kept_outputs(tx, attempt.id, request)
    job = tx.get(Job, attempt.job_id)
    for step in state.steps:
        _note(tx, reply.attempt, job, token, step, now, terms)
    if state.result is pb.Result.UNSPECIFIED or state.result not in _OUTCOMES:
        told = pb.Result.CANCELLED if reply.verdict is Verdict.STOP else pb.Result.UNSPECIFIED
        return _answer(attempt.id, told, outputs)
    try:
        dispatch.finish(tx, attempt.id, token, _end(_OUTCOMES[state.result], outputs), now)
    except Conflict:
        return _answer(attempt.id, pb.Result.CANCELLED, outputs)
    return _answer(attempt.id, state.result, outputs)


def _answer(task_id: int, result: pb.Result, outputs: Any) -> pb.UpdateTaskResponse:
    return pb.UpdateTaskResponse(state=pb.TaskState(id=task_id, result=result), sent_outputs=sorted(outputs))


def _kept_outputs(tx: Tx, attempt_id: int, request: pb.UpdateTaskRequest) -> dict[str, str]:
    """All outputs so far. What is too long is acknowledged and left out, as at Gitea."""
    fresh = {
        k: v for k, v in request.outputs.items() if len(k) <= OUTPUT_KEY and len(v.encode()) <= OUTPUT_BYTES
    }
    current = tx.get(Attempt, attempt_id)
    assert current is not None  # noqa: S101 - it was leased a moment ago
    kept = dict(current.extra.get(KEPT) or {})
    outputs = {**(kept.get("outputs") or {}), **fresh}
    if sum(len(k) + len(v) for k, v in outputs.items()) > dispatch.OUTPUT_LIMIT_BYTES:
        raise Invalid("The outputs of a job may have at most 1 MiB together.")
    if fresh:
        tx.save(replace(current, extra={**current.extra, KEPT: {**kept, "outputs": outputs}}))
    return outputs


def _end(outcome: Outcome, outputs: dict[str, str]) -> Finish:
    match outcome:
        case Outcome.PASSED | Outcome.SKIPPED:
            return Finish(Outcome.PASSED, outputs=outputs)
        case Outcome.FAILED:
            return Finish(Outcome.FAILED, Reason.SCRIPT, outputs=outputs)
        case _:
            return Finish(
                Outcome.ERRORED, Reason.RUNNER_SYSTEM, message="The runner canceled the job.", outputs=outputs
            )


def _note(
    tx: Tx, attempt: Attempt, job: Job | None, token: str, step: pb.StepState, now: int, terms: Terms
) -> None:
    planned = job.plan.steps[step.id] if job is not None and 0 <= step.id < len(job.plan.steps) else None
    if planned is None:
        return  # set-up and tear-down of the runner's own are not among the file's steps
    if step.started_at is None and step.result is pb.Result.UNSPECIFIED:
        return
    outcome = _OUTCOMES.get(step.result)
    row = Step(
        attempt.id,
        step.id,
        planned.key,
        planned.name,
        state=State.RUNNING if outcome is None else State.DONE,
        outcome=outcome,
        started_at=None if step.started_at is None else _at(step.started_at, now),
        finished_at=None if outcome is None else _at(step.stopped_at, now),
        log_start=_offset(tx, attempt, step.log_index),
        log_end=None if outcome is None else _offset(tx, attempt, step.log_index + step.log_length),
    )
    known = next((one for one in tx.steps(attempt.id) if one.position == step.id), None)
    if known != row:
        dispatch.steps(tx, attempt.id, token, [row], now, terms)


def _offset(tx: Tx, attempt: Attempt, row: int) -> int:
    """Where a row begins in the log: from the nearest mark before it, line by line."""
    marks = (attempt.extra.get(KEPT) or {}).get("marks") or [[0, 0]]
    first, at = next((mark for mark in reversed(marks) if mark[0] <= row), [0, 0])
    left = max(0, row - first)
    for offset, data in tx.log_chunks(attempt.id, at, 1 << 20) if left else ():
        piece = data[max(0, at - offset) :]
        while left:
            end = piece.find(b"\n")
            if end < 0:
                at += len(piece)
                break
            at, piece, left = at + end + 1, piece[end + 1 :], left - 1
        if not left:
            break
    return min(int(at), attempt.log_bytes)
