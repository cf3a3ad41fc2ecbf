"""Branches as a session sees them: check out, create, reset, delete; nothing of it changes the repository.
Below `/projects/{project_id}`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.looker import sessions
from runyard.dialects.looker.desk import Ask, Line
from runyard.dialects.looker.refusals import Detail, Unprocessable, empty, invalid, missing_field
from runyard.dialects.looker.sessions import Branches, Session, Stand
from runyard.model.errors import Conflict, Forbidden, Invalid, NotFound
from runyard.model.trigger import Commit
from runyard.model.work import Project
from runyard.sources.names import check_ref

MOST_MOVED = 200
Change = Callable[[Session, Branches], Branches]


def _shape(
    name: str, sha: str, project: Project, *, personal: bool, local: bool, remote: bool
) -> dict[str, Any]:
    is_production = name == project.default_branch
    return {
        "can": {"show": True},
        "name": name,
        "remote": "origin",
        "remote_name": "origin",
        "error": None,
        "message": None,
        "owner_name": None,
        "readonly": is_production,
        "personal": personal,
        "is_local": local,
        "is_remote": remote,
        "is_production": is_production,
        "ahead_count": 0,
        "behind_count": 0,
        "ref": sha or None,
        "remote_ref": sha if remote else None,
    }


async def _standing(ask: Ask, project: Project) -> Stand:
    """Where the session stands; remembers that it asked about this project."""
    session = await ask.session()
    if session.last_project != project.id:
        await ask.change_session(lambda s: replace(s, last_project=project.id))
    return await asyncio.to_thread(sessions.stand, ask.services.source, session, ask.user, project)


async def active(ask: Ask) -> Response:
    """GET git_branch: what is checked out."""
    project = await ask.repository()
    return await _active(ask, project)


async def _active(ask: Ask, project: Project) -> Response:
    here = await _standing(ask, project)
    shaped = _shape(
        here.branch,
        here.sha,
        project,
        personal=here.is_personal,
        local=not here.is_production,
        remote=here.is_production,
    )
    return ask.answer(shaped)


async def _all(ask: Ask, project: Project) -> list[dict[str, Any]]:
    """The personal branch, the session's own, and the repository's."""
    session, source = await ask.session(), ask.services.source
    found: list[tuple[str, Commit]] = await asyncio.to_thread(source.branches, project.id)
    heads = {name: commit.sha for name, commit in found}
    moved, own = session.of(project).moved, sessions.personal_branch(ask.user)
    names = dict.fromkeys([own, *moved, *heads])
    return [
        _shape(
            name,
            moved.get(name) or heads.get(name) or heads.get(project.default_branch, ""),
            project,
            personal=name == own,
            local=name == own or name in moved,
            remote=name in heads,
        )
        for name in names
    ]


async def listed(ask: Ask) -> Response:
    """GET git_branches."""
    return ask.answer(await _all(ask, await ask.repository()))


async def get(ask: Ask) -> Response:
    """GET git_branch/{branch_name}."""
    wanted = ask.params["branch_name"]
    found = next((b for b in await _all(ask, await ask.repository()) if b["name"] == wanted), None)
    if found is None:
        raise NotFound
    return ask.answer(found)


def _name(ask: Ask) -> str:
    name = ask.body.get("name")
    if not isinstance(name, str) or not name:
        raise missing_field("name")
    try:
        return check_ref(name)
    except Invalid as error:
        raise invalid("name", error.message) from None


def _ref(ask: Ask) -> str:
    ref = ask.body.get("ref")
    if ref is not None and not isinstance(ref, str):
        raise invalid("ref", "ref must be a branch, tag or commit.")
    return ref or ""


async def _develop(ask: Ask, project: Project, change: Change) -> Response:
    """Changes the session's development state of the project; only in the dev workspace, as in Looker."""
    ask.writer()

    def work(session: Session) -> Session:
        if session.workspace != "dev":
            raise Invalid("This needs the dev workspace: PATCH /session with workspace_id dev first.")
        after = change(session, session.of(project))
        if len(after.moved) > MOST_MOVED:
            raise Conflict("This session has too many branches; delete some.")
        return session.with_branches(project, after)

    await ask.change_session(work)
    return await _active(ask, project)


