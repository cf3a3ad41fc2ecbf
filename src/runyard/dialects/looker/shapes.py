"""Looker's JSON for runs, in both families: legacy `ProjectRun` (`result`/`results`) and `CIRun` (`tested`).
Pure; called by routes_runs.

One internal picture (`results`) feeds both; `leaves` has the validators' parts. Times are ISO 8601 with
milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from runyard.dialects.looker.leaves import RESULTS, Frame, generic
from runyard.dialects.looker.links import Links
from runyard.dialects.looker.results import RunFacts, Validated, extra_of, run_status
from runyard.dialects.looker.suites import VALIDATORS

Json = dict[str, Any]


def time(at: int | None) -> str | None:
    """Milliseconds as Looker writes times."""
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")


def results(known: RunFacts, found: Sequence[Validated], frame: Frame) -> Json:
    """RunResult or CIRunResult: `<validator>_result` for those that ran, `<validator>_error` for those that
    could not."""
    shaped: Json = {f"{name}_{part}": None for name in VALIDATORS for part in ("result", "error")}
    shaped["generic_error"] = None
    for one in found:
        if one.report is not None:
            shaped[f"{one.validator}_result"] = RESULTS[one.validator](one, one.report, frame)
        if one.problem:
            shaped[f"{one.validator}_error"] = generic(one.problem)
    if known.view.run.error:
        shaped["generic_error"] = generic(known.view.run.error)
    return shaped


TRIGGERS = {"api": "manual", "web": "manual", "schedule": "schedule", "merge_request_event": "change_request"}
"""Of runs whose trigger said nothing: by the engine's source."""
LEGACY_TRIGGERS = frozenset({"manual", "schedule", "change_request"})


def trigger_type(known: RunFacts) -> str:
    """manual, schedule, change_request, dbt_cloud, upstream, push."""
    run = known.view.run
    return str(extra_of(run).get("trigger") or TRIGGERS.get(run.source, "unknown"))


def _frame(known: RunFacts, server_url: str, *, is_legacy: bool) -> Frame:
    return Frame(Links(server_url, known.project_path, known.view.run.sha), is_legacy)


def legacy_run(known: RunFacts, found: list[Validated], server_url: str) -> Json:
    """ProjectRun of the family of 25.6 to 26.12."""
    run, extra = known.view.run, extra_of(known.view.run)
    shaped = results(known, found, _frame(known, server_url, is_legacy=True))
    for name in ("style_result", "style_error"):
        shaped.pop(name)
    trigger, change = trigger_type(known), extra.get("change_request") or {}
    target = (extra.get("target") or {}).get("branch") or None
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
                "target": target,
            },
            "result": shaped,
            "schedule": {
                "enabled": trigger == "schedule",
                "day": None,
                "hour": None,
                "frequency": "daily",
            },
            "target_branch": target,
            "title": run.name,
            "trigger": trigger if trigger in LEGACY_TRIGGERS else "unknown",
            "change_request": dict(change) if change else None,
            "suite_id": str(extra.get("suite_id", "")),
            "username": (known.actor or None) if trigger == "manual" else None,
        }
    }


def ci_run(known: RunFacts, found: list[Validated], server_url: str) -> Json:
    """CIRun of 26.4 and later."""
    run, extra = known.view.run, extra_of(known.view.run)
    given = extra.get("user_attributes") or ()
    change, dbt = extra.get("change_request") or {}, extra.get("dbt") or {}
    ended = run.finished_at is not None
    return {
        "can": {"show": True, "cancel": not ended, "duplicate": ended},
        "id": str(run.id),
        "ci_suite_id": str(extra.get("suite_id", "")),
        "project_id": known.project_path,
        "status": run_status(run, found),
        "title": run.name,
        "trigger_type": trigger_type(known),
        "user_id": run.actor_id,
        "triggered_by_name": known.actor or None,
        "execution_id": str(run.number),
        "result": results(known, found, _frame(known, server_url, is_legacy=False)),
        "change_request_number": change.get("change_request_number"),
        "change_request_url": change.get("change_request_url"),
        "change_request_name": change.get("change_request_name"),
        "change_request_commits_url": change.get("change_request_commits_url"),
        "git_service_name": None,
        "git_commit_ref": run.sha,
        "git_branch_name": run.ref,
        "git_repository_name": known.project_path,
        "git_target_branch_name": (extra.get("target") or {}).get("branch") or None,
        "git_status_url": None,
        "git_target_url": None,
        "dbt_cloud_git_branch_name": dbt.get("git_branch"),
        "dbt_cloud_git_commit_ref": dbt.get("git_sha"),
        "dbt_cloud_git_repository_name": dbt.get("git_repository"),
        "created_at": time(run.created_at),
        "started_at": time(run.started_at),
        "finished_at": time(run.finished_at),
        "retries": sum(v.retries for v in found),
        "assigned_ci_user_id": None,
        "assigned_ci_user_at": None,
        "crashed_check_count": sum(v.crashed for v in found),
        "run_url": Links(server_url, known.project_path).run(run.id),
        "user_attributes": [
            {"id": i, "name": a["name"], "value": a["value"]} for i, a in enumerate(given, 1)
        ],
        "project_imports": dict(extra.get("project_imports") or {}),
    }
