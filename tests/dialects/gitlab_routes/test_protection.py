"""Protected branches and tags: the API, and everything that follows them."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.engine.ports import RefUpdate
from runyard.http.gitdoor import push_refused
from runyard.model import protection
from runyard.model.access import Role
from runyard.model.protection import BRANCHES, TAGS, Protection
from runyard.model.trigger import ZERO_SHA
from runyard.model.work import Project

PLAIN = Project(1, "g/a", default_branch="main")
STRICT = protection.with_rules(
    protection.with_rules(
        PLAIN, BRANCHES, [Protection("main"), Protection("release/*", 30, 40), Protection("frozen", 0, 0), Protection("admins", 60, 60)]
    ), TAGS, [Protection("v*", 40)],
)  # fmt: skip


@pytest.mark.parametrize(
    ("project", "ref", "tag", "protected"),
    [
        (PLAIN, "main", False, True),
        (PLAIN, "main", True, False),  # a tag of that name is no branch
        (PLAIN, "v1", True, False),
        (STRICT, "main", False, True),
        (STRICT, "release/1/2", False, True),
        (STRICT, "release", False, False),
        (STRICT, "v1", True, True),
        (STRICT, "v1", False, False),
        (protection.with_rules(PLAIN, BRANCHES, []), "main", False, False),
    ],
)
def test_which_refs_are_protected(project: Project, ref: str, tag: bool, protected: bool) -> None:
    assert protection.is_protected(project, ref, tag) is protected


@pytest.mark.parametrize(
    ("ref", "level", "admin", "push", "run"),
    [
        ("main", 30, False, False, False),
        ("main", 40, False, True, True),
        ("release/1", 30, False, True, True),
        ("frozen", 50, True, False, False),
        ("admins", 50, False, False, False),
        ("admins", 50, True, True, True),
        ("free", 30, False, True, True),
    ],
)
def test_who_may_push_and_run(ref: str, level: int, admin: bool, push: bool, run: bool) -> None:
    assert protection.may_push(STRICT, ref, False, level, admin) is push
    assert protection.may_run(STRICT, ref, False, level, admin) is run


@pytest.mark.parametrize(
    ("ref", "after", "role", "words"),
    [
        ("refs/heads/main", "1" * 40, Role.DEVELOPER, "not allowed to push"),
        ("refs/heads/main", "1" * 40, Role.MAINTAINER, ""),
        ("refs/heads/main", ZERO_SHA, Role.MAINTAINER, "cannot be deleted"),
        ("refs/tags/v1", "1" * 40, Role.DEVELOPER, "protected tag v1"),
        ("refs/tags/other", ZERO_SHA, Role.DEVELOPER, ""),
        ("refs/notes/x", "1" * 40, Role.DEVELOPER, ""),
    ],
)
def test_what_a_push_is_refused(ref: str, after: str, role: Role, words: str) -> None:
    said = push_refused(STRICT, RefUpdate(ref, "2" * 40, after), role, False)
    assert words in said and bool(said) is bool(words)


def test_protect_look_change_unprotect(house: Any) -> None:
    project = house.project()
    path = f"/projects/{project}/protected_branches"
    [first] = house.get(path)
    assert (first["name"], first["push_access_levels"][0]["access_level"]) == ("main", 30)
    made = house.call(
        "POST", path, json={"name": "release/*", "push_access_level": 0, "merge_access_level": 40}
    )
    assert (
        made.status_code == 201
        and made.json()["push_access_levels"][0]["access_level_description"] == "No one"
    )
    again = house.call("POST", path, json={"name": "release/*"})
    assert (again.status_code, again.json()["message"]) == (
        409,
        "409 Conflict - Protected branch 'release/*' already exists",
    )
    assert house.call("POST", path, json={"name": "x", "push_access_level": 35}).status_code == 400
    assert [row["name"] for row in house.get(path)] == ["main", "release/*"]
    assert [row["name"] for row in house.get(f"{path}?search=rel")] == ["release/*"]
    changed = house.call("PATCH", f"{path}/release%2F%2A", json={"allow_force_push": True})
    assert changed.status_code == 200 and changed.json()["allow_force_push"] is True
    assert house.call("DELETE", f"{path}/main").status_code == 204
    assert house.call("GET", f"{path}/main").status_code == 404
    assert house.get(f"/projects/{project}/repository/branches/main")["protected"] is False


def test_protected_tags(house: Any) -> None:
    project = house.project()
    house.join(project, Role.DEVELOPER)
    path, tags = f"/projects/{project}/protected_tags", f"/projects/{project}/repository/tags"
    assert house.get(path) == []
    assert house.call("POST", path, json={"name": "v*", "create_access_level": 40}).status_code == 201
    assert house.call("POST", tags, "glpat-plain", json={"tag_name": "v1", "ref": "main"}).status_code == 403
    assert house.call("POST", tags, json={"tag_name": "v1", "ref": "main"}).status_code == 201
    assert house.get(f"{tags}/v1")["protected"] is True
    assert house.call("DELETE", f"{tags}/v1", "glpat-plain").status_code == 403
    assert house.call("DELETE", f"{path}/v*").status_code == 204


def test_developers_stay_off_a_protected_branch(house: Any) -> None:
    project = house.project()
    house.join(project, Role.DEVELOPER)
    rules, plain = f"/projects/{project}/protected_branches", "glpat-plain"
    body = {"branch": "main", "commit_message": "m", "content": "x"}
    file = f"/projects/{project}/repository/files/new.txt"
    assert house.call("PATCH", f"{rules}/main", plain, json={"push_access_level": 30}).status_code == 403
    house.call("PATCH", f"{rules}/main", json={"push_access_level": 40, "merge_access_level": 40})
    assert house.call("POST", file, plain, json=body).status_code == 403
    refused = house.call("POST", f"/projects/{project}/pipeline", plain, json={"ref": "main"})
    assert refused.status_code == 400 and "sufficient permission" in refused.json()["message"]["base"][0]
    assert house.call("POST", f"/projects/{project}/pipeline", json={"ref": "main"}).status_code == 201
    branches = f"/projects/{project}/repository/branches"
    assert house.call("POST", branches, plain, json={"branch": "mine", "ref": "main"}).status_code == 201
    house.call("POST", rules, json={"name": "mi*", "push_access_level": 30})
    assert house.call("DELETE", f"{branches}/mine", plain).status_code == 403


@pytest.mark.parametrize("verb", ["cancel", "retry", "play", "erase"])
def test_jobs_of_a_protected_branch_are_for_those_whom_it_takes(house: Any, verb: str) -> None:
    project = house.project()
    house.join(project, Role.DEVELOPER)
    run = house.pipeline(project)
    jobs = {job["name"]: job["id"] for job in house.get(f"/projects/{project}/pipelines/{run['id']}/jobs")}
    rules, plain = f"/projects/{project}/protected_branches/main", "glpat-plain"
    house.call("PATCH", rules, json={"push_access_level": 40, "merge_access_level": 40})
    path = f"/projects/{project}/jobs/{jobs['deploy']}/{verb}"
    refused = house.call("POST", path, plain)
    assert (refused.status_code, refused.json()) == (403, {"message": "403 Forbidden"})
    house.call("PATCH", rules, json={"merge_access_level": 30})
    # Now it is let in: what is said is about the job.
    assert house.call("POST", path, plain).json() != {"message": "403 Forbidden"}


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_pipelines_of_a_protected_branch_too(house: Any, verb: str) -> None:
    project = house.project()
    house.join(project, Role.DEVELOPER)
    path = f"/projects/{project}/pipelines/{house.pipeline(project)['id']}/{verb}"
    rules, plain = f"/projects/{project}/protected_branches/main", "glpat-plain"
    house.call("PATCH", rules, json={"push_access_level": 40, "merge_access_level": 40})
    assert house.call("POST", path, plain).status_code == 403
    assert house.call("POST", path).status_code in (200, 201)


def test_variables_and_runners_follow(house: Any) -> None:
    project = house.project(config="a: {script: [x]}")
    house.call(
        "POST", f"/projects/{project}/variables", json={"key": "SHUT", "value": "in", "protected": True}
    )
    house.call("POST", f"/projects/{project}/repository/branches", json={"branch": "side", "ref": "main"})
    token = house.runner(tag_list="", run_untagged=True, access_level="ref_protected")

    def has_secret(ref: str) -> bool | None:
        house.pipeline(project, ref=ref)
        job = house.claim(token)
        if job.status_code == 204:
            return None
        variables = {row["key"]: row["value"] for row in job.json()["variables"]}
        assert variables["CI_COMMIT_REF_PROTECTED"] == "true"
        return variables.get("SHUT") == "in"

    assert has_secret("side") is None  # this runner works for protected refs only
    assert has_secret("main") is True
    house.call("POST", f"/projects/{project}/protected_branches", json={"name": "s*"})
    assert has_secret("side") is True
