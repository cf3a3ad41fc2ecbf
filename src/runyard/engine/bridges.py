"""Bridges: jobs whose work is another run (`JobPlan.bridge`). The engine keeps the link between the two;
compiling is done outside, between two verbs.

waiting(tx, limit) -> list[int]
    attempts of bridges whose gate is open and whose run is to be made
order(tx, attempt_id, now, vault, terms) -> Order | Refusal | None
    what to make; None when somebody else has decided meanwhile
started(tx, attempt_id, trigger, plan, now, terms) -> Run | None
    the run accepted and linked in one transaction; None as above, nothing is made
failed(tx, attempt_id, reason, message, now) -> None
    it cannot be made

The link is `attempt.extra["downstream_run_id"]` one way and `run.extra["upstream"]` the other; `settle`
follows it (see `following`). Whoever starts a bridge may die or come twice: only the transaction that finds
the attempt QUEUED makes the run (docs/decisions/0010).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runyard.engine.access import standing
from runyard.engine.assign import Place, Undeliverable, earlier_archives, variables_before_claim
from runyard.engine.board import DOWNSTREAM, FOLLOWERS, UPSTREAM, Board, load
from runyard.engine.lineage import ANCESTORS, is_child, lineage
from runyard.engine.moves import BRIDGES, NO_LEASE_AT
from runyard.engine.ports import Page, RunFilter, Tx, Vault
from runyard.engine.settle import end_all, finish_board
from runyard.engine.terms import Terms
from runyard.engine.trigger import accept
from runyard.model.access import Role
from runyard.model.errors import Conflict
from runyard.model.plan import Bridge, Follow, Plan, Variable
from runyard.model.state import Outcome, Reason, State
from runyard.model.trigger import Trigger
from runyard.model.work import Attempt, Job, Project, Run, User
from runyard.syntax.variables import VariableError, expand

DEPTH = 2  # children below children (GitLab's limit)
ROUNDS = 2  # how often the same project and ref may stand above a new run of it (GitLab allows one cycle)


@dataclass(frozen=True, slots=True)
class Order:
    """The run that a bridge wants. `ref` "" with `sha` "": the default branch. `existing`: nothing is to be
    made, this run is followed."""

    attempt_id: int
    project: Project
    actor: User
    dialect: str
    source: str
    ref: str
    sha: str
    before_sha: str
    tag: bool = False
    variables: tuple[Variable, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    archives: Mapping[str, str] = field(
        default_factory=dict
    )  # job name → blob, of the jobs before the bridge
    existing: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there can be no such run."""

    reason: Reason
    message: str


def waiting(tx: Tx, limit: int = 100) -> list[int]:
    """Oldest first."""
    return [int(row.key) for row in tx.records(BRIDGES, None, None, Page(limit=limit, descending=False))]


def order(tx: Tx, attempt_id: int, now: int, vault: Vault, terms: Terms) -> Order | Refusal | None:
    """What the bridge asks for, its texts filled in."""
    place = _place(tx, attempt_id, now)
    if place is None or place.job.plan.bridge is None:
        return None
    bridge = place.job.plan.bridge
    user = tx.get(User, place.attempt.actor_id or place.run.actor_id or 0)
    if user is None:
        return Refusal(Reason.DOWNSTREAM_FORBIDDEN, "Nobody stands behind this pipeline any more.")
    try:
        variables = variables_before_claim(tx, place, vault, terms)
        values = {v.key: v.value for v in variables}
        secrets = [v.value for v in variables if v.masked and v.value]
        named = expand(bridge.project, values).strip().strip("/")
        ref = expand(bridge.ref, values).strip()
        handed = tuple(_handed(v, values, secrets) for v in bridge.variables)
        inputs = {key: _filled(value, values) for key, value in bridge.inputs.items()}
    except (VariableError, Undeliverable) as error:
        return Refusal(Reason.BAD_PLAN, str(error))
    target = tx.project_by_path(named) if named else place.project
    refusal = _refused(tx, place, target, named, ref, user, now)
    if refusal is not None or target is None:
        return refusal
    if bridge.existing:
        return _existing(tx, place, target, user)
    own = target.id == place.project.id and not bridge.project
    more = (*place.run.variables, *place.attempt.variables) if bridge.hands_on_run_variables else ()
    return Order(
        attempt_id,
        target,
        user,
        place.run.dialect,
        bridge.source,
        ref if ref or not own else place.run.ref,
        place.run.sha if own and not ref else "",
        place.run.before_sha if own and not ref else "",
        place.run.tag if own and not ref else False,
        variables=handed + more,
        inputs=inputs,
        options=bridge.options,
        archives=earlier_archives(tx, place),
    )


def _place(tx: Tx, attempt_id: int, now: int) -> Place | None:
    attempt = tx.get(Attempt, attempt_id)
    job = tx.get(Job, attempt.job_id) if attempt else None
    if attempt is None or job is None or attempt.state is not State.QUEUED:
        return None
    run, project = tx.get(Run, attempt.run_id), tx.get(Project, attempt.project_id)
    if run is None or project is None:
        return None
    flow = load(tx, run.id, now).flows[job.workflow_id]
    return Place(project, run, flow.row, job, attempt, flow)


def _handed(variable: Variable, values: Mapping[str, str], secrets: list[str]) -> Variable:
    """A variable as the other run gets it: filled in here, and masked there too when it carries something
    masked."""
    value = variable.value if variable.raw else expand(variable.value, values)
    return replace(variable, value=value, masked=variable.masked or any(s in value for s in secrets))


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    """Texts inside plain values, filled in."""
    match value:
        case str():
            return expand(value, values)
        case dict():
            return {key: _filled(item, values) for key, item in value.items()}
        case list() | tuple():
            return [_filled(item, values) for item in value]
    return value


