"""Looker's JSON for runs, in both families: legacy `ProjectRun` (`result`/`results`) and `CIRun` (`tested`). Pure; called by routes_runs.

One internal picture (`results`) feeds both. Times are ISO 8601 with milliseconds; `line_number` is a text in lookml and sql errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from runyard.dialects.looker.results import (
    Found,
    Report,
    RunFacts,
    SqlFault,
    Tried,
    Validated,
    extra_of,
    run_status,
)

Json = dict[str, Any]


def time(at: int | None) -> str | None:
    """Milliseconds as Looker writes times."""
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")


def generic(detail: str) -> Json:
    """GenericError: the validator could not run."""
    return {
        "type": "/errors/validator-unavailable",
        "title": "The validator could not run.",
        "detail": detail,
        "status": None,
        "instance": None,
    }


def _leaf(title: str, detail: str) -> Json:
    return {
        "type": "/errors/validation-error",
        "title": title,
        "detail": detail,
        "status": None,
        "instance": None,
    }


def _link(project: str, file: str, line: int) -> str | None:
    """Where the LookML stands, in the form of Looker's own `lookml_link`."""
    return f"/projects/{project}/files/{file}?line={line}" if file else None


def lookml_result(found: Validated, report: Report, project: str) -> Json:
    """LookMLValidatorResult; the same in both families."""
    errors = [{"lookml_error": _lookml_error(f, project), "generic_error": None} for f in report.findings]
    return {"name": "lookml", "status": found.status, "error_count": report.error_count, "errors": errors}


def _lookml_error(finding: Found, project: str) -> Json:
    hint = f" Did you mean {finding.suggestion}?" if finding.suggestion else ""
    seen = f" (in {', '.join(finding.explores)})" if len(finding.explores) > 1 else ""
    return {
        **_leaf(
            "A LookML error occurred.", f"The LookML validator found a problem of the kind {finding.code}."
        ),
        "model": finding.model or None,
        "explore": finding.explore or None,
        "field_name": finding.field or None,
        "message": f"{finding.message}{hint}{seen}",
        "severity": finding.severity,
        "line_number": str(finding.line) if finding.line else None,
        "lookml_url": _link(project, finding.file, finding.line),
        "file_path": finding.file or None,
    }


def sql_result(found: Validated, report: Report, project: str, list_key: str) -> Json:
    """SqlValidatorResult (`result`) or CISqlValidatorResult (`tested`)."""
    tested = [_tested(t, project) for t in report.tested]
    return {"name": "sql", "incremental": found.incremental, "status": found.status, list_key: tested}


def _tested(tried: Tried, project: str) -> Json:
    errors: list[Json] = [
        {"sql_error": _sql_error(e, tried, project), "generic_error": None} for e in tried.errors
    ]
    if tried.problem:
        errors.append({"sql_error": None, "generic_error": generic(tried.problem)})
    return {
        "model": tried.model,
        "explore": tried.explore,
        "status": tried.status,
        "skip_reason": tried.skip_reason or None,
        "error_count": len(errors),
        "errors": errors,
    }


def _sql_error(error: SqlFault, tried: Tried, project: str) -> Json:
    return {
        **_leaf("A SQL error occurred.", "The database refused the explore's SQL."),
        "model": tried.model,
        "explore": tried.explore,
        "message": error.message,
        "explore_url": None,
        "lookml_url": _link(project, error.file, error.line),
        "dimension": error.dimension or None,
        "line_number": str(error.line) if error.line else None,
        "file_path": error.file or None,
        "sql": error.sql or None,
    }


def results(known: RunFacts, found: Sequence[Validated], list_key: str) -> Json:
    """RunResult or CIRunResult: `<validator>_result` for those that ran, `<validator>_error` for those that could not."""
    shaped: Json = {}
    for name in ("sql", "assert", "content", "lookml", "style"):
        shaped[f"{name}_result"] = None
        shaped[f"{name}_error"] = None
    shaped["generic_error"] = None
    project = known.project_path
    for one in found:
        if one.report is not None and one.validator == "lookml":
            shaped["lookml_result"] = lookml_result(one, one.report, project)
        elif one.report is not None and one.validator == "sql":
            shaped["sql_result"] = sql_result(one, one.report, project, list_key)
        elif one.problem:
            shaped[f"{one.validator}_error"] = generic(one.problem)
        if one.report is not None and one.problem:
            shaped[f"{one.validator}_error"] = generic(one.problem)
    if known.view.run.error:
        shaped["generic_error"] = generic(known.view.run.error)
    return shaped


TRIGGERS = {"api": "manual", "web": "manual", "schedule": "schedule", "merge_request_event": "change_request"}


def legacy_run(known: RunFacts, found: list[Validated]) -> Json:
    """ProjectRun of the family of 25.6 to 26.12."""
    run, extra = known.view.run, extra_of(known.view.run)
    shaped = results(known, found, "result")
    for name in ("style_result", "style_error"):
        shaped.pop(name)
    return {
        "run": {
            "run_id": str(run.id),
            "created_at": time(run.created_at),
            "started_at": time(run.started_at),
            "finished_at": time(run.finished_at),
            "status_url": None,
            "status": run_status(run, found),
            "git_service": None,
            "git_state": {
                "branch": run.ref,
                "repository": known.project_path,
                "commit_ref": run.sha,
                "target": None,
            },
            "result": shaped,
            "schedule": {"enabled": False, "day": None, "hour": None, "frequency": "daily"},
            "target_branch": None,
            "title": run.name,
            "trigger": TRIGGERS.get(run.source, "unknown"),
            "change_request": None,
            "suite_id": str(extra.get("suite_id", "")),
            "username": known.actor or None,
        }
    }


def ci_run(known: RunFacts, found: list[Validated], server_url: str) -> Json:
    """CIRun of 26.4 and later."""
    run, extra = known.view.run, extra_of(known.view.run)
    given = extra.get("user_attributes") or ()
    return {
        "can": {"show": True, "cancel": run.finished_at is None, "duplicate": run.finished_at is not None},
        "id": str(run.id),
        "ci_suite_id": str(extra.get("suite_id", "")),
        "project_id": known.project_path,
        "status": run_status(run, found),
        "title": run.name,
        "trigger_type": TRIGGERS.get(run.source, "unknown"),
        "user_id": run.actor_id,
        "triggered_by_name": known.actor or None,
        "execution_id": str(run.number),
        "result": results(known, found, "tested"),
        "change_request_number": None,
        "change_request_url": None,
        "change_request_name": None,
        "change_request_commits_url": None,
        "git_service_name": None,
        "git_commit_ref": run.sha,
        "git_branch_name": run.ref,
        "git_repository_name": known.project_path,
        "git_target_branch_name": None,
        "git_status_url": None,
        "git_target_url": None,
        "dbt_cloud_git_branch_name": None,
        "dbt_cloud_git_commit_ref": None,
        "dbt_cloud_git_repository_name": None,
        "created_at": time(run.created_at),
        "started_at": time(run.started_at),
        "finished_at": time(run.finished_at),
        "retries": sum(v.retries for v in found),
        "assigned_ci_user_id": None,
        "assigned_ci_user_at": None,
        "crashed_check_count": sum(v.crashed for v in found),
        "run_url": f"{server_url}/{known.project_path}/-/pipelines/{run.id}",
        "user_attributes": [
            {"id": i, "name": a["name"], "value": a["value"]} for i, a in enumerate(given, 1)
        ],
        "project_imports": dict(extra.get("project_imports") or {}),
    }
