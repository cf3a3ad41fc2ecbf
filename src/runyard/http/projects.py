"""Making projects: by API, or by the first push. One place, so that names, rows and repositories always
agree."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace

from runyard.engine import access
from runyard.engine.ports import Clock, Database, Source, Tx
from runyard.model.access import Role
from runyard.model.errors import Conflict, Forbidden, Invalid, NotFound, RunyardError
from runyard.model.work import Project, User

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
RESERVED = frozenset({"api", "static", "sign-in", "sign-out", "-", "admin", "healthz", "readyz", "metrics"})


def check_path(path: str) -> str:
    """A full path that URLs, folders and git can all carry (GitLab's rule, a little narrower); Invalid says
    why not."""
    segments = path.split("/")
    if len(segments) < 2 or len(segments) > 10:
        raise Invalid(f"A project path has the form group/name; {path[:80]!r} has not.")
    for segment in segments:
        if (
            not _SEGMENT.fullmatch(segment)
            or segment.endswith((".git", ".atom", ".", ".lock"))
            or ".." in segment
        ):
            raise Invalid(
                f"{segment[:80]!r} cannot be part of a project path: use letters, digits, '_', '-' and '.', not ending in .git or a dot."
            )
    if segments[0].lower() in RESERVED:
        raise Invalid(f"{segments[0]!r} is reserved; choose another group.")
    return path


async def create_project(
    db: Database,
    source: Source,
    now: Clock,
    path: str,
    *,
    name: str = "",
    default_branch: str = "main",
    visibility: str = "private",
    import_url: str = "",
    owner: User | None = None,
) -> Project:
    """The stored project with its repository (mirrored when there is an import_url), its groups and its
    maker's membership. Conflict when the path is taken, Forbidden where `owner` may not put projects. Who is
    no administrator mirrors public addresses only; no owner is the server itself.

    The row comes first because it gives the id; a repository that cannot be made takes the row away again.
    """
    wanted = Project(
        id=0,
        path=check_path(path),
        name=name or path.rsplit("/", 1)[-1],
        default_branch=default_branch,
        visibility=visibility,
        import_url=import_url,
        created_at=now(),
    )

    def add(tx: Tx) -> Project:
        if tx.project_by_path(path) is not None:
            raise Conflict(f"The path {path} has already been taken.")
        group = path.rpartition("/")[0]
        who = access.standing(tx, owner, now()) if owner is not None else None
        if who is not None and not access.may_create(tx, who, group):
            if who.role_under(group) is Role.NONE:
                raise NotFound  # a stranger may not know that the group exists
            raise Forbidden(f"You may not make projects in {group}: ask one of its owners.")
        made = tx.add(wanted)
        access.settle_in(tx, made, owner, made.created_at)
        return made

    project = await db.write(add)
    fetch = source.mirror if owner is None or owner.is_admin else source.mirror_public
    try:
        return await _repository(source, db, project, fetch)
    except RunyardError:
        await db.write(lambda tx: tx.remove(Project, project.id))
        await asyncio.to_thread(source.remove, project.id)
        raise


async def _repository(
    source: Source, db: Database, project: Project, fetch: Callable[[int, str], str]
) -> Project:
    await asyncio.to_thread(source.create, project.id, project.default_branch)
    if not project.import_url:
        return project
    branch = await asyncio.to_thread(fetch, project.id, project.import_url)

    def adopt(tx: Tx) -> Project:
        """A fetch may take half an hour, and others may change the row meanwhile."""
        current = tx.get(Project, project.id)
        if current is None:
            raise NotFound("The project was deleted while it was fetched.")
        mirrored = replace(current, default_branch=branch)
        tx.save(mirrored)
        return mirrored

    return await db.write(adopt)
