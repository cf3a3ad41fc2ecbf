"""Rows that a page of jobs or pipelines needs, in a fixed number of queries, and the finished bodies. Called by routes.

Commits come from git, not from the store; they never change, so a small cache makes a page of one project free of git.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.asking import Window
from runyard.dialects.gitlab.coverage import mean_coverage
from runyard.dialects.gitlab.managers import SYSTEM_ID, of_attempt
from runyard.dialects.gitlab.refusals import BadParameter, missing
from runyard.dialects.gitlab.words import HEAR, HELD_WORDS
from runyard.engine.ports import ArtifactFilter, AttemptFilter, Page, RunFilter, Tx
from runyard.engine.views import log_size
from runyard.http.services import Principal, Services
from runyard.model.errors import RunyardError
from runyard.model.state import Outcome, State
from runyard.model.trigger import Commit, ServerFacts
from runyard.model.work import Artifact, Attempt, Group, Job, Project, Record, Run, Runner, User

Pair = tuple[Job, Attempt]
Wanted = tuple[tuple[State, Outcome | None], ...]
MOST_SCANNED = 5_000
_ALL = Page(limit=10_000, descending=False)


@dataclass(frozen=True, slots=True)
class Words:
    """Statuses asked for, as the store understands them. `none`: words that nothing here ever has. `held` narrows HELD by what it waits for."""

    wanted: Wanted = ()
    none: bool = False
    held: frozenset[str] = frozenset()

    def admits(self, attempt: Attempt) -> bool:
        """Whether a row found by `wanted` is really meant."""
        return (
            attempt.state is not State.HELD
            or not self.held
            or attempt.hold in {HELD_WORDS[w] for w in self.held}
        )


def words_of(names: Sequence[str], parameter: str) -> Words:
    """What a list of status words asks for; an unknown word is refused."""
    if any(name not in HEAR for name in names):
        raise BadParameter(f"{parameter} does not have a valid value")
    wanted = tuple(dict.fromkeys(pair for name in names for pair in HEAR[name]))
    held = frozenset(name for name in names if name in HELD_WORDS)
    return Words(wanted, bool(names) and not wanted, held if len(held) < len(HELD_WORDS) else frozenset())


def find_jobs(tx: Tx, filter: AttemptFilter, words: Words, window: Window) -> tuple[list[Pair], bool]:
    """A page of attempts, and whether more follow."""
    if words.none:
        return [], False
    if not words.held:
        found = tx.attempts(filter, window.page_of(1))
        return found[: window.per_page], len(found) > window.per_page
    skip, after = (0 if window.by_key else (window.page - 1) * window.per_page), window.after_id
    kept: list[Pair] = []
    for _ in range(MOST_SCANNED // 500):
        batch = tx.attempts(filter, Page(limit=500, after_id=after, descending=window.descending))
        kept += [pair for pair in batch if words.admits(pair[1])]
        if len(batch) < 500 or len(kept) > skip + window.per_page:
            break
        after = batch[-1][1].id
    return kept[skip : skip + window.per_page], len(kept) > skip + window.per_page


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What jobs refer to, by id."""

    runs: Mapping[int, Run]
    users: Mapping[int, User]
    runners: Mapping[int, Runner]
    artifacts: Mapping[int, list[Artifact]]
    machines: Mapping[tuple[int | None, str], Record]  # by runner and system_id
    downstream: Mapping[int, tuple[Run, Project]]  # pipelines that bridges started, by id


def surroundings(tx: Tx, project_id: int, pairs: Sequence[Pair], known: Iterable[Run] = ()) -> Surroundings:
    """Everything a page of jobs refers to."""
    runs = {run.id: run for run in known}
    lacking = {attempt.run_id for _, attempt in pairs} - runs.keys()
    if (
        len(lacking) > 1
    ):  # jobs of one page mostly come from neighbouring runs: one range query instead of many look-ups
        page = Page(limit=2 * len(lacking), after_id=max(lacking) + 1, descending=True)
        runs |= {run.id: run for run in tx.runs(RunFilter(project_id=project_id), page)}
    for run_id in lacking - runs.keys():
        run = tx.get(Run, run_id)
        if run is not None:
            runs[run_id] = run
    attempts = [attempt for _, attempt in pairs]
    actors = {actor_of(attempt, runs[attempt.run_id]) for attempt in attempts if attempt.run_id in runs}
    users = _by_id(actors, lambda id: tx.get(User, id))
    runners = _by_id({a.runner_id for a in attempts}, lambda id: tx.get(Runner, id))
    artifacts: dict[int, list[Artifact]] = {}
    ended = tuple(a.id for a in attempts if a.started_at is not None)
    for row in tx.artifacts(ArtifactFilter(attempt_ids=ended), _ALL) if ended else ():
        artifacts.setdefault(row.attempt_id, []).append(row)
    machines = {(a.runner_id, str(a.extra[SYSTEM_ID])): a for a in attempts if SYSTEM_ID in a.extra}
    found = {key: of_attempt(tx, attempt) for key, attempt in machines.items()}
    return Surroundings(
        runs,
        users,
        runners,
        artifacts,
        {k: v for k, v in found.items() if v is not None},
        _downstream(tx, pairs),
    )


