"""Test reports of a pipeline, read from the JUnit files that its jobs uploaded. Called by routes_pipelines.

A report is a stranger's XML: no document type is accepted (so no entities), sizes are capped, and a broken file becomes a `suite_error`,
never a failed request (reliability.md §5 C16).
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass, field
from typing import Any
from xml.parsers.expat import ExpatError, ParserCreate

from runyard.engine.ports import ArtifactFilter, Page, Tx
from runyard.http.services import Services
from runyard.model.work import Run

FILE_BYTES = 30 << 20
CASES = 20_000
TEXT = 100_000
_ALL = Page(limit=10_000, descending=False)


@dataclass(slots=True)
class Suite:
    """One job's tests."""

    name: str
    job_id: int
    cases: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None

    def count(self, status: str) -> int:
        """Cases that ended so."""
        return sum(case["status"] == status for case in self.cases)

    @property
    def time_s(self) -> float:
        """Sum of the cases' times."""
        return float(round(sum(case["execution_time"] for case in self.cases), 6))


async def report(services: Services, run: Run) -> dict[str, Any]:
    """`test_report`."""
    suites = await _suites(services, run)
    shown: list[dict[str, Any]] = [
        {
            "name": s.name, "total_time": s.time_s, "total_count": len(s.cases), "success_count": s.count("success"),
            "failed_count": s.count("failed"), "skipped_count": s.count("skipped"), "error_count": s.count("error"),
            "suite_error": s.error, "test_cases": s.cases,
        }
        for s in suites
    ]  # fmt: skip
    counts = ("total_count", "success_count", "failed_count", "skipped_count", "error_count")
    totals = {key: sum(s[key] for s in shown) for key in counts}
    return {"total_time": round(sum(s.time_s for s in suites), 6), **totals, "test_suites": shown}


async def summary(services: Services, run: Run) -> dict[str, Any]:
    """`test_report_summary`."""
    full = await report(services, run)
    ids = {s.name: s.job_id for s in await _suites(services, run)}
    suites = [
        {**{k: v for k, v in s.items() if k != "test_cases"}, "build_ids": [ids[s["name"]]]}
        for s in full["test_suites"]
    ]
    total = {
        "time": full["total_time"], "count": full["total_count"], "success": full["success_count"],
        "failed": full["failed_count"], "skipped": full["skipped_count"], "error": full["error_count"], "suite_error": None,
    }  # fmt: skip
    return {"total": total, "test_suites": suites}


async def _suites(services: Services, run: Run) -> list[Suite]:
    def load(tx: Tx) -> list[tuple[str, int, str]]:
        names = {attempt.id: job.name for job, attempt in tx.graph(run.id)}
        rows = tx.artifacts(ArtifactFilter(run_id=run.id, type="junit"), _ALL)
        return [(names[row.attempt_id], row.attempt_id, row.blob) for row in rows if row.attempt_id in names]

    found = await services.db.read(load)
    return await asyncio.to_thread(lambda: [_suite(services, *one) for one in found])


def _suite(services: Services, name: str, job_id: int, blob: str) -> Suite:
    suite = Suite(name, job_id)
    try:
        for member in _members(b"".join(services.blobs.open(blob, 0, FILE_BYTES))):
            for document in _documents(member):
                _read(document, suite)
    except (ExpatError, ValueError, zlib.error) as error:
        suite.cases.clear()
        suite.error = f"JUnit XML parsing failed: {error}"[:500]
    return suite


def _members(data: bytes) -> list[bytes]:
    """Every member by itself: gitlab-runner concatenates one per matching file (contract §2.6), each a document of its own."""
    if not data.startswith(b"\x1f\x8b"):
        return [data]
    found: list[bytes] = []
    left = FILE_BYTES
    while data.startswith(b"\x1f\x8b"):
        machine = zlib.decompressobj(31)
        found.append(machine.decompress(data, left + 1))
        left -= len(found[-1])
        if left < 0 or machine.unconsumed_tail:
            raise ValueError("the report is too large")
        data = machine.unused_data
    return found


def _documents(data: bytes) -> list[bytes]:
    """Concatenated files, apart again: each begins with an XML declaration or is the only one."""
    parts = data.split(b"<?xml")
    head = [parts[0]] if parts[0].strip() else []
    return head + [b"<?xml" + part for part in parts[1:]]


def _read(document: bytes, suite: Suite) -> None:
    parser = ParserCreate()
    case: dict[str, Any] | None = None
    texts: list[str] = []

    def doctype(*_: object) -> None:
        raise ValueError("a document type is not allowed")

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal case
        texts.clear()
        if tag == "testcase":
            if len(suite.cases) >= CASES:
                raise ValueError(f"more than {CASES} test cases")
            case = _case(attributes)
            suite.cases.append(case)
        elif case is not None and tag in _STATUS:
            case["status"] = _STATUS[tag]
            texts.append(attributes.get("message", ""))

    def end(tag: str) -> None:
        nonlocal case
        if tag == "testcase":
            case = None
        elif case is not None and tag in (*_STATUS, "system-err"):
            said = "\n".join(t for t in texts if t).strip()[:TEXT]
            case["system_output"] = said or case["system_output"]

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = texts.append
    parser.buffer_text = True
    parser.Parse(document, True)


_STATUS = {"failure": "failed", "error": "error", "skipped": "skipped"}


def _case(attributes: dict[str, str]) -> dict[str, Any]:
    try:
        time_s = max(0.0, min(1e9, float(attributes.get("time", "0").replace(",", ""))))
    except ValueError:
        time_s = 0.0
    return {
        "status": "success", "name": attributes.get("name", "")[:1000], "classname": attributes.get("classname", "")[:1000],
        "file": attributes.get("file"), "execution_time": time_s if time_s == time_s else 0.0, "system_output": None,
        "stack_trace": None, "recent_failures": None, "attachment_url": None,
    }  # fmt: skip
