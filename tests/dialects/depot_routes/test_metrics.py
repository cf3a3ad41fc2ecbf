"""GetJobAttemptMetrics, GetJobMetrics, GetRunMetrics: figures, what there is to say without figures,
thinning, limits."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.dialects.depot import metrics
from runyard.engine import dispatch
from runyard.model.plan import Assignment
from runyard.model.state import Outcome
from runyard.model.usage import Sample
from tests.dialects.depot_routes.conftest import House

CODE = "CI_METRICS_AVAILABILITY_CODE_"


def use(house: House, job: Assignment, *samples: Sample) -> None:
    house.write(lambda tx: dispatch.usage(tx, job.attempt_id, job.token, samples))


def attempt_of(house: House, run: str, key: str) -> tuple[str, str]:
    job = house.jobs(run)[f"ci.yml:{key}"]
    return job["jobId"], job["attempts"][0]["attemptId"]


def sampled(house: House) -> tuple[str, Assignment]:
    house.project()
    run = house.start()
    job = house.claim()
    at = house.time[0]
    use(house, job, Sample(at, None, 256, 1024), Sample(at + 1000, 0.5, 512, 1024))
    use(house, job, Sample(at + 2000, 1.0, 768, 1024))
    use(house, job, Sample(at + 2000, 0.1, 1, 1024))  # sent again: the first counts
    return run, job


def test_an_attempt_with_its_samples(house: House) -> None:
    run, _ = sampled(house)
    _, attempt = attempt_of(house, run, "build")
    found = house.get("GetJobAttemptMetrics", {"attemptId": attempt})
    mine = found["attempt"]
    assert mine["availability"] == {"code": CODE + "AVAILABLE", "reason": "available"}
    assert mine["stats"] == {
        "sampleCount": 3, "cpuSampleCount": 2, "memorySampleCount": 3, "peakCpuUtilization": 1, "averageCpuUtilization": 0.75,
        "peakMemoryUtilization": 0.75, "averageMemoryUtilization": 0.5, "peakMemoryUsageBytes": "768", "averageMemoryUsageBytes": 512,
        "observedStartedAt": "2027-01-15T08:00:00.000Z", "observedFinishedAt": "2027-01-15T08:00:02.000Z",
    }  # fmt: skip
    assert mine["cap"] == {"rawSampleCount": 3, "returnedSampleCount": 3, "maxReturnedSampleCount": 5000}
    assert mine["samples"][0] == {
        "timestamp": "2027-01-15T08:00:00.000Z",
        "memoryUtilization": 0.25,
        "memoryUsageBytes": "256",
    }
    assert mine["samples"][1]["cpuUtilization"] == 0.5
    assert (
        mine["attempt"]["status"] == "running"
        and mine["attempt"]["sandboxId"]
        and "conclusion" not in mine["attempt"]
    )
    assert found["job"]["jobKey"] == "ci.yml:build" and found["job"]["currentAttempt"] == 1
    assert found["run"]["runId"] == run and found["workflow"]["name"] == "CI" and found["snapshotAt"]


def test_jobs_and_runs_in_summaries(house: House) -> None:
    run, job = sampled(house)
    house.finish(job, Outcome.FAILED)
    number, _ = attempt_of(house, run, "build")
    of_job = house.get("GetJobMetrics", {"jobId": number})
    (mine,) = of_job["attempts"]
    assert mine["stats"]["peakCpuUtilization"] == 1 and "samples" not in mine
    assert (
        mine["attempt"]["conclusion"] == of_job["job"]["conclusion"] == "failure"
        and "sandboxId" not in mine["attempt"]
    )
    of_run = house.get("GetRunMetrics", {"runId": run})
    assert [j["job"]["jobKey"] for w in of_run["workflows"] for j in w["jobs"]] == [
        "ci.yml:build",
        "ci.yml:test",
    ]
    skipped = of_run["workflows"][0]["jobs"][1]
    assert skipped["job"]["conclusion"] == "skipped" and "attempts" not in skipped


def test_what_there_is_to_say_without_samples(house: House) -> None:
    house.project()
    run = house.start()
    _, attempt = attempt_of(house, run, "build")

    def availability() -> Any:
        return house.get("GetJobAttemptMetrics", {"attemptId": attempt})["attempt"]["availability"]

    assert availability() == {"code": CODE + "NO_SANDBOX", "reason": "no_sandbox"}
    house.claim()
    assert availability() == {"code": CODE + "NO_SAMPLES", "reason": "no_samples"}


def test_unknown_ids_and_too_many_attempts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = sampled(house)
    number, attempt = attempt_of(house, run, "build")
    assert house.refused("GetJobAttemptMetrics", {"attemptId": number})[:2] == (404, "not_found")
    assert house.refused("GetJobMetrics", {"jobId": attempt})[:2] == (404, "not_found")
    assert house.refused("GetRunMetrics", {})[:2] == (404, "not_found")
    monkeypatch.setattr(metrics, "MOST_ATTEMPTS_OF_RUN", 1)
    status, code, message = house.refused("GetRunMetrics", {"runId": run})
    assert (status, code) == (429, "resource_exhausted") and f"Use GetRunStatus for run {run}" in message


def test_many_samples_are_thinned_and_peaks_stay() -> None:
    samples = [Sample(n, (n % 97) / 97, n) for n in range(12_345)]
    few = metrics.thinned(samples)
    assert len(few) == metrics.MOST_SAMPLES and few == sorted(few, key=lambda one: one.at)
    assert max(one.cpu or 0 for one in few) == max(one.cpu or 0 for one in samples)
    assert metrics.thinned(samples[:5000]) == samples[:5000]


@pytest.mark.parametrize(
    "bad", [Sample(-1), Sample(1, 1.5), Sample(1, None, -5), Sample(1, None, 1, 1 << 62)]
)
def test_nonsense_is_not_kept(house: House, bad: Sample) -> None:
    from runyard.model.errors import Invalid

    house.project()
    house.start()
    job = house.claim()
    with pytest.raises(Invalid):
        use(house, job, bad)
    with pytest.raises(Invalid):
        use(house, job, *[Sample(1)] * 101)
