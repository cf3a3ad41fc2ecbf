"""Rows that a page of jobs or pipelines needs, in a fixed number of queries, and the finished bodies. Called
by routes.

Commits come from git, not from the store; they never change, so a small cache makes a page of one project
free of git.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from msgspec import Raw

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.asking import Window
from runyard.dialects.gitlab.cards import OtherIds, Row, filled, page_of, pieces_of
from runyard.dialects.gitlab.coverage import mean_coverage
from runyard.dialects.gitlab.jobshape import NULL, Others, add_work, encode, job_body, raw, url_start
from runyard.dialects.gitlab.managers import machine as machine_of
from runyard.dialects.gitlab.refusals import BadParameter, missing
from runyard.dialects.gitlab.words import HEAR, HELD_WORDS
from runyard.engine.ports import AttemptFilter, Page, RunFilter, Tx
from runyard.http.recall import FLEETING, Moment
from runyard.http.services import Principal, Services
from runyard.model.errors import RunyardError
from runyard.model.listing import Card, Listed, ListedArtifact
from runyard.model.state import Outcome, State
from runyard.model.trigger import Commit, ServerFacts
from runyard.model.work import Group, Project, Run, Runner, User

Key = TypeVar("Key")
Wanted = tuple[tuple[State, Outcome | None], ...]
MOST_SCANNED = 5_000
FEW = 3


@dataclass(frozen=True, slots=True)
class Words:
    """Statuses asked for, as the store understands them. `none`: words that nothing here ever has. `held`
    narrows HELD by what it waits for."""

    wanted: Wanted = ()
    none: bool = False
    held: frozenset[str] = frozenset()

    def admits(self, row: Listed) -> bool:
        """Whether a row found by `wanted` is really meant."""
        return row.state is not State.HELD or not self.held or row.hold in {HELD_WORDS[w] for w in self.held}


def words_of(names: Sequence[str], parameter: str) -> Words:
    """What a list of status words asks for; an unknown word is refused."""
    if any(name not in HEAR for name in names):
        raise BadParameter(f"{parameter} does not have a valid value")
    wanted = tuple(dict.fromkeys(pair for name in names for pair in HEAR[name]))
    held = frozenset(name for name in names if name in HELD_WORDS)
    return Words(wanted, bool(names) and not wanted, held if len(held) < len(HELD_WORDS) else frozenset())


def find_jobs(tx: Tx, filter: AttemptFilter, words: Words, window: Window) -> tuple[Sequence[Row], bool]:
    """A page of attempts, and whether more follow."""
    if words.none:
        return [], False
    if not words.held:
        found = page_of(tx, filter, window.page_of(1))
        return found[: window.per_page], len(found) > window.per_page
    skip, after = (0 if window.by_key else (window.page - 1) * window.per_page), window.after_id
    kept: list[Listed] = []
    for _ in range(MOST_SCANNED // 500):
        batch = tx.listed(filter, Page(limit=500, after_id=after, descending=window.descending))
        kept += [row for row in batch if words.admits(row)]
        if len(batch) < 500 or len(kept) > skip + window.per_page:
            break
        after = batch[-1].id
    return kept[skip : skip + window.per_page], len(kept) > skip + window.per_page


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Jobs, and what they refer to by id; what is shown the same in every body is JSON already."""

    pieces: Sequence[tuple[OtherIds, Sequence[Row]]]  # in order
    runs: Mapping[int, Run]
    users: Mapping[int, Raw]
    runners: Mapping[int, Raw]
    machines: Mapping[tuple[int, str], Raw]  # by runner and system_id
    artifacts: Mapping[int, list[ListedArtifact]]
    downstream: Mapping[int, tuple[Run, Project]]  # pipelines that bridges started, by id


def runs_of(tx: Tx, project_id: int, ids: set[int], known: Iterable[Run]) -> dict[int, Run]:
    """The pipelines of a page of jobs."""
    runs = {run.id: run for run in known}
    lacking = ids - runs.keys()
    if len(lacking) > FEW:  # mostly neighbouring runs: one range query instead of many look-ups
        page = Page(limit=2 * len(lacking), after_id=max(lacking) + 1, descending=True)
        runs |= {run.id: run for run in tx.runs(RunFilter(project_id=project_id), page)}
    for run_id in lacking - runs.keys():
        run = tx.get(Run, run_id)
        if run is not None:
            runs[run_id] = run
    return runs


