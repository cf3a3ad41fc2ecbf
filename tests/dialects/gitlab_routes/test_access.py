"""Members decide who sees what: every line of a project, asked by every role; groups hand roles down; job
tokens are let in by name only."""

from __future__ import annotations

import re

import pytest

from runyard.dialects.gitlab.desk import Desk, Door, Line
from runyard.dialects.gitlab.routes import table
from runyard.model.access import Role
from tests.services import PLAIN

from .conftest import House
from .test_runner import update, upload, zipped

# What GitLab's permission table asks for (doc/user/permissions.md, contracts/gitlab.md §1.3), by path after
# `/projects/{id}`: read, write.
LEAST = {
    r"/(jobs|pipelines|pipeline)\b": (Role.NONE, Role.DEVELOPER),
    r"/(variables|triggers|job_token_scope|runners)\b": (Role.MAINTAINER, Role.MAINTAINER),
    r"/(repository|environments|deployments|merge_requests)\b": (Role.REPORTER, Role.DEVELOPER),
    r"/pipeline_schedules\b": (Role.GUEST, Role.DEVELOPER),
    r"/(ci/lint|resource_groups)\b": (Role.DEVELOPER, Role.DEVELOPER),
    r"/statuses\b": (Role.REPORTER, Role.DEVELOPER),
}


def of_projects(house: House) -> list[Line]:
    lines = table(Desk(house.services))
    return [line for line in lines if line.path.startswith("/projects/{id}") and line.door is not Door.OPEN]


def ask(house: House, line: Line, project: int, token: str = PLAIN) -> int:
    path = re.sub(r"\{[^}]*\}", "999999", line.path.replace("{id}", str(project)))
    body = {} if line.method in ("GET", "HEAD") else {"json": {"access_level": 30, "user_id": 1}}
    return int(house.call(line.method, path, token=token, **body).status_code)


def test_a_stranger_hears_404_of_every_line(house: House) -> None:
    project = house.project()
    heard = {(line.method, line.path): ask(house, line, project) for line in of_projects(house)}
    assert {where: status for where, status in heard.items() if status != 404} == {}


@pytest.mark.parametrize("role", [Role.GUEST, Role.REPORTER, Role.DEVELOPER, Role.MAINTAINER])
def test_each_line_is_forbidden_below_its_role_and_open_from_it_on(house: House, role: Role) -> None:
    project = house.project()
    house.join(project, role)
    wrong = []
    for line in of_projects(house):
        if (line.method, line.path) == ("DELETE", "/projects/{id}") and role >= line.least_role:
            continue
        status = ask(house, line, project)
        if role < line.least_role and status != 403:
            wrong.append((line.method, line.path, line.least_role, status))
        if role >= line.least_role and status == 403 and "members" not in line.path:
            wrong.append((line.method, line.path, "open", status))
    # Refusals that do not come from the door: runners that cannot be lent, a mirror of this machine.
    wrong = [w for w in wrong if not w[1].startswith(("/projects/{id}/runners", "/projects/{id}/mirror"))]
    assert wrong == []


def test_the_lines_ask_for_the_roles_of_gitlabs_table(house: House) -> None:
    for line in of_projects(house):
        rest = line.path.removeprefix("/projects/{id}")
        for pattern, (read, write) in LEAST.items():
            if re.match(pattern, rest):
                least = read if line.method in ("GET", "HEAD") else write
                assert line.least_role >= least, (line.method, line.path)
                break


def test_public_and_internal_projects_are_read_without_membership(house: House) -> None:
    project = house.project()
    for visibility, stranger, nobody in (("internal", 200, 401), ("public", 200, 200)):
        house.call("PUT", f"/projects/{project}", json={"visibility": visibility})
        for path in ("", "/jobs", "/pipelines", "/repository/branches", "/environments"):
            assert house.call("GET", f"/projects/{project}{path}", token=PLAIN).status_code == stranger
            assert house.call("GET", f"/projects/{project}{path}", token=None).status_code == nobody
        for path in ("/variables", "/triggers"):
            assert house.call("GET", f"/projects/{project}{path}", token=PLAIN).status_code == 403
        started = house.call("POST", f"/projects/{project}/pipeline", token=PLAIN, json={"ref": "main"})
        assert started.status_code == 403


