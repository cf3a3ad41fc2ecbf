"""Environments and deployments through the API, and what jobs do to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runyard.dialects.gitlab import stopping
from runyard.model.plan import EnvironmentUse
from runyard.model.work import Job

from .conftest import House


def env(house: House, project: int, **more: Any) -> dict[str, Any]:
    answer = house.call("POST", f"/projects/{project}/environments", json=more)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_made_changed_stopped_deleted(house: House) -> None:
    project = house.project()
    row = env(house, project, name="review/x", external_url="https://x.test")
    assert (row["state"], row["tier"], row["slug"][:9]) == ("available", "development", "review-x-")
    path = f"/projects/{project}/environments"
    assert house.call("POST", path, json={"name": "review/x"}).json() == {
        "message": {"name": ["has already been taken"]}
    }
    assert house.call("POST", path, json={"name": "a;b"}).status_code == 400
    assert house.call("POST", path, json={"name": "b", "external_url": "ftp://x"}).status_code == 400
    changed = house.call("PUT", f"{path}/{row['id']}", json={"tier": "staging"}).json()
    assert (changed["tier"], changed["external_url"]) == ("staging", "https://x.test")
    assert house.call("DELETE", f"{path}/{row['id']}").status_code == 403
    assert house.call("POST", f"{path}/{row['id']}/stop").json()["state"] == "stopped"
    assert [e["name"] for e in house.get(f"{path}?states=stopped")] == ["review/x"]
    assert house.get(f"{path}?search=nothing") == [] and house.get(f"{path}?name=review/x")
    assert house.call("GET", f"{path}?search=re").status_code == 400
    assert house.call("DELETE", f"{path}/{row['id']}").status_code == 204
    assert house.call("GET", f"{path}/{row['id']}").status_code == 404


def test_old_review_environments_are_listed_then_deleted(house: House) -> None:
    project = house.project()
    path = f"/projects/{project}/environments"
    for name in ("review/a", "review/b", "production"):
        row = env(house, project, name=name)
        house.call("POST", f"{path}/{row['id']}/stop")
    house.time[0] += 40 * 86_400_000
    listed = house.call("DELETE", f"{path}/review_apps").json()["scheduled_entries"]
    assert [e["name"] for e in listed] == ["review/a", "review/b"] and len(house.get(path)) == 3
    house.call("DELETE", f"{path}/review_apps?dry_run=false&limit=1")
    assert [e["name"] for e in house.get(path)] == ["review/b", "production"]
    env(house, project, name="stale")
    house.time[0] += 10 * 86_400_000
    assert house.call("POST", f"{path}/stop_stale", json={}).status_code == 400
    before = "2027-02-26T00:00:00Z"
    assert house.call("POST", f"{path}/stop_stale", json={"before": before}).status_code == 200
    assert house.get(f"{path}?name=stale")[0]["state"] == "stopped"


def test_a_deployment_from_outside(house: House) -> None:
    project = house.project()
    sha = house.get(f"/projects/{project}/repository/commits/main")["id"]
    given = {"environment": "production", "sha": sha, "ref": "main", "tag": False, "status": "running"}
    path = f"/projects/{project}/deployments"
    made = house.call("POST", path, json=given)
    assert made.status_code == 201
    row = made.json()
    assert (row["iid"], row["status"], row["environment"]["name"], row["deployable"]) == (
        1,
        "running",
        "production",
        None,
    )
    assert house.call("PUT", f"{path}/{row['id']}", json={"status": "success"}).json()["status"] == "success"
    assert [d["id"] for d in house.get(f"{path}?environment=production&status=success")] == [row["id"]]
    assert house.get(f"{path}?environment=nowhere") == []
    environment = house.get(f"/projects/{project}/environments/{row['environment']['id']}")
    assert environment["last_deployment"]["id"] == row["id"]
    assert house.call("DELETE", f"{path}/{row['id']}").status_code == 400
    house.call("POST", path, json=given)
    assert [d["iid"] for d in house.get(f"{path}?sort=desc")] == [2, 1]
    assert house.call("POST", path, json={**given, "sha": "0" * 40}).status_code == 400


def test_a_deleted_branch_plays_the_on_stop_job_of_what_it_delivered(house: House) -> None:
    config = """
