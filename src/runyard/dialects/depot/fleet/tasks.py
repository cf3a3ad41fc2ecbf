"""Claiming for a runner of another make: one attempt, and all that its program asks for around it
(contracts/depot.md §8, "Task"). Called by `door`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protobuf.wkt import Struct

from runyard.dialects.depot.fleet.payload import one_job
from runyard.dialects.depot.gen.runner.v1 import messages_pb as pb
from runyard.engine import dispatch
from runyard.engine.dispatch import Finish
from runyard.engine.ports import Tx
from runyard.http.auth import JOB_PREFIX
from runyard.http.services import Services
from runyard.model.errors import RunyardError
from runyard.model.plan import Assignment
from runyard.model.state import Outcome, Reason
from runyard.model.work import Job, Runner, Workflow
from runyard.runner.actions.reach import runtime_token

RESULTS = {
    "success": pb.Result.SUCCESS,
    "failure": pb.Result.FAILURE,
    "cancelled": pb.Result.CANCELLED,
    "skipped": pb.Result.SKIPPED,
}


@dataclass(frozen=True, slots=True)
class Tasks:
    """The queue, as these runners see it."""

    services: Services

    def token(self, runner: Runner, attempt_id: int) -> str:
        """The job token of an attempt at this runner: made again when it is needed, so that it is kept
        nowhere. The runner gets it with the task."""
        return f"{JOB_PREFIX}{attempt_id}-{self.services.sign(f'fleet task {attempt_id} of runner {runner.id}', 0)[:40]}"

    async def next(self, runner: Runner) -> pb.Task | None:
        """One task; None when there is nothing for this runner. A job whose file cannot be handed out ends
        with the reason."""
        services = self.services
        while True:
            found = await services.db.write(lambda tx: self._claim(tx, runner))
            if found is None:
                return None
            work, path, job_id = found
            try:
                text = services.source.files(work.project_id, work.sha).read(path)
                payload = one_job(text or b"", path, job_id, work.job)
            except RunyardError as error:
                end = Finish(Outcome.ERRORED, Reason.BAD_PLAN, message=error.message)
                await services.db.write(
                    lambda tx, work=work, end=end: dispatch.finish(
                        tx, work.attempt_id, work.token, end, services.now()
                    )  # type: ignore[misc]
                )
                continue
            return _task(work, payload, services)

    def _claim(self, tx: Tx, runner: Runner) -> tuple[Assignment, str, str] | None:
        services = self.services
        work = dispatch.claim(
            tx, runner, lambda id: self.token(runner, id), services.now(), services.terms, services.vault
        )
        if work is None:
            return None
        job = tx.get(Job, work.job_id)
        workflow = tx.get(Workflow, job.workflow_id) if job is not None else None
        return work, workflow.path if workflow is not None else "", work.job.matrix_group


def _task(work: Assignment, payload: bytes, services: Services) -> pb.Task:
    facts = work.facts
    needs = {
        str(name): pb.TaskNeed(
            outputs=_texts(need.get("outputs")),
            result=RESULTS.get(str(need.get("result")), pb.Result.SKIPPED),
        )
        for name, need in (facts.get("needs") or {}).items()
    }
    secrets = _texts(facts.get("secrets"))
    return pb.Task(
        id=work.attempt_id,
        workflow_payload=payload,
        context=Struct.from_python(_context(work, services)),
        secrets={**secrets, "GITHUB_TOKEN": work.token, "GITEA_TOKEN": work.token},
        needs=needs,
        vars=_texts(facts.get("vars")),
    )


def _context(work: Assignment, services: Services) -> dict[str, Any]:
    """The `github` context as these runners read it: texts, but for the event."""
    known: Mapping[str, Any] = work.facts.get("github") or {}
    told = {
        key: str(value)
        for key, value in known.items()
        if isinstance(value, str | int) and not isinstance(value, bool)
    }
    base = getattr(services.settings, "actions_url", "") or "https://github.com"
    return {
        **told,
        "event": known.get("event") or {},
        "run_id": str(work.run_id),
        "run_number": str(work.run_number),
        "run_attempt": str(work.attempt_number),
        "job": work.job.matrix_group,
        "token": work.token,
        "gitea_default_actions_url": base,
        "forgejo_default_actions_url": base,
        "gitea_runtime_token": runtime_token(work),
        "forgejo_runtime_token": runtime_token(work),
    }


def _texts(found: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in (found or {}).items()}
