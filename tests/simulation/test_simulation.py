"""The engine under chance: random plans, several runners, repeated and lost calls, crashes, clock jumps.
Safety after each event, then a drain.

Hypothesis chooses and shrinks; the seeded histories are the same on every machine. `slow` runs many more of
both.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from sim_events import COMMON
from sim_world import World, history

EVENTS = sorted({*COMMON, "rerun"})
LONG = int(os.environ.get("RUNYARD_SIMULATION_SEEDS", "600"))


class Machine(RuleBasedStateMachine):
    """Every event of the world is a rule; what an event chooses comes from Hypothesis too, so that failures
    shrink."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self._pick)
        self.data: st.DataObject | None = None

    def _pick(self, n: int) -> int:
        return 0 if self.data is None or n < 2 else self.data.draw(st.integers(0, n - 1))

    def teardown(self) -> None:
        try:
            self.data = None
            self.world.drain()
        finally:
            self.world.close()


def _event(name: str) -> object:
    def event(self: Machine, data: st.DataObject) -> None:
        self.data = data
        self.world.event(name)

    event.__name__ = name
    return rule(data=st.data())(event)


for name in EVENTS:
    setattr(Machine, name, _event(name))
for times in range(2, 5):  # more of what makes work go on
    for name in ("submit", "claim", "claim", "finish"):
        setattr(Machine, f"{name}_{times}", _event(name))

QUICK = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


def test_hypothesis_finds_no_broken_promise() -> None:
    run_state_machine_as_test(Machine, settings=QUICK)


@pytest.mark.parametrize("block", range(4))
def test_no_history_breaks_a_promise_and_all_work_ends(block: int) -> None:
    for seed in range(block * 8, block * 8 + 8):
        history(seed, 60)


@pytest.mark.parametrize("mode", ["oldest_first", "newest_first", "newest_ready_first"])
def test_groups_that_go_in_another_order_keep_the_promises(mode: str) -> None:
    for seed in range(600, 606):
        history(seed, 60, mode=mode)


@pytest.mark.parametrize(
    ("seed", "steps"),
    [
        (10_072, 80),  # a group whose holder is a bridge that was opened again is taken
        (10_116, 70),  # a maker goes on with its retried part although its own leg has no room
        (10_521, 125),  # a manual part waits for its maker, and is not there to be played before
        (10_137, 140),  # what a job makes after its workflow was canceled is canceled too
    ],
)
def test_histories_that_once_failed(seed: int, steps: int) -> None:
    history(seed, steps)


@pytest.mark.postgres
@pytest.mark.parametrize("seed", [0, 3, 4])
def test_postgresql_keeps_the_same_promises(fresh_postgres_url: str, seed: int) -> None:
    from runyard.store.postgres import PostgresStore

    history(seed, 30, PostgresStore(fresh_postgres_url))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_hypothesis_finds_no_broken_promise_in_a_long_search() -> None:
    long = settings(QUICK, max_examples=400, stateful_step_count=60, phases=[Phase.generate, Phase.shrink])
    run_state_machine_as_test(Machine, settings=long)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_long_histories_break_no_promise() -> None:
    for seed in range(10_000, 10_000 + LONG):
        history(seed, 150)