up: {script: [a], environment: {name: review/$CI_COMMIT_REF_SLUG, on_stop: down}}
down: {script: [b], when: manual, environment: {name: review/$CI_COMMIT_REF_SLUG, action: stop}}
"""
    project = house.project(config=config)
    base = f"/projects/{project}"
    house.call("POST", f"{base}/repository/branches", json={"branch": "side", "ref": "main"})
    token = house.runner()
    for ref in ("main", "side"):
        house.pipeline(project, ref=ref)
        job = house.claim(token).json()
        house.call("PUT", f"/jobs/{job['id']}", token=None, json={"token": job["token"], "state": "success"})
    assert house.call("DELETE", f"{base}/repository/branches/side").status_code == 204
    states = {row["name"]: row["state"] for row in house.get(f"{base}/environments")}
    assert states == {"review/main": "available", "review/side": "stopping"}
    assert house.claim(token).json()["job_info"]["name"] == "down"


def test_a_closed_merge_request_plays_the_on_stop_job_of_what_its_pipeline_delivered(house: House) -> None:
    config = """

up: {script: [a], environment: {name: review/$CI_COMMIT_REF_SLUG, on_stop: down}, rules: [{if: $CI_MERGE_REQUEST_IID}]}
down: {script: [b], environment: {name: review/$CI_COMMIT_REF_SLUG, action: stop}, rules: [{if: $CI_MERGE_REQUEST_IID, when: manual, allow_failure: true}]}
"""
    project = house.project(config=config)
    base = f"/projects/{project}"
    house.call("POST", f"{base}/repository/branches", json={"branch": "side", "ref": "main"})
    edit = {"branch": "side", "commit_message": "m", "content": "x"}
    house.call("POST", f"{base}/repository/files/x", json=edit)
    token = house.runner()
    wish = {"source_branch": "side", "target_branch": "main", "title": "t"}
    iid = house.call("POST", f"{base}/merge_requests", json=wish).json()["iid"]
    job = house.claim(token).json()
    assert job["job_info"]["name"] == "up"
    house.call("PUT", f"/jobs/{job['id']}", token=None, json={"token": job["token"], "state": "success"})
    (environment,) = house.get(f"{base}/environments")
    assert environment["state"] == "available"
    house.call("PUT", f"{base}/merge_requests/{iid}", json={"title": "other"})
    assert house.get(f"{base}/environments")[0]["state"] == "available"
    house.call("PUT", f"{base}/merge_requests/{iid}", json={"state_event": "close"})
    assert house.get(f"{base}/environments")[0]["state"] == "stopping"
    assert house.claim(token).json()["job_info"]["name"] == "down"


def test_a_jobs_deployment_shows_its_job_and_auto_stop_plays_the_on_stop_job(house: House) -> None:
    config = "up: {stage: build, script: [a]}\ndown: {stage: build, script: [b], when: manual}"
    project = house.project(config=config)
    run = house.pipeline(project)
    uses = {
        "up": EnvironmentUse("review/1", "https://x.test/", on_stop="down", auto_stop_s=60),
        "down": EnvironmentUse("review/1", action="stop"),
    }

    def arrange(tx: Any) -> None:  # the compiler's part, whatever it makes of `environment:`
        for job, _ in tx.graph(run["id"]):
            tx.save(replace(tx.get(Job, job.id), plan=replace(job.plan, environment=uses[job.name])))

    house.write(arrange)
    token = house.runner()
    job = house.claim(token).json()
    house.call("PUT", f"/jobs/{job['id']}", token=None, json={"token": job["token"], "state": "success"})
    (row,) = house.get(f"/projects/{project}/deployments")
    assert (row["status"], row["deployable"]["name"], row["user"]["username"]) == ("success", "up", "root")
    (environment,) = house.get(f"/projects/{project}/environments")
    assert environment["external_url"] == "https://x.test/" and environment["auto_stop_at"]
    house.run(stopping.stop_due(house.services))
    assert house.get(f"/projects/{project}/environments")[0]["state"] == "available"
    house.time[0] += 61_000
    house.run(stopping.stop_due(house.services))
    assert house.get(f"/projects/{project}/environments")[0]["state"] == "stopping"
    job = house.claim(token).json()
    assert job["job_info"]["name"] == "down"
    house.call("PUT", f"/jobs/{job['id']}", token=None, json={"token": job["token"], "state": "success"})
    assert house.get(f"/projects/{project}/environments")[0]["state"] == "stopped"
