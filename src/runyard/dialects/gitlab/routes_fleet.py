"""Runners as people manage them: lists, one, its jobs, change, delete, bootstrap tokens. contracts/gitlab.md §1.3."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.asking import Parameters, window_of
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import Bodies, surroundings
from runyard.dialects.gitlab.refusals import BadParameter, answer_json, missing
from runyard.engine.ports import AttemptFilter, Page, Tx
from runyard.http.auth import hash_token
from runyard.model.errors import Forbidden
from runyard.model.work import Project, Runner

KINDS = frozenset({"instance_type", "group_type", "project_type"})
LEVELS = frozenset({"not_protected", "ref_protected"})
MOST_RUNNERS = 10_000
MOST_TAGS = 50


@dataclass(frozen=True, slots=True)
class Fleet:
    """Handlers. Runners are the administrator's."""

    desk: Desk
    bodies: Bodies

    def lines(self) -> list[Line]:
        """The table."""
        one = "/runners/{runner_id}"
        return [
            Line("GET", "/runners", Door.USER, self.list, "List runners"),
            Line("GET", "/runners/all", Door.ADMIN, self.list, "List all runners"),
            Line("GET", "/projects/{id}/runners", Door.USER, self.list, "List a project's runners"),
            Line("GET", one, Door.USER, self.one, "Get a runner"),
            Line("PUT", one, Door.ADMIN, self.change, "Change a runner"),
            Line("DELETE", one, Door.ADMIN, self.delete, "Delete a runner"),
            Line("GET", f"{one}/jobs", Door.ADMIN, self.jobs, "List a runner's jobs"),
            Line("POST", "/user/runners", Door.ADMIN, self.create, "Create a runner"),
        ]

    async def list(self, entry: Entry) -> Response:
        """Newest first; a project's runners are its own and the instance's."""
        window = window_of(entry.parameters)
        services, wanted = self.desk.services, entry.project.id
        rows = await services.db.read(lambda tx: tx.runners(Page(limit=MOST_RUNNERS)))
        rows = [row for row in rows if not wanted or row.project_id in (None, wanted)]
        start = (window.page - 1) * window.per_page
        shown = rows[start : start + window.per_page]
        bodies = [shapes.runner(row, services.now()) for row in shown]
        return self.desk.listed(entry, window, bodies, 0, len(rows) > start + window.per_page, len(rows))

    async def one(self, entry: Entry) -> Response:
        """With tags and versions."""
        return answer_json(shapes.runner_details(await self._runner(entry), self.desk.services.now()))

    async def change(self, entry: Entry) -> Response:
        """Description, tags, paused, run_untagged, access_level, maximum_timeout."""
        row = changed(await self._runner(entry), entry.parameters)
        await self.desk.services.db.write(lambda tx: tx.save(row))
        return answer_json(shapes.runner_details(row, self.desk.services.now()))

    async def delete(self, entry: Entry) -> Response:
        """Its token is dead at once."""
        row = await self._runner(entry)
        await self.desk.services.db.write(lambda tx: tx.remove(Runner, row.id))
        return Response(status_code=204)

    async def jobs(self, entry: Entry) -> Response:
        """What it ran, newest first."""
        row, window = await self._runner(entry), window_of(entry.parameters)

        def load(tx: Tx) -> list[dict[str, Any]]:
            pairs = tx.attempts(AttemptFilter(runner_id=row.id), window.page_of(1))
            bodies: list[dict[str, Any]] = []
            for pair in pairs:
                project = tx.get(Project, pair[1].project_id)
                if project is not None:
                    bodies += self.bodies.jobs(project, [pair], surroundings(tx, project.id, [pair]))
            return bodies

        found = await self.desk.services.db.read(load)
        shown = found[: window.per_page]
        return self.desk.listed(
            entry, window, shown, shown[-1]["id"] if shown else 0, len(found) > window.per_page
        )

    async def create(self, entry: Entry) -> Response:
        """A runner with its token, shown this once; the machine then only verifies it. A runner is given secrets (database passwords too), so
        only administrators add them."""
        given, services = entry.parameters, self.desk.services
        kind = given.choice("runner_type", KINDS, "")
        if kind == "":
            raise BadParameter("runner_type is missing")
        if kind == "group_type":
            raise Forbidden("groups have no runners of their own here")
        project_id = given.number("project_id") if kind == "project_type" else None
        token = services.new_token("glrt-")
        row = changed(Runner(0, hash_token(token), project_id=project_id, created_at=services.now()), given)

        def add(tx: Tx) -> Runner:
            if kind == "project_type" and (project_id is None or tx.get(Project, project_id) is None):
                raise missing("Project")
            return tx.add(row)

        stored = await services.db.write(add)
        return answer_json({"id": stored.id, "token": token, "token_expires_at": None}, 201)

    async def _runner(self, entry: Entry) -> Runner:
        number = entry.id("runner_id", "Runner")
        row = await self.desk.services.db.read(lambda tx: tx.get(Runner, number))
        if row is None:
            raise missing("Runner")
        return row


def changed(row: Runner, given: Parameters) -> Runner:
    """The runner with what a request says of it; limits keep a hostile runner small (reliability.md §5 J6)."""
    paused = given.flag("paused")
    active = given.flag("active")
    untagged = given.flag("run_untagged")
    level = given.choice("access_level", LEVELS, "ref_protected" if row.protected else "not_protected")
    timeout = given.number("maximum_timeout")
    if timeout and timeout < 600:
        raise BadParameter("maximum_timeout needs to be at least 10 minutes")
    return replace(
        row,
        description=(given.text("description") or row.description)[:1024],
        tags=tags_of(given) if given.values.get("tag_list") is not None else row.tags,
        run_untagged=row.run_untagged if untagged is None else untagged,
        paused=paused if paused is not None else (not active if active is not None else row.paused),
        protected=level == "ref_protected",
        maximum_timeout_s=timeout or row.maximum_timeout_s,
    )


def tags_of(given: Parameters) -> tuple[str, ...]:
    """A list, or one text with commas (gitlab-runner)."""
    words = [tag.strip() for text in given.texts("tag_list") for tag in text.split(",")]
    tags = tuple(dict.fromkeys(tag for tag in words if tag))
    if len(tags) > MOST_TAGS or any(len(tag) > 255 for tag in tags):
        raise BadParameter(f"tag_list may have at most {MOST_TAGS} tags of 255 characters")
    return tags
