"""Runs as Depot's clients see them: start, look, list, cancel, retry."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.dialects.depot import ids
from runyard.model.state import Outcome


def test_a_run_is_seen_from_start_to_end(house: Any) -> None:
    house.project()
    run = house.start()
    assert len(run) == 10
    found = house.get("GetRun", {"runId": run})
    assert (found["repo"], found["status"], found["ref"], found["trigger"]) == (
        "group/demo", "queued", "refs/heads/main", "api",
    )  # fmt: skip
    assert found["createdAt"] == "2027-01-15T08:00:00.000Z" and "startedAt" not in found
    jobs = house.jobs(run)
    assert {key: job["status"] for key, job in jobs.items()} == {
        "ci.yml:build": "queued",
        "ci.yml:test": "waiting",
    }
    assert jobs["ci.yml:build"]["attempts"][0]["attempt"] == 1
    build = house.claim()
    assert house.jobs(run)["ci.yml:build"]["attempts"][0]["status"] == "running"
    house.finish(build)
    house.finish(house.claim())
    assert house.get("GetRun", {"runId": run})["status"] == "finished"
    flow = house.get("GetRunStatus", {"runId": run})["workflows"][0]
    assert (flow["name"], flow["workflowPath"], flow["status"]) == (
        "CI",
        ".depot/workflows/ci.yml",
        "finished",
    )
    deep = house.get("GetWorkflow", {"workflowId": flow["workflowId"]})
    assert deep["executions"][0]["execution"] == 1 and deep["runId"] == run
    assert [job["jobDisplayName"] for job in deep["jobs"]] == ["build", "test"]


def test_a_job_id_finds_its_run(house: Any) -> None:
    house.project()
    run = house.start()
    job = house.jobs(run)["ci.yml:test"]["jobId"]
    assert house.get("GetRunStatus", {"runId": job})["runId"] == run


@pytest.mark.parametrize("method", ["GetRun", "CancelRun", "GetRunStatus"])
def test_unknown_and_foreign_ids_are_the_same_not_found(house: Any, method: str) -> None:
    house.project()
    run = house.start()
    flow = house.get("GetRunStatus", {"runId": run})["workflows"][0]["workflowId"]
    for text in ("", "x", "0123456789", flow, run.upper() + "!", "' or 1=1", "b" * 100_000):
        assert house.refused(method, {"runId": text}) == (404, "not_found", "run not found"), text


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"repo": "group/nope"}, "not_found", "repository"),
        ({"repo": ""}, "not_found", "repository"),
        ({"repo": "group/demo", "workflow": "nope.yml"}, "not_found", "nope.yml"),
        ({"repo": "group/demo", "workflow": "a", "workflowContent": ["b"]}, "invalid_argument", "exclude"),
        ({"repo": "group/demo", "job": "a"}, "invalid_argument", "exactly one"),
        ({"repo": "group/demo", "sha": "abc"}, "invalid_argument", "sha"),
        ({"repo": "group/demo", "sha": "a" * 40}, "not_found", ""),
        ({"repo": "group/demo", "workflow": "ci.yml", "job": "bild"}, "not_found", "did you mean 'build'"),
        ({"repo": "group/demo", "workspacePatchCacheKey": "k"}, "not_found", "cache entry 'k' not found"),
        ({"repo": "group/demo", "workflowContent": ["a: ["]}, "invalid_argument", "_inline_0.yaml:"),
        ({"repo": "group/demo", "workflowContent": ["[" * 100_000]}, "invalid_argument", "nested"),
        ({"repo": "group/demo", "workflowContent": ["on: push\njobs: {a: {rnus-on: x}}"]}, "invalid_argument", ":2:12: Unexpected value 'rnus-on' (did you mean 'runs-on'?)"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_with_its_place(house: Any, body: Any, code: str, words: str) -> None:
    house.project()
    _, found, message = house.refused("Run", body)
    assert found == code and words in message
    assert house.get("ListRuns", {"status": ["queued", "failed", "finished"]}) == {}


def test_inline_content_and_numeric_repositories(house: Any) -> None:
    number = house.project()
    text = "on: push\njobs: {solo: {runs-on: x, steps: [{run: echo}]}}"
    run = house.get("Run", {"repo": str(number), "workflowContent": [text]})["runId"]
    assert list(house.jobs(run)) == ["_inline_0.yaml:solo"]
    assert "workflowPath" not in house.get("GetRunStatus", {"runId": run})["workflows"][0]


def test_dispatch_gives_typed_inputs(house: Any) -> None:
    workflow = "on: {workflow_dispatch: {inputs: {n: {type: number, required: true}}}}\njobs: {a: {runs-on: x, steps: [{run: x}]}}"
    house.project(workflow=workflow)
    body = {"repo": "group/demo", "workflow": "ci.yml", "ref": "main", "inputs": {"n": "3"}}
    run = house.get("DispatchWorkflow", body)["runId"]
    assert house.get("GetRun", {"runId": run})["trigger"] == "workflow_dispatch"
    assert house.claim().facts["inputs"] == {"n": 3}
    for wrong in (
        {"inputs": {}},
        {"inputs": {"n": "x"}},
        {"inputs": {"n": "1", "m": "2"}},
        {"workflow": "a/ci.yml"},
    ):
        assert house.refused("DispatchWorkflow", {**body, **wrong})[1] == "invalid_argument"
    assert house.refused("DispatchWorkflow", {**body, "ref": "nope"})[1] == "not_found"


def test_lists_page_and_filter(house: Any) -> None:
    house.project()
    runs = [house.start() for _ in range(3)]
    house.get("CancelRun", {"runId": runs[0]})
    first = house.get("ListRuns", {"pageSize": 1})
    second = house.get("ListRuns", {"pageSize": 5, "pageToken": first["nextPageToken"]})
    assert [row["runId"] for row in [*first["runs"], *second["runs"]]] == [runs[2], runs[1]]
    assert [row["runId"] for row in house.get("ListRuns", {"status": ["cancelled"]})["runs"]] == [runs[0]]
    sha = first["runs"][0]["sha"]
    for body, count in (
        ({"repo": "group/demo"}, 2),
        ({"sha": sha[:7]}, 2),
        ({"sha": "0000"}, 0),
        ({"trigger": "push"}, 0),
        ({"trigger": "api"}, 2),
        ({"repo": "group/demo", "pr": "1"}, 0),
        ({"pageSize": 100_000}, 2),
    ):
        assert len(house.get("ListRuns", body).get("runs", [])) == count, body
    for body in ({"status": ["waiting"]}, {"pageToken": "zzz"}, {"pr": "1"}):
        assert house.refused("ListRuns", body)[1] == "invalid_argument"
    flows = house.get("ListWorkflows", {"name": "CI"})["workflows"]
    assert [flow["status"] for flow in flows] == ["queued", "queued", "cancelled"]
    assert flows[0]["jobCounts"] == {"total": 2, "queued": 1, "waiting": 1}


def test_cancel_ends_once(house: Any) -> None:
    house.project()
    run = house.start()
    assert house.get("CancelRun", {"runId": run}) == {"runId": run, "status": "cancelled"}
    assert {job["status"] for job in house.jobs(run).values()} == {"cancelled"}
    assert house.refused("CancelRun", {"runId": run})[1] == "failed_precondition"


def test_retry_makes_the_next_attempt_and_asks_skipped_jobs_again(house: Any) -> None:
    house.project()
    run = house.start()
    house.finish(house.claim(), Outcome.FAILED)
    jobs = house.jobs(run)
    assert (jobs["ci.yml:build"]["status"], jobs["ci.yml:test"]["status"]) == ("failed", "skipped")
    assert "attempts" not in jobs["ci.yml:test"]
    flow = house.get("GetRunStatus", {"runId": run})["workflows"][0]["workflowId"]
    _, word, message = house.refused("RetryJob", {"jobId": jobs["ci.yml:test"]["jobId"]})
    assert word == "failed_precondition" and message.endswith("this one is skipped")
    again = house.get("RetryJob", {"workflowId": flow, "jobId": jobs["ci.yml:build"]["jobId"]})
    assert (again["attempt"], again["status"]) == (2, "queued")
    assert house.jobs(run)["ci.yml:test"]["status"] == "waiting"
    assert house.refused("RetryFailedJobs", {"workflowId": flow})[1] == "failed_precondition"
    house.finish(house.claim(), Outcome.FAILED)
    failed = house.get("RetryFailedJobs", {"workflowId": flow})
    assert failed["jobCount"] == 1 and failed["jobIds"] == [jobs["ci.yml:build"]["jobId"]]
    house.finish(house.claim())
    house.finish(house.claim())
    assert house.get("GetRun", {"runId": run})["status"] == "finished"
    assert house.get("RerunWorkflow", {"workflowId": flow})["jobCount"] == 2
    assert {job["status"] for job in house.jobs(run).values()} == {"queued", "waiting"}


BACKWARDS = """
on: workflow_dispatch
jobs:
  tell:
    needs: test
    if: always()
    runs-on: ubuntu-latest
    steps: [{run: echo told}]
  test:
    needs: build
    runs-on: ubuntu-latest
    steps: [{run: echo tested}]
  build:
    runs-on: ubuntu-latest
    steps: [{run: echo built}]
