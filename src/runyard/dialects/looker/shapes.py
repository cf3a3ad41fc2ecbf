"""Looker's JSON for runs, in both families: legacy `ProjectRun` (`result`/`results`) and `CIRun` (`tested`). Pure; called by routes_runs.

One internal picture (`results`) feeds both. Times are ISO 8601 with milliseconds; `line_number` is a text in lookml and sql errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from runyard.dialects.looker.results import RunFacts, Validated, extra_of, run_status

Json = dict[str, Any]
MAX_WORDS = 100


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


def lookml_result(found: Validated, project: str) -> Json:
    """LookMLValidatorResult; the same in both families."""
    report = found.report or {}
    errors = [
        {"lookml_error": _lookml_error(f, project), "generic_error": None}
        for f in report.get("findings") or ()
    ]
    return {"name": "lookml", "status": found.status, "error_count": _count(found), "errors": errors}


def _count(found: Validated) -> int | None:
    return int((found.report or {}).get("error_count") or 0) if found.report else None


def _lookml_error(finding: Mapping[str, Any], project: str) -> Json:
    hint = f" Did you mean {finding['suggestion']}?" if finding.get("suggestion") else ""
    explores = [str(e) for e in finding.get("explores") or ()]
    seen = f" (in {', '.join(explores)})" if len(explores) > 1 else ""
    file, line = str(finding.get("file") or ""), int(finding.get("line") or 0)
    return {
        **_leaf(
            "A LookML error occurred.",
            f"The LookML validator found a problem of the kind {finding.get('code')}.",
        ),
        "model": finding.get("model") or None,
        "explore": finding.get("explore") or None,
        "field_name": finding.get("field") or None,
        "message": f"{finding.get('message')}{hint}{seen}",
        "severity": finding.get("severity"),
        "line_number": str(line) if line else None,
        "lookml_url": _link(project, file, line),
        "file_path": file or None,
    }


def sql_result(found: Validated, project: str, list_key: str) -> Json:
    """SqlValidatorResult (`result`) or CISqlValidatorResult (`tested`)."""
    tested = [_tested(t, project) for t in (found.report or {}).get("tested") or ()]
    return {"name": "sql", "incremental": found.incremental, "status": found.status, list_key: tested}


def _tested(tested: Mapping[str, Any], project: str) -> Json:
    model, explore = str(tested["model"]), str(tested["explore"])
    errors = [
        {"sql_error": _sql_error(e, model, explore, project), "generic_error": None} for e in tested["errors"]
    ]
    if tested.get("problem"):
        errors.append({"sql_error": None, "generic_error": generic(str(tested["problem"]))})
    return {
        "model": model,
        "explore": explore,
        "status": tested["status"],
        "skip_reason": tested.get("skip_reason") or None,
        "error_count": len(errors),
        "errors": errors,
    }


def _sql_error(error: Mapping[str, Any], model: str, explore: str, project: str) -> Json:
    file, line = str(error.get("file") or ""), int(error.get("line") or 0)
    return {
        **_leaf("A SQL error occurred.", "The database refused the explore's SQL."),
        "model": model,
        "explore": explore,
        "message": error["message"],
        "explore_url": None,
        "lookml_url": _link(project, file, line),
        "dimension": error.get("dimension") or None,
        "line_number": str(line) if line else None,
        "file_path": file or None,
        "sql": error.get("sql") or None,
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
            shaped["lookml_result"] = lookml_result(one, project)
        elif one.report is not None and one.validator == "sql":
            shaped["sql_result"] = sql_result(one, project, list_key)
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
            "title": _title(known),
            "trigger": TRIGGERS.get(run.source, "unknown"),
            "change_request": None,
            "suite_id": str(extra.get("suite_id", "")),
            "username": known.actor or None,
        }
    }


def _title(known: RunFacts) -> str:
    return str(known.suite.data.get("name")) if known.suite is not None else known.view.run.name


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
        "title": _title(known),
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
