"""What starts suites besides a request: the clock, pushes, pull requests, dbt, imported projects; and what
holds them back."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from runyard.dialects.looker import DIALECT
from runyard.engine.ports import Page, RunFilter
from runyard.model.access import Role
from runyard.model.work import Project, Run
from tests.services import PLAIN, join

from .conftest import House

HERE = "/projects/group%2Fbakery/continuous_integration"
MODEL = 'connection: "c"\nexplore: a {}\nview: a { dimension: x {} }\n'
HUSH = "hush-hush-hush"


@pytest.fixture
def shop(house: House) -> House:
    house.push({"m.model.lkml": MODEL})
    return house


def runs(house: House) -> list[Run]:
    return house.read(lambda tx: tx.runs(RunFilter(dialect="looker"), Page(limit=100)))


def api(house: House, run_id: int, project: str = "group%2Fbakery") -> dict[str, Any]:
    found: dict[str, Any] = house.ok("GET", f"/projects/{project}/continuous_integration/runs/{run_id}")
    return found


def come_round(house: House) -> None:
    """The schedules' round, once."""
    house.run(DIALECT.rounds(house.services)[0].work())


def at(house: House, text: str) -> None:
    house.time[0] = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_a_schedule_runs_production_at_its_time_in_its_zone_and_once(shop: House) -> None:
    at(shop, "2027-03-27T12:00:00")
    suite = shop.suite(
        schedule_trigger_is_enabled=True,
        schedule_trigger_crontab="30 4 * * *",
        schedule_trigger_timezone="Europe/Berlin",
    )
    come_round(shop)
    assert runs(shop) == []
    at(shop, "2027-03-28T02:29:59")
    come_round(shop)
    assert runs(shop) == []
    at(shop, "2027-03-28T02:30:00")  # summer time began an hour and a half ago: 4:30 is 2:30 UTC now
    come_round(shop)
    come_round(shop)
    (run,) = runs(shop)
    said = api(shop, run.id)
    assert (said["trigger_type"], said["ci_suite_id"], said["git_branch_name"]) == ("schedule", suite, "main")
    old = shop.ok("GET", f"/projects/bakery/ci/runs/{run.id}")["run"]
    assert (old["trigger"], old["username"], old["schedule"]["enabled"]) == ("schedule", None, True)
    at(shop, "2027-04-02T00:00:00")  # the server was away: five times were missed, one run makes up for them
    come_round(shop)
    assert len(runs(shop)) == 2
    shop.ok("PATCH", f"{HERE}/suites/{suite}", json={"schedule_trigger_is_enabled": False})
    at(shop, "2027-04-09T00:00:00")
    come_round(shop)
    assert len(runs(shop)) == 2


def test_a_crash_between_start_and_note_starts_no_second_run(
    shop: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runyard.dialects.looker import triggers

    shop.suite(schedule_trigger_is_enabled=True, schedule_trigger_crontab="* * * * *")
    shop.time[0] += 120_000
    with monkeypatch.context() as crash:
        crash.setattr(triggers, "_move_on", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            come_round(shop)
    assert len(runs(shop)) == 1
    come_round(shop)
    assert len(runs(shop)) == 1
    shop.time[0] += 60_000
    come_round(shop)
    assert len(runs(shop)) == 2


@pytest.mark.parametrize("broken", [0, 1])
def test_what_one_schedule_sets_off_keeps_no_other_from_its_turn(
    shop: House, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    from runyard.dialects.looker import triggers

    due = {"schedule_trigger_is_enabled": True, "schedule_trigger_crontab": "* * * * *"}
    suites = [shop.suite(name=name, **due) for name in ("one", "two")]
    begin = triggers.begin

    async def fails_for_one(services: Any, wish: triggers.Wish) -> Run:
        if str(wish.suite.id) == str(suites[broken]):
            raise RuntimeError
        return await begin(services, wish)

    monkeypatch.setattr(triggers, "begin", fails_for_one)
    shop.time[0] += 60_000
    come_round(shop)
    assert [api(shop, run.id)["ci_suite_id"] for run in runs(shop)] == [suites[1 - broken]]


def test_a_suite_of_someone_who_left_starts_nothing(shop: House) -> None:
    shop.write(lambda tx: join(tx, "plain", "group/bakery", Role.DEVELOPER))
    body = {"name": "s", "schedule_trigger_is_enabled": True, "schedule_trigger_crontab": "* * * * *"}
    shop.ok("POST", f"{HERE}/suites", token=PLAIN, json=body)
    shop.time[0] += 60_000
    come_round(shop)
    assert [r.actor_id for r in runs(shop)] == [2]
    shop.write(lambda tx: join(tx, "plain", "group/bakery", Role.REPORTER))
    shop.time[0] += 60_000
    come_round(shop)
    assert len(runs(shop)) == 1


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"schedule_trigger_is_enabled": True}, "schedule_trigger_crontab", "missing_field"),
        ({"schedule_trigger_crontab": "61 * * * *"}, "schedule_trigger_crontab", "invalid"),
        ({"schedule_trigger_crontab": "0 0 31 2 *"}, "schedule_trigger_crontab", "invalid"),
        ({"schedule_trigger_timezone": "Middle/Earth"}, "schedule_trigger_timezone", "invalid"),
        ({"runs_per_hour_limit": -1}, "runs_per_hour_limit", "invalid"),
        ({"webhook_secret": 5}, "webhook_secret", "invalid"),
    ],
)
def test_triggers_that_cannot_be_are_refused(
    shop: House, body: dict[str, Any], field: str, code: str
) -> None:
    answer = shop.call("POST", f"{HERE}/suites", json={"name": "x", **body})
    assert answer.status_code == 422
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]


