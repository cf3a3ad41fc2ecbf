"""What a job's token may do, as its `permissions` say: the rights at claim, and the doors that ask for
them."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.model.work import Project, User

EVENTS = "/api/v3/repos/group/demo/dispatches"
FILE = "/api/v3/repos/group/demo/actions/workflows/ci.yml/dispatches"
JOBS = "jobs:\n  a: {runs-on: x, steps: [{run: x}]}\n"


def _claimed(house: Any, permissions: str, jobs: str = JOBS) -> tuple[Any, Any, Project]:
    """A job of such a workflow, who its token is, its project."""
    head = "on: [push, workflow_dispatch, repository_dispatch]\n"
    project = house.project(workflow=head + (f"permissions: {permissions}\n" if permissions else "") + jobs)
    house.start()
    job = house.claim()
    return (
        job,
        house.run(house.services.principal(job.token)),
        house.write(lambda tx: tx.get(Project, project)),
    )


@pytest.mark.parametrize(
    ("permissions", "reads", "pushes", "steers", "identity"),
    [
        ("", True, False, False, False),
        ("{}", False, False, False, False),
        ("read-all", True, False, False, False),
        ("write-all", True, True, True, True),
        ("{contents: read}", True, False, False, False),
        ("{contents: write}", True, True, False, False),
        ("{actions: write}", False, False, True, False),
        ("{id-token: write, contents: none}", False, False, False, True),
    ],
)
def test_rights(
    house: Any, permissions: str, reads: bool, pushes: bool, steers: bool, identity: bool
) -> None:
    job, who, project = _claimed(house, permissions)
    assert (who.may_see(project), who.may_push(project), who.may_steer(project), job.job.identity) == (
        reads,
        pushes,
        steers,
        identity,
    )
    assert not who.may_run(project)
    elsewhere = Project(project.id + 1, "group/other", "other", created_at=0)
    assert not who.may_push(elsewhere) and not who.may_steer(elsewhere)


def test_a_jobs_own_permissions_replace_the_files(house: Any) -> None:
    jobs = JOBS.replace("{runs-on", "{permissions: {actions: write}, runs-on")
    _, who, project = _claimed(house, "write-all", jobs)
    assert who.may_steer(project) and not who.may_push(project) and not who.may_see(project)


def test_a_token_may_no_more_than_whoever_caused_the_run(house: Any) -> None:
    _, who, project = _claimed(house, "write-all")
    guest = User(who.user.id, "guest")
    lesser = type(who)(guest, attempt=who.attempt, pushes=True, steers=True)
    assert not lesser.may_push(project) and not lesser.may_steer(project)


@pytest.mark.parametrize(
    ("permissions", "workflow", "event", "cancel"),
    [("{contents: read}", 403, 403, 403), ("{contents: read, actions: write}", 204, 403, 200), ("{contents: write}", 403, 204, 403)],
)  # fmt: skip
def test_what_the_token_may_start_and_stop(
    house: Any, permissions: str, workflow: int, event: int, cancel: int
) -> None:
    job, _, _ = _claimed(house, permissions)
    answer = house.request("POST", FILE, token=job.token, json={"ref": "main"})
    assert answer.status_code == workflow, answer.text
    answer = house.request("POST", EVENTS, token=job.token, json={"event_type": "x"})
    assert answer.status_code == event, answer.text
    other = house.start()
    assert house.call("CancelRun", {"runId": other}, token=job.token).status_code == cancel
    inline = {"repo": "group/demo", "workflowContent": ["on: push\n" + JOBS]}
    assert house.call("Run", inline, token=job.token).status_code == 403
