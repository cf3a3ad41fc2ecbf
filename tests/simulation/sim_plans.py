"""Random plans from a stream of small numbers: every feature that the engine decides on appears in some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from runyard.model.plan import (
    Bridge,
    Concurrency,
    Drawn,
    Follow,
    Gate,
    Given,
    JobPlan,
    Need,
    Order,
    Plan,
    Retry,
    Unfold,
    When,
    WorkflowPlan,
)

Pick = Callable[[int], int]
"""pick(n) gives a number in [0, n)."""

WHENS = [When.ON_SUCCESS] * 6 + [
    When.ON_FAILURE,
    When.ALWAYS,
    When.ALWAYS,
    When.MANUAL,
    When.MANUAL,
    When.DELAYED,
]
EXPRESSIONS = [
    "always()",
    "success()",
    "success()",
    "failure()",
    "!cancelled()",
    "needs.j0.result == 'success'",
    "needs.j0.outputs.o == '1' || always()",
    "fromJSON('{')",
    "nobody.knows",
    "toJSON(",
]
GROUPS = ["g", "g", "h"]
LATE_GROUPS = ["", "", "g${{ needs.j0.outputs.o }}", "${{ needs.nobody.outputs.o }}"]
MATRICES = [
    None,
    {"v": [1, 2]},
    {"v": [1, 2, 3]},
    {"v": "${{ fromJSON(needs.j0.outputs.o || '[]') }}"},
    {"v": [1], "exclude": [{"v": 1}]},
    "${{ fromJSON(toJSON(github)).none }}",
]


def make_plan(pick: Pick) -> Plan:
    workflows = tuple(_workflow(pick, f"w{i}") for i in range(1 + (pick(4) == 0)))
    return Plan(
        workflows=workflows,
        supersedes=["none", "none", "conservative", "interruptible"][pick(4)],
        cancel_on_failure=pick(8) == 0,
        skipped=pick(30) == 0,
    )


def _workflow(pick: Pick, key: str) -> WorkflowPlan:
    kind = pick(24)
    if kind == 0:
        return WorkflowPlan(key, error="line 1: this is not a workflow")
    if kind == 1:
        return WorkflowPlan(key, awaits=True)
    jobs: list[JobPlan] = []
    stage = 0
    for i in range(1 + pick(5)):
        stage = min(2, stage + (pick(3) == 0))
        jobs += _jobs(pick, f"j{i}", stage, jobs)
    group = None
    if pick(10) == 0:
        group = Concurrency(GROUPS[pick(3)], cancel_in_progress=pick(2) == 0, single_pending=pick(2) == 0)
    return WorkflowPlan(key, jobs=tuple(jobs), concurrency=group)


def _jobs(pick: Pick, name: str, stage: int, earlier: list[JobPlan]) -> list[JobPlan]:
    """One job, or the legs of a matrix."""
    order = Order.STAGE if pick(2) else Order.NEEDS
    groups = sorted({job.matrix_group for job in earlier})
    needs: tuple[Need, ...] = ()
    if order is Order.NEEDS and groups:
        needs = tuple(Need(groups[pick(len(groups))]) for _ in range(pick(3)))
        needs = tuple({need.group: need for need in needs}.values())
    if pick(12) == 0:
        needs += (Need("absent", optional=True),)
    expression = EXPRESSIONS[pick(len(EXPRESSIONS))] if order is Order.NEEDS and pick(3) == 0 else None
    when = WHENS[pick(len(WHENS))] if expression is None else When.ON_SUCCESS
    legs = 2 + pick(2) if pick(5) == 0 else 1
    common = JobPlan(
        key=name,
        name=name,
        group=name,
        stage=f"s{stage}",
        stage_index=stage,
        needs=needs,
        gate=Gate(when, order, expression, delay_s=60 if when is When.DELAYED else 0),
        allow_failure=pick(5) == 0,
        allow_failure_exit_codes=(7,) if pick(3) == 0 else (),
        retry=_retry(pick),
        concurrency=_concurrency(pick),
        interruptible=pick(2) == 0,
        fail_fast=legs > 1 and pick(2) == 0,
        max_parallel=1 + pick(2) if legs > 1 and pick(2) == 0 else None,
        requeue_lost=pick(4) != 0,
        tags=("big",) if pick(8) == 0 else (),
        timeout_s=600,
    )
    if pick(7) == 0:
        rule = Bridge("child", [Follow.NONE, Follow.DEPEND, Follow.MIRROR][pick(3)])
        return [replace(common, bridge=rule, claimable=False, retry=Retry(), tags=())]
    if pick(7) == 0:
        return [_unfolding(pick, common)]
    if legs == 1:
        drawn = Drawn(name=f"{name} ${{{{ needs.j0.outputs.o }}}}", group=LATE_GROUPS[pick(4)])
        return [replace(common, drawn=drawn) if pick(6) == 0 and order is Order.NEEDS else common]
    return [replace(common, key=f"{name}/{leg}", name=f"{name}: [{leg}]") for leg in range(legs)]


def _unfolding(pick: Pick, common: JobPlan, depth: int = 0) -> JobPlan:
    """A job that becomes legs, or a part of the graph, when its gate opens."""
    matrix = MATRICES[pick(len(MATRICES))]
    leg = replace(
        common, needs=(), gate=Gate(), concurrency=_concurrency(pick), max_parallel=None, fail_fast=False
    )
    most = 1.0 + pick(2) if pick(2) else None
    common = replace(common, retry=Retry(), tags=(), claimable=False, fail_fast=False, max_parallel=None)
    # A part that waits for a group which its own maker holds would wait for ever.
    leg = replace(leg, concurrency=None)
    if pick(2) and matrix is not None:
        return replace(common, unfold=Unfold((leg,), matrix, pick(2) == 0, most))
    first, second = replace(leg, key="p", name="p", group="p"), replace(leg, key="q", name="q", group="q")
    second = replace(second, needs=(Need("p"),), gate=Gate(expression=EXPRESSIONS[pick(len(EXPRESSIONS))]))
    if depth == 0 and pick(3) == 0:
        first = _unfolding(pick, first, 1)
    part = Unfold(
        (first, second)[: 1 + pick(2)],
        matrix,
        pick(2) == 0,
        most,
        calls=True,
        inputs={
            "i": Given(
                ["x", "${{ needs.j0.outputs.o }}", "${{ toJSON( }}"][min(pick(9), 2) if pick(4) == 0 else 0]
            )
        },
        outputs={"o": "${{ jobs.p.outputs.o }}"},
    )
    return replace(common, unfold=part)


def _retry(pick: Pick) -> Retry:
    return [Retry(), Retry(), Retry(1), Retry(2), Retry(2, ("runner_system",)), Retry(1, (), (3,))][pick(6)]


def _concurrency(pick: Pick) -> Concurrency | None:
    if pick(6):
        return None
    return Concurrency(GROUPS[pick(3)], cancel_in_progress=pick(3) == 0, single_pending=pick(3) == 0)
