"""The coverage figure of a job: the last match of its pattern in the log, as GitLab reads it. Called when a
runner ends a job."""

from __future__ import annotations

from runyard.engine.ports import AttemptFilter, Page, Tx
from runyard.http.logs import log_bytes
from runyard.http.services import Services
from runyard.model.state import Outcome, State
from runyard.model.work import Attempt, Job
from runyard.syntax.reports.coverage import printed

TAIL_BYTES = 1 << 20


async def coverage_of(services: Services, attempt_id: int) -> float | None:
    """A percentage, or None without a pattern or a match. Looks at the log's last megabyte."""

    def load(tx: Tx) -> tuple[Attempt, str] | None:
        attempt = tx.get(Attempt, attempt_id)
        job = tx.get(Job, attempt.job_id) if attempt else None
        return (attempt, job.plan.coverage) if attempt and job and job.plan.coverage else None

    found = await services.db.read(load)
    if found is None:
        return None
    attempt, pattern = found
    start = max(0, attempt.log_bytes - TAIL_BYTES)
    tail = b"".join([piece async for piece in log_bytes(services, attempt.id, start, attempt.log_bytes)])
    return printed(pattern, tail)


def mean_coverage(tx: Tx, run_id: int) -> str | None:
    """A pipeline's: the mean over its successful jobs that have one, with two digits, as GitLab writes it."""
    passed = AttemptFilter(run_id=run_id, latest_only=True, wanted=((State.DONE, Outcome.PASSED),))
    found = [row.coverage for row in tx.listed(passed, Page(limit=10_000)) if row.coverage is not None]
    return f"{sum(found) / len(found):.2f}" if found else None
