"""A job's database secrets join at claim; a plan never holds them."""

from __future__ import annotations

import json
from dataclasses import replace

from runyard.engine import control
from runyard.model.plan import ConnectionUse, Gate, JobPlan, Variable, When
from runyard.model.state import Outcome, Reason
from runyard.model.work import Connection
from tests.engine.conftest import House


def planned(house: House) -> JobPlan:
    sealed = house.vault.seal(json.dumps({"password": "open sesame"}))
    row = house.do(lambda tx: tx.add(Connection(0, "warehouse", "postgres", {"host": "db"}, sealed)))
    return JobPlan(
        "diff",
        "diff",
        connections=(ConnectionUse("warehouse", row.id, {"host": "db", "dialect": "postgres"}),),
    )


def test_the_password_is_in_the_assignment_and_masked_there(house: House) -> None:
    job = planned(house)
    assert "sesame" not in str(job)
    house.accept(job)
    got = house.claim()
    assert got is not None
    (given,) = [v for v in got.variables if v.key == "RUNYARD_CONNECTIONS"]
    assert json.loads(given.value) == {
        "warehouse": {"host": "db", "dialect": "postgres", "password": "open sesame"}
    }
    assert "open sesame" in got.masks


def test_a_job_whose_connection_was_removed_ends_with_the_reason(house: House) -> None:
    job = planned(house)
    run = house.accept(job)
    house.do(lambda tx: tx.remove(Connection, job.connections[0].connection_id))
    assert house.claim() is None
    ((_, attempt),) = house.do(lambda tx: tx.graph(run.id))
    assert (attempt.outcome, attempt.reason) == (Outcome.ERRORED, Reason.BAD_PLAN)
    assert "warehouse" in attempt.message


def test_nobody_adds_to_the_environment_of_a_job_that_holds_a_password(house: House) -> None:
    """`LD_PRELOAD` or `PGHOSTADDR`, given with the run or at play, would hand the password over
    (reliability.md §5 A4)."""
    planned_job = replace(planned(house), gate=Gate(When.MANUAL))
    run = house.accept(planned_job, variables=(Variable("LD_PRELOAD", "/builds/evil.so"),))
    ((_, held),) = house.do(lambda tx: tx.graph(run.id))
    house.do(control.play, held.id, house.now, None, (Variable("PGHOSTADDR", "203.0.113.1"),))
    got = house.claim()
    assert [v.key for v in got.variables] == ["RUNYARD_CONNECTIONS"]
