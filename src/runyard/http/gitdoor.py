"""Who may clone and push, and what a push sets off. The callbacks that `sources.smart_http` asks for; app
joins them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runyard.engine.ports import Clock, Database, RefUpdate, Source
from runyard.http.launch import HEADS, TAGS, Launcher
from runyard.http.projects import create_project
from runyard.http.pushes import Pushes, Refs
from runyard.http.services import Principal
from runyard.model import protection
from runyard.model.access import OPEN_TO_ALL, Role
from runyard.model.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unavailable
from runyard.model.trigger import ZERO_SHA
from runyard.model.work import Project, Run, User
from runyard.sources.smart_http import Access, basic_credentials

Scope = MutableMapping[str, Any]
RECEIVE = "git-receive-pack"


@dataclass(frozen=True, slots=True)
class GitDoor:
    """`authorize`, `announced` and `pushed` for GitHttp."""

    db: Database
    source: Source
    refs: Refs
    now: Clock
    principal: Callable[[str], Awaitable[Principal | None]]
    launcher: Launcher
    url: str

    @property
    def pushes(self) -> Pushes:
        """Those under way."""
        return Pushes(self.db, self.refs, self.launcher, self.now)

    async def authorize(self, scope: Scope, path: str, service: str) -> Access:
        """Basic user:token (any user name; a job uses `gitlab-ci-token`). A job reads its own project, and
        pushes to it where its plan lets its token; what it pushes starts nothing, or jobs would start each
        other for ever. The first push of a person makes the project."""
        credentials = basic_credentials(scope)
        who = await self.principal(credentials[1]) if credentials else None
        if credentials and who is None:
            raise Unauthenticated("That token is not valid here.")
        project = await self.db.read(lambda tx: tx.project_by_path(path))
        if who is None:
            if project is not None and project.visibility == "public" and service != RECEIVE:
                return Access(project.id)
            raise Unauthenticated
        if who.is_job and service == RECEIVE and not (project is not None and who.may_push(project)):
            raise Forbidden("This job's token may read its project, not push to it.")
        if service == RECEIVE:
            await (
                self.launcher.check_room()
            )  # before git stores anything: else the branch would move and nothing would run
        if project is None:
            project = await self._born(path, who, service)
            # Whoever made it is its owner from now on, which a look before that does not show.
            who = (await self.principal(credentials[1]) if credentials else None) or who
        if not who.may_see(project):
            raise NotFound
        if not who.is_job:
            _check_role(who, project, service)
        if service != RECEIVE:
            return Access(project.id, sees_runs=who.is_job, who=who.user)
        role, mine = who.role_in(project) or Role.NONE, project
        return Access(
            project.id, who=None if who.is_job else who.user,
            refuses=lambda update: push_refused(mine, update, role, who.user.is_admin),
            keeps_history=lambda ref: ref.startswith(HEADS) and not protection.may_force(mine, ref.removeprefix(HEADS)),
        )  # fmt: skip

    async def _born(self, path: str, who: Principal, service: str) -> Project:
        if who.is_job or service != RECEIVE:
            raise NotFound(f"There is no project {path}; push to it to make it.")
        try:
            return await create_project(self.db, self.source, self.now, path, owner=who.user)
        except Conflict:  # a push at the same moment made it
            found = await self.db.read(lambda tx: tx.project_by_path(path))
            if found is None:
                raise
            return found

    async def announced(self, access: Access, refs: Mapping[str, str], options: Sequence[str]) -> Access:
        """A job's push starts nothing, so nothing of it can be lost."""
        if not isinstance(access.who, User):
            return access
        key, before = await self.pushes.announce(access.project_id, access.who, refs, options)
        return replace(access, push=key, before=before)

    async def pushed(
        self, access: Access, updates: Sequence[RefUpdate], options: Sequence[str]
    ) -> Sequence[str]:
        """Starts the runs; the lines go back to the person who pushed."""
        project = await self.db.read(lambda tx: tx.get(Project, access.project_id))
        if project is None or not isinstance(access.who, User):
            return []
        if not updates:
            await self.pushes.forget(project.id, access.push)
            return []
        try:
            runs = await self.pushes.heard(access.push, project, access.who, updates, options)
        except Unavailable as error:  # git has stored it, and it stays announced
            return [f"The push is stored; what it starts is started later. {error.message}"]
        return [self._line(project, run) for run in runs]

    def _line(self, project: Project, run: Run) -> str:
        page = f"{self.url}/{project.path}/-/pipelines/{run.id}"
        if not run.error:
            return f"{run.dialect} run {run.id} started: {page}"
        first, *more = run.error.splitlines()
        rest = f" (and {len(more)} more)" if more else ""
        return f"{run.dialect} run {run.id} cannot start: {first}{rest}: {page}"


def push_refused(project: Project, update: RefUpdate, role: int, is_admin: bool) -> str:
    """Why a protected branch or tag does not take this change; "" when it does. No push deletes one (GitLab:
    only its pages and API do)."""
    tag = update.ref.startswith(TAGS)
    if not tag and not update.ref.startswith(HEADS):
        return ""
    kind, ref = ("tag", update.ref.removeprefix(TAGS)) if tag else ("branch", update.ref.removeprefix(HEADS))
    if not protection.may_push(project, ref, tag, role, is_admin):
        return f"you are not allowed to push to the protected {kind} {ref}: ask a maintainer to change its protection"
    told = project.extra.get(protection.KEY)
    if told and update.after == ZERO_SHA and protection.is_protected(project, ref, tag):
        return f"the protected {kind} {ref} cannot be deleted: unprotect it first"
    return ""


def _check_role(who: Principal, project: Project, service: str) -> None:
    """Developers push; reporters read the code of private projects, anyone who sees them that of others
    (GitLab's permission table)."""
    role = who.role_in(project) or Role.NONE
    if service == RECEIVE and role < Role.DEVELOPER:
        raise Forbidden(
            "You may read this project, not push to it: ask a maintainer to make you a developer."
        )
    if role < Role.REPORTER and project.visibility not in OPEN_TO_ALL:
        raise Forbidden("A guest may not read the code of a private project.")
