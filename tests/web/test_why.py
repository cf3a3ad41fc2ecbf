"""Why a job is where it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runyard.model.plan import Gate, JobPlan, Need, Order, When
from runyard.model.state import Hold, Outcome, Reason, State
from runyard.model.work import Attempt, Job, Runner
from runyard.web.why import SILENT_MS, finding, why

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


@pytest.mark.parametrize(
    ("outcomes", "gate", "said"),
    [
        ({"first": Outcome.FAILED, "second": Outcome.SKIPPED}, Gate(), "first did not pass"),
        ({"first": Outcome.PASSED, "second": Outcome.SKIPPED}, Gate(), "second did not pass"),
        ({"first": Outcome.CANCELED, "second": Outcome.ERRORED}, Gate(), "first, second did not pass"),
        ({"first": Outcome.FAILED}, Gate(expression="success()"), "first did not pass"),
        ({"first": Outcome.FAILED}, Gate(expression="always() && false"), "its condition did not hold"),
        ({"first": Outcome.PASSED}, Gate(when=When.ON_FAILURE), "its condition did not hold"),
    ],
)
def test_a_skipped_job_names_what_did_not_pass(outcomes: dict[str, Outcome], gate: Gate, said: str) -> None:
    graph = [(job(n), replace(attempt(job(n), State.DONE), outcome=o)) for n, o in outcomes.items()]
    it = job("c", *outcomes)
    it = replace(it, plan=replace(it.plan, gate=gate))
    ended = replace(attempt(it, State.DONE), outcome=Outcome.SKIPPED, reason=Reason.GATE)
    assert why(it, ended, graph, [], NOW) == said


def test_what_may_fail_is_not_why_a_job_was_skipped() -> None:
    first, it = job("first"), job("c", "first")
    graph = [(first, replace(attempt(first, State.DONE), outcome=Outcome.FAILED, tolerated=True))]
    ended = replace(attempt(it, State.DONE), outcome=Outcome.SKIPPED, reason=Reason.GATE)
    assert why(it, ended, graph, [], NOW) == "its condition did not hold"


def test_held_and_ended_jobs() -> None:
    held = replace(QUEUED, state=State.HELD, hold=Hold.DELAYED, run_after_at=NOW + 120_000)
    assert why(job("a"), held, [], [], NOW) == "starts in 2 min"
    done = replace(QUEUED, state=State.DONE, outcome=Outcome.FAILED, reason=Reason.SCRIPT, exit_code=7)
    assert why(job("a"), done, [], [], NOW) == "exit code 7"
    assert (
        why(job("a"), replace(done, reason=Reason.TIMEOUT), [], [], NOW) == "took longer than its time limit"
    )
    assert why(job("a"), replace(done, message="said so"), [], [], NOW) == "said so"


def test_an_exit_code_with_a_meaning_is_told_by_it_and_a_tolerated_one_is_a_finding() -> None:
    it = job("a")
    it = replace(it, plan=replace(it.plan, exit_words={1: "differences found"}))
    done = replace(attempt(it, State.DONE), outcome=Outcome.FAILED, reason=Reason.SCRIPT, exit_code=1)
    assert (why(it, done, [], [], NOW), finding(it, done)) == ("differences found", "")
    assert finding(it, replace(done, tolerated=True)) == "differences found"
    other = replace(done, tolerated=True, exit_code=2)
    assert (why(it, other, [], [], NOW), finding(it, other)) == ("exit code 2", "")
