"""Projects: create (also as a mirror), get, list, change, delete. contracts/gitlab.md §1.3 and ARCHITECTURE
§9."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab.asking import Parameters, window_of
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import project_bodies
from runyard.dialects.gitlab.refusals import BadParameter, FieldErrors, answer_json, missing
from runyard.engine.access import standing
from runyard.engine.ports import Page, Tx
from runyard.http.projects import create_project
from runyard.model.access import Role
from runyard.model.errors import Conflict, Forbidden, Invalid, Unavailable
from runyard.model.work import Group, Project
from runyard.sources.names import check_ref, parse_remote
from runyard.sources.repositories import KEYED

VISIBILITIES = frozenset({"private", "internal", "public"})
MOST_SCANNED = 5_000
SETTINGS = ("description", "ci_config_path")


@dataclass(frozen=True, slots=True)
class Projects:
    """Handlers."""

    desk: Desk

    def lines(self) -> list[Line]:
        """The table."""
        one = "/projects/{id}"
        return [
            Line("GET", "/projects", Door.USER, self.list, "List projects"),
            Line("GET", "/search", Door.USER, self.search, "Search projects"),
            Line("POST", "/projects", Door.USER, self.create, "Create a project"),
            Line("GET", one, Door.READER, self.one, "Get a project"),
            Line("PUT", one, Door.USER, self.change, "Change a project", role=Role.MAINTAINER),
            Line("DELETE", one, Door.USER, self.delete, "Delete a project", role=Role.OWNER),
            Line(
                "POST",
                f"{one}/mirror/pull",
                Door.USER,
                self.pull,
                "Fetch a mirror again",
                role=Role.MAINTAINER,
            ),
        ]

    async def list(self, entry: Entry) -> Response:
        """By name or path, those that the person may see; `membership`, `owned`, `min_access_level`,
        `visibility` narrow."""
        window, given = window_of(entry.parameters), entry.parameters
        search, who, now = given.text("search") or "", entry.who, self.desk.services.now()
        least = Role.OWNER if given.flag("owned") else given.number("min_access_level") or 0
        least = max(least, Role.GUEST) if given.flag("membership") else least
        visibility = given.choice("visibility", VISIBILITIES, "")
        server = self.desk.services.server

        def load(tx: Tx) -> tuple[list[dict[str, Any]], bool]:
            if not least and not visibility:
                found = tx.projects(search, window.page_of(1), who.user, now)
            else:
                seen = tx.projects(search, Page(limit=MOST_SCANNED), who.user, now)
                kept = [
                    p for p in seen if visibility in ("", p.visibility) and (who.role_in(p) or 0) >= least
                ]
                start = (window.page - 1) * window.per_page
                found = kept[start : start + window.per_page + 1]
            return project_bodies(tx, who, found[: window.per_page], server), len(found) > window.per_page

        rows, more = await self.desk.services.db.read(load)
        total = (
            None if more else (window.page - 1) * window.per_page + len(rows)
        )  # told where it costs nothing
        return self.desk.listed(entry, window, rows, rows[-1]["id"] if rows else 0, more, total)

    async def search(self, entry: Entry) -> Response:
        """`scope=projects` only: nothing else is indexed here."""
        entry.parameters.required("search")
        if entry.parameters.choice("scope", frozenset({"projects"}), "") == "":
            raise BadParameter("scope is missing")
        return await self.list(entry)

    async def one(self, entry: Entry) -> Response:
        """One project, with whether anything was pushed."""
        branch = await asyncio.to_thread(self.desk.services.source.default_branch, entry.project.id)
        return await self._answer(entry, entry.project, branch is None)

    async def _answer(
        self, entry: Entry, project: Project, is_empty: bool | None = None, status: int = 200
    ) -> Response:
        def load(tx: Tx) -> dict[str, Any]:
            # Read again: who has just made the project is its owner since then.
            who = replace(entry.who, standing=standing(tx, entry.who.user, self.desk.services.now()))
            return project_bodies(tx, who, [project], self.desk.services.server)[0]

        body = await self.desk.services.db.read(load)
        return answer_json({**body, "empty_repo": is_empty}, status)

    async def create(self, entry: Entry) -> Response:
        """`name` or `path`; the group is `namespace_path`, else the caller's name. `import_url` makes it a
        mirror."""
        parameters = entry.parameters
        if entry.who.is_job:
            raise Forbidden
        path = await self._path(entry)
        import_url = parameters.text("import_url") or ""
        if import_url:
            await self._check_import(import_url, entry.who.user.is_admin)
        branch = parameters.text("default_branch") or "main"
        check_ref(branch)
        services = self.desk.services
        try:
            project = await create_project(
                services.db, services.source, services.now, path,
                name=parameters.limited("name") or "", default_branch=branch,
                visibility=parameters.choice("visibility", VISIBILITIES, "private"), import_url=import_url,
                owner=entry.who.user,
            )  # fmt: skip
        except Conflict:
            raise FieldErrors("path", ["has already been taken"]) from None
        except Unavailable as error:
            if not import_url:
                raise
            raise FieldErrors("import_url", [error.message]) from None
        if settings := _settings(parameters):
            project = await self._edit(project.id, lambda row: _with_settings(row, settings))
        return await self._answer(entry, project, not import_url, 201)

    async def _path(self, entry: Entry) -> str:
        parameters = entry.parameters
        name, path = parameters.text("name"), parameters.text("path")
        if not name and not path:
            raise BadParameter("name, path are missing, at least one parameter must be provided")
        path = path or re.sub(r"[^A-Za-z0-9_.-]+", "-", (name or "").strip()).strip("-.").lower()
        if "/" in path:
            return path
        group = parameters.text("namespace_path") or parameters.text("namespace") or entry.who.user.username
        namespace_id = parameters.number("namespace_id")
        if namespace_id is not None:
            row = await self.desk.services.db.read(lambda tx: tx.get(Group, namespace_id))
            if row is None:
                raise FieldErrors("namespace", ["is not valid"])
            group = row.path
        return f"{group.strip('/')}/{path}"

    async def _check_import(self, url: str, is_admin: bool) -> None:
        """Paths and private hosts of this machine are an administrator's to open (reliability.md §5 D1)."""
        try:
            remote = await asyncio.to_thread(parse_remote, url)
        except Invalid as error:
            raise FieldErrors("import_url", [error.message]) from None
        if remote.local and not (is_admin and self.desk.services.settings.allow_local_import):
            raise FieldErrors(
                "import_url", ["is blocked: only administrators may import from this machine or its networks"]
            )
        if remote.scheme == "ssh" and not is_admin:
            raise FieldErrors("import_url", [f"is blocked: {KEYED}"])

    async def change(self, entry: Entry) -> Response:
        """Name, visibility, default branch, description and the CI file's path."""
        given = entry.parameters
        branch, name, settings = given.text("default_branch"), given.limited("name"), _settings(given)
        if branch:
            await asyncio.to_thread(self._lead_to, entry.project.id, branch)

        def edited(row: Project) -> Project:
            changed = replace(
                row,
                name=name or row.name,
                visibility=given.choice("visibility", VISIBILITIES, row.visibility),
                default_branch=branch or row.default_branch,
            )
            return _with_settings(changed, settings)

        return await self._answer(entry, await self._edit(entry.project.id, edited))

    def _lead_to(self, project_id: int, branch: str) -> None:
        """The repository first: a push takes the default branch from there."""
        check_ref(branch)
        source = self.desk.services.source
        there = {name for name, _ in source.branches(project_id)}
        if there and branch not in there:
            raise FieldErrors("base", [f"Could not change HEAD: branch '{branch}' does not exist"])
        source.set_default_branch(project_id, branch)

    async def _edit(self, project_id: int, edit: Callable[[Project], Project]) -> Project:
        """The row as it is now, edited: others (protection, scopes) write parts of it too."""

        def save(tx: Tx) -> Project:
            current = tx.get(Project, project_id)
            if current is None:
                raise missing("Project")
            changed = edit(current)
            tx.save(changed)
            return changed

        return await self.desk.services.db.write(save)

    async def delete(self, entry: Entry) -> Response:
        """The project with all it holds."""
        project = entry.project
        entry.check_unmodified(project.created_at)
        await self.desk.services.db.write(lambda tx: tx.remove(Project, project.id))
        await asyncio.to_thread(self.desk.services.source.remove, project.id)
        return answer_json({"message": "202 Accepted"}, 202)

    async def pull(self, entry: Entry) -> Response:
        """Fetches the import_url again. A public name may lead to this machine by now, so the address is
        judged again for who asks."""
        project, source = entry.project, self.desk.services.source
        if not project.import_url:
            raise Invalid("the project is no mirror")
        fetch = source.mirror if entry.who.user.is_admin else source.mirror_public
        await asyncio.to_thread(fetch, project.id, project.import_url)
        return Response(status_code=200)


def _with_settings(project: Project, settings: dict[str, Any]) -> Project:
    known = project.extra.get("gitlab", {})
    return replace(project, extra={**project.extra, "gitlab": {**known, **settings}})


def _settings(parameters: Parameters) -> dict[str, Any]:
    return {
        key: value for key in SETTINGS if (value := parameters.text(key)) is not None and len(value) <= 2000
    }
