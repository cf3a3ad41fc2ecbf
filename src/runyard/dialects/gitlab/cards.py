"""A finished job's piece of a page, drawn once and kept in its row (`Tx.draw`). Called by gathering;
`draw_due` is a round of the door.

What a job shows of itself never changes by itself once it is done, so a page of old jobs is one range of rows
and a join of bytes. What it shows of others (who, commit, pipeline, runner, addresses) is left open in the
card and put in when it is shown; `jobshape` is the only one that knows the shape, so a card filled in and a
job shown without one are the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from msgspec import Raw

from runyard.dialects.gitlab.jobshape import Others, add_work, encode, job_body
from runyard.dialects.gitlab.managers import SYSTEM_ID
from runyard.engine.ports import AttemptFilter, Page, Tx
from runyard.http.services import Services
from runyard.model.listing import Card, Listed, ListedArtifact
from runyard.model.work import Run

FORM = b"1"  # of the shape; a card of another form is not read
GAP = b"\x1f"  # JSON text never holds it: encoders escape control characters
BLANK = b""  # always shown without a card
BATCH = 200
PAUSE_S = 0.05
_OPEN = Others(Raw(GAP), Raw(GAP), Raw(GAP), GAP, Raw(GAP), Raw(GAP))
_run_id = attrgetter("run_id")

Row = Listed | Card
OtherIds = tuple[
    int, int | None, int | None, str
]  # run, who retried or played it, runner, the runner's machine


def card(row: Listed, run: Run, artifacts: Sequence[ListedArtifact]) -> bytes:
    """Of a job that is done. Bridges, which show other pipelines, and whatever time alone would change stay
    without."""
    if row.outline.bridge or (row.started_at is not None and row.finished_at is None):
        return BLANK
    body = job_body(row, run, 0, _OPEN)
    add_work(body, row, run, _OPEN, artifacts)
    return FORM + str(row.extra.get(SYSTEM_ID, "")).encode() + GAP + encode(body)


def page_of(tx: Tx, filter: AttemptFilter, page: Page) -> Sequence[Row]:
    """Attempts, each by its card where it has one."""
    found = tx.cards(filter, page)
    drawn = [one.card is not None and one.card.startswith(FORM) for one in found]
    if all(drawn):
        return found
    plain = {row.id: row for row in tx.listed(filter, page)}
    return [one if is_drawn else plain[one.id] for one, is_drawn in zip(found, drawn, strict=True)]


def pieces_of(rows: Sequence[Row]) -> list[tuple[OtherIds, list[Row]]]:
    """The page cut where the others change: neighbours are mostly jobs of one run, and are filled in
    together."""
    pieces: list[tuple[OtherIds, list[Row]]] = []
    for _, some in groupby(rows, _run_id):
        of_run = list(some)
        if _have_same_others(of_run):
            pieces.append((_others_of(of_run[0]), of_run))
        else:
            pieces += [(others, list(alike)) for others, alike in groupby(of_run, _others_of)]
    return pieces


def _have_same_others(of_run: Sequence[Row]) -> bool:
    """Whether all are cards of the same person, runner and machine, seen without cutting every card."""
    first = of_run[0]
    if not isinstance(first, Card):
        return False
    carrier, head = first[2:4], _head_of(first)
    for row in of_run:
        if not isinstance(row, Card) or row[2:4] != carrier or not (row.card or BLANK).startswith(head):
            return False
    return True


def _others_of(row: Row) -> OtherIds:
    """Whom a job shows besides itself."""
    machine = (
        str(row.extra.get(SYSTEM_ID, ""))
        if isinstance(row, Listed)
        else _head_of(row)[len(FORM) : -1].decode()
    )
    return row.run_id, row.actor_id, row.runner_id, machine


def _head_of(drawn: Card) -> bytes:
    """What stands before the body: the form, and which machine of its runner took it, empty when it was the
    server itself."""
    text = drawn.card or BLANK
    return text[: text.index(GAP) + 1]


def filled(drawn: Sequence[Card], others: Others) -> Raw:
    """The JSON of jobs with the same others, with commas between."""
    start = len(_head_of(drawn[0]))
    parts = b",".join([(card.card or BLANK)[start:] for card in drawn]).split(GAP)
    whole = [b""] * (2 * len(parts) - 1)
    whole[::2] = parts
    whole[1::2] = [bytes(one) for one in others] * len(drawn)
    return Raw(b"".join(whole))


def draw_some(tx: Tx, limit: int) -> int:
    """Draws jobs that are done and have no card, the newest first; how many."""
    rows = tx.undrawn(limit)
    runs: Mapping[int, Run | None] = {id: tx.get(Run, id) for id in {row.run_id for row in rows}}
    left: dict[int, list[ListedArtifact]] = {}
    for artifact in tx.listed_artifacts([row.id for row in rows]):
        left.setdefault(artifact.attempt_id, []).append(artifact)
    for row in rows:
        run = runs[row.run_id]
        tx.draw(row.id, card(row, run, left.get(row.id, ())) if run else BLANK)
    return len(rows)


async def draw_due(services: Services) -> None:
    """What has ended since; after an upgrade all that ended before, little by little."""
    db = services.db
    while await db.read(lambda tx: bool(tx.undrawn(1))):
        if await db.write(lambda tx: draw_some(tx, BATCH)) < BATCH:
            return
        await asyncio.sleep(PAUSE_S)
