"""Schedules, workflow_run and pull requests in memory: what starts, when, and how often."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from runyard.dialects.depot import happenings, pulls
from runyard.engine.ports import Page, RunFilter, Tx
from runyard.model.access import Role
from runyard.model.state import Outcome
from runyard.model.trigger import ZERO_SHA, Push
from runyard.model.work import Member, Project, Record, Run, User

SCHEDULED = """
on:
  schedule:
    - {cron: '*/2 * * * *'}
    - {cron: '0 4 * * *', timezone: Europe/Berlin}
jobs:
  a: {runs-on: x, steps: [{run: 'echo ${{ github.event.schedule }}'}]}
"""

LISTENING = """
on:
  workflow_run: {workflows: [CI], types: [completed], branches: [main]}
jobs:
  a: {runs-on: x, steps: [{run: 'echo ${{ github.event.workflow_run.conclusion }}'}]}
"""

FIRST = "name: CI\non: workflow_dispatch\njobs:\n  a: {runs-on: x, steps: [{run: x}]}\n"


def runs(house: Any, source: str) -> list[Run]:
    def look(tx: Tx) -> list[Run]:
        return tx.runs(RunFilter(source=source), Page(limit=100, descending=False))

    return list(house.write(look))


def pushed(house: Any, project_id: int, **more: Any) -> Push:
    project = house.write(lambda tx: tx.get(Project, project_id))
    user = house.write(lambda tx: tx.get(User, 1))
    sha = house.services.source.resolve(project_id, "main")[0].sha
    return Push(project, user, "main", False, ZERO_SHA, sha, **more)


def offer(house: Any, project: int) -> Record:
    """A merge request from a branch `topic`, as the other door keeps it."""
    sha = house.services.source.resolve(project, "main")[0].sha
    house.services.source.make_ref(project, "refs/heads/topic", sha)
    data = {
        "iid": 1, "source_branch": "topic", "target_branch": "main", "state": "opened", "title": "T", "author_id": 1,
        "description": "", "labels": [], "draft": False,
    }  # fmt: skip
    now = house.services.now()
    made: Record = house.write(lambda tx: tx.add(Record(0, pulls.KIND, project, "1", data, now, now)))
    return made


def test_a_schedule_comes_when_it_is_due_and_not_twice(house: Any) -> None:
    project = house.project(workflow=SCHEDULED)
    house.run(happenings.pushed(house.services, pushed(house, project)))
    house.run(happenings.run_schedules(house.services))
    assert runs(house, "schedule") == []
    for _ in range(2):
        house.time[0] += 120_000
        house.run(happenings.run_schedules(house.services))
        house.run(happenings.run_schedules(house.services))
    # Every two minutes is more often than GitHub's five: the second time has not come yet.
    (found,) = runs(house, "schedule")
    assert found.ref == "main"
    house.time[0] += 300_000
    house.run(happenings.run_schedules(house.services))
    assert len(runs(house, "schedule")) == 2
    job = house.write(lambda tx: tx.graph(found.id)[0][0])
    assert job.plan.context["github"]["event"]["schedule"] == "*/2 * * * *"
    assert job.plan.context["github"]["event_name"] == "schedule"


def test_a_schedule_rests_while_its_pusher_may_not_run_there(house: Any) -> None:
    project = house.project(workflow=SCHEDULED)
    user = house.write(lambda tx: tx.add(User(0, "ann", "Ann")))
    member = house.write(lambda tx: tx.add(Member(0, user.id, Role.DEVELOPER, project)))
    push = replace(pushed(house, project), actor=user)
    house.run(happenings.pushed(house.services, push))

    def turn() -> int:
        house.time[0] += 300_000
        house.run(happenings.run_schedules(house.services))
        return len(runs(house, "schedule"))

    assert turn() == 1
    house.write(lambda tx: tx.save(replace(member, level=Role.REPORTER)))
    assert turn() == 1
    house.write(lambda tx: tx.remove(Member, member.id))
    assert turn() == 1
    house.run(happenings.pushed(house.services, pushed(house, project)))
    assert turn() == 2
    assert [run.actor_id for run in runs(house, "schedule")] == [user.id, 1]


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("event", ["schedule", "pull_request"])
def test_a_crash_between_finding_and_starting_loses_and_doubles_nothing(
    house: Any, monkeypatch: pytest.MonkeyPatch, event: str, started: bool
) -> None:
    text = (
        SCHEDULED if event == "schedule" else "on: pull_request\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n"
    )
    project = house.project(workflow=text)
    if event == "schedule":
        house.run(happenings.pushed(house.services, pushed(house, project)))
        house.time[0] += 300_000
        look = happenings.run_schedules
    else:
        offer(house, project)
        look = happenings.run_pulls
    fire = happenings.fire

    async def crashed(*given: Any) -> None:
        if started:
            await fire(*given)
        raise SystemExit

    monkeypatch.setattr(happenings, "fire", crashed)
    with pytest.raises(SystemExit):
        house.run(look(house.services))
    monkeypatch.undo()
    for _ in range(2):
        house.run(look(house.services))
    assert len(runs(house, event)) == 1


@pytest.mark.parametrize("broken", [0, 1])
@pytest.mark.parametrize("event", ["schedule", "pull_request"])
def test_a_broken_repository_does_not_keep_the_others_from_their_turn(
    house: Any, event: str, broken: int
) -> None:
    text = (
        SCHEDULED if event == "schedule" else "on: pull_request\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n"
    )
    both = [house.project(path, text) for path in ("group/one", "group/two")]
    for project in both:
        house.run(happenings.pushed(house.services, pushed(house, project)))
        if event == "pull_request":
            offer(house, project)
    shutil.rmtree(house.services.source.git_dir(both[broken]) / "objects")
    house.time[0] += 300_000
    look = happenings.run_schedules if event == "schedule" else happenings.run_pulls
    for _ in range(2):
        house.run(look(house.services))
    assert [run.project_id for run in runs(house, event)] == [both[1 - broken]]


def test_a_workflow_hears_of_the_end_of_another(house: Any) -> None:
    project = house.project(workflow=LISTENING)
    watch = happenings.Watch(house.services)
    plan = house.call("Run", {"repo": "group/demo", "workflowContent": [FIRST]})
    assert plan.status_code == 200, plan.text
    house.run(watch.round())
    assert runs(house, "workflow_run") == []
    got = house.claim()
    house.finish(got, Outcome.FAILED)
    house.run(watch.round())
    house.run(happenings.Watch(house.services).round())  # another replica
    (found,) = runs(house, "workflow_run")
    event = house.write(lambda tx: tx.graph(found.id)[0][0]).plan.context["github"]["event"]
    assert event["action"] == "completed" and event["workflow_run"]["conclusion"] == "failure"
    assert event["workflow_run"]["head_branch"] == "main" and found.project_id == project


@pytest.mark.parametrize("change", ["title", "labels", "state", "draft"])
def test_changes_of_a_pull_request_are_told_once(house: Any, change: str) -> None:
    text = "on:\n  pull_request: {types: [opened, edited, labeled, closed, converted_to_draft]}\njobs:\n  a: {runs-on: x, steps: [{run: x}]}\n"
    project = house.project(workflow=text)
    row = offer(house, project)
    sha = house.services.source.resolve(project, "main")[0].sha
    for _ in range(2):
        house.run(happenings.run_pulls(house.services))
    (opened,) = runs(house, "pull_request")
    assert opened.ref == "refs/pull/1/merge"
    shown = house.get("ListRuns", {"repo": "group/demo", "pr": "1"})["runs"][0]
    assert shown["headSha"] == sha and shown["trigger"] == "pull_request"
    assert house.get("ListRuns", {"repo": "group/demo", "pr": "2"}) == {}
    assert house.refused("ListRuns", {"repo": "group/demo", "pr": "x"})[1] == "invalid_argument"
    by_head = house.get("ListWorkflows", {"sha": sha[:9], "trigger": "pull_request"})["workflows"]
    assert [one["runId"] for one in by_head] == [shown["runId"]]
    new = {"title": "U", "labels": ["bug"], "state": "closed", "draft": True}[change]
    later = replace(row, data={**row.data, change: new}, updated_at=row.updated_at + 1)
    house.write(lambda tx: tx.save(later))
    for _ in range(2):
        house.run(happenings.run_pulls(house.services))
    action = {"title": "edited", "labels": "labeled", "state": "closed", "draft": "converted_to_draft"}[
        change
    ]
    _, second = runs(house, "pull_request")
    github = house.write(lambda tx: tx.graph(second.id)[0][0]).plan.context["github"]
    assert github["event"]["action"] == action
    assert (github["head_ref"], github["base_ref"], github["ref_name"]) == ("topic", "main", "1/merge")


QUEUE = """
on:
  merge_group: {branches: ['release/**']}
