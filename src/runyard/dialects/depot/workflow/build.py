"""A WorkflowDoc and a trigger to a WorkflowPlan: jobs, legs, gates, environment, outputs (actions.md §5).

Called by `depot/compile.py`. Adds findings for what cannot be served or rendered; the caller refuses when
there are errors. What depends on `needs` becomes templates in the plan (`late`), a matrix that does so a job
that unfolds, a called workflow too (`calls`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from runyard.dialects.depot.workflow import beside, facts, late, steps
from runyard.dialects.depot.workflow.document import JobDoc, WorkflowDoc
from runyard.dialects.depot.workflow.findings import Findings
from runyard.dialects.depot.workflow.library import Library
from runyard.dialects.depot.workflow.nodes import Text
from runyard.dialects.depot.workflow.permissions import level, of_job
from runyard.dialects.depot.workflow.static import Static, texts, uses_matrix
from runyard.model.plan import (
    Drawn,
    EnvironmentUse,
    Gate,
    JobPlan,
    Need,
    Order,
    Unfold,
    Variable,
    WorkflowPlan,
)
from runyard.model.trigger import Trigger
from runyard.model.variants import Circumstances, chosen
from runyard.syntax import matrix, yamltree

MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Event:
    """What the workflow is told that happened."""

    name: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """What all jobs of one document share. `key` is the path of callers that leads to it, empty or ending in
    " / "."""

    doc: WorkflowDoc
    context: Mapping[str, Any]
    findings: Findings
    library: Library
    stamp: str
    key: str = ""
    file: str = ""
    permissions: Mapping[str, str] | None = (
        None  # of the calling job: those of what it calls can only be less
    )
    builtin: bool = True
    vars_in: Callable[[str], dict[str, str]] | None = None  # `vars` of an environment, where they may differ
    cache_scopes: tuple[str, ...] = ()
    environment: tuple[Variable, ...] = ()  # of every job


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of a job with what is known about it. `static` lacks `matrix` where that is known later
    only."""

    doc: JobDoc
    key: str
    suffix: str
    static: Static
    fail_fast: bool
    max_parallel: int | None


def build(
    doc: WorkflowDoc, trigger: Trigger, event: Event, only: frozenset[str] | None, library: Library
) -> WorkflowPlan:
    """The plan of one file; `only` keeps these jobs (their needs are in it)."""
    findings = library.findings
    workflow_name = doc.name or doc.path
    context: dict[str, Any] = {
        "github": facts.github(trigger, event.name, workflow_name, doc.path),
        "inputs": dict(event.inputs),
        "vars": _vars(trigger, doc),
    }
    stamp = f"{trigger.now}-{trigger.sha[:12]}"
    file = PurePosixPath(doc.path).name
    setting = Setting(
        doc,
        context,
        findings,
        library.within(doc.path),
        stamp,
        file=file,
        builtin=trigger.server.builtin_actions,
        cache_scopes=_cache_scopes(trigger, context["github"]),
        environment=facts.variables(context),
    )
    static = Static(findings, late.grouping(context, stamp))
    if trigger.variants:
        setting = replace(setting, vars_in=lambda name: _vars(trigger, doc, name))
    return WorkflowPlan(
        key=doc.path,
        name=workflow_name,
        path=doc.path,
        jobs=tuple(jobs(setting, only)),
        concurrency=late.known_concurrency(doc.concurrency, static),
        extra={"depot": {"file": file}},
    )


def jobs(setting: Setting, only: frozenset[str] | None = None) -> Iterator[JobPlan]:
    """The plans of a document's jobs."""
    from runyard.dialects.depot.workflow import calls  # it builds the jobs of what is called

    for job in setting.doc.jobs.values():
        if only is not None and job.id not in only:
            continue
        if job.call is not None:
            plan = calls.caller(setting, job)
            if plan is not None:
                yield plan
            continue
        legs: Iterable[Leg | JobPlan] = _legs(setting, job)
        if setting.findings.sampled:
            legs = [*legs][:1]  # only problems are asked for, and legs share the text that could have some
        for leg in legs:
            yield leg if isinstance(leg, JobPlan) else _plan(setting, leg)


def run_name(doc: WorkflowDoc, trigger: Trigger, event: Event, findings: Findings) -> str:
    """`run-name`, rendered; empty when the file has none."""
    if doc.run_name is None:
        return ""
    context = {
        "github": facts.github(trigger, event.name, doc.name or doc.path, doc.path),
        "inputs": event.inputs,
        "vars": _vars(trigger, doc),
    }
    return Static(findings, context).text(doc.run_name, "`run-name`")[:MAX_NAME]


