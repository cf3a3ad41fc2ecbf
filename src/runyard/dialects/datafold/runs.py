"""CI configurations, their runs and the record of every diff, as functions of one transaction. Called by routes inside `db.read` and `db.write`.

A configuration is a Record (`datafold.ci`); a CI run is a Run whose `extra` names it; a diff is a Record (`datafold.diff`) pointing at its job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runyard.dialects.datafold.compile import WORKFLOW
from runyard.engine.control import cancel_run, conclude
from runyard.engine.ports import Page, RunFilter, Tx
from runyard.engine.terms import Terms
from runyard.engine.trigger import extend
from runyard.model.errors import NotFound
from runyard.model.plan import JobPlan
from runyard.model.state import OPEN, State
from runyard.model.work import Record, Run

CONFIG, DIFF, UPLOAD = "datafold.ci", "datafold.diff", "datafold.upload"
DIALECT = "datafold"
_OPEN = tuple((state, None) for state in sorted(OPEN))
MOST_SCANNED = 20_000


def config(tx: Tx, id: int) -> Record:
    """The CI configuration that a URL names."""
    found = tx.get(Record, id)
    if found is None or found.kind != CONFIG:
        raise NotFound(f"There is no CI configuration {id}.")
    return found


def about(run: Run) -> Mapping[str, Any]:
    """What the run was triggered with."""
    found: Mapping[str, Any] = run.extra.get("datafold") or {}
    return found


def runs(
    tx: Tx, owner: Record, *, sha: str | None = None, pr: str | None = None, open_only: bool = False
) -> Iterator[Run]:
    """Runs of a configuration, newest first."""
    wanted = RunFilter(
        project_id=owner.project_id, dialect=DIALECT, sha_prefix=sha, wanted=_OPEN if open_only else ()
    )
    last: int | None = None
    for _ in range(MOST_SCANNED // 500):
        page = tx.runs(wanted, Page(limit=500, after_id=last))
        for run in page:
            told = about(run)
            if told.get("ci_config_id") != owner.id or (sha is not None and run.sha != sha):
                continue
            if pr is None or str(told.get("pr_num")) == pr:
                yield run
        if len(page) < 500:
            return
        last = page[-1].id


def occurrence(tx: Tx, owner: Record, pr: str, sha: str) -> int:
    """How many runs of this pull request and commit have ended: two triggers at once count the same and so make one run."""
    return sum(run.state is State.DONE for run in runs(tx, owner, sha=sha, pr=pr))


def cancel_older(tx: Tx, owner: Record, kept: Run, pr: str, now: int) -> None:
    """A newer commit of a pull request ends what still runs for older ones."""
    for run in list(runs(tx, owner, pr=pr, open_only=True)):
        if run.id < kept.id and run.sha != kept.sha:
            cancel_run(tx, run.id, now)


def submit(tx: Tx, owner: Record, pr: str, jobs: Sequence[JobPlan], now: int, terms: Terms) -> int | None:
    """Gives the pull request's open run its diffs; None when there is no such run. No diffs at all end the run well."""
    run = next(runs(tx, owner, pr=pr, open_only=True), None)
    if run is None:
        return None
    give(tx, run.id, jobs, now, terms)
    return run.id


def give(tx: Tx, run_id: int, jobs: Sequence[JobPlan], now: int, terms: Terms) -> None:
    """Adds diffs to an open run; nothing happens to one that has ended meanwhile."""
    run = tx.get(Run, run_id)
    if run is None or run.state is State.DONE:
        return
    if jobs:
        extend(tx, run.id, WORKFLOW, jobs, now, terms)
        note_diffs(tx, run, now)
    else:
        conclude(tx, run.id, now)


def note_diffs(tx: Tx, run: Run, now: int) -> list[Record]:
    """A record for every job of the run that has none yet; its id is the diff's."""
    fresh = [
        Record(
            id=0,
            kind=DIFF,
            project_id=run.project_id,
            key=str(job.id),
            data={"run_id": run.id, "job_id": job.id, **(job.plan.extra.get("datafold") or {})},
            created_at=now,
            updated_at=now,
        )
        for job, _ in tx.graph(run.id)
        if not tx.records(DIFF, run.project_id, str(job.id), Page(limit=1))
    ]
    return tx.add_all(fresh) if fresh else []


def conclude_forgotten(tx: Tx, owner: Record, now: int) -> None:
    """Runs that nobody gave tables to within the configuration's time end well, with nothing compared."""
    patience_ms = int(owner.data.get("submit_timeout_s", 86400)) * 1000
    for run in list(runs(tx, owner, open_only=True)):
        if run.created_at + patience_ms < now and not tx.graph(run.id):
            conclude(tx, run.id, now)
