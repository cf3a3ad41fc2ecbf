"""The shapes of the contexts in a workflow: what is there for any file, for one job, and for one step
(actions.md §4). Called by `lint`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from runyard.dialects.depot.workflow.document import InputDoc, JobDoc
from runyard.dialects.depot.workflow.value_shapes import (
    ANY,
    BOOLEAN,
    NUMBER,
    OPEN,
    STRING,
    TEXTS,
    Shape,
    array,
    merged,
    of_value,
    strict,
    strings,
)
from runyard.syntax import yamltree
from runyard.syntax.expressions import has_expression

_GITHUB = strings(
    "action action_path action_ref action_repository action_status actor actor_id api_url base_ref env event_name event_path graphql_url head_ref job "
    "output path ref ref_name ref_type repository repository_id repository_owner repository_owner_id repositoryurl retention_days run_id run_number "
    "run_attempt secret_source server_url sha state step_summary token triggering_actor workflow workflow_ref workflow_sha workspace"
)
_RUNNER = strict(strings("name os arch temp tool_cache debug environment workspace"))
_PLACE = strict(strings("id network"))
_JOB = strict(
    {
        "status": STRING,
        "check_run_id": NUMBER,
        "container": _PLACE,
        "services": Shape("object", rest=strict({**strings("id network"), "ports": TEXTS})),
        **strings("workflow_ref workflow_sha workflow_repository workflow_file_path"),
    }
)
_STRATEGY = strict({"fail-fast": BOOLEAN, "job-index": NUMBER, "job-total": NUMBER, "max-parallel": NUMBER})
_KINDS = {"boolean": BOOLEAN, "number": NUMBER}
_GIVEN_SECRETS = "github_token actions_step_debug actions_runner_debug"


def of_file(
    dispatched: Mapping[str, InputDoc] | None, called: Mapping[str, Any] | None, secrets: Iterable[str] | None
) -> dict[str, Shape]:
    """Contexts of a whole file. `dispatched` and `called` are the inputs of those events (None: the file does
    not know the event); `secrets` those that a call declares, when the file can be started by calls only."""
    event: Shape = OPEN
    if dispatched is not None:
        event = Shape("object", {"inputs": strict(dict.fromkeys(dispatched, STRING))}, ANY)
    inputs = {
        name: _KINDS.get(doc.type, STRING) for name, doc in {**(called or {}), **(dispatched or {})}.items()
    }
    return {
        "github": strict({**_GITHUB, "ref_protected": BOOLEAN, "event": event}),
        "inputs": strict(inputs),
        "vars": TEXTS,
        "env": TEXTS,
        "secrets": TEXTS
        if secrets is None
        else strict(dict.fromkeys((*secrets, *_GIVEN_SECRETS.split()), STRING)),
        "runner": _RUNNER,
        "job": _JOB,
        "strategy": _STRATEGY,
    }


def of_job(job: JobDoc, by_name: Mapping[str, JobDoc]) -> dict[str, Shape]:
    """`needs` and `matrix` of a job. `by_name`: all jobs, by their names in lower case."""
    needs = {
        need.value: strict({"result": STRING, "outputs": _outputs(by_name[need.value.lower()])})
        for need in job.needs
        if need.value.lower() in by_name
    }
    return {"needs": strict(needs), "matrix": _matrix(job.matrix)}


def of_jobs(jobs: Mapping[str, JobDoc]) -> dict[str, Shape]:
    """`jobs`, which only the outputs of a called workflow see."""
    return {
        "jobs": strict(
            {name: strict({"result": STRING, "outputs": _outputs(job)}) for name, job in jobs.items()}
        )
    }


def _outputs(job: JobDoc) -> Shape:
    return TEXTS if job.call is not None else strict(dict.fromkeys(job.outputs, STRING))


STEP = strict({"outputs": TEXTS, "outcome": STRING, "conclusion": STRING})
"""One of `steps`. Outputs may have any name: the file does not say which a script or an action sets."""


def _matrix(node: yamltree.Node | None) -> Shape:
    """Vectors by name, and what `include` adds; anything when an expression makes it."""
    if node is None:
        return strict({})
    if not isinstance(node, yamltree.Mapping):
        return OPEN
    found: dict[str, Shape] = {}
    for name, entry in node.entries.items():
        if name not in ("include", "exclude"):
            found[name] = _item(entry.value)
    include = node.get("include")
    if include is not None:
        if not isinstance(include, yamltree.Sequence):
            return OPEN
        for item in include.items:
            if not isinstance(item, yamltree.Mapping):
                return OPEN
            for name, entry in item.entries.items():
                shape = _shape(entry.value)
                found[name] = merged((found[name], shape)) if name in found else shape
    return strict(found)


def _item(node: yamltree.Node) -> Shape:
    return merged(map(_shape, node.items)) if isinstance(node, yamltree.Sequence) and node.items else ANY


def _shape(node: yamltree.Node) -> Shape:
    match node:
        case yamltree.Mapping():
            return strict({name: _shape(entry.value) for name, entry in node.entries.items()})
        case yamltree.Sequence():
            return array(merged(map(_shape, node.items)))
        case yamltree.Scalar():
            late = isinstance(node.value, str) and has_expression(node.value)
            return ANY if late or node.value is None else of_value(node.value)
        case _:
            return ANY
