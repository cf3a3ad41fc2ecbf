"""Who looks at whom among the jobs of one workflow. Accept asks whether the graph can end; settle asks in
which order to decide.

Stages and matrix groups are hubs in the graph, so its size is jobs plus needs, not jobs times jobs.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from runyard.model.errors import Invalid, Problem
from runyard.model.plan import JobPlan, Order


@dataclass(slots=True)
class _Graph:
    """Jobs are the numbers below `jobs`; hubs come after them."""

    jobs: int
    hubs: dict[tuple[str, str | int], int] = field(default_factory=dict)
    after: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    missing: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def hub(self, kind: str, name: str | int) -> int:
        """The number of a stage or group."""
        return self.hubs.setdefault((kind, name), self.jobs + len(self.hubs))

    def edge(self, before: int, then: int) -> None:
        """`then` waits for `before`."""
        self.after[before].append(then)
        self.missing[then] += 1


def arrange(plans: Sequence[JobPlan]) -> tuple[list[int], list[int]]:
    """(indexes so that everyone comes after all it looks at, indexes that wait for each other). Needs of
    unknown names are not edges."""
    graph = _Graph(len(plans))
    _need_edges(plans, graph)
    if any(plan.gate.order is Order.STAGE for plan in plans):
        _stage_edges(plans, graph)
    size = graph.jobs + len(graph.hubs)
    ready = deque(i for i in range(size) if not graph.missing.get(i))
    ordered: list[int] = []
    while ready:
        item = ready.popleft()
        if item < graph.jobs:
            ordered.append(item)
        for follower in graph.after.get(item, ()):
            graph.missing[follower] -= 1
            if not graph.missing[follower]:
                ready.append(follower)
    return ordered, [i for i in range(graph.jobs) if graph.missing.get(i)]


def _need_edges(plans: Sequence[JobPlan], graph: _Graph) -> None:
    wanted = {need.group for plan in plans for need in plan.needs}
    if not wanted:
        return
    for i, plan in enumerate(plans):
        for name in wanted & {plan.key, plan.matrix_group}:
            graph.edge(i, graph.hub("group", name))
        for name in {need.group for need in plan.needs}:
            graph.edge(graph.hub("group", name), i)


def _stage_edges(plans: Sequence[JobPlan], graph: _Graph) -> None:
    stages = sorted({plan.stage_index for plan in plans})
    following = dict(pairwise(stages))
    for before, then in following.items():
        graph.edge(graph.hub("stage", before), graph.hub("stage", then))
    for i, plan in enumerate(plans):
        if plan.gate.order is Order.STAGE and plan.stage_index != stages[0]:
            graph.edge(graph.hub("stage", plan.stage_index), i)
        if plan.stage_index in following:
            graph.edge(i, graph.hub("stage", following[plan.stage_index]))


def checked(plans: Sequence[JobPlan], path: str) -> None:
    """Invalid when a key is taken twice, a need names nobody, or jobs wait for each other."""
    problems = _doubles(plans, path) + _unknown(plans, path)
    if not problems:
        stuck = arrange(plans)[1]
        if stuck:
            names = ", ".join(repr(plans[i].name) for i in stuck[:10])
            problems = [Problem(f"These jobs wait for each other and could never start: {names}", path)]
    if problems:
        raise Invalid(problems=problems)
    for plan in plans:
        if plan.unfold is not None and plan.unfold.calls:
            checked(plan.unfold.jobs, path)


def _doubles(plans: Sequence[JobPlan], path: str) -> list[Problem]:
    seen: set[str] = set()
    found = []
    for plan in plans:
        if plan.key in seen:
            found.append(Problem(f"Two jobs have the key {plan.key!r}", path))
        seen.add(plan.key)
    return found


def _unknown(plans: Sequence[JobPlan], path: str) -> list[Problem]:
    known = {name for plan in plans for name in (plan.key, plan.matrix_group)}
    return [
        Problem(f"{plan.name!r} job needs {need.group!r} job, but {need.group!r} does not exist", path)
        for plan in plans
        for need in plan.needs
        if not need.optional and need.group not in known
    ]
