"""Where jobs stand in the picture of a run: made ones behind their maker, cards as wide as their names
need."""

from __future__ import annotations

from dataclasses import replace

from runyard.model.plan import JobPlan, Need, Origin
from runyard.model.state import Outcome, State
from runyard.model.work import Attempt, Job
from runyard.web.graph import LEGS_SHOWN, WIDEST, WIDTH, in_families, lay_out


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


def done(pair: tuple[Job, Attempt], outcome: Outcome) -> tuple[Job, Attempt]:
    return pair[0], replace(pair[1], state=State.DONE, outcome=outcome)


def test_many_legs_are_one_card_that_counts_them_and_leads_to_the_worst() -> None:
    legs = [JobPlan(key=f"leg:{n}", name=f"leg ({n})", group="leg") for n in range(200)]
    graph = pairs(*legs, JobPlan(key="after", name="after", needs=(Need("leg"),)))
    graph = [done(pair, Outcome.FAILED if pair[0].key == "leg:77" else Outcome.PASSED) for pair in graph]
    picture = lay_out(graph)
    many, after = picture.cards
    assert (many.title, many.tally) == ("leg (200)", (("failed", 1), ("passed", 199)))
    assert many.job.key == "leg:77" and (after.title, after.tally) == ("after", ())
    assert len(picture.edges) == 1 and picture.height < 200
    assert [(word, len(found)) for word, found in picture.tally] == [("failed", 1), ("passed", 200)]


def test_few_legs_and_those_of_another_matrix_stay_apart() -> None:
    few = [JobPlan(key=f"few:{n}", name=f"few ({n})", group="few") for n in range(LEGS_SHOWN)]
    made_ones = [made(f"late:{n}", "late") for n in range(LEGS_SHOWN + 1)]
    graph = pairs(*few, JobPlan(key="late", name="late"), *made_ones)
    titles = [card.title for card in lay_out(in_families(graph)).cards]
    assert titles == [*(f"few ({n})" for n in range(LEGS_SHOWN)), "late", f"late ({LEGS_SHOWN + 1})"]


def test_an_edge_over_a_column_passes_above_its_cards() -> None:
    picture = lay_out(
        pairs(
            JobPlan(key="lint", name="lint"),
            JobPlan(key="plan", name="plan"),
            JobPlan(key="build", name="build", needs=(Need("plan"),)),
            JobPlan(key="ship", name="ship", needs=(Need("lint"), Need("build"))),
        )
    )
    top = min(card.y for card in picture.cards)
    (over,) = [edge for edge in picture.edges if " L" in edge]
    assert over.startswith(f"M{picture.card} ")
    assert int(over.partition(" L")[2].split()[1]) < top
