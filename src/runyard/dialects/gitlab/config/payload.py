"""`JobPlan.extra["gitlab"]`: what the GitLab routes need to render a job and the stock runner's payload
(README.md has the table).

Called by lower. Everything is JSON-able; texts stay as written because the stock runner expands them itself.
"""

from collections.abc import Mapping
from typing import Any

from runyard.dialects.gitlab.config.evaluate import Verdict
from runyard.dialects.gitlab.config.jobinputs import told
from runyard.dialects.gitlab.config.parallel import Leg
from runyard.dialects.gitlab.config.reports import REPORTS
from runyard.dialects.gitlab.config.spec import ArtifactsSpec, ImageSpec, JobSpec, Variables
from runyard.dialects.gitlab.config.steps import Cache, Checkout

Json = dict[str, Any]


def payload(job: JobSpec, leg: Leg, verdict: Verdict, stage_idx: int, decided: Mapping[str, Any]) -> Json:
    """The object. `decided` holds what lowering has settled: caches, checkout, dependencies, environment,
    resource_group, dag."""
    caches: tuple[Cache, ...] = decided["caches"]
    checkout: Checkout = decided["checkout"]
    archive = job.artifacts or ArtifactsSpec()
    return {
        "name": leg.name,
        "group": job.name,
        "stage": job.stage,
        "stage_idx": stage_idx,
        "when": verdict.when,
        "start_in_s": verdict.start_in_s,
        "allow_failure": verdict.allow_failure.always,
        "scheduling_type": "dag" if decided["dag"] else "stage",
        "steps": _steps(job),
        "image": _image(job.image) if job.image else None,
        "services": [_service(service) for service in job.services],
        "artifacts": _artifacts(job.artifacts) if job.artifacts else [],
        "artifacts_expire_in_s": archive.expire_in_s,
        "artifacts_access": archive.access,
        "artifacts_expose_as": archive.expose_as,
        "cache": [_cache(cache) for cache in caches],
        "dependencies": decided["dependencies"],
        "hooks": _hooks(job),
        "environment": decided["environment"],
        "coverage": job.coverage,
        "interruptible": job.interruptible if verdict.interruptible is None else verdict.interruptible,
        "resource_group": decided["resource_group"],
        "tag_list": list(decided["tags"]),
        "retry": {
            "max": job.retry.max,
            "when": list(job.retry.when),
            "exit_codes": list(job.retry.exit_codes),
        },
        "timeout_s": job.timeout_s,
        "parallel": {"index": leg.index, "total": leg.total} if leg.total else None,
        "matrix": dict(leg.variables) if leg.variables else None,
        "git_depth": checkout.depth,
        "git_strategy": checkout.strategy,
        "features": _features(job, caches),
        "manual_confirmation": job.manual_confirmation,
        **({"inputs": told(job.inputs)} if job.inputs else {}),
        **({"run": list(job.run)} if job.run else {}),
    }


def _steps(job: JobSpec) -> list[Json]:
    script = {
        "name": "script",
        "script": [*job.before_script, *job.script],
        "timeout": None,
        "when": "on_success",
        "allow_failure": False,
    }
    if not job.after_script:
        return [script]
    after = {
        "name": "after_script",
        "script": list(job.after_script),
        "when": "always",
        "allow_failure": True,
    }
    return [script, {**after, "timeout": None}]


def _hooks(job: JobSpec) -> list[Json]:
    return (
        [{"name": "pre_get_sources_script", "script": list(job.pre_get_sources)}]
        if job.pre_get_sources
        else []
    )


def _image(image: ImageSpec) -> Json:
    return {
        "name": image.name,
        "entrypoint": list(image.entrypoint) if image.entrypoint is not None else None,
        "ports": [],
        "executor_opts": dict(image.executor_opts),
        "pull_policy": list(image.pull_policy) if image.pull_policy else None,
    }


def _service(service: ImageSpec) -> Json:
    return {
        **_image(service),
        "alias": service.alias,
        "command": list(service.command) if service.command is not None else None,
        "variables": _variables(service.variables),
    }


def _variables(variables: Variables) -> list[Json]:
    return [{"key": key, "value": spec.text, "raw": spec.raw} for key, spec in variables.items()]


def _artifacts(artifacts: ArtifactsSpec) -> list[Json]:
    common = {"expire_in": artifacts.expire_in}
    found: list[Json] = []
    if artifacts.paths or artifacts.untracked:
        found.append(
            {
                "name": artifacts.name,
                "untracked": artifacts.untracked,
                "paths": list(artifacts.paths),
                "exclude": list(artifacts.exclude),
                "when": artifacts.when,
                "artifact_type": "archive",
                "artifact_format": "zip",
                **common,
            }
        )
    for kind, paths in artifacts.reports:
        form, filename = REPORTS[kind]
        found.append(
            {
                "name": filename,
                "untracked": False,
                "paths": list(paths),
                "exclude": [],
                "when": "always",
                "artifact_type": kind,
                "artifact_format": form,
                **common,
            }
        )
    return found


def _cache(cache: Cache) -> Json:
    return {
        "key": cache.written[0],
        "untracked": cache.untracked,
        "policy": cache.policy,
        "paths": list(cache.paths),
        "when": cache.when,
        "fallback_keys": list(cache.written[1:]),
    }


def _features(job: JobSpec, caches: tuple[Cache, ...]) -> list[str]:
    artifacts = job.artifacts
    found = ["image"] if job.image else []
    if job.services:
        found.append("services")
    if artifacts is not None:
        found.append("artifacts")
        found += ["artifacts_exclude"] if artifacts.exclude else []
        found += ["upload_multiple_artifacts"] if artifacts.reports else []
        found += (
            ["upload_raw_artifacts"]
            if any(REPORTS[kind][0] == "raw" for kind, _ in artifacts.reports)
            else []
        )
    if caches:
        found.append("cache")
        found += ["fallback_cache_keys"] if any(spec.fallback_keys for spec in job.cache) else []
    return found