def test_lists_show_what_one_may_see(house: House) -> None:
    seen, _ = house.project("a/seen"), house.project("b/hidden")
    assert house.get("/projects", token=PLAIN) == []
    house.join(seen, Role.GUEST)
    (row,) = house.get("/projects", token=PLAIN)
    assert row["id"] == seen and row["permissions"]["project_access"]["access_level"] == 10
    assert [p["path_with_namespace"] for p in house.get("/projects?membership=true", token=PLAIN)] == [
        "a/seen"
    ]
    assert house.get("/projects?owned=1", token=PLAIN) == []
    assert [g["full_path"] for g in house.get("/groups", token=PLAIN)] == ["a"]
    assert len(house.get("/projects")) == 2


def test_a_groups_role_reaches_down_and_ends_on_its_day(house: House) -> None:
    project = house.project("top/mid/app")
    top = house.get("/groups/top")["id"]
    given = {"username": "plain", "access_level": 30, "expires_at": "2027-06-01"}
    assert house.call("POST", f"/groups/{top}/members", json=given).status_code == 201
    assert house.call("POST", f"/groups/{top}/members", json=given).status_code == 409
    assert (
        house.get(f"/projects/{project}", token=PLAIN)["permissions"]["project_access"]["access_level"] == 30
    )
    assert [m["username"] for m in house.get(f"/projects/{project}/members/all", token=PLAIN)] == [
        "root",
        "plain",
    ]
    assert [m["username"] for m in house.get(f"/projects/{project}/members", token=PLAIN)] == []
    house.time[0] += 400 * 86_400_000
    assert house.call("GET", f"/projects/{project}", token=PLAIN).status_code == 404
    assert house.get("/projects", token=PLAIN) == []


def test_nobody_gives_more_than_they_have_and_members_may_leave(house: House) -> None:
    project = house.project()
    house.join(project, Role.MAINTAINER)
    path = f"/projects/{project}/members"
    ada = house.call("POST", "/users", json={"username": "ada"}).json()["id"]

    def add(level: int) -> int:
        return int(
            house.call("POST", path, token=PLAIN, json={"user_id": ada, "access_level": level}).status_code
        )

    assert [add(50), add(13), add(40)] == [403, 400, 201]
    changed = house.call("PUT", f"{path}/{ada}", token=PLAIN, json={"access_level": 20})
    assert (changed.status_code, changed.json()["access_level"]) == (200, 20)
    me = house.get("/user", token=PLAIN)["id"]
    assert house.call("DELETE", f"{path}/{me}", token=PLAIN).status_code == 204
    assert house.call("GET", path, token=PLAIN).status_code == 404
    assert house.call("PUT", f"{path}/{me}", json={"access_level": 20}).status_code == 404


def test_who_makes_a_group_owns_it_and_the_last_owner_stays(house: House) -> None:
    made = house.call("POST", "/groups", token=PLAIN, json={"name": "Mine", "path": "mine"})
    assert made.status_code == 201
    group = made.json()["id"]
    me = house.get("/user", token=PLAIN)["id"]
    assert house.call("DELETE", f"/groups/{group}/members/{me}", token=PLAIN).status_code == 403
    sub = house.call("POST", "/groups", token=PLAIN, json={"name": "Sub", "path": "sub", "parent_id": group})
    assert (sub.json()["full_path"], sub.json()["parent_id"]) == ("mine/sub", group)
    project = house.call(
        "POST", "/projects", token=PLAIN, json={"name": "app", "namespace_id": sub.json()["id"]}
    )
    assert project.json()["path_with_namespace"] == "mine/sub/app"
    other = house.call("POST", "/projects", token=PLAIN, json={"name": "app", "namespace_path": "fresh"})
    assert other.json()["permissions"]["project_access"]["access_level"] == 50
    assert house.call("DELETE", f"/groups/{group}", token=PLAIN).status_code == 400
    assert [p["path"] for p in house.get(f"/groups/{group}/projects?include_subgroups=1", token=PLAIN)] == [
        "app"
    ]
    assert house.get(f"/groups/{group}/projects", token=PLAIN) == []
    assert [g["path"] for g in house.get(f"/groups/{group}/subgroups", token=PLAIN)] == ["sub"]


