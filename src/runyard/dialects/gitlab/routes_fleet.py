"""Runners as people manage them: lists, one, its jobs, change, delete, bootstrap tokens. contracts/gitlab.md
§1.3."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec
from starlette.responses import Response

from runyard.dialects.gitlab import managers, shapes
from runyard.dialects.gitlab.asking import Parameters, window_of
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import Bodies, words_of
from runyard.dialects.gitlab.refusals import BadParameter, FieldErrors, answer_json, missing
from runyard.dialects.gitlab.routes_groups import named, sees
from runyard.engine.ports import AttemptFilter, Page, Tx
from runyard.http.auth import hash_token
from runyard.model.access import Role, lineage
from runyard.model.errors import Forbidden
from runyard.model.work import Group, Project, Runner, User

KINDS = frozenset({"instance_type", "group_type", "project_type"})
CHANGEABLE = ("description", "active", "paused", "tag_list", "run_untagged", "locked", "access_level", "maximum_timeout", "maintenance_note")  # fmt: skip
LEVELS = frozenset({"not_protected", "ref_protected"})
MOST_RUNNERS = 10_000
MOST_TAGS = 50
MOST_CHARS = 1024  # of descriptions and notes


STATUSES = frozenset({"online", "offline", "stale", "never_contacted", "active", "paused"})
Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Handlers. The instance's runners are the administrators', a group's its owners', a project's its
    maintainers'."""

    desk: Desk
    bodies: Bodies

    def lines(self) -> list[Line]:
        """The table."""
        one, of_project = "/runners/{id}", "/projects/{id}/runners"
        maintain = Role.MAINTAINER
        return [
            Line("GET", "/runners", Door.USER, self.list, "List the runners one may manage"),
            Line("GET", "/runners/all", Door.ADMIN, self.list, "List all runners"),
            Line("GET", of_project, Door.USER, self.list, "List a project's runners", role=maintain),
            Line("POST", of_project, Door.USER, self.enable, "Let a runner work for a project", role=maintain),
            Line("DELETE", f"{of_project}/{{runner_id}}", Door.USER, self.disable, "Take a runner from a project", role=maintain),
            Line("POST", f"{of_project}/reset_registration_token", Door.USER, self.no_registration, "Refused: use /user/runners", role=maintain),
            Line("GET", "/groups/{group_id}/runners", Door.USER, self.list, "List a group's runners"),
            Line("GET", one, Door.USER, self.one, "Get a runner"),
            Line("PUT", one, Door.USER, self.change, "Change a runner"),
            Line("DELETE", one, Door.USER, self.delete, "Delete a runner"),
            Line("GET", f"{one}/jobs", Door.USER, self.jobs, "List a runner's jobs"),
            Line("GET", f"{one}/managers", Door.USER, self.managers, "List the machines behind a runner's token"),
            Line("POST", f"{one}/reset_authentication_token", Door.USER, self.reset, "Give a runner a new token"),
            Line("POST", "/user/runners", Door.USER, self.create, "Create a runner"),
        ]  # fmt: skip

    async def list(self, entry: Entry) -> Response:
        """Newest first; a project's are its own and the instance's. `type`, `status`, `paused`, `tag_list`,
        `scope` narrow."""
        services, given = self.desk.services, entry.parameters
        is_all = entry.request.url.path.endswith("/all")
        now, kind = services.now(), given.choice("type", KINDS, "")
        status = given.choice("status", STATUSES, "") or given.choice("scope", SCOPES, "")
        paused, tags = given.flag("paused"), tags_of(given)

        def load(tx: Tx) -> list[Runner]:
            rows = tx.runners(Page(limit=MOST_RUNNERS))
            if entry.project.id:
                above = _groups_above(tx, entry.project.path)
                return [
                    row
                    for row in rows
                    if row.serves_all or row.project_id == entry.project.id or row.group_id in above
                ]
            if "group_id" in entry.request.path_params:
                group = named(tx, entry, Role.MAINTAINER)
                above = {group.id} | _groups_above(tx, group.path)
                return [row for row in rows if row.group_id in above]
            return rows if is_all else [row for row in rows if _manages(tx, entry, row)]

        kept = [
            row
            for row in await services.db.read(load)
            if (not kind or shapes.runner_type(row) == kind)
            and (not status or _is(row, status, now))
            and paused in (None, row.paused)
            and set(tags) <= set(row.tags)
        ]
        makers = await services.db.read(lambda tx: {row.id: self._maker(tx, row) for row in kept})
        return self.desk.sliced(entry, kept, lambda row: shapes.runner(row, now, makers[row.id]))

    async def one(self, entry: Entry) -> Response:
        """With tags, versions and projects."""
        return answer_json(
            await self.desk.services.db.read(lambda tx: self._details(tx, self._runner(tx, entry)))
        )

    async def change(self, entry: Entry) -> Response:
        """Description, tags, paused, run_untagged, locked, access_level, maximum_timeout,
        maintenance_note."""
        if not any(entry.parameters.values.get(name) is not None for name in CHANGEABLE):
            raise BadParameter(
                f"{', '.join(CHANGEABLE)} are missing, at least one parameter must be provided"
            )

        def save(tx: Tx) -> Data:
            row = changed(self._runner(tx, entry), entry.parameters)
            tx.save(row)
            tx.ring("queue")  # it may take other work now
            return self._details(tx, row)

        return answer_json(await self.desk.services.db.write(save))

    async def delete(self, entry: Entry) -> Response:
        """Its token is dead at once."""

        def remove(tx: Tx) -> None:
            row = self._runner(tx, entry)
            entry.check_unmodified(row.created_at)
            managers.forget_all(tx, row.id)
            tx.remove(Runner, row.id)

        await self.desk.services.db.write(remove)
        return Response(status_code=204)

    async def reset(self, entry: Entry) -> Response:
        """The old token is dead at once; the new one is shown this once."""
        token = self.desk.services.new_token("glrt-")
        await self.desk.services.db.write(
            lambda tx: tx.save(replace(self._runner(tx, entry), token_hash=hash_token(token)))
        )
        return answer_json({"token": token, "token_expires_at": None}, 201)

    async def jobs(self, entry: Entry) -> Response:
        """What it ran, newest first; `status` narrows. Jobs of projects that the asker may not see are left
        out."""
        window = window_of(entry.parameters)
        wanted = entry.parameters.texts("status")
        words = words_of(wanted, "status")

        def load(tx: Tx) -> tuple[list[Data], bool, int]:
            runner = self._runner(tx, entry)
            filter = AttemptFilter(runner_id=runner.id, wanted=words.wanted)
            rows = [] if words.none else tx.listed(filter, window.page_of(1))
            shown: list[Data] = []
            for row in rows[: window.per_page]:
                project = tx.get(Project, row.project_id)
                if project is not None and entry.who.may_see(project):
                    around = self.bodies.surroundings(tx, project.id, [row], entry.moment)
                    identity = {"project": shapes.project_identity(project)}
                    shown += [
                        msgspec.json.decode(body) | identity for body in self.bodies.jobs(project, around)
                    ]
            last = rows[: window.per_page][-1].id if rows else 0
            return shown, len(rows) > window.per_page, last

        shown, more, last = await self.desk.services.db.read(load)
        return self.desk.listed(entry, window, shown, last, more)

    async def managers(self, entry: Entry) -> Response:
        """One for each machine that has shown the runner's token."""
        now = self.desk.services.now()

        def load(tx: Tx) -> list[Data]:
            row = self._runner(tx, entry)
            return [shapes.runner_manager(machine, now) for machine in managers.of_runner(tx, row.id)]

        return self.desk.sliced(entry, await self.desk.services.db.read(load), lambda body: body)

    async def create(self, entry: Entry) -> Response:
        """A runner with its token, shown this once; the machine then only verifies it. An instance's runner
        is given every project's secrets (database passwords too), so only administrators add one; a group's
        owners and a project's maintainers add their own."""
        given, services = entry.parameters, self.desk.services
        kind = given.choice("runner_type", KINDS, "")
        if kind == "":
            raise BadParameter("runner_type is missing")
        if kind == "instance_type" and not entry.who.user.is_admin:
            raise Forbidden
        project_id = given.number("project_id") if kind == "project_type" else None
        group_id = given.number("group_id") if kind == "group_type" else None
        if kind == "project_type" and project_id is None:
            raise BadParameter("project_id is missing")
        if kind == "group_type" and group_id is None:
            raise BadParameter("group_id is missing")
        token = services.new_token("glrt-")
        born = {"created_by": entry.who.user.id}
        now = services.now()
        row = Runner(
            0, hash_token(token), project_id=project_id, group_id=group_id, created_at=now, extra=born
        )
        row = changed(row, given)

        def add(tx: Tx) -> Runner:
            if project_id is not None:
                _maintained(tx, entry, project_id)
            if group_id is not None:
                _owned(tx, entry, group_id)
            return tx.add(row)

        stored = await services.db.write(add)
        return answer_json({"id": stored.id, "token": token, "token_expires_at": None}, 201)

    async def enable(self, entry: Entry) -> Response:
        """GitLab lends a project's runner to another project; here a runner serves one project or all."""
        number = entry.parameters.number("runner_id")
        if number is None:
            raise BadParameter("runner_id is missing")
        row = await self.desk.services.db.read(lambda tx: self._known(tx, entry, number))
        if row.serves_all or row.project_id == entry.project.id:
            return answer_json(shapes.runner(row, self.desk.services.now()), 201)
        raise Forbidden("a project's runner serves this project only: create one with POST /user/runners")

    async def disable(self, entry: Entry) -> Response:
        """The only project of a runner cannot let it go (GitLab: delete the runner instead)."""
        row = await self.desk.services.db.read(lambda tx: self._runner(tx, entry))
        if row.project_id != entry.project.id:
            raise missing("Runner")
        raise Forbidden("Only one project associated with the runner. Please remove the runner instead")

    async def no_registration(self, entry: Entry) -> Response:
        """Registration tokens of projects are gone from newer GitLabs too."""
        raise Forbidden(
            "registration tokens of projects do not exist here: create a runner with POST /user/runners"
        )

    def _runner(self, tx: Tx, entry: Entry) -> Runner:
        name = "runner_id" if entry.project.id else "id"  # below a project `id` is the project
        return self._known(tx, entry, entry.id(name, "Runner"))

    def _known(self, tx: Tx, entry: Entry, number: int) -> Runner:
        """The runner, for who manages it; others hear 403 of the instance's and 404 of other projects'."""
        row = tx.get(Runner, number)
        if row is None:
            raise missing("Runner")
        if not _manages(tx, entry, row):
            if row.serves_all:
                raise Forbidden
            raise missing("Runner")
        return row

    def _details(self, tx: Tx, row: Runner) -> Data:
        project = tx.get(Project, row.project_id) if row.project_id else None
        shown = [shapes.project_identity(project)] if project else []
        group = tx.get(Group, row.group_id) if row.group_id else None
        url = self.desk.services.server.url
        groups = (
            [{"id": group.id, "name": group.name, "web_url": f"{url}/groups/{group.path}"}] if group else []
        )
        body = shapes.runner_details(row, self.desk.services.now(), self._maker(tx, row))
        return {**body, "projects": shown, "groups": groups}

    def _maker(self, tx: Tx, row: Runner) -> Data | None:
        found = tx.get(User, int(row.extra.get("created_by") or 0))
        return shapes.user(found, self.desk.services.server) if found else None


