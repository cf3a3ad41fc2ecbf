"""The assignment: everything a runner needs, made final at claim. Late values are rendered, `$X` expanded,
masks and inputs gathered.

Called by dispatch.claim only. `Undeliverable` says why this attempt can never be handed out as it is; the
claim then ends it and goes on.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from runyard.engine.board import Board
from runyard.engine.flow import Flow, Node
from runyard.engine.gates import need_facts
from runyard.engine.imports import imported
from runyard.engine.ports import ArtifactFilter, Page, Tx, Vault
from runyard.engine.reopening import INPUTS
from runyard.engine.terms import Terms
from runyard.engine.views import secrets_of, variables_of
from runyard.model.errors import Away, Unavailable
from runyard.model.plan import (
    Assignment,
    Image,
    InputArtifact,
    JobPlan,
    Order,
    StepKind,
    Variable,
)
from runyard.model.state import Reason
from runyard.model.variants import Circumstances
from runyard.model.work import Artifact, Attempt, Connection, Job, Project, Run, Runner, Workflow
from runyard.syntax.expressions import ExpressionError, has_expression, render, with_late
from runyard.syntax.variables import Value, VariableError, expand_all

MOST_INPUTS = Page(limit=10_000, descending=False)


class Undeliverable(Exception):
    """This attempt cannot be handed out; `reason` and the sentence say why."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason = reason
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attempt belongs."""

    project: Project
    run: Run
    workflow: Workflow
    job: Job
    attempt: Attempt
    flow: Flow | None  # only when it looks at other jobs


def looks_at_others(plan: JobPlan) -> bool:
    """Whether an assignment needs the rest of the run: needs, earlier stages' artifacts, downloads."""
    downloads = any(step.kind is StepKind.DOWNLOAD for step in plan.steps)
    return bool(plan.needs) or downloads or (plan.gate.order is Order.STAGE and plan.stage_index > 0)


def assemble(tx: Tx, place: Place, runner: Runner, token: str, vault: Vault, terms: Terms) -> Assignment:
    """The assignment, or Undeliverable."""
    job, run = place.job, place.run
    inputs, handed = _inputs(tx, place)
    inputs += _imports(tx, place)
    try:
        scope = job.plan.environment.name if job.plan.environment else ""
        at = Circumstances(place.project.path, "" if run.tag else run.ref, scope, place.workflow.path)
        known = secrets_of(tx, place.project, run.ref, vault, at, tag=run.tag)
        facts = _with_token(_facts(place, runner, terms), token)
        secrets = _handed(job.plan, facts, known)
        facts_at_claim = with_late(facts | {"secrets": secrets}, job.plan.late)
        own: tuple[Variable, ...] = ()
        if job.plan.project_variables:
            own = variables_of(tx, place.project, run.ref, vault, scope, tag=run.tag)
        asked, passwords = _connections(tx, job.plan, vault)
        variables = _final(_variables(job.plan, own, handed, run, place.attempt) + asked, facts_at_claim)
        plan = _rendered(job.plan, facts_at_claim)
    except Away:
        raise  # of the store, not of the job
    except (ExpressionError, VariableError, Unavailable) as error:
        raise Undeliverable(Reason.BAD_PLAN, f"This job cannot be made ready: {error}") from error
    except (RecursionError, ValueError, TypeError, ArithmeticError) as error:
        # Whatever a stranger's text does, the queue goes on behind it.
        raise Undeliverable(
            Reason.BAD_PLAN, f"This job cannot be made ready: {type(error).__name__}"
        ) from error
    masks = {v.value for v in variables if v.masked} | set(known.values()) | passwords | {token}
    masks |= set(secrets.values()) | set(_passwords(plan))
    return Assignment(
        attempt_id=place.attempt.id,
        attempt_number=place.attempt.number,
        job_id=job.id,
        run_id=run.id,
        run_number=run.number,
        project_id=place.project.id,
        project_path=place.project.path,
        token=token,
        job=plan,
        variables=variables,
        facts=facts_at_claim,
        masks=tuple(sorted(m for m in masks if m)),
        inputs=inputs,
        ref=run.ref,
        sha=run.sha,
        before_sha=run.before_sha,
        tag=run.tag,
        repo_url=f"{terms.server.url}/{place.project.path}.git",
        timeout_s=timeout_of(job.plan, runner, terms),
        lease_s=terms.lease_s,
        log_limit_bytes=terms.log_limit_bytes,
    )


