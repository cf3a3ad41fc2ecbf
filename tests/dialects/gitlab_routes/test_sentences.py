"""Sentences of the contract that a judge tries one after the other, and that nothing else here tries
(contracts/gitlab.md §1.0 to §1.3, §3.12)."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.dialects.gitlab import routes_artifacts
from runyard.dialects.gitlab.shapes import trailers_of
from runyard.model.access import Role
from tests.services import PLAIN

from .conftest import House

LONG = "x" * 256
TOO_LONG = ["is too long (maximum is 255 characters)"]


def refused(house: House, method: str, path: str, body: Any, status: int = 400) -> Any:
    answer = house.call(method, path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize(
    "query", ["jobs?page=600&per_page=100", "pipelines?page=600&per_page=100", "pipelines?pagination=keyset&order_by=ref"],
)  # fmt: skip
def test_pages_that_a_list_does_not_have_are_405(house: House, query: str) -> None:
    answer = house.call("GET", f"/projects/{house.project()}/{query}")
    assert answer.status_code == 405
    assert "pagination" in answer.json()["error"]


def test_pipelines_are_narrowed_by_when_they_were_made_and_by_ref(house: House) -> None:
    project = house.project(config="a: {script: [x]}\n")
    house.call("POST", f"/projects/{project}/repository/branches", json={"branch": "f", "ref": "main"})
    ids = []
    for ref in ("main", "f", "main"):
        house.time[0] += 60_000
        ids.append(house.pipeline(project, ref=ref)["id"])
    rows = {row["id"]: row for row in house.get(f"/projects/{project}/pipelines")}

    def found(query: str) -> list[int]:
        return [row["id"] for row in house.get(f"/projects/{project}/pipelines?{query}")]

    middle = rows[ids[1]]["created_at"]
    assert found(f"created_after={middle}")[0] == ids[2] and ids[1] not in found(f"created_after={middle}")
    assert found(f"created_before={middle}")[0] == ids[0]
    newest = found("scope=branches")
    assert ids[2] in newest and ids[0] not in newest, "of each branch the newest alone"
    assert found("scope=tags") == []
    skipped = house.call(
        "POST", f"/projects/{project}/repository/files/n", json={"branch": "f", "content": "x", "commit_message": "n [skip ci]"}
    )  # fmt: skip
    assert skipped.status_code == 201
    assert found("status=skipped") and found("scope=finished") == [], "what was skipped has not finished"


def test_what_is_too_long_is_refused_and_never_cut(house: House) -> None:
    project = house.project()
    p, pipeline = f"/projects/{project}", house.pipeline(project)["id"]
    sha = house.get(f"{p}/repository/commits/main")["id"]
    for method, path, body, field in (
        ("PUT", f"{p}/pipelines/{pipeline}/metadata", {"name": LONG}, "name"),
        ("POST", f"{p}/triggers", {"description": LONG}, "description"),
        (
            "POST",
            f"{p}/variables",
            {"key": "A", "value": "1", "environment_scope": LONG},
            "environment_scope",
        ),
        ("POST", f"{p}/variables", {"key": "A", "value": "1", "description": LONG}, "description"),
        ("POST", f"{p}/statuses/{sha}", {"state": "success", "description": LONG}, "description"),
        ("POST", f"{p}/statuses/{sha}", {"state": "success", "name": LONG}, "name"),
        ("PUT", p, {"name": LONG}, "name"),
        ("POST", "/groups", {"name": LONG, "path": "other"}, "name"),
    ):
        assert refused(house, method, path, body) == {"message": {field: TOO_LONG}}, (method, path)
    assert house.get(f"{p}/variables") == []


def test_a_change_of_a_variable_is_judged_like_a_new_one(house: House) -> None:
    path = f"/projects/{house.project()}/variables"
    assert refused(house, "POST", path, {"key": "A"}) == {"error": "value is missing"}
    assert house.call("POST", path, json={"key": "A", "value": ""}).status_code == 201
    for scope in ("prod", "dev"):
        made = {"key": "K", "value": "short", "environment_scope": scope}
        assert house.call("POST", path, json=made).status_code == 201
    prod = f"{path}/K?filter[environment_scope]=prod"
    assert refused(house, "PUT", prod, {"masked": True}) == {"message": {"value": ["is invalid"]}}
    taken = refused(house, "PUT", prod, {"environment_scope": "dev"})
    assert taken == {"message": {"key": ["(K) has already been taken"]}}
    assert house.call("PUT", prod, json={"environment_scope": "stage"}).status_code == 200
    stage = f"{path}/K?filter[environment_scope]=stage"
    assert house.call("PUT", stage, json={"value": "longer-than-8", "masked": True}).json()["masked"]
    assert house.call("PUT", stage, json={"description": "why"}).status_code == 200, "its own scope is free"


def test_a_trigger_token_tells_when_it_was_changed_and_used(house: House) -> None:
    project = house.project()
    path = f"/projects/{project}/triggers"
    made = house.call("POST", path, json={"description": "hook"}).json()
    assert made["last_used"] is None and made["updated_at"] == made["created_at"]
    house.time[0] += 5_000
    changed = house.call("PUT", f"{path}/{made['id']}", json={"description": "other"}).json()
    assert changed["updated_at"] > made["updated_at"] and changed["last_used"] is None
    house.time[0] += 5_000
    fired = {"ref": "main", "token": made["token"]}
    run = house.call("POST", f"/projects/{project}/trigger/pipeline", token=None, json=fired).json()
    (row,) = house.get(path)
    assert (row["last_used"], row["updated_at"]) == (run["created_at"], changed["updated_at"])
    assert house.call("DELETE", f"{path}/{made['id']}").status_code == 204


def test_lint_knows_its_commit_and_tells_where_an_include_stands(house: House) -> None:
    config = "include: /more.yml\nby hand: {script: [x], when: manual}\nruled: {script: [x], rules: [{when: manual}]}\n"
    project = house.project(config=config, **{"more.yml": "c: {script: [x]}\n"})
    path = f"/projects/{project}/ci/lint"
    for query in ("content_ref=gone", "sha=gone"):
        answer = house.call("GET", f"{path}?{query}")
        assert (answer.status_code, answer.json()) == (404, {"message": "404 Commit Not Found"})
    found = house.get(f"{path}?include_jobs=true")
    jobs = {job["name"]: (job["allow_failure"], job["only"]) for job in found["jobs"]}
    usual = {"refs": ["branches", "tags"]}
    assert jobs == {"c": (False, usual), "by hand": (True, usual), "ruled": (False, None)}
    (include,) = found["includes"]
    sha = house.get(f"/projects/{project}/repository/commits/main")["id"]
    assert (include["context_project"], include["context_sha"]) == ("group/demo", sha)
    assert f"/blob/{sha}/more.yml" in include["blob"]
    dry = {"content": "a: {script: [x]}", "dry_run": True, "ref": "gone"}
    wrong = house.call("POST", path, json=dry).json()
    assert (wrong["valid"], wrong["errors"]) == (False, ["Reference not found"])


def test_runners_tell_who_made_them_and_what_they_lack(house: House) -> None:
    made = house.call("POST", "/user/runners", json={"runner_type": "instance_type"}).json()
    path = f"/runners/{made['id']}"
    assert house.get(path)["created_by"]["username"] == "root"
    assert "at least one parameter must be provided" in refused(house, "PUT", path, {"zz": 1})["error"]
    lacking = {
        "message": {"tags_list": ["can not be empty when runner is not allowed to pick untagged jobs"]}
    }
    assert refused(house, "PUT", path, {"run_untagged": False}) == lacking
    assert (
        refused(house, "POST", "/user/runners", {"runner_type": "instance_type", "run_untagged": False})
        == lacking
    )
    assert house.get(path)["status"] == "never_contacted"
    house.time[0] += 8 * 86_400_000
    assert house.get(path)["status"] == "stale"
    assert [row["id"] for row in house.get("/runners/all?status=stale")] == [made["id"]]


def test_branches_are_searched_as_gitlab_does(house: House) -> None:
    project = house.project()
    repo = f"/projects/{project}/repository"
    for name in ("feat/a", "a-fix", "fix"):
        house.call("POST", f"{repo}/branches", json={"branch": name, "ref": "main"})

    def found(query: str) -> list[str]:
        return [row["name"] for row in house.get(f"{repo}/branches", params=query)]

    assert found("search=fix") == ["a-fix", "fix"]
    assert found("search=^fix") == ["fix"]
    assert found("search=fix$") == ["a-fix", "fix"]
    assert found("search=^feat/a$") == ["feat/a"]
    assert found("regex=^(feat|main)") == ["feat/a", "main"]
    assert house.call("GET", f"{repo}/branches?regex=(").json() == {"error": "regex is invalid"}
    assert all(row["can_push"] for row in house.get(f"{repo}/branches"))
    house.join(project, Role.REPORTER)
    assert not any(row["can_push"] for row in house.get(f"{repo}/branches", token=PLAIN))


def test_a_tag_tells_its_message_to_the_api_and_to_jobs(house: House) -> None:
    project = house.project(
        config='a: {script: [x], tags: [linux], rules: [{if: "$CI_COMMIT_TAG_MESSAGE =~ /^Big/"}]}\n'
    )
    repo = f"/projects/{project}/repository"
    house.call("POST", f"{repo}/tags", json={"tag_name": "v1", "ref": "main", "message": "Big one\n\nReally"})
    house.call("POST", f"{repo}/tags", json={"tag_name": "v0", "ref": "main"})
    tags = {row["name"]: (row["message"], row["created_at"] is None) for row in house.get(f"{repo}/tags")}
    assert tags == {"v0": (None, True), "v1": ("Big one\n\nReally", False)}
    assert house.get(f"{repo}/tags/v1")["message"] == "Big one\n\nReally"
    assert [row["ref"] for row in house.get(f"/projects/{project}/pipelines")] == ["v1"]
    told = {row["key"]: row["value"] for row in house.claim(house.runner()).json()["variables"]}
    assert told["CI_COMMIT_TAG_MESSAGE"] == "Big one\n\nReally"


def test_a_job_is_told_its_namespace_as_the_api_shows_it(house: House) -> None:
    config = "a: {script: [x], tags: [linux], id_tokens: {T: {aud: a}}}\n"
    project = house.project("top/sub/app", config=config)
    house.call("PUT", f"/projects/{project}", json={"description": "What it is"})
    house.pipeline(project)
    payload = house.claim(house.runner()).json()
    told = {row["key"]: row["value"] for row in payload["variables"]}
    sub, top = house.get("/groups/top%2Fsub")["id"], house.get("/groups/top")["id"]
    assert (payload["job_info"]["namespace_id"], payload["job_info"]["root_namespace_id"]) == (sub, top)
    assert (told["CI_PROJECT_NAMESPACE_ID"], told["CI_PROJECT_DESCRIPTION"]) == (str(sub), "What it is")


def test_commits_carry_their_trailers() -> None:
    assert trailers_of("t\n\nbody\n\nSigned-off-by: A <a@b>\nReviewed-by: B\nReviewed-by: C\n") == {
        "Signed-off-by": ["A <a@b>"],
        "Reviewed-by": ["B", "C"],
    }
    assert trailers_of("t\n\nFixes: one\n  and two") == {"Fixes": ["one and two"]}
    for none in ("", "Fix: it", "t\n\nbody: yes\nbut a line more", "\n\nA: b"):
        assert trailers_of(none) == {}, none


def test_a_projects_artifacts_go_but_for_the_latest_of_each_ref(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes_artifacts, "BATCH", 2)
    project = house.project(
        config="a: {script: [x], tags: [linux], artifacts: {paths: [o], expire_in: 1 day}}\n"
    )
    token, made = house.runner(), []
    for state in ("success", "success", "failed"):
        house.pipeline(project)
        job = house.claim(token).json()
        at, headers = f"/jobs/{job['id']}/artifacts", {"JOB-TOKEN": job["token"]}
        for query in (
            "?artifact_type=archive&artifact_format=zip",
            "?artifact_type=metrics&artifact_format=gzip",
        ):
            sent = house.call(
                "POST", f"{at}{query}&expire_in=1d", token=None, files={"file": ("f", b"PK")}, headers=headers
            )
            assert sent.status_code == 201, sent.text
        house.call("PUT", f"/jobs/{job['id']}", token=None, json={"token": job["token"], "state": state})
        made.append(job["id"])
    gone = house.call("DELETE", f"/projects/{project}/artifacts")
    assert (gone.status_code, gone.json()) == (202, {"message": "202 Accepted"})
    left = {id: "artifacts_file" in house.get(f"/projects/{project}/jobs/{id}") for id in made}
    assert left == {made[0]: False, made[1]: True, made[2]: True}, (
        "the latest passed one and what came after it stay"
    )
