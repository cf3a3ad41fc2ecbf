"""Commits, files, branches and tags made through the API: what scripts do without a clone. Each sets off what
a push of it would.

contracts/gitlab.md §1.3: POST files and commits; GitLab's Branches and Tags API.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.asking import Parameters
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.refusals import BadParameter, answer_json, missing
from runyard.dialects.gitlab.routes_repository import branch_body, tag_body
from runyard.engine.ports import Edit, RefUpdate
from runyard.model import protection
from runyard.model.access import Role
from runyard.model.errors import Conflict, Forbidden, Invalid, NotFound
from runyard.sources.names import check_ref

ACTIONS = frozenset({"create", "update", "delete", "move", "chmod"})
MOST_ACTIONS = 1_000
Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Edits:
    """Handlers. Developers change a repository."""

    desk: Desk

    def lines(self) -> list[Line]:
        """The table."""
        r = "/projects/{id}/repository"
        file, branch, tag = (
            f"{r}/files/{{path:path}}",
            f"{r}/branches/{{name:path}}",
            f"{r}/tags/{{name:path}}",
        )
        return [
            Line("POST", f"{r}/commits", Door.USER, self.commit, "Commit changed files"),
            Line("POST", file, Door.USER, self.create_file, "Create a file"),
            Line("PUT", file, Door.USER, self.update_file, "Update a file"),
            Line("DELETE", file, Door.USER, self.delete_file, "Delete a file"),
            Line("POST", f"{r}/branches", Door.USER, self.create_branch, "Create a branch"),
            Line("DELETE", branch, Door.USER, self.delete_branch, "Delete a branch"),
            Line("POST", f"{r}/tags", Door.USER, self.create_tag, "Create a tag"),
            Line("DELETE", tag, Door.USER, self.delete_tag, "Delete a tag"),
        ]

    async def commit(self, entry: Entry) -> Response:
        """`branch`, `commit_message`, `actions: [{action, file_path, content, encoding, previous_path,
        execute_filemode}]`; `start_branch`, `start_sha`."""
        given = entry.parameters
        items = given.values.get("actions")
        items = list(items.values()) if isinstance(items, Mapping) else items
        if not isinstance(items, list) or not items:
            raise BadParameter("actions is missing")
        if len(items) > MOST_ACTIONS:
            raise BadParameter(f"actions may have at most {MOST_ACTIONS} entries")
        update = await self._commit(entry, [_edit(item) for item in items])
        commit = await asyncio.to_thread(self.desk.services.source.commit, entry.project.id, update.after)
        body = shapes.commit(commit, entry.project, self.desk.services.server)
        return answer_json(
            {**body, "status": None, "project_id": entry.project.id, "last_pipeline": None}, 201
        )

    async def create_file(self, entry: Entry) -> Response:
        """`branch`, `commit_message`, `content`, `encoding` (text, base64)."""
        return await self._file(entry, "create", 201)

    async def update_file(self, entry: Entry) -> Response:
        """The same for a file that is there."""
        return await self._file(entry, "update", 200)

    async def delete_file(self, entry: Entry) -> Response:
        """`branch`, `commit_message`."""
        await self._commit(entry, [Edit("delete", entry.part("path"))])
        return Response(status_code=204)

    async def _file(self, entry: Entry, action: str, status: int) -> Response:
        content = entry.parameters.text("content")
        if content is None:
            raise BadParameter("content is missing")
        data = _content(content, entry.parameters.text("encoding") or "text")
        await self._commit(entry, [Edit(action, entry.part("path"), data)])
        body = {"file_path": entry.part("path"), "branch": entry.parameters.text("branch")}
        return answer_json(body, status)

    async def _commit(self, entry: Entry, edits: Sequence[Edit]) -> RefUpdate:
        given, services, user = entry.parameters, self.desk.services, entry.who.user
        branch, message = given.required("branch"), given.required("commit_message")
        _check_protection(entry, branch, "You are not allowed to push into this branch")
        start = given.text("start_sha") or given.text("start_branch") or ""
        name = _line(given, "author_name") or user.name or user.username
        email = _line(given, "author_email") or user.email or f"{user.username}@localhost"
        update = await self._did(
            services.source.commit_edits,
            entry.project.id,
            branch,
            start,
            edits,
            message,
            name,
            email,
            services.now(),
        )
        await self._tell(entry, update)
        return update

    async def create_branch(self, entry: Entry) -> Response:
        """`branch`, `ref`."""
        given, project = entry.parameters, entry.project
        name, start = given.required("branch"), given.required("ref")
        check_ref(name)
        _check_protection(entry, name, f"You don't have access to push to the protected branch {name}")
        try:
            update = await self._did(
                self.desk.services.source.make_ref, project.id, f"refs/heads/{name}", start
            )
        except Conflict:
            raise Invalid("Branch already exists") from None
        await self._tell(entry, update)
        commit = await asyncio.to_thread(self.desk.services.source.commit, project.id, update.after)
        return answer_json(branch_body(entry, self.desk.services.server, name, commit), 201)

    async def delete_branch(self, entry: Entry) -> Response:
        """Not the default branch."""
        name = entry.part("name")
        if name == entry.project.default_branch:
            raise Invalid("The default branch of a project cannot be deleted.")
        if protection.is_protected(entry.project, name):
            raise Forbidden("Protected branch cannot be deleted: unprotect it first")
        await self._drop(entry, f"refs/heads/{name}", "Branch")
        return Response(status_code=204)

    async def create_tag(self, entry: Entry) -> Response:
        """`tag_name`, `ref`; with a `message` it is an annotated one."""
        given, services, project = entry.parameters, self.desk.services, entry.project
        name, start, message = given.required("tag_name"), given.required("ref"), given.text("message") or ""
        check_ref(name)
        _check_protection(entry, name, f"Protected tag {name} cannot be created by you", tag=True)
        user, source, now = entry.who.user, services.source, services.now()
        try:
            if message:
                author = (user.name or user.username, user.email or f"{user.username}@localhost")
                update = await self._did(source.make_tag, project.id, name, start, message, *author, now)
            else:
                update = await self._did(source.make_ref, project.id, f"refs/tags/{name}", start)
        except Conflict:
            raise Invalid(f"Tag {name} already exists") from None
        await self._tell(entry, update)
        commit = await asyncio.to_thread(source.commit, project.id, update.after)
        note = await asyncio.to_thread(source.annotation, project.id, name)
        return answer_json(tag_body(project, services.server, name, commit, note), 201)

    async def delete_tag(self, entry: Entry) -> Response:
        """The commits stay where branches and runs hold them."""
        name = entry.part("name")
        if protection.is_protected(entry.project, name, tag=True):
            _check_protection(entry, name, "Protected tag cannot be deleted by you", tag=True)
        await self._drop(entry, f"refs/tags/{name}", "Tag")
        return Response(status_code=204)

    async def _drop(self, entry: Entry, name: str, thing: str) -> None:
        source, project = self.desk.services.source, entry.project

        def drop() -> RefUpdate:
            head, _, _ = source.resolve(project.id, name)
            entry.check_unmodified(head.authored_at)
            return source.drop_ref(project.id, name)

        try:
            update = await asyncio.to_thread(drop)
        except (NotFound, Invalid):
            raise missing(thing) from None
        await self._tell(entry, update)

    async def _did(self, work: Any, *arguments: Any) -> RefUpdate:
        """One git act in a thread; a ref that is not there is a bad request here, as in GitLab."""
        try:
            update: RefUpdate = await asyncio.to_thread(work, *arguments)
        except NotFound as error:
            raise Invalid(error.message) from None
        return update

    async def _tell(self, entry: Entry, update: RefUpdate) -> None:
        """What a push of it sets off. A pipeline takes a moment to compile, but who commits by API asks for
        it next."""
        await self.desk.services.pushed(entry.project, entry.who.user, [update], ())


def _check_protection(entry: Entry, ref: str, refusal: str, *, tag: bool = False) -> None:
    """Protected refs take only the pushes of those whom their rule names."""
    role = entry.who.role_in(entry.project) or Role.NONE
    if not protection.may_push(entry.project, ref, tag, role, entry.who.user.is_admin):
        raise Forbidden(refusal)


def _edit(item: object) -> Edit:
    if not isinstance(item, Mapping):
        raise BadParameter("actions is invalid")
    given = Parameters(item)
    action = given.choice("action", ACTIONS, "")
    if not action:
        raise BadParameter("actions[action] is missing")
    content = given.text("content")
    data = None if content is None else _content(content, given.text("encoding") or "text")
    return Edit(
        action, given.required("file_path"), data, given.text("previous_path") or "",
        bool(given.flag("execute_filemode")),
    )  # fmt: skip


def _content(text: str, encoding: str) -> bytes:
    if encoding == "text":
        return text.encode("utf-8", "surrogatepass")
    if encoding != "base64":
        raise BadParameter("encoding does not have a valid value")
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        raise BadParameter("content is invalid") from None


def _line(given: Parameters, name: str) -> str:
    """One line that a commit's header can hold."""
    text = given.text(name) or ""
    return "".join(c for c in text if c.isprintable() and c not in "<>")[:255].strip()
