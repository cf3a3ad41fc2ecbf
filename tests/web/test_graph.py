"""Where jobs stand in the picture of a run: made ones behind their maker, cards as wide as their names need."""

from __future__ import annotations

from runyard.model.plan import JobPlan, Need, Origin
from runyard.model.work import Attempt, Job
from runyard.web.graph import WIDEST, WIDTH, in_families, lay_out


def pairs(*plans: JobPlan) -> list[tuple[Job, Attempt]]:
    return [
        (Job(n, 1, 1, 1, plan.key, plan.name or plan.key, plan, n), Attempt(n, n, 1, 1, 1))
        for n, plan in enumerate(plans, 1)
    ]


def made(key: str, parent: str) -> JobPlan:
    return JobPlan(key=key, name=key, origin=Origin(parent, 0, key))


def test_made_jobs_follow_their_maker_and_its_other_children() -> None:
    graph = pairs(
        JobPlan(key="plan", name="plan"),
        JobPlan(key="build", name="build", needs=(Need("plan"),)),
        JobPlan(key="report", name="report", needs=(Need("build"),)),
        made("build:1", "build"),
        made("build:2", "build"),
        made("build:1:deep", "build:1"),
        made("lost", "nobody"),
    )
    names = [job.name for job, _ in in_families(graph)]
    assert names == ["plan", "build", "build:1", "build:1:deep", "build:2", "report", "lost"]


def test_a_card_is_as_wide_as_the_longest_name_needs() -> None:
    assert lay_out(pairs(JobPlan(key="a", name="a"))).card == WIDTH
    picture = lay_out(
        pairs(JobPlan(key="a", name="build (linux-amd64)"), JobPlan(key="b", name="b", needs=(Need("a"),)))
    )
    assert WIDTH < picture.card < WIDEST
    first, second = picture.cards
    assert second.x > first.x + picture.card and f"M{picture.card} " in picture.edges[0]
    assert lay_out(pairs(JobPlan(key="a", name="x" * 500))).card == WIDEST