SCOPES = frozenset({"active", "paused", "online", "offline", "shared", "specific"})


def _is(row: Runner, status: str, now: int) -> bool:
    match status:
        case "active" | "paused":
            return row.paused is (status == "paused")
        case "shared" | "specific":
            return row.serves_all is (status == "shared")
    return shapes.runner_status(row, now) == status


def _manages(tx: Tx, entry: Entry, row: Runner) -> bool:
    if entry.who.user.is_admin:
        return True
    if row.group_id is not None:
        group = tx.get(Group, row.group_id)
        return group is not None and entry.who.rights.role_under(group.path) >= Role.OWNER
    project = tx.get(Project, row.project_id) if row.project_id else None
    role = entry.who.role_in(project) if project else None
    return role is not None and role >= Role.MAINTAINER


def _groups_above(tx: Tx, path: str) -> set[int]:
    """Ids of the groups that hold a project or group of this path."""
    found = (tx.group_by_path(one) for one in lineage(path.rpartition("/")[0]))
    return {group.id for group in found if group is not None}


def _owned(tx: Tx, entry: Entry, group_id: int) -> None:
    """The group must be there for who asks, and be theirs."""
    group = tx.get(Group, group_id)
    if group is None or not sees(tx, entry, group):
        raise missing("Group")
    if entry.who.rights.role_under(group.path) < Role.OWNER:
        raise Forbidden


