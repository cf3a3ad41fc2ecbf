"""What one job's end costs while others wait: processor time of `dispatch.finish` with 100 and with 10,000
waiting jobs, in a store in memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from bench.figures import Figure
from runyard.engine import dispatch, trigger
from runyard.engine.dispatch import Finish
from runyard.engine.terms import Terms
from runyard.model.plan import Concurrency, Gate, JobPlan, Need, Order, Plan, WorkflowPlan
from runyard.model.state import Outcome
from runyard.model.trigger import Trigger
from runyard.model.work import Project, Runner, User
from runyard.store.sqlite import SqliteStore
from runyard.store.vault import AesVault

FEW, MANY, ENDS, WARM = 100, 10_000, 20, 3
FIRST = 40  # jobs that are queued at once, and whose ends are timed


def _by_stage(waiting: int) -> list[JobPlan]:
    staged = Gate(order=Order.STAGE)
    first = [JobPlan(f"b{i}", f"b{i}", gate=staged) for i in range(FIRST)]
    return first + [JobPlan(f"t{i}", f"t{i}", stage_index=1, gate=staged) for i in range(waiting)]


def _by_needs(waiting: int) -> list[JobPlan]:
    last = (Need(f"b{FIRST - 1}"),)
    first = [JobPlan(f"b{i}", f"b{i}") for i in range(FIRST)]
    return first + [JobPlan(f"t{i}", f"t{i}", needs=last) for i in range(waiting)]


def _by_condition(waiting: int) -> list[JobPlan]:
    last = (Need(f"b{FIRST - 1}"),)
    first = [JobPlan(f"b{i}", f"b{i}") for i in range(FIRST)]
    condition = Gate(expression="success()")
    return first + [JobPlan(f"t{i}", f"t{i}", needs=last, gate=condition) for i in range(waiting)]


def _by_room(waiting: int) -> list[JobPlan]:
    return [JobPlan(f"t{i}", f"t{i}", group="t", max_parallel=4) for i in range(waiting)]


def _by_group(waiting: int) -> list[JobPlan]:
    return [JobPlan(f"t{i}", f"t{i}", concurrency=Concurrency("g")) for i in range(waiting)]


SHAPES: dict[str, Callable[[int], list[JobPlan]]] = {
    "their stage": _by_stage,
    "a need": _by_needs,
    "a condition": _by_condition,
    "max_parallel": _by_room,
    "a concurrency group": _by_group,
}


def _end_ms(plans: list[JobPlan]) -> float:
    """Median processor time of one end, in milliseconds."""
    store, vault = SqliteStore(":memory:"), AesVault("bench")
    terms = Terms(jobs_per_run=len(plans))
    with store.begin() as tx:
        user, project = tx.add(User(0, "root")), tx.add(Project(0, "g/p", "p"))
        runner = tx.add(Runner(0, "one", stock=False))
    ask = Trigger(project, "gitlab", "api", "main", "a" * 40, user, 1)
    with store.begin() as tx:
        trigger.accept(tx, ask, Plan((WorkflowPlan("w", jobs=tuple(plans)),)), 1000, terms)
    seconds = []
    for i in range(WARM + ENDS):
        with store.begin() as tx:
            got = dispatch.claim(tx, runner, str, 2000 + i, terms, vault)
        assert got is not None
        start = time.process_time()
        with store.begin() as tx:
            dispatch.finish(tx, got.attempt_id, got.token, Finish(Outcome.PASSED), 2000 + i)
        seconds.append(time.process_time() - start)
    store.close()
    return statistics.median(seconds[WARM:]) * 1000


def settle() -> Sequence[Figure]:
    """Many over few: an end that nobody waits for should cost the same."""
    found = []
    for name, shape in SHAPES.items():
        few, many = _end_ms(shape(FEW)), _end_ms(shape(MANY))
        limit = (
            8 if name == "a concurrency group" else 3
        )  # the index of a group's members says nothing of their states
        found.append(
            Figure(
                f"one end, {MANY:,} waiting for {name}", f"{many:.2f} ms", f"{few:.2f} ms", many / few, limit
            )
        )
    return found
