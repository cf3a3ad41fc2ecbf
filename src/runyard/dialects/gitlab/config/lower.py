"""From a Config and a trigger to a Plan: rules are judged, parallel jobs multiplied, needs resolved, steps
laid out.

Called by compile only. Raises Invalid with every located problem, or NothingToRun when rules leave no
pipeline.
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
from runyard.dialects.gitlab.config.parallel import Leg, legs, of_leg
from runyard.dialects.gitlab.config.predefined import (
    MANUAL,
    job_variables,
    known_variables,
    late_variables,
    named,
    pipeline_variables,
    user_variables,
)
from runyard.dialects.gitlab.config.scope import Layer, Scope, VariableError, circle_in
from runyard.dialects.gitlab.config.spec import Config, JobSpec, Rule, Variables
from runyard.model.errors import NothingToRun
from runyard.model.plan import JobPlan, Plan, Variable, WorkflowPlan
from runyard.model.trigger import Trigger

MAX_CARRIED = 1_200_000  # variables of all jobs together; 10,000 jobs with 120 each

_SKIP = re.compile(r"\[(?:ci[ _-]skip|skip[ _-]ci)\]", re.IGNORECASE)


@dataclass(slots=True)
class Pipeline:
    """One compilation: what every job shares."""

    config: Config
    trigger: Trigger
    ground: Ground
    path: str
    predefined: Layer
    user: Layer
    outer: Layer  # the project's, then the pipeline's: above YAML in precedence, not carried by the plan
    root: dict[str, Variable] = field(default_factory=dict)


def lower(config: Config, trigger: Trigger, ground: Ground, path: str) -> Plan:
    """The plan."""
    pipeline = Pipeline(
        config,
        trigger,
        ground,
        path,
        predefined=Layer((*late_variables(trigger), *pipeline_variables(trigger, path))),
        user=Layer(user_variables(trigger)),
        outer=Layer((*trigger.project_variables, *trigger.variables)),
        root=_yaml(config.variables),
    )
    rule = _workflow_rule(pipeline)
    scope = _scope(pipeline, Layer(pipeline.root.values()))
    auto_cancel = dict(rule.auto_cancel) if rule else {}
    extra: dict[str, Any] = {
        "name": _name(pipeline, scope),
        "stages": list(config.stages),
        "on_new_commit": auto_cancel.get("on_new_commit", config.workflow.on_new_commit),
        "on_job_failure": auto_cancel.get("on_job_failure", config.workflow.on_job_failure),
        "config_path": path,
    }
    if isinstance(request := trigger.options.get("merge_request"), Mapping):
        extra["merge_request_iid"] = request.get("iid")
    if extra["name"]:
        pipeline.predefined = Layer(
            (*pipeline.predefined.variables, named("CI_PIPELINE_NAME", extra["name"]))
        )
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
        extra={"gitlab": extra}
        | ({"merge_request_iid": extra["merge_request_iid"]} if "merge_request_iid" in extra else {}),
    )


def _yaml(variables: Variables) -> dict[str, Variable]:
    return {key: Variable(key, spec.text, raw=spec.raw) for key, spec in variables.items()}


def _scope(pipeline: Pipeline, *layers: Layer) -> Scope:
    return Scope(pipeline.predefined, *layers, pipeline.user, pipeline.outer)


def _workflow_rule(pipeline: Pipeline) -> Rule | None:
    """The winning workflow rule, its variables laid over the root's."""
    rules = pipeline.config.workflow.rules
    if rules is None:
        return None
    rule = first(rules, pipeline.ground, _scope(pipeline, Layer(pipeline.root.values())))
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


@dataclass(frozen=True, slots=True)
class Judged:
    """A leg that rules have let in."""

    job: JobSpec
    leg: Leg
    verdict: Verdict
    mine: tuple[Variable, ...]  # predefined of this job
    yaml: dict[str, Variable]
    scope: Scope


def _jobs(pipeline: Pipeline) -> tuple[JobPlan, ...]:
    config, out = pipeline.config, pipeline.ground.out
    order = {stage: i for i, stage in enumerate(config.stages)}
    jobs = sorted(config.jobs.values(), key=lambda job: order[job.stage])
    judged = [
        one for job in jobs for leg in legs(job.name, job.parallel) if (one := _judge(pipeline, job, leg))
    ]
    out.check()
    if all(one.job.stage in (".pre", ".post") for one in judged):
        raise NothingToRun("The resulting pipeline would have been empty. Review the rules of the jobs.")
    present = Present(Names(config))
    for one in judged:
        present.add(one.job, one.leg)
    used = sorted({one.job.stage for one in judged}, key=order.__getitem__)
    ranks = {stage: i for i, stage in enumerate(used)}
    plans: list[JobPlan] = []
    carried = 0
    for one in judged:
        plan = _plan(pipeline, present, one, ranks, order)
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


def _judge(pipeline: Pipeline, job: JobSpec, leg: Leg) -> Judged | None:
    yaml = _job_yaml(pipeline, job, leg)
    mine = tuple(job_variables(job, leg))
    scope = _scope(pipeline, Layer((*mine, *known_variables(job))), Layer(yaml.values()))
    has_rules = pipeline.config.workflow.rules is not None
    verdict = decide(job, pipeline.ground, scope, workflow_has_rules=has_rules)
    return Judged(job, leg, verdict, mine, yaml, scope) if verdict else None


def _plan(
    pipeline: Pipeline, present: Present, one: Judged, ranks: Mapping[str, int], order: Mapping[str, int]
) -> JobPlan | None:
    job, verdict, mine, yaml, scope = one.job, one.verdict, one.mine, one.yaml, one.scope
    if verdict.when == "manual":
        mine = (*mine, MANUAL)
    if verdict.variables:
        yaml = {**yaml, **_yaml(verdict.variables)}
        scope = _scope(pipeline, Layer((*mine, *known_variables(job))), Layer(yaml.values()))
    scope.with_inputs = bool(job.inputs)
    out = pipeline.ground.out
    specs = job.needs if verdict.needs is None else verdict.needs
    if specs is not None:
        specs = of_leg(specs, one.leg)
    needs = needs_of(one.leg.name, specs, present, out) if specs is not None else None
    rank = ranks[job.stage]
    circle = circle_in(yaml.values())
    if circle:
        out.error(job.at, f"{one.leg.name}: {circle}")
    try:
        drawing = Drawing(
            job=job,
            leg=one.leg,
            verdict=verdict,
            variables=(*pipeline.predefined.variables, *mine, *yaml.values(), *pipeline.user.variables),
            scope=scope,
            needs=needs,
            dependencies=dependency_names(job, needs, present.legs),
            download=download_of(job, specs, present, rank, ranks),
            caches=caches_of(job, scope, pipeline.trigger, pipeline.ground.files),
            checkout=checkout_of(scope),
            trigger=pipeline.trigger,
            path=pipeline.path,
            yaml=tuple(yaml.values()),
            stage_rank=rank,
            stage_idx=order[job.stage],
        )
        return draw(drawing, out)
    except VariableError as error:
        out.error(job.at, f"jobs:{job.name}: {error}")
        return None
