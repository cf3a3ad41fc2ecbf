"""Groups and namespaces: the folders of projects, whose members and variables reach everything below.
GitLab's Groups API as far as CI needs it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import managers, shapes
from runyard.dialects.gitlab.asking import TEXT_CHARS, id_of
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import project_bodies
from runyard.dialects.gitlab.refusals import BadParameter, FieldErrors, answer_json, missing
from runyard.engine import access
from runyard.engine.ports import Page, Tx
from runyard.http.projects import RESERVED
from runyard.model.access import OPEN_TO_ALL, Role
from runyard.model.errors import Forbidden
from runyard.model.work import Group, Project, Runner

DESCRIPTION_CHARS = 2000
MOST = Page(limit=10_000, descending=False)
VISIBILITIES = frozenset({"private", "internal", "public"})
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")


@dataclass(frozen=True, slots=True)
class Groups:
    """Handlers."""

    desk: Desk

    def lines(self) -> list[Line]:
        """The table."""
        one = "/groups/{group_id}"
        return [
            Line("GET", "/groups", Door.USER, self.list, "List groups"),
            Line("POST", "/groups", Door.USER, self.create, "Create a group"),
            Line("GET", one, Door.USER, self.one, "Get a group"),
            Line("PUT", one, Door.USER, self.change, "Change a group"),
            Line("DELETE", one, Door.USER, self.delete, "Delete an empty group"),
            Line("GET", f"{one}/projects", Door.USER, self.projects, "List a group's projects"),
            Line("GET", f"{one}/subgroups", Door.USER, self.subgroups, "List the groups right below a group"),
            Line("GET", "/namespaces", Door.USER, self.namespaces, "List namespaces"),
            Line("GET", "/namespaces/{group_id}", Door.USER, self.namespace, "Get a namespace"),
        ]

    async def list(self, entry: Entry) -> Response:
        """Those that the person may see; `search`, `top_level_only`."""
        rows = await self.desk.services.db.read(lambda tx: _seen(tx, entry))
        rows = [row for row in rows if access.PERSONAL not in row.extra]
        if entry.parameters.flag("top_level_only"):
            rows = [row for row in rows if "/" not in row.path]
        return self._page(entry, rows)

    async def create(self, entry: Entry) -> Response:
        """`name`, `path`, and `parent_id` for a group in another. Its maker owns it."""
        given, now = entry.parameters, self.desk.services.now()
        name, segment, parent_id = (
            given.required("name", TEXT_CHARS),
            given.required("path"),
            given.number("parent_id"),
        )
        if not _SEGMENT.fullmatch(segment) or segment.lower() in RESERVED:
            raise FieldErrors("path", ["can contain only letters, digits, '_', '-' and '.'"])
        visibility = given.choice("visibility", VISIBILITIES, "private")

        def add(tx: Tx) -> Group:
            parent = tx.get(Group, parent_id) if parent_id else None
            if parent_id and (parent is None or not sees(tx, entry, parent)):
                raise missing("Group")
            path = f"{parent.path}/{segment}" if parent else segment
            if tx.group_by_path(path) is not None or tx.project_by_path(path) is not None:
                raise FieldErrors("path", ["has already been taken"])
            if not access.may_create(tx, entry.who.rights, path):
                raise Forbidden
            row = access.ensure_groups(tx, path, entry.who.user, now)
            row = replace(row, name=name, visibility=visibility, extra=_described(row, entry))
            tx.save(row)
            return row

        return answer_json(
            shapes.group(await self.desk.services.db.write(add), self.desk.services.server), 201
        )

    async def one(self, entry: Entry) -> Response:
        """With its first hundred projects, as GitLab shows them."""

        server = self.desk.services.server

        def load(tx: Tx) -> dict[str, Any]:
            row = named(tx, entry)
            body = shapes.group(row, server)
            if entry.parameters.flag("with_projects") is not False:
                shown = _projects(tx, entry, row)[:100]
                body["projects"] = project_bodies(tx, entry.who, shown, server)
            return body

        return answer_json(await self.desk.services.db.read(load))

    async def change(self, entry: Entry) -> Response:
        """Name, visibility, description."""

        def save(tx: Tx) -> Group:
            row = named(tx, entry, Role.OWNER)
            fresh = replace(
                row,
                name=entry.parameters.limited("name") or row.name,
                visibility=entry.parameters.choice("visibility", VISIBILITIES, row.visibility),
                extra=_described(row, entry),
            )
            tx.save(fresh)
            return fresh

        return answer_json(shapes.group(await self.desk.services.db.write(save), self.desk.services.server))

    async def delete(self, entry: Entry) -> Response:
        """Only when nothing is in it: GitLab deletes projects along, which nobody can undo."""

        def remove(tx: Tx) -> None:
            row = named(tx, entry, Role.OWNER)
            entry.check_unmodified(row.created_at)
            below = f"{row.path.lower()}/"
            if _projects(tx, entry, row) or any(
                g.path.lower().startswith(below) for g in tx.find(Group, MOST)
            ):
                raise BadParameter("the group is not empty: delete its projects and subgroups first")
            for runner in tx.find(Runner, MOST, group_id=row.id):
                managers.forget_all(tx, runner.id)
                tx.remove(Runner, runner.id)
            tx.remove(Group, row.id)

        await self.desk.services.db.write(remove)
        return answer_json({"message": "202 Accepted"}, 202)

    async def projects(self, entry: Entry) -> Response:
        """Right below; with `include_subgroups` all."""

        server = self.desk.services.server

        def load(tx: Tx) -> list[dict[str, Any]]:
            row = named(tx, entry)
            rows = _projects(tx, entry, row)
            if not entry.parameters.flag("include_subgroups"):
                rows = [p for p in rows if p.path.rpartition("/")[0].lower() == row.path.lower()]
            return project_bodies(tx, entry.who, rows, server)

        return self.desk.sliced(entry, await self.desk.services.db.read(load), lambda body: body)

    async def subgroups(self, entry: Entry) -> Response:
        """Right below."""

        def load(tx: Tx) -> list[Group]:
            above = named(tx, entry).path.lower()
            return [g for g in _seen(tx, entry) if g.path.rpartition("/")[0].lower() == above]

        return self._page(entry, await self.desk.services.db.read(load))

    async def namespaces(self, entry: Entry) -> Response:
        """Where one may put projects: groups, and people's own."""
        rows = await self.desk.services.db.read(lambda tx: _seen(tx, entry))
        server = self.desk.services.server
        return self.desk.sliced(entry, rows, lambda row: shapes.namespace_of(row, server))

    async def namespace(self, entry: Entry) -> Response:
        """One."""
        row = await self.desk.services.db.read(lambda tx: named(tx, entry))
        return answer_json(shapes.namespace_of(row, self.desk.services.server))

    def _page(self, entry: Entry, rows: Sequence[Group]) -> Response:
        server = self.desk.services.server
        return self.desk.sliced(entry, rows, lambda row: shapes.group(row, server))


