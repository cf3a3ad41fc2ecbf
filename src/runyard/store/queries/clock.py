"""What time brings: delays that are over, leases and deadlines that ran out, work that nobody takes, groups
with one seat.

Each question has a partial index of the open attempts it concerns, so that history never slows a sweep. The
conditions are literal because SQLite uses a partial index only for a condition it can prove.
"""
# ruff: noqa: S608 - only names of columns and marks are pasted into SQL; every value is bound

from __future__ import annotations

from runyard.model.work import Attempt
from runyard.store.link import Link
from runyard.store.rows import ATTEMPT

_DUE = f"""
    {ATTEMPT.select} WHERE id IN (
        SELECT id FROM attempts WHERE hold = 'delayed' AND run_after_at <= ?
        UNION SELECT id FROM attempts WHERE lease_until_at IS NOT NULL AND lease_until_at <= ?
        UNION SELECT id FROM attempts WHERE state IN ('running', 'stopping') AND deadline_at <= ?)
    ORDER BY id LIMIT ?"""
_NEXT_DUE = """
    SELECT min(due_at) FROM (
        SELECT min(run_after_at) AS due_at FROM attempts WHERE hold = 'delayed'
        UNION ALL SELECT min(lease_until_at) FROM attempts WHERE lease_until_at IS NOT NULL
        UNION ALL SELECT min(deadline_at) FROM attempts WHERE state IN ('running', 'stopping')) AS firsts"""
# What no runner may claim is not in the queue, and is never stuck.
_QUEUED_BEFORE = f"""
    {ATTEMPT.select} WHERE state = 'queued' AND queued_at < ? AND EXISTS (SELECT 1 FROM queue q WHERE q.attempt_id = attempts.id)
    ORDER BY queued_at, id LIMIT ?"""
_IN_GROUP = f"""
    {ATTEMPT.select} WHERE project_id = ? AND concurrency_group = ? AND concurrency_group IS NOT NULL AND state <> 'done'
    AND (state IN ('queued', 'running', 'stopping') OR hold = 'concurrency') ORDER BY id"""
_HEADS_OF_GROUP = [
    f"""
    {ATTEMPT.select} WHERE project_id = ? AND concurrency_group = ? AND concurrency_group IS NOT NULL AND state <> 'done'
    AND {is_head} ORDER BY id LIMIT 1"""
    for is_head in ("state IN ('queued', 'running', 'stopping')", "hold = 'concurrency'")
]
_COMING_TO_GROUP = f"""
    {ATTEMPT.select} WHERE project_id = ? AND concurrency_group = ? AND concurrency_group IS NOT NULL AND state <> 'done'
    AND (state <> 'held' OR hold IN ('concurrency', 'delayed')) ORDER BY id"""


def due(link: Link, now: int, limit: int) -> list[Attempt]:
    return [ATTEMPT.decode(r) for r in link.rows(_DUE, (now, now, now, limit))]


def next_due_at(link: Link) -> int | None:
    at = link.rows(_NEXT_DUE)[0][0]
    return None if at is None else int(at)


def queued_before(link: Link, at: int, limit: int) -> list[Attempt]:
    return [ATTEMPT.decode(r) for r in link.rows(_QUEUED_BEFORE, (at, limit))]


def in_group(link: Link, project_id: int, group: str, upcoming: bool) -> list[Attempt]:
    found = link.rows(_COMING_TO_GROUP if upcoming else _IN_GROUP, (project_id, group))
    return [ATTEMPT.decode(r) for r in found]


def group_heads(link: Link, project_id: int, group: str) -> list[Attempt | None]:
    """The oldest active one and the oldest held one."""
    found = [link.rows(query, (project_id, group)) for query in _HEADS_OF_GROUP]
    return [ATTEMPT.decode(rows[0]) if rows else None for rows in found]
