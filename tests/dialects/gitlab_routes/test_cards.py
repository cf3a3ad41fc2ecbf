"""Cards of finished jobs: a page of them is byte for byte the page without them, whatever was written since
they were drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runyard.dialects.gitlab import cards
from runyard.engine import upkeep
from runyard.engine.ports import AttemptFilter, Page
from runyard.model.listing import Card
from runyard.model.work import Attempt, Job, Project, Run, Runner, User

CONFIG = """
stages: [one, two]
ok: {stage: one, script: [x], tags: [b, a], coverage: '/c/', artifacts: {paths: [o], expire_in: 1 week}}
bad: {stage: one, script: [x], allow_failure: true}
"quote \\" ünï \\\\": {stage: one, script: [x], allow_failure: true}
idle: {stage: one, script: [x], allow_failure: true}
hand: {stage: one, script: [x], when: manual}
rescue: {stage: two, script: [x], when: on_failure}
late: {stage: two, script: [x], when: delayed, start_in: 1 hour}
down: {stage: two, trigger: {include: child.yml}}
"""
ODD = 'quote " ünï \\'
EVERY = Page(limit=100)


def put(house: Any, job: dict[str, Any], state: str, **more: Any) -> None:
    body = {"token": job["token"], "state": state, **more}
    assert house.call("PUT", f"/jobs/{job['id']}", token=None, json=body).status_code == 200


def pages(house: Any, project: int) -> list[bytes]:
    """Every way to ask for more than one job."""
    run = house.get(f"/projects/{project}/pipelines?sort=asc")[0]["id"]
    of_run = f"/projects/{project}/pipelines/{run}/jobs"
    paths = (f"/projects/{project}/jobs", f"/projects/{project}/jobs?per_page=3&page=2", of_run, f"{of_run}?include_retried=1",
             f"/projects/{project}/jobs?scope[]=success&scope[]=failed&scope[]=canceled",
             f"/projects/{project}/jobs?pagination=keyset&order_by=id&sort=asc&per_page=4")  # fmt: skip
    return [house.call("GET", path).content for path in paths]


def drawn(house: Any) -> list[Card]:
    """Draws what is to be drawn; the cards that pages are made of."""
    while house.write(lambda tx: cards.draw_some(tx, 3)):
        pass
    return [c for c in house.write(lambda tx: tx.cards(AttemptFilter(), EVERY)) if c.card]


def equal_without(house: Any, project: int) -> list[bytes]:
    """The pages by the cards there are, which must be those without any. All are drawn again."""
    shown = pages(house, project)
    house.write(lambda tx: tx._link.run("UPDATE attempts SET card = NULL"))
    assert pages(house, project) == shown
    drawn(house)
    assert pages(house, project) == shown
    return shown


@pytest.fixture
def full(house: Any) -> tuple[Any, int, dict[str, int]]:
    """(house, project, ids by name) of a pipeline with every kind of end."""
    project = house.project(config=CONFIG, **{"child.yml": "c: {script: [x]}"})
    house.pipeline(project)
    token = house.runner(tag_list="a,b", run_untagged=True)
    jobs = {}
    for system_id in ("", "s_one", "s_tẅo"):
        body = {"token": token, "system_id": system_id, "info": {"name": "gitlab-runner"}}
        job = house.call("POST", "/jobs/request", token=None, json=body).json()
        jobs[job["job_info"]["name"]] = job
        house.time[0] += 1_234
    assert set(jobs) == {"ok", "bad", ODD}
    ok, bad, odd = jobs.values()
    sent = {"JOB-TOKEN": ok["token"], "Content-Range": "0-4"}
    assert (
        house.call(
            "PATCH", f"/jobs/{ok['id']}/trace", token=None, content=b"c 50\n", headers=sent
        ).status_code
        == 202
    )
    for kind, form in (("archive", "zip"), ("junit", "gzip")):
        query = f"artifact_type={kind}&artifact_format={form}&expire_in=1h"
        file = {"file": (f"{kind}.ö", b"PK")}
        at = f"/jobs/{ok['id']}/artifacts?{query}"
        assert (
            house.call("POST", at, token=None, files=file, headers={"JOB-TOKEN": ok["token"]}).status_code
            == 201
        )
    put(house, ok, "success")
    put(house, bad, "failed", failure_reason="script_failure", exit_code=1)
    put(house, odd, "failed", failure_reason="runner_system_failure")
    ids = {job["name"]: job["id"] for job in house.get(f"/projects/{project}/jobs?per_page=100")}
    house.time[0] += 5_678
    assert house.call("POST", f"/projects/{project}/jobs/{ids['idle']}/cancel").status_code == 201
    ids |= {job["name"]: job["id"] for job in house.get(f"/projects/{project}/jobs?per_page=100")}
    return house, project, ids


def test_a_page_by_cards_is_the_page_without(full: Any) -> None:
    house, project, ids = full
    found = {card.id for card in drawn(house)}
    assert {ids[name] for name in ("ok", "bad", ODD, "idle", "rescue")} <= found
    words = {job["name"]: job["status"] for job in house.get(f"/projects/{project}/jobs?per_page=100")}
    assert set(words.values()) >= {"success", "failed", "canceled", "manual", "skipped"}
    first = equal_without(house, project)
    house.time[0] += (
        3 * 3600 * 1000
    )  # runners are offline by now; who was canceled in the queue waits no more
    assert equal_without(house, project) != first
    queued = [job["queued_duration"] for job in house.get(f"/projects/{project}/jobs") if job["name"] == "idle"]  # fmt: skip
    assert queued == [pytest.approx(5.678 + 3 * 1.234)]


def changed(name: str) -> Any:
    """Writes after the end that a job's lists show."""

    def call(method: str, tail: str) -> Any:
        def act(house: Any, project: int, ids: dict[str, int]) -> None:
            assert house.call(method, f"/projects/{project}/jobs/{ids['ok']}{tail}").status_code < 300

        return act

    def written(kind: Any, id_of: Any, **fields: Any) -> Any:
        def act(house: Any, project: int, ids: dict[str, int]) -> None:
            house.write(lambda tx: tx.save(replace(tx.get(kind, id_of(tx, ids)), **fields)))

        return act

    def expire(house: Any, project: int, ids: dict[str, int]) -> None:
        house.time[0] += 2 * 3600 * 1000
        assert house.write(lambda tx: upkeep.expire_artifacts(tx, house.time[0])) > 0

    def redrawn(house: Any, project: int, ids: dict[str, int]) -> None:
        def act(tx: Any) -> None:
            job = tx.get(Job, tx.get(Attempt, ids["ok"]).job_id)
            tx.save(replace(job, plan=replace(job.plan, stage="two", tags=("z",))))

        house.write(act)

    return {
        "erase": call("POST", "/erase"),
        "keep": call("POST", "/artifacts/keep"),
        "delete artifacts": call("DELETE", "/artifacts"),
        "retry": call("POST", "/retry"),
        "expire": expire,
        "job": redrawn,
        "coverage": written(Attempt, lambda tx, ids: ids["ok"], coverage=77.5),
        "project moves": written(Project, lambda tx, ids: 1, path="group/el-sewhere"),
        "user renamed": written(User, lambda tx, ids: 1, name='Röot "2"'),
        "runner paused": written(Runner, lambda tx, ids: tx.get(Attempt, ids["ok"]).runner_id, paused=True),
    }[name]


