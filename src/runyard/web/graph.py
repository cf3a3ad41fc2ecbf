"""Where each job stands in the picture of a run: columns by stage, or by depth of needs; edges between them. Jobs that another has made follow it.
Pure; called by the run page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runyard.model.work import Attempt, Job

WIDTH, HEIGHT, GAP_X, GAP_Y, TOP = 196, 40, 56, 12, 30
WIDEST, LETTER, BESIDE = (
    320,
    8,
    100,
)  # a card grows with the longest name; a letter's width, and what stands beside the name
EDGES_SHOWN = 400  # beyond it the picture would be a tangle; the list below says it all


@dataclass(frozen=True, slots=True)
class Card:
    """One job, placed."""

    job: Job
    attempt: Attempt
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A laid-out graph in pixels."""

    cards: tuple[Card, ...]
    columns: tuple[tuple[int, str], ...]  # (x, title)
    edges: tuple[str, ...]  # SVG paths
    width: int
    height: int
    card: int  # a card's width


def in_families(graph: Sequence[tuple[Job, Attempt]]) -> list[tuple[Job, Attempt]]:
    """The same jobs, those that one has made behind it (a matrix from outputs, a called workflow's), in all else their order kept."""
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
    columns: dict[tuple[int, str], list[tuple[Job, Attempt]]] = {}
    for job, attempt in graph:
        stage = job.plan.stage
        key = (job.plan.stage_index, stage) if stage else (depth[job.id], "")
        columns.setdefault(key, []).append((job, attempt))
    cards: list[Card] = []
    titles: list[tuple[int, str]] = []
    wide = min(WIDEST, max([WIDTH, *(len(job.name) * LETTER + BESIDE for job, _ in graph)]))
    for index, (key, members) in enumerate(sorted(columns.items())):
        x = index * (wide + GAP_X)
        titles.append((x, key[1]))
        cards += [Card(j, a, x, TOP + row * (HEIGHT + GAP_Y)) for row, (j, a) in enumerate(members)]
    rows = max((len(m) for m in columns.values()), default=0)
    width = max(0, len(columns) * (wide + GAP_X) - GAP_X // 2)  # half a gap for brackets of the last column
    height = TOP + rows * (HEIGHT + GAP_Y)
    return Picture(tuple(cards), tuple(titles), tuple(_edges(cards, wide)), width, height, wide)


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
        for name in {card.job.key, card.job.plan.matrix_group}:
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
                else:
                    paths.append(f"M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}")
    return paths[:EDGES_SHOWN]
