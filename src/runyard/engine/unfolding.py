"""Jobs that become others (`JobPlan.unfold`): settle makes what they stand for when their gate opens, in the
same transaction, and ends them with it.

An unfolding job is QUEUED for a moment, RUNNING (with a lease that never ends) while what it made is open,
then DONE as that ended. When one of those is retried it goes on too, as a new attempt (`ending.again`); when
it begins again itself, what it makes is asked for anew (`remaking`). What it made works only while it runs
(`rooms`), so nothing of an earlier making begins before the new one is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runyard.engine.board import Board
from runyard.engine.drawing import TROUBLE, Undrawable, boolean, draw, facts_of, is_ready, number
from runyard.engine.flow import Flow, Node
from runyard.engine.gates import need_facts, outlives, result_of
from runyard.engine.moves import NO_LEASE_AT
from runyard.engine.ports import Tx
from runyard.engine.remaking import is_at_rest, remake, retire
from runyard.model.plan import Given, Handed, JobPlan, Origin, Unfold
from runyard.model.protection import is_protected
from runyard.model.state import Outcome, Reason, State
from runyard.model.work import Attempt, Job, Project, Run, Workflow
from runyard.syntax import matrix
from runyard.syntax.expressions import ExpressionError, references, render, render_value, to_string
from runyard.syntax.expressions.values import to_number

_ENDS = {
    "success": Outcome.PASSED,
    "failure": Outcome.FAILED,
    "cancelled": Outcome.CANCELED,
    "skipped": Outcome.SKIPPED,
}
_MAKES_NOTHING = frozenset({Reason.GATE, Reason.BAD_PLAN})  # it ended so before it could begin
_OF_A_LEG = frozenset({"matrix", "strategy"})
OUTPUTS_LIMIT_BYTES = 1 << 20


def add_jobs(
    tx: Tx, run: Run, row: Workflow, plans: Sequence[JobPlan], first: int, now: int
) -> list[tuple[Job, Attempt]]:
    """Rows of new jobs, each with its first attempt; `first` is the position of the first one.

    Each is a millisecond younger than the one before and the last one is made now, so that clients that sort
    by `created_at` keep their order (glab: `ci view`, `ci status`).
    """
    project = tx.get(Project, run.project_id)
    if project is not None and is_protected(project, run.ref, run.tag):
        plans = [replace(plan, protected=True) for plan in plans]
    jobs = tx.add_all(
        [
            Job(
                id=0,
                run_id=run.id,
                workflow_id=row.id,
                project_id=run.project_id,
                key=plan.key,
                name=plan.name,
                plan=plan,
                position=first + i,
                created_at=now + i + 1 - len(plans),
            )
            for i, plan in enumerate(plans)
        ]
    )
    attempts = tx.add_all(
        [Attempt(0, job.id, job.run_id, job.project_id, number=1, created_at=job.created_at) for job in jobs]
    )
    return list(zip(jobs, attempts, strict=True))


def unfold(board: Board) -> None:
    """Makes, ends and opens again what is due. Innermost first, so that an end goes up in one turn."""
    for flow in board.flows.values():
        for node in reversed(flow.unfolding):
            match node.attempt.state:
                case _ if node.flow is None:  # retired by its own maker in this very turn
                    pass
                case State.QUEUED:
                    _begin(board, flow, node)
                case State.RUNNING:
                    _end(board, flow, node)
                case State.DONE:
                    _leave(board, flow, node)
                case _:
                    pass


def _begin(board: Board, flow: Flow, node: Node) -> None:
    if is_at_rest(flow, node) and not _make(board, flow, node):
        return
    board.move(node, State.RUNNING, lease_until_at=NO_LEASE_AT)
    board.restless = True


def _make(board: Board, flow: Flow, node: Node) -> bool:
    """Makes what the job stands for now; says whether that is anything, else it has ended."""
    try:
        plans = list(_plans(board, flow, node))
    except TROUBLE as error:
        said = str(error) if isinstance(error, ExpressionError | ValueError) else type(error).__name__
        text = f"This job cannot be unfolded: {said}"
        board.move(node, State.DONE, outcome=Outcome.ERRORED, reason=Reason.BAD_PLAN, message=text[:1000])
        return False
    if not plans:
        board.move(node, State.DONE, outcome=Outcome.SKIPPED, reason=Reason.GATE)
        return False
    if node.attempt.number > 1:
        plans = remake(board, flow, node, plans)
    first = flow.nodes[-1].job.position + 1
    for job, attempt in add_jobs(board.tx, board.run, flow.row, plans, first, board.now):
        child = board.nodes[job.id] = Node(job, attempt)
        flow.add(child)
    if flow.is_canceled:  # someone canceled it before there was this to cancel
        for child in flow.made[node.plan.key]:
            if not outlives(flow, child):
                board.cancel(child, Reason.BY_USER)
    return True


def _end(board: Board, flow: Flow, node: Node) -> None:
    if flow.open_parts[node.plan.key]:
        return
    made = flow.made.get(node.plan.key, [])
    outcome = _ENDS[result_of(made)]
    reasons = [c.attempt.reason for c in made if c.attempt.outcome is Outcome.CANCELED]
    reason = reasons[0] if outcome is Outcome.CANCELED and reasons else Reason.NONE
    board.move(node, State.DONE, outcome=outcome, reason=reason, outputs=_outputs(board, flow, node, made))


def _leave(board: Board, flow: Flow, node: Node) -> None:
    """What it had made is open although it has ended, because someone else ended it; or it has no part in
    what the job came to, which made nothing."""
    if node.attempt.reason in _MAKES_NOTHING:
        if is_at_rest(flow, node):
            retire(board, flow, node, flow.made.get(node.plan.key, ()))
    elif flow.open_parts[node.plan.key]:
        for child in flow.made[node.plan.key]:
            board.cancel(child, node.attempt.reason or Reason.BY_USER, node.attempt.message)


def _outputs(board: Board, flow: Flow, node: Node, made: Sequence[Node]) -> dict[str, str]:
    """Of equal names the last leg to end with a value wins."""
    plan = node.plan.unfold
    assert plan is not None  # noqa: S101 - only such jobs come here
    legs: dict[int, list[Node]] = {}
    for child in made:
        legs.setdefault(child.plan.origin.leg if child.plan.origin else 0, []).append(child)
    order = sorted(legs.items(), key=lambda leg: (max(c.attempt.finished_at or 0 for c in leg[1]), leg[0]))
    found: dict[str, str] = {}
    for _, leg in order:
        if plan.outputs is None:
            given = {k: v for child in leg for k, v in child.attempt.outputs.items()}
        else:
            given = _called_outputs(board, flow, node, leg, plan.outputs)
        found |= {k: v for k, v in given.items() if v or k not in found}
    return found if sum(len(k) + len(v) for k, v in found.items()) <= OUTPUTS_LIMIT_BYTES else {}


def _called_outputs(
    board: Board, flow: Flow, node: Node, leg: Sequence[Node], wanted: Mapping[str, str]
) -> dict[str, str]:
    """Templates over the jobs of one leg, with the inputs that the leg was given."""
    names: dict[str, list[Node]] = {}
    for child in leg:
        names.setdefault(child.plan.origin.name if child.plan.origin else child.plan.key, []).append(child)
    jobs: dict[str, Any] = {}
    for name, nodes in names.items():
        outputs: dict[str, str] = {}
        for child in nodes:
            outputs |= {k: v for k, v in child.attempt.outputs.items() if v or k not in outputs}
        jobs[name] = {"result": result_of(nodes), "outputs": outputs}
    inputs = leg[0].plan.context.get("inputs") if leg else {}
    facts = {**facts_of(board.run, node.plan, need_facts(flow, node)), "jobs": jobs, "inputs": inputs}
    found: dict[str, str] = {}
    for key, text in wanted.items():
        try:
            found[key] = render(text, facts)
        except TROUBLE:
            found[key] = ""
    return found


@dataclass(frozen=True, slots=True)
class _Leg:
    """One leg of an unfolding job, and what is the same for all that it makes."""

    node: Node
    plan: Unfold
    number: int
    key: str
    name: str
    context: Mapping[str, Any]
    secrets: tuple[Handed, ...]
    stops: bool
    most: int | None


def _plans(board: Board, flow: Flow, node: Node) -> Iterator[JobPlan]:
    plan = node.plan.unfold
    assert plan is not None  # noqa: S101 - only such jobs come here
    facts = facts_of(board.run, node.plan, need_facts(flow, node))
    values: list[dict[str, Any] | None] = [None]
    if plan.matrix is not None:
        tree = matrix.rendered(plan.matrix, facts)
        if not isinstance(tree, dict):
            raise Undrawable("A matrix must be a mapping.")
        values = [*matrix.expand(tree)]
    made = len(flow.made.get(node.plan.key, ()))  # by an earlier attempt: these are there, or go
    total = len(board.nodes) - made + len(values) * len(plan.jobs)
    if total > plan.most:
        raise Undrawable(
            f"the run would have {total} jobs; at most {plan.most} are allowed (RUNYARD_JOBS_PER_RUN)."
        )
    stops = plan.matrix is not None and boolean(plan.fail_fast, facts)
    most = (
        None if plan.max_parallel is None else max(1, int(number(plan.max_parallel, facts, "max-parallel")))
    )
    taken: set[str] = set()
    for index, leg in enumerate(values):
        for child in plan.jobs:
            yield _child(_leg(node, plan, facts, index, leg, len(values), stops, most), child, taken)


def _leg(
    node: Node,
    plan: Unfold,
    facts: dict[str, Any],
    index: int,
    values: dict[str, Any] | None,
    total: int,
    stops: bool,
    most: int | None,
) -> _Leg:
    told: dict[str, Any] = {}
    key, name = node.plan.key, node.plan.name
    if values is not None:
        strategy = {"fail-fast": stops, "job-index": index, "job-total": total, "max-parallel": most or total}
        told = {"matrix": values, "strategy": strategy}
        apart = f" ({matrix.suffix(values) or index})"
        key, name = (key + apart)[:200], (name + apart)[:200]
    facts = {**facts, **told}
    if plan.name and (own := render(plan.name, facts).strip()):
        name = f"{plan.prefix}{own}"[:200]
    context = {k: v for k, v in node.plan.context.items() if k not in _OF_A_LEG}
    secrets = node.plan.secrets
    if plan.calls:
        context["inputs"] = {name: _given(given, name, facts) for name, given in plan.inputs.items()}
        if plan.secrets is not None:
            secrets = (*secrets, Handed(plan.secrets, _asked(plan.secrets, facts)))
    else:
        context |= told
    return _Leg(node, plan, index, key, name, context, secrets, stops, most)


def _given(given: Given, name: str, facts: Mapping[str, Any]) -> Any:
    """An input's value; one of another type than was declared is refused, as at a call that is known at the
    trigger."""
    value = render_value(given.value, facts) if isinstance(given.value, str) else given.value
    match given.type:
        case "boolean":
            if isinstance(value, str) and value.lower() in ("true", "false"):
                return value.lower() == "true"
            if not isinstance(value, bool):
                raise Undrawable(f"the input '{name}' must be a boolean.")
            return value
        case "number":
            found = to_number(value)
            if isinstance(value, bool) or found != found:
                raise Undrawable(f"the input '{name}' must be a number.")
            return found
    return to_string(value)


def _asked(texts: Mapping[str, str], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of the caller that its secrets' templates name and that differ in what is called."""
    roots = {path.split(".", 1)[0] for text in texts.values() for path in references(text)}
    return {root: facts[root] for root in roots & {"needs", "matrix", "strategy", "inputs"} if root in facts}


