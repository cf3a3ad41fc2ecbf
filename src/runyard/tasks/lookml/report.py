"""Results as JSON, the shape that servers read. Pure; used by `validation`.

`{"schema": 1, "validator", "status": "passed"|"failed"|"errored", "incremental", "error_count", "problem",
"summary": {…}}` plus lookml: `"findings": [{code, kind, message, severity, file, line, column, model,
explore, explores, field, suggestion}]`; sql: `"tested": [{model, explore, status, skip_reason, problem,
dimensions, measures, queries, errors: [{message, dimension, sql, file, line, sql_line, sql_column}]}]`;
assert: `"tested": [{model, explore, status, skip_reason, problem, errors: [{test, assertion, message, file,
line, sql, rows, failed_rows}], successes: [{test, file, line, assertions, rows, warning}]}]`; content:
`"tested": [{model, explore, status, skip_reason, problem, elements, errors: [{message, field, suggestion,
content_type, content_id, title, folder, folder_id, element_type, element, file, line}]}]`; style:
`"findings": [{code, rule_name, message, severity, file, line, column, entity_type, entity_name, model,
explore, field, documentation, error_id, context, context_line, is_incremental}]`. `problem` is set exactly
when the status is errored. Exit codes are `EXIT`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from runyard.tasks.lookml.language.findings import Finding, Severity, at_least
from runyard.tasks.lookml.validators.asserts.run import TriedTests
from runyard.tasks.lookml.validators.catalogue import kind_of
from runyard.tasks.lookml.validators.content.check import TriedContent
from runyard.tasks.lookml.validators.sqlcheck import TriedExplore
from runyard.tasks.lookml.validators.style.check import StyleFinding

Json = dict[str, Any]
VALIDATORS = ("lookml", "style", "sql", "assert", "content")
LISTS = {"lookml": "findings", "style": "findings", "sql": "tested", "assert": "tested", "content": "tested"}
EXIT = {"passed": 0, "failed": 1, "errored": 2}


def lookml_report(
    findings: Sequence[Finding], threshold: Severity, summary: Json, *, incremental: bool = False
) -> Json:
    """All findings; those at or above the threshold decide the status."""
    bad = [f for f in findings if at_least(f, threshold)]
    counts = {s.value: sum(1 for f in findings if f.severity is s) for s in Severity}
    listed = [{**asdict(f), "explores": list(f.explores), "kind": kind_of(f.code)} for f in findings]
    return _report("lookml", bool(bad), len(bad), {**summary, **counts}, listed, incremental=incremental)


def style_report(findings: Sequence[StyleFinding], summary: Json, *, incremental: bool = False) -> Json:
    """Errors decide the status, warnings are only listed."""
    bad = sum(f.severity == "error" for f in findings)
    listed = [asdict(f) for f in findings]
    counts = {"error": bad, "warn": len(findings) - bad}
    return _report("style", bool(bad), bad, {**summary, **counts}, listed, incremental=incremental)


def sql_report(tested: Sequence[TriedExplore], summary: Json, *, incremental: bool = False) -> Json:
    """Errored when an explore could not be tested; else failed when one failed."""
    counts = {
        "explores": len(tested),
        "skipped": sum(t.status == "skipped" for t in tested),
        "dimensions": sum(t.dimensions for t in tested),
        "measures": sum(t.measures for t in tested),
        "queries": sum(t.queries for t in tested),
    }
    return _explores("sql", tested, {**summary, **counts}, incremental=incremental)


def assert_report(tested: Sequence[TriedTests], summary: Json) -> Json:
    """Errored when a test's database could not be asked; else failed when a test failed."""
    tests = sum(len({e.test for e in t.errors}) + len(t.successes) for t in tested)
    counts: Json = {"explores": len(tested), "tests": tests, "passed": sum(len(t.successes) for t in tested)}
    if not tested:
        counts["note"] = "no data test is selected"
    return _explores("assert", tested, {**summary, **counts})


def content_report(tested: Sequence[TriedContent], summary: Json, *, incremental: bool = False) -> Json:
    """Failed when content names something that is not there."""
    counts = {"explores": len(tested), "elements": sum(t.elements for t in tested)}
    return _explores("content", tested, {**summary, **counts}, incremental=incremental)


def _explores(
    validator: str,
    tested: Sequence[TriedExplore] | Sequence[TriedTests] | Sequence[TriedContent],
    summary: Json,
    *,
    incremental: bool = False,
) -> Json:
    """A report by explore; its problems are those of its explores."""
    problems = dict.fromkeys(t.problem for t in tested if t.problem)
    failed = any(t.status == "failed" for t in tested)
    count = sum(len(t.errors) for t in tested)
    listed = [asdict(t) for t in tested]
    return _report(validator, failed, count, summary, listed, "; ".join(problems), incremental=incremental)


def _report(
    validator: str,
    failed: bool,
    count: int,
    summary: Json,
    listed: list[Json],
    problem: str = "",
    *,
    incremental: bool,
) -> Json:
    return {
        "schema": 1,
        "validator": validator,
        "status": "errored" if problem else "failed" if failed else "passed",
        "incremental": incremental,
        "error_count": count,
        "problem": problem,
        "summary": summary,
        LISTS[validator]: listed,
    }


def failure(validator: str, problem: str) -> Json:
    """The validator could not run."""
    return _report(
        validator, failed=False, count=0, summary={}, listed=[], problem=problem, incremental=False
    )
