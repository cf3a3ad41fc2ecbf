"""Looker's JSON for what validators found: the results and error leaves that both run families share. Pure;
called by `shapes`.

`line_number` is a text in lookml and sql errors and a number in style errors, as Looker has it. Beside
Looker's fields errors carry `file_path` and, for SQL, the `sql`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runyard.dialects.looker.links import Links
from runyard.dialects.looker.results import Fault, Found, Report, Success, Tried, Validated
from runyard.tasks.lookml.language.findings import hinted

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """What every result needs: where links lead, and the family's name for the list of explores (`tested`,
    legacy `result` or `results`)."""

    links: Links
    is_legacy: bool

    def list_key(self, validator: str) -> str:
        """Legacy: `results` for assert, `result` for the others (looker.md §3)."""
        if not self.is_legacy:
            return "tested"
        return "results" if validator == "assert" else "result"


def generic(detail: str) -> Json:
    """GenericError: the validator could not run."""
    return _problem("/errors/validator-unavailable", "The validator could not run.", detail)


def _problem(kind: str, title: str, detail: str) -> Json:
    return {"type": kind, "title": title, "detail": detail, "status": None, "instance": None}


def _leaf(title: str, detail: str) -> Json:
    return _problem("/errors/validation-error", title, detail)


def lookml(found: Validated, report: Report, frame: Frame) -> Json:
    """LookMLValidatorResult; the same in both families."""
    errors = [{"lookml_error": _lookml_error(f, frame), "generic_error": None} for f in report.findings]
    return {"name": "lookml", "status": found.status, "error_count": report.error_count, "errors": errors}


def _lookml_error(finding: Found, frame: Frame) -> Json:
    seen = f" (in {', '.join(finding.explores)})" if len(finding.explores) > 1 else ""
    detail = f"The LookML validator found a problem of the kind {finding.code}."
    return {
        **_leaf("A LookML error occurred.", detail),
        "model": finding.model or None,
        "explore": finding.explore or None,
        "field_name": finding.field or None,
        "message": hinted(finding.message, finding.suggestion) + seen,
        "severity": finding.severity,
        "line_number": str(finding.line) if finding.line else None,
        "lookml_url": frame.links.lookml(finding.file, finding.line),
        "file_path": finding.file or None,
    }


def style(found: Validated, report: Report, frame: Frame) -> Json:
    """CIStyleValidatorResult; 26.18 and later."""
    errors = [{"style_error": _style_error(f, frame), "generic_error": None} for f in report.findings]
    return {
        "name": "style",
        "incremental": found.incremental,
        "status": found.status,
        "error_count": report.error_count,
        "errors": errors,
    }


def _style_error(finding: Found, frame: Frame) -> Json:
    return {
        **_leaf("A style rule is broken.", f"Rule {finding.rule_name or finding.code}."),
        "model": finding.model or None,
        "explore": finding.explore or None,
        "field_name": finding.field or None,
        "message": finding.message,
        "severity": finding.severity,
        "line_number": finding.line or None,
        "character": finding.column or None,
        "lookml_url": frame.links.lookml(finding.file, finding.line),
        "file_path": finding.file or None,
        "rule_name": finding.rule_name or finding.code,
        "entity_type": finding.entity_type or None,
        "entity_name": finding.entity_name or None,
        "is_incremental": finding.is_incremental,
        "error_id": finding.error_id or None,
        "documentation_url": finding.documentation or None,
        "context": finding.context,
        "context_line_number": finding.context_line or None,
    }


def tested(found: Validated, report: Report, frame: Frame) -> Json:
    """The results that list explores: sql, assert, content."""
    name = found.validator
    explores = [_explore(t, name, frame) for t in report.tested]
    shaped: Json = {"name": name, "status": found.status, frame.list_key(name): explores}
    return shaped if name == "assert" else {**shaped, "incremental": found.incremental}


def _explore(tried: Tried, name: str, frame: Frame) -> Json:
    leaf: Callable[[Fault, Tried, Frame], Json] = ERRORS[name]
    errors: list[Json] = [
        {f"{name}_error": leaf(e, tried, frame), "generic_error": None} for e in tried.errors
    ]
    if tried.problem:
        errors.append({f"{name}_error": None, "generic_error": generic(tried.problem)})
    shaped: Json = {
        "model": tried.model,
        "explore": tried.explore,
        "status": tried.status,
        "skip_reason": tried.skip_reason or None,
        "error_count": len(errors),
        "errors": errors,
    }
    if name == "assert":
        shaped["success_count"] = str(len(tried.successes))
        shaped["successes"] = [_test_success(s, tried, frame) for s in tried.successes]
    return shaped


def _sql_error(error: Fault, tried: Tried, frame: Frame) -> Json:
    return {
        **_leaf("A SQL error occurred.", "The database refused the explore's SQL."),
        "model": tried.model,
        "explore": tried.explore,
        "message": error.message,
        "explore_url": None,
        "lookml_url": frame.links.lookml(error.file, error.line),
        "dimension": error.dimension or None,
        "line_number": str(error.line) if error.line else None,
        "file_path": error.file or None,
        "sql": error.sql or None,
    }


def _test_error(error: Fault, tried: Tried, frame: Frame) -> Json:
    said = f"{error.assertion}: {error.message}" if error.assertion else error.message
    return {
        **_test(error.test, error.file, error.line, tried, frame),
        "message": said,
        "file_path": error.file or None,
        "sql": error.sql or None,
    }


def _test_success(passed: Success, tried: Tried, frame: Frame) -> Json:
    return _test(passed.test, passed.file, passed.line, tried, frame)


def _test(name: str, file: str, line: int, tried: Tried, frame: Frame) -> Json:
    return {
        "model": tried.model,
        "explore": tried.explore,
        "test_name": name,
        "explore_url": None,
        "lookml_url": frame.links.lookml(file, line),
    }


def _content_error(error: Fault, tried: Tried, frame: Frame) -> Json:
    is_tile = error.element_type in ("dashboard_element", "dashboard_filter")
    return {
        **_leaf("A content error occurred.", "Content names what its explore does not have."),
        "model": tried.model or None,
        "explore": tried.explore or None,
        "field_name": error.field,
        "content_type": error.content_type or "dashboard",
        "folder": error.folder or None,
        "url": frame.links.lookml(error.file, error.line),
        "tile_type": error.element_type if is_tile else None,
        "tile_title": (error.element or None) if is_tile else None,
        "title": error.title or "A content error occurred.",
        "message": error.message,
        "file_path": error.file or None,
    }


ERRORS: dict[str, Callable[[Fault, Tried, Frame], Json]] = {
    "sql": _sql_error,
    "assert": _test_error,
    "content": _content_error,
}
RESULTS: dict[str, Callable[[Validated, Report, Frame], Json]] = {
    "lookml": lookml,
    "style": style,
    "sql": tested,
    "assert": tested,
    "content": tested,
}