def variables_before_claim(tx: Tx, place: Place, vault: Vault, terms: Terms) -> tuple[Variable, ...]:
    """A job's final variables where no runner claims it: those that only a claim knows are empty.
    VariableError, or Undeliverable."""
    _, handed = _inputs(tx, place)
    facts = with_late(_with_token(_facts(place, Runner(0, ""), terms), ""), place.job.plan.late)
    run = place.run
    own: tuple[Variable, ...] = ()
    if place.job.plan.project_variables:
        own = variables_of(tx, place.project, run.ref, vault, tag=run.tag)
    try:
        return _final(_variables(place.job.plan, own, handed, place.run, place.attempt), facts)
    except (ExpressionError, RecursionError, ValueError, TypeError, ArithmeticError) as error:
        raise Undeliverable(Reason.BAD_PLAN, f"Its variables cannot be filled in: {error}") from error


def earlier_archives(tx: Tx, place: Place) -> dict[str, str]:
    """Job name → blob of the archives that jobs before this one have left."""
    flow = place.flow
    if flow is None:
        return {}
    before = {need.group for need in place.job.plan.needs}
    names = {
        node.attempt.id: node
        for node in flow.nodes
        if node.plan.stage_index < place.job.plan.stage_index
        or {node.plan.key, node.plan.matrix_group} & before
    }
    rows = tx.artifacts(ArtifactFilter(run_id=place.run.id, type="archive"), MOST_INPUTS)
    return {names[row.attempt_id].job.name: row.blob for row in rows if row.attempt_id in names}


def _connections(tx: Tx, plan: JobPlan, vault: Vault) -> tuple[tuple[Variable, ...], set[str]]:
    """$RUNYARD_CONNECTIONS, and what in it must never show."""
    if not plan.connections:
        return (), set()
    told: dict[str, Mapping[str, Any]] = {}
    secret: set[str] = set()
    for use in plan.connections:
        row = tx.get(Connection, use.connection_id)
        if row is None:
            raise Unavailable(f"the connection {use.name} was removed")
        sealed: Mapping[str, Any] = json.loads(vault.open(row.sealed)) if row.sealed else {}
        told[use.name] = {**use.settings, **sealed}
        secret |= {str(value) for value in sealed.values() if value}
    return (Variable("RUNYARD_CONNECTIONS", json.dumps(told), raw=True, public=False),), secret


def timeout_of(plan: JobPlan, runner: Runner, terms: Terms) -> int:
    """The job's own limit or the default, never more than the runner allows."""
    wanted = plan.timeout_s or terms.job_timeout_s
    return min(wanted, runner.maximum_timeout_s) if runner.maximum_timeout_s else wanted


def inputs_of(plan: JobPlan, attempt: Attempt) -> dict[str, Any]:
    """What the job was given at play or retry, over its plan's own."""
    return {**plan.inputs, **attempt.extra.get(INPUTS, {})}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _facts(place: Place, runner: Runner, terms: Terms) -> dict[str, Any]:
    run, job, attempt, project, server = place.run, place.job, place.attempt, place.project, terms.server
    web = f"{server.url}/{project.path}/-"
    inputs = {key: _text(value) for key, value in inputs_of(job.plan, attempt).items()}
    needs: Mapping[str, Any] = {}
    if place.flow is not None:
        needs = need_facts(place.flow, Node(job, attempt))
    return {
        **job.plan.context,
        "run": {
            "id": run.id,
            "number": run.number,
            "url": f"{web}/pipelines/{run.id}",
            "ref": run.ref,
            "sha": run.sha,
            "source": run.source,
            "created_at": run.created_at,
        },
        "job": {
            "id": job.id,
            "name": job.name,
            "key": job.key,
            "stage": job.plan.stage,
            "url": f"{web}/jobs/{attempt.id}",
            "inputs": inputs,
            "input_words": {key: shlex.quote(text) for key, text in inputs.items()},
        },
        "attempt": {"id": attempt.id, "number": attempt.number, "url": f"{web}/jobs/{attempt.id}"},
        "project": {"id": project.id, "path": project.path, "name": project.name},
        "server": {"url": server.url, "version": server.version, "api_url": f"{server.url}/api/v4"},
        "runner": {
            "id": runner.id,
            "description": runner.description,
            "tags": list(runner.tags),
            "version": str(runner.info.get("version", "")),
        },
        "needs": needs,
    }


