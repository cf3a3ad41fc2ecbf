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


# PostgreSQL only. Locking the run is enough, since queue rows come and go only under their run's lock; a lock on the queue row as well
# would stay behind when the run is skipped, and starve the one who holds the run.
_FREE = """
    SELECT q.attempt_id, q.run_id FROM queue q JOIN runs r ON r.id = q.run_id
    WHERE q.lane = ? ORDER BY q.attempt_id LIMIT 1 FOR NO KEY UPDATE OF r SKIP LOCKED"""
_FREE_OF_PROJECT = _FREE.replace("WHERE", "WHERE q.project_id = ? AND")
_RUN_OF = "SELECT run_id FROM queue WHERE attempt_id = ?"


def free_in_lane(link: Link, runner: Runner, lane: str) -> tuple[int, int] | None:
    """(attempt id, run id) of the oldest row of the lane whose run nobody holds; the run is locked. The row may be gone by now: ask
    `run_of` again."""
    if runner.project_id is None:
        found = link.rows(_FREE, (lane,))
    else:
        found = link.rows(_FREE_OF_PROJECT, (runner.project_id, lane))
    return (int(found[0][0]), int(found[0][1])) if found else None


def run_of(link: Link, attempt_id: int) -> int | None:
    """None: the attempt is not queued (any more)."""
    found = link.rows(_RUN_OF, (attempt_id,))
    return int(found[0][0]) if found else None
