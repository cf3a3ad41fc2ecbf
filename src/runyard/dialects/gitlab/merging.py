"""Merge requests as records (`gitlab.merge_request`), and the pipelines that they start. Called by
routes_merge_requests and on pushes.

Only within one project: forks do not exist here. The pipeline runs on the source branch's head ("detached" in
GitLab's words); its `changes` compare with the merge base.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from runyard.dialects.gitlab.push_options import Wishes
from runyard.engine import environments
from runyard.engine.ports import Page, Tx
from runyard.http.services import RunRequest, Services
from runyard.model.errors import Invalid, NotFound, NothingToRun
from runyard.model.trigger import ZERO_SHA, Push
from runyard.model.work import Project, Record, Run, User

KIND = "gitlab.merge_request"
SOURCE = "merge_request_event"
MOST = 5_000
MOST_OPEN = 4
HEADS = "refs/heads/"
TOPIC = "merge_requests"  # rung whenever one is made or changed
Facts = dict[str, Any]


def of_project(tx: Tx, project_id: int) -> list[Record]:
    """Newest first."""
    return tx.records(KIND, project_id, None, Page(limit=MOST))


def known_of(tx: Tx, project: Project, ref: str, tag: bool) -> Facts:
    """What any pipeline of a branch may know: the open merge requests from it, at most four (GitLab:
    CI_OPEN_MERGE_REQUESTS)."""
    if tag:
        return {}
    from_here = (row.data for row in of_project(tx, project.id) if row.data["source_branch"] == ref)
    opened = sorted(int(data["iid"]) for data in from_here if data["state"] == "opened")[:MOST_OPEN]
    return {"open_merge_requests": [f"{project.path}!{iid}" for iid in opened]} if opened else {}


def by_number(tx: Tx, project_id: int, iid: int) -> Record | None:
    """The merge request with this number in the project."""
    found = tx.records(KIND, project_id, str(iid), Page(limit=1))
    return found[0] if found else None


def add(tx: Tx, project_id: int, data: Facts, now: int) -> Record:
    """Stores it under the project's next number."""
    last = tx.records(KIND, project_id, None, Page(limit=1))
    iid = int(last[0].data["iid"]) + 1 if last else 1
    tx.ring(TOPIC)
    return tx.add(Record(0, KIND, project_id, str(iid), {**data, "iid": iid}, now, now))


def facts(services: Services, project: Project, row: Record) -> Facts | None:
    """What its pipeline may know (Trigger.options["merge_request"]); None once a branch is gone. Asks git."""
    data, source = row.data, services.source
    try:
        head = source.resolve(project.id, HEADS + data["source_branch"])[0].sha
        target = source.resolve(project.id, HEADS + data["target_branch"])[0].sha
    except (NotFound, Invalid):
        return None
    return {
        "id": row.id, "iid": data["iid"], "project_id": project.id, "project_path": project.path,
        "title": data["title"], "description": data["description"], "draft": data["draft"],
        "labels": list(data["labels"]), "assignees": list(data.get("assignees", ())), "milestone": "",
        "source_branch": data["source_branch"], "target_branch": data["target_branch"],
        "source_project_id": project.id, "source_project_path": project.path, "target_sha": target,
        "source_sha": head, "diff_base_sha": source.merge_base(project.id, head, target) or ZERO_SHA,
        "event_type": "detached", "squash": data["squash"],
    }  # fmt: skip


async def start(services: Services, project: Project, row: Record, actor: User, key: str = "") -> Run:
    """Its pipeline at the head of the source branch. NothingToRun when the configuration has nothing for
    merge requests."""
    told = await asyncio.to_thread(facts, services, project, row)
    if told is None:
        raise NotFound("Reference not found")
    request = RunRequest(
        project, "gitlab", SOURCE, actor, HEADS + told["source_branch"], told["source_sha"],
        before_sha=told["diff_base_sha"], options={"merge_request": told}, idempotency_key=key,
    )  # fmt: skip
    run = await services.start(request)

    def note(tx: Tx) -> None:
        fresh = tx.get(Record, row.id)
        if fresh is not None:
            others = [id for id in fresh.data.get("runs", ()) if id != run.id]
            tx.save(replace(fresh, data={**fresh.data, "runs": [run.id, *others][:200]}))

    await services.db.write(note)
    return run


async def pushed(services: Services, push: Push) -> list[Run]:
    """Open merge requests of the branch get a pipeline for the new head; a configuration that has none for
    them, or is broken, starts none (the branch's own pipeline says what is wrong)."""
    wishes = None if push.tag or push.after == ZERO_SHA else Wishes.of(push.options)
    if wishes is not None:
        await _wished(services, push, wishes)
    if push.tag or "ci.skip" in push.options:
        return []

    def waiting(tx: Tx) -> list[Record]:
        rows = of_project(tx, push.project.id)
        return [r for r in rows if r.data["state"] == "opened" and r.data["source_branch"] == push.ref]

    runs = []
    for row in await services.db.read(waiting):
        key = f"push-{push.key}-merge-request-{row.id}" if push.key else ""
        run = await start_if_any(services, push.project, row, push.actor, key)
        runs += [run] if run is not None else []
    return runs


async def _wished(services: Services, push: Push, wishes: Wishes) -> None:
    """Makes or changes merge requests as the push says: `create` changes the one that is open to the same
    target already. A target that is no branch is as if it had not been named, and nothing is made for it."""

    def look() -> tuple[str, str]:
        wanted = wishes.target or push.project.default_branch
        try:
            services.source.resolve(push.project.id, HEADS + wanted)
        except (NotFound, Invalid):
            wanted = ""
        return wanted, services.source.commit(push.project.id, push.after).message.partition("\n")[0]

    target, first_line = await asyncio.to_thread(look)
    asked = replace(wishes, target=target if wishes.target else "")
    now = services.now()

    def act(tx: Tx) -> None:
        rows = [r for r in of_project(tx, push.project.id) if r.data["state"] == "opened"]
        mine = [r for r in rows if r.data["source_branch"] == push.ref]
        if wishes.create:
            mine = [r for r in mine if r.data["target_branch"] == target]
        if wishes.create and not mine and target not in ("", push.ref):
            data = opened(push.ref, target, push.after, push.actor.id, title=first_line)
            add(tx, push.project.id, asked.applied(data), now)
        for row in mine:
            tx.save(replace(row, data=asked.applied(row.data), updated_at=now))
            tx.ring(TOPIC)

    await services.db.write(act)


def take_down(tx: Tx, project_id: int, iid: int, now: int, actor_id: int) -> None:
    """What the pipelines of a merge request delivered, when it is closed (GitLab:
    Environments::StopService)."""

    def is_over(run: Run) -> bool:
        return bool(run.extra.get("merge_request_iid") == iid)

    environments.abandon(tx, project_id, is_over, now, actor_id)


def opened(source: str, target: str, sha: str, author_id: int, title: str = "") -> Facts:
    """A merge request that nobody has said anything about yet."""
    return {
        "source_branch": source, "target_branch": target, "state": "opened", "author_id": author_id, "labels": [], "description": "",
        "title": title[:255], "draft": False, "squash": False, "runs": [], "sha": sha, "assignees": [],
    }  # fmt: skip


async def start_if_any(
    services: Services, project: Project, row: Record, actor: User, key: str = ""
) -> Run | None:
    """The same, or None where there is nothing to run."""
    try:
        return await start(services, project, row, actor, key)
    except (NothingToRun, Invalid, NotFound):
        return None
