"""What the verbs on whole runs cost per job: processor time of each with few and with many jobs, in one
transaction on a store in memory. The ratio is the growth per job; a verb that is linear keeps it near 1."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.figures import Figure
from runyard.engine import control, dispatch, trigger, upkeep
from runyard.engine.dispatch import Finish
from runyard.engine.ports import AttemptFilter, Page, Tx
from runyard.engine.terms import Terms
from runyard.model.plan import Assignment, Gate, JobPlan, Need, Order, Plan, When, WorkflowPlan
from runyard.model.state import Outcome
from runyard.model.trigger import Trigger
from runyard.model.work import Attempt, Project, Run, Runner, User
from runyard.store.sqlite import SqliteStore
from runyard.store.vault import AesVault

SIZES = (200, 2_000, 10_000)
GROWTH = 1.5
JOBS_AT_LEAST = 10_000  # of one size are timed in all, so that few are not measured by one short run
_ALL = Page(limit=SIZES[-1] + 1, descending=False)


def _alike(jobs: int) -> list[JobPlan]:
    return [JobPlan(f"j{i}", f"j{i}") for i in range(jobs)]


def _manual(jobs: int) -> list[JobPlan]:
    return [JobPlan(f"j{i}", f"j{i}", gate=Gate(when=When.MANUAL)) for i in range(jobs)]


def _staged(jobs: int) -> list[JobPlan]:
    """One job, then a stage of all others."""
    staged = Gate(order=Order.STAGE)
    later = [JobPlan(f"j{i}", f"j{i}", stage_index=1, gate=staged) for i in range(jobs - 1)]
    return [JobPlan("first", "first", gate=staged), *later]


def _fan_out(jobs: int) -> list[JobPlan]:
    first = (Need("first"),)
    return [JobPlan("first", "first"), *(JobPlan(f"j{i}", f"j{i}", needs=first) for i in range(jobs - 1))]


def _fan_in(jobs: int) -> list[JobPlan]:
    before = _alike(jobs - 1)
    return [*before, JobPlan("last", "last", needs=tuple(Need(job.key) for job in before))]


@dataclass
class Bench:
    """A store with one project, and the processor time that was counted."""

    jobs: int
    now: int = 1000
    seconds: float = 0.0
    store: SqliteStore = field(default_factory=lambda: SqliteStore(":memory:"))

    def __post_init__(self) -> None:
        with self.store.begin() as tx:
            self.user, self.project = tx.add(User(0, "root")), tx.add(Project(0, "g/p", "p"))
            self.runner = tx.add(Runner(0, "one", stock=False))
        self.terms = Terms(jobs_per_run=self.jobs)
        self.vault = AesVault("bench")

    @contextmanager
    def timed(self) -> Iterator[Tx]:
        """A transaction that counts."""
        gc.collect()
        start = time.process_time()
        with self.store.begin() as tx:
            yield tx
        self.seconds += time.process_time() - start

    def accept(self, tx: Tx, plans: Sequence[JobPlan], sha: str = "a" * 40) -> Run:
        self.now += 1
        plan = Plan((WorkflowPlan("w", jobs=tuple(plans)),), supersedes="conservative")
        ask = Trigger(self.project, "gitlab", "push", "main", sha, self.user, self.now)
        return trigger.accept(tx, ask, plan, self.now, self.terms)

    def run_of(self, plans: Sequence[JobPlan]) -> int:
        with self.store.begin() as tx:
            return self.accept(tx, plans).id

    def claim(self) -> Assignment:
        with self.store.begin() as tx:
            got = dispatch.claim(tx, self.runner, str, self.now, self.terms, self.vault)
        assert got is not None
        return got

    def finish(self, tx: Tx, got: Assignment) -> None:
        dispatch.finish(tx, got.attempt_id, got.token, Finish(Outcome.PASSED), self.now)


def _create(bench: Bench) -> None:
    plans = _alike(bench.jobs)
    with bench.timed() as tx:
        bench.accept(tx, plans)


def _first_claim(bench: Bench) -> None:
    bench.run_of(_alike(bench.jobs))
    with bench.timed() as tx:
        assert dispatch.claim(tx, bench.runner, str, bench.now, bench.terms, bench.vault) is not None


def _cancel(bench: Bench) -> None:
    run_id = bench.run_of(_alike(bench.jobs))
    with bench.timed() as tx:
        assert control.cancel_run(tx, run_id, bench.now).outcome is Outcome.CANCELED


def _retry(bench: Bench) -> None:
    run_id = bench.run_of(_alike(bench.jobs))
    with bench.store.begin() as tx:
        control.cancel_run(tx, run_id, bench.now)
    with bench.timed() as tx:
        assert control.retry_run(tx, run_id, bench.now).outcome is None


def _delete(bench: Bench) -> None:
    run_id = bench.run_of(_alike(bench.jobs))
    with bench.timed() as tx:
        control.delete_run(tx, run_id, bench.now)
        assert tx.get(Run, run_id) is None


def _play(bench: Bench) -> None:
    run_id = bench.run_of(_manual(bench.jobs))
    for attempt in _attempts(bench, run_id):
        with bench.store.begin() as tx:
            start = time.process_time()
            control.play(tx, attempt.id, bench.now)
            bench.seconds += time.process_time() - start


def _supersede(bench: Bench) -> None:
    run_id = bench.run_of(_alike(bench.jobs))
    with bench.timed() as tx:
        bench.accept(tx, _alike(1), sha="b" * 40)
        old = tx.get(Run, run_id)
        assert old is not None and old.outcome is Outcome.CANCELED


def _first_ends(plans: Callable[[int], list[JobPlan]]) -> Callable[[Bench], None]:
    """The first job's end lets all others go."""

    def measured(bench: Bench) -> None:
        bench.run_of(plans(bench.jobs))
        got = bench.claim()
        with bench.timed() as tx:
            bench.finish(tx, got)

    return measured


