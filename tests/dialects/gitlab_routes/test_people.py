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
    made = house.call("POST", "/users/1/personal_access_tokens", json=given).json()
    assert (made["active"], made["revoked"]) == (False, False)
    assert house.call("GET", "/user", token=made["token"]).status_code == 401


def test_an_administrator_ends_the_tokens_of_a_person_who_left(house: House) -> None:
    user = house.call("POST", "/users", json={"username": "ada"}).json()["id"]
    path = f"/users/{user}/personal_access_tokens"
    texts = [house.call("POST", path, json={"name": name}).json()["token"] for name in ("laptop", "phone")]
    session = house.run(sign_in(house.services, texts[0]))
    listed = house.call("GET", f"/personal_access_tokens?user_id={user}&state=active").json()
    assert [one["name"] for one in listed] == ["laptop", "phone"] and all(
        "token" not in one for one in listed
    )
    for one in listed:
        assert house.call("DELETE", f"/personal_access_tokens/{one['id']}").status_code == 204
    assert session is not None
    assert {house.call("GET", "/user", token=text).status_code for text in (*texts, session)} == {401}
    assert house.call("GET", f"/personal_access_tokens?user_id={user}&state=active").json() == []
    gone = house.call("GET", f"/personal_access_tokens/{listed[0]['id']}").json()
    assert (gone["active"], gone["revoked"]) == (False, True)
    assert house.call("DELETE", "/personal_access_tokens/99999").status_code == 404


def test_others_tokens_are_nobodys_business(house: House) -> None:
    root = house.call("POST", "/users/1/personal_access_tokens", json={"name": "x"}).json()["id"]
    mine = house.call("GET", "/personal_access_tokens", token=PLAIN).json()
    assert mine and {one["user_id"] for one in mine} == {house.call("GET", "/user", token=PLAIN).json()["id"]}
    assert house.call("GET", f"/personal_access_tokens/{mine[0]['id']}", token=PLAIN).status_code == 200
    for method, path in (
        ("GET", "/personal_access_tokens?user_id=1"),
        ("GET", f"/personal_access_tokens/{root}"),
        ("DELETE", f"/personal_access_tokens/{root}"),
        ("DELETE", "/personal_access_tokens/99999"),
    ):
        assert house.call(method, path, token=PLAIN).status_code == 401, path
    assert house.call("GET", f"/personal_access_tokens/{root}").json()["revoked"] is False


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
