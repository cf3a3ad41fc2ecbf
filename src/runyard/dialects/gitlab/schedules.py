"""Pipeline schedules as records (`gitlab.schedule`): when they are due, and the round that starts them.
Called by routes_schedules and the dialect.

A due schedule is moved on after its pipeline was started, and the pipeline carries the due time as
idempotency key: replicas and restarts start it once, and a crash between the two loses nothing. What fell due
while the server was away runs once, at once, as GitLab's worker does; it is not made up for each missed time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runyard.dialects.gitlab.routes_protection import may_start, refused_run
from runyard.engine.access import standing
from runyard.engine.ports import Page, Tx
from runyard.http.services import RunRequest, Services
from runyard.model.access import Role
from runyard.model.errors import Conflict, Invalid, NotFound, NothingToRun, RunyardError, Unavailable
from runyard.model.plan import Variable
from runyard.model.work import Project, Record, Run, User
from runyard.syntax import cron
from runyard.syntax.cron import CronError

KIND = "gitlab.schedule"
MOST = 10_000
AT_ONCE = 50
log = logging.getLogger("runyard.gitlab.schedules")


def next_run_at(data: Mapping[str, Any], now: int) -> int | None:
    """When it fires next; None while it is inactive or its line never does."""
    if not data["active"]:
        return None
    try:
        return cron.next_after(str(data["cron"]), str(data["cron_timezone"]), now)
    except CronError:
        return None


def due(tx: Tx, now: int) -> list[tuple[Record, int]]:
    """(schedule, the time it was due) of those whose time has come."""
    found: list[tuple[Record, int]] = []
    last: int | None = None
    while True:
        page = tx.records(KIND, None, None, Page(limit=1000, after_id=last, descending=False))
        for row in page:
            at = row.data.get("next_run_at")
            if isinstance(at, int) and at <= now and len(found) < AT_ONCE:
                found.append((row, at))
        if len(page) < 1000 or len(found) == AT_ONCE:
            return found
        last = page[-1].id


def _move_on(tx: Tx, id: int, at: int, now: int) -> None:
    """To its next time, unless somebody has set it to another meanwhile."""
    row = tx.get(Record, id)
    if row is not None and row.data.get("next_run_at") == at:
        tx.save(replace(row, data={**row.data, "next_run_at": next_run_at(row.data, now)}))


async def run_due(services: Services) -> None:
    """The round. What cannot be started now stays due."""
    now = services.now()
    for row, at in await services.db.read(lambda tx: due(tx, now)):
        try:
            await fire(services, row, f"schedule-{row.id}-{at}")
        except Unavailable as error:
            log.warning("schedule waits", extra={"schedule": row.id, "error": error.message})
            continue
        except RunyardError as error:
            log.warning("schedule not run", extra={"schedule": row.id, "error": error.message})
        except Exception:  # whatever one of them sets off, the others have their turn
            log.exception("schedule not run", extra={"schedule": row.id})
        await services.db.write(lambda tx, id=row.id, at=at: _move_on(tx, id, at, now))  # type: ignore[misc]


async def fire(services: Services, row: Record, key: str) -> Run | None:
    """Starts the schedule's pipeline in its owner's name; what hinders it is kept on the schedule for its
    owner to read."""

    def people(tx: Tx) -> tuple[Project | None, User | None, bool]:
        project, owner = tx.get(Project, row.project_id or 0), tx.get(User, int(row.data["owner_id"]))
        if project is None or owner is None:
            return project, owner, False
        role = standing(tx, owner, services.now()).role_in(project)
        return project, owner, role is not None and role >= Role.DEVELOPER

    project, owner, may = await services.db.read(people)
    if project is None:
        return None
    trouble, run = "", None
    if owner is None or not may:
        trouble = "The owner of this schedule may not run pipelines here any more: somebody who may should take it over."
    elif not await may_start(services, request := _request(services, project, owner, row, key)):
        trouble = refused_run(request.ref)
    else:
        try:
            run = await services.start(request)
        except NothingToRun:
            trouble = "The rules of the configuration leave nothing to run for a schedule."
        except (Invalid, NotFound, Conflict) as error:
            trouble = error.message
    await services.db.write(lambda tx: _note(tx, row.id, run, trouble, services.now()))
    return run


def _request(services: Services, project: Project, owner: User, row: Record, key: str) -> RunRequest:
    variables = tuple(
        Variable(v["key"], services.vault.open(v["value"]), file=v["variable_type"] == "file", raw=v["raw"])
        for v in row.data["variables"]
    )
    inputs = {item["name"]: item["value"] for item in row.data.get("inputs", ())}
    told = {"schedule": {"id": row.id, "description": row.data["description"]}}
    return RunRequest(
        project, "gitlab", "schedule", owner, row.data["ref"], variables=variables, inputs=inputs, options=told,
        idempotency_key=key,
    )  # fmt: skip


def _note(tx: Tx, row_id: int, run: Run | None, trouble: str, now: int) -> None:
    row = tx.get(Record, row_id)
    if row is None:
        return
    runs = row.data.get("runs", [])
    if run is not None and run.id not in runs:
        runs = [run.id, *runs][:100]
    tx.save(replace(row, data={**row.data, "runs": runs, "trouble": trouble}))
