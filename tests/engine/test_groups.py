"""Whose turn it is in a concurrency group, in each of GitLab's four modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from runyard.engine import control
from runyard.engine.groups import RESOURCE_GROUPS
from runyard.engine.ports import Tx
from runyard.model.plan import Concurrency, Gate, JobPlan, Plan, When, WorkflowPlan
from runyard.model.state import Outcome
from runyard.model.work import Project, Run

PROD = Concurrency("prod")


@pytest.fixture
def mode(house: Any) -> Callable[[str], None]:
    """Sets the mode of `prod` as a door does."""

    def change(word: str) -> None:
        def save(tx: Tx) -> None:
            row = tx.get(Project, house.project.id)
            assert row is not None
            tx.save(replace(row, extra={RESOURCE_GROUPS: {"prod": word}}))
            control.reorder(tx, row.id, "prod", house.now)

        house.do(save)

    return change


def deploys(house: Any, job: Callable[..., JobPlan], count: int = 3) -> list[Run]:
    """Runs whose one job wants the group at once."""
    return [house.accept(job("d", concurrency=PROD)) for _ in range(count)]


def shown(house: Any, runs: list[Run]) -> list[str]:
    return [house.shown(run)["d"] for run in runs]


@pytest.mark.parametrize(
    ("word", "after_one"),
    [
        ("unordered", ["passed", "queued", "concurrency"]),
        ("oldest_first", ["passed", "queued", "concurrency"]),
        ("newest_first", ["passed", "concurrency", "queued"]),
        ("newest_ready_first", ["passed", "concurrency", "queued"]),
    ],
)
def test_of_those_that_ask(house: Any, job: Any, mode: Any, word: str, after_one: list[str]) -> None:
    mode(word)
    runs = deploys(house, job)
    if word == "newest_first":  # each newcomer finds the group taken by the one before, which goes on
        assert shown(house, runs) == ["queued", "concurrency", "concurrency"]
    house.work()
    assert shown(house, runs) == after_one


def behind(job: Callable[..., JobPlan]) -> tuple[JobPlan, JobPlan]:
    """A run whose deploy has yet to ask."""
    return job("a"), job("d", needs=("a",), concurrency=PROD)


def test_the_oldest_run_goes_first_though_it_is_slow(house: Any, job: Any, mode: Any) -> None:
    mode("oldest_first")
    slow = house.accept(*behind(job))
    quick = house.accept(job("d", concurrency=PROD))
    assert shown(house, [slow, quick]) == ["waiting", "concurrency"]
    assert house.work() == "a"
    assert shown(house, [slow, quick]) == ["queued", "concurrency"]
    house.work()
    assert shown(house, [slow, quick]) == ["passed", "queued"]


def test_the_newest_run_goes_first_though_it_is_slow(house: Any, job: Any, mode: Any) -> None:
    mode("newest_first")
    first, second = deploys(house, job, 2)
    slow = house.accept(*behind(job))
    house.work()
    assert shown(house, [first, second, slow]) == ["passed", "concurrency", "waiting"]
    assert house.work() == "a"
    assert shown(house, [first, second, slow]) == ["passed", "concurrency", "queued"]
    house.work()
    assert shown(house, [first, second, slow]) == ["passed", "queued", "passed"]


def test_ready_ones_wait_for_nobody(house: Any, job: Any, mode: Any) -> None:
    mode("newest_ready_first")
    first, second = deploys(house, job, 2)
    slow = house.accept(*behind(job))
    house.do(control.cancel_run, first.id, house.now)
    assert shown(house, [first, second, slow]) == ["canceled", "queued", "waiting"]


@pytest.mark.parametrize("how", ["skipped", "canceled", "manual"])
def test_who_will_not_ask_makes_room(house: Any, job: Any, mode: Any, how: str) -> None:
    mode("oldest_first")
    gate = Gate(when=When.MANUAL) if how == "manual" else Gate()
    slow = house.accept(job("a"), job("d", needs=("a",), concurrency=PROD, gate=gate))
    quick = house.accept(job("d", concurrency=PROD))
    assert shown(house, [quick]) == ["concurrency"]
    if how == "canceled":
        house.do(control.cancel_run, slow.id, house.now)
    else:
        got = house.claim()
        house.finish(got, Outcome.FAILED if how == "skipped" else Outcome.PASSED)
    assert shown(house, [slow, quick]) == [how, "queued"]


def test_a_delayed_one_has_its_turn(house: Any, job: Any, mode: Any) -> None:
    mode("oldest_first")
    late = house.accept(job("d", concurrency=PROD, gate=Gate(when=When.DELAYED, delay_s=60)))
    quick = house.accept(job("d", concurrency=PROD))
    assert shown(house, [late, quick]) == ["delayed", "concurrency"]
    house.pass_s(61)
    assert shown(house, [late, quick]) == ["queued", "concurrency"]


def test_a_new_mode_counts_at_once(house: Any, job: Any, mode: Any) -> None:
    mode("oldest_first")
    slow = house.accept(*behind(job))
    quick = house.accept(job("d", concurrency=PROD))
    assert shown(house, [slow, quick]) == ["waiting", "concurrency"]
    mode("unordered")
    assert shown(house, [slow, quick]) == ["waiting", "queued"]


def test_a_job_that_wants_its_own_workflows_group_is_canceled(house: Any, job: Any) -> None:
    jobs = (job("a"), job("d", concurrency=PROD), job("after", needs=("d",)))
    run = house.accept(plan=Plan((WorkflowPlan("w", jobs=jobs, concurrency=PROD),)))
    assert house.shown(run) == {"a": "queued", "d": "canceled", "after": "skipped"}
    assert "deadlock for concurrency group 'prod'" in house.latest(run)["d"].message
    house.work()
    waiting = house.accept(job("d", concurrency=PROD))
    assert house.shown(waiting) == {"d": "queued"}, "the group is free again"
