"""Whose jobs may read a project (job token scope), and the project's resource groups. contracts/gitlab.md
§1.3.

Other projects' jobs are kept out until they are let in one by one, or with their group, or all (`enabled`
false). `Principal.may_see` obeys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from msgspec import Raw
from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import Bodies, project_bodies
from runyard.dialects.gitlab.refusals import BadParameter, answer_json, missing
from runyard.dialects.gitlab.routes_groups import sees
from runyard.engine.control import reorder
from runyard.engine.groups import MODES, RESOURCE_GROUPS
from runyard.engine.ports import AttemptFilter, Page, Tx
from runyard.http.services import JOB_SCOPE
from runyard.model.access import Role
from runyard.model.errors import Invalid
from runyard.model.state import OPEN, State
from runyard.model.work import Attempt, Group, Job, Project

MOST = 200
LOOKED_AT = 2_000
Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scope:
    """Handlers."""

    desk: Desk
    bodies: Bodies

    def lines(self) -> list[Line]:
        """The table."""
        scope, groups = "/projects/{id}/job_token_scope", "/projects/{id}/resource_groups"
        rule, group = Role.MAINTAINER, f"{groups}/{{key}}"
        return [
            Line("GET", scope, Door.USER, self.shown, "Get the job token scope", role=rule),
            Line("PATCH", scope, Door.USER, self.change, "Change the job token scope", role=rule),
            Line("GET", f"{scope}/allowlist", Door.USER, self.projects, "List projects whose jobs may read", role=rule),
            Line("POST", f"{scope}/allowlist", Door.USER, self.add_project, "Let a project's jobs read", role=rule),
            Line("DELETE", f"{scope}/allowlist/{{target_project_id}}", Door.USER, self.remove_project, "Keep a project's jobs out", role=rule),
            Line("GET", f"{scope}/groups_allowlist", Door.USER, self.groups, "List groups whose jobs may read", role=rule),
            Line("POST", f"{scope}/groups_allowlist", Door.USER, self.add_group, "Let a group's jobs read", role=rule),
            Line("DELETE", f"{scope}/groups_allowlist/{{target_group_id}}", Door.USER, self.remove_group, "Keep a group's jobs out", role=rule),
            Line("GET", groups, Door.USER, self.resource_groups, "List resource groups", role=Role.DEVELOPER),
            Line("GET", group, Door.USER, self.resource_group, "Get a resource group", role=Role.DEVELOPER),
            Line("PUT", group, Door.USER, self.change_mode, "Change a resource group's order", role=Role.DEVELOPER),
            Line("GET", f"{group}/upcoming_jobs", Door.USER, self.upcoming, "List jobs that wait for a resource group", role=Role.DEVELOPER),
            Line("GET", f"{group}/current_job", Door.USER, self.current, "Get the job that has a resource group", role=Role.DEVELOPER),
        ]  # fmt: skip

    async def shown(self, entry: Entry) -> Response:
        """`inbound_enabled`: only projects of the list are let in."""
        is_open = bool(entry.project.extra.get(JOB_SCOPE, {}).get("open"))
        return answer_json({"inbound_enabled": not is_open, "outbound_enabled": False})

    async def change(self, entry: Entry) -> Response:
        """`enabled`."""
        enabled = entry.parameters.flag("enabled")
        if enabled is None:
            raise BadParameter("enabled is missing")
        await self._edit(entry, lambda tx, scope: {**scope, "open": not enabled})
        return Response(status_code=204)

    async def projects(self, entry: Entry) -> Response:
        """The project itself is always in."""
        server = self.desk.services.server

        def load(tx: Tx) -> list[Data]:
            ids = [entry.project.id, *entry.project.extra.get(JOB_SCOPE, {}).get("projects", ())]
            rows = [row for id in ids if (row := tx.get(Project, id)) is not None and entry.who.may_see(row)]
            return project_bodies(tx, entry.who, rows, server)

        return self.desk.sliced(entry, await self.desk.services.db.read(load), lambda body: body)

    async def add_project(self, entry: Entry) -> Response:
        """`target_project_id`."""
        target = entry.parameters.number("target_project_id")
        if target is None:
            raise BadParameter("target_project_id is missing")

        def add(tx: Tx, scope: Data) -> Data:
            row = tx.get(Project, target)
            if row is None or not entry.who.may_see(row):
                raise missing("Target Project")
            known = list(scope.get("projects", ()))
            if target in known or target == entry.project.id:
                raise Invalid("This project is already in the job token allowlist.")
            if len(known) >= MOST:
                raise Invalid(f"A job token allowlist holds at most {MOST} entries.")
            return {**scope, "projects": [*known, target]}

        await self._edit(entry, add)
        return answer_json({"source_project_id": entry.project.id, "target_project_id": target}, 201)

    async def remove_project(self, entry: Entry) -> Response:
        """Its jobs are kept out from now on."""
        target = entry.id("target_project_id", "Target Project")

        def remove(tx: Tx, scope: Data) -> Data:
            known = list(scope.get("projects", ()))
            if target not in known:
                raise missing("Target Project")
            return {**scope, "projects": [id for id in known if id != target]}

        await self._edit(entry, remove)
        return Response(status_code=204)

    async def groups(self, entry: Entry) -> Response:
        """Groups whose projects' jobs are let in."""

        def load(tx: Tx) -> list[Group]:
            paths = entry.project.extra.get(JOB_SCOPE, {}).get("groups", ())
            return [row for path in paths if (row := tx.group_by_path(path)) is not None]

        server = self.desk.services.server
        rows = await self.desk.services.db.read(load)
        return self.desk.sliced(entry, rows, lambda row: shapes.group(row, server))

    async def add_group(self, entry: Entry) -> Response:
        """`target_group_id`."""
        target = entry.parameters.number("target_group_id")
        if target is None:
            raise BadParameter("target_group_id is missing")

        def add(tx: Tx, scope: Data) -> Data:
            row = tx.get(Group, target)
            if row is None or not sees(tx, entry, row):
                raise missing("Target Group")
            known = list(scope.get("groups", ()))
            if row.path in known:
                raise Invalid("This group is already in the job token allowlist.")
            if len(known) >= MOST:
                raise Invalid(f"A job token allowlist holds at most {MOST} entries.")
            return {**scope, "groups": [*known, row.path]}

        await self._edit(entry, add)
        return answer_json({"source_project_id": entry.project.id, "target_group_id": target}, 201)

    async def remove_group(self, entry: Entry) -> Response:
        """The group's jobs are kept out from now on."""
        target = entry.id("target_group_id", "Target Group")

        def remove(tx: Tx, scope: Data) -> Data:
            row, known = tx.get(Group, target), list(scope.get("groups", ()))
            if row is None or row.path not in known:
                raise missing("Target Group")
            return {**scope, "groups": [path for path in known if path != row.path]}

        await self._edit(entry, remove)
        return Response(status_code=204)

    async def resource_groups(self, entry: Entry) -> Response:
        """By key: those of recent jobs and those with an order of their own."""
        keys = await self.desk.services.db.read(lambda tx: _keys(tx, entry))
        return self.desk.sliced(entry, keys, lambda key: _shape(entry.project, key))

    async def resource_group(self, entry: Entry) -> Response:
        """One."""
        key = await self.desk.services.db.read(lambda tx: _key(tx, entry))
        return answer_json(_shape(entry.project, key))

    async def change_mode(self, entry: Entry) -> Response:
        """`process_mode`: whose turn it is when the group becomes free."""
        mode, now = entry.parameters.choice("process_mode", MODES, ""), self.desk.services.now()
        if not mode:
            raise BadParameter("process_mode is missing")

        def save(tx: Tx) -> Data:
            key, row = _key(tx, entry), tx.get(Project, entry.project.id) or entry.project
            fresh = replace(
                row, extra={**row.extra, RESOURCE_GROUPS: {**row.extra.get(RESOURCE_GROUPS, {}), key: mode}}
            )
            tx.save(fresh)
            reorder(tx, row.id, key, now)
            return _shape(fresh, key)

        return answer_json(await self.desk.services.db.write(save))

    async def upcoming(self, entry: Entry) -> Response:
        """Jobs that wait for it or have yet to ask, oldest first."""
        return self.desk.sliced(
            entry, await self._jobs(entry, frozenset({State.WAITING, State.HELD})), lambda body: body
        )

    async def current(self, entry: Entry) -> Response:
        """The job that has it."""
        found = await self._jobs(entry, frozenset({State.QUEUED, State.RUNNING, State.STOPPING}))
        if not found:
            raise missing("Job")
        return answer_json(found[0])

    async def _jobs(self, entry: Entry, states: frozenset[State]) -> list[Raw]:
        def load(tx: Tx) -> list[Raw]:
            key = _key(tx, entry)
            open_jobs = _grouped(tx, entry.project.id, OPEN)
            ids = sorted(p[1].id for p in open_jobs if _group_of(p) == key and p[1].state in states)
            rows = [row for id in ids if (row := tx.listed_one(id)) is not None]
            return self.bodies.jobs(entry.project, self.bodies.surroundings(tx, entry.project.id, rows))

        return await self.desk.services.db.read(load)

    async def _edit(self, entry: Entry, edit: Callable[[Tx, Data], Data]) -> None:
        def save(tx: Tx) -> None:
            row = tx.get(Project, entry.project.id)
            if row is None:
                raise missing("Project")
            tx.save(
                replace(row, extra={**row.extra, JOB_SCOPE: edit(tx, dict(row.extra.get(JOB_SCOPE, {})))})
            )

        await self.desk.services.db.write(save)