def _refused(
    tx: Tx, place: Place, target: Project | None, named: str, ref: str, user: User, now: int
) -> Refusal | None:
    bridge = place.job.plan.bridge
    assert bridge is not None  # noqa: S101 - `order` looked
    if not bridge.project:  # a part of the run that its user could start
        return _too_deep(tx, place.run, place.project, bridge, ref)
    rights = standing(tx, user, now)
    role = rights.role_in(target) if target is not None else None
    if target is None or role is None:
        return Refusal(
            Reason.DOWNSTREAM_MISSING, f"The project {named!r} does not exist, or is not for {user.username}."
        )
    needed = Role.REPORTER if bridge.existing else Role.DEVELOPER
    if role < needed:
        return Refusal(
            Reason.DOWNSTREAM_FORBIDDEN, f"{user.username} may not run pipelines in {target.path}."
        )
    return _too_deep(tx, place.run, target, bridge, ref)


def _too_deep(tx: Tx, run: Run, target: Project, bridge: Bridge, ref: str) -> Refusal | None:
    """Children of children of children, and runs that start each other in a circle."""
    above = list(lineage(tx, run))
    if not bridge.project:
        depth = next((i for i, one in enumerate(above) if not is_child(one)), len(above))
        if depth >= DEPTH:
            return Refusal(
                Reason.DOWNSTREAM_TOO_DEEP,
                f"Child pipelines may be {DEPTH} deep, and this would be one more.",
            )
        return None
    seen = Counter((one.project_id, one.ref) for one in above if not is_child(one))
    if len(above) >= ANCESTORS or seen[target.id, ref or target.default_branch] > ROUNDS:
        return Refusal(
            Reason.DOWNSTREAM_LOOP,
            f"{target.path} stands above itself: these pipelines start each other in a circle.",
        )
    return None


def _existing(tx: Tx, place: Place, target: Project, user: User) -> Order | Refusal:
    """The newest run of the default branch."""
    found = tx.runs(RunFilter(project_id=target.id, ref=target.default_branch), Page(limit=1))
    if not found:
        return Refusal(
            Reason.DOWNSTREAM_MISSING, f"There is no pipeline of {target.default_branch} in {target.path}."
        )
    return Order(place.attempt.id, target, user, found[0].dialect, "", "", "", "", existing=found[0].id)


def started(tx: Tx, attempt_id: int, trigger: Trigger, plan: Plan, now: int, terms: Terms) -> Run | None:
    """Makes the run and links the two."""
    place = _place(tx, attempt_id, now)
    if place is None or place.job.plan.bridge is None:
        return None
    upstream = {
        "attempt_id": attempt_id,
        "job_id": place.job.id,
        "run_id": place.run.id,
        "project_id": place.project.id,
        "child": not place.job.plan.bridge.project,
    }
    run = accept(tx, trigger, replace(plan, extra={**plan.extra, UPSTREAM: upstream}), now, terms)
    attempt = tx.get(Attempt, attempt_id)
    if attempt is not None and attempt.state is State.QUEUED:
        linked(tx, attempt_id, run.id, now)
    else:  # a job of the new run took the bridge's own concurrency group, and with it the run's reason to be
        board = load(tx, run.id, now)
        end_all(board, Reason.SUPERSEDED, "Its bridge was canceled by its own concurrency group.")
        finish_board(board)
    return tx.get(Run, run.id)


def linked(tx: Tx, attempt_id: int, run_id: int, now: int) -> None:
    """The bridge follows this run from now on, or has passed when it only starts it."""
    board = _open_board(tx, attempt_id, now)
    node = board.nodes[_attempt(tx, attempt_id).job_id]
    bridge = node.plan.bridge
    other = tx.get(Run, run_id)
    if bridge is not None and bridge.existing and other is not None:
        followers = sorted({*other.extra.get(FOLLOWERS, ()), board.run.id})
        tx.save(replace(other, extra={**other.extra, FOLLOWERS: followers}))
    extra = {**node.attempt.extra, DOWNSTREAM: run_id}
    board.move(node, State.RUNNING, lease_until_at=NO_LEASE_AT, extra=extra)
    if bridge is None or bridge.follow is Follow.NONE:
        board.move(node, State.DONE, outcome=Outcome.PASSED)
    finish_board(board)


def failed(tx: Tx, attempt_id: int, reason: Reason, message: str, now: int) -> None:
    """There will be no other run; nothing happens when the bridge was canceled or started meanwhile."""
    attempt = tx.get(Attempt, attempt_id)
    if attempt is None or attempt.state is not State.QUEUED:
        return
    board = _open_board(tx, attempt_id, now)
    node = board.nodes[attempt.job_id]
    board.move(node, State.DONE, outcome=Outcome.FAILED, reason=reason, message=message[:4096])
    finish_board(board)


def _attempt(tx: Tx, attempt_id: int) -> Attempt:
    attempt = tx.get(Attempt, attempt_id)
    if attempt is None or attempt.state is not State.QUEUED:
        raise Conflict(f"Attempt {attempt_id} does not wait for a run to be made.")
    return attempt


def _open_board(tx: Tx, attempt_id: int, now: int) -> Board:
    return load(tx, _attempt(tx, attempt_id).run_id, now)
