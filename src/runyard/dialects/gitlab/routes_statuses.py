"""Commit statuses: what tools outside say of a commit. A status is a job that no runner may claim, in the
commit's pipeline or in one made for it.

contracts/gitlab.md §1.3: POST creates or moves; a wrong transition is 400.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import shapes
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.refusals import BadParameter, answer_json, missing
from runyard.dialects.gitlab.words import CHILD, REASONS, say
from runyard.engine import control, outside, trigger
from runyard.engine.ports import AttemptFilter, Page, RunFilter, Tx
from runyard.model.access import Role
from runyard.model.errors import Conflict, Invalid, NotFound
from runyard.model.plan import Gate, JobPlan, Order, Plan, WorkflowPlan
from runyard.model.state import Outcome, Reason, State
from runyard.model.trigger import Commit, Trigger
from runyard.model.work import Attempt, Job, Run, User, Workflow

STATES = frozenset({"pending", "running", "success", "failed", "canceled", "skipped"})
ENDS = {
    "success": (Outcome.PASSED, Reason.NONE),
    "failed": (Outcome.FAILED, Reason.SCRIPT),
    "canceled": (Outcome.CANCELED, Reason.BY_USER),
    "skipped": (Outcome.SKIPPED, Reason.GATE),
}
WORKFLOW = "external"
MOST = Page(limit=5_000, descending=False)
_SHA = re.compile(r"[0-9a-f]{7,40}")
_URL = re.compile(r"https?://\S+", re.IGNORECASE)
Pair = tuple[Job, Attempt]
Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """What a POST says."""

    state: str
    name: str
    ref: str
    target_url: str | None
    description: str | None
    coverage: float | None


@dataclass(frozen=True, slots=True)
class Statuses:
    """Handlers."""

    desk: Desk

    def lines(self) -> list[Line]:
        """The table."""
        return [
            Line("POST", "/projects/{id}/statuses/{sha}", Door.USER, self.say, "Set a commit's status"),
            Line(
                "GET",
                "/projects/{id}/repository/commits/{sha}/statuses",
                Door.READER,
                self.list,
                "List a commit's statuses",
                role=Role.REPORTER,
            ),
        ]

    async def say(self, entry: Entry) -> Response:
        """`state`; `name` or `context`, `ref`, `pipeline_id`, `target_url`, `description`, `coverage`."""
        commit, said = await self._commit(entry), self._said(entry)
        pipeline_id, now = entry.parameters.number("pipeline_id"), self.desk.services.now()
        refs = await asyncio.to_thread(self._refs, entry, commit.sha, said.ref)

        def act(tx: Tx) -> Data:
            run = self._run(tx, entry, commit, refs, pipeline_id, now)
            job, attempt = _placed(tx, run, said, entry.who.user, now)
            attempt = _moved(tx, attempt, said, now)
            extra = {**attempt.extra, **_told(said)}
            fresh = replace(attempt, extra=extra, coverage=said.coverage or attempt.coverage)
            tx.save(fresh)
            return self._shape(tx, entry, tx.get(Run, run.id) or run, job, fresh)

        return answer_json(await self.desk.services.db.write(act), 201)

    async def list(self, entry: Entry) -> Response:
        """Of all the commit's pipelines but children, jobs included; the newest of each name unless `all`.
        `ref`, `stage`, `name`, `pipeline_id` narrow."""
        commit, given = await self._commit(entry), entry.parameters
        ref, stage, name = given.text("ref"), given.text("stage"), given.text("name")
        pipeline_id, everything = given.number("pipeline_id"), given.flag("all") or False

        def load(tx: Tx) -> list[Data]:
            wanted = RunFilter(project_id=entry.project.id, sha_prefix=commit.sha, ref=ref, not_source=CHILD)
            runs = [r for r in tx.runs(wanted, Page(limit=200)) if pipeline_id in (None, r.id)]
            rows = [
                (run, job, attempt)
                for run in reversed(runs)
                for job, attempt in tx.attempts(
                    AttemptFilter(run_id=run.id, latest_only=not everything), MOST
                )
                if stage in (None, job.plan.stage) and name in (None, job.name)
            ]
            if not everything:
                rows = list({(run.ref, job.name): (run, job, attempt) for run, job, attempt in rows}.values())
            return [self._shape(tx, entry, *row) for row in sorted(rows, key=lambda row: -row[2].id)]

        return self.desk.sliced(entry, await self.desk.services.db.read(load), lambda body: body)

    async def _commit(self, entry: Entry) -> Commit:
        sha = entry.part("sha")
        try:
            if _SHA.fullmatch(sha):
                return await asyncio.to_thread(self.desk.services.source.commit, entry.project.id, sha)
            return (await asyncio.to_thread(self.desk.services.source.resolve, entry.project.id, sha))[0]
        except (NotFound, Invalid):
            raise missing("Commit") from None

    def _said(self, entry: Entry) -> Said:
        given = entry.parameters
        state = given.choice("state", STATES, "")
        if not state:
            raise BadParameter("state is missing")
        url, coverage = given.text("target_url"), given.text("coverage")
        if url and (not _URL.fullmatch(url) or len(url) > 255):
            raise Invalid("Target url is blocked: Only allowed schemes are http, https")
        try:
            figure = float(coverage) if coverage else None
        except ValueError:
            raise BadParameter("coverage is invalid") from None
        if figure is not None and not -1e9 < figure < 1e9:
            raise BadParameter("coverage is invalid")
        name = given.limited("name") or given.limited("context") or "default"
        return Said(state, name, given.text("ref") or "", url, given.limited("description"), figure)

    def _refs(self, entry: Entry, sha: str, wanted: str) -> tuple[str, bool]:
        """(ref, is it a tag) of a pipeline for the commit: what was asked, else a branch that ends there,
        else the default branch."""
        source, project = self.desk.services.source, entry.project
        if wanted:
            short = wanted.removeprefix("refs/heads/").removeprefix("refs/tags/")
            is_tag = any(name == short for name, _ in source.tags(project.id))
            return short, is_tag and not any(name == short for name, _ in source.branches(project.id))
        here = [name for name, commit in source.branches(project.id) if commit.sha == sha]
        return (project.default_branch if project.default_branch in here or not here else here[0]), False

    def _run(
        self, tx: Tx, entry: Entry, commit: Commit, ref: tuple[str, bool], pipeline_id: int | None, now: int
    ) -> Run:
        if pipeline_id is not None:
            run = tx.get(Run, pipeline_id)
            if run is None or run.project_id != entry.project.id or run.sha != commit.sha:
                raise missing("Pipeline")
            return run
        same = RunFilter(project_id=entry.project.id, dialect="gitlab", sha_prefix=commit.sha, ref=ref[0])
        for run in tx.runs(same, Page(limit=10)):
            if run.source not in (CHILD, "merge_request_event") and not run.error:
                return run
        services, project = self.desk.services, entry.project
        source = Trigger(
            project, "gitlab", "external", ref[0], commit.sha, entry.who.user, now, tag=ref[1], commit=commit
        )
        plan = Plan((WorkflowPlan(WORKFLOW, awaits=True),))
        return trigger.accept(tx, source, plan, now, services.terms)

    def _shape(self, tx: Tx, entry: Entry, run: Run, job: Job, attempt: Attempt) -> Data:
        author = tx.get(User, attempt.actor_id or run.actor_id or 0)
        server = self.desk.services.server
        status = say(attempt.state, attempt.outcome, attempt.hold)
        own = f"{server.url}/{entry.project.path}/-/jobs/{attempt.id}"
        body = {
            "id": attempt.id, "sha": run.sha, "ref": run.ref, "status": status, "name": job.name,
            "target_url": attempt.extra.get("target_url") or (None if not job.plan.claimable else own),
            "description": attempt.extra.get("description"), "created_at": shapes.when(attempt.created_at),
            "started_at": shapes.when(attempt.started_at), "finished_at": shapes.when(attempt.finished_at),
            "allow_failure": attempt.tolerated or job.plan.allow_failure, "coverage": attempt.coverage,
            "pipeline_id": run.id, "author": shapes.user(author, server) if author else None,
        }  # fmt: skip
        if status == "failed":
            body["failure_reason"] = REASONS[attempt.reason]
        return body


def _told(said: Said) -> Data:
    told = {"target_url": said.target_url, "description": said.description}
    return {key: value for key, value in told.items() if value is not None}


def _placed(tx: Tx, run: Run, said: Said, actor: User, now: int) -> Pair:
    """The status's job: the one of this name that is still open or says the same, a new try of one that has
    ended, or a new job."""
    flow = _flow(tx, run)
    for job, attempt in tx.graph(run.id):
        if job.workflow_id == flow.id and job.name == said.name:
            if attempt.state is State.DONE and _word(attempt) != said.state:
                attempt = control.retry(tx, attempt.id, now, actor.id)
            return job, attempt
    gate = Gate(order=Order.NEEDS)
    plan = JobPlan(said.name, said.name, stage="external", gate=gate, claimable=False, stage_index=10_000)
    try:
        trigger.extend(tx, run.id, flow.key, [plan], now)
    except Invalid as error:
        raise Conflict(error.message) from None
    job, attempt = next(p for p in tx.graph(run.id) if p[0].workflow_id == flow.id and p[0].name == said.name)
    fresh = replace(attempt, actor_id=actor.id)
    tx.save(fresh)
    return job, fresh


def _flow(tx: Tx, run: Run) -> Workflow:
    """The workflow of statuses beside the pipeline's own, made when the first status comes."""
    for row in tx.workflows(run.id):
        if row.key == WORKFLOW:
            return row
    return tx.add(Workflow(0, run.id, WORKFLOW, created_at=run.created_at))


def _word(attempt: Attempt) -> str:
    return say(attempt.state, attempt.outcome, attempt.hold)


def _moved(tx: Tx, attempt: Attempt, said: Said, now: int) -> Attempt:
    """The attempt in the state that was said; what it was already changes nothing (GitLab: only a real
    transition is an error)."""
    word = _word(attempt)
    if said.state == word or attempt.state is State.DONE:
        return attempt
    if said.state == "pending":
        if attempt.state is not State.QUEUED:
            raise Invalid(f"Cannot transition status via :enqueue from :{word}")
        return attempt
    if said.state == "running":
        if attempt.state is not State.QUEUED:
            raise Invalid(f"Cannot transition status via :run from :{word}")
        return outside.begin(tx, attempt.id, now)
    outcome, reason = ENDS[said.state]
    return outside.conclude(tx, attempt.id, outcome, now, reason)
