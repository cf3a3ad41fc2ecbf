"""Plans read back from their text."""

from __future__ import annotations

import msgspec

from runyard.model.plan import Image, JobPlan, Need, Network, Origin, StepPlan, Variable
from runyard.model.work import Job
from runyard.store.plans import unpacked
from runyard.store.rows import JOB, may_be_planned_anew

SHARED = Variable("CI_PIPELINE_ID", "${{ run.id }}", raw=True, late=True)
PLAN = JobPlan(
    "a 1/2",
    "a 1/2",
    steps=(StepPlan("s", "s", script="true", env={"A": "ü"}),),
    needs=(Need("b"),),
    variables=(SHARED, Variable("NAME", 'a "quoted" \\ one\n', masked=True)),
    image=Image("debian"),
    network=Network.NONE,
    extra={"gitlab": {"deep": [1, None, {"x": 2.5}]}},
)


def text_of(plan: JobPlan) -> str:
    return msgspec.json.encode(plan).decode()


def test_a_plan_comes_back_as_it_was() -> None:
    for plan in (PLAN, JobPlan("a", "a")):
        assert unpacked(text_of(plan)) == plan


def test_a_plan_of_an_older_release_gets_the_defaults_of_what_it_lacks() -> None:
    assert unpacked('{"key": "a", "name": "b", "steps": [], "no_longer_known": 1}') == JobPlan("a", "b")


def test_jobs_share_their_equal_variables() -> None:
    one, other = (unpacked(text_of(PLAN)) for _ in range(2))
    assert one is not other
    assert one.variables[0] is other.variables[0] == SHARED


def test_whether_a_job_may_be_planned_anew_is_known_before_and_after_its_plan_was_read() -> None:
    drawn = msgspec.json.encode(JobPlan("a", "a")).decode().replace('"drawn":null', '"drawn":{}')
    left = msgspec.json.encode(JobPlan("a", "a", origin=Origin("m", 0, "a"))).decode()
    for text, expected in ((drawn, True), (left, True), (text_of(PLAN), False)):
        job = Job(1, 1, 1, 1, "a", "a", PLAN)
        columns = JOB.encode(job)
        columns[JOB.names.index("plan")] = text
        read = JOB.decode(columns)
        assert may_be_planned_anew(read) is expected
        assert read.plan.key.startswith("a")
        assert may_be_planned_anew(read) is expected