def test_a_stranger_puts_nothing_into_a_group_and_does_not_hear_of_it(house: House) -> None:
    house.project("secret/app")
    body = {"name": "mine", "namespace_path": "secret"}
    assert house.call("POST", "/projects", token=PLAIN, json=body).status_code == 404
    assert house.call("GET", "/groups/secret", token=PLAIN).status_code == 404
    own = house.call("POST", "/projects", token=PLAIN, json={"name": "mine"})
    assert own.json()["path_with_namespace"] == "plain/mine" and own.json()["namespace"]["kind"] == "user"


def test_other_projects_jobs_are_let_in_by_name_only(house: House) -> None:
    home, other = house.project("g/home"), house.project("h/other")
    house.pipeline(home)
    job = house.claim(house.runner()).json()["token"]
    headers = {"JOB-TOKEN": job}

    def look() -> int:
        return int(house.call("GET", f"/projects/{other}/jobs", token=None, headers=headers).status_code)

    scope = f"/projects/{other}/job_token_scope"
    assert house.get(scope) == {"inbound_enabled": True, "outbound_enabled": False}
    assert look() == 404
    assert house.call("POST", f"{scope}/allowlist", json={"target_project_id": home}).status_code == 201
    assert house.call("POST", f"{scope}/allowlist", json={"target_project_id": home}).status_code == 400
    assert look() == 200
    assert {p["id"] for p in house.get(f"{scope}/allowlist")} == {home, other}
    assert house.call("DELETE", f"{scope}/allowlist/{home}").status_code == 204
    assert look() == 404
    group = house.get("/groups/g")["id"]
    house.call("POST", f"{scope}/groups_allowlist", json={"target_group_id": group})
    assert look() == 200
    house.call("DELETE", f"{scope}/groups_allowlist/{group}")
    assert house.call("PATCH", scope, json={"enabled": False}).status_code == 204
    assert look() == 200 and house.get(scope)["inbound_enabled"] is False


def test_artifacts_access_binds_people_and_not_the_jobs_that_need_them(house: House) -> None:
    """Nobody, maintainers, developers, all: by job, by file, by ref; `public: false` is developers. A need
    downloads all the same."""
    jobs = {
        "all": "",
        "old": "public: false,",
        "developer": "access: developer,",
        "maintainer": "access: maintainer,",
        "none": "access: none,",
    }
    config = "".join(
        f"{name}: {{stage: build, script: [x], artifacts: {{{access} paths: [a]}}}}\n" for name, access in jobs.items()
    )  # fmt: skip
    project = house.project(config=config + "use: {script: [x], needs: [none]}\n")
    house.call("PUT", f"/projects/{project}", json={"visibility": "public"})
    house.pipeline(project)
    runner = house.runner()
    ids = {}
    for _ in jobs:
        job = house.claim(runner).json()
        ids[job["job_info"]["name"]] = job["id"]
        upload(house, job, zipped(a="1"), artifact_type="archive", artifact_format="zip")
        update(house, job, "success")
    use = house.claim(runner).json()
    assert [d["name"] for d in use["dependencies"]] == ["none"]
    got = house.call("GET", f"/jobs/{ids['none']}/artifacts", token=None, headers={"JOB-TOKEN": use["token"]})
    assert got.status_code == 200
    update(house, use, "success")

    def readable() -> set[str]:
        found = set()
        for name, number in ids.items():
            paths = (
                f"jobs/{number}/artifacts",
                f"jobs/{number}/artifacts/a",
                f"jobs/artifacts/main/raw/a?job={name}",
            )
            codes = {house.call("GET", f"/projects/{project}/{p}", token=PLAIN).status_code for p in paths}
            assert codes in ({200}, {403}), (name, codes)
            found |= {name} if codes == {200} else set()
        return found

    assert readable() == {"all"}
    house.join(project, Role.DEVELOPER)
    assert readable() == {"all", "old", "developer"}
    member = house.get("/user", token=PLAIN)["id"]
    house.call("PUT", f"/projects/{project}/members/{member}", json={"access_level": Role.MAINTAINER})
    assert readable() == {"all", "old", "developer", "maintainer"}
    assert house.call("GET", f"/projects/{project}/jobs/{ids['none']}/artifacts").status_code == 403
    assert (
        house.call("GET", f"/projects/{project}/jobs/{ids['all']}/artifacts", token=None).status_code == 200
    )
