"""GetRunStatus in its two writings: the same as plain protobuf messages would be, byte for byte, whatever the
run has come to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runyard.dialects.depot import ids, shapes, statuses
from runyard.dialects.depot.gen.depot.ci.v1 import ci_pb as pb
from runyard.engine import views
from runyard.engine.ports import Tx
from runyard.model.state import Outcome
from runyard.model.work import Job, Run
from tests.dialects.depot_routes.conftest import WORKFLOW, House

ODD = """
name: 'Odd "jobs":[{}] \\ ünïcode </script> 🌱'
on: workflow_dispatch
jobs:
  leg:
    name: 'leg "workflows":[{}] ${{ matrix.n }} é\u2028'
    runs-on: ubuntu-latest
    strategy: {fail-fast: false, matrix: {n: [1, 2, 3]}}
    steps: [{run: 'true'}]
  after:
    needs: leg
    runs-on: ubuntu-latest
    steps: [{run: 'true'}]
"""


def plain(house: House, run: str) -> pb.GetRunStatusResponse:
    """The answer from the rows of the run's tree, without any part that was kept."""
    number = ids.hear(run, ids.Kind.RUN)[1]
    view = house.services.db.submit_read(lambda tx: views.run_tree(tx, number)).result()
    flows = []
    for flow in view.workflows:
        jobs = []
        for job in flow.jobs:
            shown = [one for one in job.attempts if one.outcome is not Outcome.SKIPPED]
            jobs.append(
                pb.JobStatus(
                    job_id=ids.job(job.job.id),
                    job_key=shapes.job_key(job.job),
                    status=shapes.job_status(job),
                    job_display_name=job.job.name,
                    attempts=[
                        pb.AttemptStatus(
                            attempt_id=ids.attempt(one.id),
                            attempt=one.number,
                            status=shapes.status(one),
                            sandbox_id=shapes.sandbox_id(one),
                            session_id=shapes.session_id(one),
                        )
                        for one in shown
                    ],
                )
            )
        row = flow.workflow
        flows.append(
            pb.WorkflowStatus(
                workflow_id=ids.workflow(row.id),
                status=shapes.status(row),
                workflow_path=shapes.workflow_path(row),
                name=row.name,
                error_message=row.error,
                jobs=jobs,
            )
        )
    return pb.GetRunStatusResponse(
        org_id=ids.ORG, run_id=run, status=shapes.status(view.run), workflows=flows
    )


def same(house: House, run: str) -> Any:
    """The answer as JSON, after both writings were held against the plain one."""
    expected = plain(house, run)
    answer = house.call("GetRunStatus", {"runId": run})
    assert answer.status_code == 200 and answer.content == expected.to_json().encode()
    binary = house.request(
        "POST",
        "/depot.ci.v1.CIService/GetRunStatus",
        content=pb.GetRunStatusRequest(run_id=run).to_binary(),
        headers={"content-type": "application/proto"},
    )
    assert binary.status_code == 200 and binary.content == expected.to_binary()
    return answer.json()


def test_every_moment_of_a_run_is_written_as_protobuf_would(house: House) -> None:
    house.project()
    run = str(house.get("Run", {"repo": "group/demo", "workflowContent": [ODD, WORKFLOW]})["runId"])
    first = same(house, run)
    legs = [house.claim() for _ in range(4)]
    assert same(house, run)["status"] == "running"
    for leg in legs:
        house.finish(leg, Outcome.FAILED if leg is legs[0] else Outcome.PASSED)
        same(house, run)
    house.finish(house.claim())
    failed = same(house, run)
    assert failed["status"] == "failed"
    assert [len(job.get("attempts", [])) for job in failed["workflows"][0]["jobs"]] == [1, 1, 1, 0]
    house.get("RetryFailedJobs", {"workflowId": failed["workflows"][0]["workflowId"]})
    again = same(house, run)
    assert [len(job.get("attempts", [])) for job in again["workflows"][0]["jobs"]] == [2, 1, 1, 1]
    house.finish(house.claim())
    house.finish(house.claim())
    last = same(house, run)
    assert last["status"] == "finished" and len(last["workflows"]) == 2
    keys = [
        [job["jobKey"] for flow in told["workflows"] for job in flow["jobs"]] for told in (first, again, last)
    ]
    assert keys[0] == keys[1] == keys[2]


def test_a_run_without_jobs_and_one_that_did_not_compile(house: House) -> None:
    house.project()
    run = house.start()
    rows = house.write(lambda tx: tx.workflows(1))
    house.write(lambda tx: tx.save(replace(rows[0], error='line 3: "jobs" is {}')))
    assert same(house, run)["workflows"][0]["errorMessage"]


def test_only_what_moved_is_made_anew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = shapes.job_in_status

    def counted(key: str, tries: Any) -> pb.JobStatus:
        made.append(key)
        return real(key, tries)

    monkeypatch.setattr(shapes, "job_in_status", counted)
    house.project()
    run = house.start()
    house.get("GetRunStatus", {"runId": run})
    house.get("GetRunStatus", {"runId": run})
    assert made == ["ci.yml:build", "ci.yml:test"]
    job = house.claim()
    house.get("GetRunStatus", {"runId": run})
    assert made[2:] == ["ci.yml:build"]
    house.finish(job)
    house.get("GetRunStatus", {"runId": run})
    assert sorted(made[3:]) == ["ci.yml:build", "ci.yml:test"]


def test_a_job_that_gets_another_name_shows_it(house: House) -> None:
    house.project()
    run = house.start()
    same(house, run)

    def rename(tx: Tx) -> None:
        job = tx.get(Job, 1)
        assert job is not None
        tx.save(replace(job, name="drawn late"))

    house.write(rename)
    assert same(house, run)["workflows"][0]["jobs"][0]["jobDisplayName"] == "drawn late"


def test_parts_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuses, "MOST_PARTS", 3)
    house.project()
    runs = [house.start() for _ in range(5)]
    for run in [*runs, *runs]:
        same(house, run)


def test_large_runs_are_read_in_a_thread(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    made = statuses.Statuses()
    assert not made.is_short(1)
    house.project()
    house.start()

    def look(tx: Tx) -> None:
        run = tx.get(Run, 1)
        assert run is not None
        made.of(tx, run)

    house.services.db.submit_read(look).result()
    assert made.is_short(1)
    monkeypatch.setattr(statuses, "MOST_SHORT", 2)
    assert not made.is_short(1)