async def create(ask: Ask) -> Response:
    """POST git_branch: a new branch of this session, at `ref` or at the commit that is checked out; it is
    checked out."""
    project, name, ref = await ask.repository(), _name(ask), _ref(ask)
    source, user = ask.services.source, ask.user
    if name in {b["name"] for b in await _all(ask, project)}:
        raise Unprocessable(Detail("name", "already_exists", f"There is a branch {name!r} already."))
    session = await ask.session()
    here = await asyncio.to_thread(sessions.stand, source, session, user, project)
    sha = await asyncio.to_thread(sessions.commit_of, source, session, project, ref) if ref else here.sha
    return await _develop(ask, project, lambda _s, b: Branches(name, {**b.moved, name: sha}))


async def update(ask: Ask) -> Response:
    """PUT git_branch: checks a branch out; with `ref`, resets it hard to that commit, in this session
    only."""
    project, name, ref = await ask.repository(), _name(ask), _ref(ask)
    if name not in {b["name"] for b in await _all(ask, project)}:
        raise NotFound(f"There is no branch {name[:100]!r} in this project.")
    if not ref:
        return await _develop(ask, project, lambda _s, b: replace(b, current=name))
    session = await ask.session()
    sha = await asyncio.to_thread(sessions.commit_of, ask.services.source, session, project, ref)
    return await _develop(ask, project, lambda _s, b: Branches(name, {**b.moved, name: sha}))


async def delete(ask: Ask) -> Response:
    """DELETE git_branch/{branch_name}: a branch of this session. The repository's branches are deleted by
    git."""
    project, name = await ask.repository(), ask.params["branch_name"]
    known = {b["name"]: b for b in await _all(ask, project)}
    if name not in known:
        raise NotFound
    if not known[name]["is_local"]:
        raise Forbidden(
            "Only branches of this session are deleted here; delete the repository's with git push."
        )

    def change(_session: Session, branches: Branches) -> Branches:
        if branches.current == name:
            raise Conflict("The branch is checked out; check another one out first.")
        return replace(branches, moved={k: v for k, v in branches.moved.items() if k != name})

    await _develop(ask, project, change)
    return empty()


async def reset_to_remote(ask: Ask) -> Response:
    """POST reset_to_remote: the branch follows the repository again."""

    def change(_session: Session, branches: Branches) -> Branches:
        kept = {k: v for k, v in branches.moved.items() if k != branches.current}
        return replace(branches, moved=kept if branches.current else {})

    await _develop(ask, await ask.repository(), change)
    return empty()


async def reset_to_production(ask: Ask) -> Response:
    """POST reset_to_production: the branch stands at production's commit."""
    project = await ask.repository()
    source, own = ask.services.source, sessions.personal_branch(ask.user)
    sha = await asyncio.to_thread(sessions.head_of, source, project, project.default_branch)

    def change(_session: Session, branches: Branches) -> Branches:
        return replace(branches, moved={**branches.moved, branches.current or own: sha})

    await _develop(ask, project, change)
    return empty()


_HERE = "/projects/{project_id}"
LINES = [
    Line("GET", _HERE + "/git_branches", listed),
    Line("GET", _HERE + "/git_branch", active),
    Line("POST", _HERE + "/git_branch", create),
    Line("PUT", _HERE + "/git_branch", update),
    Line("GET", _HERE + "/git_branch/{branch_name}", get),
    Line("DELETE", _HERE + "/git_branch/{branch_name}", delete),
    Line("POST", _HERE + "/reset_to_remote", reset_to_remote),
    Line("POST", _HERE + "/reset_to_production", reset_to_production),
]
