"""What a claim through the GitLab door adds to the engine's: features that a job needs, which machine took
it, two-phase commit, what the payload tells.

Called by routes_runner inside the claim's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runyard.dialects.gitlab.managers import SYSTEM_ID
from runyard.engine import dispatch
from runyard.engine.assign import inputs_of
from runyard.engine.dispatch import Finish
from runyard.engine.ending import UNCOMMITTED
from runyard.engine.ports import ArtifactFilter, AttemptFilter, Page, Sign, Tx
from runyard.http.auth import job_token
from runyard.http.services import Services
from runyard.model.errors import Conflict
from runyard.model.plan import Assignment, JobPlan
from runyard.model.state import LEASED, Outcome, Reason
from runyard.model.work import Artifact, Attempt, Run, Runner

# What GitLab itself asks of a runner before it hands out a job (contract §2.1). A runner that tells no
# features at all is asked nothing.
ASKED = frozenset(
    ("upload_multiple_artifacts", "artifacts_exclude", "fallback_cache_keys", "return_exit_code", "multi_build_steps")
)  # fmt: skip
TWO_PHASE = "two_phase_job_commit"
JOB_INPUTS = "job_inputs"
FUNCTIONS = "native_steps_integration"
MANY = 5
_ALL = Page(limit=10_000, descending=False)


@dataclass(frozen=True, slots=True)
class Claimed:
    """An assignment and what the payload says around it. `busy`: the project's jobs on the instance's
    runners, in GitLab's words."""

    given: Assignment
    archives: Sequence[tuple[str, Artifact]]
    queued_s: float
    user_id: int
    busy: str
    started_at: int  # milliseconds
    namespace_id: int
    root_namespace_id: int
    inputs: Mapping[str, Any]
    fills_inputs: bool  # the runner puts them in their places itself
    has_functions: bool  # the runner executes lists of steps (`run`)


def claim(tx: Tx, runner: Runner, info: Mapping[str, Any], now: int, services: Services, sign: Sign) -> Claimed | Conflict | None:  # fmt: skip
    """The next job that this machine may take and can execute. What it cannot ends as `runner_unsupported`,
    as in GitLab; Conflict (as a value, for the ends must stay) when that was so for as many as one request
    may look at: there may be more, so the machine asks again at once."""
    features = info.get("features")
    for _ in range(dispatch.CANDIDATES):
        given = dispatch.claim(tx, runner, job_token, now, services.terms, services.vault, sign)
        if given is None:
            return None
        lacking = needed(given.job) - set(features) if features is not None and runner.stock else set()
        if not lacking:
            return _claimed(tx, runner, given, info, now)
        told = f"The runner cannot: {', '.join(sorted(lacking))}. Update it, or give the job tags of one that can."
        end = Finish(Outcome.ERRORED, Reason.RUNNER_UNSUPPORTED, message=told)
        dispatch.finish(tx, given.attempt_id, given.token, end, now)
    return Conflict()


def needed(job: JobPlan) -> set[str]:
    """Features without which the job would end otherwise than it says."""
    found = ASKED & set(job.extra.get("gitlab", {}).get("features") or ())
    if job.allow_failure_exit_codes or job.retry.exit_codes:
        found |= {"return_exit_code"}
    return set(found)


def _claimed(tx: Tx, runner: Runner, given: Assignment, info: Mapping[str, Any], now: int) -> Claimed:
    attempt, run = tx.get(Attempt, given.attempt_id), tx.get(Run, given.run_id)
    assert attempt is not None and run is not None  # noqa: S101 - claimed in this very transaction
    extra = {**attempt.extra, SYSTEM_ID: info[SYSTEM_ID]}
    if TWO_PHASE in (info.get("features") or ()):
        extra[UNCOMMITTED] = True
    tx.save(replace(attempt, extra=extra))
    queued_at = now if attempt.queued_at is None else attempt.queued_at
    return Claimed(
        given=given,
        archives=_archives(tx, given),
        queued_s=max(0, now - queued_at) / 1000,
        user_id=attempt.actor_id or run.actor_id or 0,
        busy=_busy(tx, runner, given),
        started_at=now,
        namespace_id=_group_id(tx, given.project_path.rpartition("/")[0]),
        root_namespace_id=_group_id(tx, given.project_path.partition("/")[0]),
        inputs=inputs_of(given.job, attempt),
        fills_inputs=JOB_INPUTS in (info.get("features") or ()),
        has_functions=FUNCTIONS in (info.get("features") or ()),
    )


def _group_id(tx: Tx, path: str) -> int:
    """As the API shows it."""
    group = tx.group_by_path(path)
    return group.id if group else 0


def _busy(tx: Tx, runner: Runner, given: Assignment) -> str:
    """`project_jobs_running_on_instance_runners_count` is a text: "0" to "5", "5+" beyond, "+Inf" for runners
    that are not the instance's."""
    if not runner.serves_all:
        return "+Inf"
    wanted = AttemptFilter(project_id=given.project_id, wanted=tuple((state, None) for state in LEASED))
    count = len(tx.attempts(wanted, Page(limit=MANY + 2))) - 1
    return f"{MANY}+" if count > MANY else str(max(0, count))


def _archives(tx: Tx, given: Assignment) -> list[tuple[str, Artifact]]:
    """Archives that the job's needs left, as the payload's dependencies."""
    names = {one.attempt_id: one.job_name for one in given.inputs if one.from_need}
    if not names:
        return []
    rows = tx.artifacts(ArtifactFilter(attempt_ids=tuple(names), type="archive"), _ALL)
    wanted = given.job.extra.get("gitlab", {}).get("dependencies")
    return [(names[r.attempt_id], r) for r in rows if wanted is None or names[r.attempt_id] in wanted]
