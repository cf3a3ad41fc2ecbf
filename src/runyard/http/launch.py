"""From a wish to a run: resolve the commit, compile, accept, keep the commit. Every door and every push comes
through here.

Built by app with the dialects it mounts; dialects reach `start` through Services. Compiling happens in a
worker thread, under the budgets of `syntax`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from runyard.engine.ports import Clock, Database, RefUpdate, Source, Tx, Vault
from runyard.engine.terms import Terms
from runyard.engine.trigger import accept
from runyard.engine.views import variables_of, vars_of
from runyard.http.services import RunRequest
from runyard.model.errors import Away, Invalid, NotFound, NothingToRun, RunyardError, Unavailable
from runyard.model.plan import Plan, Variable, WorkflowPlan
from runyard.model.trigger import ZERO_SHA, Commit, Files, Push, Reach, Trigger
from runyard.model.work import Project, Run, User

log = logging.getLogger("runyard.launch")

HEADS, TAGS = "refs/heads/", "refs/tags/"
PUSHED_REFS = 20  # of one push; more would start a flood (git push --mirror), GitLab's limit is 4


class PushStart(Protocol):
    """What a dialect says a push starts (`dialects.PushTrigger`)."""

    @property
    def source(self) -> str: ...
    @property
    def options(self) -> Mapping[str, Any]: ...
    @property
    def variables(self) -> tuple[Variable, ...]: ...
    @property
    def inputs(self) -> Mapping[str, Any]: ...


NO_ROOM = "The server's disk is nearly full; there is no space for new work. What is there stays readable."


class Compiler(Protocol):
    """The part of a Dialect that launching needs."""

    @property
    def name(self) -> str: ...
    @property
    def compile(self) -> Callable[[Trigger, Files], Plan]: ...
    @property
    def on_push(self) -> Callable[[Push, Files], Sequence[PushStart]]: ...
    @property
    def facts(self) -> Callable[[Tx, Trigger], Mapping[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts runs."""

    terms: Terms
    db: Database
    source: Source
    vault: Vault
    now: Clock
    dialects: Mapping[str, Compiler]
    reach: Callable[[User, Mapping[str, str]], Reach] | None = None
    has_room: Callable[[], bool] = lambda: True  # whether the disk can take new work (reliability.md §3)
    hearers: list[Callable[[Push], Awaitable[Sequence[Run]]]] = field(
        default_factory=list
    )  # `Dialect.pushed`
    losers: list[Callable[[Push], Awaitable[None]]] = field(default_factory=list)  # `Dialect.lost`

    async def start(self, request: RunRequest, edit: Callable[[Plan], Plan] = lambda plan: plan) -> Run:
        """Services.start. `edit` may change the plan before it is accepted (`runyard run JOB…`)."""
        await self.check_room()
        trigger, files = await self.draft(request)
        plan = await asyncio.to_thread(self.dialects[request.dialect].compile, trigger, files)
        return await self._accept(trigger, edit(plan))

    async def check_room(self) -> None:
        """Unavailable when the disk is too full for new work."""
        if not await asyncio.to_thread(self.has_room):
            raise Unavailable(NO_ROOM, retry_after_s=60)

    async def compiled(self, request: RunRequest) -> Plan:
        """The plan alone."""
        trigger, files = await self.draft(request)
        return await asyncio.to_thread(self.dialects[request.dialect].compile, trigger, files)

    async def pushed(
        self,
        project: Project,
        actor: User,
        updates: Sequence[RefUpdate],
        options: Sequence[str],
        key: str = "",
    ) -> list[Run]:
        """Starts what a push starts in every dialect; a broken file becomes a run that says so, as a push has
        no other answer. With a `key` the same push again starts only what the first time did not."""
        await self._adopt_default_branch(project, updates)
        runs = []
        tags = sum(update.ref.startswith(TAGS) and update.after != ZERO_SHA for update in updates)
        for update in updates[:PUSHED_REFS]:
            push = _push(project, actor, update, tuple(options), tags, key)
            if push is None:
                continue
            if push.after == ZERO_SHA:
                await self._lost(push)
                continue
            for compiler in self.dialects.values():
                runs += await self._pushed_to(compiler, push)
            runs += await self._heard(push)
        return runs

    async def _heard(self, push: Push) -> list[Run]:
        """What dialects start that keep their wishes in the store; a dialect that fails does not fail the
        push."""
        runs: list[Run] = []
        for hearer in self.hearers:
            try:
                runs += await hearer(push)
            except Away:
                raise
            except RunyardError as error:
                log.warning("push not heard", extra={"project": push.project.path, "error": error.message})
        return runs

    async def _lost(self, push: Push) -> None:
        """Tells the dialects; the ref is gone already, so one that fails does not fail the push."""
        for loser in self.losers:
            try:
                await loser(push)
            except Away:
                raise
            except RunyardError as error:
                log.warning("loss not heard", extra={"project": push.project.path, "error": error.message})

    async def _pushed_to(self, compiler: Compiler, push: Push) -> list[Run]:
        before = None if push.before == ZERO_SHA else push.before
        files = await asyncio.to_thread(self.source.files, push.project.id, push.after, before)
        try:
            starts = await asyncio.to_thread(compiler.on_push, push, files)
        except RunyardError as error:
            log.warning(
                "push not understood",
                extra={"dialect": compiler.name, "project": push.project.path, "error": error.message},
            )
            return []
        runs = []
        for number, start in enumerate(starts):
            request = RunRequest(
                project=push.project,
                dialect=compiler.name,
                source=start.source,
                actor=push.actor,
                ref=(TAGS if push.tag else HEADS) + push.ref,
                sha=push.after,
                before_sha=push.before,
                variables=start.variables,
                inputs=start.inputs,
                options={**start.options, "push_options": push.options},
                idempotency_key=f"push-{push.key}-{compiler.name}-{number}" if push.key else "",
            )
            runs.append(await self._start_or_record(request))
        return [run for run in runs if run is not None]

    async def _start_or_record(self, request: RunRequest) -> Run | None:
        trigger, files = await self.draft(request)
        try:
            plan = await asyncio.to_thread(self.dialects[request.dialect].compile, trigger, files)
        except Invalid as error:
            if isinstance(error, NothingToRun):
                return None
            lines = "\n".join(str(p) for p in error.problems) or error.message
            plan = Plan(workflows=(WorkflowPlan(key=request.dialect, error=lines),))
        return await self._accept(trigger, plan)

    async def draft(self, request: RunRequest) -> tuple[Trigger, Files]:
        """Services.draft."""
        project = request.project
        commit, ref, tag = await asyncio.to_thread(self._resolve, request)
        before = request.before_sha or ZERO_SHA
        files = request.files
        if files is None:
            base = None if before == ZERO_SHA else before
            files = await asyncio.to_thread(self.source.files, project.id, commit.sha, base)
        draft = Trigger(
            project=project,
            dialect=request.dialect,
            source=request.source,
            ref=ref,
            sha=commit.sha,
            actor=request.actor,
            now=self.now(),
            before_sha=before,
            tag=tag,
            tag_message=(await asyncio.to_thread(self._tag_message, project.id, ref)) if tag else "",
            commit=commit,
            variables=request.variables,
            inputs=request.inputs or {},
            server=self.terms.server,
            idempotency_key=request.idempotency_key,
            reach=self.reach(request.actor, request.archives) if self.reach else None,
        )
        facts = self.dialects[request.dialect].facts
        own, scoped, known = await self.db.read(
            lambda tx: (
                variables_of(tx, project, ref, self.vault, tag=tag),
                vars_of(tx, project, self.vault),
                facts(tx, draft),
            )
        )
        options = {**known, **(request.options or {})}
        return replace(draft, project_variables=own, variants=scoped, options=options), files

    def _resolve(self, request: RunRequest) -> tuple[Commit, str, bool]:
        project = request.project
        wanted = request.ref or project.default_branch
        if request.files is not None and request.sha:
            return Commit(request.sha), wanted.removeprefix(HEADS), False
        if request.sha is None:
            return self.source.resolve(project.id, wanted)
        commit = self.source.commit(project.id, request.sha)
        short = wanted.removeprefix(HEADS).removeprefix(TAGS)
        return commit, short, wanted.startswith(TAGS)

    def _tag_message(self, project_id: int, name: str) -> str:
        try:
            return self.source.annotation(project_id, name)[0]
        except NotFound:
            return ""  # a run of a tag that is gone meanwhile

    async def _accept(self, trigger: Trigger, plan: Plan) -> Run:
        run = await self.db.write(lambda tx: accept(tx, trigger, plan, self.now(), self.terms))
        await self.keep(run)
        return run

    async def keep(self, run: Run) -> None:
        """Holds the run's commit in its repository for as long as the run needs it."""
        try:
            await asyncio.to_thread(self.source.keep, run.project_id, run.id, run.sha)
        except (NotFound, Invalid):
            pass  # Datafold's commits need not be in a repository of ours
        except RunyardError as error:  # the run stands; only a force-push could now take its commit away
            log.warning("commit not kept", extra={"run": run.id, "error": error.message})

    async def _adopt_default_branch(self, project: Project, updates: Sequence[RefUpdate]) -> None:
        """The first branch pushed to an empty project becomes its default, as on every forge."""
        actual = await asyncio.to_thread(self.source.default_branch, project.id)
        born = [u.ref.removeprefix(HEADS) for u in updates if u.ref.startswith(HEADS) and u.after != ZERO_SHA]
        wanted = actual or (born[0] if born else None)
        if wanted and wanted != project.default_branch:

            def adopt(tx: Tx) -> None:
                fresh = tx.get(Project, project.id)
                if fresh is not None:
                    tx.save(replace(fresh, default_branch=wanted))

            await self.db.write(adopt)


def _push(
    project: Project, actor: User, update: RefUpdate, options: tuple[str, ...], tags: int, key: str
) -> Push | None:
    """What happened to a branch or tag; None for other refs, of which nobody hears."""
    for prefix, tag in ((HEADS, False), (TAGS, True)):
        if update.ref.startswith(prefix):
            return Push(
                project,
                actor,
                update.ref.removeprefix(prefix),
                tag,
                update.before,
                update.after,
                options,
                tags,
                f"{key}:{update.ref}" if key else "",
            )
    return None
