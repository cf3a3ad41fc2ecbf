"""Why a job is where it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runyard.model.plan import Gate, JobPlan, Need, Order
from runyard.model.state import Hold, Outcome, Reason, State
from runyard.model.work import Attempt, Job, Runner
from runyard.web.why import SILENT_MS, why

NOW = 1_800_000_000_000
HERE = Runner(1, "x", stock=False, contacted_at=NOW)


def job(key: str, *needs: str, tags: tuple[str, ...] = (), order: Order = Order.NEEDS, stage: int = 0) -> Job:
    plan = JobPlan(
        key, key, tags=tags, gate=Gate(order=order), needs=tuple(map(Need, needs)), stage_index=stage
    )
    return Job(hash(key) % 1000 + 1, 1, 1, 1, key, key, plan)


def attempt(of: Job, state: State) -> Attempt:
    return Attempt(of.id, of.id, 1, 1, 1, state=state)


QUEUED = attempt(job("a"), State.QUEUED)


@pytest.mark.parametrize(
    ("runners", "tags", "said"),
    [
        ([], (), "no runner takes jobs of this project"),
        ([HERE], (), "waits for a free runner"),
        ([HERE], ("gpu", "big"), "no runner takes jobs with the tags big, gpu"),
        ([replace(HERE, tags=("gpu",), run_untagged=False)], ("gpu",), "waits for a free runner"),
        ([replace(HERE, run_untagged=False)], (), "no runner takes jobs of this project"),
        ([replace(HERE, project_id=9)], (), "no runner takes jobs of this project"),
        ([replace(HERE, stock=True)], (), "no runner takes jobs of this project"),
        ([replace(HERE, paused=True)], (), "every runner that takes jobs of this project is paused"),
        ([replace(HERE, contacted_at=NOW - SILENT_MS - 1)], (), "every runner that takes jobs of this project is silent"),
    ],
)  # fmt: skip
def test_a_queued_job_says_which_runner_is_missing(
    runners: list[Runner], tags: tuple[str, ...], said: str
) -> None:
    assert why(job("a", tags=tags), QUEUED, [], runners, NOW) == said


def test_a_waiting_job_names_what_it_waits_for() -> None:
    first, second = job("first"), job("second")
    graph = [(first, attempt(first, State.RUNNING)), (second, attempt(second, State.DONE))]
    by_need, by_stage = job("c", "first", "second"), job("d", order=Order.STAGE, stage=1)
    assert why(by_need, attempt(by_need, State.WAITING), graph, [], NOW) == "waits for first"
    assert why(by_stage, attempt(by_stage, State.WAITING), graph, [], NOW) == "waits for first"


def test_held_and_ended_jobs() -> None:
    held = replace(QUEUED, state=State.HELD, hold=Hold.DELAYED, run_after_at=NOW + 120_000)
    assert why(job("a"), held, [], [], NOW) == "starts in 2 min"
    done = replace(QUEUED, state=State.DONE, outcome=Outcome.FAILED, reason=Reason.SCRIPT, exit_code=7)
    assert why(job("a"), done, [], [], NOW) == "exit code 7"
    assert (
        why(job("a"), replace(done, reason=Reason.TIMEOUT), [], [], NOW) == "took longer than its time limit"
    )
    assert why(job("a"), replace(done, message="said so"), [], [], NOW) == "said so"
