"""Every route, every kind of stranger: the table itself is the list, so a new route cannot be forgotten."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from runyard.dialects.gitlab.desk import Desk, Door
from runyard.dialects.gitlab.paths import segmented
from runyard.dialects.gitlab.routes import table
from runyard.model.access import Role


def lines(house: Any) -> list[Any]:
    return table(Desk(house.services))


def written(path: str, project: int) -> str:
    path = path.replace("{id}", str(project)).replace("{rest:path}", "main/download")
    return re.sub(r"\{[^}]*\}", "1", path)


def test_without_a_good_token_every_route_refuses(house: Any) -> None:
    project = house.project()
    house.pipeline(project)
    for line in lines(house):
        path = written(line.path, project)
        for headers in (
            {},
            {"PRIVATE-TOKEN": "garbage"},
            {"Authorization": "Bearer nope"},
            {"JOB-TOKEN": "glcbt-1-x"},
            {"Authorization": "Key glpat-root"},
        ):
            answer = house.call(
                line.method,
                path,
                token=None,
                headers=headers,
                **({} if line.method in ("GET", "HEAD") else {"json": {"token": "x", "ref": "main"}}),
            )
            allowed = (400, 401, 403, 404) if line.door is Door.OPEN else (401,)
            assert answer.status_code in allowed, (line.method, line.path, headers, answer.text)
            if line.method != "HEAD":
                assert answer.json().keys() <= {"message", "error"}


def test_the_same_for_a_project_that_is_not_there(house: Any) -> None:
    for line in lines(house):
        if line.path.startswith("/projects/{id}") and line.method != "HEAD":
            body = {} if line.method == "GET" else {"json": {"token": "x", "ref": "main"}}
            answer = house.call(line.method, written(line.path, 77), **body)
            assert (answer.status_code, answer.json()) == (404, {"message": "404 Project Not Found"}), line


def test_no_route_ever_fails_inside(house: Any) -> None:
    """Odd but well-formed requests of an administrator; a 5xx would raise."""
    project = house.project()
    house.pipeline(project)
    odd = [{"json": {}}, {"json": {"ref": 5, "variables": {"a": []}, "name": None}}, {"data": {"a[b][c]": "1", "variables[][key]": "x"}}, {"content": b"{", "headers": {"Content-Type": "application/json"}},
           {"content": b"[1]", "headers": {"Content-Type": "application/json"}}, {"content": b"\xff\xfe", "headers": {"Content-Type": "text/yaml"}},
        {"content": b'{"token": "\\ud800", "key": "A", "value": "\\ud800", "ref": "\\ud800"}', "headers": {"Content-Type": "application/json"}}]  # fmt: skip
    for line in lines(house):
        if line.method == "DELETE" and line.path == "/projects/{id}":
            continue
        for body in (
            odd
            if line.method not in ("GET", "HEAD")
            else [{}, {"params": {"scope[]": "x", "page": "z", "status": "9", "ref": "-x", "job": "\x00"}}]
        ):
            answer = house.call(line.method, written(line.path, project), **body)
            assert answer.status_code < 500, (line, body, answer.text)


def test_a_stranger_may_read_a_public_project_and_nothing_else(house: Any) -> None:
    project = house.project()
    house.call("PUT", f"/projects/{project}", json={"visibility": "public"})
    assert house.call("GET", f"/projects/{project}", token=None).status_code == 200
    assert house.call("GET", f"/projects/{project}/jobs", token=None).status_code == 200
    assert (
        house.call("POST", f"/projects/{project}/pipeline", token=None, json={"ref": "main"}).status_code
        == 401
    )
    assert house.call("GET", f"/projects/{project}", token="garbage").status_code == 401
    assert house.call("GET", f"/projects/{project}/variables", token=None).status_code == 401


def test_an_administrators_route_refuses_others(house: Any) -> None:
    project = house.project()
    assert house.call("DELETE", f"/projects/{project}", token="glpat-plain").status_code == 404
    house.join(project, Role.MAINTAINER)
    for method, path in (
        ("GET", "/runners/all"),
        ("GET", "/admin/ci/variables"),
        ("DELETE", f"/projects/{project}"),
    ):
        answer = house.call(method, path, token="glpat-plain")
        assert (answer.status_code, answer.json()) == (403, {"message": "403 Forbidden"})


@pytest.mark.parametrize(
    "headers",
    [
        {"Private-Token": "glpat-root"},
        {"Authorization": "Bearer glpat-root"},
        {"authorization": "bearer glpat-root"},
    ],
)
def test_tokens_in_every_header(house: Any, headers: dict[str, str]) -> None:
    assert house.call("GET", "/user", token=None, headers=headers).json()["username"] == "root"


def test_tokens_in_parameters(house: Any) -> None:
    assert house.call("GET", "/user?private_token=glpat-root", token=None).status_code == 200
    assert house.call("GET", "/user?access_token=glpat-root", token=None).status_code == 200
    answer = house.call("GET", "/projects?private_token=glpat-root", token=None)
    assert "glpat-root" not in answer.headers["link"]


def test_unknown_routes_and_methods(house: Any) -> None:
    for path in (
        "/nope",
        "/projects/1/nope/x",
        "/user/",
        "//user",
        "/user;x",
        "/USER",
        "/user/%2e%2e/user",
        "/user%00",
    ):
        answer = house.call("GET", path)
        assert (answer.status_code, answer.json()) == (404, {"error": "404 Not Found"}), path
    answer = house.call("PATCH", "/user")
    assert (answer.status_code, answer.json()) == (
        405,
        {"message": "405 Method Not Allowed"},
    ) and "GET" in answer.headers["allow"]
    assert house.call("POST", "/user", headers={"X-HTTP-Method-Override": "GET"}).status_code == 405


def test_paths_are_decoded_once() -> None:
    assert segmented(b"/projects/a%2Fb/jobs") == "/projects/a\x1fb/jobs"
    assert segmented(b"/x/%252F") == "/x/%2F"
    assert segmented(b"/x/%1f") is None and segmented(b"/x/%ff") is None


def test_the_openapi_page_lists_every_route(house: Any) -> None:
    answer = house.call("GET", "/openapi.json", token=None)
    assert answer.status_code == 200
    shown = answer.json()["paths"]
    for line in lines(house):
        path = "/api/v4" + line.path.replace(":path}", "}")
        assert line.method.lower() in shown[path], path


@pytest.mark.parametrize(
    "path",
    ["/projects/{id}/releases", "/projects/{id}/pages", "/projects/{id}/packages", "/projects/{id}/cluster_agents",
     "/projects/{id}/registry/repositories", "/projects/{id}/merge_trains", "/projects/{id}/vulnerabilities"],
)  # fmt: skip
def test_what_is_refused_is_refused_in_gitlabs_shape(house: Any, path: str) -> None:
    answer = house.call("GET", path.replace("{id}", str(house.project())))
    assert (answer.status_code, answer.json()) == (404, {"error": "404 Not Found"})


def test_graphql_is_refused_in_gitlabs_shape(house: Any) -> None:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=house.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://ci.test") as client:
            return await client.post("/api/graphql", json={"query": "{}"})

    answer = house.run(send())
    assert (answer.status_code, answer.json()) == (404, {"error": "404 Not Found"})
