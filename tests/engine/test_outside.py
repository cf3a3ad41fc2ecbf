"""Jobs that no runner may claim: begun and concluded from outside, never stuck, never lost."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.engine import control, outside, upkeep
from runyard.engine.moves import NO_LEASE_AT
from runyard.model.errors import Conflict
from runyard.model.plan import Need
from runyard.model.state import Outcome, State


def test_it_goes_as_it_is_told_and_what_waits_for_it_goes_on(house: Any, job: Any) -> None:
    run = house.accept(job("ext", claimable=False), job("after", needs=(Need("ext"),)))
    first = house.latest(run)["ext"]
    assert first.state is State.QUEUED and house.claim() is None
    running = house.do(outside.begin, first.id, house.now)
    assert (running.state, running.lease_until_at) == (State.RUNNING, NO_LEASE_AT)
    house.pass_s(10 * 86_400)
    house.do(upkeep.forgive, house.now, house.terms)
    assert house.latest(run)["ext"].lease_until_at == NO_LEASE_AT
    house.do(outside.conclude, first.id, Outcome.PASSED, house.now)
    assert house.work() == "after"
    assert house.run(run).outcome is Outcome.PASSED
    with pytest.raises(Conflict):
        house.do(outside.begin, first.id, house.now)


def test_it_is_never_stuck_and_a_cancel_ends_it_at_once(house: Any, job: Any) -> None:
    run = house.accept(job("ext", claimable=False), job("mine"))
    house.pass_s(house.terms.stuck_after_s + 1)
    assert house.latest(run)["ext"].state is State.QUEUED
    assert house.latest(run)["mine"].outcome is Outcome.ERRORED, "what a runner may take is stuck as ever"
    house.do(outside.begin, house.latest(run)["ext"].id, house.now)
    house.do(control.cancel_run, run.id, house.now)
    assert house.latest(run)["ext"].outcome is Outcome.CANCELED


def test_nobody_outside_decides_a_runners_job(house: Any, job: Any) -> None:
    run = house.accept(job("mine"))
    with pytest.raises(Conflict):
        house.do(outside.conclude, house.latest(run)["mine"].id, Outcome.PASSED, house.now)