def _grouped(tx: Tx, project_id: int, states: frozenset[State] | None = None) -> list[tuple[Job, Attempt]]:
    wanted = tuple((state, None) for state in sorted(states)) if states else ()
    found = tx.attempts(AttemptFilter(project_id=project_id, wanted=wanted), Page(limit=LOOKED_AT))
    return [pair for pair in found if pair[0].plan.concurrency is not None]


def _group_of(pair: tuple[Job, Attempt]) -> str:
    rule = pair[0].plan.concurrency
    return rule.group if rule else ""


def _keys(tx: Tx, entry: Entry) -> list[str]:
    kept = entry.project.extra.get(RESOURCE_GROUPS, {})
    return sorted({*kept, *(_group_of(pair) for pair in _grouped(tx, entry.project.id))})


def _key(tx: Tx, entry: Entry) -> str:
    key = entry.part("key")
    if key not in entry.project.extra.get(RESOURCE_GROUPS, {}) and key not in _keys(tx, entry):
        raise missing("Resource Group")
    return key


def _shape(project: Project, key: str) -> Data:
    mode = project.extra.get(RESOURCE_GROUPS, {}).get(key, "unordered")
    born = shapes.when(project.created_at)
    return {
        "id": shapes.stable_id(project.id, key),
        "key": key,
        "process_mode": mode,
        "created_at": born,
        "updated_at": born,
    }
