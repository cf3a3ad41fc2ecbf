"""What must hold after every event, said independently of the engine's own code wherever that is possible."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sim_makers import made_rightly
from sim_plain import Blind, plainly

from runyard.engine import bridges
from runyard.engine.board import load
from runyard.engine.ending import GIVEN_BACK
from runyard.engine.flow import Flow
from runyard.engine.groups import ORDERED, RESOURCE_GROUPS
from runyard.engine.ports import AttemptFilter, Page, RunFilter, Tx
from runyard.engine.settle import settle
from runyard.model.fold import Folded, Share, fold, fold_parents
from runyard.model.plan import Follow, Order, When
from runyard.model.state import LEASED, MOVES, Hold, Outcome, Reason, State
from runyard.model.work import Attempt, Job, Run

Store = Any
"""SqliteStore or PostgresStore: `begin()` and `look()`."""

PAGE = Page(limit=5000, descending=False)
TABLES = ("runs", "workflows", "jobs", "attempts", "steps", "artifacts", "queue", "log_chunks", "projects")
ACTIVE = (State.QUEUED, State.RUNNING, State.STOPPING)
FAILED = (Outcome.FAILED, Outcome.ERRORED)


def fingerprint(store: Store) -> int:
    """A number for everything stored."""
    return hash(tuple(tuple(_rows(store, f"SELECT * FROM {t} ORDER BY 1, 2")) for t in TABLES))


def _rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    """Past the port, because what must not change includes what no method shows."""
    with store.look() as tx:
        return [tuple(row) for row in tx._link.rows(sql)]


class WatchTx:
    """A Tx that checks every move as it is written, and can die at its n-th call."""

    def __init__(self, tx: Tx, dies_after: int | None = None, death: type[BaseException] = Exception) -> None:
        self._tx = tx
        self._left = dies_after
        self._death = death

    def __getattr__(self, name: str) -> Any:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise self._death
        return getattr(self._tx, name)

    def save(self, row: Any) -> None:
        if isinstance(row, Attempt):
            before = self._tx.get(Attempt, row.id)
            assert before is not None
            _moves_rightly(self._tx, before, row)
        self.__getattr__("save")(row)


def _moves_rightly(tx: Tx, before: Attempt, after: Attempt) -> None:
    if before.state is not after.state:
        assert after.state in MOVES[before.state], f"{before.state} became {after.state}"
        if before.state is State.STOPPING:
            wanted = Outcome.FAILED if before.reason is Reason.TIMEOUT else Outcome.CANCELED
            assert after.outcome is wanted, f"a stopping attempt ended as {after.outcome}"
        if before.state is State.WAITING:
            _gate_was_open(tx, before, after)
    elif before.state is State.DONE:
        kept = (
            "outcome",
            "reason",
            "exit_code",
            "finished_at",
            "started_at",
            "number",
            "outputs",
            "tolerated",
        )
        assert all(getattr(before, k) == getattr(after, k) for k in kept), "an ended attempt was edited"
    assert not (after.state is State.DONE and after.lease_until_at), "a lease outlived its attempt"


def _gate_was_open(tx: Tx, before: Attempt, after: Attempt) -> None:
    """A job leaves WAITING only when all it looks at is done, and in the direction that GitLab's table
    gives."""
    if after.outcome is Outcome.CANCELED:
        return
    graph = tx.graph(after.run_id)
    job = next(j for j, _ in graph if j.id == after.job_id)
    if after.number > 1 and (job.plan.bridge or job.plan.unfold) and after.state is not State.DONE:
        return  # it opens again to show what goes on below it already, whatever its own gate waits for
    prior = [(j, a) for j, a in graph if j.workflow_id == job.workflow_id and _looks_at(job, j)]
    expression = job.plan.gate.expression
    for other, attempt in prior:
        ignored = attempt.hold is Hold.MANUAL and other.plan.allow_failure and expression is None
        assert attempt.state is State.DONE or ignored or after.state is State.DONE, (
            f"{job.key} started before {other.key} was done"
        )
    if job.plan.drawn is not None and after.reason is Reason.BAD_PLAN:
        return  # its gate was open, but a field could not be filled in
    if expression is not None or (after.number > 1 and after.state is not State.DONE):
        return
    bad = any(a.outcome in FAILED and not a.tolerated for _, a in prior)
    stopped = any(a.outcome is Outcome.CANCELED and not a.tolerated for _, a in prior)
    skipped = any(a.outcome is Outcome.SKIPPED for _, a in prior)
    dag = job.plan.gate.order is Order.NEEDS
    goes = after.state is not State.DONE
    match job.plan.gate.when:
        case When.ON_SUCCESS | When.MANUAL | When.DELAYED:
            if goes:
                assert not bad and not stopped and not (dag and skipped), f"{job.key} started after a failure"
            else:
                ignored = any(a.state is State.HELD for _, a in prior)
                assert bad or stopped or (dag and (skipped or ignored)), (
                    f"{job.key} was skipped after success"
                )
        case When.ON_FAILURE:
            assert not goes or bad, f"{job.key} started although nothing failed"
        case When.ALWAYS:
            assert goes or stopped, f"{job.key} was skipped although it runs always"


def _looks_at(job: Job, other: Job) -> bool:
    if job.plan.gate.order is Order.STAGE and job.plan.gate.expression is None:
        return other.plan.stage_index < job.plan.stage_index
    names = {need.group for need in job.plan.needs}
    return other.plan.key in names or other.plan.matrix_group in names


def everything(
    store: Store, logs: dict[int, bytes], blobs: dict[str, bytes], now: int, followed: Collection[int]
) -> None:
    with store.look() as tx:
        rows = tx.attempts(AttemptFilter(), PAGE)
        runs = tx.runs(RunFilter(), PAGE)
        _attempts(rows)
        _retries(rows)
        _groups(rows, _modes(tx))
        _legs(rows)
        _unfolded(rows)
        made_rightly(rows, followed)
        _folds(tx, runs, rows)
        _bridges(runs, rows)
        _logs(tx, rows, logs, blobs)
        for run in runs:
            older = [r for r in runs if r.project_id == run.project_id and r.number == run.number]
            assert len(older) == 1, "two runs have the same number"
    _queue(store, rows)
    _kept(store, runs, now)
    _quiet(store, runs, now)


def _attempts(rows: Sequence[tuple[Job, Attempt]]) -> None:
    by_job: dict[int, list[Attempt]] = defaultdict(list)
    by_id = {job.id: job for job, _ in rows}
    for job, a in rows:
        by_job[job.id].append(a)
        assert (a.state in LEASED) == (a.lease_until_at is not None), "lease and state disagree"
        assert (a.state is State.DONE) == (a.outcome is not None) == (a.finished_at is not None)
        assert (a.state is State.HELD) == (a.hold is not None), "hold and state disagree"
        assert (a.hold is Hold.DELAYED) == (a.run_after_at is not None)
        assert not (a.state in LEASED and not a.token_hash and job.plan.claimable), (
            "a running attempt has no token"
        )
        if a.started_at is not None and a.finished_at is not None:
            assert a.finished_at >= a.started_at, "an attempt took less than no time"
        if a.state is State.DONE:
            codes = a.outcome is Outcome.FAILED and a.exit_code in job.plan.allow_failure_exit_codes
            bad = a.outcome in (*FAILED, Outcome.CANCELED)
            assert a.tolerated == (bad and (job.plan.allow_failure or codes)), "tolerated is wrong"
    for tries in by_job.values():
        assert [a.number for a in tries] == list(range(1, len(tries) + 1)), "attempt numbers have a gap"
        retired = by_id[tries[0].job_id].plan.origin is not None and not tries[-1].latest
        assert not any(a.latest for a in tries[:-1]) and (retired or tries[-1].latest), "latest is wrong"
        assert not retired or tries[-1].state is State.DONE, "a retired job is open"
        assert all(a.state is State.DONE for a in tries[:-1]), "two attempts of a job are open"


def _retries(rows: Sequence[tuple[Job, Attempt]]) -> None:
    """Lost attempts come back at most twice, and never when the job forbids it."""
    lost: dict[int, int] = Counter()
    last: dict[int, Attempt] = {}
    for job, a in rows:
        before = last.get(job.id)
        if before is not None and a.automatic and before.reason is Reason.RUNNER_LOST:
            lost[job.id] += not before.extra.get(GIVEN_BACK)  # a runner that shut down lost nothing
            assert job.plan.requeue_lost, "a job that forbids it was handed out again"
            assert lost[job.id] <= 2, "a lost job was handed out too often"
        elif before is not None and not a.automatic:
            lost[job.id] = 0
        if before is not None and a.automatic and before.outcome is Outcome.CANCELED:
            raise AssertionError("a canceled attempt came back by itself")
        last[job.id] = a
    for job, a in rows:
        if a.latest and a.reason is Reason.RUNNER_LOST and job.plan.requeue_lost:
            assert lost[job.id] == 2, "a lost job was not handed out again"


def _modes(tx: Tx) -> dict[str, str]:
    return {g: m for p in tx.projects("", PAGE) for g, m in p.extra.get(RESOURCE_GROUPS, {}).items()}


def _groups(rows: Sequence[tuple[Job, Attempt]], modes: dict[str, str]) -> None:
    active: dict[str, set[tuple[str, int]]] = defaultdict(set)
    taken: set[str] = set()
    held: set[str] = set()
    turns: dict[str, list[tuple[int, bool, int]]] = defaultdict(list)  # who is next where runs go in order
    for job, a in rows:
        rule = job.plan.concurrency
        if rule is not None and a.state in ACTIVE:
            taken.add(rule.group)
        if rule is None or (a.number > 1 and job.plan.bridge and a.state is State.RUNNING):
            # a bridge whose run goes on again is not asked: its run does already; others wait for it as for
            # anybody
            continue
        if a.state is State.WAITING or a.hold in (Hold.CONCURRENCY, Hold.DELAYED):
            sign = -1 if modes.get(rule.group) == "newest_first" else 1
            turns[rule.group].append((sign * a.run_id, a.hold is not Hold.CONCURRENCY, a.id))
        if a.state in ACTIVE:
            active[rule.group].add(("w", job.workflow_id) if rule.by_workflow else ("a", a.id))
        elif a.hold is Hold.CONCURRENCY:
            held.add(rule.group)
    assert all(len(owners) <= 1 for owners in active.values()), "a concurrency group has two members at work"
    free = held - taken
    assert all(modes.get(group) in ORDERED and min(turns[group])[1] for group in free), (
        "a concurrency group is free, yet someone waits for it"
    )


def _legs(rows: Sequence[tuple[Job, Attempt]]) -> None:
    """Of a matrix, and of a leg that is several jobs; not counted is a bridge that opens again to show what
    goes on below it."""
    active: dict[tuple[int, str], set[int]] = defaultdict(set)
    limits: dict[tuple[int, str], int] = {}
    for job, a in rows:
        key = (job.workflow_id, job.plan.matrix_group)
        if job.plan.max_parallel is not None and job.plan.gate.when not in (When.MANUAL, When.DELAYED):
            limits[key] = job.plan.max_parallel
        if a.state in ACTIVE and not (a.number > 1 and job.plan.bridge):
            active[key].add(job.id)
        origin = job.plan.origin
        if origin is not None and origin.max_parallel is not None:
            key = (job.workflow_id, f"made by {origin.parent}")
            limits[key] = origin.max_parallel
            active[key] |= {origin.leg} if a.state in ACTIVE else set()
    assert all(len(active[key]) <= most for key, most in limits.items()), "more legs work than max_parallel"


def _unfolded(rows: Sequence[tuple[Job, Attempt]]) -> None:
    """What a job has made is open exactly while the job is, and its end is theirs."""
    made: dict[tuple[int, str], list[tuple[Job, Attempt]]] = defaultdict(list)
    for job, a in rows:
        if a.latest and job.plan.origin is not None:
            made[job.workflow_id, job.plan.origin.parent].append((job, a))
    for job, a in rows:
        if job.plan.unfold is None or not a.latest:
            continue
        below = made[job.workflow_id, job.key]
        assert a.state is not State.QUEUED, "a job that unfolds was left in the queue"
        ends = (State.DONE, State.STOPPING)
        open_ = {b.state for _, b in below} - {State.DONE}
        at_work = {b.state for j, b in below if b.state not in ends and j.plan.unfold is None}
        if a.state is State.RUNNING:
            assert open_, "a job that unfolds runs though nothing is left of what it made"
        elif a.state is State.DONE:
            assert not at_work, "a job that unfolds ended before what it made"
        else:
            assert at_work <= {State.WAITING}, "a part works although its maker does not"
        if a.outcome is Outcome.PASSED:
            assert below, "a job that unfolds passed without having made anything"
            assert all(b.outcome not in FAILED or b.tolerated for _, b in below), (
                "it passed, what it made did not"
            )


def _folds(tx: Tx, runs: Sequence[Run], rows: Sequence[tuple[Job, Attempt]]) -> None:
    latest: dict[int, list[tuple[Job, Attempt]]] = defaultdict(list)
    for job, a in rows:
        if a.latest:
            latest[job.workflow_id].append((job, a))
    for run in runs:
        flows = tx.workflows(run.id)
        for flow in flows:
            shares = [
                Share(a.state, a.outcome, a.hold, a.tolerated if a.outcome else j.plan.allow_failure)
                for j, a in latest[flow.id]
            ]
            shown = Folded(flow.state, flow.outcome, flow.hold, flow.warnings)
            if shares:
                assert shown == fold(shares), "a workflow does not show its jobs"
            assert (flow.state is State.DONE) == (flow.finished_at is not None)
        wanted = fold_parents(Folded(f.state, f.outcome, f.hold, f.warnings) for f in flows)
        assert Folded(run.state, run.outcome, run.hold, run.warnings) == wanted, (
            "a run does not show its workflows"
        )
        assert (run.state is State.DONE) == (run.finished_at is not None), "a run's end and state disagree"


def _logs(
    tx: Tx, rows: Sequence[tuple[Job, Attempt]], logs: dict[int, bytes], blobs: dict[str, bytes]
) -> None:
    for _, a in rows:
        wanted = logs.get(a.id, b"")
        if a.log_blob:
            got = blobs[a.log_blob]
            assert not tx.log_chunks(a.id, 0, 1), "chunks outlived the sealed log"
        else:
            chunks = tx.log_chunks(a.id, 0, 1 << 20)
            ends = [offset + len(data) for offset, data in chunks]
            assert [offset for offset, _ in chunks] == [0, *ends][: len(chunks)], (
                "the log has a gap or an overlap"
            )
            got = b"".join(data for _, data in chunks)
        assert got == wanted and a.log_bytes == len(wanted), "the log is not what was sent"


def _queue(store: Store, rows: Sequence[tuple[Job, Attempt]]) -> None:
    queued = {id for (id,) in _rows(store, "SELECT attempt_id FROM queue")}
    open_ = {
        (a.id, job.plan.bridge is None and job.plan.unfold is None)
        for job, a in rows
        if a.state is State.QUEUED
    }
    assert queued == {id for id, claimable in open_ if claimable}, "queue and states disagree"
    with store.look() as tx:
        waiting = set(bridges.waiting(tx, 1000))
    assert waiting == {id for id, claimable in open_ if not claimable}, "bridges and states disagree"


def _bridges(runs: Sequence[Run], rows: Sequence[tuple[Job, Attempt]]) -> None:
    """A bridge runs exactly while its run does; no run has two bridges, and no bridge's run is forgotten."""
    by_id = {run.id: run for run in runs}
    started = [run.extra["upstream"]["attempt_id"] for run in runs if "upstream" in run.extra]
    assert len(set(started)) == len(started), "a bridge started two runs"
    for job, a in rows:
        if job.plan.bridge is None:
            continue
        assert not a.token_hash and a.runner_id is None, "a runner took a bridge"
        run = by_id.get(a.extra.get("downstream_run_id", 0))
        if a.state is State.RUNNING:
            assert run is not None and run.state is not State.DONE, "a bridge runs though its run does not"
            assert job.plan.bridge.follow is not Follow.NONE, "a bridge runs that follows nothing"
        elif a.latest and run is not None and job.plan.bridge.follow is not Follow.NONE:
            assert run.state is State.DONE or a.outcome is Outcome.CANCELED, "a bridge ended before its run"


