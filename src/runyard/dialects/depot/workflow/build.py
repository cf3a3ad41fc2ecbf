"""A WorkflowDoc and a trigger to a WorkflowPlan: matrix legs, gates, environment, outputs (actions.md §5).

Called by `depot/compile.py`. Adds findings for what cannot be served or rendered; the caller refuses when there are errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from runyard.dialects.depot.workflow import facts, steps
from runyard.dialects.depot.workflow.document import ConcurrencyDoc, ContainerDoc, JobDoc, WorkflowDoc
from runyard.dialects.depot.workflow.findings import Findings
from runyard.dialects.depot.workflow.nodes import Text
from runyard.dialects.depot.workflow.static import Static, texts, uses_matrix
from runyard.model.plan import Concurrency, Gate, Image, JobPlan, Need, Order, Variable, WorkflowPlan
from runyard.model.trigger import Trigger
from runyard.model.variants import Circumstances, chosen
from runyard.syntax import matrix

DEFAULT_TIMEOUT_MINUTES = 360.0
MAX_NAME = 200
_OWN_LABELS = ("ubuntu", "depot", "linux", "x64", "arm64", "windows", "macos")


@dataclass(frozen=True, slots=True)
class Event:
    """What the workflow is told that happened."""

    name: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Leg:
    """One leg of a job with what is known about it."""

    doc: JobDoc
    key: str
    suffix: str
    static: Static
    fail_fast: bool
    max_parallel: int | None


def build(
    doc: WorkflowDoc, trigger: Trigger, event: Event, only: frozenset[str] | None, findings: Findings
) -> WorkflowPlan:
    """The plan of one file; `only` keeps these jobs (their needs are in it)."""
    workflow_name = doc.name or doc.path
    context: dict[str, Any] = {
        "github": facts.github(trigger, event.name, workflow_name, doc.path),
        "inputs": dict(event.inputs),
        "vars": _vars(trigger, doc),
    }
    jobs = [job for job in doc.jobs.values() if only is None or job.id in only]
    stamp = f"{trigger.now}-{trigger.sha[:12]}"
    builtin = trigger.server.builtin_actions
    plans = [_plan(doc, leg, stamp, builtin) for job in jobs for leg in _legs(job, context, findings)]
    static = Static(findings, _grouping(context, stamp))
    return WorkflowPlan(
        key=doc.path,
        name=workflow_name,
        path=doc.path,
        jobs=tuple(plans),
        concurrency=_concurrency(doc.concurrency, static),
        extra={"depot": {"file": PurePosixPath(doc.path).name}},
    )


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


def _vars(trigger: Trigger, doc: WorkflowDoc) -> dict[str, str]:
    """The project's variables, then those that Depot's own services keep."""
    # Masked variables are for `secrets` and the environment, not for a context that is stored in the clear.
    plain = {v.key: v.value for v in trigger.project_variables if not v.masked and not v.file}
    at = Circumstances(trigger.project.path, "" if trigger.tag else trigger.ref, workflow=doc.path)
    return {**plain, **chosen(trigger.variants, at)}


def _legs(job: JobDoc, context: dict[str, Any], findings: Findings) -> Iterator[_Leg]:
    context = {**context, "github": {**context["github"], "job": job.id}}
    outer = Static(findings, context)
    if job.matrix is None:
        single = {"fail-fast": True, "job-index": 0, "job-total": 1, "max-parallel": 1}
        yield _Leg(
            job, job.id, "", Static(findings, {**context, "matrix": {}, "strategy": single}), False, None
        )
        return
    before = len(findings.problems)
    values = outer.plain(job.matrix, "A matrix")
    if len(findings.problems) > before:
        return
    try:
        if not isinstance(values, dict):
            raise ValueError("A matrix must be a mapping")
        legs = matrix.expand(values)
    except ValueError as error:
        if not any(outer.is_sampled(text) for text in texts(job.matrix)):
            findings.error(job.matrix.at, str(error))
        return
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
        yield _Leg(job, key, suffix, static, fail_fast, parallel)


def _plan(doc: WorkflowDoc, leg: _Leg, stamp: str, builtin: bool) -> JobPlan:
    job, static = leg.doc, leg.static
    environment = {**doc.env, **job.env}
    minutes = DEFAULT_TIMEOUT_MINUTES
    if job.timeout_minutes is not None:
        minutes = static.number(job.timeout_minutes, "`timeout-minutes` of a job")
    image = _image(job.container)
    shown = Static(static.findings, {**static.facts, "env": _known_env(environment, static)})
    return JobPlan(
        key=leg.key,
        name=_name(leg),
        steps=tuple(
            steps.plans(
                job.steps, job.defaults.under(doc.defaults), image is not None, shown, builtin=builtin
            )
        ),
        builtin_actions=builtin,
        group=job.id,
        needs=tuple(Need(need.value, artifacts=False) for need in job.needs),
        gate=Gate(
            order=Order.NEEDS, expression=(job.condition.value if job.condition else "") or "success()"
        ),
        variables=(
            *facts.variables(static.facts, job.id),
            *(Variable(name, text.value, raw=True, late=text.is_late) for name, text in environment.items()),
        ),
        context=dict(static.facts),
        late=facts.LATE,
        outputs={name: text.value for name, text in job.outputs.items()},
        image=image,
        tags=_tags(job, static),
        timeout_s=max(1, math.ceil(minutes * 60)),
        allow_failure=static.boolean(job.continue_on_error, "`continue-on-error` of a job"),
        concurrency=_concurrency(
            job.concurrency, Static(static.findings, _grouping(static.facts, f"{stamp}-{leg.key}"))
        ),
        fail_fast=leg.fail_fast,
        max_parallel=leg.max_parallel,
        extra={"depot": {"job_key": _job_key(doc.path, leg)}},
    )


def _job_key(path: str, leg: _Leg) -> str:
    """`<file>:<job id>`, and the leg as one more segment, so that `--job <id>` of the CLI finds every leg."""
    name = f"{PurePosixPath(path).name}:{leg.doc.id}"
    return f"{name}:{leg.suffix}" if leg.suffix else name


def _name(leg: _Leg) -> str:
    """The shown name; a leg says its values unless the name does."""
    job = leg.doc
    if job.name is None or not job.name.value.strip():
        return leg.key
    if not leg.static.knows(job.name):
        # A name that waits for needs: the file's own words are all there is when the graph is drawn.
        return leg.key
    name = leg.static.text(job.name, "`name`")
    if leg.suffix and not uses_matrix(job.name):
        name = f"{name} ({leg.suffix})"
    return name[:MAX_NAME] or leg.key


def _image(container: ContainerDoc | None) -> Image | None:
    if container is None:
        return None
    return Image(
        name=container.image.value.removeprefix("docker://"),
        env={name: text.value for name, text in container.env.items()},
    )


def _tags(job: JobDoc, static: Static) -> tuple[str, ...]:
    """Self-hosted labels become runner tags; every hosted label means the built-in runner (Depot treats unknown ones so too)."""
    labels: list[str] = []
    for text in job.runs_on:
        value = static.value(text, "`runs-on`")
        labels += [str(item) for item in value] if isinstance(value, list | tuple) else [str(value or "")]
    lowered = [label.strip().lower() for label in labels if label.strip()]
    if "self-hosted" not in lowered:
        return ()
    return tuple(label for label in lowered if label != "self-hosted" and not label.startswith(_OWN_LABELS))


def _known_env(environment: Mapping[str, Text], static: Static) -> dict[str, str]:
    """`env` as far as the trigger knows it, for defaults.run."""
    return {
        name: static.text(text, "`env`")
        for name, text in environment.items()
        if not text.is_late or static.knows(text)
    }


def _concurrency(doc: ConcurrencyDoc | None, static: Static) -> Concurrency | None:
    if doc is None:
        return None
    group = static.text(doc.group, "A concurrency group").strip().lower()
    if not group:
        if not static.findings.errors:
            static.findings.error(doc.group.at, "The concurrency group must not be empty")
        return None
    if len(group) >= 400:
        static.findings.error(doc.group.at, "The concurrency group must be shorter than 400 characters")
    return Concurrency(
        group=group,
        cancel_in_progress=static.boolean(doc.cancel_in_progress, "`cancel-in-progress`"),
        single_pending=not doc.queue_all,
    )


def _grouping(context: Mapping[str, Any], stamp: str) -> dict[str, Any]:
    """Contexts for group names: `github.run_id` there only has to differ from run to run."""
    known = {**context["github"], "run_id": stamp, "run_number": stamp, "run_attempt": "1"}
    return {**context, "github": known}
