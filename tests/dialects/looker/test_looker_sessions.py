"""Workspaces and branches of a session: what spectacles does to a project before it looks, and that nothing
of it reaches the repository."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.dialects.looker import DIALECT
from runyard.engine.ports import Page
from runyard.model.access import Role
from tests.services import PLAIN, ROOT, join

from .conftest import House

HERE = "/projects/bakery"
MODEL = 'connection: "c"\nexplore: a {{}}\nview: a {{ dimension: {} {{}} }}\n'


@pytest.fixture
def shop(house: House) -> House:
    house.push({"m.model.lkml": MODEL.format("x")})
    return house


def login(house: House, secret: str = ROOT, name: str = "root") -> str:
    body = {"client_id": name, "client_secret": secret}
    return str(house.ok("POST", "/login", json=body)["access_token"])


def active(house: House, token: str) -> tuple[str, str]:
    found = house.ok("GET", f"{HERE}/git_branch", token=token)
    return found["name"], found["ref"]


def dimensions(house: House, token: str) -> list[str]:
    found = house.ok("GET", "/lookml_models/m/explores/a?fields=fields", token=token)
    return [d["name"] for d in found["fields"]["dimensions"]]


def test_production_is_what_a_session_sees_first(shop: House) -> None:
    token = login(shop)
    sha = shop.ok("GET", f"{HERE}/git_branch", token=token)["ref"]
    assert active(shop, token) == ("main", sha)
    assert shop.ok("GET", "/session", token=token)["workspace_id"] == "production"
    refused = shop.call("PUT", f"{HERE}/git_branch", token=token, json={"name": "main"})
    assert refused.status_code == 400
    assert "dev workspace" in refused.json()["message"]


def test_branches_are_checked_out_reset_and_deleted_in_one_session_only(shop: House) -> None:
    main = active(shop, ROOT)[1]
    feature = shop.commit("feature", {"m.model.lkml": MODEL.format("y")})
    one, other = login(shop), login(shop)
    for token in (one, other):
        shop.ok("PATCH", "/session", token=token, json={"workspace_id": "dev"})
    personal = active(shop, one)
    assert personal[0].startswith("dev-root-")
    assert personal[1] == main
    shop.ok("PUT", f"{HERE}/git_branch", token=one, json={"name": "feature"})
    assert active(shop, one) == ("feature", feature)
    assert dimensions(shop, one) == ["a.y"]
    assert active(shop, other) == personal
    assert dimensions(shop, other) == ["a.x"]
    shop.ok("POST", f"{HERE}/git_branch", token=other, json={"name": "tmp"})
    shop.ok("PUT", f"{HERE}/git_branch", token=other, json={"name": "tmp", "ref": "origin/feature"})
    assert active(shop, other) == ("tmp", feature)
    names = {b["name"]: b for b in shop.ok("GET", f"{HERE}/git_branches", token=other)}
    assert set(names) == {personal[0], "tmp", "feature", "main"}
    assert [n for n, b in names.items() if b["personal"] and not b["readonly"]] == [personal[0]]
    assert shop.call("GET", f"{HERE}/git_branch/tmp", token=one).status_code == 404
    assert shop.call("DELETE", f"{HERE}/git_branch/tmp", token=other).status_code == 409
    shop.ok("PUT", f"{HERE}/git_branch", token=other, json={"name": "main"})
    assert shop.call("DELETE", f"{HERE}/git_branch/tmp", token=other).status_code == 204
    assert shop.call("DELETE", f"{HERE}/git_branch/feature", token=other).status_code == 403
    assert {n for n, _ in shop.services.source.branches(shop.project_id)} == {"main", "feature"}


def test_a_branch_follows_the_repository_until_it_is_moved_and_again_after_a_reset(shop: House) -> None:
    token = login(shop)
    shop.ok("PATCH", "/session", token=token, json={"workspace_id": "dev"})
    first = shop.commit("feature", {"a.md": "1"})
    shop.ok("PUT", f"{HERE}/git_branch", token=token, json={"name": "feature"})
    second = shop.commit("feature", {"a.md": "2"})
    assert active(shop, token) == ("feature", second)
    shop.ok("PUT", f"{HERE}/git_branch", token=token, json={"name": "feature", "ref": first})
    assert active(shop, token) == ("feature", first)
    assert shop.call("POST", f"{HERE}/reset_to_remote", token=token).status_code == 204
    assert active(shop, token) == ("feature", second)
    assert shop.call("POST", f"{HERE}/reset_to_production", token=token).status_code == 204
    assert active(shop, token)[1] not in (first, second)


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        ("PUT", {"name": "nope"}, 404),
        ("PUT", {"name": "main", "ref": "nope"}, 404),
        ("PUT", {"name": "main", "ref": 5}, 422),
        ("PUT", {}, 422),
        ("POST", {"name": "main"}, 422),
        ("POST", {"name": "--upload-pack=x"}, 422),
        ("POST", {"name": "a..b"}, 422),
        ("POST", {"name": 5}, 422),
    ],
)
def test_what_cannot_be_is_refused(shop: House, method: str, body: dict[str, Any], status: int) -> None:
    token = login(shop)
    shop.ok("PATCH", "/session", token=token, json={"workspace_id": "dev"})
    answer = shop.call(method, f"{HERE}/git_branch", token=token, json=body)
    assert answer.status_code == status, answer.text
    assert None not in answer.json().values()


def test_the_next_session_of_a_client_that_logs_in_again_goes_on_where_the_last_one_stood(
    shop: House,
) -> None:
    feature = shop.commit("feature", {"a.md": "1"})
    old = login(shop)
    shop.ok("PATCH", "/session", token=old, json={"workspace_id": "dev"})
    shop.ok("PUT", f"{HERE}/git_branch", token=old, json={"name": "feature"})
    early = login(shop)
    assert active(shop, early)[0] == "main"
    shop.time[0] += 3541 * 1000
    fresh = login(shop)
    assert active(shop, fresh) == ("feature", feature)
    assert active(shop, login(shop))[0] == "main"


def test_only_who_may_read_the_repository_sees_its_lookml(shop: House) -> None:
    assert shop.ok("GET", "/lookml_models", token=PLAIN) == []
    assert shop.call("GET", "/lookml_models/m/explores/a", token=PLAIN).status_code == 404
    assert shop.call("GET", f"{HERE}/manifest", token=PLAIN).status_code == 404
    shop.write(lambda tx: join(tx, "plain", "group/bakery", Role.GUEST))
    assert shop.ok("GET", "/lookml_models", token=PLAIN) == []
    for path in ("git_branch", "git_branches", "manifest", "files"):
        assert shop.call("GET", f"{HERE}/{path}", token=PLAIN).status_code == 403
    shop.write(lambda tx: join(tx, "plain", "group/bakery", Role.REPORTER))
    assert [m["name"] for m in shop.ok("GET", "/lookml_models", token=PLAIN)] == ["m"]
    assert shop.call("POST", f"{HERE}/validate", token=PLAIN).status_code == 403
    query = shop.ok("POST", "/queries", token=PLAIN, json={"model": "m", "view": "a", "fields": ["a.x"]})
    answer = shop.call("POST", "/query_tasks", token=PLAIN, json={"query_id": query["id"]})
    assert answer.status_code == 403


def test_old_sessions_are_swept(shop: House) -> None:
    token = login(shop)
    shop.ok("PATCH", "/session", token=token, json={"workspace_id": "dev"})
    keeper = next(r for r in DIALECT.rounds(shop.services) if "housekeeping" in r.name)
    shop.time[0] += 2 * 86_400_000
    shop.run(keeper.work())
    assert shop.read(lambda tx: tx.records("looker.session", None, None, Page())) == []
