"""Polled answers are used again only while nothing was written, for the same asker, and for a second at most."""

from __future__ import annotations

from typing import Any

from runyard.dialects.gitlab.gathering import Bodies
from runyard.model.access import Role
from tests.services import PLAIN

from .conftest import House


def test_the_same_question_is_answered_once_until_something_is_written(
    house: House, monkeypatch: Any
) -> None:
    project = house.project()
    house.pipeline(project)
    made: list[int] = []
    real = Bodies.jobs

    def counted(self: Bodies, *arguments: Any) -> Any:
        made.append(1)
        return real(self, *arguments)

    monkeypatch.setattr(Bodies, "jobs", counted)
    path = f"/projects/{project}/jobs"
    first = house.call("GET", path)
    again = house.call("GET", path)
    assert len(made) == 1 and first.content == again.content and first.headers == again.headers
    house.call("GET", f"{path}?per_page=1")
    assert len(made) == 2, "another question"
    house.call("GET", path, token=None, headers={"Authorization": "Bearer glpat-root"})
    assert len(made) == 3, "another asker"
    house.time[0] += 1001
    house.call("GET", path)
    assert len(made) == 4, "a second has passed"
    house.time[0] -= 5000
    house.call("GET", path)
    assert len(made) == 5, "the clock went back"


def test_what_was_acknowledged_is_seen_at_once(house: House) -> None:
    project = house.project()
    house.pipeline(project)
    path = f"/projects/{project}/jobs"
    for job in house.get(path):
        house.call("POST", f"/projects/{project}/jobs/{job['id']}/cancel")
        assert house.get(f"/projects/{project}/jobs/{job['id']}")["status"] == "canceled"
        assert {j["status"] for j in house.get(path) if j["id"] == job["id"]} == {"canceled"}


def test_who_loses_a_membership_or_a_token_sees_nothing_more(house: House) -> None:
    project = house.project()
    house.join(project, Role.GUEST)
    path = f"/projects/{project}/jobs"
    assert house.call("GET", path, token=PLAIN).status_code == 200
    me = house.get("/user", token=PLAIN)["id"]
    house.call("DELETE", f"/projects/{project}/members/{me}")
    assert house.call("GET", path, token=PLAIN).status_code == 404
    house.join(project, Role.GUEST)
    assert house.call("GET", path, token=PLAIN).status_code == 200
    house.call("DELETE", "/personal_access_tokens/self", token=PLAIN)
    assert house.call("GET", path, token=PLAIN).status_code == 401
