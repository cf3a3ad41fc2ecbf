"""Many machines behind one token, two-phase commit, features a job needs, and what the payload tells of the
queue."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.dialects.gitlab import managers
from runyard.engine import upkeep
from runyard.model.access import Role

ONE = "a: {script: [x]}"
EXIT_CODES = "a: {script: [x], allow_failure: {exit_codes: [3]}}"
REPORTS = "a: {script: [x], artifacts: {paths: [o], exclude: [o/x], reports: {junit: r.xml}}}"


def ask(house: Any, token: str, system_id: str = "", **info: Any) -> Any:
    body = {"token": token, "system_id": system_id, "info": {"name": "gitlab-runner", **info}}
    return house.call("POST", "/jobs/request", token=None, json=body)


def put(house: Any, job: dict[str, Any], state: str, **more: Any) -> Any:
    return house.call("PUT", f"/jobs/{job['id']}", token=None, json={"token": job["token"], "state": state, **more})  # fmt: skip


def shown(house: Any, token: str) -> dict[str, dict[str, Any]]:
    runner = house.write(lambda tx: tx.runners(_page()))[0]
    return {row.key: dict(row.data) for row in house.write(lambda tx: managers.of_runner(tx, runner.id))}


def _page() -> Any:
    from runyard.engine.ports import Page

    return Page()


def test_machines_behind_one_token_are_told_apart(house: Any) -> None:
    token = house.runner()
    for _ in range(3):
        ask(house, token, "s_one", version="18.1.0", features={"cancel_gracefully": True})
        ask(house, token, "r_two", version="14.7.0", features={})
        ask(house, token, version="13.0.0")
    found = shown(house, token)
    assert {key: data["version"] for key, data in found.items()} == {
        "s_one": "18.1.0", "r_two": "14.7.0", managers.LEGACY: "13.0.0"
    }  # fmt: skip
    gone = {"token": token, "system_id": "r_two"}
    assert house.call("DELETE", "/runners/managers", token=None, json=gone).status_code == 204
    assert house.call("DELETE", "/runners/managers", token=None, json=gone).status_code == 404
    assert house.call("DELETE", "/runners/managers", token=None, json={"token": token}).status_code == 400
    assert set(shown(house, token)) == {"s_one", managers.LEGACY}
    assert house.call("DELETE", "/runners", token=None, json={"token": token}).status_code == 204
    assert house.write(lambda tx: managers.of_runner(tx, 1)) == []


def test_a_quiet_poll_writes_nothing_and_an_old_contact_is_renewed(house: Any) -> None:
    token = house.runner()
    ask(house, token, "s_one", version="18.1.0")
    first = shown(house, token)["s_one"]["contacted_at"]
    house.time[0] += 59_000
    ask(house, token, "s_one", version="18.1.0")
    assert shown(house, token)["s_one"]["contacted_at"] == first
    house.time[0] += 1_000
    ask(house, token, "s_one", version="18.1.0")
    assert shown(house, token)["s_one"]["contacted_at"] == first + 60_000


def test_of_a_thousand_machines_the_longest_silent_goes(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managers, "MOST", 3)
    token = house.runner()
    for number in range(5):
        house.time[0] += 1
        ask(house, token, f"s_{number}")
    assert set(shown(house, token)) == {"s_2", "s_3", "s_4"}


def test_a_cancel_is_graceful_by_the_machine_that_has_the_job(house: Any) -> None:
    project = house.project(config=ONE)
    house.pipeline(project)
    house.pipeline(project)
    token = house.runner()
    new = ask(house, token, "s_new", features={"cancel_gracefully": True}).json()
    old = ask(house, token, "s_old", features={"trace_reset": True}).json()
    for job, word in ((new, "canceling"), (old, "canceled")):
        answer = house.call("POST", f"/projects/{project}/jobs/{job['id']}/cancel", json={}).json()
        assert answer["status"] == word


def test_a_job_is_begun_in_two_phases_or_goes_back(house: Any) -> None:
    project = house.project(config=ONE)
    house.pipeline(project)
    token, features = house.runner(), {"two_phase_job_commit": True}
    job = ask(house, token, "s_one", features=features).json()
    assert ask(house, token, "s_two", features=features).status_code == 204
    house.time[0] += 50_000
    waiting = put(house, job, "pending")
    assert waiting.status_code == 200 and waiting.headers["job-status"] == "pending"
    house.time[0] += 50_000  # only the keep-alive has kept it
    begun = put(house, job, "running")
    assert begun.status_code == 200 and begun.headers["job-status"] == "running"
    assert put(house, job, "pending").headers["job-status"] == "running"
    at = house.get(f"/projects/{project}/jobs/{job['id']}")["started_at"]
    assert put(house, job, "success").status_code == 200
    ended = house.get(f"/projects/{project}/jobs/{job['id']}")
    assert ended["started_at"] == at and ended["duration"] == 0 and ended["queued_duration"] == 100


def test_who_never_commits_loses_the_job_and_hears_so(house: Any) -> None:
    project = house.project(config=ONE)
    house.pipeline(project)
    token, features = house.runner(), {"two_phase_job_commit": True}
    for _ in range(5):  # more often than a job that runners die of would be handed out
        job = ask(house, token, "s_one", features=features).json()
        house.time[0] += 61_000
        house.write(lambda tx: upkeep.sweep(tx, house.time[0], house.services.terms))
        late = put(house, job, "running")
        assert late.status_code == 409 and late.headers["job-status"] == "failed"
    assert ask(house, token, "s_two").status_code == 201


@pytest.mark.parametrize(
    ("config", "features", "taken"),
    [
        (REPORTS, {"artifacts_exclude": True, "upload_multiple_artifacts": True}, True),
        (REPORTS, {"artifacts_exclude": True}, False),
        (REPORTS, {}, False),
        (REPORTS, None, True),
        (EXIT_CODES, {"return_exit_code": True}, True),
        (EXIT_CODES, {"variables": True}, False),
        (ONE, {}, True),
    ],
)
def test_a_job_ends_when_its_runner_lacks_what_it_needs(
    house: Any, config: str, features: dict[str, bool] | None, taken: bool
) -> None:
    project = house.project(config=config)
    pipeline = house.pipeline(project)
    given = {} if features is None else {"features": features}
    answer = ask(house, house.runner(), "s_one", **given)
    assert answer.status_code == (201 if taken else 204)
    job = house.get(f"/projects/{project}/pipelines/{pipeline['id']}/jobs")[0]
    assert (job["status"], job.get("failure_reason")) == (
        ("running", None) if taken else ("failed", "runner_unsupported")
    )


def test_a_machine_that_can_execute_nothing_of_a_long_queue_hears_a_conflict(house: Any) -> None:
    project = house.project(config="a: {parallel: 50, script: [x], retry: {max: 1, exit_codes: [3]}}")
    pipeline = house.pipeline(project)
    token = house.runner()
    answer = ask(house, token, features={})
    assert answer.status_code == 409 and answer.json()["message"].startswith("409 Conflict")
    assert ask(house, token, features={}).status_code == 204  # the last five
    found = house.get(f"/projects/{project}/pipelines/{pipeline['id']}/jobs?per_page=100")
    assert {job["failure_reason"] for job in found} == {"runner_unsupported"}


def test_the_payload_counts_what_the_project_runs(house: Any) -> None:
    project = house.project(config=ONE)
    for _ in range(8):
        house.pipeline(project)
    token = house.runner()
    told = [ask(house, token).json()["job_info"] for _ in range(7)]
    key = "project_jobs_running_on_instance_runners_count"
    assert [job[key] for job in told] == ["0", "1", "2", "3", "4", "5", "5+"]
    assert told[0]["user_id"] == house.get("/user")["id"]
    made = house.call("POST", "/user/runners", json={"runner_type": "project_type", "project_id": project})
    assert ask(house, made.json()["token"]).json()["job_info"][key] == "+Inf"


def test_a_direct_download_is_sent_on_where_the_store_has_addresses(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.pipeline(
        house.project(config="a: {script: [x], artifacts: {paths: [o]}}\nb: {stage: deploy, script: [x]}")
    )
    token = house.runner()
    first = ask(house, token).json()
    files = {"file": ("artifacts.zip", b"PK\x05\x06" + b"\0" * 18)}
    at = f"/jobs/{first['id']}/artifacts"
    sent = house.call(
        "POST",
        f"{at}?artifact_format=zip&artifact_type=archive",
        token=None,
        headers={"JOB-TOKEN": first["token"]},
        files=files,
    )
    assert sent.status_code == 201 and put(house, first, "success").status_code == 200
    second = ask(house, token).json()
    headers = {"JOB-TOKEN": second["token"]}
    monkeypatch.setattr(
        type(house.services.blobs), "link", lambda self, key, for_s: f"https://store.test/{key}?for={for_s}"
    )
    moved = house.call("GET", f"{at}?direct_download=true", token=None, headers=headers)
    assert moved.status_code == 302 and moved.headers["location"].startswith("https://store.test/")
    assert house.call("GET", f"{at}?direct_download=false", token=None, headers=headers).status_code == 200
    assert (
        house.call(
            "GET", f"{at}?direct_download=true", token=None, headers={"JOB-TOKEN": first["token"]}
        ).status_code
        == 403
    )


def test_a_groups_runner_is_its_owners_and_takes_its_projects_jobs(house: Any) -> None:
    config = "a: {script: [x], tags: [g]}"
    inside, outside = house.project("team/sub/app", config), house.project("other/app", config)
    group = house.get("/groups/team")["id"]
    wanted = {"runner_type": "group_type", "tag_list": "g"}
    assert house.call("POST", "/user/runners", json=wanted).status_code == 400
    made = house.call("POST", "/user/runners", json={**wanted, "group_id": group})
    assert made.status_code == 201
    number, token = made.json()["id"], made.json()["token"]
    body = house.get(f"/runners/{number}")
    assert (body["runner_type"], body["is_shared"], body["groups"][0]["id"]) == ("group_type", False, group)
    assert [row["id"] for row in house.get(f"/groups/{group}/runners")] == [number]
    assert [row["id"] for row in house.get(f"/projects/{inside}/runners?type=group_type")] == [number]
    assert house.get(f"/projects/{outside}/runners?type=group_type") == []
    house.pipeline(outside)
    assert house.claim(token).status_code == 204
    run = house.pipeline(inside)
    job = house.claim(token)
    assert job.status_code == 201 and job.json()["job_info"]["pipeline_id"] == run["id"]
    assert job.json()["job_info"]["project_jobs_running_on_instance_runners_count"] == "+Inf"


def test_who_may_have_a_groups_runner(house: Any) -> None:
    project = house.project("team/app")
    house.join(project, Role.MAINTAINER)
    group = house.get("/groups/team")["id"]
    wanted = {"runner_type": "group_type", "group_id": group}
    number = house.call("POST", "/user/runners", json=wanted).json()["id"]
    for method, path in (("POST", "/user/runners"), ("GET", f"/runners/{number}"), ("DELETE", f"/runners/{number}"), ("GET", f"/groups/{group}/runners")):  # fmt: skip
        assert house.call(method, path, "glpat-plain", json=wanted).status_code in (403, 404), path
    assert house.call("DELETE", f"/runners/{number}").status_code == 204
