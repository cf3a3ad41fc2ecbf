"""What starts suites besides a request: schedules, pushes, pull requests, finished dbt jobs, imported
projects. Used by the Dialect value and routes_hooks.

A schedule is started first, under a key that makes a repeat the same run, and moved on after: a crash between
repeats it harmlessly, and so do replicas. Suites act as the person who made them; one that may not run there
any more starts nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runyard.dialects import Round
from runyard.dialects.looker import queries, sessions, suites
from runyard.dialects.looker.naming import find_project
from runyard.dialects.looker.starting import Wish, begin
from runyard.engine.access import standing
from runyard.engine.ports import Page, Tx
from runyard.http.services import Services
from runyard.model.access import Role
from runyard.model.errors import Away, Invalid, NotFound, RunyardError
from runyard.model.trigger import Push
from runyard.model.work import Project, Record, Run, User
from runyard.syntax.cron import CronError, next_after
from runyard.syntax.patterns import PatternError, path_glob

log = logging.getLogger("runyard.looker")

OWNER, NEXT = "owner_id", "schedule_next_at"
"""Keys of a suite's data that are ours: who made it, and when its schedule comes next."""
CHANGE = "looker.change_request"
TASK = "looker.query_task"
DAY_MS = 86_400_000
EVERY_S, SWEEP_S = 15.0, 900.0
MOST, BATCH = 1000, 200


def all_suites(tx: Tx, project_id: int | None = None) -> Iterator[Record]:
    """Every suite, of one project or of all."""
    after: int | None = None
    while True:
        page = Page(limit=MOST, after_id=after, descending=False)
        found = tx.records(suites.KIND, project_id, None, page)
        yield from found
        if len(found) < MOST:
            return
        after = found[-1].id


def scheduled(data: Mapping[str, Any], now: int) -> dict[str, Any]:
    """The suite's data with the next time of its schedule after `now`."""
    kept = dict(data)
    kept[NEXT] = None
    if kept.get("schedule_trigger_is_enabled"):
        try:
            kept[NEXT] = next_after(
                str(kept["schedule_trigger_crontab"]), str(kept["schedule_trigger_timezone"]), now
            )
        except CronError as error:  # checked when it was written; zones may go with an update of the system
            log.warning("a schedule cannot be read", extra={"error": str(error)})
    return kept


def _due(tx: Tx, now: int) -> list[tuple[Record, int]]:
    return [
        (suite, int(suite.data[NEXT]))
        for suite in all_suites(tx)
        if suite.data.get("schedule_trigger_is_enabled") and suite.data.get(NEXT) and suite.data[NEXT] <= now
    ]


def _move_on(tx: Tx, suite_id: int, now: int) -> None:
    fresh = tx.get(Record, suite_id)
    if fresh is not None:
        tx.save(replace(fresh, data=scheduled(fresh.data, now)))


def _actor(tx: Tx, suite: Record, project: Project, now: int) -> User | None:
    """The suite's maker, while they may still run in the project; suites from before makers were kept act as
    the first user."""
    user = tx.get(User, int(suite.data.get(OWNER) or 1))
    role = standing(tx, user, now).role_in(project) if user else None
    return user if role is not None and role >= Role.DEVELOPER else None


async def _begin(services: Services, suite: Record, **wish: Any) -> Run | None:
    """The run of a suite on a branch or commit (production when none is said), or None with a warning in the
    log."""

    def who(tx: Tx) -> tuple[Project | None, User | None]:
        project = tx.get(Project, suite.project_id) if suite.project_id else None
        return project, _actor(tx, suite, project, services.now()) if project else None

    project, actor = await services.db.read(who)
    try:
        if project is None or actor is None:
            raise NotFound("the suite's maker may not run it any more")
        ref = str(wish.pop("ref", "") or project.default_branch)
        sha = str(wish.pop("sha", "") or sessions.head_of(services.source, project, ref))
        if not sha:
            raise NotFound(f"there is no branch {ref!r}")
        return await begin(services, Wish(project, suite, actor, ref, sha, **wish))
    except Away:
        raise  # it is not over: schedules come again
    except RunyardError as error:
        log.warning("a suite was not started", extra={"suite": suite.id, "error": error.message})
        return None


async def run_schedules(services: Services) -> None:
    """Starts every suite whose time has come, once, however often it was missed."""
    now = services.now()
    for suite, at in await services.db.read(lambda tx: _due(tx, now)):
        key = f"looker-schedule-{suite.id}-{at}"
        try:
            await _begin(services, suite, source="schedule", trigger="schedule", idempotency_key=key)
        except Away:
            raise
        except Exception:  # whatever one of them sets off, the others have their turn
            log.exception("a suite was not started", extra={"suite": suite.id})
        await services.db.write(lambda tx, id=suite.id: _move_on(tx, id, now))  # type: ignore[misc]


async def pushed(services: Services, push: Push) -> Sequence[Run]:
    """A branch moved: suites with a push trigger, suites of open pull requests from it, and suites of
    projects that import this one."""
    if push.tag:
        return ()
    found = await services.db.read(lambda tx: _of_push(tx, push))
    begun = []
    for number, (suite, wish) in enumerate(found):
        key = f"push-{push.key}-suite-{suite.id}-{number}" if push.key else ""
        begun.append(await _begin(services, suite, **wish, idempotency_key=key))
    return [run for run in begun if run is not None]


