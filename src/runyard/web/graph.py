"""Where each job stands in the picture of a run: columns by stage, or by depth of needs; edges between them.
Jobs that another has made follow it; many legs of one matrix are one card that counts them. Pure; called by
the run page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runyard.model.state import Outcome, State
from runyard.model.work import Attempt, Job

WIDTH, HEIGHT, GAP_X, GAP_Y, TOP = 196, 40, 56, 12, 30
WIDEST, LETTER, BESIDE = (
    320,
    8,
    100,
)  # a card grows with the longest name; a letter's width, and what stands beside the name
LANE = TOP - 8  # between titles and cards: where edges pass over the columns that they skip
LEGS_SHOWN = 12  # of one matrix; more are one card
EDGES_SHOWN = 400  # beyond it the picture would be a tangle; the list below says it all

_URGENCY = [
    one.value
    for one in (
        Outcome.FAILED, Outcome.ERRORED, State.STOPPING, State.RUNNING, State.QUEUED, State.HELD, State.WAITING, Outcome.CANCELED, Outcome.PASSED,
        Outcome.SKIPPED,
    )
]  # fmt: skip
"""Which of many legs stands for all, and in which order they are counted."""

Tally = tuple[tuple[str, tuple[tuple[Job, Attempt], ...]], ...]


@dataclass(frozen=True, slots=True)
class Card:
    """One job, placed; or many legs of a matrix: then `job` and `attempt` are those of the leg that one
    should look at, and `tally` counts."""

    job: Job
    attempt: Attempt
    x: int
    y: int
    title: str
    tally: tuple[tuple[str, int], ...] = ()  # (state or outcome, legs)
    stands_for: frozenset[str] = frozenset()  # keys of the legs


@dataclass(frozen=True, slots=True)
class Picture:
    """A laid-out graph in pixels."""

    cards: tuple[Card, ...]
    columns: tuple[tuple[int, str], ...]  # (x, title)
    edges: tuple[str, ...]  # SVG paths
    width: int
    height: int
    card: int  # a card's width
    tally: Tally


def in_families(graph: Sequence[tuple[Job, Attempt]]) -> list[tuple[Job, Attempt]]:
    """The same jobs, those that one has made behind it (a matrix from outputs, a called workflow's), in all
    else their order kept."""
    made: dict[tuple[int, str], list[tuple[Job, Attempt]]] = {}
    for pair in graph:
        origin = pair[0].plan.origin
        if origin is not None:
            made.setdefault((pair[0].workflow_id, origin.parent), []).append(pair)
    found: list[tuple[Job, Attempt]] = []
    todo = [pair for pair in reversed(graph) if pair[0].plan.origin is None]
    while todo:
        pair = todo.pop()
        found.append(pair)
        todo += reversed(made.pop((pair[0].workflow_id, pair[0].plan.key), ()))
    return found + [pair for left in made.values() for pair in left]  # whose maker is not among them


def lay_out(graph: Sequence[tuple[Job, Attempt]]) -> Picture:
    """Columns left to right; within a column the plan's order."""
    depth = _depths([job for job, _ in graph])
    columns: dict[tuple[int, str], list[Card]] = {}
    for card in _gathered(graph):
        stage = card.job.plan.stage
        key = (card.job.plan.stage_index, stage) if stage else (depth[card.job.id], "")
        columns.setdefault(key, []).append(card)
    cards: list[Card] = []
    titles: list[tuple[int, str]] = []
    names = [card.title for members in columns.values() for card in members]
    wide = min(WIDEST, max([WIDTH, *(len(name) * LETTER + BESIDE for name in names)]))
    for index, (key, members) in enumerate(sorted(columns.items())):
        x = index * (wide + GAP_X)
        titles.append((x, key[1]))
        cards += [replace(card, x=x, y=TOP + row * (HEIGHT + GAP_Y)) for row, card in enumerate(members)]
    rows = max((len(m) for m in columns.values()), default=0)
    width = max(0, len(columns) * (wide + GAP_X) - GAP_X // 2)  # half a gap for brackets of the last column
    height = TOP + rows * (HEIGHT + GAP_Y)
    return Picture(
        tuple(cards), tuple(titles), tuple(_edges(cards, wide)), width, height, wide, tallied(graph)
    )


def _gathered(graph: Sequence[tuple[Job, Attempt]]) -> list[Card]:
    """A card for each job, one for all legs of a large matrix where its first leg stands."""
    legs: dict[tuple[int, str], list[tuple[Job, Attempt]]] = {}
    for pair in graph:
        if (family := _family(pair[0])) is not None:
            legs.setdefault(family, []).append(pair)
    found: list[Card] = []
    for job, attempt in graph:
        family = _family(job)
        if family is None or len(legs[family]) <= LEGS_SHOWN:
            found.append(Card(job, attempt, 0, 0, job.name))
        elif legs[family][0][0] is job:
            found.append(_as_one(family[1], legs[family]))
    return found


def _family(job: Job) -> tuple[int, str] | None:
    """Whose leg a job is: by its matrix, or by the job that made it."""
    if job.plan.origin is not None:
        return job.workflow_id, job.plan.origin.parent
    return (job.workflow_id, job.plan.matrix_group) if job.plan.matrix_group != job.plan.key else None


def _as_one(name: str, legs: Sequence[tuple[Job, Attempt]]) -> Card:
    tally = tallied(legs)
    first = tally[0][1][0]
    counts = tuple((word, len(pairs)) for word, pairs in tally)
    return Card(*first, 0, 0, f"{name} ({len(legs)})", counts, frozenset(job.key for job, _ in legs))


def tallied(graph: Sequence[tuple[Job, Attempt]]) -> Tally:
    """Jobs by what became of them, what one should look at first."""
    found: dict[str, list[tuple[Job, Attempt]]] = {word: [] for word in _URGENCY}
    for job, attempt in graph:
        found[(attempt.outcome or attempt.state).value].append((job, attempt))
    return tuple((word, tuple(pairs)) for word, pairs in found.items() if pairs)


def _depths(jobs: Sequence[Job]) -> dict[int, int]:
    """The longest way from a root, by needs (jobs are few; needs are acyclic since accept)."""
    members: dict[tuple[int, str], list[Job]] = {}
    for job in jobs:
        for name in {job.key, job.plan.matrix_group}:
            members.setdefault((job.workflow_id, name), []).append(job)
    depth = {job.id: 0 for job in jobs}
    for _ in jobs:
        changed = False
        for job in jobs:
            before = [
                depth[p.id] for need in job.plan.needs for p in members.get((job.workflow_id, need.group), [])
            ]
            wanted = max(before, default=-1) + 1
            changed = changed or wanted != depth[job.id]
            depth[job.id] = wanted
        if not changed:
            break
    return depth


def _edges(cards: Sequence[Card], wide: int) -> list[str]:
    members: dict[tuple[int, str], list[Card]] = {}
    for card in cards:
        for name in {card.job.key, card.job.plan.matrix_group} | card.stands_for:
            members.setdefault((card.job.workflow_id, name), []).append(card)
    paths = []
    for card in cards:
        for need in card.job.plan.needs:
            for parent in members.get((card.job.workflow_id, need.group), []):
                x1, y1 = parent.x + wide, parent.y + HEIGHT // 2
                x2, y2 = card.x, card.y + HEIGHT // 2
                bend = GAP_X // 2
                if parent.x == card.x:  # of one stage: around the right side, as a bracket
                    paths.append(f"M{x1} {y1} C{x1 + bend} {y1} {x1 + bend} {y2} {x1} {y2}")
                elif x2 - x1 > GAP_X:  # over the columns between, behind whose cards it would seem to end
                    up = f"C{x1 + bend} {y1} {x1 + bend} {LANE} {x1 + GAP_X} {LANE}"
                    down = f"C{x2 - bend} {LANE} {x2 - bend} {y2} {x2} {y2}"
                    paths.append(f"M{x1} {y1} {up} L{x2 - GAP_X} {LANE} {down}")
                else:
                    paths.append(f"M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}")
    return list(dict.fromkeys(paths))[:EDGES_SHOWN]
