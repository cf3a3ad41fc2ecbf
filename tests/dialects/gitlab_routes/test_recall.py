"""What the door remembers of who asks and what is shown holds only while nothing was written, and for a
second at most."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runyard.dialects.gitlab.gathering import Bodies
from runyard.http.auth import hash_token
from runyard.http.recall import FLEETING, MOST_BYTES, Recall
from runyard.model.access import Role
from runyard.model.work import User
from tests.services import PLAIN

from .conftest import House


def test_a_moment_ends_with_a_commit_and_with_the_second() -> None:
    recall, read = Recall(), iter(range(10))
    first = recall.moment(7, 1_999)
    assert [first.of("k", lambda: next(read)) for _ in range(2)] == [0, 0]
    assert recall.moment(7, 1_001).of("k", lambda: next(read)) == 0, "the same version and second"
    assert recall.moment(8, 1_001).of("k", lambda: next(read)) == 1, "something was written"
    assert recall.moment(8, 2_000).of("k", lambda: next(read)) == 2, "a second later"
    assert recall.moment(None, 2_000) is FLEETING
    assert [FLEETING.of("k", lambda: next(read)) for _ in range(2)] == [3, 4]


def test_what_a_moment_could_not_read_is_asked_again() -> None:
    moment = Recall().moment(1, 0)
    with pytest.raises(ZeroDivisionError):
        moment.of("k", lambda: 1 // 0)
    assert moment.of("k", lambda: 5) == 5


def test_a_moment_keeps_no_more_than_it_may() -> None:
    moment = Recall().moment(1, 0)
    moment.keep("a", "first", MOST_BYTES - 10)
    moment.keep("b", "too much", 11)
    moment.keep("c", "fits", 10)
    assert [moment.known(key) for key in "abc"] == ["first", None, "fits"]
    FLEETING.keep("a", "never", 1)
    assert FLEETING.known("a") is None


def test_a_page_asked_again_is_the_same_answer_until_something_is_written(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = house.project()
    house.pipeline(project)
    path, made = f"/projects/{project}/jobs", []
    bodies = Bodies.jobs
    monkeypatch.setattr(Bodies, "jobs", lambda *args: made.append(1) or bodies(*args))
    first = house.call("GET", path)
    again = house.call("GET", path)
    assert (again.content, again.headers["link"]) == (first.content, first.headers["link"])
    assert len(made) == 1
    assert house.call("GET", f"{path}?per_page=1").content != first.content, "another question"
    assert house.call("GET", path, token="glpat-nobody").status_code == 401, "somebody else"
    assert len(made) == 2
    house.write(lambda tx: tx.save(replace(tx.get(User, 1), name="Renamed")))
    assert house.get(path)[0]["user"]["name"] == "Renamed"


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


def test_a_token_ends_on_its_very_millisecond(house: House) -> None:
    project, end = house.project(), house.time[0] // 1000 * 1000 + 1500

    def expire(tx: Any) -> None:
        tx.save(replace(tx.token_by_hash(hash_token("glpat-root")), expires_at=end))

    house.write(expire)
    house.time[0] = end - 1
    assert house.call("GET", f"/projects/{project}/jobs").status_code == 200
    house.time[0] = end
    assert house.call("GET", f"/projects/{project}/jobs").status_code == 401
