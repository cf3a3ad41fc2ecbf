"""Jobs as clients see them."""

from __future__ import annotations

import json
from typing import Any

import pytest


def test_a_pipeline_appears_with_its_jobs(house: Any) -> None:
    project = house.project()
    pipeline = house.pipeline(project, variables=[{"key": "A", "value": "1"}])
    assert (
        pipeline["status"] in ("pending", "created") and pipeline["source"] == "api" and pipeline["iid"] == 1
    )
    jobs = house.get(f"/projects/{project}/pipelines/{pipeline['id']}/jobs")
    assert [(j["name"], j["status"], j["stage"]) for j in jobs] == [
        ("deploy", "created", "deploy"), ("test", "created", "test"), ("build", "pending", "build"),
    ]  # fmt: skip
    assert jobs[2]["commit"]["title"] == "first" and jobs[2]["user"]["username"] == "root"
    assert (
        "failure_reason" not in jobs[0]
        and "artifacts_file" not in jobs[0]
        and jobs[2]["tag_list"] == ["linux"]
    )
    assert house.get("/projects/group%2Fdemo/jobs") == house.get(f"/projects/{project}/jobs")
    assert house.get(f"/projects/{project}/pipelines/{pipeline['id']}/variables") == [
        {"variable_type": "env_var", "key": "A", "value": "1", "raw": False}
    ]


def test_scopes_in_every_spelling(house: Any) -> None:
    project = house.project()
    house.pipeline(project)
    for query in ("scope[]=pending", "scope=pending", "scope[0]=pending", "scope[]=pending&scope[]=running"):
        assert [j["name"] for j in house.get(f"/projects/{project}/jobs?{query}")] == ["build"]
    assert house.get(f"/projects/{project}/jobs?scope[]=preparing") == []
    assert house.get(f"/projects/{project}/jobs?scope[]=manual") == []
    answer = house.call("GET", f"/projects/{project}/jobs?scope[]=bogus")
    assert (answer.status_code, answer.json()) == (400, {"error": "scope does not have a valid value"})


def test_pages_by_offset_and_by_key(house: Any) -> None:
    project = house.project()
    for _ in range(3):
        house.pipeline(project)
    first = house.call("GET", f"/projects/{project}/jobs?per_page=4")
    assert (
        len(first.json()) == 4 and first.headers["x-next-page"] == "2" and first.headers["x-prev-page"] == ""
    )
    assert "x-total" not in first.headers and 'rel="last"' not in first.headers["link"]
    assert (
        f'<http://ci.test/api/v4/projects/{project}/jobs?page=2&per_page=4>; rel="next"'
        in first.headers["link"]
    )
    assert len(house.get(f"/projects/{project}/jobs?per_page=500")) == 9
    path, seen = f"/projects/{project}/jobs?pagination=keyset&order_by=id&sort=asc&per_page=4", []
    while path:
        answer = house.call("GET", path)
        seen += [j["id"] for j in answer.json()]
        link = answer.headers.get("link", "")
        path = link.split(">")[0].removeprefix("<http://ci.test/api/v4") if link else ""
    assert seen == sorted(seen) and len(seen) == 9
    for bad in (
        "page=0",
        "per_page=0",
        "page=-1",
        "page=x",
        "pagination=keyset&cursor=zz",
        "sort=up",
        "order_by=name",
    ):
        assert house.call("GET", f"/projects/{project}/jobs?{bad}").status_code == 400


def test_a_manual_job_that_has_ended_is_played_again_as_a_new_one(house: Any) -> None:
    project = house.project()
    pipeline = house.pipeline(project)["id"]
    jobs = {j["name"]: j["id"] for j in house.get(f"/projects/{project}/pipelines/{pipeline}/jobs")}
    at = f"/projects/{project}/jobs"
    house.call("POST", f"/projects/{project}/pipelines/{pipeline}/cancel", json={})
    again = house.call("POST", f"{at}/{jobs['deploy']}/play", json={})
    assert again.status_code == 200 and again.json()["id"] > jobs["deploy"], again.text
    assert (again.json()["name"], again.json()["status"]) == ("deploy", "pending")
    for old in (jobs["deploy"], jobs["test"]):  # one that was retried already, one that is not manual
        refused = house.call("POST", f"{at}/{old}/play", json={})
        assert (refused.status_code, refused.json()) == (400, {"message": "400 Bad request - Unplayable Job"})


def test_cancel_retry_play_erase(house: Any) -> None:
    project = house.project()
    jobs = {
        j["name"]: j["id"]
        for j in house.get(f"/projects/{project}/pipelines/{house.pipeline(project)['id']}/jobs")
    }
    at = f"/projects/{project}/jobs"
    refused = house.call("POST", f"{at}/{jobs['build']}/retry", json={})
    assert (refused.status_code, refused.json()) == (403, {"message": "403 Forbidden - Job is not retryable"})
    refused = house.call("POST", f"{at}/{jobs['build']}/play", json={})
    assert (refused.status_code, refused.json()) == (400, {"message": "400 Bad request - Unplayable Job"})
    refused = house.call("POST", f"{at}/{jobs['build']}/erase", json={})
    assert (refused.status_code, refused.json()) == (403, {"message": "403 Forbidden - Job is not erasable!"})
    canceled = house.call("POST", f"{at}/{jobs['build']}/cancel", json={})
    assert canceled.status_code == 201 and canceled.json()["status"] == "canceled"
    again = house.call("POST", f"{at}/{jobs['build']}/retry", json={})
    assert (
        again.status_code == 201
        and again.json()["status"] == "pending"
        and again.json()["id"] > jobs["deploy"]
    )
    both = house.get(f"{at}?scope[]=canceled")
    assert jobs["build"] in [j["id"] for j in both]
    erased = house.call("POST", f"{at}/{jobs['build']}/erase", json={})
    assert erased.status_code == 201 and erased.json()["erased_at"]
    assert house.call("POST", f"{at}/{jobs['build']}/erase", json={}).status_code == 403
    assert house.call("POST", f"{at}/{jobs['build']}/artifacts/keep", json={}).status_code == 404


