"""What Depot's clients ask to happen: run, dispatch, cancel, retry, rerun. Called by routes; the engine's
verbs do it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from runyard.dialects.depot import ids, shapes
from runyard.dialects.depot.access import (
    asker,
    project_named,
    require_developer,
    require_person,
    require_steerer,
    run_id_of,
    visible_run,
)
from runyard.dialects.depot.asking import job_in, latest_of, workflow_in
from runyard.dialects.depot.cache import patch_blob
from runyard.dialects.depot.executions import rerun
from runyard.dialects.depot.gen.depot.ci.v1 import ci_pb as pb
from runyard.dialects.depot.words import job_word
from runyard.engine import control, views
from runyard.engine.ports import Tx
from runyard.http.services import Principal, RunRequest, Services
from runyard.model.errors import Conflict, Invalid, NotFound
from runyard.model.state import Outcome, State
from runyard.model.work import Project, Run

_SHA = re.compile(r"[0-9a-f]{40}\Z")
_BROKEN = frozenset((Outcome.FAILED, Outcome.ERRORED, Outcome.CANCELED))
MAX_CONTENT = 20
STOP_WAIT_S = 3.0
"""How long a cancel waits for runners to stop, so that its answer is the last word."""


@dataclass(frozen=True, slots=True)
class Acting:
    """The writing half of CIService."""

    services: Services

    async def run(self, request: pb.RunRequest) -> pb.RunResponse:
        """A run of the named workflow, of inline content, or of all workflows of the repository."""
        require_person(asker())  # a job may dispatch what the repository holds, not run any text
        contents = list(request.workflow_content)
        path = request.workflow or ""
        if contents and path:
            raise Invalid("workflow and workflow_content exclude each other")
        if len(contents) > MAX_CONTENT:
            raise Invalid(f"at most {MAX_CONTENT} inline workflows")
        if request.job and not path and len(contents) != 1:
            raise Invalid("job needs exactly one workflow")
        if request.sha and not _SHA.match(request.sha):
            raise Invalid("sha must be a full commit id of 40 hexadecimal digits")
        options: dict[str, object] = {"workflow": path, "content": contents, "job": request.job or ""}
        sha = request.sha or None
        if contents or sha or request.workspace_patch_cache_key:
            options["detached"] = "true"
        if request.workspace_patch_cache_key:
            sha, base = await self._patched(request.repo, sha, request.workspace_patch_cache_key)
            options["patched_base"] = base
        return await self._start(request.repo, "api", sha=sha, options=options)

    async def _patched(self, repo: str, sha: str | None, key: str) -> tuple[str, str]:
        """(a commit with the caller's local changes, the commit they are based on). contracts/depot.md §5."""
        who = asker()
        require_person(who)
        services = self.services

        def find(tx: Tx) -> tuple[Project, str]:
            project = project_named(tx, who, repo)
            require_developer(who, project)
            return project, patch_blob(tx, who, key)

        project, blob = await services.db.read(find)

        def make() -> tuple[str, str]:
            base = sha or services.source.resolve(project.id, "HEAD")[0].sha
            patch = b"".join(services.blobs.open(blob))
            return services.source.patched(project.id, base, patch), base

        return await asyncio.to_thread(make)

    async def dispatch_workflow(self, request: pb.DispatchWorkflowRequest) -> pb.DispatchWorkflowResponse:
        """A workflow_dispatch of a file by its base name."""
        if not request.workflow or "/" in request.workflow:
            raise Invalid("workflow must be the base name of a workflow file")
        options = {"event": "workflow_dispatch", "workflow": request.workflow}
        started = await self._start(
            request.repo,
            "workflow_dispatch",
            ref=request.ref or None,
            inputs=dict(request.inputs),
            options=options,
        )
        return pb.DispatchWorkflowResponse(org_id=started.org_id, run_id=started.run_id)

    async def _start(
        self,
        repo: str,
        source: str,
        *,
        options: Mapping[str, object],
        sha: str | None = None,
        ref: str | None = None,
        inputs: Mapping[str, str] | None = None,
    ) -> pb.RunResponse:
        who = asker()
        project = await self.services.db.read(lambda tx: project_named(tx, who, repo))
        require_steerer(who, project)
        run = await self.services.start(
            RunRequest(
                project=project,
                dialect="depot",
                source=source,
                actor=who.user,
                ref=ref,
                sha=sha,
                inputs=inputs,
                options=options,
            )
        )
        return pb.RunResponse(org_id=ids.ORG, run_id=ids.run(run.id))

    async def cancel_run(self, request: pb.CancelRunRequest) -> pb.CancelRunResponse:
        """Everything open of a run."""
        who, number = asker(), run_id_of(request.run_id)

        def cancel(tx: Tx) -> None:
            run, _ = _mine(tx, who, number)
            if run.state is State.DONE:
                raise Conflict(f"run is already {shapes.status(run)}")
            control.cancel_run(tx, number, self.services.now(), who.user.id or None)

        await self.services.db.write(cancel)
        await self._stopped(number)
        return pb.CancelRunResponse(run_id=request.run_id, status="cancelled")

    async def cancel_workflow(self, request: pb.CancelWorkflowRequest) -> pb.CancelWorkflowResponse:
        """Everything open of one workflow."""
        who = asker()
        _, number = ids.hear(request.workflow_id, ids.Kind.WORKFLOW)

        def cancel(tx: Tx) -> int:
            row = workflow_in(tx, number)
            _mine(tx, who, row.run_id)
            if row.state is State.DONE:
                raise Conflict(f"workflow is already {shapes.status(row)}")
            control.cancel_workflow(tx, number, self.services.now(), who.user.id or None)
            return row.run_id

        await self._stopped(await self.services.db.write(cancel))
        return pb.CancelWorkflowResponse(workflow_id=request.workflow_id, status="cancelled")

    async def cancel_job(self, request: pb.CancelJobRequest) -> pb.CancelJobResponse:
        """One job's open attempt."""
        who = asker()
        _, number = ids.hear(request.job_id, ids.Kind.JOB)

        def cancel(tx: Tx) -> int:
            job = job_in(tx, number)
            _mine(tx, who, job.run_id)
            _check_workflow(request.workflow_id, job.workflow_id)
            latest = latest_of(tx, number)
            if latest.state is State.DONE:
                raise Conflict(f"job is already {shapes.status(latest)}")
            control.cancel_job(tx, number, self.services.now(), who.user.id or None)
            return job.run_id

        await self._stopped(await self.services.db.write(cancel), job_id=number)
        return pb.CancelJobResponse(job_id=request.job_id, status="cancelled")

    async def retry_job(self, request: pb.RetryJobRequest) -> pb.RetryJobResponse:
        """A new attempt of a failed or cancelled job."""
        who = asker()
        _, number = ids.hear(request.job_id, ids.Kind.JOB)

        def retry(tx: Tx) -> pb.RetryJobResponse:
            job = job_in(tx, number)
            _mine(tx, who, job.run_id)
            _check_workflow(request.workflow_id, job.workflow_id)
            latest = latest_of(tx, number)
            if latest.outcome not in _BROKEN:
                word = job_word(latest.state, latest.outcome, latest.hold)
                raise Conflict(f"only a failed or cancelled job can be retried; this one is {word}")
            now = self.services.now()
            if control.has_begun_behind(tx, latest.id, now):
                raise Conflict(
                    "a job that needs this one has already started; retry all failed jobs, or rerun the workflow"
                )
            fresh = control.retry(tx, latest.id, now, who.user.id or None)
            return pb.RetryJobResponse(
                job_id=request.job_id,
                attempt_id=ids.attempt(fresh.id),
                attempt=fresh.number,
                status=shapes.status(fresh),
            )

        return await self.services.db.write(retry)

    async def retry_failed_jobs(self, request: pb.RetryFailedJobsRequest) -> pb.RetryFailedJobsResponse:
        """New attempts of all failed and cancelled jobs of one workflow."""
        job_ids = await self._again(request.workflow_id, frozenset(_BROKEN), "no failed or cancelled jobs")
        return pb.RetryFailedJobsResponse(
            workflow_id=request.workflow_id,
            job_ids=[ids.job(number) for number in job_ids],
            job_count=len(job_ids),
        )

    async def rerun_workflow(self, request: pb.RerunWorkflowRequest) -> pb.RerunWorkflowResponse:
        """New attempts of all jobs of a workflow that is over."""
        outcomes = frozenset(Outcome) - {Outcome.SKIPPED}
        job_ids = await self._again(request.workflow_id, outcomes, "no jobs to run again", anew=True)
        return pb.RerunWorkflowResponse(workflow_id=request.workflow_id, job_count=len(job_ids))

    async def _again(
        self, workflow_id: str, outcomes: frozenset[Outcome], nothing: str, *, anew: bool = False
    ) -> list[int]:
        """Ids of the jobs that are tried again; `anew`: as another execution of the workflow, and with them
        those skipped behind them."""
        who = asker()
        _, number = ids.hear(workflow_id, ids.Kind.WORKFLOW)

        def again(tx: Tx) -> list[int]:
            row = workflow_in(tx, number)
            _mine(tx, who, row.run_id)
            if row.state is not State.DONE:
                raise Conflict(f"workflow is still {shapes.status(row)}")
            tree = views.run_tree(tx, row.run_id)
            flow = next(view for view in tree.workflows if view.workflow.id == number)
            chosen = [job for job in flow.jobs if job.latest.outcome in outcomes]
            if not chosen:
                raise Conflict(nothing)
            if anew:
                tx.save(rerun(flow, shapes.status(row), self.services.now()))
            ids_again = [job.job.id for job in chosen]
            reset = control.retry_jobs(tx, row.run_id, ids_again, self.services.now(), who.user.id or None)
            return reset if anew else ids_again

        return await self.services.db.write(again)

    async def _stopped(self, run_id: int, job_id: int | None = None) -> None:
        """Waits a little until what was canceled has stopped; the answer says cancelled either way."""
        bell, topic = self.services.bell, f"run:{run_id}"
        until = time.monotonic() + STOP_WAIT_S

        def over(tx: Tx) -> bool:
            if job_id is not None:
                return latest_of(tx, job_id).state is State.DONE
            run = tx.get(Run, run_id)
            return run is None or run.state is State.DONE

        while (left := until - time.monotonic()) > 0:
            seen = bell.version(topic)
            if await self.services.db.read(over):
                return
            await bell.changed(topic, seen, min(left, 1.0))
            await asyncio.sleep(0)


def _mine(tx: Tx, who: Principal, run_id: int) -> tuple[Run, Project]:
    run, project = visible_run(tx, who, run_id)
    require_steerer(who, project)
    return run, project


def _check_workflow(text: str, workflow_id: int) -> None:
    if text and ids.hear(text, ids.Kind.WORKFLOW)[1] != workflow_id:
        raise NotFound("job not found in this workflow")
