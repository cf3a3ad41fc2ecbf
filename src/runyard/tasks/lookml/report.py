"""Results as JSON (the shape that servers read) and as lines for people. Pure; used by `program` and the command line.

`{"schema": 1, "validator": "lookml"|"sql", "status": "passed"|"failed"|"errored", "error_count": n, "problem": "", "summary": {…}}` plus
lookml: `"findings": [{code, message, severity, file, line, column, model, explore, explores, field, suggestion}]`;
sql: `"tested": [{model, explore, status, skip_reason, problem, dimensions, queries, errors: [{message, dimension, sql, file, line, sql_line,
sql_column}]}]`. `problem` is set exactly when the status is errored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from runyard.tasks.lookml.language.findings import Finding, Severity, at_least
from runyard.tasks.lookml.validators.sqlcheck import TriedExplore

Json = dict[str, Any]


def lookml_report(findings: Sequence[Finding], threshold: Severity, summary: Json) -> Json:
    """All findings; those at or above the threshold decide the status."""
    bad = [f for f in findings if at_least(f, threshold)]
    counts = {s.value: sum(1 for f in findings if f.severity is s) for s in Severity}
    return {
        "schema": 1,
        "validator": "lookml",
        "status": "failed" if bad else "passed",
        "error_count": len(bad),
        "problem": "",
        "summary": {**summary, **counts},
        "findings": [{**asdict(f), "explores": list(f.explores)} for f in findings],
    }


def sql_report(tested: Sequence[TriedExplore], summary: Json) -> Json:
    """Errored when an explore could not be tested; else failed when one failed."""
    states = {t.status for t in tested}
    status = "errored" if "errored" in states else "failed" if "failed" in states else "passed"
    problems = dict.fromkeys(t.problem for t in tested if t.problem)
    return {
        "schema": 1,
        "validator": "sql",
        "status": status,
        "error_count": sum(len(t.errors) for t in tested),
        "problem": "; ".join(problems),
        "summary": {
            **summary,
            "explores": len(tested),
            "dimensions": sum(t.dimensions for t in tested),
            "queries": sum(t.queries for t in tested),
        },
        "tested": [asdict(t) for t in tested],
    }


def failure(validator: str, problem: str) -> Json:
    """The validator could not run."""
    empty: Json = {"findings": []} if validator == "lookml" else {"tested": []}
    return {
        "schema": 1,
        "validator": validator,
        "status": "errored",
        "error_count": 0,
        "problem": problem,
        "summary": {},
        **empty,
    }


EXIT = {"passed": 0, "failed": 1, "errored": 2}


def tested_lines(tested: TriedExplore) -> list[str]:
    """What a person sees of one explore."""
    marks = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip", "errored": "ERR "}
    extra = (
        tested.skip_reason or tested.problem or f"{tested.dimensions} dimensions, {tested.queries} queries"
    )
    lines = [f"{marks[tested.status]} {tested.model}/{tested.explore}  ({extra})"]
    for error in tested.errors:
        where = f"{error.file}:{error.line}" if error.file else ""
        lines.append(f"       {error.dimension or 'explore'}: {error.message}")
        if where:
            lines.append(f"         at {where}")
    return lines