def _with_token(facts: dict[str, Any], token: str) -> dict[str, Any]:
    return {**facts, "attempt": {**facts["attempt"], "token": token}}


def _handed(plan: JobPlan, facts: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str]:
    """The secrets of the project, as far as those above this job handed them down."""
    secrets = dict(known)
    for handed in plan.secrets:
        told = with_late({**facts, **handed.facts, "secrets": secrets}, plan.late)
        secrets = {name: render(text, told) for name, text in handed.values.items()}
    return secrets


def _variables(
    plan: JobPlan, own: tuple[Variable, ...], handed: tuple[Variable, ...], run: Run, attempt: Attempt
) -> tuple[Variable, ...]:
    """Later wins: the plan's, what needs handed on (dotenv), the project's, the trigger's, those given at
    play (GitLab's precedence).

    A server-made plan holds passwords and may reach this machine's network, so nobody adds to its
    environment: LD_PRELOAD or PGHOSTADDR, given at play through another vendor's door, would hand them over
    (reliability.md §5 A4).
    """
    if plan.binds or plan.connections:
        return plan.variables
    return plan.variables + handed + own + run.variables + attempt.variables


def _final(variables: tuple[Variable, ...], facts: Mapping[str, Any]) -> tuple[Variable, ...]:
    ready = [replace(v, value=render(v.value, facts), late=False) if v.late else v for v in variables]
    expanded = expand_all(Value(v.key, v.value, raw=v.raw, file=v.file) for v in ready)
    if expanded.error:
        raise VariableError(expanded.error)
    last = {v.key: v for v in ready}
    return tuple(
        v if (v := last[key]).value == value else replace(v, value=value)
        for key, value in expanded.values.items()
    )


def _rendered(plan: JobPlan, facts: Mapping[str, Any]) -> JobPlan:
    if plan.image is None and not plan.services:
        return plan
    image = _image(plan.image, facts) if plan.image else None
    services = [(service, _image(service, facts)) for service in plan.services]
    return replace(
        plan,
        image=None if plan.image and image and _is_gone(plan.image, image) else image,
        services=tuple(made for service, made in services if not _is_gone(service, made)),
    )


def _is_gone(before: Image, after: Image) -> bool:
    """A template that turns out empty means: no image (GitHub)."""
    return has_expression(before.name) and not after.name.strip()


def _image(image: Image, facts: Mapping[str, Any]) -> Image:
    return replace(
        image,
        name=render(image.name, facts),
        user=render(image.user, facts),
        env={key: render(value, facts) for key, value in image.env.items()},
        options=_rendered_options(image.options, facts),
    )


