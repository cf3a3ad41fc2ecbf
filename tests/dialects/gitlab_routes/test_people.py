"""People and tokens on a running server."""

from __future__ import annotations

from runyard.http.session import sign_in
from tests.services import PLAIN

from .conftest import House


def test_an_administrator_makes_a_person_and_a_token_that_works_until_it_is_revoked(house: House) -> None:
    made = house.call("POST", "/users", json={"username": "ada", "name": "Ada", "email": "ada@x.test"})
    assert made.status_code == 201
    path = f"/users/{made.json()['id']}"
    assert house.call("GET", path).json()["username"] == "ada"
    token = house.call("POST", f"{path}/personal_access_tokens", json={"name": "laptop"}).json()["token"]
    assert house.call("GET", "/user", token=token).json()["username"] == "ada"
    session = house.run(sign_in(house.services, token))
    assert session and house.call("GET", "/user", token=session).status_code == 200
    assert house.call("DELETE", "/personal_access_tokens/self", token=token).status_code == 204
    for gone in (token, session):
        assert house.call("GET", "/user", token=gone).status_code == 401


def test_an_expired_token_opens_nothing(house: House) -> None:
    given = {"name": "old", "expires_at": "2020-01-01"}
    token = house.call("POST", "/users/1/personal_access_tokens", json=given).json()["token"]
    assert house.call("GET", "/user", token=token).status_code == 401


def test_names_are_unique_and_plain(house: House) -> None:
    assert house.call("POST", "/users", json={"username": "root"}).status_code == 409
    house.call("POST", "/groups", json={"name": "Team", "path": "team"})
    taken = house.call("POST", "/users", json={"username": "Team"})
    assert taken.status_code == 409, "people own the namespace of their name: this one is a group's"
    assert house.call("POST", "/users", json={"username": "a/b"}).status_code == 400
    assert house.call("POST", "/users", json={}).status_code == 400
    assert house.call("GET", "/users?username=nobody").json() == []
    assert house.call("GET", "/users?username=plain").json()[0]["username"] == "plain"


def test_only_administrators_make_people_and_tokens(house: House) -> None:
    assert house.call("POST", "/users", token=PLAIN, json={"username": "eve"}).status_code == 403
    grant = house.call("POST", "/users/1/personal_access_tokens", token=PLAIN, json={"name": "x"})
    assert grant.status_code == 403
    assert house.call("GET", "/users/99999").status_code == 404
