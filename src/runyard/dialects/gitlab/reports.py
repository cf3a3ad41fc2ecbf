"""Test reports of a pipeline, read from the JUnit files that its jobs uploaded. Called by routes_pipelines.

A broken file becomes a `suite_error`, never a failed request. What reading costs is bounded in
`syntax.reports`.
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass, field
from typing import Any
from xml.parsers.expat import ExpatError

from runyard.engine.ports import ArtifactFilter, Page, Tx
from runyard.http.services import Services
from runyard.model.work import Job, Run
from runyard.syntax.reports import junit
from runyard.syntax.reports.members import PACKED_BYTES, members

_ALL = Page(limit=10_000, descending=False)


@dataclass(slots=True)
class Suite:
    """The tests of one job, or of the jobs that `parallel: N` made of one."""

    name: str
    job_ids: list[int] = field(default_factory=list)
    cases: list[junit.Case] = field(default_factory=list)
    error: str | None = None

    @property
    def shown(self) -> dict[str, Any]:
        """Without its cases."""
        tests = junit.Suite(self.cases)
        return {
            "name": self.name, "total_time": tests.time_s, "total_count": len(self.cases), "success_count": tests.count(junit.PASSED),
            "failed_count": tests.count(junit.FAILED), "skipped_count": tests.count(junit.SKIPPED), "error_count": tests.count(junit.ERROR),
            "suite_error": self.error,
        }  # fmt: skip


COUNTS = ("total_count", "success_count", "failed_count", "skipped_count", "error_count")


async def report(services: Services, run: Run) -> dict[str, Any]:
    """`test_report`."""
    suites = [
        suite.shown | {"test_cases": [_case(c) for c in suite.cases]}
        for suite in await _suites(services, run)
    ]
    totals = {key: sum(suite[key] for suite in suites) for key in COUNTS}
    return {
        "total_time": round(sum(suite["total_time"] for suite in suites), 6), **totals, "test_suites": suites,
    }  # fmt: skip


async def summary(services: Services, run: Run) -> dict[str, Any]:
    """`test_report_summary`."""
    suites = [suite.shown | {"build_ids": suite.job_ids} for suite in await _suites(services, run)]
    total = {key.removesuffix("_count"): sum(suite[key] for suite in suites) for key in COUNTS}
    count = total.pop("total")
    time_s = round(sum(suite["total_time"] for suite in suites), 6)
    return {"total": {"time": time_s, "count": count, **total, "suite_error": None}, "test_suites": suites}


async def _suites(services: Services, run: Run) -> list[Suite]:
    def load(tx: Tx) -> list[tuple[str, int, str]]:
        names = {attempt.id: _suite_name(job) for job, attempt in tx.graph(run.id)}
        rows = tx.artifacts(ArtifactFilter(run_id=run.id, type="junit"), _ALL)
        return [(names[row.attempt_id], row.attempt_id, row.blob) for row in rows if row.attempt_id in names]

    found = await services.db.read(load)
    return await asyncio.to_thread(_read, services, found)


def _suite_name(job: Job) -> str:
    """GitLab: legs of a matrix are suites of their own, those of `parallel: N` are one
    (`Ci::Build#test_suite_name`)."""
    is_leg = bool((job.plan.extra.get("gitlab") or {}).get("matrix"))
    return job.name if is_leg or not job.plan.group else job.plan.group


def _read(services: Services, found: list[tuple[str, int, str]]) -> list[Suite]:
    suites: dict[str, Suite] = {}
    for name, job_id, blob in found:
        suite = suites.setdefault(name, Suite(name))
        suite.job_ids.append(job_id)
        try:
            data = b"".join(services.blobs.open(blob, 0, PACKED_BYTES))
            suite.cases += junit.read(members(data)).cases
        except (ExpatError, ValueError, zlib.error) as error:
            suite.error = f"JUnit XML parsing failed: {error}"[:500]
    return list(suites.values())


def _case(case: junit.Case) -> dict[str, Any]:
    return {
        "status": case.status, "name": case.name, "classname": case.classname, "file": case.file, "execution_time": case.time_s,
        "system_output": case.output, "stack_trace": None, "recent_failures": None, "attachment_url": None,
    }  # fmt: skip