def _maintained(tx: Tx, entry: Entry, project_id: int) -> None:
    """The project must be there for who asks, and be theirs to configure."""
    project = tx.get(Project, project_id)
    role = entry.who.role_in(project) if project else None
    if role is None:
        raise missing("Project")
    if role < Role.MAINTAINER:
        raise Forbidden


def changed(row: Runner, given: Parameters) -> Runner:
    """The runner with what a request says of it; limits keep a hostile runner small (reliability.md §5
    J6)."""
    paused = given.flag("paused")
    active = given.flag("active")
    untagged = given.flag("run_untagged")
    level = given.choice("access_level", LEVELS, "ref_protected" if row.protected else "not_protected")
    timeout = given.number("maximum_timeout")
    if timeout and timeout < 600:
        raise BadParameter("maximum_timeout needs to be at least 10 minutes")
    fresh = replace(
        row,
        description=given.limited("description", MOST_CHARS) or row.description,
        tags=tags_of(given) if given.values.get("tag_list") is not None else row.tags,
        run_untagged=row.run_untagged if untagged is None else untagged,
        paused=paused if paused is not None else (not active if active is not None else row.paused),
        protected=level == "ref_protected",
        maximum_timeout_s=timeout or row.maximum_timeout_s,
        extra=_noted(row, given),
    )
    if not fresh.run_untagged and not fresh.tags:
        raise FieldErrors("tags_list", ["can not be empty when runner is not allowed to pick untagged jobs"])
    return fresh


def _noted(row: Runner, given: Parameters) -> dict[str, object]:
    note, locked = given.limited("maintenance_note", MOST_CHARS), given.flag("locked")
    extra = dict(row.extra) if note is None else {**row.extra, "maintenance_note": note}
    return extra if locked is None else {**extra, "locked": locked}


def tags_of(given: Parameters) -> tuple[str, ...]:
    """A list, or one text with commas (gitlab-runner)."""
    words = [tag.strip() for text in given.texts("tag_list") for tag in text.split(",")]
    tags = tuple(dict.fromkeys(tag for tag in words if tag))
    if len(tags) > MOST_TAGS or any(len(tag) > 255 for tag in tags):
        raise BadParameter(f"tag_list may have at most {MOST_TAGS} tags of 255 characters")
    return tags
