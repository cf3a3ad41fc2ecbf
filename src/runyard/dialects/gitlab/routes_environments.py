"""Environments and deployments as people and scripts manage them; jobs keep them in step
(`engine.environments`). contracts/gitlab.md §1.3."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.asking import window_of
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import Bodies
from runyard.dialects.gitlab.refusals import BadParameter, FieldErrors, answer_json, missing
from runyard.engine import environments
from runyard.engine.ports import Page, Tx
from runyard.model.access import Role
from runyard.model.errors import Forbidden
from runyard.model.work import Deployment, Environment, User

MOST = Page(limit=5_000, descending=False)
STATES = frozenset({"available", "stopping", "stopped"})
TIERS = frozenset({"production", "staging", "testing", "development", "other"})
STATUSES = frozenset({"created", "running", "success", "failed", "canceled", "blocked"})
REPORTED = frozenset({"running", "success", "failed", "canceled"})
REVIEW_AGE_MS, REVIEW_MOST = 30 * 86_400_000, 100
_NAME = re.compile(r"[A-Za-z0-9_/$. {}\-]{1,255}")
_URL = re.compile(r"https?://\S+", re.IGNORECASE)
Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Environments:
    """Handlers."""

    desk: Desk
    bodies: Bodies

    def lines(self) -> list[Line]:
        """The table."""
        path, deployments = "/projects/{id}/environments", "/projects/{id}/deployments"
        one, deployment = f"{path}/{{environment_id}}", f"{deployments}/{{deployment_id}}"
        read = Role.REPORTER
        return [
            Line("GET", path, Door.READER, self.list, "List environments", role=read),
            Line("POST", path, Door.USER, self.create, "Create an environment"),
            Line("GET", one, Door.READER, self.one, "Get an environment", role=read),
            Line("PUT", one, Door.USER, self.change, "Change an environment"),
            Line("DELETE", one, Door.USER, self.delete, "Delete a stopped environment"),
            Line("POST", f"{one}/stop", Door.USER, self.stop, "Stop an environment"),
            Line(
                "POST",
                f"{path}/stop_stale",
                Door.USER,
                self.stop_stale,
                "Stop old environments",
                role=Role.MAINTAINER,
            ),
            Line(
                "DELETE",
                f"{path}/review_apps",
                Door.USER,
                self.clean,
                "Delete old stopped review environments",
                role=Role.MAINTAINER,
            ),
            Line("GET", deployments, Door.READER, self.deployments, "List deployments", role=read),
            Line("POST", deployments, Door.USER, self.deploy, "Report a deployment from outside"),
            Line("GET", deployment, Door.READER, self.deployment, "Get a deployment", role=read),
            Line("PUT", deployment, Door.USER, self.report, "Change a reported deployment's status"),
            Line("DELETE", deployment, Door.USER, self.forget, "Delete a deployment", role=Role.MAINTAINER),
        ]

    async def list(self, entry: Entry) -> Response:
        """`name`, `search` (three characters or more), `states`."""
        given = entry.parameters
        name, search = given.text("name"), given.text("search")
        state = given.choice("states", STATES, "")
        if name and search:
            raise BadParameter("name, search are mutually exclusive")
        if search is not None and len(search) < 3:
            raise BadParameter("Search query is less than 3 characters")
        rows = await self.desk.services.db.read(
            lambda tx: tx.find(Environment, MOST, project_id=entry.project.id)
        )
        kept = [
            row
            for row in rows
            if (not name or row.name == name)
            and (search or "").lower() in row.name.lower()
            and state in ("", row.state)
        ]
        return self.desk.sliced(entry, kept, lambda row: shapes.environment(row, entry.project))

    async def create(self, entry: Entry) -> Response:
        """`name`; `external_url`, `tier`, `description`."""
        given, now = entry.parameters, self.desk.services.now()
        name = given.required("name")
        if not _NAME.fullmatch(name) or name.startswith("/") or name.endswith("/"):
            text = "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, but it cannot start or end with '/'"
            raise FieldErrors("name", [text])

        def add(tx: Tx) -> Environment:
            if tx.find(Environment, Page(limit=1), project_id=entry.project.id, name=name):
                raise FieldErrors("name", ["has already been taken"])
            return self._saved(tx, environments.ensure(tx, entry.project.id, name, now), entry, now)

        return answer_json(shapes.environment(await self.desk.services.db.write(add), entry.project), 201)

    async def one(self, entry: Entry) -> Response:
        """With its last deployment."""

        def load(tx: Tx) -> Data:
            row = _environment(tx, entry)
            last = environments.newest(tx, row.id)
            return {
                **shapes.environment(row, entry.project),
                "last_deployment": self._deployment(tx, entry, last) if last else None,
            }

        return answer_json(await self.desk.services.db.read(load))

    async def change(self, entry: Entry) -> Response:
        """`external_url`, `tier`, `description`, `auto_stop_in`-less: a name stays, as in GitLab."""
        now = self.desk.services.now()

        def save(tx: Tx) -> Environment:
            return self._saved(tx, _environment(tx, entry), entry, now)

        return answer_json(shapes.environment(await self.desk.services.db.write(save), entry.project))

    def _saved(self, tx: Tx, row: Environment, entry: Entry, now: int) -> Environment:
        given = entry.parameters
        url, description = given.limited("external_url"), given.limited("description", 10_000)
        if url and not _URL.fullmatch(url):
            raise FieldErrors(
                "external_url", ["is blocked: Only allowed schemes are http, https", "must be a valid URL"]
            )
        fresh = replace(
            row,
            external_url=row.external_url if url is None else url,
            tier=given.choice("tier", TIERS, row.tier),
            updated_at=now,
            extra=row.extra if description is None else {**row.extra, "description": description},
        )
        tx.save(fresh)
        return fresh

    async def delete(self, entry: Entry) -> Response:
        """Only once it is stopped."""

        def remove(tx: Tx) -> None:
            row = _environment(tx, entry)
            if row.state != "stopped":
                raise Forbidden("Environment must be stopped before deletion")
            entry.check_unmodified(row.updated_at)
            tx.remove(Environment, row.id)

        await self.desk.services.db.write(remove)
        return Response(status_code=204)

    async def stop(self, entry: Entry) -> Response:
        """Plays its on_stop job where there is one; `force` stops it without."""
        now, actor = self.desk.services.now(), entry.who.user.id
        force = entry.parameters.flag("force") or False

        def act(tx: Tx) -> Environment:
            return environments.stop(tx, _environment(tx, entry), now, actor, force=force)[0]

        return answer_json(shapes.environment(await self.desk.services.db.write(act), entry.project))

    async def stop_stale(self, entry: Entry) -> Response:
        """Those not touched since `before` (a week to ten years ago)."""
        now, actor = self.desk.services.now(), entry.who.user.id
        before = entry.parameters.time("before")
        if before is None:
            raise BadParameter("before is missing")
        if not now - 10 * 366 * 86_400_000 <= before <= now - 7 * 86_400_000:
            raise BadParameter("Invalid Date")

        def act(tx: Tx) -> None:
            for row in tx.find(Environment, MOST, project_id=entry.project.id, state="available"):
                if row.updated_at < before:
                    environments.stop(tx, row, now, actor)

        await self.desk.services.db.write(act)
        return answer_json({"message": "Successfully requested stop for all stale environments"})

    async def clean(self, entry: Entry) -> Response:
        """`review/…` environments that are stopped and older than `before`; only listed while `dry_run` (the
        default)."""
        given, now = entry.parameters, self.desk.services.now()
        before = given.time("before")
        oldest = now - REVIEW_AGE_MS if before is None else before
        most = min(given.number("limit") or REVIEW_MOST, 1_000)
        dry_run = given.flag("dry_run") is not False

        def act(tx: Tx) -> list[Environment]:
            rows = tx.find(Environment, MOST, project_id=entry.project.id, state="stopped")
            old = [r for r in rows if r.name.startswith("review/") and r.updated_at < oldest][: max(most, 0)]
            for row in () if dry_run else old:
                tx.remove(Environment, row.id)
            return old

        rows = await self.desk.services.db.write(act)
        scheduled = [shapes.environment_basic(row) for row in rows]
        return answer_json({"scheduled_entries": scheduled, "unprocessable_entries": []})

    async def deployments(self, entry: Entry) -> Response:
        """`environment` (name), `status`, `updated_after`/`_before`, `finished_after`/`_before`, `order_by`,
        `sort`."""
        given, window = entry.parameters, window_of(entry.parameters)
        status = given.choice("status", STATUSES, "")
        ascending = given.choice("sort", frozenset({"asc", "desc"}), "asc") == "asc"
        order = given.choice("order_by", frozenset(ORDERS), "id")
        bounds = [(name, given.time(name)) for name in BOUNDS]
        name = given.text("environment")

        def load(tx: Tx) -> tuple[list[Data], int]:
            rows = [*self._wanted(tx, entry, name, status)]
            for bound, at in bounds:
                if at is not None:
                    field, is_after = BOUNDS[bound]
                    rows = [r for r in rows if _within(getattr(r, field), at, is_after)]
            rows.sort(key=lambda r: (ORDERS[order](r), r.id), reverse=not ascending)
            start = (window.page - 1) * window.per_page
            shown = rows[start : start + window.per_page]
            return [self._deployment(tx, entry, row) for row in shown], len(rows)

        bodies, total = await self.desk.services.db.read(load)
        more = total > window.page * window.per_page
        return self.desk.listed(entry, replace(window, by_key=False), bodies, 0, more, total)

    def _wanted(self, tx: Tx, entry: Entry, name: str | None, status: str) -> Sequence[Deployment]:
        equal: dict[str, Any] = {"project_id": entry.project.id} | ({"status": status} if status else {})
        if name:
            found = tx.find(Environment, Page(limit=1), project_id=entry.project.id, name=name)
            if not found:
                return []
            equal["environment_id"] = found[0].id
        return tx.find(Deployment, Page(limit=MOST.limit), **equal)

    async def deployment(self, entry: Entry) -> Response:
        """One, with its job."""
        return answer_json(
            await self.desk.services.db.read(
                lambda tx: self._deployment(tx, entry, _deployment_of(tx, entry))
            )
        )

    async def deploy(self, entry: Entry) -> Response:
        """`environment`, `sha`, `ref`, `tag`, `status`: what a tool outside has delivered."""
        given, now = entry.parameters, self.desk.services.now()
        name, sha, ref = given.required("environment"), given.required("sha"), given.required("ref")
        tag = given.flag("tag")
        if tag is None:
            raise BadParameter("tag is missing")
        status = given.choice("status", REPORTED, "")
        if not status:
            raise BadParameter("status is missing")
        if await asyncio.to_thread(self.bodies.commit, entry.project.id, sha) is None:
            raise FieldErrors("ref", ["The branch or tag does not exist"])
        if not _NAME.fullmatch(name):
            raise FieldErrors("environment", ["is invalid"])

        def add(tx: Tx) -> Data:
            environment = environments.ensure(tx, entry.project.id, name, now)
            row = Deployment(
                0, entry.project.id, environment.id, 0, ref, sha, status, tag, None, entry.who.user.id, now, now
            )  # fmt: skip
            return self._deployment(
                tx, entry, environments.report(tx, environments.add(tx, row), status, now)
            )

        return answer_json(await self.desk.services.db.write(add), 201)

    async def report(self, entry: Entry) -> Response:
        """The status of a deployment that no job of ours makes."""
        now = self.desk.services.now()
        status = entry.parameters.choice("status", REPORTED, "")
        if not status:
            raise BadParameter("status is missing")

        def save(tx: Tx) -> Data:
            row = _deployment_of(tx, entry)
            if row.attempt_id is not None:
                raise Forbidden
            return self._deployment(tx, entry, environments.report(tx, row, status, now))

        return answer_json(await self.desk.services.db.write(save))

    async def forget(self, entry: Entry) -> Response:
        """Not the last one of an environment, nor one that still runs."""

        def remove(tx: Tx) -> None:
            row = _deployment_of(tx, entry)
            last = environments.newest(tx, row.environment_id, "success")
            if row.status == "running":
                raise BadParameter("Cannot destroy running deployment")
            if last is not None and last.id == row.id:
                raise BadParameter("Deployment currently deployed to environment")
            entry.check_unmodified(row.updated_at)
            tx.remove(Deployment, row.id)

        await self.desk.services.db.write(remove)
        return Response(status_code=204)

    def _deployment(self, tx: Tx, entry: Entry, row: Deployment) -> Data:
        server, project = self.desk.services.server, entry.project
        environment, user = tx.get(Environment, row.environment_id), tx.get(User, row.user_id or 0)
        found = self.bodies.find(tx, row.attempt_id) if row.attempt_id else None
        jobs = self.bodies.jobs(project, found[1]) if found else []
        return {
            "id": row.id, "iid": row.number, "ref": row.ref, "sha": row.sha,
            "created_at": shapes.when(row.created_at), "updated_at": shapes.when(row.updated_at),
            "user": shapes.user(user, server) if user else None,
            "environment": shapes.environment_basic(environment) if environment else None,
            "deployable": jobs[0] if jobs else None, "status": row.status,
        }  # fmt: skip


ORDERS: dict[str, Callable[[Deployment], Any]] = {
    "id": lambda r: r.id,
    "iid": lambda r: r.number,
    "created_at": lambda r: r.created_at,
    "updated_at": lambda r: r.updated_at,
    "finished_at": lambda r: r.finished_at or 0,
    "ref": lambda r: r.ref,
}
BOUNDS = {
    "updated_after": ("updated_at", True),
    "updated_before": ("updated_at", False),
    "finished_after": ("finished_at", True),
    "finished_before": ("finished_at", False),
}


def _within(value: int | None, at: int, is_after: bool) -> bool:
    return value is not None and (value > at if is_after else value < at)


def _environment(tx: Tx, entry: Entry) -> Environment:
    row = tx.get(Environment, entry.id("environment_id", "Environment"))
    if row is None or row.project_id != entry.project.id:
        raise missing("Environment")
    return row


def _deployment_of(tx: Tx, entry: Entry) -> Deployment:
    row = tx.get(Deployment, entry.id("deployment_id", "Deployment"))
    if row is None or row.project_id != entry.project.id:
        raise missing("Deployment")
    return row