def test_a_push_starts_the_suites_that_ask_for_its_branch(shop: House) -> None:
    every = shop.suite(push_trigger_is_enabled=True)
    release = shop.suite(push_trigger_is_enabled=True, push_trigger_branches=["release/*"])
    shop.suite()
    sha = shop.commit("release/1", {"a.md": "1"})
    first = shop.pushed("release/1", sha)
    assert sorted(api(shop, r)["ci_suite_id"] for r in first) == [every, release]
    said = api(shop, first[0])
    assert (said["trigger_type"], said["git_commit_ref"]) == ("push", sha)
    assert (said["git_branch_name"], said["user_id"]) == ("release/1", 1)
    assert shop.ok("GET", f"/projects/bakery/ci/runs/{first[0]}")["run"]["trigger"] == "unknown"
    other = shop.pushed("feature", shop.commit("feature", {"a.md": "2"}))
    assert [api(shop, r)["ci_suite_id"] for r in other] == [every]
    found = shop.ok("GET", f"{HERE}/runs/search?trigger_type=push&suite_id={release}")
    assert len(found) == 1


CHANGE = {
    "number": 7,
    "branch": "feature",
    "target_branch": "main",
    "url": "https://x.test/7",
    "name": "Seven",
}


def test_a_pull_request_starts_its_suites_now_and_when_its_branch_moves(shop: House) -> None:
    suite = shop.suite(
        change_request_trigger_is_enabled=True,
        change_request_trigger_target_branch="main, develop",
        sql_validator_config_incremental=True,
    )
    shop.suite(change_request_trigger_is_enabled=True, change_request_trigger_target_branch="release")
    first = shop.commit("feature", {"a.md": "1"})
    (run_id,) = shop.ok("POST", f"{HERE}/change_requests", json={**CHANGE, "commit": first})["run_ids"]
    said = api(shop, int(run_id))
    assert (said["trigger_type"], said["git_commit_ref"], said["ci_suite_id"]) == (
        "change_request",
        first,
        suite,
    )
    assert (said["change_request_number"], said["change_request_name"]) == (7, "Seven")
    assert (said["change_request_url"], said["git_target_branch_name"]) == ("https://x.test/7", "main")
    old = shop.ok("GET", f"/projects/bakery/ci/runs/{run_id}")["run"]
    assert (old["trigger"], old["target_branch"]) == ("change_request", "main")
    assert old["change_request"]["change_request_number"] == 7
    assert shop.ok("POST", f"{HERE}/change_requests", json={**CHANGE, "commit": first})["run_ids"] == []
    second = shop.commit("feature", {"a.md": "2"})
    (moved,) = shop.pushed("feature", second)
    assert api(shop, moved)["git_commit_ref"] == second
    closed = {**CHANGE, "state": "closed"}
    assert shop.ok("POST", f"{HERE}/change_requests", json=closed)["run_ids"] == []
    assert shop.pushed("feature", shop.commit("feature", {"a.md": "3"})) == []


