"""Commit statuses: tools outside report on a commit; its pipeline shows and obeys them."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.model.access import Role
from tests.services import PLAIN

from .conftest import House


def head(house: House, project: int) -> str:
    return str(house.get(f"/projects/{project}/repository/commits/main")["id"])


def say(house: House, project: int, sha: str, state: str, **more: Any) -> Any:
    return house.call("POST", f"/projects/{project}/statuses/{sha}", json={"state": state, **more})


def test_a_commit_without_a_pipeline_gets_an_external_one(house: House) -> None:
    project = house.project()
    sha = head(house, project)
    made = say(
        house, project, sha, "pending", name="jenkins", target_url="https://ci.test/1", description="d"
    )
    assert made.status_code == 201
    body = made.json()
    assert (body["status"], body["name"], body["ref"]) == ("pending", "jenkins", "main")
    assert (body["target_url"], body["description"], body["author"]["username"]) == (
        "https://ci.test/1",
        "d",
        "root",
    )
    run = house.get(f"/projects/{project}/pipelines/{body['pipeline_id']}")
    assert (run["source"], run["status"], run["sha"]) == ("external", "pending", sha)
    assert say(house, project, sha, "running", name="jenkins").json()["id"] == body["id"]
    done = say(house, project, sha, "success", name="jenkins", coverage=87.5).json()
    assert (done["id"], done["status"], done["coverage"]) == (body["id"], "success", 87.5)
    assert house.get(f"/projects/{project}/pipelines/{run['id']}")["status"] == "success"


def test_it_joins_the_pipeline_of_its_commit_and_decides_with_it(house: House) -> None:
    project = house.project(config="build: {script: [make]}")
    run = house.pipeline(project)
    made = say(house, project, run["sha"], "failed", context="lint", ref="main").json()
    assert made["pipeline_id"] == run["id"] and made["failure_reason"] == "script_failure"
    names = {j["name"]: j["status"] for j in house.get(f"/projects/{project}/pipelines/{run['id']}/jobs")}
    assert names == {"build": "pending", "lint": "failed"}
    house.claim(house.runner())
    listed = house.get(f"/projects/{project}/repository/commits/{run['sha']}/statuses")
    assert [(s["name"], s["status"]) for s in listed] == [("lint", "failed"), ("build", "running")]


def test_after_an_end_the_same_name_is_a_new_status(house: House) -> None:
    project = house.project()
    sha = head(house, project)
    first = say(house, project, sha, "failed", name="t").json()
    second = say(house, project, sha, "running", name="t").json()
    assert second["id"] > first["id"] and second["pipeline_id"] == first["pipeline_id"]
    path = f"/projects/{project}/repository/commits/{sha}/statuses"
    assert [s["id"] for s in house.get(path)] == [second["id"]]
    assert [s["id"] for s in house.get(f"{path}?all=true")] == [second["id"], first["id"]]


@pytest.mark.parametrize(
    ("state", "more", "status", "said"),
    [
        ("", {}, 400, "state is missing"),
        ("done", {}, 400, "state does not have a valid value"),
        ("success", {"target_url": "javascript:alert(1)"}, 400, "Target url is blocked"),
        ("success", {"pipeline_id": 4711}, 404, "404 Pipeline Not Found"),
        ("success", {"coverage": "much"}, 400, "coverage is invalid"),
    ],
)
def test_what_is_wrong_is_said(
    house: House, state: str, more: dict[str, Any], status: int, said: str
) -> None:
    project = house.project()
    answer = say(house, project, head(house, project), state, **more)
    assert answer.status_code == status and said in answer.text


def test_a_wrong_transition_and_an_unknown_commit_are_refused(house: House) -> None:
    project = house.project()
    sha = head(house, project)
    say(house, project, sha, "running", name="t")
    back = say(house, project, sha, "pending", name="t")
    assert back.status_code == 400 and "Cannot transition status" in back.text
    assert say(house, project, "0" * 40, "success").status_code == 404
    house.join(project, Role.REPORTER)
    answer = house.call("POST", f"/projects/{project}/statuses/{sha}", token=PLAIN, json={"state": "success"})
    assert answer.status_code == 403


def test_canceling_the_pipeline_ends_its_statuses(house: House) -> None:
    project = house.project()
    body = say(house, project, head(house, project), "running").json()
    assert body["name"] == "default"
    house.call("POST", f"/projects/{project}/pipelines/{body['pipeline_id']}/cancel")
    assert house.get(f"/projects/{project}/jobs/{body['id']}")["status"] == "canceled"
