"""What a run's validators found: their JSON reports, read from the report artifacts, and each validator's status in Looker's sense.

Looker: errored = a validator could not run; failed = it ran and found errors. The engine's fold does not know that difference for a
process that exits 2; the report does. Used by `shapes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from runyard.dialects.looker.compile import REPORT
from runyard.dialects.looker.words import word
from runyard.engine.ports import ArtifactFilter, Blobs, Page, Tx
from runyard.engine.views import JobView, RunView, run_tree
from runyard.model.errors import RunyardError
from runyard.model.state import Outcome, Reason, State
from runyard.model.work import Artifact, Run

MAX_REPORT_BYTES = 32 << 20
_ALL = Page(limit=100, descending=False)


class Found(msgspec.Struct, frozen=True):
    """One LookML finding of a report (shape: tasks.lookml.report)."""

    code: str
    message: str
    severity: str
    file: str = ""
    line: int = 0
    model: str = ""
    explore: str = ""
    field: str = ""
    suggestion: str = ""
    explores: list[str] = []


class SqlFault(msgspec.Struct, frozen=True):
    """One refusal of a database."""

    message: str
    dimension: str = ""
    sql: str = ""
    file: str = ""
    line: int = 0


class Tried(msgspec.Struct, frozen=True):
    """One explore of a SQL report."""

    model: str
    explore: str
    status: Literal["passed", "failed", "skipped", "errored"]
    skip_reason: str = ""
    problem: str = ""
    errors: list[SqlFault] = []


class Report(msgspec.Struct, frozen=True):
    """A validator's JSON. Its writer ran in a sandbox with a stranger's files, so its types are checked here."""

    status: Literal["passed", "failed", "errored"]
    error_count: int = 0
    problem: str = ""
    findings: list[Found] = []
    tested: list[Tried] = []


@dataclass(frozen=True, slots=True)
class Validated:
    """One validator of a run. `problem` is set when it errored; `report` when it left one."""

    validator: str
    status: str
    report: Report | None = None
    problem: str = ""
    incremental: bool = False
    crashed: bool = False
    retries: int = 0


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Everything that the shapes of a run need, read in one transaction; reports are read after it."""

    view: RunView
    reports: Mapping[int, Artifact]  # by attempt
    actor: str
    project_path: str


def facts(tx: Tx, run: Run, actor: str, project_path: str) -> RunFacts:
    """The rows behind one run."""
    view = run_tree(tx, run.id)
    found = {a.attempt_id: a for a in tx.artifacts(ArtifactFilter(run_id=run.id, type=REPORT), _ALL)}
    return RunFacts(view, found, actor, project_path)


def extra_of(run: Run) -> Mapping[str, Any]:
    """What compile left on the run."""
    found = run.extra.get("looker")
    return found if isinstance(found, Mapping) else {}


def validated(known: RunFacts, blobs: Blobs) -> list[Validated]:
    """Each validator of the run, in plan order."""
    return [_one(job, known, blobs) for job in known.view.jobs]


def _one(job: JobView, known: RunFacts, blobs: Blobs) -> Validated:
    attempt = job.latest
    marks: Mapping[str, Any] = job.job.plan.extra.get("looker") or {}
    validator = str(marks.get("validator", job.job.key))
    incremental = bool((extra_of(known.view.run).get("incremental") or {}).get(validator))
    status = word(attempt.state, attempt.outcome, attempt.hold)
    retries = len(job.attempts) - 1
    if attempt.state is not State.DONE or attempt.outcome in (Outcome.CANCELED, Outcome.SKIPPED):
        return Validated(validator, status, incremental=incremental, retries=retries)
    if marks.get("refused"):
        return Validated(validator, "errored", None, str(marks["refused"]), incremental, False, retries)
    report = _report(known.reports.get(attempt.id), blobs)
    if report is None:
        problem = attempt.message or _why(attempt.reason)
        return Validated(validator, "errored", None, problem, incremental, True, retries)
    timed_out = attempt.reason is Reason.TIMEOUT
    status = "errored" if timed_out else report.status
    problem = "The validator did not end in time." if timed_out else report.problem
    return Validated(validator, status, report, problem, incremental, False, retries)


def _why(reason: Reason) -> str:
    return f"The validator left no result ({reason.value or 'unknown reason'}); see the job's log."


def _report(artifact: Artifact | None, blobs: Blobs) -> Report | None:
    """The validator's JSON; None when there is none or it is not one of ours."""
    if artifact is None or artifact.size_bytes > MAX_REPORT_BYTES:
        return None
    try:
        return msgspec.json.decode(b"".join(blobs.open(artifact.blob)), type=Report)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, RunyardError):
        return None


def run_status(run: Run, found: list[Validated]) -> str:
    """Looker's precedence once a run is done: cancelled, errored, failed, passed."""
    if run.state is not State.DONE:
        return word(run.state, run.outcome, run.hold)
    states = {v.status for v in found}
    for status in ("cancelled", "errored", "failed"):
        if status in states:
            return status
    return word(run.state, run.outcome, run.hold) if run.outcome is not Outcome.FAILED else "errored"