def _rendered_options(options: Mapping[str, Any], facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of what an image is asked for with, credentials and ports may be templates."""
    changed: dict[str, Any] = {}
    if "credentials" in options:
        changed["credentials"] = {key: render(text, facts) for key, text in options["credentials"].items()}
    if "ports" in options:
        changed["ports"] = [render(text, facts) for text in options["ports"]]
    return {**options, **changed} if changed else options


def _passwords(plan: JobPlan) -> list[str]:
    """Of the images' registries."""
    images = [*plan.services, *((plan.image,) if plan.image else ())]
    return [
        str(image.options["credentials"].get("password", ""))
        for image in images
        if "credentials" in image.options
    ]


def _inputs(tx: Tx, place: Place) -> tuple[tuple[InputArtifact, ...], tuple[Variable, ...]]:
    """Artifacts that the job may read, and the variables that a need's dotenv report hands on. Undeliverable
    when a promised one is gone."""
    flow = place.flow
    if flow is None:
        return (), ()
    needed = {node.attempt.id: node for node in _givers(flow, place.job.plan)}
    _all_there(needed.values())
    rows = tx.artifacts(ArtifactFilter(run_id=place.run.id), MOST_INPUTS)
    nodes = {node.attempt.id: node for node in flow.nodes} if rows else {}
    inputs: list[InputArtifact] = []
    handed: list[Variable] = []
    for row in rows:
        node = nodes.get(row.attempt_id)
        if node is None:
            continue
        if row.type == "dotenv" and row.attempt_id in needed:
            handed += [Variable(k, v, raw=True) for k, v in node.attempt.outputs.items()]
        inputs.append(_input(row, node, row.attempt_id in needed))
    return tuple(inputs), tuple(handed)


def _imports(tx: Tx, place: Place) -> tuple[InputArtifact, ...]:
    """Archives of other runs. The names that say which are filled in with what is known before the claim's
    own variables are."""
    plan, run, attempt = place.job.plan, place.run, place.attempt
    if not plan.imports:
        return ()
    known = (*plan.variables, *run.variables, *attempt.variables)
    values = {v.key: v.value for v in known if not v.late}
    found: list[InputArtifact] = []
    for wanted in plan.imports:
        user_id = attempt.actor_id or run.actor_id or 0
        some = imported(tx, run, user_id, wanted, values, attempt.queued_at or attempt.created_at)
        if not some and not wanted.optional:
            where = f"pipeline {wanted.run_id}" if wanted.run_id else f"{wanted.project}@{wanted.ref}"
            raise Undeliverable(
                Reason.MISSING_DEPENDENCY,
                f"There are no artifacts of {wanted.job!r} in {where} for this job.",
            )
        found += some
    return tuple(found)


def _input(row: Artifact, node: Node, from_need: bool) -> InputArtifact:
    return InputArtifact(
        id=row.id,
        attempt_id=row.attempt_id,
        job_key=node.job.key,
        job_name=node.job.name,
        name=row.name,
        filename=row.filename,
        size_bytes=row.size_bytes,
        blob=row.blob,
        from_need=from_need,
    )


def _givers(flow: Flow, plan: JobPlan) -> list[Node]:
    """Whose archives DOWNLOAD from "needs" unpacks: named needs that give artifacts, or all earlier stages;
    `params.jobs` narrows both."""
    if plan.needs or plan.gate.order is Order.NEEDS:
        nodes = [leg for need in plan.needs if need.artifacts for leg in flow.legs(need.group)]
    else:
        nodes = flow.of_stages_before(plan.stage_index)
    wanted = [
        step.params["jobs"] for step in plan.steps if step.kind is StepKind.DOWNLOAD and "jobs" in step.params
    ]
    if not wanted:
        return nodes
    names = {str(name) for names in wanted for name in names or ()}
    return [node for node in nodes if names & {node.job.name, node.job.key, node.plan.matrix_group}]


def _all_there(givers: Any) -> None:
    """GitLab: a need whose artifacts expired or were erased ends the job before it starts."""
    for node in givers:
        gone = node.attempt.erased_at is not None or "artifacts_expired_at" in node.attempt.extra
        if gone and any(step.kind is StepKind.UPLOAD for step in node.plan.steps):
            raise Undeliverable(
                Reason.MISSING_DEPENDENCY,
                f"The artifacts of {node.job.name!r}, which this job needs, have expired or were erased.",
            )


def flow_of(board: Board, job: Job) -> Flow:
    """The workflow of a job on a board."""
    return board.flows[job.workflow_id]
