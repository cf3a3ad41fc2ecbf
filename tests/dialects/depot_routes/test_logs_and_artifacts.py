"""Log pages, live streams, exports, summaries, artifacts and their links."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import Any

import pytest

from runyard.dialects.depot.loglines import Cursor
from runyard.engine.access import add_member
from runyard.engine.housekeeping import seal_logs
from runyard.engine.ports import ArtifactFilter, Page, Tx
from runyard.model.access import Role
from runyard.model.errors import Invalid
from runyard.model.work import Job, Member, Project
from tests.services import PLAIN


def spoken(house: Any) -> tuple[Any, str]:
    """A running build that has printed in two steps, and its attempt's id."""
    house.project()
    run = house.start()
    job = house.claim()
    text = b"setup\none\r\ntwo\nthree"
    house.say(job, text, 0)
    house.step(job, 0, "first", 6, 15, extra={"summary": "# First\n"})
    house.step(job, 1, "__run", 15, None)
    return job, str(house.jobs(run)["ci.yml:build"]["attempts"][0]["attemptId"])


def test_lines_within_another_steps_part_are_the_inner_ones(house: Any) -> None:
    house.project()
    run = house.start()
    job = house.claim()
    house.say(job, b"wait\nback\nwait\nnone\n", 0)
    house.step(job, 0, "back", 5, 10)
    house.step(job, 1, "wait", 0, 15)
    page = house.get(
        "GetJobAttemptLogs",
        {"attemptId": house.jobs(run)["ci.yml:build"]["attempts"][0]["attemptId"]},
    )
    assert [r.get("stepKey", "none") or "none" for r in page["lines"]] == [r["body"] for r in page["lines"]]


def test_pages_have_steps_numbers_and_times(house: Any) -> None:
    _job, attempt = spoken(house)
    page = house.get("GetJobAttemptLogs", {"attemptId": attempt})
    rows = [(r.get("stepKey", ""), r.get("stepId", ""), r["lineNumber"], r["body"]) for r in page["lines"]]
    assert rows == [
        ("", "", 1, "setup"),
        ("first", "first", 1, "one"),
        ("first", "first", 2, "two"),
        ("__run", "", 1, "three"),
    ]
    assert page["lines"][1]["timestampMs"] == str(house.time[0]) and page["lines"][1]["stepName"] == "First"
    assert "nextPageToken" not in page


