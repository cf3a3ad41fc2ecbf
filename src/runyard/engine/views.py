"""Read-only assembly that dialects, http and web share: the run tree, a log as bytes, a project's variables
and secrets.

run_tree(tx, run_id) -> RunView
workflow_of, attempt_of, attempt_view(tx, attempt_id) -> AttemptView
log_size(attempt) -> int
log_from(tx, blobs, attempt, start, limit_bytes) -> bytes
log_times(tx, blobs, attempt)
    when which bytes came
variables_of(tx, project, ref, vault, *, tag)
secrets_of(tx, project, ref, vault, at, *, tag)
vars_of(tx, project, vault)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from runyard.engine.ports import ArtifactFilter, AttemptFilter, Blobs, Page, Tx, Vault
from runyard.engine.sealing import times_of, unsealed
from runyard.model.errors import NotFound
from runyard.model.listing import Listed
from runyard.model.plan import Variable
from runyard.model.protection import is_protected
from runyard.model.variants import Circumstances, Variant, chosen, stars_match
from runyard.model.work import Artifact, Attempt, Job, Project, Run, SecretVariable, Step, Workflow

EVERYTHING = Page(limit=10_000, descending=False)
LOG_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with all its attempts, oldest first."""

    job: Job
    attempts: tuple[Attempt, ...]

    @property
    def latest(self) -> Attempt:
        """The attempt that counts."""
        return self.attempts[-1]