def test_a_manual_job_is_played_with_variables(house: Any) -> None:
    project = house.project(config="go:\n  script: [x]\n  when: manual\n")
    job = (
        house.get(
            f"/projects/{project}/jobs",
        )[0]
        if house.pipeline(project)
        else {}
    )
    assert (
        job["status"] == "manual"
        and house.get(f"/projects/{project}/jobs?scope[]=manual")[0]["id"] == job["id"]
    )
    assert house.get(f"/projects/{project}/jobs?scope[]=scheduled") == []
    body = {"job_variables_attributes": [{"key": "B", "value": "2"}]}
    played = house.call("POST", f"/projects/{project}/jobs/{job['id']}/play", json=body)
    assert played.status_code == 200 and played.json()["status"] == "pending"
    claimed = house.claim(house.runner()).json()
    assert {"key": "B", "value": "2", "public": True, "masked": False} in claimed["variables"]


INPUTS = """
go:
  when: manual
  inputs: {target: {default: staging, options: [staging, prod]}, count: {type: number, default: 3}}
  image: 'img:${{ job.inputs.target }}'
  script: ['echo ${{ job.inputs.target }} ${{ job.inputs.count }}']
  retry: 1
"""


def test_a_jobs_inputs_are_given_at_play_and_kept_by_retries(house: Any) -> None:
    project = house.project(config=INPUTS)
    house.pipeline(project)
    at = f"/projects/{project}/jobs"
    job = house.get(at)[0]["id"]
    for wrong, said in [
        ({"target": "x"}, "`target` input: `x` cannot be used"),
        ({"gone": "x"}, "unknown input: gone"),
    ]:
        refused = house.call("POST", f"{at}/{job}/play", json={"job_inputs": wrong})
        assert refused.status_code == 400 and said in refused.json()["message"]
    refused = house.call("POST", f"{at}/{job}/play", json={"job_inputs": "x"})
    assert (refused.status_code, refused.json()) == (400, {"error": "job_inputs is invalid"})
    played = house.call("POST", f"{at}/{job}/play", json={"job_inputs": {"target": "prod"}})
    assert played.status_code == 200
    runner = house.runner()
    old = house.claim(runner).json()
    assert (old["inputs"], old["image"]["name"]) == ([], "img:prod")
    assert old["steps"][0]["script"] == ["echo prod 3"]
    house.call("PUT", f"/jobs/{job}", token=None, json={"token": old["token"], "state": "failed"})
    new = house.claim(runner, features={"job_inputs": True}).json()  # the retry of its own rule
    assert new["id"] > job and new["steps"][0]["script"] == [
        "echo ${{ job.inputs.target }} ${{ job.inputs.count }}"
    ]
    assert new["inputs"] == [
        {"key": "target", "value": {"type": "string", "content": "prod", "sensitive": False}},
        {"key": "count", "value": {"type": "number", "content": 3, "sensitive": False}},
    ]
    house.call("PUT", f"/jobs/{new['id']}", token=None, json={"token": new["token"], "state": "failed"})
    again = house.call("POST", f"{at}/{new['id']}/retry", json={"job_inputs": {"count": 4}})
    assert again.status_code == 201
    assert house.claim(runner).json()["steps"][0]["script"] == ["echo prod 4"]


def test_a_list_of_steps_goes_to_runners_that_have_functions(house: Any) -> None:
    project = house.project(config="a: {run: [{name: n, step: ./x}]}\nb: {run: [{name: n, script: echo}]}\n")
    house.pipeline(project)
    runner = house.runner()
    first = house.claim(runner, features={"native_steps_integration": True}).json()
    assert (json.loads(first["run"]), first["steps"]) == ([{"name": "n", "step": "./x"}], [])
    second = house.claim(runner, features={"native_steps_integration": True}).json()
    assert "run" not in second and second["steps"][0]["script"] == ["( # n\necho\n)"]


@pytest.mark.parametrize(
    "suffix",
    ["", "/trace", "/artifacts", "/artifacts/x", "/cancel", "/retry", "/erase", "/play", "/artifacts/keep"],
)
def test_a_foreign_and_an_unknown_job_are_the_same_404(house: Any, suffix: str) -> None:
    mine, other = house.project(), house.project("group/other")
    job = house.get(f"/projects/{mine}/pipelines/{house.pipeline(mine)['id']}/jobs")[0]["id"]
    method = "POST" if suffix in ("/cancel", "/retry", "/erase", "/play", "/artifacts/keep") else "GET"
    foreign = house.call(method, f"/projects/{other}/jobs/{job}{suffix}")
    unknown = house.call(method, f"/projects/{other}/jobs/999999{suffix}")
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json() == unknown.json() == {"message": "404 Job Not Found"}
    assert house.call(method, f"/projects/{other}/jobs/-1{suffix}").status_code == 404
    refused = house.call(method, f"/projects/{other}/jobs/12x{suffix}")
    assert (refused.status_code, refused.json()) == (400, {"error": "job_id is invalid"})


def test_the_trace_of_a_job_without_log_is_empty(house: Any) -> None:
    project = house.project()
    job = house.get(f"/projects/{project}/pipelines/{house.pipeline(project)['id']}/jobs")[0]["id"]
    answer = house.call("GET", f"/projects/{project}/jobs/{job}/trace")
    assert answer.content == b"" and answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["content-disposition"] == f'infile; filename="{job}.log"'
