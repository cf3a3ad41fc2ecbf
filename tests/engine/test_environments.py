"""Environments: what deliveries leave behind, how they are taken down, and names made into slugs and
tiers."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.engine import control, environments
from runyard.engine.ports import Page
from runyard.engine.views import scope_holds
from runyard.model.plan import EnvironmentUse, Gate, Plan, Variable, When, WorkflowPlan
from runyard.model.state import Outcome, State
from runyard.model.work import Deployment, Environment

START = EnvironmentUse("review/x", "https://$WHERE.test/$CI_ENVIRONMENT_SLUG", on_stop="down", auto_stop_s=60)


def graph(job: Any) -> list[Any]:
    return [
        job("up", environment=START, variables=(Variable("WHERE", "here"),)),
        job(
            "down",
            environment=EnvironmentUse("review/x", action="stop"),
            gate=Gate(when=When.MANUAL),
            allow_failure=True,
        ),
    ]


def state_of(house: Any) -> tuple[str, str | None, list[str]]:
    def look(tx: Any) -> Any:
        (found,) = tx.find(Environment, Page(), project_id=house.project.id)
        rows = tx.find(Deployment, Page(descending=False), environment_id=found.id)
        return found.state, found.external_url, [r.status for r in rows]

    return house.do(look)


def test_a_delivery_makes_the_environment_and_is_counted(house: Any, job: Any) -> None:
    house.accept(*graph(job))
    got = house.claim()
    assert state_of(house) == ("available", "", ["running"])
    house.finish(got)
    slug = environments.slug_of("review/x")
    assert state_of(house) == ("available", f"https://here.test/{slug}", ["success"])
    house.accept(job("up", environment=START))
    house.work(Outcome.FAILED)
    assert state_of(house)[2] == ["success", "failed"]
    house.do(lambda tx: [r.number for r in tx.find(Deployment, Page())])


def test_the_on_stop_job_takes_it_down(house: Any, job: Any) -> None:
    run = house.accept(*graph(job))
    house.work()
    found = house.do(lambda tx: tx.find(Environment, Page())[0])
    _, played = house.do(environments.stop, found, house.now)
    assert played is not None and house.latest(run)["down"].state is State.QUEUED
    assert state_of(house)[0] == "stopping"
    house.work()
    assert state_of(house)[0] == "stopped"


def test_runs_that_are_over_have_their_deliveries_taken_down(house: Any, job: Any) -> None:
    run = house.accept(*graph(job), job("lone", environment=EnvironmentUse("lone")))
    house.work()
    house.work()
    ref = house.run(run).ref
    house.do(environments.abandon, house.project.id, lambda it: it.ref != ref, house.now)
    assert house.latest(run)["down"].state is State.HELD
    house.do(environments.abandon, house.project.id, lambda it: it.ref == ref, house.now)
    assert house.latest(run)["down"].state is State.QUEUED
    states = {e.name: e.state for e in house.look(lambda tx: tx.find(Environment, Page()))}
    assert states == {"review/x": "stopping", "lone": "available"}, "GitLab stops only what a job takes down"


def test_without_an_on_stop_job_or_by_force_it_is_stopped_at_once(house: Any, job: Any) -> None:
    run = house.accept(*graph(job))
    house.work()
    found = house.do(lambda tx: tx.find(Environment, Page())[0])
    house.do(environments.stop, found, house.now, force=True)
    assert state_of(house)[0] == "stopped" and house.latest(run)["down"].state is State.HELD
    house.do(control.play, house.latest(run)["down"].id, house.now)


def test_its_time_is_noted_and_found_when_it_has_come(house: Any, job: Any) -> None:
    house.accept(*graph(job))
    house.work()
    assert house.do(lambda tx: tx.auto_stops(house.now, 10)) == []
    assert [e.name for e in house.do(lambda tx: tx.auto_stops(house.now + 60_000, 10))] == ["review/x"]


def test_a_job_that_never_ran_delivered_nothing(house: Any, job: Any) -> None:
    run = house.accept(*graph(job))
    house.do(control.cancel_run, run.id, house.now)
    assert state_of(house) == ("available", "", [])


def test_the_environments_of_a_run_are_there_before_its_jobs_begin(house: Any, job: Any) -> None:
    house.accept(*graph(job))
    (made,) = house.do(lambda tx: tx.find(Environment, Page()))
    assert (made.name, made.state, made.tier) == ("review/x", "available", "development")
    assert made.auto_stop_at == house.now + 60_000

    house.do(environments.stop, made, house.now)
    house.accept(job("up", environment=EnvironmentUse("review/x", tier="production")))
    (known,) = house.do(lambda tx: tx.find(Environment, Page()))
    assert (known.state, known.tier, known.auto_stop_at) == ("stopped", "development", None)

    skipped = Plan((WorkflowPlan("w", jobs=(job("a", environment=EnvironmentUse("other")),)),), skipped=True)
    house.accept(plan=skipped)
    assert house.do(lambda tx: len(tx.find(Environment, Page()))) == 1


def test_jobs_of_a_run_are_made_one_after_the_other_and_not_in_the_future(house: Any, job: Any) -> None:
    run = house.accept(*(job(name) for name in "cab"))
    made = [(row.key, attempt.created_at) for row, attempt in house.do(lambda tx: tx.graph(run.id))]
    assert sorted(made, key=lambda pair: pair[1]) == [
        ("c", house.now - 2),
        ("a", house.now - 1),
        ("b", house.now),
    ]


@pytest.mark.parametrize(
    ("name", "slug", "tier"),
    [
        ("production", "production", "production"),
        ("staging", "staging", "staging"),
        ("review/feature-1", "review-feature-1-", "development"),
        ("1st", "env-1st-", "other"),
        ("QA", "qa-", "testing"),
    ],
)
def test_slugs_and_tiers(name: str, slug: str, tier: str) -> None:
    made = environments.slug_of(name)
    assert made.startswith(slug) and len(made) <= 24 and environments.tier_of(name) == tier
    assert (made == name) is (slug == name)


@pytest.mark.parametrize(
    ("scope", "environment", "holds"),
    [
        ("*", "", True),
        ("*", "x", True),
        ("prod", "", False),
        ("prod", "prod", True),
        ("prod", "production", False),
        ("review/*", "review/a", True),
        ("review/*", "staging", False),
        ("*/a", "review/a", True),
        ("a*a", "a", False),
        ("a*b*c", "axxbyyc", True),
    ],
)
def test_scopes(scope: str, environment: str, holds: bool) -> None:
    assert scope_holds(scope, environment) is holds
