"""The workflow that a task carries: the file as it was written, with exactly one job in it, its matrix down
to one value each, without `needs` (the runner adds them from the task). Whether it runs is decided: its `if`
always holds, since the runner's own default would skip it behind needs that failed. JSON, which is YAML.
Called by `tasks`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runyard.model.errors import Invalid
from runyard.model.plan import JobPlan
from runyard.syntax import yamltree

_KEPT = ("name", "run-name", "on", "env", "defaults", "permissions")
_DECIDED = ("needs", "if", "strategy", "concurrency")


def one_job(text: bytes, path: str, job_id: str, plan: JobPlan) -> bytes:
    """Invalid when the file is not the one that the plan came from."""
    try:
        found = yamltree.to_plain(
            yamltree.load(text, path, yamltree.Limits(depth=50, nodes=50_000, merges=False))
        )
    except yamltree.YamlError as error:
        raise Invalid(f"{path} cannot be read any more: {error}") from None
    jobs = found.get("jobs") if isinstance(found, dict) else None
    job = jobs.get(job_id) if isinstance(jobs, dict) else None
    if not isinstance(found, dict) or not isinstance(job, dict):
        raise Invalid(f"{path} has no job {job_id!r}.")
    kept: dict[str, Any] = {key: value for key, value in job.items() if key not in _DECIDED}
    kept["if"] = "always()"
    kept["runs-on"] = list(plan.labels)
    kept["name"] = plan.name
    matrix = plan.context.get("matrix")
    if isinstance(matrix, Mapping) and matrix:
        kept["strategy"] = {"matrix": {key: [value] for key, value in matrix.items()}}
    whole = {key: found[key] for key in _KEPT if key in found}
    above, own = found.get("env"), kept.get("env")
    if isinstance(above, dict) and isinstance(own, dict):
        # The job's weighs more, as everywhere; forgejo-runner 12 lays the file's over it.
        whole["env"] = {key: value for key, value in above.items() if key not in own}
    return json.dumps({**whole, "jobs": {job_id: kept}}, ensure_ascii=False).encode()
