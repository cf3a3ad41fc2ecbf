"""The engine under chance: random plans, several runners, repeated and lost calls, crashes, clock jumps. Safety after each event, then a drain."""

from __future__ import annotations

import random

import pytest
from sim_world import EVENTS, World


def history(seed: int, steps: int) -> None:
    """One random history; the seed in the message replays it."""
    world = World(random.Random(seed).randrange)
    try:
        for _ in range(steps):
            world.event(EVENTS[world.pick(len(EVENTS))])
        world.drain()
    except BaseException as error:
        error.add_note(f"seed {seed}, after {world.trail[-12:]}")
        raise
    finally:
        world.close()


@pytest.mark.parametrize("block", range(4))
def test_no_history_breaks_a_promise_and_all_work_ends(block: int) -> None:
    for seed in range(block * 10, block * 10 + 10):
        history(seed, 60)