def _ends(plans: Callable[[int], list[JobPlan]]) -> Callable[[Bench], None]:
    """All jobs that can begin are claimed and end, one after the other."""

    def measured(bench: Bench) -> None:
        bench.run_of(plans(bench.jobs))
        start = time.process_time()
        for _ in range(bench.jobs):
            got = bench.claim()
            with bench.store.begin() as tx:
                bench.finish(tx, got)
        bench.seconds += time.process_time() - start

    return measured


def _retention(bench: Bench) -> None:
    """As many runs of one job."""
    for _ in range(bench.jobs):
        run_id = bench.run_of(_alike(1))
        with bench.store.begin() as tx:
            control.cancel_run(tx, run_id, bench.now)
    start = time.process_time()
    removed = 1
    while removed:
        with bench.store.begin() as tx:
            removed = upkeep.retire_runs(tx, bench.now + 10_000, Terms(run_retention_s=1))
    bench.seconds += time.process_time() - start


def _attempts(bench: Bench, run_id: int) -> list[Attempt]:
    with bench.store.look() as tx:
        return [attempt for _, attempt in tx.attempts(AttemptFilter(run_id=run_id), _ALL)]


VERBS: dict[str, Callable[[Bench], None]] = {
    "create a run": _create,
    "the first claim": _first_claim,
    "cancel a run": _cancel,
    "retry a run": _retry,
    "delete a run": _delete,
    "a push cancels the run before": _supersede,
    "play every manual job": _play,
    "a stage begins": _first_ends(_staged),
    "needs fan out": _first_ends(_fan_out),
    "claim and end each job, needs fan in": _ends(_fan_in),
    "claim and end each job of a stage": _ends(_staged),
    "retention, runs of one job": _retention,
}


def per_job_ms(verb: Callable[[Bench], None], jobs: int) -> float:
    """Processor time for each of this many jobs, in milliseconds; the best of three."""
    found = []
    for _ in range(3):
        seconds = done = 0.0
        while done < JOBS_AT_LEAST:
            bench = Bench(jobs)
            verb(bench)
            bench.store.close()
            seconds, done = seconds + bench.seconds, done + jobs
        found.append(seconds / done * 1000)
    return min(found)


def verbs() -> Iterator[Figure]:
    """Each verb at each size against the smallest."""
    for name, verb in VERBS.items():
        few = per_job_ms(verb, SIZES[0])
        for jobs in SIZES[1:]:
            many = per_job_ms(verb, jobs)
            yield Figure(
                f"{name}, {jobs:,} jobs, each",
                f"{many:.3f} ms",
                f"{few:.3f} ms ({SIZES[0]} jobs)",
                many / few,
                GROWTH,
            )
