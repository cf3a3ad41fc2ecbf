"""CI configurations, their runs and the record of every diff, as functions of one transaction. Called by
routes and rounds inside `db.read` and `db.write`.

A configuration is a Record (`datafold.ci`); a CI run is a Run whose `extra` names it; a diff is a Record
(`datafold.diff`) pointing at its job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runyard.dialects.datafold.compile import WORKFLOW
from runyard.dialects.datafold.shapes import CiConfig
from runyard.engine.control import cancel_run, conclude, play
from runyard.engine.ports import Page, RunFilter, Tx
from runyard.engine.terms import Terms
from runyard.engine.trigger import extend
from runyard.model.errors import NotFound
from runyard.model.plan import JobPlan
from runyard.model.state import OPEN, Hold, State
from runyard.model.work import Project, Record, Run

CONFIG, DIFF, UPLOAD, MANIFEST = "datafold.ci", "datafold.diff", "datafold.upload", "datafold.manifest"
DIALECT = "datafold"
NO_PULL_REQUEST = "0"  # pr_num of a run that an upload or a push made: nobody told a number
_OPEN = tuple((state, None) for state in sorted(OPEN))
MOST_SCANNED = 20_000


def config(tx: Tx, id: int) -> Record:
    """The CI configuration that a URL names."""
    found = tx.get(Record, id)
    if found is None or found.kind != CONFIG:
        raise NotFound(f"There is no CI configuration {id}.")
    return found


def options(owner: Record) -> CiConfig:
    """A stored configuration with today's defaults for what it does not say."""
    return CiConfig.model_validate(owner.data)


def repository(tx: Tx, owner: Record) -> Project:
    """The configuration's project."""
    project = tx.get(Project, owner.project_id or 0)
    if project is None:
        raise NotFound("The configuration's repository was removed.")
    return project


def about(run: Run) -> Mapping[str, Any]:
    """What the run was triggered with."""
    found: Mapping[str, Any] = run.extra.get("datafold") or {}
    return found


def tell(tx: Tx, run: Run, **told: Any) -> Run:
    """Adds to what a run knows of itself, and where its report is."""
    page = {"page": f"/datadiffs/runs/{run.id}"}
    changed = replace(run, extra={**run.extra, **page, "datafold": {**about(run), **told}})
    tx.save(changed)
    return changed


def open_runs(tx: Tx) -> list[Run]:
    """Every open CI run of the server, newest first; a server has few."""
    return tx.runs(RunFilter(dialect=DIALECT, wanted=_OPEN), Page(limit=1000))


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


def run_of(tx: Tx, owner: Record, run_id: int) -> Run:
    """The configuration's run that a URL names."""
    run = tx.get(Run, run_id)
    if run is None or run.dialect != DIALECT or about(run).get("ci_config_id") != owner.id:
        raise NotFound(f"CI configuration {owner.id} has no run {run_id}.")
    return run


def occurrence(tx: Tx, owner: Record, pr: str, sha: str) -> int:
    """How many runs of this pull request and commit have ended: two triggers at once count the same and so
    make one run."""
    return sum(run.state is State.DONE for run in runs(tx, owner, sha=sha, pr=pr))


def nameless(tx: Tx, owner: Record, sha: str) -> Run | None:
    """The open run that an upload made for the commit before anybody told the pull request's number."""
    return next(runs(tx, owner, sha=sha, pr=NO_PULL_REQUEST, open_only=True), None)


def cancel_older(tx: Tx, owner: Record, kept: Run, now: int) -> None:
    """A newer commit of a pull request (of a branch, where no number is told) ends what still runs for older
    ones."""
    told = about(kept)
    pr = str(told.get("pr_num"))
    for run in list(runs(tx, owner, pr=pr, open_only=True)):
        same = pr != NO_PULL_REQUEST or (
            told.get("pr_branch") and told["pr_branch"] == about(run).get("pr_branch")
        )
        if same and run.id < kept.id and run.sha != kept.sha:
            cancel_run(tx, run.id, now)


def give(tx: Tx, run_id: int, jobs: Sequence[JobPlan], now: int, terms: Terms, **told: Any) -> bool:
    """Adds diffs to an open run, none end it well; False for one that has ended meanwhile."""
    run = tx.get(Run, run_id)
    if run is None or run.state is State.DONE:
        return False
    if told:
        run = tell(tx, run, **told)
    if jobs:
        extend(tx, run.id, WORKFLOW, jobs, now, terms)
        note_diffs(tx, run, now)
    conclude(tx, run.id, now)  # ends what still awaits jobs and has none
    return True


def confirm(tx: Tx, run_id: int, now: int, actor_id: int | None) -> None:
    """Starts every diff that waits for a person; what was started before stays as it is."""
    for _, attempt in tx.graph(run_id):
        if attempt.state is State.HELD and attempt.hold is Hold.MANUAL:
            play(tx, attempt.id, now, actor_id)


def note_diffs(tx: Tx, run: Run, now: int) -> list[Record]:
    """A record for every diff of the run that has none yet; its id is the diff's."""
    fresh = [
        Record(
            id=0,
            kind=DIFF,
            project_id=run.project_id,
            key=str(job.id),
            data={"run_id": run.id, "job_id": job.id, **(job.plan.extra["datafold"])},
            created_at=now,
            updated_at=now,
        )
        for job, _ in tx.graph(run.id)
        if job.plan.extra.get("datafold") and not tx.records(DIFF, run.project_id, str(job.id), Page(limit=1))
    ]
    return tx.add_all(fresh) if fresh else []


def records_of(tx: Tx, run: Run) -> list[Record]:
    """The run's diffs, in the order of their jobs."""
    found = [
        tx.records(DIFF, run.project_id, str(job.id), Page(limit=1))
        for job, _ in tx.graph(run.id)
        if job.plan.extra.get("datafold")
    ]
    return [record for records in found for record in records]
