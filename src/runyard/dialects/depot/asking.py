"""What Depot's clients read: runs, workflows, lists, summaries, artifacts. Called by routes; one read
transaction each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import merge
from itertools import islice

from runyard.dialects.depot import ids, shapes
from runyard.dialects.depot.access import asker, project_named, run_id_of, visible_project, visible_run
from runyard.dialects.depot.gen.depot.ci.v1 import ci_pb as pb
from runyard.dialects.depot.statuses import RunStatus, Statuses
from runyard.dialects.depot.words import PARENT_HEAR
from runyard.engine import views
from runyard.engine.ports import ArtifactFilter, AttemptFilter, Page, RunFilter, Tx
from runyard.http.services import Principal, Services
from runyard.model.errors import Invalid, NotFound
from runyard.model.state import Outcome, State
from runyard.model.work import Artifact, Attempt, Job, Project, Run, Step, Workflow

DOWNLOAD_PATH = "/depot/artifacts/"
LINK_LIFE_S = 900
SCANNED_RUNS = 2000
_EVERYTHING = Page(limit=10_000, descending=False)


@dataclass(frozen=True, slots=True)
class Asking:
    """The reading half of CIService."""

    services: Services
    statuses: Statuses = field(default_factory=Statuses)

    async def get_run(self, request: pb.GetRunRequest) -> pb.GetRunResponse:
        """A flat record."""
        who, number = asker(), run_id_of(request.run_id)
        return await self.services.db.read(lambda tx: shapes.get_run(*visible_run(tx, who, number)))

    async def get_run_status(self, request: pb.GetRunStatusRequest) -> RunStatus:
        """The tree; a job's id is as good as its run's (the CLI's `logs` relies on that)."""
        who = asker()
        kind, number = ids.hear(request.run_id, ids.Kind.RUN, ids.Kind.JOB)

        def tree(tx: Tx) -> RunStatus:
            run_id = number if kind is ids.Kind.RUN else job_in(tx, number).run_id
            run, _ = visible_run(tx, who, run_id)
            return self.statuses.of(tx, run)

        db = self.services.db
        is_short = kind is ids.Kind.RUN and self.statuses.is_short(number)
        return await (db.glance(tree) if is_short else db.read(tree))

    async def get_workflow(self, request: pb.GetWorkflowRequest) -> pb.GetWorkflowResponse:
        """One workflow with its run."""
        who = asker()
        _, number = ids.hear(request.workflow_id, ids.Kind.WORKFLOW)

        def found(tx: Tx) -> pb.GetWorkflowResponse:
            row = workflow_in(tx, number)
            run, project = visible_run(tx, who, row.run_id)
            return shapes.get_workflow(run, project, _view(views.run_tree(tx, run.id), row.id))

        return await self.services.db.read(found)

    async def list_runs(self, request: pb.ListRunsRequest) -> pb.ListRunsResponse:
        """Newest first; without a status only what is queued or running (depot.md §3)."""
        if request.pr and not request.repo:
            raise Invalid("pr needs repo")
        who = asker()
        size = min(max(request.page_size, 0) or 50, 100)
        after = ids.hear(request.page_token, ids.Kind.RUN)[1] if _is_token(request.page_token) else None

        def found(tx: Tx) -> list[tuple[Run, Project]]:
            filter = _run_filter(
                tx, who, request.repo, request.status or ["running", "queued"], request.pr, request.trigger
            )
            return list(islice(_runs(tx, who, filter, request.sha, after), size + 1))

        rows = await self.services.db.read(found)
        more = ids.run(rows[size - 1][0].id) if len(rows) > size else ""
        return pb.ListRunsResponse(runs=[shapes.list_run(*row) for row in rows[:size]], next_page_token=more)

    async def list_workflows(self, request: pb.ListWorkflowsRequest) -> pb.ListWorkflowsResponse:
        """Newest first, without paging, as the vendor does it."""
        if request.pr and not request.repo:
            raise Invalid("pr needs repo")
        who = asker()
        size = min(max(request.page_size, 0) or 50, 200)
        wanted = _wanted(request.status) if request.status else ()

        def found(tx: Tx) -> list[pb.ListWorkflowsResponseWorkflow]:
            filter = _run_filter(tx, who, request.repo, [], request.pr, request.trigger)
            rows: list[pb.ListWorkflowsResponseWorkflow] = []
            for run, project in _runs(tx, who, filter, request.sha):
                for view in reversed(views.run_tree(tx, run.id).workflows):
                    row = view.workflow
                    named = request.name in row.name or request.name in row.path
                    if named and (not wanted or _is_among(row, wanted)):
                        rows.append(shapes.list_workflow(run, project, view))
                if len(rows) >= size:
                    break
            return rows[:size]

        return pb.ListWorkflowsResponse(workflows=await self.services.db.read(found))

    async def get_job_summary(self, request: pb.GetJobSummaryRequest) -> pb.GetJobSummaryResponse:
        """The summaries of an attempt's steps, joined in their order."""
        who = asker()
        if not request.job_id and not request.attempt_id:
            raise Invalid("job_id or attempt_id is required")
        attempt_id = ids.hear(request.attempt_id, ids.Kind.ATTEMPT)[1] if request.attempt_id else None
        job_id = ids.hear(request.job_id, ids.Kind.JOB)[1] if request.job_id else None

        def found(tx: Tx) -> views.AttemptView:
            number = attempt_id or latest_of(tx, job_id or 0).id
            view = views.attempt_view(tx, number)
            if job_id is not None and view.job.id != job_id:
                raise NotFound("attempt not found")
            visible_run(tx, who, view.run.id)
            return view

        return _summary(await self.services.db.read(found))

    async def list_artifacts(self, request: pb.ListArtifactsRequest) -> pb.ListArtifactsResponse:
        """By run, narrowed by workflow, job or attempt."""
        who, run_id = asker(), run_id_of(request.run_id)
        size = min(max(request.page_size, 0) or 100, 500)
        after = ids.hear(request.page_token, ids.Kind.ARTIFACT)[1] if _is_token(request.page_token) else 0
        wanted = [
            ids.hear(text, kind)[1] if text else None
            for text, kind in (
                (request.workflow_id, ids.Kind.WORKFLOW),
                (request.job_id, ids.Kind.JOB),
                (request.attempt_id, ids.Kind.ATTEMPT),
            )
        ]

        def found(tx: Tx) -> list[pb.Artifact]:
            visible_run(tx, who, run_id)
            tree = views.run_tree(tx, run_id)
            owners = {
                attempt.id: (flow.workflow, job.job, attempt)
                for flow in tree.workflows
                for job in flow.jobs
                for attempt in job.attempts
            }
            rows = tx.artifacts(ArtifactFilter(run_id=run_id), _EVERYTHING)
            return [
                shapes.artifact(row, *owners[row.attempt_id])
                for row in rows
                if row.id > after and row.attempt_id in owners and _is_of(owners[row.attempt_id], wanted)
            ]

        rows = await self.services.db.read(found)
        more = rows[size - 1].artifact_id if len(rows) > size else None
        return pb.ListArtifactsResponse(artifacts=rows[:size], next_page_token=more)

    async def get_artifact_download_url(
        self, request: pb.GetArtifactDownloadURLRequest
    ) -> pb.GetArtifactDownloadURLResponse:
        """A link that needs no header and ends soon."""
        who = asker()
        _, number = ids.hear(request.artifact_id, ids.Kind.ARTIFACT)

        def found(tx: Tx) -> pb.Artifact:
            row = tx.get(Artifact, number)
            if row is None or row.is_over(self.services.now()):
                raise NotFound("artifact not found")
            project = visible_project(tx, who, row.project_id, "artifact")
            view = views.attempt_view(tx, row.attempt_id)
            if not who.may_fetch(project, view.job.plan):
                raise NotFound("artifact not found")
            return shapes.artifact(row, view.workflow, view.job, view.attempt)

        shown = await self.services.db.read(found)
        expires_at = self.services.now() + LINK_LIFE_S * 1000
        signature = self.services.sign(f"depot-artifact:{number}", expires_at)
        return pb.GetArtifactDownloadURLResponse(
            artifact=shown,
            url=f"{self.services.server.url}{DOWNLOAD_PATH}{shown.artifact_id}?expires={expires_at}&signature={signature}",
            expires_at=shapes.time(expires_at),
        )


def job_in(tx: Tx, number: int) -> Job:
    """A job, or NotFound."""
    job = tx.get(Job, number)
    if job is None:
        raise NotFound("job not found")
    return job


def workflow_in(tx: Tx, number: int) -> Workflow:
    """A workflow, or NotFound."""
    row = tx.get(Workflow, number)
    if row is None:
        raise NotFound("workflow not found")
    return row


def latest_of(tx: Tx, job_id: int) -> Attempt:
    """A job's last attempt, or NotFound."""
    found = tx.attempts(AttemptFilter(job_id=job_id), Page(limit=1))
    if not found:
        raise NotFound("job not found")
    return found[0][1]


def _view(tree: views.RunView, workflow_id: int) -> views.WorkflowView:
    return next(view for view in tree.workflows if view.workflow.id == workflow_id)


def _is_token(text: str) -> bool:
    """Whether a page token was given; a foreign one is Invalid, not NotFound."""
    if text:
        try:
            ids.hear(text, *ids.Kind)
        except NotFound:
            raise Invalid("The page token is not one of this server's.") from None
    return bool(text)


def _wanted(statuses: Sequence[str]) -> tuple[tuple[State, Outcome | None], ...]:
    found: list[tuple[State, Outcome | None]] = []
    for status in statuses:
        if status not in PARENT_HEAR:
            raise Invalid(f"invalid status '{status[:80]}': use {', '.join(PARENT_HEAR)}")
        found += PARENT_HEAR[status]
    return tuple(found)


def _is_among(row: Workflow, wanted: Sequence[tuple[State, Outcome | None]]) -> bool:
    return any(row.state is state and outcome in (None, row.outcome) for state, outcome in wanted)


def _run_filter(
    tx: Tx, who: Principal, repo: str, statuses: Sequence[str], pr: str, trigger: str
) -> RunFilter:
    """`pr`: runs of that pull request's merge, by the ref that they have (`pulls`)."""
    if pr and not (pr.isascii() and pr.isdigit()):
        raise Invalid("pr must be the number of a pull request")
    return RunFilter(
        project_id=project_named(tx, who, repo).id if repo else None,
        dialect="depot",
        wanted=_wanted(statuses),
        ref=f"refs/pull/{int(pr)}/merge" if pr else None,
        source=trigger or None,
    )


def _runs(
    tx: Tx, who: Principal, filter: RunFilter, sha: str = "", after: int | None = None
) -> Iterator[tuple[Run, Project]]:
    """Those that this principal may see, newest first. `sha` begins what is checked out or the head (a pull
    request's, local changes' base); for the latter only so many runs are looked through, because no index has
    it."""
    if not sha:
        return _seen(tx, who, filter, after)
    wanted = sha.lower()
    checked_out = _seen(tx, who, replace(filter, sha_prefix=wanted), after)
    heads = (pair for pair in _seen(tx, who, filter, after) if _is_head(pair[0], wanted))
    return merge(checked_out, heads, key=lambda pair: -pair[0].id)


def _is_head(run: Run, wanted: str) -> bool:
    return shapes.head_sha(run).startswith(wanted) and not run.sha.startswith(wanted)


def _seen(tx: Tx, who: Principal, filter: RunFilter, after: int | None) -> Iterator[tuple[Run, Project]]:
    for _ in range(SCANNED_RUNS // 100):
        found = tx.runs(filter, Page(limit=100, after_id=after))
        projects = {id: tx.get(Project, id) for id in {run.project_id for run in found}}
        for run in found:
            project = projects[run.project_id]
            if project is not None and who.may_see(project):
                yield run, project
        if len(found) < 100:
            return
        after = found[-1].id


def _is_of(owner: tuple[Workflow, Job, Attempt], wanted: Sequence[int | None]) -> bool:
    numbers = (owner[0].id, owner[1].id, owner[2].id)
    return all(want in (None, number) for number, want in zip(numbers, wanted, strict=True))


def _summary(view: views.AttemptView) -> pb.GetJobSummaryResponse:
    texts = [text for step in view.steps if (text := _summary_of(step))]
    attempt = view.attempt
    return pb.GetJobSummaryResponse(
        org_id=ids.ORG,
        run_id=ids.run(view.run.id),
        workflow_id=ids.workflow(view.workflow.id),
        job_id=ids.job(view.job.id),
        attempt_id=ids.attempt(attempt.id),
        attempt=attempt.number,
        job_status=shapes.job_status(views.JobView(view.job, (attempt,))),
        attempt_status=shapes.status(attempt),
        has_summary=bool(texts),
        empty_reason="" if texts else "no_summary",
        step_count=len(texts),
        markdown="\n\n".join(texts),
    )


def _summary_of(step: Step) -> str:
    return str(step.extra.get("summary") or "").strip()