def hook(house: House, suite: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    data = json.dumps(body).encode()
    sign = hmac.new(HUSH.encode(), data, hashlib.sha256).hexdigest()
    filled = {k.replace("_", "-"): v.format(sign=sign) for k, v in headers.items()}
    return house.call("POST", f"{HERE}/suites/{suite}/hook", token=None, content=data, headers=filled)


def github(sha: str, action: str = "opened") -> dict[str, Any]:
    head, base = {"ref": "feature", "sha": sha}, {"ref": "main"}
    change = {"state": "open", "title": "T", "html_url": "https://x.test/1", "head": head, "base": base}
    return {"action": action, "number": 1, "pull_request": change}


def gitlab(sha: str, action: str = "open") -> dict[str, Any]:
    change = {
        "iid": 2,
        "state": "opened",
        "action": action,
        "source_branch": "feature",
        "target_branch": "main",
    }
    return {"object_kind": "merge_request", "object_attributes": {**change, "last_commit": {"id": sha}}}


def test_hooks_of_the_forges_prove_themselves_by_the_suites_secret(shop: House) -> None:
    suite = shop.suite(change_request_trigger_is_enabled=True, webhook_secret=HUSH)
    assert shop.ok("GET", f"{HERE}/suites/{suite}")["has_webhook_secret"] is True
    assert HUSH not in shop.call("GET", f"{HERE}/suites/{suite}").text
    sha = shop.commit("feature", {"a.md": "1"})
    assert hook(shop, suite, github(sha)).status_code == 401
    assert hook(shop, suite, github(sha), x_hub_signature_256="sha256=00").status_code == 401
    assert hook(shop, suite, github(sha), x_gitlab_token="x").status_code == 401
    good = hook(shop, suite, github(sha), x_hub_signature_256="sha256={sign}")
    assert (good.status_code, len(good.json()["run_ids"])) == (200, 1)
    labeled = hook(shop, suite, github(sha, "labeled"), x_hub_signature_256="sha256={sign}")
    assert labeled.json() == {"run_ids": []}
    ping = hook(shop, suite, {"zen": "x"}, x_hub_signature_256="sha256={sign}")
    assert (ping.status_code, ping.json()) == (200, {"run_ids": []})
    told = hook(shop, suite, gitlab(sha), x_gitlab_token=HUSH)
    assert len(told.json()["run_ids"]) == 1
    bare = shop.suite(change_request_trigger_is_enabled=True)
    assert hook(shop, bare, github(sha), x_gitlab_token="x").status_code == 404
    assert hook(shop, "999", github(sha)).status_code == 404


def test_a_finished_dbt_job_puts_its_schema_into_the_suites_attribute(shop: House) -> None:
    suite = shop.suite(
        dbt_cloud_trigger_is_enabled=True,
        dbt_cloud_trigger_job_id=42,
        dbt_cloud_trigger_user_attribute_id="dbt_schema",
        webhook_secret=HUSH,
    )
    done = {"jobId": "42", "runId": "900", "runStatus": "Success"}
    body = {"eventType": "job.run.completed", "data": done, "schema": "dbt_pr_1", "git_sha": "abc"}
    first = hook(shop, suite, body, authorization="{sign}")
    assert first.status_code == 200, first.text
    said = api(shop, int(first.json()["run_ids"][0]))
    assert said["trigger_type"] == "dbt_cloud"
    assert said["user_attributes"] == [{"id": 1, "name": "dbt_schema", "value": "dbt_pr_1"}]
    assert said["dbt_cloud_git_commit_ref"] == "abc"
    assert hook(shop, suite, body, authorization="{sign}").json() == first.json()
    for other in (
        {**body, "data": {**done, "jobId": "43"}},
        {**body, "data": {**done, "runStatus": "Errored"}},
        {**body, "eventType": "job.run.started"},
    ):
        assert hook(shop, suite, other, authorization="{sign}").json() == {"run_ids": []}
    lacking = hook(shop, suite, {"eventType": "job.run.completed", "data": done}, authorization="{sign}")
    assert lacking.json()["errors"][0]["field"] == "schema"
    assert shop.call("POST", f"{HERE}/suites/{suite}/hook", token=PLAIN, json=body).status_code == 404


IMPORTING = {
    "manifest.lkml": 'project_name: "bakery"\nlocal_dependency: { project: "lib" }\n'
    'remote_dependency: far { url: "http://ci.test/group/far.git" ref: "v1" }\n',
    "m.model.lkml": 'connection: "c"\ninclude: "//lib/v.view"\nexplore: v {}\n',
}


def make_imports(house: House) -> tuple[str, str]:
    lib = house.push({"v.view.lkml": "view: v { dimension: x {} }"}, "group/lib")
    house.push({"f.view.lkml": "view: f {}"}, "group/far")
    far = house.commit("v1", {"a.md": ""}, "group/far")
    house.push(IMPORTING)
    return lib, far


def test_imports_are_pinned_when_a_run_begins(house: House) -> None:
    lib, far = make_imports(house)
    suite, later = house.suite(), house.commit("next", {"v.view.lkml": "view: v {}"}, "group/lib")
    first = house.ok("POST", f"{HERE}/runs", json={"suite_id": suite})
    assert first["project_imports"] == {"lib": lib, "far": far}
    body = {"suite_id": suite, "project_imports": {"lib": "next"}}
    second = house.ok("POST", f"{HERE}/runs", json=body)
    assert second["project_imports"] == {"lib": later, "far": far}
    newest = house.commit("next", {"a.md": "x"}, "group/lib")
    again = house.ok("POST", f"{HERE}/runs/{second['id']}/duplicate")
    assert again["project_imports"]["lib"] == later != newest
    for wrong in ({"lib": "nope"}, {"other": later}, {"lib": 5}, ["lib"], {"../x": "y"}):
        answer = house.call("POST", f"{HERE}/runs", json={"suite_id": suite, "project_imports": wrong})
        assert answer.json()["errors"][0]["field"] == "project_imports", wrong


def test_a_private_project_is_not_imported_for_those_who_may_not_read_it(house: House) -> None:
    make_imports(house)
    suite = house.suite()
    house.write(lambda tx: join(tx, "plain", "group/bakery", Role.DEVELOPER))
    run = house.ok("POST", f"{HERE}/runs", token=PLAIN, json={"suite_id": suite})
    assert run["project_imports"] == {}
    house.write(lambda tx: join(tx, "plain", "group/lib", Role.REPORTER))
    run = house.ok("POST", f"{HERE}/runs", token=PLAIN, json={"suite_id": suite})
    assert list(run["project_imports"]) == ["lib"]


def test_a_push_to_an_imported_project_tests_the_suites_upstream(house: House) -> None:
    make_imports(house)
    suite = house.suite(upstream_trigger_is_enabled=True, upstream_projects=["lib"])
    sha = house.commit("change", {"a.md": "x"}, "group/lib")
    (run_id,) = house.pushed("change", sha, "group/lib")
    said = api(house, run_id)
    assert (said["trigger_type"], said["ci_suite_id"], said["git_branch_name"]) == ("upstream", suite, "main")
    assert said["project_imports"]["lib"] == sha
    assert house.pushed("change", sha, "group/far") == []


def test_limits_that_a_suite_sets(shop: House) -> None:
    suite = shop.suite(refuse_duplicate_runs=True, runs_per_hour_limit=2)
    body = {"suite_id": suite}
    first = shop.ok("POST", f"{HERE}/runs", json=body)
    twin = shop.call("POST", f"{HERE}/runs", json=body)
    assert (twin.status_code, twin.json()["message"]) == (
        409,
        f"Run {first['id']} tests the same commit with this suite already.",
    )
    shop.call("DELETE", f"{HERE}/runs/{first['id']}")
    shop.time[0] += 600_000
    second = shop.ok("POST", f"{HERE}/runs", json=body)
    shop.call("DELETE", f"{HERE}/runs/{second['id']}")
    late = shop.call("POST", f"{HERE}/runs", json=body)
    assert (late.status_code, late.headers["retry-after"]) == (429, "3000")
    assert set(late.json()) == {"message", "documentation_url"}
    shop.time[0] += 3_000_000
    assert shop.call("POST", f"{HERE}/runs", json=body).status_code == 200


def test_a_project_of_another_name_is_not_meant(shop: House) -> None:
    shop.write(lambda tx: tx.add(Project(0, "other/bakery", "bakery")))
    assert shop.call("GET", "/projects/bakery/git_branch").status_code == 404
