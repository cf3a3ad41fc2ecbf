"""Pages of attempts for lists, from the narrow columns alone: plans, variables and outputs are never read
(performance.md)."""
# ruff: noqa: S608 - only names of columns and marks are pasted into SQL; every value is bound

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, cast

import msgspec

from runyard.engine.ports import AttemptFilter, Page
from runyard.model.listing import Brief, Card, Listed, ListedArtifact, Outline, outline_of
from runyard.model.state import Hold, Outcome, Reason, State
from runyard.model.work import Job
from runyard.store.link import Columns, Link
from runyard.store.queries.lists import Conditions, any_pair, window, window_of_states

SELECT = f"SELECT {', '.join(Listed._fields)} FROM attempts"
_ARTIFACTS = f"SELECT {', '.join(ListedArtifact._fields)} FROM artifacts WHERE attempt_id IN ({{marks}}) ORDER BY attempt_id, id"
_BRIEFS = "SELECT id, job_id, number, state, outcome, hold, latest, outline FROM attempts WHERE run_id = ? ORDER BY id"
CARDS = f"SELECT {', '.join(Card._fields)} FROM attempts"
_OUTLINE = "UPDATE attempts SET outline = ?, card = NULL WHERE job_id = ?"
_UNDRAWN = f"{SELECT} WHERE state = 'done' AND card IS NULL ORDER BY id DESC LIMIT ?"
_DRAW = "UPDATE attempts SET card = ? WHERE id = ? AND state = 'done'"
_FORGET = "UPDATE attempts SET card = NULL WHERE id = ? AND card IS NOT NULL"
_FORGET_OF = "UPDATE attempts SET card = NULL WHERE id = (SELECT attempt_id FROM artifacts WHERE id = ?) AND card IS NOT NULL"

_STATES: dict[str, State] = {s.value: s for s in State}
_OUTCOMES: dict[str | None, Outcome | None] = {o.value: o for o in Outcome} | {None: None}
_REASONS: dict[str, Reason] = {r.value: r for r in Reason}
_HOLDS: dict[str | None, Hold | None] = {h.value: h for h in Hold} | {None: None}
_NOTHING: dict[str, Any] = {}
_card = cast(
    Callable[[Columns], Card], partial(tuple.__new__, Card)
)  # as Card._make, which goes through Python
_extra = msgspec.json.Decoder(dict[str, Any]).decode
_outline = msgspec.json.Decoder(tuple[str, str, bool, tuple[str, ...], bool]).decode


def outline_text(job: Job) -> str:
    """The column `attempts.outline`."""
    return msgspec.json.encode(outline_of(job)).decode()


def listed_artifacts(link: Link, attempt_ids: Sequence[int]) -> list[ListedArtifact]:
    if not attempt_ids:
        return []
    marks = ", ".join("?" * len(attempt_ids))
    return [ListedArtifact._make(row) for row in link.rows(_ARTIFACTS.format(marks=marks), attempt_ids)]


def draw_again(link: Link, job: Job) -> None:
    """A job was changed: its attempts show it."""
    link.run(_OUTLINE, (outline_text(job), job.id))


def undrawn(link: Link, limit: int) -> list[Listed]:
    return [_decode(row) for row in link.rows(_UNDRAWN, (limit,))]


def draw(link: Link, attempt_id: int, card: bytes) -> None:
    link.run(_DRAW, (card, attempt_id))


def forget_card(link: Link, attempt_id: int) -> None:
    """Something that it shows was written."""
    link.run(_FORGET, (attempt_id,))


def forget_card_with(link: Link, artifact_id: int) -> None:
    """This artifact is about to go."""
    link.run(_FORGET_OF, (artifact_id,))


@lru_cache(8192)
def _read(text: str) -> Outline:
    return Outline(*_outline(text))


def conditions_of(filter: AttemptFilter) -> tuple[Conditions, bool]:
    """The conditions of a list of attempts but for their states, and whether they are narrow already."""
    conditions = Conditions()
    conditions.equal("run_id", filter.run_id)
    conditions.equal("job_id", filter.job_id)
    conditions.equal("runner_id", filter.runner_id)
    is_narrow = filter.run_id is not None or filter.job_id is not None
    # A sign keeps the planner off the project's long index when a short one serves.
    conditions.equal("+project_id" if is_narrow else "project_id", filter.project_id)
    if filter.latest_only:
        conditions.add("latest = 1")
    return conditions, is_narrow


def page_of_attempts(link: Link, select: str, filter: AttemptFilter, page: Page) -> list[Columns]:
    """The columns of `select`, ordered by id."""
    conditions, is_narrow = conditions_of(filter)
    if is_narrow:
        any_pair(conditions, filter.wanted)
        return window(link, select, conditions, page)
    return window_of_states(link, select, conditions, filter.wanted, page)


def listed(link: Link, filter: AttemptFilter, page: Page) -> list[Listed]:
    return [_decode(row) for row in page_of_attempts(link, SELECT, filter, page)]


def cards(link: Link, filter: AttemptFilter, page: Page) -> list[Card]:
    return list(map(_card, page_of_attempts(link, CARDS, filter, page)))


def listed_one(link: Link, attempt_id: int) -> Listed | None:
    found = link.rows(f"{SELECT} WHERE id = ?", (attempt_id,))
    return _decode(found[0]) if found else None


def briefs(link: Link, run_id: int) -> list[Brief]:
    return [_brief(row) for row in link.rows(_BRIEFS, (run_id,))]


@lru_cache(16384)
def _brief(row: Columns) -> Brief:
    id, job_id, number, state, outcome, hold, latest, outline = row
    name = _read(outline).name
    return Brief(id, job_id, number, _STATES[state], _OUTCOMES[outcome], _HOLDS[hold], latest == 1, name)


def _decode(row: Columns) -> Listed:
    (id, job_id, run_id, project_id, state, outcome, reason, hold, tolerated, created_at, queued_at, started_at, finished_at,
     runner_id, actor_id, log_bytes, coverage, erased_at, extra, outline) = row  # fmt: skip
    return Listed(
        id, job_id, run_id, project_id, _STATES[state], _OUTCOMES[outcome], _REASONS[reason], _HOLDS[hold],
        tolerated == 1, created_at, queued_at, started_at, finished_at, runner_id, actor_id, log_bytes, coverage, erased_at,
        _NOTHING if extra == "{}" else _extra(extra), _read(outline),
    )  # fmt: skip
