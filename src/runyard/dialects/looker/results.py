"""What a run's validators found: their JSON reports, read from the report artifacts, and each validator's
status in Looker's sense.

Looker: errored = a validator could not run; failed = it ran and found errors. The engine's fold does not know
that difference for a process that exits 2; the report does. Used by `shapes`.
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
    """One finding of a LookML or style report (shape: tasks/lookml/report.py)."""

    code: str
    message: str
    severity: str
    file: str = ""
    line: int = 0
    column: int = 0
    model: str = ""
    explore: str = ""
    field: str = ""
    suggestion: str = ""
    explores: list[str] = []
    kind: str = ""
    rule_name: str = ""
    entity_type: str = ""
    entity_name: str = ""
    documentation: str = ""
    error_id: str = ""
    context: list[str] = []
    context_line: int = 0
    is_incremental: bool = False


class Fault(msgspec.Struct, frozen=True):
    """One error of a tested explore: a refusal of a database (`dimension`), a failed data test (`test`), or
    content that names what is not there."""

    message: str
    file: str = ""
    line: int = 0
    dimension: str = ""
    sql: str = ""
    sql_line: int = 0
    sql_column: int = 0
    test: str = ""
    assertion: str = ""
    field: str = ""
    content_type: str = ""
    content_id: str = ""
    title: str = ""
    folder: str = ""
    element_type: str = ""
    element: str = ""
    rows: list[dict[str, str | None]] = []  # the first failing rows of a data test; `failed_rows` counts all
    failed_rows: int = 0


class Success(msgspec.Struct, frozen=True):
    """A data test that passed."""

    test: str
    file: str = ""
    line: int = 0
    assertions: int = 0
    rows: int = 0
    warning: str = ""


class Tried(msgspec.Struct, frozen=True):
    """One explore of a report."""

    model: str
    explore: str
    status: Literal["passed", "failed", "skipped", "errored"]
    skip_reason: str = ""
    problem: str = ""
    errors: list[Fault] = []
    successes: list[Success] = []


class Report(msgspec.Struct, frozen=True):
    """A validator's JSON. Its writer ran in a sandbox with a stranger's files, so its types are checked
    here."""

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
    if attempt.reason is Reason.TIMEOUT:
        problem = f"The validator did not end within its {job.job.plan.timeout_s} seconds."
        return Validated(validator, "errored", None, problem, incremental, False, retries)
    report = _report(known.reports.get(attempt.id), blobs)
    if report is None:
        problem = attempt.message or _why(attempt.reason)
        return Validated(validator, "errored", None, problem, incremental, True, retries)
    return Validated(validator, report.status, report, report.problem, incremental, False, retries)


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
    """Looker's precedence once a run is done: cancelled, errored, failed, passed. Validators that had nothing
    to do do not count."""
    if run.state is not State.DONE:
        return word(run.state, run.outcome, run.hold)
    states = {v.status for v in found}
    for status in ("cancelled", "errored", "failed"):
        if status in states:
            return status
    return word(run.state, run.outcome, run.hold) if run.outcome is not Outcome.FAILED else "errored"