def _quiet(store: Store, runs: Sequence[Run], now: int) -> None:
    """Nothing that could move was forgotten: settling again, by plain recomputation of what is stored,
    changes nothing."""
    with store.begin() as tx, plainly():
        before = {r.id: (r, tx.workflows(r.id), [a for _, a in tx.graph(r.id)]) for r in runs}
        for run in runs:
            if run.state is not State.DONE:
                settle(Blind(tx), run.id, now)
        after = {r.id: (tx.get(Run, r.id), tx.workflows(r.id), [a for _, a in tx.graph(r.id)]) for r in runs}
        assert before == after, "something could move and was forgotten"


def _kept(store: Store, runs: Sequence[Run], now: int) -> None:
    """What the store keeps of a run between transactions is what it would read, and its counts are those of a
    fresh reading.

    The boards that this leaves with the store are what later verbs begin from.
    """
    with store.begin() as tx:
        for run in runs:
            board = load(tx, run.id, now)
            if hasattr(store, "kept"):
                for known in store.kept.of(run.id).stored.values():
                    assert known == tx.get(Attempt, known.id), "a row is not stored as the store believes"
            fresh = load(Blind(tx), run.id, now)
            kept = {n.job.id: n.attempt for n in board.nodes.values()}
            assert kept == {j.id: a for j, a in tx.graph(run.id)}, "a kept board is not what is stored"
            for id, flow in board.flows.items():
                assert _counts(flow) == _counts(fresh.flows[id]), "a kept board counts wrongly"


def _counts(flow: Flow) -> tuple[object, ...]:
    at_work = {parent: legs for parent, legs in flow.turns.legs_at_work.items() if legs}
    stages = sorted({node.plan.stage_index for node in flow.nodes})
    asked = {n.job.id: n.is_waiting and flow.may_be_asked(n) for n in flow.nodes}
    return (
        +flow.taken,
        +flow.open_parts,
        flow.stages.words,
        at_work,
        [flow.before(s) for s in stages],
        asked,
    )