def is_bridge(job: Job) -> bool:
    """Whether it starts another pipeline instead of running anything."""
    return not job.plan.claimable and bool(job.plan.extra.get("gitlab", {}).get("bridge"))


def _downstream(tx: Tx, pairs: Sequence[Pair]) -> dict[int, tuple[Run, Project]]:
    ids = {attempt.extra.get("downstream_run_id") for job, attempt in pairs if is_bridge(job)}
    runs = [run for id in ids if isinstance(id, int) and (run := tx.get(Run, id)) is not None]
    return {run.id: (run, home) for run in runs if (home := tx.get(Project, run.project_id)) is not None}


def _by_id(ids: Iterable[int | None], get: Callable[[int], Any]) -> dict[int, Any]:
    found = {id: get(id) for id in set(ids) if id}
    return {id: row for id, row in found.items() if row is not None}


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


def actor_of(attempt: Attempt, run: Run) -> int | None:
    """Who stands behind an attempt: who retried or played it, else who started the run."""
    return attempt.actor_id or run.actor_id


def find_job(tx: Tx, attempt_id: int) -> tuple[Pair, Surroundings] | None:
    """One job with what it refers to."""
    attempt = tx.get(Attempt, attempt_id)
    job = tx.get(Job, attempt.job_id) if attempt else None
    if attempt is None or job is None:
        return None
    return (job, attempt), surroundings(tx, attempt.project_id, [(job, attempt)])


@dataclass(slots=True)
class Bodies:
    """Makes finished bodies."""

    services: Services
    limit: int = 4096
    _commits: OrderedDict[tuple[int, str], Commit | None] = field(default_factory=OrderedDict)

    def commit(self, project_id: int, sha: str) -> Commit | None:
        """A commit by sha, remembered; None when git has it no more (inline files, pruned)."""
        key = (project_id, sha)
        if key in self._commits:
            self._commits.move_to_end(key)
            return self._commits[key]
        try:
            found: Commit | None = self.services.source.commit(project_id, sha)
        except RunyardError:
            found = None
        self._commits[key] = found
        if len(self._commits) > self.limit:
            self._commits.popitem(last=False)
        return found

    def jobs(self, project: Project, pairs: Sequence[Pair], around: Surroundings) -> list[dict[str, Any]]:
        """Bodies of many jobs; what is shared between them is made once."""
        now, server = self.services.now(), self.services.server
        users = {id: shapes.job_user(row, server) for id, row in around.users.items()}
        runners = {id: shapes.runner(row, now) for id, row in around.runners.items()}
        machines = {key: shapes.runner_manager(row, now) for key, row in around.machines.items()}
        pipelines = {id: shapes.pipeline_basic(row, project, server) for id, row in around.runs.items()}
        commits: dict[str, dict[str, Any] | None] = {}
        bodies = []
        for job, attempt in pairs:
            run = around.runs.get(attempt.run_id)
            if run is None:  # removed between two reads
                continue
            if run.sha not in commits:
                found = self.commit(project.id, run.sha)
                commits[run.sha] = shapes.commit(found, project, server) if found else None
            body = shapes.job_basic(
                run, job, attempt, project, server, now, users.get(actor_of(attempt, run) or 0), commits[run.sha],
                pipelines[run.id],
            )  # fmt: skip
            if is_bridge(job):
                body["downstream_pipeline"] = _child(attempt, around, server)
            else:
                machine = machines.get((attempt.runner_id, str(attempt.extra.get(SYSTEM_ID))))
                carrier = (runners.get(attempt.runner_id or 0), machine)
                artifacts = around.artifacts.get(attempt.id, ())
                body = shapes.finish_job(body, job, run.source, carrier, artifacts, log_size(attempt))
            bodies.append(body)
        return bodies

    async def job(self, project: Project, attempt_id: int) -> dict[str, Any]:
        """One job as it is now."""
        return self.shown(project, await self.services.db.read(lambda tx: find_job(tx, attempt_id)))

    def shown(self, project: Project, found: tuple[Pair, Surroundings] | None) -> dict[str, Any]:
        """The body of what `find_job` found."""
        bodies = self.jobs(project, [found[0]], found[1]) if found else []
        if not bodies:
            raise missing("Job")
        return bodies[0]

    async def pipeline(self, project: Project, run: Run) -> dict[str, Any]:
        """One pipeline."""
        actor_id = run.actor_id or 0
        actor = await self.services.db.read(lambda tx: tx.get(User, actor_id)) if actor_id else None
        found = self.commit(project.id, run.sha)
        body = shapes.pipeline(
            run, project, self.services.server, actor, found.committed_at if found else None
        )
        if run.state in (State.DONE, State.HELD):  # while it goes on it is polled, and the mean would move
            body["coverage"] = await self.services.db.read(lambda tx: mean_coverage(tx, run.id))
        return body


def _child(attempt: Attempt, around: Surroundings, server: ServerFacts) -> dict[str, Any] | None:
    found = around.downstream.get(attempt.extra.get("downstream_run_id", 0))
    return shapes.pipeline_basic(*found, server) if found else None
