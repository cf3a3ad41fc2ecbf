"""Jobs that make others, begun again and again: legs come, go and come back with what they were made of.
Mutants of that are noticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sim_makers
import sim_world

from runyard.engine import remaking, rooms, settle, unfolding

Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def makers_are_submitted(monkeypatch: Patch) -> None:
    monkeypatch.setattr(sim_world, "make_plan", sim_makers.make_plan)
    monkeypatch.setattr(sim_world, "ENDS", sim_makers.ENDS)
    monkeypatch.setattr(sim_world, "PROFILES", sim_makers.PROFILES)


@pytest.mark.parametrize("block", range(4))
def test_what_begins_again_is_made_anew(block: int) -> None:
    for seed in range(block * 5, block * 5 + 5):
        sim_world.history(seed, 60)


@pytest.mark.postgres
def test_postgresql_makes_anew_what_begins_again(fresh_postgres_url: str) -> None:
    from runyard.store.postgres import PostgresStore

    sim_world.history(4, 50, PostgresStore(fresh_postgres_url))


def leaves_its_parts_as_they_are(patch: Patch) -> None:
    def remake(board: Any, flow: Any, node: Any, plans: Any) -> Any:
        return [] if flow.made.get(node.plan.key) else plans

    patch.setattr(unfolding, "remake", remake)


def keeps_whom_it_asks_for_no_more(patch: Patch) -> None:
    real = remaking.remake

    def remake(board: Any, flow: Any, node: Any, plans: Any) -> Any:
        asked = {plan.key for plan in plans}
        made = [part.plan for part in flow.made.get(node.plan.key, ())]
        return real(board, flow, node, [*plans, *(plan for plan in made if plan.key not in asked)])

    patch.setattr(unfolding, "remake", remake)


def keeps_what_is_older_than_its_outputs(patch: Patch) -> None:
    patch.setattr(remaking, "_newest_needed", lambda flow, node: 0)


def lets_its_parts_begin_before_itself(patch: Patch) -> None:
    for module in (rooms, settle):
        patch.setattr(module, "makers_run", lambda flow, node: True)


@pytest.mark.parametrize(
    "mutant",
    [
        leaves_its_parts_as_they_are,
        keeps_whom_it_asks_for_no_more,
        keeps_what_is_older_than_its_outputs,
        lets_its_parts_begin_before_itself,
    ],
)
def test_a_maker_that_is_wrong_when_it_begins_again_is_noticed(
    mutant: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    """The twin is left out, as in `test_mutants`; nothing but a check's own complaint counts."""
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        for seed in (10, 38, 41, 42, 47):
            sim_world.history(seed, 60, twin=False)


def test_a_history_that_once_failed() -> None:
    sim_world.history(30_347, 50)  # what settle makes anew takes no cancel of the workflow back


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_long_histories_of_makers_break_no_promise() -> None:
    for seed in range(30_000, 30_400):
        sim_world.history(seed, 150)
