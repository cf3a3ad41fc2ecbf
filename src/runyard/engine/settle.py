"""Settle: after anything changed in a run, move what can move, and write the folds. Every verb ends here, in
the same transaction.

settle(tx, run_id, now, ended=()) -> Run. `ended` are attempts that this verb has just ended; their failures
stop siblings once, and their concurrency groups are released (which may settle other runs too). Never raises
for what a plan says: a broken gate errors its own attempt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar, assert_never

from runyard.engine.board import Board, child_of, load
from runyard.engine.drawing import TROUBLE, draw, facts_of
from runyard.engine.flow import Flow, Node
from runyard.engine.following import concerned, follow
from runyard.engine.gates import Answer, decide, need_facts
from runyard.engine.groups import enter, release
from runyard.engine.ports import Tx
from runyard.engine.rooms import has_room, makers_run
from runyard.engine.unfolding import unfold
from runyard.model.fold import Folded, fold_parents, fold_words
from runyard.model.plan import When
from runyard.model.state import Hold, Outcome, Reason, State
from runyard.model.work import Attempt, Run, Workflow

R = TypeVar("R", Run, Workflow)


def settle(tx: Tx, run_id: int, now: int, ended: Iterable[Attempt] = ()) -> Run:
    """The run after everything that could move has moved."""
    board = load(tx, run_id, now)
    for attempt in ended:
        node = board.nodes[attempt.job_id]
        if node.attempt.id == attempt.id:
            board.ended(node)
        elif (
            node.plan.concurrency is not None
        ):  # already retried: its failure is not final, but its place may be free
            board.groups.add(node.plan.concurrency.group)
    return finish_board(board)


def finish_board(board: Board) -> Run:
    """The same for a board that a verb has already moved on."""
    advance(board)
    run = write_folds(board)
    if board.groups or board.others or board.orphans:
        _others(board)
        run = board.tx.get(Run, run.id) or run
    board.hand_back()
    return run


def advance(board: Board) -> None:
    """Consequences of failures, then gates, until nothing new fails or is superseded. Each turn but the last
    ends at least one attempt, so it ends."""
    while True:
        board.restless = False
        follow(board)
        unfold(board)
        _consequences(board)
        for flow in board.flows.values():
            for node in flow.due():
                _ask(board, flow, node)
        if not (board.failed or board.restless or any(flow.has_due for flow in board.flows.values())):
            return


def _consequences(board: Board) -> None:
    failed, board.failed = board.failed, []
    for node in failed:
        if node.plan.fail_fast:
            flow = board.flows[node.job.workflow_id]
            for leg in flow.legs(node.plan.matrix_group):
                if leg.job.id != node.job.id:
                    board.cancel(leg, Reason.FAIL_FAST, f"Canceled because {node.job.name!r} failed.")
        origin = node.plan.origin
        if origin is not None and origin.fail_fast:
            for other in board.flows[node.job.workflow_id].made[origin.parent]:
                if other.plan.origin is not None and other.plan.origin.leg != origin.leg:
                    board.cancel(other, Reason.FAIL_FAST, f"Canceled because {node.job.name!r} failed.")
        if node.plan.fail_run:
            for other in board.nodes.values():
                board.cancel(other, Reason.FAIL_FAST, f"Canceled because {node.job.name!r} failed.")


def _ask(board: Board, flow: Flow, node: Node) -> None:
    decision = decide(flow, node)
    match decision.answer:
        case Answer.WAIT:
            pass
        case Answer.SKIP if flow.is_canceled:
            board.move(node, State.DONE, outcome=Outcome.CANCELED, reason=Reason.BY_USER)
        case Answer.SKIP:
            board.move(node, State.DONE, outcome=Outcome.SKIPPED, reason=Reason.GATE)
        case Answer.BROKEN:
            board.move(
                node,
                State.DONE,
                outcome=Outcome.ERRORED,
                reason=Reason.BAD_PLAN,
                message=decision.message,
            )
        case Answer.GO if node.plan.drawn is None or _is_drawn(board, flow, node):
            _start(board, flow, node)
        case Answer.GO:
            pass
        case _:
            assert_never(decision.answer)


def _is_drawn(board: Board, flow: Flow, node: Node) -> bool:
    """Fills in the job's templates now that all it looks at is done; one that cannot be filled in ends the
    attempt."""
    try:
        plan = draw(node.plan, facts_of(board.run, node.plan, need_facts(flow, node)))
    except TROUBLE as error:
        text = f"A field of this job cannot be filled in: {error}"[:1000]
        board.move(node, State.DONE, outcome=Outcome.ERRORED, reason=Reason.BAD_PLAN, message=text)
        return False
    if plan != node.plan:
        node.job, node.plan = replace(node.job, plan=plan, name=plan.name), plan
        board.tx.save(node.job)
    return True


def _start(board: Board, flow: Flow, node: Node) -> None:
    gate = node.plan.gate
    if not makers_run(flow, node):
        flow.turn_away(node)
    elif gate.when is When.MANUAL:
        board.move(node, State.HELD, hold=Hold.MANUAL)
        if node.plan.concurrency is not None:
            board.groups.add(node.plan.concurrency.group)  # nobody waits for who waits for a person
    elif gate.when is When.DELAYED:
        due = board.now + gate.delay_s * 1000
        board.move(node, State.HELD, hold=Hold.DELAYED, run_after_at=due)
    elif has_room(flow, node):
        enter(board, node)
        board.restless |= node.plan.unfold is not None
    else:
        flow.turn_away(node)


def write_folds(board: Board) -> Run:
    """Writes workflows and run where their fold changed, and rings."""
    tx = board.tx
    changed = False
    for flow in board.flows.values():
        row = _folded_workflow(flow, board.now)
        if row is not flow.row:
            tx.save(row)
            flow.row = row
            changed = True
    run = _folded_run(board.run, [flow.row for flow in board.flows.values()], board.now)
    board.others |= concerned(board.run, run)
    if changed or run is not board.run:
        run = replace(run, updated_at=max(board.now, run.updated_at))
        tx.save(run)
        tx.ring("runs")
    board.run = run
    tx.ring(f"run:{run.id}")
    return run


def show_running(tx: Tx, run: Run, workflow: Workflow, now: int) -> None:
    """Instead of a settle when one of the workflow's jobs begins to run: whatever the others are, the
    composite of both parents is RUNNING now (rule 8 in model/fold.py), and nothing else can move. So the
    first claim of a run does not read all its jobs."""
    running = Folded(State.RUNNING)
    shown = _with_fold(workflow, running, [now], [], now)
    if shown is not workflow:
        tx.save(shown)
    begun = _with_fold(run, running, [now], [], now)
    if begun is not run:
        tx.save(replace(begun, updated_at=max(now, begun.updated_at)))
    if shown is not workflow or begun is not run:
        tx.ring("runs")
    tx.ring(f"run:{run.id}")


def _folded_workflow(flow: Flow, now: int) -> Workflow:
    """A workflow without jobs keeps the state it was made with (error, skipped, or awaiting jobs)."""
    row = flow.row
    if not flow.nodes:
        return row
    folded = fold_words(frozenset(flow.stages.words))
    ended = [node.attempt.finished_at for node in flow.nodes] if folded.outcome else []
    ends = [at for at in ended if at is not None]
    return _with_fold(row, folded, [flow.begun_at] if flow.begun_at is not None else [], ends, now)


def _folded_run(run: Run, rows: list[Workflow], now: int) -> Run:
    folded = fold_parents(Folded(r.state, r.outcome, r.hold, r.warnings) for r in rows)
    started = [r.started_at for r in rows if r.started_at is not None]
    ends = [r.finished_at for r in rows if r.finished_at is not None]
    return _with_fold(run, folded, started, ends, now)


def _with_fold(row: R, folded: Folded, started: list[int], ends: list[int], now: int) -> R:
    """A retry reopens a row (no end again), but its first start stays. With nothing but optional manual jobs
    it ends though nothing ran."""
    begun = row.started_at if row.started_at is not None else min(started, default=None)
    ended = max(ends, default=row.finished_at or now) if folded.state is State.DONE else None
    new = (folded.state, folded.outcome, folded.hold, folded.warnings, begun, ended)
    if new == (row.state, row.outcome, row.hold, row.warnings, row.started_at, row.finished_at):
        return row
    return replace(
        row,
        state=folded.state,
        outcome=folded.outcome,
        hold=folded.hold,
        warnings=folded.warnings,
        started_at=begun,
        finished_at=ended,
    )


def _others(board: Board) -> None:
    """Releases the groups that someone may have left, ends runs whose bridge was ended, and settles the runs
    that this wakes, until all is quiet."""
    tx, now, own = board.tx, board.now, board.run.id
    groups = {(board.run.project_id, group) for group in board.groups}
    dirty, orphans = board.others - {own}, dict(board.orphans)
    known: Board | None = board  # until another run's settle has moved something of this one
    while groups or dirty or orphans:
        for project_id, group in sorted(groups):
            dirty |= release(tx, project_id, group, now, known)
        groups = set()
        for run_id in sorted(dirty | orphans.keys()):
            if tx.get(Run, run_id) is None:
                dirty, _ = dirty - {run_id}, orphans.pop(run_id, None)
                continue
            other = known.afresh() if known is not None and run_id == own else load(tx, run_id, now)
            if run_id in orphans:
                end_all(other, *orphans.pop(run_id))
            advance(other)
            write_folds(other)
            if own in other.others:
                known = None
            groups |= {(other.run.project_id, group) for group in other.groups}
            dirty, orphans = (dirty | other.others) - {run_id}, orphans | other.orphans


def end_all(board: Board, reason: Reason, message: str = "") -> None:
    """Cancels everything open in a run, workflows that await their jobs too, and what the children do that
    its bridges have started."""
    for node in board.nodes.values():
        child = child_of(node)
        board.cancel(node, reason, message)
        if child is not None:
            board.orphans[child] = (reason, message)
    end_empty(board, Outcome.CANCELED)


def end_empty(board: Board, outcome: Outcome) -> None:
    """Ends workflows that still await their jobs."""
    for flow in board.flows.values():
        if not flow.nodes and flow.row.state is not State.DONE:
            flow.row = replace(flow.row, state=State.DONE, outcome=outcome, finished_at=board.now)
            board.tx.save(flow.row)