"""


def test_a_rerun_asks_all_jobs_again_in_the_order_of_their_needs(house: Any) -> None:
    house.project(workflow=BACKWARDS)
    run = house.start()
    flow = house.get("GetRunStatus", {"runId": run})["workflows"][0]["workflowId"]
    for first in (Outcome.PASSED, Outcome.FAILED):
        for outcome in (first, Outcome.PASSED, Outcome.PASSED)[: 3 if first is Outcome.PASSED else 2]:
            house.finish(house.claim(), outcome)
        again = house.get("RerunWorkflow", {"workflowId": flow})
        assert again["jobCount"] == 3  # those skipped behind a failed one too
        states = {key: job["status"] for key, job in house.jobs(run).items()}
        assert states == {"ci.yml:tell": "waiting", "ci.yml:test": "waiting", "ci.yml:build": "queued"}


def test_a_job_whose_dependants_have_begun_is_not_retried_alone(house: Any) -> None:
    house.project(workflow=BACKWARDS)
    run = house.start()
    house.finish(house.claim(), Outcome.FAILED)
    job = house.jobs(run)["ci.yml:build"]["jobId"]
    assert house.claim().job.key == "tell"
    code, word, message = house.refused("RetryJob", {"jobId": job})
    assert (code, word) == (400, "failed_precondition") and "already started" in message
    assert len(house.jobs(run)["ci.yml:build"]["attempts"]) == 1


def test_every_call_wants_a_token(house: Any) -> None:
    for method in ("Run", "GetRun", "ListRuns", "CancelRun", "GetJobAttemptLogs", "GetRunMetrics"):
        for token in (None, "", "nonsense", "x" * 600):
            answer = house.call(method, {}, token)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    answer = house.request(
        "POST",
        "/depot.ci.v1.CIService/GetRun",
        None,
        content=b"{",
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 401


def test_a_job_token_reads_its_project_and_starts_nothing(house: Any) -> None:
    house.project()
    run = house.start()
    token = house.claim().token
    assert house.call("GetRun", {"runId": run}, token).status_code == 200
    for method, body in (("Run", {"repo": "group/demo"}), ("CancelRun", {"runId": run})):
        assert house.call(method, body, token).json()["code"] == "permission_denied"
    house.project("group/other")
    other = house.get("Run", {"repo": "group/other"})["runId"]
    assert house.call("GetRun", {"runId": other}, token).json()["code"] == "not_found"


def test_broken_requests_are_refused_in_the_vendors_shape(house: Any) -> None:
    path = "/depot.ci.v1.CIService/GetRun"

    def send(content: bytes, kind: str, method: str = "POST", path: str = path, **headers: str) -> Any:
        return house.request(method, path, content=content, headers={"content-type": kind, **headers})

    for content in (b"{", b"[" * 100_000, b'{"runId": 5}', b"\xff", b'{"runId": "a"} x', b"NaN"):
        answer = send(content, "application/json")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument"), content[:20]
    for content in (b"\xff\xff\xff", b"\x0a\x05ab", b"\x08\x01" * 3 + b"\x0b" * 5000):
        answer = send(content, "application/proto")
        assert answer.status_code in (400, 404), content[:20]
    assert send(b"{}", "text/plain").status_code == 415
    assert send(b"", "application/json", "GET").status_code == 405
    assert send(b"{}", "application/json", path="/depot.ci.v1.CIService/Nope").status_code == 404
    assert send(b"{}", "application/json", path="/depot.ci.v9.X/Nope").status_code == 404
    assert send(b"x" * (5 << 20), "application/json").status_code == 429
    grpc = send(b"\0\0\0\0\0", "application/grpc")
    assert (grpc.status_code, grpc.headers["grpc-status"], grpc.content) == (200, "12", b"")
    unknown = send(b"{}", "application/json", **{"content-encoding": "br"})
    assert (unknown.status_code, unknown.json()["code"]) == (501, "unimplemented")


def test_binary_and_json_say_the_same(house: Any) -> None:
    from runyard.dialects.depot.gen.depot.ci.v1 import ci_pb as pb

    house.project()
    run = house.start()
    body = pb.GetRunRequest(run_id=run).to_binary()
    answer = house.request(
        "POST", "/depot.ci.v1.CIService/GetRun", content=body, headers={"content-type": "application/proto"}
    )
    assert answer.headers["content-type"] == "application/proto"
    assert pb.GetRunResponse.from_binary(answer.content).repo == "group/demo"


def test_organizations(house: Any) -> None:
    answer = house.request("POST", "/depot.core.v1.OrganizationService/ListOrganizations", json={})
    assert answer.json()["organizations"][0]["name"] == "Runyard"


def test_a_repository_is_ready_to_migrate_once_it_is_here(house: Any) -> None:
    house.project()

    def ask(repo: str) -> Any:
        return house.request(
            "POST", "/depot.ci.v1.MigrationService/GetInstallation", json={"repo": repo}
        ).json()

    assert ask("group/demo")["installations"][0] | {"settingsUrl": ""} == {
        "installationId": ids.ORG, "settingsUrl": "", "owner": "group", "repoAccessible": True
    }  # fmt: skip
    assert "repoAccessible" not in ask("group/other")["installations"][0]
    assert ask("none")["code"] == "invalid_argument"
