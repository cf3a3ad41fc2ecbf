"""Workflows whose jobs make others from outputs, and what must hold of those that begin again: the oracle of
`engine.remaking`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sim_plans import Pick

from runyard.engine.dispatch import Finish
from runyard.model.plan import Concurrency, Gate, Given, JobPlan, Need, Plan, Retry, Unfold, WorkflowPlan
from runyard.model.state import Outcome, Reason, State
from runyard.model.work import Attempt, Job

LISTS = ["[1]", "[1, 2]", "[2, 1]", "[2, 3]", "[1, 2, 3]"]
ENDS = [
    *(Finish(Outcome.PASSED, outputs={"o": text, "m": text}) for text in LISTS),
    Finish(Outcome.PASSED, outputs={"m": "nonsense"}),
    Finish(Outcome.FAILED, Reason.SCRIPT, 1),
    Finish(Outcome.FAILED, Reason.SCRIPT, 3, outputs={"m": "[1, 3]"}),
]
_OTHERS = ["retry_run", "cancel", "give_back", "beat", "force_cancel", "pass_time", "lose"]
RERUNS = (
    ["submit"] + ["claim"] * 9 + ["finish"] * 9 + ["rerun"] * 5 + ["retry_top"] * 3 + ["retry"] * 2 + _OTHERS
)
RETRIES = (
    ["submit"] * 2
    + ["claim"] * 8
    + ["finish"] * 8
    + ["rerun"] * 2
    + ["retry_top"] * 4
    + ["retry"] * 2
    + _OTHERS
)
PROFILES = [RERUNS, RETRIES]
LATE = {"v": "${{ fromJSON(needs.j0.outputs.m || '[1]') }}"}
GIVEN = {"v": "${{ fromJSON(inputs.i || '[1]') }}"}
GATES = [Gate()] * 4 + [
    Gate(expression=text) for text in ("always()", "success()", "!cancelled()", "failure()")
]


def make_plan(pick: Pick) -> Plan:
    """A job with outputs, one or two that unfold by them, and one behind all."""
    retry = Retry(1) if pick(4) == 0 else Retry()
    jobs = [JobPlan("j0", "j0", retry=retry, allow_failure=pick(4) == 0)]
    for number in range(1, 2 + pick(2)):
        jobs.append(_maker(pick, f"m{number}", jobs))
    jobs.append(JobPlan("z", "z", needs=tuple(Need(job.key) for job in jobs[1:]), gate=GATES[pick(8)]))
    return Plan((WorkflowPlan("w0", jobs=tuple(jobs)),), cancel_on_failure=pick(8) == 0)


def _maker(pick: Pick, key: str, earlier: Sequence[JobPlan]) -> JobPlan:
    needs = (Need("j0"), *(Need(job.key) for job in earlier[1:] if pick(2)))
    leg = JobPlan("p", "p", retry=Retry(1) if pick(5) == 0 else Retry(), allow_failure=pick(5) == 0)
    limits: dict[str, Any] = {"fail_fast": pick(2) == 0, "max_parallel": [None, 1.0, 2.0][pick(3)]}
    if pick(2):
        unfold = Unfold((leg,), LATE, **limits)
    else:
        inner = JobPlan("i", "i", claimable=False, unfold=Unfold((leg,), GIVEN, **limits))
        last = JobPlan("q", "q", needs=(Need("p"),), gate=GATES[pick(8)])
        parts = [(leg, last), (leg, inner), (inner,)][pick(3)]
        given = {"i": Given("${{ needs.j0.outputs.m }}")}
        unfold = Unfold(parts, LATE if pick(3) else None, calls=True, inputs=given, **limits)
    group = Concurrency("g", cancel_in_progress=pick(2) == 0) if pick(6) == 0 else None
    gate = GATES[pick(8)]
    return JobPlan(key, key, needs=needs, gate=gate, claimable=False, unfold=unfold, concurrency=group)


def made_rightly(rows: Sequence[tuple[Job, Attempt]], followed: Collection[int]) -> None:
    """`followed`: attempts of makers that were made because a part of theirs was retried; they ask for
    nothing anew."""
    latest = {job.id: (job, a) for job, a in rows if a.latest}
    made: dict[tuple[int, str], list[tuple[Job, Attempt]]] = defaultdict(list)
    for job, a in latest.values():
        if job.plan.origin is not None:
            made[job.workflow_id, job.plan.origin.parent].append((job, a))
    for job, a in latest.values():
        parts = made[job.workflow_id, job.key]
        if job.plan.origin is not None:
            above = (job.workflow_id, job.plan.origin.parent)
            assert above in {(j.workflow_id, j.key) for j, _ in latest.values()}, "a part outlived its maker"
        if job.plan.unfold is None or a.reason in (Reason.GATE, Reason.BAD_PLAN):
            assert not parts, "a job that makes nothing has parts"
        elif a.started_at is not None and not _was_disturbed(rows, job):
            assert any(p.id > a.id for _, p in parts), (
                "a job that began again left what it had made as it was"
            )
            if a.id not in followed:
                _as_asked(latest, job, a, parts)


def _was_disturbed(rows: Sequence[tuple[Job, Attempt]], job: Job) -> bool:
    """Whether it, or a maker of it, was ended over its parts' heads by a newer member of its group: retried,
    it waits for those that are still stopping."""
    ended = [
        j for j, a in rows if a.reason is Reason.SUPERSEDED and a.started_at is not None and not a.latest
    ]
    return any(j.workflow_id == job.workflow_id and f"{job.key} / ".startswith(j.key) for j in ended)


def _as_asked(
    latest: dict[int, tuple[Job, Attempt]], job: Job, maker: Attempt, parts: Sequence[tuple[Job, Attempt]]
) -> None:
    """Its parts are those that the outputs of its needs name, each done after the newest of these."""
    needs = list(_needs(latest, job))
    if any(a.id > maker.id or a.state is not State.DONE for _, a in needs):
        return  # done again since: that concerns its next attempt
    newest = max((a.id for _, a in needs), default=0)
    assert all(p.id > newest for _, p in parts), "a part is older than what it was made of"
    if job.plan.unfold is not None and job.plan.unfold.matrix == LATE:
        outputs = next(a.outputs for j, a in needs if j.key == "j0")
        wanted = {f"{job.key} ({value})" for value in json.loads(outputs.get("m") or "[1]")}
        assert {p.key.split(" / ")[0] for p, _ in parts} == wanted, "its parts are not those asked for"


def _needs(latest: dict[int, tuple[Job, Attempt]], job: Job) -> Iterator[tuple[Job, Attempt]]:
    names = {need.group for need in job.plan.needs}
    for other, attempt in latest.values():
        if other.workflow_id == job.workflow_id and names & {other.key, other.plan.matrix_group}:
            yield other, attempt
