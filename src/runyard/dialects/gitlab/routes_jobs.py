"""Jobs: lists, one job, its trace, and what people do to it (cancel, retry, play, erase). contracts/gitlab.md
§1.1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from starlette.responses import Response, StreamingResponse

from runyard.dialects.gitlab.asking import Parameters, Window, window_of
from runyard.dialects.gitlab.canceling import end_unheard
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import Bodies, Surroundings, find_jobs, words_of
from runyard.dialects.gitlab.inputs import job_inputs, job_variables
from runyard.dialects.gitlab.refusals import answer_json, missing
from runyard.engine import control
from runyard.engine.ports import AttemptFilter, Page, Tx
from runyard.engine.views import log_size
from runyard.http.logs import log_bytes, opened
from runyard.model.access import Role
from runyard.model.errors import Conflict, Forbidden, Invalid
from runyard.model.listing import Card, Listed
from runyard.model.plan import When
from runyard.model.state import State
from runyard.model.work import Attempt, Project, Run

MOST_OF_RUN = 10_000
ORDERS = frozenset({"id"})
PLAYED = frozenset({When.MANUAL, When.DELAYED})
Found = tuple[bool, Surroundings, Window, int]  # are there more, the page, its window, its last id


@dataclass(frozen=True, slots=True)
class Jobs:
    """Handlers."""

    desk: Desk
    bodies: Bodies

    def lines(self) -> list[Line]:
        """The table."""
        p, job = "/projects/{id}", "/projects/{id}/jobs/{job_id}"
        return [
            Line(
                "GET",
                f"{p}/jobs",
                Door.JOB_READER,
                self.listed,
                "List a project's jobs",
                look=self.of_project,
                glance=is_short,
                is_kept=True,
            ),
            Line(
                "GET",
                f"{p}/pipelines/{{pipeline_id}}/jobs",
                Door.JOB_READER,
                self.listed,
                "List a pipeline's jobs",
                look=self.of_pipeline,
                glance=is_short,
                is_kept=True,
            ),
            Line(
                "GET",
                f"{p}/pipelines/{{pipeline_id}}/bridges",
                Door.READER,
                self.listed,
                "List a pipeline's bridges",
                look=self.bridges_of,
                is_kept=True,
            ),
            Line(
                "GET",
                job,
                Door.JOB_READER,
                self.one,
                "Get a job",
                look=self._find_one,
                glance=lambda _: True,
                is_kept=True,
            ),
            Line("GET", "/job", Door.USER_OR_JOB, self.own, "Get the job of a job token"),
            Line("GET", f"{job}/trace", Door.READER, self.trace, "Get a job's log"),
            Line("POST", f"{job}/cancel", Door.USER, self.cancel, "Cancel a job"),
            Line("POST", f"{job}/retry", Door.USER, self.retry, "Retry a job"),
            Line("POST", f"{job}/erase", Door.USER, self.erase, "Erase a job"),
            Line("POST", f"{job}/play", Door.USER, self.play, "Play a job"),
        ]

    def of_project(self, tx: Tx, entry: Entry) -> Found:
        """Newest first, every attempt, never counted."""
        entry.parameters.choice("order_by", ORDERS, "id")
        return self._find(tx, entry, AttemptFilter(project_id=entry.project.id), None)

    def of_pipeline(self, tx: Tx, entry: Entry) -> Found:
        """Latest attempts unless include_retried."""
        run = _run(tx, entry)
        retried = entry.parameters.flag("include_retried") or False
        return self._find(tx, entry, AttemptFilter(run_id=run.id, latest_only=not retried), run)

    async def listed(self, entry: Entry) -> Response:
        """A page of jobs."""
        more, around, window, last = entry.found
        await self.bodies.learn(entry.project.id, around.runs.values())
        return self.desk.listed(entry, window, self.bodies.jobs(entry.project, around), last, more)

    def bridges_of(self, tx: Tx, entry: Entry) -> Found:
        """Jobs that start other pipelines, latest attempts; a pipeline has few, so they are read whole."""
        run = _run(tx, entry)
        window, words = window_of(entry.parameters), words_of(entry.parameters.texts("scope"), "scope")
        filter = AttemptFilter(run_id=run.id, latest_only=True, wanted=words.wanted)
        found = [] if words.none else tx.listed(filter, Page(limit=MOST_OF_RUN, descending=window.descending))
        kept = [row for row in found if row.outline.bridge and words.admits(row)]
        start = (window.page - 1) * window.per_page
        shown = kept[start : start + window.per_page]
        more = len(kept) > start + window.per_page
        around = self.bodies.surroundings(tx, entry.project.id, shown, entry.moment, [run])
        return more, around, window, 0

    def _find(self, tx: Tx, entry: Entry, filter: AttemptFilter, run: Run | None) -> Found:
        window = window_of(entry.parameters)
        words = words_of(entry.parameters.texts("scope"), "scope")
        if words.wanted:
            filter = replace(filter, wanted=words.wanted)
        found, more = find_jobs(tx, filter, words, window)
        # Bridges have a list of their own, and no cards.
        rows = [row for row in found if isinstance(row, Card) or not row.outline.bridge]
        around = self.bodies.surroundings(tx, entry.project.id, rows, entry.moment, [run] if run else [])
        return more, around, window, found[-1].id if found else 0

    def _find_one(self, tx: Tx, entry: Entry) -> tuple[Listed, Surroundings] | None:
        found = self.bodies.find(tx, entry.id("job_id", "Job"), entry.moment)
        return found if found and found[0].project_id == entry.project.id else None

    async def one(self, entry: Entry) -> Response:
        """One job."""
        return answer_json(await self.bodies.shown(entry.project, entry.found))

    async def own(self, entry: Entry) -> Response:
        """The job that asks."""
        if entry.who.attempt is None:
            raise missing("Job")
        attempt = entry.who.attempt
        project = await self.desk.services.db.read(lambda tx: tx.get(Project, attempt.project_id))
        if project is None:
            raise missing("Job")
        return answer_json(await self.bodies.job(project, attempt.id))

    async def trace(self, entry: Entry) -> Response:
        """The log as it is now; the size is fixed first, so that a growing log has an end."""
        _, _, attempt = await self.desk.attempt(entry)
        size = log_size(attempt)
        headers = {
            "Content-Disposition": f'infile; filename="{attempt.id}.log"',
            "Content-Length": str(size),
            "X-Content-Type-Options": "nosniff",
        }
        pieces = await opened(_exactly(self.desk, attempt, size))
        return StreamingResponse(pieces, 200, headers, "text/plain")

    async def cancel(self, entry: Entry) -> Response:
        """A running job is told to stop, or ends at once when its runner cannot stop gracefully; `force` ends
        one that is stopping. What has ended stays as it is."""
        _, _, attempt = await self.desk.owned_attempt(entry)
        now, actor = self.desk.services.now(), entry.who.user.id
        force = entry.parameters.flag("force") or False
        if force and (entry.who.role_in(entry.project) or Role.NONE) < Role.MAINTAINER:
            raise Forbidden

        def act(tx: Tx) -> Attempt:
            if force:
                return control.force_cancel(tx, attempt.id, now, actor)
            return end_unheard(tx, control.cancel_attempt(tx, attempt.id, now, actor), now)

        try:
            await self.desk.services.db.write(act)
        except Conflict as error:
            raise Forbidden(error.message) from None
        return answer_json(await self.bodies.job(entry.project, attempt.id), 201)

    async def retry(self, entry: Entry) -> Response:
        """The new job, with the inputs of the one before unless `job_inputs` says otherwise."""
        _, job, attempt = await self.desk.owned_attempt(entry)
        inputs = job_inputs(entry.parameters, job.plan)
        now, actor = self.desk.services.now(), entry.who.user.id
        try:
            fresh = await self.desk.services.db.write(
                lambda tx: control.retry(tx, attempt.id, now, actor, inputs=inputs)
            )
        except Conflict:
            raise Forbidden("Job is not retryable") from None
        return answer_json(await self.bodies.job(entry.project, fresh.id), 201)

    async def play(self, entry: Entry) -> Response:
        """Starts a manual or delayed job; one that has ended is played once more, as a new job (GitLab:
        Ci::Build#playable?, Ci::PlayBuildService)."""
        _, job, attempt = await self.desk.owned_attempt(entry)
        given, inputs = job_variables(entry.parameters), job_inputs(entry.parameters, job.plan)
        now, actor = self.desk.services.now(), entry.who.user.id

        def act(tx: Tx) -> Attempt:
            found = tx.get(Attempt, attempt.id)
            is_over = found is not None and found.state is State.DONE
            start = control.retry if is_over and job.plan.gate.when in PLAYED else control.play
            return start(tx, attempt.id, now, actor, given or None, inputs)

        try:
            started = await self.desk.services.db.write(act)
        except Conflict:
            raise Invalid("Unplayable Job") from None
        return answer_json(await self.bodies.job(entry.project, started.id))

    async def erase(self, entry: Entry) -> Response:
        """Log and artifacts go, the job stays."""
        _, _, attempt = await self.desk.owned_attempt(entry)
        now, actor = self.desk.services.now(), entry.who.user.id
        if attempt.erased_at is not None:
            raise Forbidden("Job is not erasable!")
        try:
            await self.desk.services.db.write(lambda tx: control.erase(tx, attempt.id, now, actor))
        except Conflict:
            raise Forbidden("Job is not erasable!") from None
        return answer_json(await self.bodies.job(entry.project, attempt.id), 201)


def is_short(parameters: Parameters) -> bool:
    """Whether a page of jobs takes a few rows of one index and no more: no scope, by key or among the first
    nine."""
    return "scope" not in parameters.values and len(str(parameters.values.get("page", ""))) < 2


def _run(tx: Tx, entry: Entry) -> Run:
    run = tx.get(Run, entry.id("pipeline_id", "Pipeline"))
    if run is None or run.project_id != entry.project.id:
        raise missing("Pipeline")
    return run


async def _exactly(desk: Desk, attempt: Attempt, size: int) -> AsyncIterator[bytes]:
    """Bytes [0, size): a promised Content-Length must be kept even when the log is erased meanwhile."""
    sent = 0
    async for piece in log_bytes(desk.services, attempt.id, 0, size):
        sent += len(piece)
        yield piece
    if sent < size:
        raise ConnectionError("the log was erased while it was read")