def _downstream(tx: Tx, rows: Sequence[Listed]) -> dict[int, tuple[Run, Project]]:
    ids = {row.extra.get("downstream_run_id") for row in rows if row.outline.bridge}
    runs = [run for id in ids if isinstance(id, int) and (run := tx.get(Run, id)) is not None]
    return {run.id: (run, home) for run in runs if (home := tx.get(Project, run.project_id)) is not None}


def homes(tx: Tx, projects: Iterable[Project]) -> dict[str, Group | None]:
    """The groups of projects, by path in lower case."""
    paths = {project.path.rpartition("/")[0].lower() for project in projects}
    return {path: tx.group_by_path(path) for path in paths}


def project_bodies(
    tx: Tx, who: Principal, projects: Sequence[Project], server: ServerFacts
) -> list[dict[str, Any]]:
    """Projects as this person sees them."""
    groups = homes(tx, projects)
    return [
        shapes.project(row, server, groups[row.path.rpartition("/")[0].lower()], who.role_in(row))
        for row in projects
    ]


@dataclass(slots=True)
class Bodies:
    """Makes finished bodies."""

    services: Services
    limit: int = 4096
    _commits: OrderedDict[tuple[int, str], Commit | None] = field(default_factory=OrderedDict)
    _shown: dict[tuple[int, str, str], Raw] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def surroundings(
        self,
        tx: Tx,
        project_id: int,
        rows: Sequence[Row],
        moment: Moment = FLEETING,
        known: Iterable[Run] = (),
    ) -> Surroundings:
        """A page of jobs with everything it refers to."""
        now, server = self.services.now(), self.services.server
        pieces = pieces_of(rows)
        others = [ids for ids, _ in pieces]
        runs = runs_of(tx, project_id, {ids[0] for ids in others}, known)

        def user(id: int) -> Raw | None:
            row = tx.get(User, id)
            return raw(shapes.job_user(row, server)) if row else None

        def runner(id: int) -> Raw | None:
            row = tx.get(Runner, id)
            return raw(shapes.runner(row, now)) if row else None

        def machine(runner_id: int, system_id: str) -> Raw | None:
            found = machine_of(tx, runner_id, system_id)
            return raw(shapes.runner_manager(found, now)) if found else None

        actors = {actor_id or runs[run_id].actor_id for run_id, actor_id, _, _ in others if run_id in runs}
        carriers = {(runner_id, system_id) for _, _, runner_id, system_id in others if runner_id}
        users = {id: moment.of(("user", id), partial(user, id)) for id in actors if id}
        runners = {id: moment.of(("runner", id), partial(runner, id)) for id, _ in carriers}
        machines = {
            pair: moment.of(("machine", *pair), partial(machine, *pair)) for pair in carriers if pair[1]
        }
        plain = [row for row in rows if isinstance(row, Listed)]
        artifacts: dict[int, list[ListedArtifact]] = {}
        for left in tx.listed_artifacts([row.id for row in plain if row.started_at is not None]):
            artifacts.setdefault(left.attempt_id, []).append(left)
        return Surroundings(
            pieces, runs, _there(users), _there(runners), _there(machines), artifacts, _downstream(tx, plain)
        )

    def commit(self, project_id: int, sha: str) -> Commit | None:
        """A commit by sha, remembered; None when git has it no more (inline files, pruned). Asks git, so not
        on the event loop."""
        key = (project_id, sha)
        with self._lock:
            if key in self._commits:
                self._commits.move_to_end(key)
                return self._commits[key]
        try:
            found: Commit | None = self.services.source.commit(project_id, sha)
        except RunyardError:
            found = None
        with self._lock:
            self._commits[key] = found
            if len(self._commits) > self.limit:
                self._commits.popitem(last=False)
        return found

    async def learn(self, project_id: int, runs: Iterable[Run]) -> None:
        """Before bodies are made on the event loop: the commits of these runs are remembered from here on."""
        for sha in {run.sha for run in runs}:
            if (project_id, sha) not in self._commits:
                await asyncio.to_thread(self.commit, project_id, sha)

    def jobs(self, project: Project, around: Surroundings) -> list[Raw]:
        """JSON of the jobs in order; what is shared between them is made once, and neighbours by card are one
        text with commas."""
        now, jobs_url = self.services.now(), url_start(f"{self.services.server.url}/{project.path}/-/jobs/")
        shared: dict[int, tuple[Raw, Raw]] = {}
        bodies: list[Raw] = []
        for (run_id, actor_id, runner_id, system_id), rows in around.pieces:
            run = around.runs.get(run_id)
            if run is None:  # removed between two reads
                continue
            commit, pipeline = shared.get(run_id) or shared.setdefault(run_id, self._of_run(project, run))
            user = around.users.get(actor_id or run.actor_id or 0, NULL)
            runner = around.runners.get(runner_id or 0, NULL)
            machine = around.machines.get((runner_id or 0, system_id), NULL)
            others = Others(user, commit, pipeline, jobs_url, runner, machine)
            drawn = [row for row in rows if isinstance(row, Card)]
            if len(drawn) == len(rows):
                bodies.append(filled(drawn, others))
            else:
                bodies += [
                    filled([row], others)
                    if isinstance(row, Card)
                    else self._undrawn(row, run, now, others, around)
                    for row in rows
                ]
        return bodies

    def _undrawn(self, row: Listed, run: Run, now: int, others: Others, around: Surroundings) -> Raw:
        body = job_body(row, run, now, others)
        if row.outline.bridge:
            child = around.downstream.get(row.extra.get("downstream_run_id", 0))
            body.downstream_pipeline = (
                raw(shapes.pipeline_basic(*child, self.services.server)) if child else NULL
            )
        else:
            add_work(body, row, run, others, around.artifacts.get(row.id, ()))
        return Raw(encode(body))

    def _of_run(self, project: Project, run: Run) -> tuple[Raw, Raw]:
        """Its commit and itself."""
        server, key = self.services.server, (project.id, project.path, run.sha)
        commit = self._shown.get(key)
        if commit is None:
            found = self.commit(project.id, run.sha)
            commit = raw(shapes.commit(found, project, server)) if found else NULL
            if len(self._shown) >= self.limit:
                self._shown.clear()
            if found:
                self._shown[key] = commit
        return commit, raw(shapes.pipeline_basic(run, project, server))

    def find(self, tx: Tx, attempt_id: int, moment: Moment = FLEETING) -> tuple[Listed, Surroundings] | None:
        """One job with what it refers to."""
        row = tx.listed_one(attempt_id)
        return (row, self.surroundings(tx, row.project_id, [row], moment)) if row else None

    async def job(self, project: Project, attempt_id: int) -> Raw:
        """One job as it is now."""
        return await self.shown(project, await self.services.db.read(lambda tx: self.find(tx, attempt_id)))

    async def shown(self, project: Project, found: tuple[Listed, Surroundings] | None) -> Raw:
        """The body of what `find` found."""
        if found:
            await self.learn(project.id, found[1].runs.values())
        bodies = self.jobs(project, found[1]) if found else []
        if not bodies:
            raise missing("Job")
        return bodies[0]

    async def pipeline(self, project: Project, run: Run) -> dict[str, Any]:
        """One pipeline."""
        actor_id = run.actor_id or 0
        actor = await self.services.db.read(lambda tx: tx.get(User, actor_id)) if actor_id else None
        await self.learn(project.id, [run])
        found = self.commit(project.id, run.sha)
        body = shapes.pipeline(
            run, project, self.services.server, actor, found.committed_at if found else None
        )
        if run.state in (State.DONE, State.HELD):  # while it goes on it is polled, and the mean would move
            body["coverage"] = await self.services.db.read(lambda tx: mean_coverage(tx, run.id))
        return body


def _there(found: Mapping[Key, Raw | None]) -> dict[Key, Raw]:
    return {key: shown for key, shown in found.items() if shown is not None}