def _vars(trigger: Trigger, doc: WorkflowDoc, environment: str = "") -> dict[str, str]:
    """The project's variables, then those that Depot's own services keep for this place."""
    # Masked variables are for `secrets` and the environment, not for a context that is stored in the clear.
    plain = {v.key: v.value for v in trigger.project_variables if not v.masked and not v.file}
    at = Circumstances(trigger.project.path, "" if trigger.tag else trigger.ref, environment, doc.path)
    return {**plain, **chosen(trigger.variants, at)}


def _legs(setting: Setting, job: JobDoc) -> Iterator[Leg | JobPlan]:
    findings = setting.findings
    context = {**setting.context, "github": {**setting.context["github"], "job": job.id}}
    outer = Static(findings, context)
    if job.matrix is None:
        single = {"fail-fast": True, "job-index": 0, "job-total": 1, "max-parallel": 1}
        yield Leg(
            job, job.id, "", Static(findings, {**context, "matrix": {}, "strategy": single}), False, None
        )
        return
    if not is_known(job, outer):
        yield _unfolding(setting, job, outer)
        return
    legs = expanded(job, outer)
    fail_fast = outer.boolean(job.fail_fast, "`fail-fast`")
    parallel = (
        None if job.max_parallel is None else max(1, int(outer.number(job.max_parallel, "`max-parallel`")))
    )
    taken: set[str] = set()
    for index, leg in enumerate(legs):
        suffix = matrix.suffix(leg) or str(index)
        key = f"{job.id} ({suffix})"[:MAX_NAME]
        if key in taken:
            key = f"{key[: MAX_NAME - 6]} #{index}"
        taken.add(key)
        strategy = {
            "fail-fast": fail_fast,
            "job-index": index,
            "job-total": len(legs),
            "max-parallel": parallel or len(legs),
        }
        static = Static(findings, {**context, "matrix": leg, "strategy": strategy})
        yield Leg(job, key, suffix, static, fail_fast, parallel)


def is_known(job: JobDoc, outer: Static) -> bool:
    """Whether the whole strategy can be worked out now."""
    assert job.matrix is not None  # noqa: S101 - the caller looked
    keys = [text for text in (job.fail_fast, job.max_parallel) if isinstance(text, Text)]
    return all(outer.knows(text) for text in (*texts(job.matrix), *keys))


def expanded(job: JobDoc, outer: Static) -> list[dict[str, Any]]:
    """The legs of a matrix that is known; none, with a finding, of one that is not right."""
    assert job.matrix is not None  # noqa: S101 - the caller looked
    before = len(outer.findings.problems)
    values = outer.plain(job.matrix, "A matrix")
    if len(outer.findings.problems) > before:
        return []
    try:
        if not isinstance(values, dict):
            raise ValueError("A matrix must be a mapping")
        return matrix.expand(values)
    except ValueError as error:
        # What `read` has said of one of its values is not said again of the whole.
        said = {(problem.line, problem.column) for problem in outer.findings.errors}
        blamed = any((part.at.line, part.at.column) in said for part in yamltree.walk(job.matrix))
        if not blamed and not any(outer.is_sampled(text) for text in texts(job.matrix)):
            outer.findings.error(job.matrix.at, str(error))
        return []


def _unfolding(setting: Setting, job: JobDoc, outer: Static) -> JobPlan:
    """A job whose legs are known when its needs are done."""
    leg = _plan(setting, Leg(job, job.id, "", outer, False, None))
    named = leg.drawn.name if leg.drawn and job.name and uses_matrix(job.name) else ""
    inner = replace(leg.drawn, name="") if leg.drawn else None
    assert job.matrix is not None  # noqa: S101 - the caller looked
    whole = None
    if job.name is not None and not named and leg.drawn and leg.drawn.name:
        whole = Drawn(name=leg.drawn.name)
    return JobPlan(
        key=job.id,
        name=leg.name,
        group=job.id,
        needs=leg.needs,
        gate=leg.gate,
        context=leg.context,
        late=leg.late,
        claimable=False,
        drawn=whole,
        unfold=Unfold(
            jobs=(replace(leg, context={}, drawn=None if inner == Drawn() else inner),),
            matrix=late.tree(job.matrix),
            fail_fast=late.value(job.fail_fast),
            max_parallel=None if job.max_parallel is None else late.value(job.max_parallel),
            name=named,
        ),
        extra=leg.extra,
    )


