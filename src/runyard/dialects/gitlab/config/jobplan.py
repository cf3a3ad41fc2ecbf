"""One JobPlan from one judged job.

Called by lower for every leg. Notes a problem where a name cannot be used (an image that is none).
"""

import re
from dataclasses import dataclass, replace
from typing import Any

from runyard.dialects.gitlab.config.downstream import bridge_of, import_of
from runyard.dialects.gitlab.config.evaluate import Verdict
from runyard.dialects.gitlab.config.findings import Findings
from runyard.dialects.gitlab.config.identity import identity_tokens
from runyard.dialects.gitlab.config.jobinputs import told
from runyard.dialects.gitlab.config.keywords import (
    ENVIRONMENT_NAME_HINT,
    IMAGE_HINT,
    IMAGE_NAME,
    is_environment_name,
)
from runyard.dialects.gitlab.config.parallel import Leg
from runyard.dialects.gitlab.config.payload import payload
from runyard.dialects.gitlab.config.scope import Scope
from runyard.dialects.gitlab.config.script import failing
from runyard.dialects.gitlab.config.spec import ImageSpec, JobSpec, RetrySpec
from runyard.dialects.gitlab.config.steps import Cache, Checkout, steps_of
from runyard.engine.environments import slug_of
from runyard.model.access import NOBODY, Role
from runyard.model.plan import (
    Concurrency,
    EnvironmentUse,
    Gate,
    Image,
    JobPlan,
    Need,
    Order,
    Retry,
    Variable,
    When,
)
from runyard.model.state import Reason
from runyard.model.trigger import Trigger
from runyard.syntax.patterns import split_literal
from runyard.syntax.variables import references

_TEMPLATE = re.compile(r"\$\{\{[^{}]{0,200}\}\}")

# GitLab's word in `retry:when` → our reasons. Reasons we never have are valid words that match nothing.
RETRY_REASONS: dict[str, tuple[Reason, ...]] = {
    "script_failure": (Reason.SCRIPT, Reason.OUT_OF_MEMORY),
    "stuck_or_timeout_failure": (Reason.STUCK, Reason.RUNNER_LOST),
    "runner_system_failure": (Reason.RUNNER_SYSTEM, Reason.IMAGE_UNAVAILABLE, Reason.CHECKOUT),
    "runner_unsupported": (Reason.RUNNER_UNSUPPORTED,),
    "job_execution_timeout": (Reason.TIMEOUT,),
    "missing_dependency_failure": (Reason.MISSING_DEPENDENCY,),
    "runner_interrupted": (Reason.RUNNER_LOST,),
    "runner_external_dependency_failure": (Reason.IMAGE_UNAVAILABLE,),
    "unknown_failure": (Reason.NONE, Reason.BAD_PLAN),
}
ACCESS = {"all": Role.NONE, "developer": Role.DEVELOPER, "maintainer": Role.MAINTAINER, "none": NOBODY}


@dataclass(frozen=True, slots=True)
class Drawing:
    """Everything that is settled of a job."""

    job: JobSpec
    leg: Leg
    verdict: Verdict
    variables: tuple[Variable, ...]
    scope: Scope
    needs: tuple[Need, ...] | None
    dependencies: list[str] | None
    download: dict[str, Any] | None
    caches: tuple[Cache, ...]
    checkout: Checkout
    stage_rank: int
    stage_idx: int
    trigger: Trigger
    path: str
    yaml: tuple[Variable, ...]


def draw(drawing: Drawing, out: Findings) -> JobPlan:
    """The plan of one job."""
    job, leg, verdict, scope = drawing.job, drawing.leg, drawing.verdict, drawing.scope
    environment = _environment(job, scope)
    if environment and not is_environment_name(environment["name"]):
        # Only the variables' values make it one that cannot be: GitLab fails such a job, not the pipeline.
        said = f"`{environment['name']}` cannot name an environment: it {ENVIRONMENT_NAME_HINT}"
        out.warn(job.at, f"jobs:{job.name}:environment: {said}. The job fails when it runs")
        job, environment = replace(job, before_script=(failing(said), *job.before_script)), None
    variables = (*drawing.variables, *_environment_variables(environment))
    group = scope.expand(job.resource_group).strip()[:255] if job.resource_group else ""
    tags = tuple(dict.fromkeys(scope.expand(tag) for tag in job.tags))
    stops = job.interruptible if verdict.interruptible is None else verdict.interruptible
    decided = {
        "caches": drawing.caches,
        "checkout": drawing.checkout,
        "dag": drawing.needs is not None,
        "dependencies": drawing.dependencies,
        "environment": environment,
        "resource_group": group or None,
        "tags": tags,
    }
    tokens = {token.name: token.audience for token in job.id_tokens}
    bridge = bridge_of(job.trigger, drawing.trigger, leg.name, drawing.yaml) if job.trigger else None
    return JobPlan(
        key=leg.name,
        name=leg.name,
        steps=() if bridge else steps_of(job, drawing.checkout, drawing.caches, drawing.download),
        group=job.name,
        stage=job.stage,
        stage_index=drawing.stage_rank,
        needs=drawing.needs or (),
        gate=Gate(
            When(verdict.when),
            Order.STAGE if drawing.needs is None else Order.NEEDS,
            delay_s=(verdict.start_in_s or 0) if verdict.when == "delayed" else 0,
            question=job.manual_confirmation or "",
        ),
        variables=variables,
        inputs={name: about["default"] for name, about in told(job.inputs).items()} if job.inputs else {},
        image=_image(job.image, scope, out) if job.image else None,
        services=tuple(_image(service, scope, out) for service in job.services),
        tags=tags,
        timeout_s=job.timeout_s,
        retry=_retry(job.retry),
        allow_failure=verdict.allow_failure.always,
        allow_failure_exit_codes=verdict.allow_failure.exit_codes,
        concurrency=Concurrency(group) if group else None,
        interruptible=stops,
        stock=bridge is None,
        identity_tokens=identity_tokens(tokens, drawing.trigger, environment, drawing.path),
        environment=_use(environment),
        claimable=bridge is None,
        bridge=bridge,
        imports=tuple(import_of(need) for need in job.foreign),
        coverage=_coverage(job.coverage),
        artifacts_from=ACCESS[job.artifacts.access] if job.artifacts else Role.NONE,
        extra={
            "gitlab": payload(job, leg, verdict, drawing.stage_idx, decided)
            | ({"bridge": True} if bridge else {})
        },
    )


