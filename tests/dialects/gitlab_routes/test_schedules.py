"""Pipeline schedules: kept, changed, played, taken over, and started once when they are due."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.dialects.gitlab import schedules
from runyard.model.access import Role
from runyard.model.errors import Unavailable
from tests.services import PLAIN

from .conftest import House

HOUR_MS = 3_600_000


def made(house: House, project: int, **more: Any) -> dict[str, Any]:
    given = {"description": "nightly", "ref": "main", "cron": "0 4 * * *", **more}
    answer = house.call("POST", f"/projects/{project}/pipeline_schedules", json=given)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def due(house: House) -> None:
    house.run(schedules.run_due(house.services))


def test_it_is_kept_and_changed(house: House) -> None:
    project = house.project()
    row = made(house, project, cron_timezone="Europe/Berlin")
    assert (row["cron_timezone"], row["active"], row["owner"]["username"]) == ("Europe/Berlin", True, "root")
    assert row["next_run_at"] == "2027-01-16T03:00:00.000Z", "four in the morning in Berlin, in winter"
    path = f"/projects/{project}/pipeline_schedules/{row['id']}"
    changed = house.call("PUT", path, json={"active": False, "description": "off"}).json()
    assert (changed["active"], changed["description"], changed["next_run_at"]) == (False, "off", None)
    assert [r["id"] for r in house.get(f"/projects/{project}/pipeline_schedules?scope=inactive")] == [
        row["id"]
    ]
    assert house.get(f"/projects/{project}/pipeline_schedules?scope=active") == []
    assert house.call("DELETE", path).status_code == 204
    assert house.call("GET", path).status_code == 404


def test_what_cannot_be_read_is_a_fields_error(house: House) -> None:
    path = f"/projects/{house.project()}/pipeline_schedules"
    good = {"description": "d", "ref": "main", "cron": "0 4 * * *"}
    for bad, fields in (
        ({"cron": "soon"}, {"cron": ["syntax is invalid"]}),
        ({"cron": "0 0 31 2 *"}, {"cron": ["syntax is invalid"]}),
        ({"cron_timezone": "Mars/Base"}, {"cron_timezone": ["syntax is invalid"]}),
    ):
        answer = house.call("POST", path, json={**good, **bad})
        assert (answer.status_code, answer.json()) == (400, {"message": fields})
    assert house.call("POST", path, json={"ref": "main"}).json() == {"error": "description is missing"}


def test_a_due_one_runs_once_with_its_variables(house: House) -> None:
    project = house.project()
    row = made(house, project)
    path = f"/projects/{project}/pipeline_schedules/{row['id']}"
    assert house.call("POST", f"{path}/variables", json={"key": "DEEP", "value": "yes"}).status_code == 201
    due(house)
    assert house.get(f"{path}/pipelines") == []
    house.time[0] += 30 * HOUR_MS
    due(house)
    due(house)
    (run,) = house.get(f"{path}/pipelines")
    assert run["source"] == "schedule"
    assert house.get(f"/projects/{project}/pipelines/{run['id']}/variables") == [
        {"variable_type": "env_var", "key": "DEEP", "value": "yes", "raw": False}
    ]
    shown = house.get(path)
    assert shown["last_pipeline"]["id"] == run["id"] and shown["next_run_at"] > row["next_run_at"]


def test_the_same_due_time_is_one_pipeline_whoever_finds_it(house: House) -> None:
    """Two replicas, or a crash between taking it and starting it: the idempotency key is the due time."""
    project = house.project()
    row = made(house, project)
    record = house.write(lambda tx: schedules.due(tx, house.time[0] + 30 * HOUR_MS))[0][0]
    first = house.run(schedules.fire(house.services, record, "schedule-1-x"))
    again = house.run(schedules.fire(house.services, record, "schedule-1-x"))
    assert first is not None and again is not None and first.id == again.id
    assert row["id"] == record.id


@pytest.mark.parametrize("crash", ["before the pipeline", "after the pipeline"])
def test_a_crash_between_finding_and_starting_loses_and_doubles_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, crash: str
) -> None:
    project = house.project()
    row = made(house, project)
    house.time[0] += 30 * HOUR_MS
    fire = schedules.fire

    async def crashed(*given: Any) -> None:
        if crash == "after the pipeline":
            await fire(*given)
        raise SystemExit

    monkeypatch.setattr(schedules, "fire", crashed)
    with pytest.raises(SystemExit):
        due(house)
    monkeypatch.undo()
    due(house)
    due(house)
    path = f"/projects/{project}/pipeline_schedules/{row['id']}"
    assert len(house.get(f"{path}/pipelines")) == 1
    assert house.get(path)["next_run_at"] > row["next_run_at"]


def test_what_cannot_be_started_now_stays_due_and_stops_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = house.project()
    rows = [made(house, project, description=name) for name in ("broken", "waits", "goes")]
    house.time[0] += 30 * HOUR_MS
    fire = schedules.fire

    async def troubled(services: Any, row: Any, key: str) -> Any:
        match row.data["description"]:
            case "broken":
                raise KeyError("surprise")
            case "waits":
                raise Unavailable("no space")
        return await fire(services, row, key)

    monkeypatch.setattr(schedules, "fire", troubled)
    due(house)
    monkeypatch.undo()
    paths = [f"/projects/{project}/pipeline_schedules/{row['id']}" for row in rows]
    assert [len(house.get(f"{path}/pipelines")) for path in paths] == [0, 0, 1]
    due(house)
    assert [len(house.get(f"{path}/pipelines")) for path in paths] == [0, 1, 1]


def test_play_is_now_and_says_what_hinders_it(house: House) -> None:
    project = house.project()
    row = made(house, project)
    path = f"/projects/{project}/pipeline_schedules/{row['id']}"
    assert house.call("POST", f"{path}/play").json() == {"message": "201 Created"}
    assert len(house.get(f"{path}/pipelines")) == 1
    gone = made(house, project, ref="gone")
    answer = house.call("POST", f"/projects/{project}/pipeline_schedules/{gone['id']}/play")
    assert answer.status_code == 400 and "Reference not found" in answer.text


def test_variables_are_the_owners_and_maintainers(house: House) -> None:
    project = house.project()
    row = made(house, project)
    path = f"/projects/{project}/pipeline_schedules/{row['id']}"
    house.call("POST", f"{path}/variables", json={"key": "K", "value": "v"})
    house.join(project, Role.DEVELOPER)
    assert "variables" not in house.get(path, token=PLAIN)
    for method, at in (("PUT", path), ("GET", f"{path}/variables/K"), ("POST", f"{path}/take_ownership")):
        body = {} if method == "GET" else {"json": {"description": "x"}}
        assert house.call(method, at, token=PLAIN, **body).status_code == 403
    house.join(project, Role.MAINTAINER)
    taken = house.call("POST", f"{path}/take_ownership", token=PLAIN)
    assert (taken.status_code, taken.json()["owner"]["username"]) == (201, "plain")
    assert house.call("PUT", f"{path}/variables/K", token=PLAIN, json={"value": "w"}).json()["value"] == "w"
    assert house.call("DELETE", f"{path}/variables/K", token=PLAIN).status_code == 202
    assert house.call("GET", f"{path}/variables/K").status_code == 404


def test_an_owner_who_left_starts_nothing(house: House) -> None:
    project = house.project()
    house.join(project, Role.DEVELOPER)
    given = {"description": "d", "ref": "main", "cron": "0 4 * * *"}
    row = house.call("POST", f"/projects/{project}/pipeline_schedules", token=PLAIN, json=given).json()
    house.call("DELETE", f"/projects/{project}/members/{row['owner']['id']}")
    house.time[0] += 30 * HOUR_MS
    due(house)
    assert house.get(f"/projects/{project}/pipelines") == []
