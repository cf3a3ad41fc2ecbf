"""The machine's table, and the page that shows it."""

from __future__ import annotations

from pathlib import Path

from runyard.model.state import LEASED, MOVES, OPEN, State, may_move, states_page

PAGE = Path(__file__).parents[2] / "docs" / "states.md"


def test_every_state_has_its_arrows_and_none_leads_out_of_done() -> None:
    assert set(MOVES) == set(State)
    assert MOVES[State.DONE] == frozenset()
    assert all(may_move(state, State.DONE) for state in OPEN)
    assert set(State) - {State.DONE} == OPEN
    assert {State.RUNNING, State.STOPPING} == LEASED


def test_no_attempt_can_go_round_in_a_circle() -> None:
    def reachable(state: State) -> set[State]:
        return {state} | {r for after in MOVES[state] for r in reachable(after)}

    for state in State:
        assert all(state not in reachable(after) for after in MOVES[state])


def test_the_page_shows_the_table_as_it_is() -> None:
    assert PAGE.read_text() == states_page(), "run: python -m runyard.model.state > docs/states.md"