def _environment(job: JobSpec, scope: Scope) -> dict[str, Any] | None:
    environment = job.environment
    if environment is None:
        return None
    return {
        "name": scope.expand(environment.name)[:255],
        "url": environment.url,
        "action": environment.action,
        "on_stop": environment.on_stop,
        "auto_stop_in": environment.auto_stop_in,
        "auto_stop_s": environment.auto_stop_s,
        "deployment_tier": environment.deployment_tier or _tier(scope.expand(environment.name)),
    }


def _use(environment: dict[str, Any] | None) -> EnvironmentUse | None:
    """For the engine, which keeps environments and what was delivered to them."""
    if environment is None or not environment["name"]:
        return None
    return EnvironmentUse(
        environment["name"],
        environment["url"] or "",
        environment["action"],
        environment["on_stop"] or "",
        environment["auto_stop_s"],
        environment["deployment_tier"],
    )


def _tier(name: str) -> str:
    """GitLab's guess from the name."""
    for tier, words in (
        ("development", r"dev|review|trunk"),
        ("testing", r"test|tst|int|ac(ce|)pt|qa|qc|control|quality"),
        ("staging", r"st(a|)g|mod(e|)l|pre|demo|non"),
        ("production", r"pr(o|)d|live"),
    ):
        if re.search(words, name.lower()):
            return tier
    return "other"


def _environment_variables(environment: dict[str, Any] | None) -> tuple[Variable, ...]:
    if environment is None:
        return ()
    values = {
        "CI_ENVIRONMENT_NAME": environment["name"],
        "CI_ENVIRONMENT_SLUG": slug_of(environment["name"]),
        "CI_ENVIRONMENT_ACTION": environment["action"],
        "CI_ENVIRONMENT_TIER": environment["deployment_tier"],
    }
    found = [Variable(key, value, raw=True) for key, value in values.items()]
    if environment["url"]:
        found.append(Variable("CI_ENVIRONMENT_URL", environment["url"]))
    return tuple(found)


def _image(spec: ImageSpec, scope: Scope, out: Findings) -> Image:
    name = scope.template(spec.name, keep_unknown=True).strip()
    plain = _TEMPLATE.sub("x", name)
    has_signs = "${{" in spec.name and not scope.with_inputs
    if has_signs or not IMAGE_NAME.fullmatch(plain):
        shown = f"`{spec.name[:80]}` is not the name of an image"
        unknown = ", ".join(dict.fromkeys(references(plain)))
        if (
            unknown and not has_signs
        ):  # GitLab leaves it to the runner, which may know more; else the job fails there
            told = f"{shown}: {unknown[:200]} is not known here; set it as a CI/CD variable, or jobs that want it fail"
            out.warn(spec.at, told)
        else:
            out.error(spec.at, shown, IMAGE_HINT)
    docker = spec.executor_opts.get("docker", {})
    return Image(
        name,
        entrypoint=spec.entrypoint,
        user=str(docker.get("user", "")),
        env={key: scope.template(variable.text) for key, variable in spec.variables.items()},
        options=dict(spec.executor_opts)
        | ({"pull_policy": list(spec.pull_policy)} if spec.pull_policy else {}),
        alias=spec.alias or "",
        command=spec.command,
    )


def _retry(retry: RetrySpec) -> Retry:
    if not retry.max:
        return Retry()
    when = dict.fromkeys(
        word
        for name in retry.when
        for word in (("always",) if name == "always" else RETRY_REASONS.get(name, ()))
    )
    return Retry(retry.max, tuple(str(word) for word in when), retry.exit_codes)


def _coverage(text: str | None) -> str:
    parts = split_literal(text) if text else None
    if parts is None:
        return ""
    pattern, flags = parts
    return f"(?{flags}){pattern}" if flags else pattern
