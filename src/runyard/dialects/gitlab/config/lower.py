"""From a Config and a trigger to a Plan: rules are judged, parallel jobs multiplied, needs resolved, steps laid out.

Called by compile only. Raises Invalid with every located problem, or NothingToRun when rules leave no pipeline.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runyard.dialects.gitlab.config.caches import caches_of, checkout_of
from runyard.dialects.gitlab.config.evaluate import Ground, Verdict, decide, first
from runyard.dialects.gitlab.config.graph import Names
from runyard.dialects.gitlab.config.jobplan import Drawing, draw
from runyard.dialects.gitlab.config.needs import Present, dependency_names, download_of, needs_of
from runyard.dialects.gitlab.config.parallel import Leg, legs
from runyard.dialects.gitlab.config.predefined import (
    job_variables,
    late_variables,
    pipeline_variables,
    user_variables,
)
from runyard.dialects.gitlab.config.scope import Scope, VariableError
from runyard.dialects.gitlab.config.spec import Config, JobSpec, Rule, Variables
from runyard.model.errors import NothingToRun
from runyard.model.plan import JobPlan, Plan, Variable, WorkflowPlan
from runyard.model.trigger import Trigger

MAX_CARRIED = 400_000  # variables of all jobs together; 2,000 jobs with 200 each

_SKIP = re.compile(r"\[(?:ci[ _-]skip|skip[ _-]ci)\]", re.IGNORECASE)


@dataclass(slots=True)
class Pipeline:
    """One compilation: what every job shares."""

    config: Config
    trigger: Trigger
    ground: Ground
    path: str
    predefined: tuple[Variable, ...] = ()
    user: tuple[Variable, ...] = ()
    outer: tuple[
        Variable, ...
    ] = ()  # the project's, then the pipeline's: above YAML in precedence, not carried by the plan
    root: dict[str, Variable] = field(default_factory=dict)


def lower(config: Config, trigger: Trigger, ground: Ground, path: str) -> Plan:
    """The plan."""
    pipeline = Pipeline(
        config,
        trigger,
        ground,
        path,
        predefined=(*late_variables(trigger), *pipeline_variables(trigger, path)),
        user=tuple(user_variables(trigger)),
        outer=(*trigger.project_variables, *trigger.variables),
        root=_yaml(config.variables),
    )
    rule = _workflow_rule(pipeline)
    scope = Scope((*pipeline.predefined, *pipeline.root.values(), *pipeline.user, *pipeline.outer))
    auto_cancel = dict(rule.auto_cancel) if rule else {}
    extra: dict[str, Any] = {
        "name": _name(pipeline, scope),
        "stages": list(config.stages),
        "on_new_commit": auto_cancel.get("on_new_commit", config.workflow.on_new_commit),
        "on_job_failure": auto_cancel.get("on_job_failure", config.workflow.on_job_failure),
        "config_path": path,
    }
    skipped = _is_skipped(trigger)
    jobs = () if skipped else _jobs(pipeline)
    pipeline.ground.out.check()
    return Plan(
        workflows=(WorkflowPlan(key="gitlab", path=path, jobs=jobs, extra={"gitlab": extra}),),
        name=extra["name"],
        supersedes="none" if trigger.tag else extra["on_new_commit"],
        cancel_on_failure=extra["on_job_failure"] == "all",
        skipped=skipped,
        warnings=tuple(str(problem) for problem in ground.out.warnings),
        extra={"gitlab": extra},
    )


def _yaml(variables: Variables) -> dict[str, Variable]:
    return {key: Variable(key, spec.text, raw=spec.raw) for key, spec in variables.items()}


def _workflow_rule(pipeline: Pipeline) -> Rule | None:
    """The winning workflow rule, its variables laid over the root's."""
    rules = pipeline.config.workflow.rules
    if rules is None:
        return None
    scope = Scope((*pipeline.predefined, *pipeline.root.values(), *pipeline.user, *pipeline.outer))
    rule = first(rules, pipeline.ground, scope)
    pipeline.ground.out.check()
    if rule is None or rule.when == "never":
        raise NothingToRun("Pipeline filtered out by workflow rules.")
    pipeline.root |= _yaml(rule.variables)
    return rule