def test_a_long_log_comes_in_pages_and_whole(house: Any) -> None:
    job, attempt = spoken(house)
    text = b"".join(b"line %d\n" % n for n in range(60_000))
    house.say(job, b"\n" + text, 20)
    bodies, token = [], ""
    for _ in range(50):
        page = house.get("GetJobAttemptLogs", {"attemptId": attempt, "pageToken": token})
        bodies += [row.get("body", "") for row in page["lines"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert "\n".join(bodies).encode() + b"\n" == b"setup\none\ntwo\nthree\n" + text


def test_a_stream_ends_with_its_attempt_and_resumes_after_a_cursor(house: Any) -> None:
    job, attempt = spoken(house)
    house.finish(job)
    messages, end = house.stream("StreamJobAttemptLogs", {"attemptId": attempt})
    assert end == {}
    assert [m["line"]["body"] for m in messages if "line" in m] == ["setup", "one", "two", "three"]
    assert messages[-1] == {"nextCursor": messages[-2]["nextCursor"], "attemptStatus": "finished"}
    again, _ = house.stream(
        "StreamJobAttemptLogs", {"attemptId": attempt, "cursor": messages[1]["nextCursor"]}
    )
    assert [(m["line"]["body"], m["line"]["lineNumber"]) for m in again if "line" in m] == [
        ("two", 2),
        ("three", 1),
    ]


def test_a_stream_is_live(house: Any) -> None:
    from runyard.dialects.depot.access import _asker
    from runyard.dialects.depot.gen.depot.ci.v1 import ci_pb as pb
    from runyard.dialects.depot.logs import Logs
    from runyard.http.services import Principal
    from runyard.model.work import User

    job, attempt = spoken(house)

    async def follow() -> list[str]:
        _asker.set(Principal(User(1, "root", is_admin=True)))
        said = []
        async for message in Logs(house.services).stream(pb.StreamJobAttemptLogsRequest(attempt_id=attempt)):
            said.append(message.line.body if message.line else message.attempt_status)
            if said[-1] == "two":
                await asyncio.to_thread(house.say, job, b" four\nfive\n", 20)
            if said[-1] == "five":
                await asyncio.to_thread(house.finish, job)
        return said

    assert house.run(asyncio.wait_for(follow(), 20)) == [
        "setup",
        "one",
        "two",
        "three four",
        "five",
        "finished",
    ]


def test_streams_and_exports_by_job(house: Any) -> None:
    job, _ = spoken(house)
    house.finish(job)
    run = house.get("ListRuns", {})["runs"][0]["runId"]
    job_id = house.jobs(run)["ci.yml:build"]["jobId"]
    messages, _ = house.stream("StreamJobAttemptLogs", {"jobId": job_id})
    assert len(messages) == 5
    parts, end = house.stream("ExportJobAttemptLogs", {"jobId": job_id})
    assert end == {} and parts[0]["metadata"]["filename"].endswith(".txt")
    text = b"".join(base64.b64decode(part["chunk"]) for part in parts[1:]).decode()
    assert text.splitlines()[1] == "2027-01-15T08:00:00.000000000Z one"
    parts, _ = house.stream(
        "ExportJobAttemptLogs", {"jobId": job_id, "format": "JOB_ATTEMPT_LOG_EXPORT_FORMAT_JSONL"}
    )
    assert parts[0]["metadata"]["contentType"].startswith("application/x-ndjson")


@pytest.mark.parametrize("body", [{}, {"attemptId": "a", "jobId": "b"}, {"attemptId": "zzzzzzzzzz"}])
def test_a_stream_without_a_target_ends_with_an_error(house: Any, body: Any) -> None:
    messages, end = house.stream("StreamJobAttemptLogs", body)
    assert messages == [] and end["error"]["code"] in ("invalid_argument", "not_found")


@pytest.mark.parametrize("text", ["x", "1", "1.", "-1.0", "01.0", "9" * 30 + ".1", "1.1 ", "1.1\n"])
def test_foreign_cursors_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Cursor.of(text)


def test_summaries_are_joined(house: Any) -> None:
    _job, attempt = spoken(house)
    found = house.get("GetJobSummary", {"attemptId": attempt})
    assert (found["hasSummary"], found["stepCount"], found["markdown"]) == (True, 1, "# First")
    assert house.refused("GetJobSummary", {})[1] == "invalid_argument"
    assert house.refused("GetJobSummary", {"jobId": attempt})[1] == "not_found"


def test_artifacts_are_listed_and_linked(house: Any) -> None:
    job, _attempt = spoken(house)
    for name in ("out", 'we"ird\u00fc'):
        house.leave(job, name, b"PK" + name.encode())
    run = house.get("ListRuns", {})["runs"][0]["runId"]
    first = house.get("ListArtifacts", {"runId": run, "pageSize": 1})
    assert first["artifacts"][0]["name"] == "out" and first["artifacts"][0]["jobKey"] == "ci.yml:build"
    rest = house.get("ListArtifacts", {"runId": run, "pageToken": first["nextPageToken"]})
    assert [row["name"] for row in rest["artifacts"]] == ['we"ird\u00fc']
    other = house.jobs(run)["ci.yml:test"]["jobId"]
    assert house.get("ListArtifacts", {"runId": run, "jobId": other}) == {}
    link = house.get("GetArtifactDownloadURL", {"artifactId": rest["artifacts"][0]["artifactId"]})
    path = link["url"].removeprefix("http://ci.test")
    answer = house.request("GET", path, None)
    assert answer.content == 'PKwe"ird\u00fc'.encode()
    assert (
        "attachment" in answer.headers["content-disposition"]
        and answer.headers["x-content-type-options"] == "nosniff"
    )
    assert link["expiresAt"] == "2027-01-15T08:15:00.000Z"


def offered(house: Any) -> tuple[str, str, str]:
    """An artifact: (its run, its id, the path of its link)."""
    job, _ = spoken(house)
    house.leave(job, "out", b"PK")
    run = house.get("ListRuns", {})["runs"][0]["runId"]
    artifact = house.get("ListArtifacts", {"runId": run})["artifacts"][0]["artifactId"]
    path = house.get("GetArtifactDownloadURL", {"artifactId": artifact})["url"].removeprefix("http://ci.test")
    return run, artifact, path


def test_links_end_and_cannot_be_made_up(house: Any) -> None:
    run, artifact, path = offered(house)
    assert house.request("GET", path, None).status_code == 200
    assert house.request("POST", path, None).status_code == 405
    for wrong in (
        path[:-1] + "x",
        path.replace("expires=1", "expires=2"),
        path.split("?")[0],
        path.replace(artifact, run),
    ):
        assert house.request("GET", wrong, None).status_code == 403
    house.time[0] += 901_000
    assert house.request("GET", path, None).status_code == 403


def test_an_expired_artifact_is_gone_before_it_is_swept(house: Any) -> None:
    _, artifact, path = offered(house)

    def end(tx: Tx) -> None:
        (row,) = tx.artifacts(ArtifactFilter(name="out"), Page())
        tx.save(replace(row, expires_at=house.time[0] + 1000))

    house.write(end)
    assert house.request("GET", path, None).status_code == 200
    house.time[0] += 1000
    assert house.request("GET", path, None).status_code == 404
    assert house.refused("GetArtifactDownloadURL", {"artifactId": artifact})[1] == "not_found"


def test_a_link_is_for_those_whom_the_job_lets_in(house: Any) -> None:
    """GitLab's `artifacts:access` binds this door too: a job of any dialect may keep what it left to
    maintainers."""
    job, _ = spoken(house)
    house.leave(job, "out", b"PK")
    run = house.get("ListRuns", {})["runs"][0]["runId"]
    wanted = {"artifactId": house.get("ListArtifacts", {"runId": run})["artifacts"][0]["artifactId"]}

    def change(tx: Tx) -> None:
        project, row = tx.get(Project, job.project_id), tx.get(Job, job.job_id)
        person = tx.user_by_name("plain")
        assert project is not None and row is not None and person is not None
        add_member(tx, Member(0, person.id, Role.DEVELOPER, project.id))
        tx.save(replace(row, plan=replace(row.plan, artifacts_from=Role.MAINTAINER)))

    house.write(change)
    assert house.call("GetArtifactDownloadURL", wanted, PLAIN).status_code == 404
    assert house.call("GetArtifactDownloadURL", wanted).status_code == 200


def test_lines_carry_the_time_at_which_they_came_sealed_or_not(house: Any) -> None:
    house.project()
    run = house.start()
    job = house.claim()
    began = house.time[0]
    house.say(job, b"one\ntw", 0)
    house.time[0] += 1500
    house.say(job, b"o\nthree\n", 6)
    house.step(job, 0, "first", 0, None)
    house.time[0] += 1500
    house.say(job, b"four\n", 14)
    attempt = str(house.jobs(run)["ci.yml:build"]["attempts"][0]["attemptId"])

    def times() -> list[tuple[str, int]]:
        page = house.get("GetJobAttemptLogs", {"attemptId": attempt})
        return [(row["body"], int(row["timestampMs"]) - began) for row in page["lines"]]

    came = [("one", 0), ("two", 0), ("three", 1500), ("four", 3000)]
    assert times() == came
    house.finish(job)
    assert seal_logs(house.services.db, house.services.blobs) == 1
    assert times() == came
    messages, _ = house.stream("StreamJobAttemptLogs", {"attemptId": attempt, "cursor": "8.2"})
    assert [int(m["line"]["timestampMs"]) - began for m in messages if "line" in m] == [1500, 3000]
