"""Deletions under a condition (`If-Unmodified-Since`), and ids in paths that are no numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from tests.dialects.gitlab_routes.conftest import House

PASSED = (412, {"message": "412 Precondition Failed"})


def things(house: House) -> dict[str, str]:
    """Paths of what can be deleted, each changed last at the house's time."""
    project = house.project()
    at = f"/projects/{project}"
    environment = house.made(f"{at}/environments", name="prod")["id"]
    house.call("POST", f"{at}/environments/{environment}/stop", json={"force": True})
    house.made(f"{at}/repository/branches", branch="old", ref="main")
    house.made(f"{at}/repository/tags", tag_name="v1", ref="main")
    return {
        "pipeline": f"{at}/pipelines/{house.pipeline(project)['id']}",
        "environment": f"{at}/environments/{environment}",
        "schedule": f"{at}/pipeline_schedules/"
        + str(house.made(f"{at}/pipeline_schedules", description="d", ref="main", cron="0 1 * * *")["id"]),
        "trigger": f"{at}/triggers/{house.made(f'{at}/triggers', description='d')['id']}",
        "merge request": f"{at}/merge_requests/"
        + str(
            house.made(f"{at}/merge_requests", source_branch="old", target_branch="main", title="t")["iid"]
        ),
        "branch": f"{at}/repository/branches/old",
        "tag": f"{at}/repository/tags/v1",
        "runner": f"/runners/{house.made('/user/runners', runner_type='instance_type')['id']}",
        "project": at,
    }


@pytest.mark.parametrize("written", [format_datetime, datetime.isoformat])
def test_what_was_changed_since_then_is_not_deleted(house: House, written: object) -> None:
    assert callable(written)
    for name, path in things(house).items():
        for year, answer in ((2000, 412), (2100, None)):
            since = written(datetime(year, 1, 1, tzinfo=UTC))
            found = house.call("DELETE", path, headers={"If-Unmodified-Since": since})
            if answer:
                assert (found.status_code, found.json()) == PASSED, name
            else:
                assert found.status_code in (202, 204), (name, found.text)


def test_a_condition_that_is_no_time_is_none(house: House) -> None:
    path = things(house)["pipeline"]
    assert house.call("DELETE", path, headers={"If-Unmodified-Since": "yesterday"}).status_code == 204


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("{p}/jobs/x", "job_id"),
        ("{p}/pipelines/1.5", "pipeline_id"),
        ("{p}/pipelines/x/jobs", "pipeline_id"),
        ("{p}/environments/x", "environment_id"),
        ("{p}/deployments/x", "deployment_id"),
        ("{p}/pipeline_schedules/x", "pipeline_schedule_id"),
        ("{p}/triggers/x", "trigger_id"),
        ("{p}/merge_requests/x", "merge_request_iid"),
        ("{p}/members/x", "user_id"),
        ("/runners/x", "id"),
        ("/runners/x/jobs", "id"),
        ("/users/x", "id"),
    ],
)
def test_an_id_that_is_no_number_is_a_bad_request(house: House, path: str, name: str) -> None:
    at = path.format(p=f"/projects/{house.project()}")
    refused = house.call("GET", at)
    assert (refused.status_code, refused.json()) == (400, {"error": f"{name} is invalid"})
    for absent in ("0", "-1", "9" * 30):
        changed = at.replace("/x", f"/{absent}").replace("1.5", absent)
        assert house.call("GET", changed).status_code == 404, changed
