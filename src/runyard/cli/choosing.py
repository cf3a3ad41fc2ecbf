"""The plan that is left when somebody chooses jobs or matrix legs of it, or gives its jobs inputs. Called by
`runyard run`; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches

from runyard.cli.asked import Choice
from runyard.model.errors import Invalid
from runyard.model.offer import JobInputs
from runyard.model.plan import Gate, JobPlan, Order, Plan, When, WorkflowPlan
from runyard.syntax.expressions import to_string


def only(plan: Plan, choice: Choice) -> Plan:
    """The plan with just these jobs (by name, group or key) and all they need; a manual one that was named
    starts by itself."""
    if choice.legs:
        plan = _with_legs(plan, choice.legs)
    if not choice.all:
        return plan
    known = {n for w in plan.workflows for j in w.jobs for n in names_of(j)}
    for name in choice.all:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise Invalid(f"There is no job {name!r} here; {hint}`runyard run --list` shows them.")
    left = tuple(_only(w, choice) for w in plan.workflows)
    return replace(plan, workflows=tuple(w for w in left if w.jobs))


def with_inputs(plan: Plan, given: Mapping[str, str], asks: JobInputs | None) -> Plan:
    """The plan whose jobs have these inputs, each job those that it asks for."""
    jobs = [job for workflow in plan.workflows for job in workflow.jobs]
    known = {name for job in jobs for name in job.inputs} if asks else set()
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            raise Invalid(
                f"No job here has an input {name!r}{f'; did you mean {near[0]!r}?' if near else '.'}"
            )
    if asks is None or not given:
        return plan

    def told(job: JobPlan) -> JobPlan:
        own = {name: value for name, value in given.items() if name in job.inputs}
        return replace(job, inputs={**job.inputs, **asks.read(job, own)}) if own else job

    return replace(plan, workflows=tuple(replace(w, jobs=tuple(map(told, w.jobs))) for w in plan.workflows))


def names_of(job: JobPlan) -> set[str]:
    """What a job may be called by."""
    return {job.name, job.key, job.matrix_group}


def _only(workflow: WorkflowPlan, choice: Choice) -> WorkflowPlan:
    kept: dict[str, bool] = {}  # key → with everything that it waits for
    wanted = [(j, bool(names_of(j) & choice.whole)) for j in workflow.jobs if names_of(j) & choice.all]
    while wanted:
        job, whole = wanted.pop()
        if kept.get(job.key, False) or (job.key in kept and not whole):
            continue
        kept[job.key] = whole
        groups = {need.group for need in job.needs}
        wanted += [(j, whole) for j in workflow.jobs if {j.key, j.matrix_group} & groups]
        if whole and job.gate.order is Order.STAGE:
            wanted += [(j, True) for j in workflow.jobs if j.stage_index < job.stage_index]
    return replace(workflow, jobs=tuple(_started(j, choice.all) for j in workflow.jobs if j.key in kept))


def _started(job: JobPlan, names: frozenset[str]) -> JobPlan:
    if names_of(job) & names and job.gate.when in (When.MANUAL, When.DELAYED):
        return replace(job, gate=Gate(order=job.gate.order, expression=job.gate.expression))
    return job


def _with_legs(plan: Plan, wanted: Mapping[str, frozenset[str]]) -> Plan:
    """Without the matrix legs that have other values of these keys, and without what needs a job that has no
    leg left."""
    known = {key for w in plan.workflows for job in w.jobs for key in _values(job)}
    for key in wanted:
        if key not in known:
            raise Invalid(f"No job's matrix has a key {key!r}.")
    found = replace(plan, workflows=tuple(_trimmed(w, wanted) for w in plan.workflows))
    if not any(w.jobs for w in found.workflows):
        raise Invalid("No job's matrix has such a leg; `runyard run --list` shows them.")
    return replace(found, workflows=tuple(w for w in found.workflows if w.jobs))


def _trimmed(workflow: WorkflowPlan, wanted: Mapping[str, frozenset[str]]) -> WorkflowPlan:
    jobs = [job for job in workflow.jobs if _is_wanted(job, wanted)]
    gone = {n for j in workflow.jobs for n in (j.key, j.matrix_group)} - {
        n for j in jobs for n in (j.key, j.matrix_group)
    }
    while orphans := [j for j in jobs if any(need.group in gone and not need.optional for need in j.needs)]:
        jobs = [job for job in jobs if job not in orphans]
        gone |= {job.key for job in orphans} | {job.matrix_group for job in orphans}
    return replace(workflow, jobs=tuple(jobs))


def _is_wanted(job: JobPlan, wanted: Mapping[str, frozenset[str]]) -> bool:
    values = _values(job)
    return all(values[key] in texts for key, texts in wanted.items() if key in values)


def _values(job: JobPlan) -> dict[str, str]:
    """The matrix values of a leg: a context in workflows, variables of a job that has siblings in
    pipelines."""
    matrix = job.context.get("matrix")
    if isinstance(matrix, Mapping):
        return {str(key): to_string(value) for key, value in matrix.items()}
    return {v.key: v.value for v in job.variables} if job.matrix_group != job.key else {}
