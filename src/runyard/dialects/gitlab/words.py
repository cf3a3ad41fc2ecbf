"""GitLab's words: job and pipeline statuses, failure reasons, and how a pipeline status looks. Called by
shapes, filters and the runner routes.

Every dict is total over its enum; a test enumerates the product, so there is no default branch
(contracts/gitlab.md §1.1).
"""

from __future__ import annotations

from collections.abc import Mapping

from runyard.dialects import Status, Words
from runyard.model.state import Hold, Outcome, Reason, State

SAY: Mapping[Status, str] = {
    (State.WAITING, None, None): "created",
    (State.HELD, None, Hold.MANUAL): "manual",
    (State.HELD, None, Hold.DELAYED): "scheduled",
    (State.HELD, None, Hold.CONCURRENCY): "waiting_for_resource",
    (State.QUEUED, None, None): "pending",
    (State.RUNNING, None, None): "running",
    (State.STOPPING, None, None): "canceling",
    (State.DONE, Outcome.PASSED, None): "success",
    (State.DONE, Outcome.FAILED, None): "failed",
    (State.DONE, Outcome.ERRORED, None): "failed",
    (State.DONE, Outcome.CANCELED, None): "canceled",
    (State.DONE, Outcome.SKIPPED, None): "skipped",
}

HEAR: Mapping[str, tuple[tuple[State, Outcome | None], ...]] = {
    "created": ((State.WAITING, None),),
    "waiting_for_resource": ((State.HELD, None),),
    "preparing": (),  # our runners prepare while running
    "waiting_for_callback": (),
    "pending": ((State.QUEUED, None),),
    "running": ((State.RUNNING, None),),
    "success": ((State.DONE, Outcome.PASSED),),
    "failed": ((State.DONE, Outcome.FAILED), (State.DONE, Outcome.ERRORED)),
    "canceling": ((State.STOPPING, None),),
    "canceled": ((State.DONE, Outcome.CANCELED),),
    "skipped": ((State.DONE, Outcome.SKIPPED),),
    "manual": ((State.HELD, None),),
    "scheduled": ((State.HELD, None),),
}

WORDS = Words(say=SAY, hear=HEAR)

HELD_WORDS: Mapping[str, Hold] = {
    "manual": Hold.MANUAL,
    "scheduled": Hold.DELAYED,
    "waiting_for_resource": Hold.CONCURRENCY,
}

REASONS: Mapping[Reason, str] = {
    Reason.NONE: "unknown_failure",
    Reason.SCRIPT: "script_failure",
    Reason.TIMEOUT: "job_execution_timeout",
    Reason.OUT_OF_MEMORY: "runner_system_failure",
    Reason.RUNNER_LOST: "stuck_or_timeout_failure",
    Reason.RUNNER_SYSTEM: "runner_system_failure",
    Reason.RUNNER_UNSUPPORTED: "runner_unsupported",
    Reason.IMAGE_UNAVAILABLE: "runner_external_dependency_failure",
    Reason.CHECKOUT: "runner_system_failure",
    Reason.MISSING_DEPENDENCY: "missing_dependency_failure",
    Reason.LOG_TOO_BIG: "trace_size_exceeded",
    Reason.STUCK: "stuck_or_timeout_failure",
    Reason.BAD_PLAN: "data_integrity_failure",
    Reason.DOWNSTREAM_MISSING: "downstream_bridge_project_not_found",
    Reason.DOWNSTREAM_FORBIDDEN: "insufficient_bridge_permissions",
    Reason.DOWNSTREAM_REFUSED: "downstream_pipeline_creation_failed",
    Reason.DOWNSTREAM_TOO_DEEP: "reached_max_descendant_pipelines_depth",
    Reason.DOWNSTREAM_LOOP: "pipeline_loop_detected",
    Reason.BY_USER: "unknown_failure",
    Reason.SUPERSEDED: "unknown_failure",
    Reason.FAIL_FAST: "unknown_failure",
    Reason.GATE: "unknown_failure",
}

# Where a pipeline may come from (contract §1.2).
CHILD = "parent_pipeline"
SOURCES = frozenset(
    [
        "push",
        "web",
        "trigger",
        "schedule",
        "api",
        "external",
        "pipeline",
        "chat",
        "webide",
        "merge_request_event",
        "external_pull_request_event",
        CHILD,
        "ondemand_dast_scan",
        "ondemand_dast_validation",
        "security_orchestration_policy",
        "container_registry_push",
        "duo_workflow",
        "pipeline_execution_policy_schedule",
    ]
)

# What a runner may say; anything else is an unknown failure (contracts §1.1).
HEARD_REASONS: Mapping[str, tuple[Outcome, Reason]] = {
    "script_failure": (Outcome.FAILED, Reason.SCRIPT),
    "job_execution_timeout": (Outcome.FAILED, Reason.TIMEOUT),
    "trace_size_exceeded": (Outcome.FAILED, Reason.LOG_TOO_BIG),
    "runner_system_failure": (Outcome.ERRORED, Reason.RUNNER_SYSTEM),
    "runner_unsupported": (Outcome.ERRORED, Reason.RUNNER_UNSUPPORTED),
    "image_pull_failure": (Outcome.ERRORED, Reason.IMAGE_UNAVAILABLE),
    "runner_external_dependency_failure": (Outcome.ERRORED, Reason.IMAGE_UNAVAILABLE),
    "missing_dependency_failure": (Outcome.ERRORED, Reason.MISSING_DEPENDENCY),
    "unknown_failure": (Outcome.ERRORED, Reason.NONE),
}

# text, label, icon of `detailed_status`; the group is the status with dashes.
LOOKS: Mapping[str, tuple[str, str, str]] = {
    "created": ("Created", "created", "status_created"),
    "waiting_for_resource": ("Waiting", "waiting for resource", "status_pending"),
    "preparing": ("Preparing", "preparing", "status_preparing"),
    "waiting_for_callback": ("Waiting", "waiting for callback", "status_pending"),
    "pending": ("Pending", "pending", "status_pending"),
    "running": ("Running", "running", "status_running"),
    "success": ("Passed", "passed", "status_success"),
    "failed": ("Failed", "failed", "status_failed"),
    "canceling": ("Canceling", "canceling", "status_canceled"),
    "canceled": ("Canceled", "canceled", "status_canceled"),
    "skipped": ("Skipped", "skipped", "status_skipped"),
    "manual": ("Manual", "manual action", "status_manual"),
    "scheduled": ("Scheduled", "scheduled", "status_scheduled"),
}


def say(state: State, outcome: Outcome | None, hold: Hold | None) -> str:
    """The word for what a row shows; a hold counts only while HELD, an outcome only once DONE."""
    return SAY[state, outcome if state is State.DONE else None, hold if state is State.HELD else None]