def _name(pipeline: Pipeline, scope: Scope) -> str:
    try:
        return scope.expand(pipeline.config.workflow.name or "").strip()[:255]
    except VariableError as error:
        pipeline.ground.out.error(pipeline.config.at, f"workflow:name: {error}")
        return ""


def _is_skipped(trigger: Trigger) -> bool:
    """`[skip ci]` counts for pushes only; a pipeline that someone asked for runs."""
    if trigger.source != "push":
        return False
    options = trigger.options.get("push_options") or ()
    return "ci.skip" in options or _SKIP.search(trigger.commit.message) is not None


def _jobs(pipeline: Pipeline) -> tuple[JobPlan, ...]:
    config, out = pipeline.config, pipeline.ground.out
    order = {stage: i for i, stage in enumerate(config.stages)}
    judged: list[tuple[JobSpec, Leg, Verdict, dict[str, Variable]]] = []
    for job in sorted(config.jobs.values(), key=lambda job: order[job.stage]):
        for leg in legs(job.name, job.parallel):
            yaml = _job_yaml(pipeline, job, leg)
            verdict = _judge(pipeline, job, leg, yaml)
            if verdict is not None:
                judged.append((job, leg, verdict, yaml))
    out.check()
    if all(job.stage in (".pre", ".post") for job, *_ in judged):
        raise NothingToRun("The resulting pipeline would have been empty. Review the rules of the jobs.")
    present = Present(Names(config))
    for job, leg, *_ in judged:
        present.add(job, leg)
    ranks = {
        stage: i for i, stage in enumerate(sorted({job.stage for job, *_ in judged}, key=order.__getitem__))
    }
    plans: list[JobPlan] = []
    carried = 0
    for job, leg, verdict, yaml in judged:
        plan = _plan(pipeline, present, job, leg, verdict, yaml, ranks, order)
        if plan is not None:
            plans.append(plan)
            carried += len(plan.variables)
        if carried > MAX_CARRIED:
            out.error(config.at, f"the jobs have more than {MAX_CARRIED} variables together")
            break
    return tuple(plans)


def _job_yaml(pipeline: Pipeline, job: JobSpec, leg: Leg) -> dict[str, Variable]:
    """Root under job under matrix."""
    inherited = job.inherit_variables
    root = pipeline.root
    if isinstance(inherited, bool):
        yaml = dict(root) if inherited else {}
    else:
        yaml = {key: variable for key, variable in root.items() if key in inherited}
    yaml |= _yaml(job.variables)
    for key, value in (leg.variables or {}).items():
        yaml[key] = Variable(key, value)
    return yaml


def _judge(pipeline: Pipeline, job: JobSpec, leg: Leg, yaml: dict[str, Variable]) -> Verdict | None:
    mine = job_variables(job, leg, None)
    scope = Scope((*pipeline.predefined, *mine, *yaml.values(), *pipeline.user, *pipeline.outer))
    has_rules = pipeline.config.workflow.rules is not None
    return decide(job, pipeline.ground, scope, workflow_has_rules=has_rules)


def _plan(
    pipeline: Pipeline,
    present: Present,
    job: JobSpec,
    leg: Leg,
    verdict: Verdict,
    yaml: dict[str, Variable],
    ranks: Mapping[str, int],
    order: Mapping[str, int],
) -> JobPlan | None:
    out = pipeline.ground.out
    ours = {**yaml, **_yaml(verdict.variables)}
    mine = job_variables(job, leg, verdict.when)
    variables = (*pipeline.predefined, *mine, *ours.values(), *pipeline.user)
    scope = Scope((*variables, *pipeline.outer))
    specs = job.needs if verdict.needs is None else verdict.needs
    needs = needs_of(leg.name, specs, present, out) if specs is not None else None
    try:
        drawing = Drawing(
            job=job,
            leg=leg,
            verdict=verdict,
            variables=variables,
            scope=scope,
            needs=needs,
            dependencies=dependency_names(job, needs, present.legs),
            download=download_of(job, specs, present, ranks[job.stage], ranks),
            caches=caches_of(job, scope, pipeline.trigger, pipeline.ground.files),
            checkout=checkout_of(scope),
            stage_rank=ranks[job.stage],
            stage_idx=order[job.stage],
        )
        return draw(drawing, out)
    except VariableError as error:
        out.error(job.at, f"jobs:{job.name}: {error}")
        return None
