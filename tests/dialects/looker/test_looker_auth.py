"""Login in every form, tokens, paths as the SDKs write them, error bodies that the SDKs can read."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.services import PLAIN, ROOT

from .conftest import House, bakery


def login(house: House, **more: Any) -> httpx.Response:
    return house.call("POST", "/login", token=None, **more)


@pytest.mark.parametrize(
    "more",
    [
        {"data": {"client_id": "root", "client_secret": ROOT}},
        {"json": {"client_id": "root", "client_secret": ROOT}},
        {"params": {"client_id": "root", "client_secret": ROOT}},
        # The Python SDK's bug: JSON under a form's Content-Type.
        {
            "content": f'{{"client_id": "root", "client_secret": "{ROOT}"}}',
            "headers": {"Content-Type": "application/x-www-form-urlencoded"},
        },
    ],
)
def test_login_takes_every_form(house: House, more: dict[str, Any]) -> None:
    answer = login(house, **more)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    me = house.call("GET", "/user", token=None, headers={"Authorization": f"Bearer {body['access_token']}"})
    assert me.json()["display_name"] == "Root"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"client_id": "root"},
        {"client_id": "root", "client_secret": "no"},
        {"client_id": "plain", "client_secret": ROOT},
    ],
)
def test_bad_credentials_are_not_found(house: House, given: dict[str, str]) -> None:
    answer = login(house, data=given)
    assert answer.status_code == 404
    assert set(answer.json()) == {"message", "documentation_url"}


@pytest.mark.parametrize("path", ["/api/logout", "/api/4.0/logout", "//api//4.0/logout"])
def test_logout_ends_the_session(house: House, path: str) -> None:
    token = login(house, data={"client_id": "root", "client_secret": ROOT}).json()["access_token"]
    assert house.call("DELETE", path, token=token).status_code == 204
    assert house.call("GET", "/user", token=token).status_code == 401
    assert house.call("DELETE", "/logout").status_code == 204  # a personal token survives
    assert house.call("GET", "/user").status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Basic cm9vdDp4", "token wrong", "Bearer " + "x" * 4000])
def test_without_a_good_token_nothing_but_login_and_versions(house: House, header: str) -> None:
    for method, path in [
        ("GET", "/user"),
        ("GET", "/connections"),
        ("POST", "/projects/1/ci/run"),
        ("DELETE", "/logout"),
    ]:
        answer = house.call(method, path, token=None, headers={"Authorization": header} if header else {})
        assert (answer.status_code, answer.json()["message"]) == (401, "Requires authentication.")
    assert house.call("GET", "/versions", token=None).json()["current_version"]["version"] == "4.0"


def test_api_credentials_log_in_as_their_user(house: House) -> None:
    made = house.ok("POST", "/users/2/credentials_api3")
    answer = login(house, data={"client_id": made["client_id"], "client_secret": made["client_secret"]})
    token = answer.json()["access_token"]
    assert house.call("GET", "/user", token=token).json()["id"] == "2"
    assert house.call("POST", "/users/1/credentials_api3", token=PLAIN).status_code == 403
    assert house.call("POST", "/users/99/credentials_api3").status_code == 404


def test_an_administrator_can_act_as_someone(house: House) -> None:
    token = house.ok("POST", "/login/2")["access_token"]
    assert house.call("GET", "/user", token=token).json()["id"] == "2"
    assert house.call("POST", "/login/1", token=PLAIN).status_code == 403
    assert house.call("POST", "/login/x").status_code == 404


def test_the_workspace_is_kept_with_the_session(house: House) -> None:
    assert house.ok("GET", "/session")["workspace_id"] == "production"
    assert house.ok("PATCH", "/session", json={"workspace_id": "dev"})["workspace_id"] == "dev"
    assert house.ok("GET", "/session")["workspace_id"] == "dev"
    assert house.ok("GET", "/session", token=PLAIN)["workspace_id"] == "production"
    answer = house.call("PATCH", "/session", json={"workspace_id": "x"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "workspace_id"


@pytest.mark.parametrize("spelling", ["group%2Fbakery", "group%2fbakery", "1", "bakery", "BAKERY"])
def test_a_project_is_named_by_path_id_or_last_name(house: House, spelling: str) -> None:
    house.push(bakery())
    assert house.ok("GET", f"/projects/{spelling}/continuous_integration/suites") == []
    assert house.ok("GET", f"/projects/{spelling}")["git_production_branch_name"] == "main"
    assert [p["id"] for p in house.ok("GET", "/projects")] == ["group/bakery"]


def test_errors_have_lookers_shape_and_never_null(house: House) -> None:
    house.push({"a.md": ""})
    cases = [
        ("GET", "/projects/nope/continuous_integration/suites", 404, {}),
        ("GET", "/projects/1/continuous_integration/runs/77", 404, {}),
        ("GET", "/projects/1/ci/runs/x", 404, {}),
        ("GET", "/nothing/like/that", 404, {}),
        ("PUT", "/projects/1/ci/run", 405, {}),
        ("POST", "/projects/1/ci/run", 422, {"json": {}}),
        ("POST", "/projects/1/ci/run", 422, {"json": {"suite_id": " "}}),
        ("POST", "/projects/1/ci/run", 404, {"json": {"suite_id": "5"}}),
        ("POST", "/projects/1/ci/run", 400, {"content": "{"}),
        ("POST", "/projects/1/ci/run", 400, {"content": "[1]"}),
        ("POST", "/projects/1/ci/run", 400, {"content": "[" * 100_000}),
        ("POST", "/projects/1/ci/run", 400, {"content": b"\xff\xfe"}),
        ("POST", "/projects/1/ci/run", 413, {"content": "x" * (2 << 20)}),
        ("GET", "/projects/1/continuous_integration/suites?limit=0", 422, {}),
        ("GET", "/projects/1/continuous_integration/suites?limit=1e3", 422, {}),
        ("GET", "/projects/1/continuous_integration/runs/search?status=odd", 422, {}),
        ("GET", "/projects/1/continuous_integration/runs/search?sorts=title", 422, {}),
        ("GET", "/projects/" + "9" * 30 + "/continuous_integration/suites", 404, {}),
        ("GET", "/user?fields=" + "(" * 100, 400, {}),
        ("GET", "/user?fields=" + "x," * 8000, 400, {}),
    ]
    for method, path, status, more in cases:
        answer = house.call(method, path, **more)
        assert answer.status_code == status, (path, answer.text)
        body = answer.json()
        assert isinstance(body["message"], str) and isinstance(body["documentation_url"], str)
        assert ("errors" in body) == (status == 422)
        for detail in body.get("errors", ()):
            assert all(isinstance(detail[k], str) for k in ("field", "code", "message", "documentation_url"))


def test_fields_keep_only_what_is_asked(house: House) -> None:
    assert house.ok("GET", "/user?fields=id,nothing") == {"id": "1"}
    assert house.ok("GET", "/versions?fields=current_version(version),api_server_url") == {
        "current_version": {"version": "4.0"},
        "api_server_url": "http://ci.test",
    }
