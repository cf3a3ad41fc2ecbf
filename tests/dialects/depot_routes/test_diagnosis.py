"""GetFailureDiagnosis: groups by what looks the same, the lines that tell, collateral apart from causes,
within the bounds."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.dialects.depot import diagnosis
from runyard.dialects.depot.evidence import Evidence
from runyard.engine import dispatch
from runyard.model.plan import Assignment
from runyard.model.state import Outcome, Reason, State
from runyard.model.work import Step
from tests.dialects.depot_routes.conftest import House

MANY = """
on: push
jobs:
  test:
    runs-on: ubuntu-latest
    strategy: {fail-fast: false, matrix: {n: [1, 2, 3, 4]}}
    steps: [{id: check, run: make test}]
  soft:
    runs-on: ubuntu-latest
    continue-on-error: true
    steps: [{run: "false"}]
  after:
    needs: test
    runs-on: ubuntu-latest
    steps: [{run: "true"}]
"""
STATES = "FAILURE_DIAGNOSIS_STATE_"


def fail(
    house: House, job: Assignment, log: bytes, reason: Reason = Reason.SCRIPT, code: int = 2, **extra: Any
) -> None:
    house.say(job, log, 0)
    key = job.job.steps[0].key
    row = Step(job.attempt_id, 0, key, "Check", State.DONE, Outcome.FAILED, code, 1, 2, 0, len(log), extra)
    now, terms = house.services.now(), house.services.terms
    house.write(lambda tx: dispatch.steps(tx, job.attempt_id, job.token, [row], now, terms))
    end = dispatch.Finish(Outcome.FAILED, reason, code)
    house.write(lambda tx: dispatch.finish(tx, job.attempt_id, job.token, end, now))


def ask(house: House, id: str, kind: str = "RUN") -> Any:
    return house.get(
        "GetFailureDiagnosis", {"targetId": id, "targetType": f"FAILURE_DIAGNOSIS_TARGET_TYPE_{kind}"}
    )


def failed_run(house: House) -> str:
    house.project(workflow=MANY)
    run = house.start()
    logs = {
        1: b"compiling\nE: cannot find symbol at line 17\n##[error]Process completed with exit code 2.\n",
        2: b"compiling\nE: cannot find symbol at line 23\n##[error]Process completed with exit code 2.\n",
        3: b"\x1b[31mAssertionError: 3 != 4\x1b[0m\n##[error]Process completed with exit code 2.\n",
    }
    for _ in range(5):
        job = house.claim()
        number = job.facts.get("matrix", {}).get("n")
        if job.job.key.startswith("soft") or number is None:
            fail(house, job, b"error: this one may fail\n")
        elif number in logs:
            fail(house, job, logs[number])
        else:
            house.finish(job)
    return run


def test_equal_failures_are_one_group_and_dependants_are_no_cause(house: House) -> None:
    found = ask(house, failed_run(house))
    assert found["state"] == STATES + "GROUPED_FAILURES"
    assert found["target"]["status"] == "FAILURE_DIAGNOSIS_RESOURCE_STATUS_FAILED"
    groups = [(g["count"], g["errorMessage"], len(g["representatives"])) for g in found["failureGroups"]]
    assert groups == [(2, "E: cannot find symbol at line 17", 2), (1, "AssertionError: 3 != 4", 1)]
    first = found["failureGroups"][0]["representatives"][0]
    assert first["relevantLines"] == [
        {
            "stepId": "check",
            "lineNumber": 2,
            "content": "E: cannot find symbol at line 17",
            "contentOriginalLength": 32,
        }
    ]
    assert first["nextCommands"][0]["argv"] == ["depot", "ci", "logs", first["attemptId"]]
    bounds = found["bounds"]
    assert (
        bounds["failedProblemCandidateCount"],
        bounds["skippedDependentCount"],
        bounds["totalAttemptCount"],
    ) == (3, 1, 5)
    assert [c["kind"] for c in found["nextCommands"]] == ["DRILL_DOWN_COMMAND_KIND_DIAGNOSE_WORKFLOW"]
    assert ask(house, found["target"]["targetId"]) == found  # the same question has the same answer


def test_every_kind_of_target(house: House) -> None:
    run = failed_run(house)
    one = ask(house, run)["failureGroups"][1]["representatives"][0]
    for kind, id in (("WORKFLOW", one["workflowId"]), ("JOB", one["jobId"]), ("ATTEMPT", one["attemptId"])):
        found = ask(house, id, kind)
        assert found["target"] == {
            "targetId": id, "targetType": f"FAILURE_DIAGNOSIS_TARGET_TYPE_{kind}", "status": "FAILURE_DIAGNOSIS_RESOURCE_STATUS_FAILED"
        }  # fmt: skip
        assert found["context"]["runId"] == run and found["context"]["workflowId"] == one["workflowId"]
    assert found["state"] == STATES + "FOCUSED_FAILURE"
    assert [a["attemptId"] for a in found["representativeAttempts"]] == [one["attemptId"]]
    assert found["context"]["attemptConclusion"] == "FAILURE_DIAGNOSIS_CONCLUSION_FAILURE"


def test_nothing_failed(house: House) -> None:
    house.project()
    run = house.start()
    found = ask(house, run)
    assert found["state"] == STATES + "EMPTY"
    assert found["emptyReason"] == "FAILURE_DIAGNOSIS_EMPTY_REASON_NO_FAILURE_EVIDENCE"


@pytest.mark.parametrize(
    ("reason", "code", "extra", "message", "word"),
    [
        (Reason.TIMEOUT, 143, {}, "odd", "time limit"),
        (Reason.SCRIPT, 127, {}, "odd", "not found"),
        (Reason.SCRIPT, 1, {"annotations": [{"level": "error", "message": "said so"}]}, "said so", ""),
    ],
)
def test_reasons_codes_and_annotations_are_understood(
    house: House, reason: Reason, code: int, extra: Any, message: str, word: str
) -> None:
    house.project()
    run = house.start()
    fail(house, house.claim(), b"odd\n", reason, code, **extra)
    (group,) = ask(house, run)["failureGroups"]
    assert message in group["errorMessage"] or group["errorMessage"].endswith(f"exit code {code}.")
    assert word in group.get("diagnosis", "")


def test_only_the_end_of_a_long_log_is_read_and_its_lines_keep_their_numbers(house: House) -> None:
    house.project()
    run = house.start()
    log = (
        b"".join(b"line %d\n" % n for n in range(1, 60_001))
        + b"fatal: the last one\n"
        + b"x" * 9000
        + b" error\n"
    )
    fail(house, house.claim(), log)
    (group,) = ask(house, run)["failureGroups"]
    lines = group["representatives"][0]["relevantLines"]
    assert [line["lineNumber"] for line in lines] == [60_001, 60_002]
    assert lines[0]["content"] == "fatal: the last one"
    assert (len(lines[1]["content"]), lines[1]["contentTruncated"], lines[1]["contentOriginalLength"]) == (
        8000,
        True,
        9006,
    )


def test_too_many_failures_are_broken_down(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run = failed_run(house)
    monkeypatch.setattr(diagnosis, "CANDIDATE_CAP", 2)
    found = ask(house, run)
    assert found["state"] == STATES + "OVER_LIMIT" and "failureGroups" not in found
    assert [row["failedProblemCandidateCount"] for row in found["overLimitBreakdown"]] == [3, 1, 1, 1]
    assert found["bounds"]["truncated"]


def test_what_cannot_be_diagnosed_is_refused(house: House) -> None:
    run = failed_run(house)
    assert house.refused("GetFailureDiagnosis", {"targetId": run})[1] == "invalid_argument"
    for kind in ("RUN", "WORKFLOW", "JOB", "ATTEMPT"):
        body = {"targetId": "0000000000", "targetType": f"FAILURE_DIAGNOSIS_TARGET_TYPE_{kind}"}
        assert house.refused("GetFailureDiagnosis", body)[1] == "not_found"


def test_the_script_that_a_step_shows_of_itself_tells_nothing(house: House) -> None:
    house.project()
    run = house.start()
    header = (
        b'##[group]Run make\n\x1b[36;1mecho "error: only in the script"\x1b[0m\nshell: bash\n##[endgroup]\n'
    )
    fail(
        house,
        house.claim(),
        header + b"it says: fatal trouble\n##[error]Process completed with exit code 2.\n",
    )
    (attempt,) = ask(house, run)["representativeAttempts"]
    assert [line["content"] for line in attempt["relevantLines"]] == ["it says: fatal trouble"]
    assert attempt["relevantLines"][0]["lineNumber"] == 5


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("bash: line 3:    41 Killed   ./x", "bash: line 9:   977 Killed   ./x", True),
        ("cannot open /tmp/tmpab3_x/y: No such file", "cannot open /tmp/tmpzz9/q: No such file", True),
        (
            "run 0b8a1c7e-1f2d-4a3b-9c4d-5e6f7a8b9c0d: gone",
            "run 1c9b2d8f-aaaa-4bbb-8ccc-5e6f7a8b9c0d: gone",
            True,
        ),
        ("FAILED tests/test_a.py::test_x - assert 1 == 2", "FAILED tests/test_a.py::test_y - assert 1 == 2", False),
        ("error[E0308]: mismatched types", "error[E0308]: expected one of", False),
    ],
)  # fmt: skip
def test_failures_that_differ_in_numbers_and_names_of_a_moment_are_the_same(
    one: str, other: str, same: bool
) -> None:
    assert (Evidence(one).fingerprint == Evidence(other).fingerprint) is same