def _child(leg: _Leg, child: JobPlan, taken: set[str]) -> JobPlan:
    node, calls = leg.node, leg.plan.calls
    within = f"{leg.key} / "
    key = within + child.key if calls else leg.key
    if key in taken:
        key = f"{key[:190]} #{len(taken)}"
    taken.add(key)
    changes: dict[str, Any] = {
        "key": key,
        "name": f"{leg.name} / {child.name}" if calls else leg.name,
        "context": _merged(leg.context, child.context),
        "secrets": leg.secrets,
        "fail_run": node.plan.fail_run,
        "origin": Origin(
            node.plan.key,
            leg.number,
            child.matrix_group if calls else key,
            fail_fast=calls and leg.stops,
            max_parallel=leg.most if calls else None,
        ),
    }
    if calls:
        changes["group"] = within + child.matrix_group
        changes["needs"] = tuple(
            replace(need, group=within + need.group, name=need.told) for need in child.needs
        )
    else:
        changes |= {
            "group": f"{node.plan.key} (*)",
            "needs": node.plan.needs,
            "gate": node.plan.gate,
            "fail_fast": leg.stops,
            "max_parallel": leg.most,
        }
    prefix = f"{leg.name} / " if calls else leg.plan.prefix
    if child.unfold is not None:
        changes["unfold"] = replace(child.unfold, prefix=prefix, most=leg.plan.most)
    if child.drawn is not None:
        changes["drawn"] = replace(child.drawn, prefix=prefix)
    made = replace(child, **changes)
    if made.drawn is not None and is_ready(made.drawn, made.context):
        return replace(draw(made, made.context), drawn=None)
    return made


def _merged(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> dict[str, Any]:
    """The child's own facts over those of its maker; of a context that both have (github) only the members
    that the child names."""
    found = dict(outer)
    for key, value in inner.items():
        known = found.get(key)
        found[key] = (
            {**known, **value} if isinstance(known, Mapping) and isinstance(value, Mapping) else value
        )
    return found
