"""Pushes that are under way, as records (`push`): what a push starts is started although the server ended, or
its database went away, just after git had stored the commits. Used by `gitdoor.py`; app runs the round.

A push is announced before git hears of it and forgotten once its runs stand. What is left of one was not
heard: git says whether its refs have moved, and then it is told again, under the same idempotency keys, so
that what had begun is not begun twice.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from runyard.engine.ports import Clock, Database, Page, RefUpdate, Tx
from runyard.http.launch import Launcher
from runyard.model.errors import Unavailable
from runyard.model.work import Project, Record, Run, User

log = logging.getLogger("runyard.pushes")

KIND = "push"
QUIET_MS = 10_000  # as long a push may well be heard where it came in
KEPT_MS = 86_400_000  # no push takes longer
EVERY_S = 5.0
MOST = Page(limit=1000, descending=False)
MOST_REFS = 100  # of one push; no push starts something for as many


class Refs(Protocol):
    """What git says (`sources.repositories.GitSource`)."""

    def targets(self, project_id: int, refs: Sequence[str]) -> dict[str, str]: ...
    def adopt_default_branch(self, project_id: int, pushed: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Pushes:
    """Of all projects."""

    db: Database
    refs: Refs
    launcher: Launcher
    now: Clock

    async def announce(
        self, project_id: int, user: User, refs: Mapping[str, str], options: Sequence[str]
    ) -> tuple[str, dict[str, str]]:
        """The push's name, durable, and where its refs (which it wants to move there) point before it. What
        earlier pushes of the same refs left is heard first: once a ref moves again, git can no longer say
        whether they had moved it. The git of a server that was killed may still be at work, so that one
        look at the refs has to serve everybody."""
        for left in await self.db.read(lambda tx: tx.records(KIND, project_id, None, MOST)):
            apart = refs.keys().isdisjoint(ref for ref, _, _ in left.data["refs"])
            await self._hear(left, keep_unmoved=apart)
        before = await asyncio.to_thread(self.refs.targets, project_id, list(refs))
        now, key = self.now(), uuid.uuid4().hex
        wanted = [[ref, before[ref], refs[ref]] for ref in list(refs)[:MOST_REFS]]
        data = {"user_id": user.id, "refs": wanted, "options": list(options)}
        await self.db.write(lambda tx: tx.add(Record(0, KIND, project_id, key, data, now, now)))
        return key, before

    async def heard(
        self, key: str, project: Project, user: User, moved: Sequence[RefUpdate], options: Sequence[str]
    ) -> list[Run]:
        """Starts what it starts, and forgets it. Unavailable: it will be tried again."""
        runs = await self.launcher.pushed(project, user, moved, options, key)
        await self.forget(project.id, key)
        return runs

    async def forget(self, project_id: int, key: str) -> None:
        """Nothing is to be done for it any more."""

        def drop(tx: Tx) -> None:
            for row in tx.records(KIND, project_id, key, Page(limit=1)):
                tx.remove(Record, row.id)

        await self.db.write(drop)

    async def round(self) -> None:
        """What was left long enough ago."""
        now = self.now()
        for left in await self.db.read(lambda tx: tx.records(KIND, None, None, MOST)):
            if left.created_at < now - QUIET_MS:
                try:
                    await self._hear(left, keep_unmoved=left.created_at > now - KEPT_MS)
                except Unavailable as error:
                    log.warning("a push waits to be heard", extra={"push": left.key, "error": error.message})

    async def _hear(self, left: Record, *, keep_unmoved: bool = False) -> None:
        def people(tx: Tx) -> tuple[Project | None, User | None]:
            return tx.get(Project, left.project_id or 0), tx.get(User, int(left.data["user_id"]))

        project, user = await self.db.read(people)
        wanted = [RefUpdate(*update) for update in left.data["refs"]]
        moved: list[RefUpdate] = []
        if project is not None and user is not None:
            moved = await asyncio.to_thread(self._moved, project.id, wanted)
        if project is not None and user is not None and moved:
            log.warning("a push is heard late", extra={"push": left.key, "project": project.path})
            try:
                await self.heard(left.key, project, user, moved, left.data["options"])
            except Unavailable:
                raise
            except Exception:  # told for ever, it would refuse every later push to the project
                log.exception("a push cannot be heard", extra={"push": left.key, "project": project.path})
                await self.forget(project.id, left.key)
        elif not keep_unmoved:
            await self.forget(left.project_id or 0, left.key)

    def _moved(self, project_id: int, wanted: Sequence[RefUpdate]) -> list[RefUpdate]:
        there = self.refs.targets(project_id, [update.ref for update in wanted])
        moved = [update for update in wanted if there[update.ref] == update.after != update.before]
        self.refs.adopt_default_branch(project_id, [update.ref for update in moved])
        return moved
