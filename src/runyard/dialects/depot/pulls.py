"""Pull requests: the merge requests that the other door keeps, as GitHub tells workflows of them. Called by
`happenings`.

What was told of each is kept beside it (`depot.pull_request`), so that an event is told once. The run of a
`pull_request` is on a merge of both branches, made here and referenced by the run only; where they conflict
it is on the head (GitHub starts nothing then).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

from runyard.dialects.depot.workflow.events import PULL_REQUESTS
from runyard.engine.ports import Page, Tx
from runyard.http.services import RunRequest, Services
from runyard.model.errors import Invalid, NotFound
from runyard.model.trigger import ZERO_SHA, Push
from runyard.model.work import Project, Record, User

KIND = "gitlab.merge_request"  # the rows' kind; dialects share the store, not code
TOLD = "depot.pull_request"
TOPIC = "merge_requests"
MOST = 1000
HEADS = "refs/heads/"
LOOK_BACK_MS = 3_600_000
_EDITED = ("title", "description", "target_branch")
log = logging.getLogger("runyard.depot.pulls")


async def moved(services: Services, push: Push) -> list[RunRequest]:
    """Open ones whose source branch was pushed: `synchronize`."""

    def look(tx: Tx) -> list[Record]:
        rows = tx.records(KIND, push.project.id, None, Page(limit=MOST))
        return [r for r in rows if r.data["state"] == "opened" and r.data["source_branch"] == push.ref]

    found: list[RunRequest] = []
    for row in await services.db.read(look):
        found += await _requests(services, push.project, row, push.actor, "synchronize", push.after)
    return found


async def changed(services: Services) -> list[tuple[Record, list[RunRequest]]]:
    """Those that are not as they were told last, and what each starts; `told` them once that is started."""
    since = services.now() - LOOK_BACK_MS

    def look(tx: Tx) -> list[tuple[Project, User, Record, list[str]]]:
        found = []
        for row in tx.records(KIND, None, None, Page(limit=MOST)):
            if row.updated_at < since:
                continue
            project, author = tx.get(Project, row.project_id or 0), tx.get(User, int(row.data["author_id"]))
            known = tx.records(TOLD, row.project_id, row.key, Page(limit=1))
            actions = _actions(known[0].data if known else None, row.data)
            if actions and project is not None and author is not None:
                found.append((project, author, row, actions))
        return found

    found = []
    for project, author, row, actions in await services.db.read(look):
        requests: list[RunRequest] = []
        try:
            for action in actions:
                requests += await _requests(services, project, row, author, action, "")
        except Exception:  # a repository that cannot be read: the others have their turn
            log.exception("merge request not told", extra={"project": project.path, "number": row.key})
            continue
        found.append((row, requests))
    return found


def told(tx: Tx, row: Record, now: int) -> None:
    """Keeps that the merge request was told of as this row says."""
    data = {k: row.data.get(k) for k in (*_EDITED, "state", "labels", "draft")}
    known = tx.records(TOLD, row.project_id, row.key, Page(limit=1))
    if known:
        tx.save(replace(known[0], data=data, updated_at=now))
    else:
        tx.add(Record(0, TOLD, row.project_id, row.key, data, now, now))


def _actions(before: Any, now: Any) -> list[str]:
    """GitHub's activity types for the difference."""
    if before is None:
        return ["opened"] if now["state"] == "opened" else []
    found = []
    if before["state"] != now["state"]:
        found.append("reopened" if now["state"] == "opened" else "closed")
    if any(before.get(key) != now.get(key) for key in _EDITED):
        found.append("edited")
    if set(now.get("labels", ())) - set(before.get("labels") or ()):
        found.append("labeled")
    if set(before.get("labels") or ()) - set(now.get("labels", ())):
        found.append("unlabeled")
    if bool(before.get("draft")) != bool(now.get("draft")):
        found.append("converted_to_draft" if now.get("draft") else "ready_for_review")
    return found


async def _requests(
    services: Services, project: Project, row: Record, actor: User, action: str, head: str
) -> list[RunRequest]:
    try:
        return await asyncio.to_thread(_both, services, project, row, actor, action, head)
    except (NotFound, Invalid):
        return []  # a branch is gone


def _both(
    services: Services, project: Project, row: Record, actor: User, action: str, head: str
) -> list[RunRequest]:
    """One for each of the two events. Asks git."""
    data, source, number = row.data, services.source, int(row.data["iid"])
    tip = (
        source.commit(project.id, head)
        if head
        else source.resolve(project.id, HEADS + data["source_branch"])[0]
    )
    base = source.resolve(project.id, HEADS + data["target_branch"])[0]
    fork_point = source.merge_base(project.id, tip.sha, base.sha) or ZERO_SHA
    merge = source.merged(project.id, base.sha, tip.sha, f"Merge {tip.sha} into {base.sha}\n")
    payload = {
        "action": action,
        "number": number,
        "pull_request": _pull(services, project, data, number, tip.sha, base.sha, merge),
    }
    if action == "synchronize":
        payload["after"] = tip.sha
    found = []
    for event in PULL_REQUESTS:
        target = event.endswith("_target")
        options = {
            "event": event,
            "action": action,
            "branch": data["target_branch"],
            "head_ref": data["source_branch"],
            "base_ref": data["target_branch"],
            "message": tip.message,
            "payload": payload,
            "diff": [fork_point, tip.sha],
            "extra": {"head_sha": tip.sha},
        }
        found.append(
            RunRequest(
                project,
                "depot",
                event,
                actor,
                ref=HEADS + data["target_branch"] if target else f"refs/pull/{number}/merge",
                sha=base.sha if target else merge or tip.sha,
                before_sha=None if target or fork_point == ZERO_SHA else base.sha if merge else fork_point,
                options=options,
                idempotency_key=f"depot-{event}-{row.id}-{action}-{tip.sha}-{row.updated_at}",
            )
        )
    return found


def _pull(
    services: Services, project: Project, data: Any, number: int, head: str, base: str, merge: str | None
) -> dict[str, Any]:
    repository = {"full_name": project.path, "id": project.id, "name": project.path.rpartition("/")[2]}
    return {
        "number": number,
        "title": data["title"],
        "body": data["description"],
        "state": "open" if data["state"] == "opened" else "closed",
        "draft": bool(data.get("draft")),
        "merged": data["state"] == "merged",
        "labels": [{"name": name} for name in data.get("labels", ())],
        "head": {"ref": data["source_branch"], "sha": head, "repo": {**repository, "fork": False}},
        "base": {"ref": data["target_branch"], "sha": base, "repo": repository},
        "merge_commit_sha": merge,
        "mergeable": merge is not None,
        "html_url": f"{services.server.url}/{project.path}/-/merge_requests/{number}",
    }