def named(tx: Tx, entry: Entry, least: Role = Role.NONE) -> Group:
    """The group of the path's `{group_id}` (number or path); 404 for who may not see it, 403 below the least
    role."""
    text = entry.part("group_id")
    number = id_of(text)
    row = tx.get(Group, number) if number is not None else tx.group_by_path(text)
    if row is None or not sees(tx, entry, row):
        raise missing("Group")
    if entry.who.rights.role_under(row.path) < least:
        raise Forbidden
    return row


def sees(tx: Tx, entry: Entry, row: Group) -> bool:
    """Members of it or of something in it see a private group."""
    rights = entry.who.rights
    if row.visibility in OPEN_TO_ALL or rights.role_under(row.path) > Role.NONE:
        return True
    below = f"{row.path.lower()}/"
    if any(path.startswith(below) for path in rights.groups):
        return True
    projects = (tx.get(Project, id) for id in rights.projects)
    return any(p is not None and p.path.lower().startswith(below) for p in projects)


def _seen(tx: Tx, entry: Entry) -> list[Group]:
    search = (entry.parameters.text("search") or "").lower()
    rows = [g for g in tx.find(Group, MOST) if search in g.path.lower() or search in g.name.lower()]
    return sorted((g for g in rows if sees(tx, entry, g)), key=lambda g: g.path.lower())


def _projects(tx: Tx, entry: Entry, row: Group) -> list[Project]:
    below = f"{row.path.lower()}/"
    rows = tx.projects(below, MOST, entry.who.user)
    return [p for p in rows if p.path.lower().startswith(below)]


def _described(row: Group, entry: Entry) -> dict[str, object]:
    description = entry.parameters.limited("description", DESCRIPTION_CHARS)
    return dict(row.extra) if description is None else {**row.extra, "description": description}