def _of_push(tx: Tx, push: Push) -> list[tuple[Record, dict[str, Any]]]:
    here: dict[str, Any] = {"ref": push.ref, "sha": push.after, "branch": push.ref}
    found: list[tuple[Record, dict[str, Any]]] = []
    changes = [c for c in open_changes(tx, push.project) if c.data.get("branch") == push.ref]
    for suite in all_suites(tx, push.project.id):
        for change in changes:
            if for_change(suite, change.data):
                found.append((suite, {**here, **of_change(change.data)}))
        if not changes and suite.data.get("push_trigger_is_enabled") and _named(suite, push.ref):
            found.append((suite, {**here, "source": "push", "trigger": "push"}))
    for suite in all_suites(tx):
        name = _upstream(tx, suite, push.project)
        if name:
            wish = {"source": "pipeline", "trigger": "upstream", "imports": {name: push.after}}
            found.append((suite, wish))
    return found


def _named(suite: Record, branch: str) -> bool:
    """Whether one of the suite's branch patterns means this branch; none means every branch."""
    wanted = suite.data.get("push_trigger_branches") or ()
    try:
        return not wanted or any(path_glob(str(p)).found_in(branch) for p in wanted)
    except PatternError:
        return False


def _upstream(tx: Tx, suite: Record, moved: Project) -> str:
    """The name by which the suite's upstream projects mean the one that moved."""
    if not suite.data.get("upstream_trigger_is_enabled") or suite.project_id == moved.id:
        return ""
    for name in suite.data.get("upstream_projects") or ():
        home = find_project(tx, str(name))
        if home is not None and home.id == moved.id:
            return str(name)
    return ""


def open_changes(tx: Tx, project: Project) -> list[Record]:
    """Pull requests that were told of and not closed."""
    return [r for r in tx.records(CHANGE, project.id, None, Page(limit=MOST)) if r.data.get("open")]


def for_change(suite: Record, change: Mapping[str, Any]) -> bool:
    """Whether the suite runs for pull requests into this target branch."""
    targets = [
        t.strip() for t in str(suite.data.get("change_request_trigger_target_branch") or "").split(",")
    ]
    wanted = [t for t in targets if t]
    is_on = bool(suite.data.get("change_request_trigger_is_enabled"))
    return is_on and (not wanted or change.get("target_branch") in wanted)


def of_change(change: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a Wish that a pull request says."""
    return {
        "source": "merge_request_event",
        "trigger": "change_request",
        "target_branch": str(change.get("target_branch") or ""),
        "change_request": {k: v for k, v in change.items() if k.startswith("change_request_")},
    }


async def changed(services: Services, project: Project, change: Mapping[str, Any]) -> list[Run]:
    """A pull request was opened or moved: its suites on its latest commit."""
    ref, sha = str(change["branch"]), str(change.get("commit") or "")
    if sha:
        try:
            sha = services.source.commit(project.id, sha).sha
        except (NotFound, Invalid):
            return []  # the branch is not pushed here yet; its push will start them
    elif not sessions.head_of(services.source, project, ref):
        return []
    found = await services.db.read(
        lambda tx: [s for s in all_suites(tx, project.id) if for_change(s, change)]
    )
    begun = [
        await _begin(services, s, ref=ref, sha=sha, branch=ref, commit=sha or None, **of_change(change))
        for s in found
    ]
    return [run for run in begun if run is not None]


async def dbt_finished(services: Services, suite: Record, dbt: Mapping[str, Any]) -> Run | None:
    """A dbt job built a schema: the suite on it, the user attribute that the suite names set to that schema
    for this run."""
    name = str(suite.data.get("dbt_cloud_trigger_user_attribute_id") or "")
    attributes = [{"name": name, "value": str(dbt["schema"])}] if name else []
    facts = {k: dbt.get(k) for k in ("git_branch", "git_sha", "git_repository")}
    return await _begin(
        services,
        suite,
        ref=str(dbt.get("branch") or ""),
        branch=str(dbt.get("branch") or "") or None,
        source="external",
        trigger="dbt_cloud",
        user_attributes=attributes,
        dbt=facts,
        idempotency_key=f"looker-dbt-{suite.id}-{dbt['run_id']}" if dbt.get("run_id") else "",
    )


def _sweep(tx: Tx, kind: str, now: int) -> bool:
    """Removes one batch of what is a day old; whether there may be more."""
    found = tx.records(kind, None, None, Page(limit=BATCH, descending=False))
    old = [r for r in found if r.updated_at < now - DAY_MS]
    for record in old:
        tx.remove(Record, record.id)
    return len(old) == BATCH


def rounds(services: Services) -> Sequence[Round]:
    """Schedules, and the removal of sessions, queries and results that are a day old."""

    async def schedules() -> None:
        await run_schedules(services)

    async def sweep() -> None:
        for kind in (sessions.KIND, queries.KIND, TASK):
            while await services.db.write(lambda tx, kind=kind: _sweep(tx, kind, services.now())):  # type: ignore[misc]
                pass

    return [
        Round("looker schedules", schedules, EVERY_S),
        Round("looker housekeeping", sweep, SWEEP_S),
    ]
