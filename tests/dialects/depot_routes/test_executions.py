"""A workflow's executions: one more for each rerun, none for a retry; those before stay as they ended."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.dialects.depot import executions
from runyard.engine import dispatch
from runyard.model.state import Outcome
from tests.dialects.depot_routes.conftest import House


def told(house: House, workflow: str) -> list[dict[str, Any]]:
    return list(house.get("GetWorkflow", {"workflowId": workflow})["executions"])


def ended(house: House, first: Outcome = Outcome.PASSED) -> None:
    """Both jobs of the example run, a second each."""
    for outcome in (first, Outcome.PASSED):
        house.time[0] += 1000
        job = house.claim()
        house.time[0] += 1000
        house.finish(job, outcome)
        if outcome is not Outcome.PASSED:
            return


def test_each_rerun_is_an_execution(house: House) -> None:
    house.project()
    run = house.start()
    (workflow,) = (w["workflowId"] for w in house.get("GetRunStatus", {"runId": run})["workflows"])
    (one,) = told(house, workflow)
    assert (one["execution"], one["status"], "startedAt" in one) == (1, "queued", False)
    ended(house, Outcome.FAILED)
    house.get("RetryFailedJobs", {"workflowId": workflow})
    assert [e["execution"] for e in told(house, workflow)] == [1]
    ended(house)
    (first,) = told(house, workflow)
    assert first["status"] == "finished" and first["startedAt"] < first["finishedAt"]
    house.time[0] += 5000
    assert house.get("RerunWorkflow", {"workflowId": workflow})["jobCount"] == 2
    before, now = told(house, workflow)
    assert before == first
    assert (now["execution"], now["status"]) == (2, "queued") and "startedAt" not in now
    assert now["createdAt"] > first["finishedAt"] and now["executionId"] != first["executionId"]
    ended(house, Outcome.FAILED)
    before, now = told(house, workflow)
    assert before == first and now["status"] == "failed"
    assert now["createdAt"] < now["startedAt"] < now["finishedAt"]
    assert house.get("RerunWorkflow", {"workflowId": workflow})["workflowId"] == workflow
    assert [(e["execution"], e["status"]) for e in told(house, workflow)] == [
        (1, "finished"),
        (2, "failed"),
        (3, "queued"),
    ]


def test_only_the_last_are_kept(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executions, "MOST_PAST", 2)
    house.project()
    run = house.start()
    (workflow,) = (w["workflowId"] for w in house.get("GetRunStatus", {"runId": run})["workflows"])
    for _ in range(4):
        ended(house)
        house.get("RerunWorkflow", {"workflowId": workflow})
    found = told(house, workflow)
    assert [e["execution"] for e in found] == [3, 4, 5]
    assert len({e["executionId"] for e in found}) == 3


LATE = """
on: workflow_dispatch
jobs:
  list:
    runs-on: ubuntu-latest
    outputs: {names: "${{ steps.s.outputs.names }}"}
    steps: [{id: s, run: echo}]
  leg:
    needs: list
    runs-on: ubuntu-latest
    strategy: {matrix: {name: "${{ fromJSON(needs.list.outputs.names) }}"}}
    steps: [{run: echo}]
"""


def test_a_rerun_makes_the_matrix_of_the_new_outputs(house: House) -> None:
    def work(names: str, outcome: Outcome) -> None:
        first = house.claim()
        end = dispatch.Finish(Outcome.PASSED, outputs={"names": names})
        house.write(lambda tx: dispatch.finish(tx, first.attempt_id, first.token, end, house.services.now()))
        for _ in range(2):
            house.finish(house.claim(), outcome)

    house.project(workflow=LATE)
    run = house.start()
    (workflow,) = (w["workflowId"] for w in house.get("GetRunStatus", {"runId": run})["workflows"])
    work('["one", "two"]', Outcome.PASSED)
    gone, kept = (house.jobs(run)[f"ci.yml:leg ({name})"] for name in ("one", "two"))
    assert house.get("RerunWorkflow", {"workflowId": workflow})["jobCount"] == 4
    work('["two", "three"]', Outcome.PASSED)
    found = house.jobs(run)
    assert {key.partition(":")[2] for key in found} == {"list", "leg", "leg (two)", "leg (three)"}
    assert found["ci.yml:leg (two)"]["jobId"] == kept["jobId"]
    assert len(found["ci.yml:leg (two)"]["attempts"]) == 2
    assert house.get("GetRun", {"runId": run})["status"] == "finished"
    assert [e["status"] for e in told(house, workflow)] == ["finished", "finished"]
    for method in ("RetryJob", "CancelJob"):
        assert house.refused(method, {"jobId": gone["jobId"]})[1] == "failed_precondition"
    first = gone["attempts"][0]["attemptId"]
    assert house.call("GetJobAttemptLogs", {"attemptId": first}).status_code == 200  # history
