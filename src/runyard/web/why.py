"""Why a job is where it is, in a sentence for people: what it waits for, or how it ended. Called by pages;
pure over rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runyard.model.plan import Order, When
from runyard.model.state import Hold, Outcome, Reason, State
from runyard.model.work import Attempt, Job, Runner

SILENT_MS = 2 * 3_600_000  # as long as the GitLab API calls a runner online
_REASONS: Mapping[Reason, str] = {
    Reason.DOWNSTREAM_MISSING: "what it should start or follow is not there",
    Reason.DOWNSTREAM_FORBIDDEN: "its user may not start pipelines there",
    Reason.DOWNSTREAM_REFUSED: "the pipeline that it should start could not be made",
    Reason.DOWNSTREAM_TOO_DEEP: "child pipelines would nest too deeply",
    Reason.DOWNSTREAM_LOOP: "these pipelines would start each other in a circle",
    Reason.TIMEOUT: "took longer than its time limit",
    Reason.OUT_OF_MEMORY: "used more memory than it may",
    Reason.RUNNER_LOST: "its runner fell silent",
    Reason.RUNNER_SYSTEM: "the runner could not run it",
    Reason.RUNNER_UNSUPPORTED: "the runner cannot do what it asks for",
    Reason.IMAGE_UNAVAILABLE: "its image could not be had",
    Reason.CHECKOUT: "the commit could not be checked out",
    Reason.MISSING_DEPENDENCY: "an artifact it needs is gone",
    Reason.LOG_TOO_BIG: "its log grew beyond the limit",
    Reason.STUCK: "no runner took it in time",
    Reason.BAD_PLAN: "an expression of its plan did not hold",
    Reason.BY_USER: "canceled by someone",
    Reason.SUPERSEDED: "something newer took its place",
    Reason.FAIL_FAST: "another leg of its matrix failed",
    Reason.GATE: "its condition did not hold",
}


def why(
    job: Job, attempt: Attempt, graph: Sequence[tuple[Job, Attempt]], runners: Sequence[Runner], now: int
) -> str:
    """The sentence; "" where the state says it all."""
    match attempt.state:
        case State.WAITING:
            return _waits(job, graph)
        case State.HELD:
            return held_for(attempt, now)
        case State.QUEUED:
            return attempt.message or _queued(job, attempt, runners, now)
        case State.DONE:
            return attempt.message or _not_begun(job, attempt, graph) or _ended(job, attempt)
        case _:
            return attempt.message


def held_for(attempt: Attempt, now: int) -> str:
    """What a held job waits for."""
    match attempt.hold:
        case Hold.MANUAL:
            return "waits for someone to start it"
        case Hold.DELAYED:
            left_s = max(0, (attempt.run_after_at or now) - now) // 1000
            return f"starts in {left_s // 60} min" if left_s >= 60 else f"starts in {left_s} s"
        case Hold.CONCURRENCY:
            return "waits for its concurrency group"
        case None:
            return ""


def finding(job: Job, attempt: Attempt) -> str:
    """What a tolerated failure tells, where its exit code has a meaning: that is a result, no failure; ""
    elsewhere."""
    return job.plan.exit_words.get(attempt.exit_code or 0, "") if attempt.tolerated else ""


def _ended(job: Job, attempt: Attempt) -> str:
    if attempt.reason is Reason.SCRIPT:
        told = job.plan.exit_words.get(attempt.exit_code or 0)
        return told or ("" if attempt.exit_code is None else f"exit code {attempt.exit_code}")
    return _REASONS.get(attempt.reason, "")


def _waits(job: Job, graph: Sequence[tuple[Job, Attempt]]) -> str:
    names = [j.name for j, a in _before(job, graph) if a.state is not State.DONE]
    return f"waits for {_named(names)}" if names else ""


def _not_begun(job: Job, attempt: Attempt, graph: Sequence[tuple[Job, Attempt]]) -> str:
    """Of a job that was skipped because of those before it; an `if` of its own may have looked at anything,
    so there nobody is named."""
    gate = job.plan.gate
    is_own = gate.expression not in (None, "success()") or gate.when is When.ON_FAILURE
    if attempt.reason is not Reason.GATE or is_own:
        return ""
    before = [(j, a) for j, a in _before(job, graph) if a.outcome is not Outcome.PASSED and not a.tolerated]
    broken = [j.name for j, a in before if a.outcome is not Outcome.SKIPPED]
    names = broken or [j.name for j, _ in before]
    return f"{_named(names)} did not pass" if names else ""


def _before(job: Job, graph: Sequence[tuple[Job, Attempt]]) -> list[tuple[Job, Attempt]]:
    """What it comes after."""
    groups = {need.group for need in job.plan.needs}
    if job.plan.gate.order is Order.NEEDS:
        found = [(j, a) for j, a in graph if {j.key, j.plan.matrix_group} & groups]
    else:
        found = [(j, a) for j, a in graph if j.plan.stage_index < job.plan.stage_index]
    return [(j, a) for j, a in found if j.workflow_id == job.workflow_id]


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _queued(job: Job, attempt: Attempt, runners: Sequence[Runner], now: int) -> str:
    tags = set(job.plan.tags)
    fit = [
        r
        for r in runners
        if r.project_id in (None, attempt.project_id)
        and (tags <= set(r.tags) if tags else r.run_untagged)
        and (job.plan.stock or not r.stock)
    ]
    what = f"jobs with the tags {', '.join(sorted(tags))}" if tags else "jobs of this project"
    if not fit:
        return f"no runner takes {what}"
    if all(r.paused for r in fit):
        return f"every runner that takes {what} is paused"
    if all(now - (r.contacted_at or 0) > SILENT_MS for r in fit if not r.paused):
        return f"every runner that takes {what} is silent"
    return "waits for a free runner"