@pytest.mark.parametrize(
    "name",
    ["erase", "keep", "delete artifacts", "retry", "expire", "job", "coverage", "project moves", "user renamed", "runner paused"],
)  # fmt: skip
def test_what_is_written_after_the_end_is_shown_at_once(full: Any, name: str) -> None:
    house, project, ids = full
    drawn(house)
    before = pages(house, project)
    changed(name)(house, project, ids)
    assert pages(house, project)[0] != before[0]
    equal_without(house, project)


def test_no_text_of_a_job_closes_a_piece(full: Any) -> None:
    house, _, ids = full
    row = house.write(lambda tx: tx.listed_one(ids["ok"]))
    run = house.write(lambda tx: tx.get(Run, row.run_id))
    odd = row._replace(outline=row.outline._replace(name="a\x1fb", stage="\x1f", tags=("\x1f",)))
    assert cards.card(odd, run, ()).count(cards.GAP) == 7


def test_a_card_of_another_form_is_not_read(full: Any) -> None:
    house, project, ids = full
    drawn(house)
    shown = pages(house, project)
    house.write(lambda tx: tx.draw(ids["ok"], b"0" + b"\x1f".join([b"{}"] * 8)))
    assert pages(house, project) == shown


def test_the_round_draws_all_that_has_ended_and_then_rests(full: Any) -> None:
    house, _, _ = full
    house.run(cards.draw_due(house.services))
    assert house.write(lambda tx: tx.undrawn(1)) == []
    version = house.services.db.version()
    house.run(cards.draw_due(house.services))
    assert house.services.db.version() == version
