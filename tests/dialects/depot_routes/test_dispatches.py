"""GitHub's calls that start workflows: who may, what is refused and how, what the runs know."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.engine.ports import Page, RunFilter
from runyard.model.work import Run

WORKFLOW = """
on:
  repository_dispatch: {types: [deploy, "build it"]}
  workflow_dispatch: {inputs: {level: {type: number, default: 3}, dry: {type: boolean}}}
jobs:
  a: {runs-on: x, steps: [{run: 'echo ${{ github.event.client_payload.where }}'}]}
"""
ANY = "on: repository_dispatch\njobs:\n  a: {runs-on: x, steps: [{run: x}]}\n"
EVENTS = "/api/v3/repos/group/demo/dispatches"
FILE = "/api/v3/repos/group/demo/actions/workflows/ci.yml/dispatches"


def runs(house: Any) -> list[Run]:
    return list(house.write(lambda tx: tx.runs(RunFilter(), Page(limit=100, descending=False))))


def github(house: Any, run: Run) -> Any:
    return house.write(lambda tx: tx.graph(run.id)[0][0]).plan.context["github"]


def test_a_repository_dispatch_starts_who_wants_its_type(house: Any) -> None:
    house.project(workflow=WORKFLOW)
    assert house.request("POST", EVENTS, json={"event_type": "other"}).status_code == 204
    assert runs(house) == []
    body = {"event_type": "build it", "client_payload": {"where": {"deep": [1]}}}
    answer = house.request("POST", EVENTS, json=body)
    assert (answer.status_code, answer.content) == (204, b"")
    (run,) = runs(house)
    facts = github(house, run)
    assert (run.source, run.ref, facts["event_name"]) == (
        "repository_dispatch",
        "main",
        "repository_dispatch",
    )
    assert facts["event"]["action"] == "build it" and facts["event"]["branch"] == "main"
    assert facts["event"]["client_payload"] == {"where": {"deep": [1]}}
    assert facts["api_url"].endswith("/api/v3")


def test_without_types_any_is_wanted(house: Any) -> None:
    house.project(workflow=ANY)
    assert house.request("POST", EVENTS, json={"event_type": "whatever"}).status_code == 204
    assert [run.source for run in runs(house)] == ["repository_dispatch"]


def test_a_workflow_dispatch_with_typed_inputs(house: Any) -> None:
    house.project(workflow=WORKFLOW)
    body = {"ref": "refs/heads/main", "inputs": {"level": "7", "dry": True}}
    assert house.request("POST", FILE, json=body).status_code == 204
    (run,) = runs(house)
    job = house.write(lambda tx: tx.graph(run.id)[0][0])
    assert job.plan.context["inputs"] == {"level": 7, "dry": True}
    assert github(house, run)["event"]["inputs"] == {"level": "7", "dry": "true"}


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        (EVENTS, {}, 422, "event_type"),
        (EVENTS, {"event_type": "x" * 101}, 422, "event_type"),
        (EVENTS, {"event_type": 7}, 422, "event_type"),
        (EVENTS, [], 422, "object"),
        (EVENTS, {"event_type": "x", "client_payload": {str(n): n for n in range(11)}}, 422, "10 properties"),
        (EVENTS, {"event_type": "x", "client_payload": {"a": "ü" * 65_536}}, 422, "65535 characters"),
        (EVENTS, {"event_type": "x", "client_payload": "text"}, 422, "client_payload"),
        (EVENTS, {"event_type": "x", "client_payload": {"a": "x" * 300_000}}, 413, "bytes"),
        ("/api/v3/repos/group/none/dispatches", {"event_type": "x"}, 404, "not found"),
        ("/api/v3/repos/group/demo/issues", {}, 404, "Not Found: POST /repos/group/demo/issues is not among"),
        (FILE, {}, 422, "ref"),
        (FILE, {"ref": "main", "inputs": []}, 422, "inputs"),
        (FILE, {"ref": "main", "inputs": {"nope": 1}}, 422, "Unexpected inputs provided"),
        (FILE, {"ref": "nowhere"}, 404, "Reference not found"),
        (FILE.replace("ci.yml", "none.yml"), {"ref": "main"}, 404, "none.yml"),
    ],
)
def test_refusals_have_githubs_shape_and_start_nothing(
    house: Any, path: str, body: Any, status: int, said: str
) -> None:
    house.project(workflow=WORKFLOW)
    answer = house.request("POST", path, json=body)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["message"] and "documentation_url" in answer.json()
    assert runs(house) == []


def test_only_people_who_may_run_start_something(house: Any) -> None:
    house.project(workflow=WORKFLOW)
    for token in (None, "wrong"):
        answer = house.request("POST", EVENTS, token=token, json={"event_type": "deploy"})
        assert (answer.status_code, answer.json()["message"]) == (401, "Bad credentials")
    assert house.request("GET", EVENTS).status_code == 404
    house.start()
    job = house.claim()
    answer = house.request("POST", EVENTS, token=job.token, json={"event_type": "deploy"})
    assert (answer.status_code, answer.json()["message"]) == (403, "Resource not accessible by integration")
    assert len(runs(house)) == 1


def test_the_word_token_names_the_scheme_too(house: Any) -> None:
    house.project(workflow=ANY)
    bearer = house.request("POST", EVENTS, json={"event_type": "x"}).request.headers["authorization"]
    headers = {"authorization": bearer.replace("Bearer", "token")}
    answer = house.request("POST", EVENTS, token=None, headers=headers, json={"event_type": "x"})
    assert answer.status_code == 204 and len(runs(house)) == 2


def test_a_repository_says_what_its_default_branch_is(house: Any) -> None:
    """actions/checkout asks for it where `repository` is given and no `ref`."""
    house.project(workflow=ANY)
    answer = house.request("GET", "/api/v3/repos/group/demo")
    assert answer.status_code == 200
    said = answer.json()
    assert (said["full_name"], said["default_branch"]) == ("group/demo", "main")
    assert said["owner"]["login"] == "group" and said["private"] is True
    assert house.request("GET", f"/api/v3/repositories/{said['id']}").json() == said
    missing = house.request("GET", "/api/v3/repos/group/none")
    assert missing.status_code == 404 and "documentation_url" in missing.json()
