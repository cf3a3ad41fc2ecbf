"""The LookML that a session sees: production's commit or its branch's, with imports as the same session sees
those. Used by the LookML routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from runyard.dialects.looker import imports, sessions
from runyard.dialects.looker.compile import entries
from runyard.dialects.looker.desk import Ask
from runyard.dialects.looker.imports import Dependency
from runyard.dialects.looker.links import Links
from runyard.dialects.looker.naming import short_name
from runyard.dialects.looker.reading import Reading
from runyard.dialects.looker.sessions import Session, Stand
from runyard.engine.ports import Page
from runyard.model.errors import Forbidden, Invalid, NotFound, TooLarge
from runyard.model.work import Project

ALL = Page(limit=1000, descending=False)


@dataclass(frozen=True, slots=True)
class Work:
    """A project as the session sees it. `name` is what Looker's clients call it."""

    project: Project
    name: str
    stand: Stand
    reading: Reading
    links: Links


async def work_on(ask: Ask, project: Project) -> Work:
    """The project's LookML where the session stands; NotFound while nothing is pushed."""
    return await _work(ask, await ask.session(), project)


async def _work(ask: Ask, session: Session, project: Project) -> Work:
    services, user = ask.services, ask.user
    if not ask.reads(project):
        raise Forbidden("Reporters of this project may read its LookML.")
    here = await asyncio.to_thread(sessions.stand, services.source, session, user, project)
    if not here.sha:
        raise NotFound(f"The project has no commit on {here.branch!r} yet; push one first.")

    def choose(one: Dependency, home: Project) -> str:
        if not one.url:
            return sessions.stand(services.source, session, user, home).sha
        try:
            return services.source.resolve(home.id, one.ref or home.default_branch)[0].sha
        except (NotFound, Invalid):
            raise NotFound(f"The imported project {one.name!r} has no {one.ref!r}.") from None

    pinned = await imports.gather(services, user, project, here.sha, choose)
    reading = await ask.office.reader.read(project.id, here.sha, [p for p in pinned if p.sha])
    name = await services.db.read(lambda tx: short_name(tx, project))
    return Work(project, name, here, reading, Links("", project.path, here.sha))


async def all_work(ask: Ask) -> AsyncIterator[Work]:
    """Every LookML project that the caller may see; what cannot be read is left out."""
    session = await ask.session()
    for project in await _visible(ask, session):
        try:
            if await _has_models(ask, session, project):
                yield await _work(ask, session, project)
        except (NotFound, TooLarge, Invalid):
            continue


async def _visible(ask: Ask, session: Session) -> list[Project]:
    """Projects, the one that this session named last first."""
    rows = await ask.services.db.read(lambda tx: tx.projects("", ALL))
    seen = [row for row in rows if ask.reads(row)]
    return sorted(seen, key=lambda row: row.id != session.last_project)


async def _has_models(ask: Ask, session: Session, project: Project) -> bool:
    source, user = ask.services.source, ask.user

    def look() -> bool:
        here = sessions.stand(source, session, user, project)
        return bool(here.sha and ask.office.reader.known(project.id, here.sha, _any_model(ask)))

    return await asyncio.to_thread(look)


def _any_model(ask: Ask) -> Callable[[int, str], bool]:
    return lambda project_id, sha: bool(entries(ask.services.source.files(project_id, sha)))


async def with_model(ask: Ask, model: str) -> Work:
    """The project that has this model; the one that the session named last wins when several have."""
    async for work in all_work(ask):
        if work.reading.model(model) is not None:
            return work
    raise NotFound(f"There is no model {model[:100]!r}.")
