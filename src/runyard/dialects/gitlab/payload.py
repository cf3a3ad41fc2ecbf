"""The job payload that gitlab-runner decodes, made from an Assignment. Called by routes_runner; pure.

Types are those of the runner's Go structs (contracts/gitlab.md §2.3):
`project_jobs_running_on_instance_runners_count` is a text, `run` is absent (null or a list there would lose
the job), lists are lists even when empty. Our own runner finds the whole Assignment under `runyard`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from runyard.dialects.gitlab.claiming import Claimed
from runyard.dialects.gitlab.config.jobinputs import filled
from runyard.dialects.gitlab.words import HEARD_REASONS
from runyard.model.plan import Assignment, Variable
from runyard.model.trigger import ZERO_SHA
from runyard.model.work import Artifact

MASKED_PREFIXES = ["glpat-", "glrt-", "glcbt-", "glptt-"]
DEPTH = 20
FILLED = ("steps", "image", "services", "artifacts", "cache")  # where GitLab lets job inputs stand


def payload(claimed: Claimed) -> dict[str, Any]:
    """What a stock runner gets."""
    given = claimed.given
    plan, inputs = _inputs(claimed)
    return {
        "id": given.attempt_id,
        "token": given.token,
        "allow_git_fetch": plan.get("git_strategy", "fetch") != "clone",
        "job_info": _job_info(claimed),
        "git_info": _git_info(given, _depth(given, plan)),
        "runner_info": {"timeout": given.timeout_s, "runner_session_url": None},
        "inputs": inputs,
        "variables": [_started(claimed.started_at), *map(_variable, given.variables)],
        **_work(claimed, plan),
        "image": _image(given, plan),
        "services": list(plan.get("services", ())),
        "artifacts": list(plan.get("artifacts", ())),
        "cache": list(plan.get("cache", ())),
        "credentials": [],
        "dependencies": [_dependency(name, row, given.token) for name, row in claimed.archives],
        "features": {
            "trace_sections": True,
            "token_mask_prefixes": MASKED_PREFIXES,
            "failure_reasons": sorted(HEARD_REASONS),
            "tracing": None,
        },
        "hooks": list(plan.get("hooks", ())),
    }


def _inputs(claimed: Claimed) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """What the door knows of the job, and its inputs as a runner from 18.9 on fills them in; for others they
    are in their places already."""
    plan: Mapping[str, Any] = claimed.given.job.extra.get("gitlab", {})
    known = plan.get("inputs") or {}
    if not known:
        return plan, []
    if not claimed.fills_inputs:
        texts = claimed.given.facts["job"]["inputs"]
        return {**plan, **{part: filled(plan[part], texts) for part in FILLED}}, []
    return plan, [
        {"key": name, "value": {"type": about["type"], "content": claimed.inputs[name], "sensitive": False}}
        for name, about in known.items()
    ]


def payload_for_ours(claimed: Claimed) -> dict[str, Any]:
    """What `runyard runner` gets: the same outside, the whole Assignment inside."""
    return {**payload(replace(claimed, archives=())), "runyard": msgspec.to_builtins(claimed.given)}


def repo_url(given: Assignment) -> str:
    """The clone address with the job's own token."""
    parts = urlsplit(given.repo_url)
    host = parts.netloc.rsplit("@", 1)[-1]
    return urlunsplit((parts.scheme, f"gitlab-ci-token:{given.token}@{host}", parts.path, "", ""))


def _job_info(claimed: Claimed) -> dict[str, Any]:
    given = claimed.given
    return {
        "name": given.job.name,
        "stage": given.job.stage or "test",
        "pipeline_id": given.run_id,
        "project_id": given.project_id,
        "namespace_id": claimed.namespace_id,
        "root_namespace_id": claimed.root_namespace_id,
        "organization_id": 1,
        "user_id": claimed.user_id,
        "scoped_user_id": None,
        "project_name": given.project_path.rpartition("/")[2],
        "project_full_path": given.project_path,
        "instance_id": "",
        "instance_uuid": "",
        "time_in_queue_seconds": claimed.queued_s,
        "project_jobs_running_on_instance_runners_count": claimed.busy,
        "queue_size": 0,
        "queue_depth": 0,
    }


def _git_info(given: Assignment, depth: int) -> dict[str, Any]:
    """The pipeline's own ref comes first, so that a force-push takes nothing from a queued job."""
    kept = f"+refs/pipelines/{given.run_id}:refs/pipelines/{given.run_id}"
    if depth == 0:
        specs = [kept, "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
    elif given.tag:
        specs = [kept, f"+refs/tags/{given.ref}:refs/tags/{given.ref}"]
    else:
        specs = [kept, f"+refs/heads/{given.ref}:refs/remotes/origin/{given.ref}"]
    return {
        "repo_url": repo_url(given),
        "repo_object_format": "sha1",
        "ref": given.ref,
        "sha": given.sha,
        "before_sha": given.before_sha or ZERO_SHA,
        "ref_type": "tag" if given.tag else "branch",
        "refspecs": specs,
        "depth": depth,
        "protected": _is_protected(given),
    }


def _is_protected(given: Assignment) -> bool:
    """As the compiler said it; a job's own variables may lie about its ref, but they come later."""
    said = (v.value for v in given.job.variables if v.key == "CI_COMMIT_REF_PROTECTED")
    return next(said, "") == "true"


def _depth(given: Assignment, plan: Mapping[str, Any]) -> int:
    """GIT_DEPTH as the job sees it, else what the compiler found."""
    for row in reversed(given.variables):
        if row.key == "GIT_DEPTH" and row.value.isascii() and row.value.isdigit():
            return min(int(row.value[:9]), 1_000_000)
    depth = plan.get("git_depth")
    return depth if isinstance(depth, int) else DEPTH


def _started(at: int) -> dict[str, Any]:
    """CI_JOB_STARTED_AT; our own runner says it itself."""
    said = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at / 1000))
    return {"key": "CI_JOB_STARTED_AT", "value": said, "public": True, "masked": False}


def _variable(row: Variable) -> dict[str, Any]:
    shown: dict[str, Any] = {"key": row.key, "value": row.value, "public": row.public, "masked": row.masked}
    if row.file:
        shown["file"] = True
    if row.raw:
        shown["raw"] = True
    return shown


def _work(claimed: Claimed, plan: Mapping[str, Any]) -> dict[str, Any]:
    """`steps`, or `run` as a JSON text where the job needs a step-runner and this runner has one."""
    if claimed.has_functions and plan.get("run"):
        return {"steps": [], "run": json.dumps(plan["run"])}
    return {"steps": [_step(step, claimed.given.timeout_s) for step in plan.get("steps", ())]}


def _step(step: Mapping[str, Any], timeout_s: int) -> dict[str, Any]:
    return {**step, "timeout": step.get("timeout") or timeout_s}


def _image(given: Assignment, plan: Mapping[str, Any]) -> dict[str, Any] | None:
    """As written, but with the name that the claim rendered."""
    image = plan.get("image")
    if not image:
        return None
    return {**image, "name": given.job.image.name if given.job.image else image["name"]}


def _dependency(name: str, row: Artifact, token: str) -> dict[str, Any]:
    """`token` is the asking job's own: an ended job's token is dead (contract §2.3)."""
    file = {"filename": row.filename, "size": row.size_bytes}
    return {"id": row.attempt_id, "name": name, "token": token, "artifacts_file": file}