@dataclass(frozen=True, slots=True)
class WorkflowView:
    """A workflow with its jobs in position order."""

    workflow: Workflow
    jobs: tuple[JobView, ...]


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with everything below it."""

    run: Run
    workflows: tuple[WorkflowView, ...]

    @property
    def jobs(self) -> tuple[JobView, ...]:
        """All jobs of all workflows."""
        return tuple(job for workflow in self.workflows for job in workflow.jobs)


@dataclass(frozen=True, slots=True)
class AttemptView:
    """An attempt with its surroundings, steps and artifacts."""

    run: Run
    workflow: Workflow
    job: Job
    attempt: Attempt
    steps: tuple[Step, ...]
    artifacts: tuple[Artifact, ...]


def run_tree(tx: Tx, run_id: int) -> RunView:
    """Three queries, whatever the run's size; without jobs that were retired. NotFound when there is no such
    run."""
    run = tx.get(Run, run_id)
    if run is None:
        raise NotFound(f"Run {run_id} does not exist.")
    jobs: dict[int, Job] = {}
    tries: dict[int, list[Attempt]] = {}
    for job, attempt in attempts_of(tx, run_id):
        jobs[job.id] = job
        tries.setdefault(job.id, []).append(attempt)
    jobs = {job_id: job for job_id, job in jobs.items() if tries[job_id][-1].latest}
    by_workflow: dict[int, list[JobView]] = {}
    for job in sorted(jobs.values(), key=lambda j: (j.position, j.id)):
        by_workflow.setdefault(job.workflow_id, []).append(JobView(job, tuple(tries[job.id])))
    return RunView(
        run, tuple(WorkflowView(w, tuple(by_workflow.get(w.id, ()))) for w in tx.workflows(run_id))
    )


def attempts_of(tx: Tx, run_id: int) -> Iterator[tuple[Job, Attempt]]:
    """All attempts of a run by id, those of retired jobs too."""
    last: int | None = None
    while True:
        page = Page(limit=5000, after_id=last, descending=False)
        found = tx.attempts(AttemptFilter(run_id=run_id), page)
        yield from found
        if len(found) < page.limit:
            return
        last = found[-1][1].id


def job_view(tx: Tx, job: Job) -> JobView:
    """One job with its attempts."""
    found = tx.attempts(AttemptFilter(job_id=job.id), EVERYTHING)
    return JobView(job, tuple(attempt for _, attempt in found))


def attempt_view(tx: Tx, attempt_id: int) -> AttemptView:
    """One attempt with what belongs to it. NotFound when it is not there."""
    attempt = tx.get(Attempt, attempt_id)
    job = tx.get(Job, attempt.job_id) if attempt else None
    run = tx.get(Run, attempt.run_id) if attempt else None
    workflow = tx.get(Workflow, job.workflow_id) if job else None
    if attempt is None or job is None or run is None or workflow is None:
        raise NotFound(f"Attempt {attempt_id} does not exist.")
    artifacts = tx.artifacts(ArtifactFilter(attempt_id=attempt_id), EVERYTHING)
    return AttemptView(run, workflow, job, attempt, tuple(tx.steps(attempt_id)), tuple(artifacts))


def log_size(attempt: Attempt | Listed) -> int:
    """Bytes of its log, sealed or not; an erased log is empty."""
    return 0 if attempt.erased_at is not None else attempt.log_bytes


def log_from(tx: Tx, blobs: Blobs, attempt: Attempt, start: int, limit_bytes: int = LOG_PIECE_BYTES) -> bytes:
    """At most `limit_bytes` of the log from `start`; empty at its end. The same bytes before, while and after
    it is sealed."""
    size = log_size(attempt)
    end = min(size, start + limit_bytes)
    if start >= end:
        return b""
    if attempt.log_blob:
        return b"".join(unsealed(blobs, attempt.log_blob, start, end))
    parts = []
    at = start
    for offset, data in tx.log_chunks(attempt.id, start, end - start):
        piece = data[at - offset : end - offset]
        parts.append(piece)
        at += len(piece)
        if at >= end:
            break
    return b"".join(parts)


def log_times(tx: Tx, blobs: Blobs, attempt: Attempt, start: int, limit_bytes: int) -> list[tuple[int, int]]:
    """(offset, milliseconds): from which byte on the log arrived when, ascending, for that range at least;
    empty when nobody noted it."""
    if log_size(attempt) == 0:
        return []
    if attempt.log_blob:
        return times_of(blobs, attempt.log_blob)
    return tx.log_times(attempt.id, start, start + limit_bytes)


def variables_of(
    tx: Tx, project: Project, ref: str, vault: Vault, environment: str = "", *, tag: bool
) -> tuple[Variable, ...]:
    """The instance's, the groups' and the project's variables that reach this ref and environment, opened; a
    later one of the same key wins."""
    rows = [v for v in tx.secret_variables(project.id) if v.kind == "variable"]
    return tuple(
        Variable(v.key, vault.open(v.value), masked=v.masked, file=v.file, raw=v.raw, public=False)
        for v in _ordered(rows, environment)
        if reaches(v, project, ref, tag)
    )


def _ordered(rows: list[SecretVariable], environment: str) -> list[SecretVariable]:
    """Those whose scope holds the environment; of one owner the most specific scope last, the order of owners
    stays."""
    fitting = [row for row in rows if scope_holds(row.environment_scope, environment)]
    owners: dict[tuple[int, int], int] = {}
    for row in fitting:
        owners.setdefault((row.project_id or 0, row.group_id or 0), len(owners))
    return sorted(
        fitting, key=lambda r: (owners[r.project_id or 0, r.group_id or 0], _narrowness(r.environment_scope))
    )


def _narrowness(scope: str) -> tuple[bool, int]:
    return "*" not in scope, len(scope.replace("*", ""))


def scope_holds(scope: str, environment: str) -> bool:
    """Whether a variable of this scope (`*` stands for any text) is for the environment; without one only `*`
    holds."""
    if scope == "*":
        return True
    return environment != "" and stars_match(scope, environment)


def secrets_of(
    tx: Tx, project: Project, ref: str, vault: Vault, at: Circumstances, *, tag: bool
) -> dict[str, str]:
    """What `secrets.<KEY>` gives for this ref and these circumstances, opened."""
    rows = (
        v for v in tx.secret_variables(project.id) if v.kind == "secret" and reaches(v, project, ref, tag)
    )
    return {key: vault.open(sealed) for key, sealed in chosen(map(variant_of, rows), at).items()}


def vars_of(tx: Tx, project: Project, vault: Vault) -> tuple[Variant, ...]:
    """What `vars.<KEY>` may give in this project, opened; `model.variants.chosen` says which one holds
    where."""
    rows = (v for v in tx.secret_variables(project.id) if v.kind == "var")
    return tuple(replace(variant_of(row), value=vault.open(row.value)) for row in rows)


def variant_of(row: SecretVariable) -> Variant:
    """A row with its conditions, its value still sealed. One that belongs to a project is more specific than
    one that does not."""
    owned = row.project_id is not None or row.group_id is not None
    return Variant(row.key, row.value, row.extra.get("when") or {}, row.id, owned)


def reaches(variable: SecretVariable, project: Project, ref: str, tag: bool) -> bool:
    """Protected ones reach protected refs only."""
    return not variable.protected or is_protected(project, ref, tag)
