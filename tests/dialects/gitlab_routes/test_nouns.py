"""The smaller nouns: triggers, groups' variables, runners, resource groups, edits by API, merge requests,
bridges."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from runyard.engine import trigger
from runyard.model.plan import Bridge, JobPlan, Plan, WorkflowPlan
from runyard.model.trigger import Trigger
from runyard.model.work import Attempt, Project, Run

from .conftest import House

MERGE_CONFIG = """
check: {script: [make], rules: [{if: '$CI_PIPELINE_SOURCE == "merge_request_event"'}]}
build: {script: [make], rules: [{if: '$CI_PIPELINE_SOURCE != "merge_request_event"'}]}
"""


def test_trigger_tokens_are_listed_described_and_deleted(house: House) -> None:
    project = house.project()
    path = f"/projects/{project}/triggers"
    made = house.call("POST", path, json={"description": "hook"}).json()
    assert house.call("POST", path, json={}).json() == {"error": "description is missing"}
    (row,) = house.get(path)
    assert (
        row["id"] == made["id"] and row["token"] != made["token"] and made["token"].startswith(row["token"])
    )
    assert (
        house.call("PUT", f"{path}/{row['id']}", json={"description": "other"}).json()["description"]
        == "other"
    )
    fired = {"ref": "main", "token": made["token"]}
    assert (
        house.call("POST", f"/projects/{project}/trigger/pipeline", token=None, json=fired).status_code == 201
    )
    assert house.call("DELETE", f"{path}/{row['id']}").status_code == 204
    assert (
        house.call("POST", f"/projects/{project}/trigger/pipeline", token=None, json=fired).status_code == 404
    )
    assert house.call("GET", f"{path}/{row['id']}").status_code == 404


def test_variables_of_groups_and_environments_reach_the_right_jobs(house: House) -> None:
    project = house.project("top/sub/app", config="a: {script: [x], tags: [linux]}")
    top, sub = house.get("/groups/top")["id"], house.get("/groups/top%2Fsub")["id"]
    for path, value in (
        ("/admin/ci/variables", "instance"),
        (f"/groups/{top}/variables", "top"),
        (f"/groups/{sub}/variables", "sub"),
    ):
        made = house.call("POST", path, json={"key": "WHO", "value": value})
        assert made.status_code == 201, made.text
    house.call("POST", f"/groups/{top}/variables", json={"key": "TOP", "value": "only"})
    prod = {"key": "SCOPED", "value": "no", "environment_scope": "production"}
    house.call("POST", f"/projects/{project}/variables", json=prod)
    assert house.get(f"/groups/{sub}/variables/WHO")["value"] == "sub"
    assert house.call("GET", f"/groups/{sub}/variables/TOP").status_code == 404
    house.pipeline(project)
    given = {v["key"]: v["value"] for v in house.claim(house.runner()).json()["variables"]}
    assert (given["WHO"], given["TOP"]) == ("sub", "only") and "SCOPED" not in given
    assert [v["key"] for v in house.get(f"/projects/{project}/variables")] == ["SCOPED"]


def test_one_key_in_two_scopes_wants_a_filter(house: House) -> None:
    path = f"/projects/{house.project()}/variables"
    for scope in ("*", "production"):
        house.call("POST", path, json={"key": "K", "value": scope, "environment_scope": scope})
    assert house.call("GET", f"{path}/K").status_code == 409
    found = house.get(f"{path}/K", params={"filter[environment_scope]": "production"})
    assert found["value"] == "production"


def test_runners_are_paused_reset_listed_and_their_machines_shown(house: House) -> None:
    project = house.project()
    made = house.call(
        "POST", "/user/runners", json={"runner_type": "project_type", "project_id": project}
    ).json()
    one = f"/runners/{made['id']}"
    assert house.claim(made["token"], version="17.1.0").status_code == 204
    assert house.get(one)["projects"][0]["id"] == project
    (machine,) = house.get(f"{one}/managers")
    assert machine["version"] == "17.1.0" and machine["status"] == "online"
    changed = house.call(
        "PUT", one, json={"paused": True, "tag_list": ["a", "b"], "maintenance_note": "n", "locked": "1"}
    )
    assert [changed.json()[k] for k in ("paused", "tag_list", "maintenance_note", "locked")] == [
        True,
        ["a", "b"],
        "n",
        True,
    ]
    assert [r["id"] for r in house.get("/runners/all?paused=true&tag_list=a")] == [made["id"]]
    assert house.get("/runners/all?type=instance_type") == [] and house.get("/runners/all?status=online")
    fresh = house.call("POST", f"{one}/reset_authentication_token").json()["token"]
    assert fresh != made["token"]
    verify = [
        house.call("POST", "/runners/verify", token=None, json={"token": t}).status_code
        for t in (made["token"], fresh)
    ]
    assert verify == [403, 200]
    assert house.get(f"{one}/jobs?status=running") == []
    assert house.call("DELETE", one).status_code == 204


def test_resource_groups_say_who_has_them_and_whose_turn_is_next(house: House) -> None:
    project = house.project(config="a: {script: [x], resource_group: prod}")
    runs = [house.pipeline(project) for _ in range(3)]
    path = f"/projects/{project}/resource_groups"
    assert [g["key"] for g in house.get(path)] == ["prod"]
    current = house.get(f"{path}/prod/current_job")
    assert current["pipeline"]["id"] == runs[0]["id"]
    assert [j["pipeline"]["id"] for j in house.get(f"{path}/prod/upcoming_jobs")] == [
        r["id"] for r in runs[1:]
    ]
    assert (
        house.call("PUT", f"{path}/prod", json={"process_mode": "newest_first"}).json()["process_mode"]
        == "newest_first"
    )
    house.call("POST", f"/projects/{project}/jobs/{current['id']}/cancel")
    assert house.get(f"{path}/prod/current_job")["pipeline"]["id"] == runs[2]["id"]
    assert house.call("GET", f"{path}/nothing").status_code == 404


def test_edits_by_api_are_commits_and_start_pipelines(house: House) -> None:
    project = house.project(config="a: {script: [x]}")
    repo = f"/projects/{project}/repository"
    actions = [
        {"action": "create", "file_path": "docs/a.txt", "content": "A"},
        {
            "action": "update",
            "file_path": "README.md",
            "content": base64.b64encode(b"new").decode(),
            "encoding": "base64",
        },
        {"action": "chmod", "file_path": "README.md", "execute_filemode": True},
    ]
    body = {"branch": "feature/x", "start_branch": "main", "commit_message": "change", "actions": actions}
    made = house.call("POST", f"{repo}/commits", json=body)
    assert made.status_code == 201, made.text
    assert house.get(f"{repo}/files/docs%2Fa.txt?ref=feature/x")["content"] == base64.b64encode(b"A").decode()
    runs = house.get(f"/projects/{project}/pipelines?ref=feature/x")
    assert [(r["source"], r["sha"]) for r in runs] == [("push", made.json()["id"])]
    assert (
        house.call(
            "POST", f"{repo}/files/b.txt", json={"branch": "main", "commit_message": "b", "content": "B"}
        ).status_code
        == 201
    )
    assert (
        house.call(
            "PUT", f"{repo}/files/b.txt", json={"branch": "main", "commit_message": "b", "content": "C"}
        ).status_code
        == 200
    )
    assert house.call("GET", f"{repo}/files/b.txt/raw").text == "C"
    assert (
        house.call(
            "DELETE", f"{repo}/files/b.txt", params={"branch": "main", "commit_message": "gone"}
        ).status_code
        == 204
    )
    assert [c["title"] for c in house.get(f"{repo}/commits?ref_name=main")] == ["gone", "b", "b", "first"]


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ({"action": "create", "file_path": "README.md", "content": ""}, "already exists"),
        ({"action": "update", "file_path": "no.md", "content": ""}, "doesn't exist"),
        ({"action": "create", "file_path": "../up", "content": ""}, "not valid"),
        ({"action": "create", "file_path": "a/.GIT/hooks/x", "content": ""}, "not valid"),
        ({"action": "create", "file_path": "README.md/x", "content": ""}, "folder"),
        ({"action": "explode", "file_path": "x"}, "valid value"),
        ({"action": "create", "file_path": "x", "content": "!", "encoding": "rot13"}, "valid value"),
    ],
)
def test_bad_edits_change_nothing(house: House, action: dict[str, Any], said: str) -> None:
    project = house.project()
    before = house.get(f"/projects/{project}/repository/commits/main")["id"]
    good = {"action": "create", "file_path": "good", "content": "x"}
    body = {"branch": "main", "commit_message": "m", "actions": [good, action]}
    answer = house.call("POST", f"/projects/{project}/repository/commits", json=body)
    assert answer.status_code == 400 and said in answer.text
    assert house.get(f"/projects/{project}/repository/commits/main")["id"] == before


def test_branches_and_tags_are_made_and_deleted(house: House) -> None:
    project = house.project()
    repo = f"/projects/{project}/repository"
    assert house.call("POST", f"{repo}/branches", json={"branch": "f/x", "ref": "main"}).status_code == 201
    assert house.call("POST", f"{repo}/branches", json={"branch": "f/x", "ref": "main"}).status_code == 400
    assert house.call("POST", f"{repo}/branches", json={"branch": "y", "ref": "gone"}).status_code == 400
    assert house.call("DELETE", f"{repo}/branches/f%2Fx").status_code == 204
    assert house.call("DELETE", f"{repo}/branches/main").status_code == 400
    tag = house.call("POST", f"{repo}/tags", json={"tag_name": "v1", "ref": "main", "message": "one"})
    assert (tag.status_code, tag.json()["message"]) == (201, "one")
    assert [t["name"] for t in house.get(f"{repo}/tags")] == ["v1"]
    assert house.call("DELETE", f"{repo}/tags/v1").status_code == 204
    assert house.call("DELETE", f"{repo}/tags/v1").status_code == 404


def test_a_merge_request_has_pipelines_of_its_own(house: House) -> None:
    project = house.project(config=MERGE_CONFIG)
    repo, path = f"/projects/{project}/repository", f"/projects/{project}/merge_requests"
    house.call("POST", f"{repo}/branches", json={"branch": "f", "ref": "main"})
    given = {"source_branch": "f", "target_branch": "main", "title": "Draft: it", "labels": "a,b"}
    made = house.call("POST", path, json=given)
    assert made.status_code == 201, made.text
    row = made.json()
    assert (row["iid"], row["draft"], row["labels"], row["state"]) == (1, True, ["a", "b"], "opened")
    assert row["head_pipeline"]["source"] == "merge_request_event"
    assert row["head_pipeline"]["ref"] == "refs/merge-requests/1/head"
    assert house.call("POST", path, json=given).status_code == 409
    jobs = house.get(f"/projects/{project}/pipelines/{row['head_pipeline']['id']}/jobs")
    assert [j["name"] for j in jobs] == ["check"]
    file = {"branch": "f", "commit_message": "x", "content": "x"}
    house.call("POST", f"{repo}/files/x", json=file)
    assert len(house.get(f"{path}/1/pipelines")) == 2, "a push to the branch starts one"
    started = house.call("POST", f"{path}/1/pipelines")
    assert started.status_code == 201 and len(house.get(f"{path}/1/pipelines")) == 3
    assert [m["iid"] for m in house.get(f"{path}?source_branch=f&state=opened")] == [1]
    assert house.get(f"{path}?source_branch=other") == []
    closed = house.call("PUT", f"{path}/1", json={"state_event": "close", "title": "it"}).json()
    assert (closed["state"], closed["draft"]) == ("closed", False)
    house.call("PUT", f"{repo}/files/x", json={**file, "content": "y"})
    assert len(house.get(f"{path}/1/pipelines")) == 3, "a closed one hears no push"
    bad = house.call("POST", path, json={**given, "source_branch": "gone"})
    assert bad.json() == {"message": {"source_branch": ["does not exist"]}}


def test_bridges_have_a_list_of_their_own_and_children_are_not_listed(house: House) -> None:
    project = house.project()
    now = house.time[0]
    sha = house.get(f"/projects/{project}/repository/branches/main")["commit"]["id"]
    jobs = (
        JobPlan("child", "child", claimable=False, bridge=Bridge("parent_pipeline")),
        JobPlan("plain", "plain"),
    )

    def arrange(tx: Any) -> tuple[Run, Run]:
        row, user = tx.get(Project, project), tx.user_by_name("root")
        source = Trigger(row, "gitlab", "api", "main", sha, user, now)
        parent = trigger.accept(tx, source, Plan((WorkflowPlan("w", jobs=jobs),)), now)
        child = trigger.accept(
            tx,
            replace(source, source="parent_pipeline"),
            Plan((WorkflowPlan("w", jobs=(JobPlan("x", "x"),)),)),
            now,
        )
        attempt = next(a for j, a in tx.graph(parent.id) if j.name == "child")
        tx.save(replace(tx.get(Attempt, attempt.id), extra={"downstream_run_id": child.id}))
        return parent, child

    parent, child = house.write(arrange)
    path = f"/projects/{project}/pipelines"
    (bridge,) = house.get(f"{path}/{parent.id}/bridges")
    assert (
        bridge["downstream_pipeline"]["id"] == child.id
        and "runner" not in bridge
        and "artifacts" not in bridge
    )
    assert [j["name"] for j in house.get(f"{path}/{parent.id}/jobs")] == ["plain"]
    assert [p["id"] for p in house.get(path)] == [parent.id]
    assert [p["id"] for p in house.get(f"{path}?source=parent_pipeline")] == [child.id]
    commit = f"/projects/{project}/repository/commits/{sha}"
    assert house.get(commit)["last_pipeline"]["id"] == parent.id
    assert {row["name"] for row in house.get(f"{commit}/statuses")} == {"child", "plain"}


def test_pipelines_know_the_open_merge_requests_of_their_branch(house: House) -> None:
    project = house.project(
        "team/app", config="a: {script: [x], rules: [{if: $CI_OPEN_MERGE_REQUESTS}]}\nb: {script: [x]}"
    )
    base = f"/projects/{project}"
    house.call("POST", f"{base}/repository/branches", json={"branch": "side", "ref": "main"})

    def jobs(ref: str) -> set[str]:
        made = house.pipeline(project, ref=ref)
        return {job["name"] for job in house.get(f"{base}/pipelines/{made['id']}/jobs")}

    assert jobs("side") == {"b"}
    body = {"source_branch": "side", "target_branch": "main", "title": "Draft: t"}
    number = house.call("POST", f"{base}/merge_requests", json=body).json()["iid"]
    assert jobs("side") == {"a", "b"} and jobs("main") == {"b"}
    token = house.runner(tag_list="", run_untagged=True)
    seen = []
    while (job := house.claim(token)).status_code == 201:
        seen += [v["value"] for v in job.json()["variables"] if v["key"] == "CI_OPEN_MERGE_REQUESTS"]
    assert set(seen) == {f"team/app!{number}"}
    house.call("PUT", f"{base}/merge_requests/{number}", json={"state_event": "close"})
    assert jobs("side") == {"b"}
