"""Events that nobody sends us: schedules that fall due, runs that begin and end, merge requests that open and
move. Each starts a run of the workflows that want it (actions.md §2). `rounds` of the dialect call them, and
pushes.

Whatever is repeated (another replica, a restart, a lost answer) starts nothing twice: a run carries what it
is about as its idempotency key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from runyard.dialects.depot import pulls
from runyard.dialects.depot.compile import entries
from runyard.dialects.depot.words import parent_word
from runyard.dialects.depot.workflow.findings import Findings
from runyard.dialects.depot.workflow.read import read
from runyard.engine.access import standing
from runyard.engine.ports import Page, RunFilter, Tx
from runyard.engine.views import run_tree
from runyard.http.services import RunRequest, Services
from runyard.model.access import Role
from runyard.model.errors import Away, Invalid, NotFound, NothingToRun, RunyardError
from runyard.model.state import State
from runyard.model.trigger import Push
from runyard.model.work import Project, Record, Run, User, Workflow
from runyard.syntax import cron
from runyard.syntax.cron import CronError

SCHEDULE = "depot.schedule"  # records by project: what its default branch's files want
SHORTEST_MS = 300_000  # GitHub: no schedule comes more often than every five minutes
CHAIN = "depot_chain"  # in a run's extra: how many workflow_run events lie above it
MOST_CHAINED = 3
MOST = 10_000
LOOK_BACK_MS = 600_000
log = logging.getLogger("runyard.depot.happenings")


async def fire(services: Services, request: RunRequest) -> Run | None:
    """Starts what the event starts; nothing when no workflow wants it. A broken file has told its own
    push."""
    try:
        return await services.start(request)
    except NothingToRun:
        return None
    except Away:
        raise  # it is not over: it comes again, as the same
    except RunyardError as error:
        log.warning("event started nothing", extra={"project": request.project.path, "error": error.message})
        return None


async def _have_turn(services: Services, request: RunRequest) -> None:
    """`fire` in a round: whatever one project sets off (a broken repository), the others have their turn."""
    try:
        await fire(services, request)
    except Away:
        raise
    except Exception:
        log.exception("event started nothing", extra={"project": request.project.path})


# schedules


async def registered(services: Services, push: Push) -> None:
    """Takes the schedules from what the default branch says now; its pusher stands behind them (GitHub: the
    last who changed the file)."""
    if push.tag or push.ref != push.project.default_branch:
        return
    files = await asyncio.to_thread(services.source.files, push.project.id, push.after)

    def wanted() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for path in entries(files):
            doc = read(path, files.read(path) or b"", Findings())
            for one in doc.triggers.schedules if doc is not None else ():
                found.append({"path": path, "cron": one.cron, "timezone": one.timezone})
        return found

    lines = await asyncio.to_thread(wanted)
    now = services.now()

    def keep(tx: Tx) -> None:
        rows = tx.records(SCHEDULE, push.project.id, "", Page(limit=1))
        old = {(e["path"], e["cron"], e["timezone"]): e for e in rows[0].data["lines"]} if rows else {}
        told = [
            old.get((e["path"], e["cron"], e["timezone"])) or {**e, "next_at": _next(e, now, 0)}
            for e in lines
        ]
        data = {"lines": told, "actor_id": push.actor.id}
        if rows:
            tx.save(replace(rows[0], data=data, updated_at=now))
        elif told:
            tx.add(Record(0, SCHEDULE, push.project.id, "", data, now, now))

    await services.db.write(keep)


def _next(line: Mapping[str, Any], now: int, last: int) -> int | None:
    try:
        return cron.next_after(str(line["cron"]), str(line["timezone"]), max(now, last + SHORTEST_MS - 1))
    except CronError:
        return None


def _due(tx: Tx, now: int) -> list[tuple[int, int, str, int]]:
    """(project, who, cron line, when) of what is due."""
    found: list[tuple[int, int, str, int]] = []
    for row in tx.records(SCHEDULE, None, None, Page(limit=MOST)):
        crons = {(one["cron"], one["next_at"]) for one in row.data["lines"] if _is_due(one, now)}
        found += [(row.project_id or 0, int(row.data["actor_id"]), text, at) for text, at in sorted(crons)]
    return found


def _is_due(line: Mapping[str, Any], now: int) -> bool:
    return isinstance(line["next_at"], int) and line["next_at"] <= now


def _move_on(tx: Tx, project_id: int, text: str, at: int, now: int) -> None:
    for row in tx.records(SCHEDULE, project_id, None, Page(limit=1)):
        lines = [
            {**one, "next_at": _next(one, now, at)} if (one["cron"], one["next_at"]) == (text, at) else one
            for one in row.data["lines"]
        ]
        tx.save(replace(row, data={**row.data, "lines": lines}))


def _behind(tx: Tx, project_id: int, user_id: int, now: int) -> tuple[Project, User] | None:
    """Whose word a schedule is; None once it has none, as at GitHub: its person is gone, or may run nothing
    there any more. Whoever pushes to the default branch next stands behind it."""
    project, user = tx.get(Project, project_id), tx.get(User, user_id)
    if project is None or user is None:
        return None
    role = standing(tx, user, now).role_in(project)
    return (project, user) if role is not None and role >= Role.DEVELOPER else None


async def run_schedules(services: Services) -> None:
    """The round: what fell due while the server was away runs once. A line is moved on after its run was
    started: a crash between the two repeats it, which starts nothing more."""
    now = services.now()
    for project_id, user_id, text, at in await services.db.read(lambda tx: _due(tx, now)):
        behind = await services.db.read(partial(_behind, project_id=project_id, user_id=user_id, now=now))
        if behind is not None:
            project, user = behind
            options = {"event": "schedule", "schedule": text, "payload": {"schedule": text}}
            key = f"depot-schedule-{text}-{at}"
            await _have_turn(
                services,
                RunRequest(project, "depot", "schedule", user, options=options, idempotency_key=key),
            )
        await services.db.write(
            lambda tx, id=project_id, text=text, at=at: _move_on(tx, id, text, at, now)  # type: ignore[misc]
        )


# workflow_run


@dataclass(slots=True)
class Watch:
    """Remembers how far it has looked, and which default branches want nothing."""

    services: Services
    since: int = 0
    seen: dict[tuple[int, str], int] = field(default_factory=dict)
    wants: dict[tuple[int, str], bool] = field(default_factory=dict)

    async def round(self) -> None:
        """Runs that moved since the last look."""
        services, now = self.services, self.services.now()
        since = self.since or now - LOOK_BACK_MS
        filter = RunFilter(dialect="depot", updated_after_at=since - 1)
        runs = await services.db.read(lambda tx: tx.runs(filter, Page(limit=1000, descending=False)))
        for run in runs:
            if int(run.extra.get(CHAIN, 0)) < MOST_CHAINED and await self._wanted(run):
                await self._tell(run)
        self.since = now - 1000

    async def _wanted(self, run: Run) -> bool:
        services = self.services
        project = await services.db.read(lambda tx: tx.get(Project, run.project_id))
        if project is None:
            return False

        def look() -> bool:
            sha = services.source.resolve(project.id, project.default_branch)[0].sha
            key = (project.id, sha)
            if key not in self.wants:
                files = services.source.files(project.id, sha)
                docs = [read(path, files.read(path) or b"", Findings()) for path in entries(files)]
                self.wants[key] = any(doc and "workflow_run" in doc.triggers.events for doc in docs)
            return self.wants[key]

        try:
            return await asyncio.to_thread(look)
        except RunyardError:
            return False
        except Exception:  # a repository that cannot be read: the others have their turn
            log.exception("project not asked", extra={"project": project.path})
            return False

    async def _tell(self, run: Run) -> None:
        services = self.services

        def look(tx: Tx) -> tuple[Project | None, User | None, list[Workflow]]:
            tree = run_tree(tx, run.id)
            actor = tx.get(User, run.actor_id or 0)
            return tx.get(Project, run.project_id), actor, [view.workflow for view in tree.workflows]

        project, actor, flows = await services.db.read(look)
        if project is None or actor is None:
            return
        for flow in flows:
            for action, at in _actions(flow):
                if self.seen.get((flow.id, action)) == at:
                    continue
                await _have_turn(services, _about(services, project, actor, run, flow, action, at))
                self.seen[flow.id, action] = at


def _actions(flow: Workflow) -> list[tuple[str, int]]:
    """What has happened to a workflow so far, and when."""
    found = [("requested", flow.created_at)]
    if flow.started_at is not None:
        found.append(("in_progress", flow.started_at))
    if flow.state is State.DONE:
        found.append(("completed", flow.finished_at or 0))
    return found


_CONCLUSIONS = {"finished": "success", "failed": "failure", "cancelled": "cancelled", "skipped": "skipped"}


def _about(
    services: Services, project: Project, actor: User, run: Run, flow: Workflow, action: str, at: int
) -> RunRequest:
    over = flow.state is State.DONE and action == "completed"
    told = {
        "id": run.id,
        "name": flow.name,
        "path": flow.path,
        "event": run.source,
        "status": "completed" if over else "in_progress" if action == "in_progress" else "queued",
        "conclusion": _CONCLUSIONS.get(parent_word(flow.state, flow.outcome, flow.hold)) if over else None,
        "head_branch": "" if run.tag else run.ref,
        "head_sha": run.sha,
        "run_number": run.number,
        "run_attempt": 1,
        "html_url": f"{services.server.url}/-/runs/{run.id}",
        "actor": {"login": actor.username, "id": actor.id},
    }
    options = {
        "event": "workflow_run",
        "action": action,
        "branch": told["head_branch"],
        "about": flow.name,
        "payload": {
            "action": action,
            "workflow_run": told,
            "workflow": {"name": flow.name, "path": flow.path},
        },
        "extra": {CHAIN: int(run.extra.get(CHAIN, 0)) + 1},
    }
    key = f"depot-workflow_run-{flow.id}-{action}-{at}"
    return RunRequest(project, "depot", "workflow_run", actor, options=options, idempotency_key=key)


# merge queues

QUEUE = (
    "gh-readonly-queue/"  # GitHub's own name for the branches that a queue makes: gh-readonly-queue/BASE/…
)


async def queued(services: Services, push: Push) -> list[RunRequest]:
    """A queue's branch was pushed: whoever keeps a merge queue (a bot, a script) has its candidate checked as
    GitHub's queue would."""
    base, slash, _ = push.ref.removeprefix(QUEUE).rpartition("/")
    if not push.ref.startswith(QUEUE) or not slash:
        return []
    head = f"{pulls.HEADS}{push.ref}"
    try:
        onto = await asyncio.to_thread(services.source.resolve, push.project.id, pulls.HEADS + base)
    except (NotFound, Invalid):
        return []  # it does not say what it is a candidate for
    group = {
        "head_sha": push.after,
        "head_ref": head,
        "base_sha": onto[0].sha,
        "base_ref": pulls.HEADS + base,
    }
    action = "checks_requested"
    options = {
        "event": "merge_group",
        "action": action,
        "branch": base,
        "payload": {"action": action, "merge_group": group},
    }
    key = f"depot-merge_group-{push.ref}-{push.after}"
    return [
        RunRequest(
            push.project, "depot", "merge_group", push.actor, ref=head, sha=push.after, options=options, idempotency_key=key,
        )
    ]  # fmt: skip


# merge requests


async def pushed(services: Services, push: Push) -> list[Run]:
    """What a push sets off beside its own run."""
    await registered(services, push)
    if push.tag:
        return []
    requests = [*await pulls.moved(services, push), *await queued(services, push)]
    return [run for request in requests if (run := await fire(services, request))]


async def run_pulls(services: Services) -> None:
    """The round: merge requests that were opened, closed or changed since it last looked."""
    for row, requests in await pulls.changed(services):
        for request in requests:
            await _have_turn(services, request)
        await services.db.write(lambda tx, row=row: pulls.told(tx, row, services.now()))  # type: ignore[misc]
