"""The queue: one row per QUEUED attempt, apart from history.

A *lane* is all that decides who may claim, but the project: `protected`, `stock` and the set of tags. There are few lanes however
long the queue is; a claim reads each lane's oldest row by index and takes the oldest it may have.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from runyard.model.work import Attempt, Job, Runner
from runyard.store.link import Link

_ENQUEUE = """
    INSERT INTO queue (attempt_id, run_id, project_id, lane, queued_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (attempt_id) DO UPDATE SET lane = excluded.lane, queued_at = excluded.queued_at"""
_DEQUEUE = "DELETE FROM queue WHERE attempt_id = ?"
# Hops from lane to lane along the index instead of reading every row (PostgreSQL wiki: loose index scan).
_LANE_HEADS = """
    WITH RECURSIVE lanes(lane) AS (
        SELECT min(lane) FROM queue
        UNION ALL
        SELECT (SELECT min(q.lane) FROM queue q WHERE q.lane > lanes.lane) FROM lanes WHERE lanes.lane IS NOT NULL)
    SELECT lane, (SELECT min(q.attempt_id) FROM queue q WHERE q.lane = lanes.lane) FROM lanes WHERE lane IS NOT NULL"""
_LANE_HEADS_OF_PROJECT = """
    WITH RECURSIVE lanes(lane) AS (
        SELECT min(lane) FROM queue WHERE project_id = ?
        UNION ALL
        SELECT (SELECT min(q.lane) FROM queue q WHERE q.project_id = ? AND q.lane > lanes.lane)
        FROM lanes WHERE lanes.lane IS NOT NULL)
    SELECT lane, (SELECT min(q.attempt_id) FROM queue q WHERE q.project_id = ? AND q.lane = lanes.lane)
    FROM lanes WHERE lane IS NOT NULL"""


def lane_of(job: Job) -> str:
    """`protected`, `stock` and the sorted tags, as JSON."""
    plan = job.plan
    return _lane(plan.protected, plan.stock, plan.tags)


@lru_cache(1024)
def _lane(protected: bool, stock: bool, tags: tuple[str, ...]) -> str:
    return msgspec.json.encode([protected, stock, *sorted(set(tags))]).decode()


@lru_cache(1024)
def _parsed(lane: str) -> tuple[bool, bool, frozenset[str]]:
    protected, stock, *tags = msgspec.json.decode(lane)
    return protected, stock, frozenset(tags)


def may_take(runner: Runner, lane: str) -> bool:
    """Tags must all be the runner's; untagged, protected and non-stock work each needs a runner that allows it."""
    protected, stock, tags = _parsed(lane)
    if runner.stock and not stock:
        return False
    if protected and not runner.protected:
        return False
    return tags.issubset(runner.tags) if tags else runner.run_untagged


def enqueue(link: Link, attempt: Attempt, job: Job) -> None:
    queued_at = attempt.queued_at if attempt.queued_at is not None else attempt.created_at
    link.run(_ENQUEUE, (attempt.id, attempt.run_id, attempt.project_id, lane_of(job), queued_at))


def dequeue(link: Link, attempt_id: int) -> None:
    link.run(_DEQUEUE, (attempt_id,))


def heads_for(link: Link, runner: Runner) -> list[tuple[int, str]]:
    """(oldest attempt id, lane) of each lane this runner may take from, oldest first."""
    if runner.paused:
        return []
    if runner.project_id is None:
        found = link.rows(_LANE_HEADS)
    else:
        found = link.rows(_LANE_HEADS_OF_PROJECT, (runner.project_id,) * 3)
    return sorted((head, lane) for lane, head in found if may_take(runner, lane))


def next_queued(link: Link, runner: Runner) -> int | None:
    heads = heads_for(link, runner)
    return heads[0][0] if heads else None