jobs:
  a: {runs-on: x, steps: [{run: 'echo ${{ github.event.merge_group.head_sha }}'}]}
"""


def test_a_push_to_a_queues_branch_is_a_merge_group(house: Any) -> None:
    project = house.project(workflow=QUEUE)
    first = pushed(house, project)
    source = house.services.source
    for name in ("release/1", "gh-readonly-queue/release/1/pr-7-abc", "gh-readonly-queue/main/pr-8-abc"):
        git(source, project, "update-ref", f"refs/heads/{name}", first.after)
    for name in ("gh-readonly-queue/release/1/pr-7-abc", "gh-readonly-queue/main/pr-8-abc", "gh-readonly-queue/gone/pr-9", "gh-readonly-queue/x"):  # fmt: skip
        for _ in range(2):
            house.run(happenings.pushed(house.services, replace(first, ref=name)))
    (run,) = runs(house, "merge_group")
    told = house.write(lambda tx: tx.graph(run.id)[0][0]).plan.context["github"]
    assert told["ref"] == "refs/heads/gh-readonly-queue/release/1/pr-7-abc"
    assert told["event"]["action"] == "checks_requested"
    assert told["event"]["merge_group"]["base_ref"] == "refs/heads/release/1"
    assert told["event"]["merge_group"]["head_sha"] == first.after == run.sha


def git(source: Any, project: int, *argv: str) -> None:
    subprocess.run(["git", "-C", str(source.git_dir(project)), *argv], check=True)
