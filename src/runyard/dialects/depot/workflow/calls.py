"""A job that calls a reusable workflow: a job that unfolds into those of the called file (actions.md §2, §5).
Called by `build.jobs`.

The called file sees the caller's `github` and `vars`, its own `inputs` and `env`, and the secrets that it is
handed. Inputs that are known are known to its jobs already; others come with the unfolding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runyard.dialects.depot.workflow import build, facts, late
from runyard.dialects.depot.workflow.document import (
    Argument,
    Callable,
    ConcurrencyDoc,
    InputDoc,
    JobDoc,
    Permissions,
    WorkflowDoc,
)
from runyard.dialects.depot.workflow.findings import nearest
from runyard.dialects.depot.workflow.nodes import Text
from runyard.dialects.depot.workflow.permissions import beyond, of_job
from runyard.dialects.depot.workflow.static import Static, uses_matrix
from runyard.model.plan import Concurrency, Drawn, Given, JobPlan, Need, Unfold
from runyard.syntax.expressions import render_value, to_string
from runyard.syntax.expressions.values import to_number

_NOTHING: Mapping[str, Any] = {"boolean": False, "number": 0, "string": ""}


def caller(setting: build.Setting, job: JobDoc) -> JobPlan | None:
    """The plan of the calling job; None, with findings, when the call cannot be made."""
    assert job.call is not None  # noqa: S101 - the caller looked
    context = {**setting.context, "github": {**setting.context["github"], "job": job.id}}
    static = Static(setting.findings, context)
    found = setting.library.called(job.call.uses)
    if found is None:
        return None
    doc, library = found
    contract = doc.triggers.call
    given = _inputs(job, contract, static)
    _check_secrets(job, contract, setting)
    known = _known(given, job, static)
    if job.matrix is not None and build.is_known(job, static):
        build.expanded(job, static)  # for its findings
    permissions = of_job(setting.permissions, setting.doc, job)
    _check_permissions(job, permissions, doc, static)
    within = replace(
        setting,
        doc=doc,
        context=_facts_within(setting, known),
        library=library,
        key=f"{setting.key}{job.id} / ",
        permissions=permissions,
    )
    plans = tuple(_of_a_call(plan) for plan in build.jobs(within))
    rule, later = _concurrency(within, setting, job, static)
    name, text, _ = late.name(job, job.id, "", static)
    of_legs = text if job.name is not None and uses_matrix(job.name) else ""
    if text and not of_legs:
        later["name"] = text
    drawn: dict[str, Any] = dict(later)
    return JobPlan(
        key=job.id,
        name=name,
        group=job.id,
        needs=tuple(Need(need.value, artifacts=False) for need in job.needs),
        gate=build.gate(job),
        context=context,
        late=facts.LATE,
        claimable=False,
        concurrency=rule,
        drawn=Drawn(**drawn) if drawn else None,
        unfold=Unfold(
            jobs=plans,
            matrix=None if job.matrix is None else late.tree(job.matrix),
            fail_fast=late.value(job.fail_fast),
            max_parallel=None if job.max_parallel is None else late.value(job.max_parallel),
            calls=True,
            name=of_legs,
            inputs=given,
            secrets=None
            if job.call.secrets is None
            else {name: text.value for name, text in job.call.secrets.items()},
            outputs={name: text.value for name, text in contract.outputs.items()},
        ),
        extra={"depot": {"job_key": f"{setting.file}:{setting.key}{job.id}"}},
    )


def _facts_within(setting: build.Setting, inputs: dict[str, Any] | None) -> dict[str, Any]:
    """What the called file knows: the caller's facts without what is the caller's own."""
    own = ("inputs", "matrix", "strategy")
    shared = {key: value for key, value in setting.context.items() if key not in own}
    return shared if inputs is None else {**shared, "inputs": inputs}


def _concurrency(
    within: build.Setting, setting: build.Setting, job: JobDoc, static: Static
) -> tuple[Concurrency | None, dict[str, str]]:
    """The rule of the call: the job's own, else the called file's; and what is drawn later of it."""
    stamp = f"{setting.stamp}-{setting.key}{job.id}"
    if job.concurrency is None and within.doc.concurrency is not None:
        facts_there = late.grouping(within.context, stamp)
        return _of_the_file(within.doc.concurrency, replace(static, facts=facts_there)), {}
    return late.concurrency(job.concurrency, replace(static, facts=late.grouping(static.facts, stamp)))


def _of_the_file(concurrency: ConcurrencyDoc, static: Static) -> Concurrency | None:
    """The called file's own rule, for the call as a whole. One that asks for inputs which are not known yet
    is left out."""
    cancel = concurrency.cancel_in_progress
    if all(static.knows(text) for text in (concurrency.group, cancel) if isinstance(text, Text)):
        return late.known_concurrency(concurrency, static)
    message = (
        "`concurrency` of a called workflow is ignored where it depends on inputs that are not known yet"
    )
    static.findings.warning(concurrency.group.at, message)
    return None


def _of_a_call(plan: JobPlan) -> JobPlan:
    """A job of a called file keeps only the facts that its caller does not have."""
    own = {key: plan.context[key] for key in ("matrix", "strategy") if key in plan.context}
    return replace(plan, context={"github": {"job": plan.group}, **own})


def _inputs(job: JobDoc, contract: Callable, static: Static) -> dict[str, Given]:
    call, findings = job.call, static.findings
    assert call is not None  # noqa: S101 - the caller looked
    known = {name.lower(): name for name in contract.inputs}
    arguments: dict[str, Argument] = {}
    for name, argument in call.inputs.items():
        if name.lower() not in known:
            message = f"Invalid input, '{name}' is not defined in the referenced workflow"
            findings.error(argument.at, message, nearest(name, contract.inputs))
        else:
            arguments[known[name.lower()]] = argument
    found: dict[str, Given] = {}
    for name, declared in contract.inputs.items():
        if name not in arguments and declared.required:
            message = f"Input '{name}' is required, but not provided while calling"
            findings.error(call.uses.at, message)
        found[name] = Given(_value(declared, arguments.get(name), static), declared.type)
    return found


def _value(declared: InputDoc, argument: Argument | None, static: Static) -> Any:
    if argument is not None:
        if not argument.text.is_late and not _fits(declared.type, argument.value):
            message = f"Unexpected value for input '{declared.name}': a {declared.type} was expected"
            static.findings.error(argument.at, message)
            return _NOTHING[declared.type]
        return argument.value
    if declared.default is None:
        return _NOTHING[declared.type]
    if declared.default.is_late:
        value = static.value(declared.default, "The default of an input")
        return to_string(value) if declared.type == "string" else value
    return _typed(declared.type, declared.default.value)


def _fits(kind: str, value: Any) -> bool:
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return True


def _typed(kind: str, text: str) -> Any:
    match kind:
        case "boolean":
            return text.lower() == "true"
        case "number":
            return to_number(text)
    return text


def _known(given: Mapping[str, Given], job: JobDoc, static: Static) -> dict[str, Any] | None:
    """The inputs, when all of them can be worked out now."""
    found: dict[str, Any] = {}
    for name, one in given.items():
        value = one.value
        if isinstance(value, str):
            text = Text(value, job.at)
            if text.is_late and (uses_matrix(text) or not static.knows(text) or static.is_sampled(text)):
                return None
            value = render_value(value, static.facts) if text.is_late else value
            value = _typed(one.type, value) if isinstance(value, str) else value
        found[name] = to_string(value) if one.type == "string" else value
    return found


def _check_permissions(job: JobDoc, limit: Permissions, called: WorkflowDoc, static: Static) -> None:
    """GitHub does not start a call that asks for more than its caller has; here it gets what there is."""
    assert job.call is not None  # noqa: S101 - the caller looked
    asked = [(called.permissions, "it")] if called.permissions is not None else []
    asked += [
        (one.permissions, f"its job '{one.id}'")
        for one in called.jobs.values()
        if one.permissions is not None
    ]
    for own, who in asked:
        if more := beyond(limit, own):
            message = f"{who} asks for {', '.join(more)}, which this job does not have and cannot pass on"
            static.findings.warning(job.call.uses.at, message, "give this job these `permissions`")


def _check_secrets(job: JobDoc, contract: Callable, setting: build.Setting) -> None:
    call = job.call
    if call is None or call.secrets is None:
        return
    known = {name.lower() for name in contract.secrets}
    for name, text in call.secrets.items():
        if name.lower() not in known:
            message = f"Invalid secret, '{name}' is not defined in the referenced workflow"
            setting.findings.error(text.at, message, nearest(name, contract.secrets))
    given = {name.lower() for name in call.secrets}
    for name, required in contract.secrets.items():
        if required and name.lower() not in given:
            message = f"Secret '{name}' is required, but not provided while calling"
            setting.findings.error(call.uses.at, message)
