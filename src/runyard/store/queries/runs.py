"""Runs, workflows, jobs with their attempts, steps."""
# ruff: noqa: S608 - only names of columns and marks are pasted into SQL; every value is bound

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from runyard.engine.ports import AttemptFilter, Page, RunFilter
from runyard.model.work import Attempt, Job, Run, Step
from runyard.store.link import Columns, Link
from runyard.store.queries.listing import page_of_attempts
from runyard.store.queries.lists import Conditions, count_of_states, window_of_states
from runyard.store.rows import ATTEMPT, JOB, RUN, STEP, WORKFLOW

MOST_COUNTED = 10_001
AT_ONCE = 500  # jobs by their ids in one statement

_RUN_BY_IDEMPOTENCY = f"{RUN.select} WHERE project_id = ? AND idempotency_key = ?"
_ANY_BEFORE = "SELECT 1 FROM runs WHERE updated_at < ? LIMIT 1"
_WORKFLOWS = f"{WORKFLOW.select} WHERE run_id = ? ORDER BY id"
_STEPS = f"{STEP.select} WHERE attempt_id = ? ORDER BY position"
_JOBS_OF_RUN = f"{JOB.select} WHERE run_id = ?"
_GRAPH = f"""
    SELECT {ATTEMPT.prefixed("a")} FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.latest = 1
    WHERE j.run_id = ? ORDER BY j.position, j.id"""
_SET_OPEN_GROUP = "UPDATE attempts SET concurrency_group = ? WHERE job_id = ? AND state <> 'done'"
_SAVE_STEP = f"{STEP.insert} ON CONFLICT (attempt_id, position) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in STEP.names[2:]
)

DecodeAttempt = Callable[[Columns], Attempt]
FindJobs = Callable[[Iterable[int]], dict[int, Job]]


def run_by_idempotency(link: Link, project_id: int, key: str) -> Run | None:
    found = link.rows(_RUN_BY_IDEMPOTENCY, (project_id, key))
    return RUN.decode(found[0]) if found else None


def runs(link: Link, filter: RunFilter, page: Page) -> list[Run]:
    before = filter.updated_before_at
    if before is not None and not link.rows(_ANY_BEFORE, (before,)):
        return []  # the usual answer to retention, which otherwise would walk all of history to find nothing
    found = window_of_states(link, RUN.select, _conditions(filter), filter.wanted, page)
    return [RUN.decode(r) for r in found]


def count_runs(link: Link, filter: RunFilter) -> int:
    return count_of_states(link, "runs", _conditions(filter), filter.wanted, MOST_COUNTED)


def _conditions(filter: RunFilter) -> Conditions:
    conditions = Conditions()
    conditions.equal("project_id", filter.project_id)
    conditions.equal("dialect", filter.dialect)
    conditions.equal("ref", filter.ref)
    conditions.equal("source", filter.source)
    if filter.not_source is not None:
        conditions.add("source <> ?", filter.not_source)
    if filter.sha_prefix is not None:
        if len(filter.sha_prefix) >= 40:
            conditions.equal("sha", filter.sha_prefix)
        else:
            conditions.add("substr(sha, 1, ?) = ?", len(filter.sha_prefix), filter.sha_prefix)
    if filter.tag is not None:
        conditions.equal("tag", int(filter.tag))
    if filter.updated_after_at is not None:
        conditions.add("updated_at > ?", filter.updated_after_at)
    if filter.updated_before_at is not None:
        conditions.add("updated_at < ?", filter.updated_before_at)
    if filter.created_after_at is not None:
        conditions.add("created_at > ?", filter.created_after_at)
    if filter.created_before_at is not None:
        conditions.add("created_at < ?", filter.created_before_at)
    return conditions


def workflows(link: Link, run_id: int) -> list[Columns]:
    return link.rows(_WORKFLOWS, (run_id,))


def jobs_of_run(link: Link, run_id: int) -> list[Job]:
    return [JOB.decode(r) for r in link.rows(_JOBS_OF_RUN, (run_id,))]


def jobs_by_id(link: Link, ids: Sequence[int]) -> list[Job]:
    found: list[Job] = []
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        marks = ", ".join("?" * len(some))
        found += [JOB.decode(r) for r in link.rows(f"{JOB.select} WHERE id IN ({marks})", some)]
    return found


def latest_attempts(link: Link, run_id: int, decode: DecodeAttempt) -> list[Attempt]:
    """One per job, in the jobs' order."""
    return [decode(r) for r in link.rows(_GRAPH, (run_id,))]


def attempts(
    link: Link, filter: AttemptFilter, page: Page, decode: DecodeAttempt, find_jobs: FindJobs
) -> list[tuple[Job, Attempt]]:
    rows = [decode(r) for r in page_of_attempts(link, ATTEMPT.select, filter, page)]
    jobs = find_jobs(a.job_id for a in rows)
    return [(jobs[a.job_id], a) for a in rows]


def set_open_group(link: Link, job_id: int, group: str) -> None:
    link.run(_SET_OPEN_GROUP, (group, job_id))


def steps(link: Link, attempt_id: int) -> list[Step]:
    return [STEP.decode(r) for r in link.rows(_STEPS, (attempt_id,))]


def save_step(link: Link, step: Step) -> None:
    link.run(_SAVE_STEP, STEP.encode(step))