def _plan(setting: Setting, leg: Leg) -> JobPlan:
    doc, job, static = setting.doc, leg.doc, leg.static
    token = of_job(setting.permissions, doc, job)
    environment = {**doc.env, **job.env}
    image, services = beside.images(job, static)
    shown = Static(static.findings, {**static.facts, "env": _known_env(environment, static)})
    fields = late.fields(job, leg.key, leg.suffix, static, f"{setting.stamp}-{setting.key}{leg.key}")
    return JobPlan(
        key=leg.key,
        name=fields.name,
        steps=tuple(
            steps.plans(
                job.steps,
                job.defaults.under(doc.defaults),
                job.container is not None and image is not None,
                shown,
                builtin=setting.builtin,
            )
        ),
        builtin_actions=setting.builtin,
        cache_scopes=setting.cache_scopes,
        identity=level(token, "id-token") == "write",
        group=job.id,
        needs=tuple(Need(need.value, artifacts=False) for need in job.needs),
        gate=gate(job),
        variables=(
            Variable("GITHUB_JOB", job.id, raw=True),
            *setting.environment,
            *(Variable(name, text.value, raw=True, late=text.is_late) for name, text in environment.items()),
        ),
        context=_context(setting, static, fields.environment),
        late=facts.LATE,
        outputs=late.outputs(job),
        # Its checkout is the runner's, not the token's.
        reads_project=level(token, "contents") != "none",
        pushes_code=level(token, "contents") == "write",
        steers_runs=level(token, "actions") == "write",
        image=image,
        services=services,
        tags=fields.tags,
        labels=_handed_labels(setting, leg) if fields.drawn is None else (),
        timeout_s=fields.timeout_s,
        after_limit_s=late.CANCEL_TIMEOUT_S,
        allow_failure=fields.allow_failure,
        concurrency=fields.concurrency,
        environment=fields.environment,
        drawn=fields.drawn,
        fail_fast=leg.fail_fast,
        max_parallel=leg.max_parallel,
        extra={"depot": {"job_key": _job_key(setting, leg)}},
    )


def _handed_labels(setting: Setting, leg: Leg) -> tuple[str, ...]:
    """All labels of a job whose file a foreign runner can be handed: one of the repository itself, not called
    by another, whose steps such a runner can run. `self-hosted` says what it is anyway."""
    if setting.key or setting.doc.path.startswith("_inline_") or leg.doc.runs_on.group is not None:
        return ()
    if any(step.control or step.background or step.lane or step.retry for step in leg.doc.steps):
        return ()
    labels: list[str] = []
    for text in leg.doc.runs_on.labels:
        value = leg.static.value(text, "`runs-on`")
        labels += [str(item) for item in value] if isinstance(value, list | tuple) else [str(value or "")]
    return tuple(label for label in labels if label.strip() and label.lower() != "self-hosted")


def _context(setting: Setting, static: Static, use: EnvironmentUse | None) -> dict[str, Any]:
    """The job's facts; `vars` are those of its environment."""
    found = dict(static.facts)
    if setting.vars_in is not None and use is not None and use.name:
        found["vars"] = setting.vars_in(use.name)
    return found


def _cache_scopes(trigger: Trigger, github: Mapping[str, Any]) -> tuple[str, ...]:
    """The run's own ref, the branch it is to be merged into, the default branch. What the caller of the API
    brought along (a text, changes, a commit of its choice) is not what the ref holds, so it writes nothing
    that the ref's own runs would read."""
    detached = bool(trigger.options.get("detached"))
    own = f"detached/{trigger.actor.id}" if detached else str(github["ref"])
    base = f"refs/heads/{github['base_ref']}" if github.get("base_ref") else ""
    default = f"refs/heads/{trigger.project.default_branch}"
    return tuple(dict.fromkeys(filter(None, (own, base, str(github["ref"]) if detached else "", default))))


def gate(job: JobDoc) -> Gate:
    """`if` of a job."""
    text = job.condition.value if job.condition else ""
    return Gate(order=Order.NEEDS, expression=text or "success()")


def _job_key(setting: Setting, leg: Leg) -> str:
    """`<file>:<job id>`, and the leg as one more segment, so that `--job <id>` of the CLI finds every leg."""
    name = f"{setting.file}:{setting.key}{leg.doc.id}"
    return f"{name}:{leg.suffix}" if leg.suffix else name


def _known_env(environment: Mapping[str, Text], static: Static) -> dict[str, str]:
    """`env` as far as the trigger knows it, for defaults.run."""
    return {
        name: static.text(text, "`env`")
        for name, text in environment.items()
        if not text.is_late or static.knows(text)
    }
