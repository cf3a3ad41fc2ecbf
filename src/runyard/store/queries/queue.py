"""The queue: one row per QUEUED attempt, apart from history.

A *lane* is all that decides who may claim, but the project: `protected`, `stock`, the set of tags and the
labels. A claim hops along an index from one (project, lane) to the next and sees only the oldest row of each,
so its cost grows with the projects that wait and never with the queue.

Runners of the instance share fairly, as in GitLab: the project with the fewest jobs running on them comes
first, then age.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from runyard.model.work import Attempt, Job, Runner
from runyard.store.link import Columns, Link

_ENQUEUE = """
    INSERT INTO queue (attempt_id, run_id, project_id, lane, queued_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (attempt_id) DO UPDATE SET lane = excluded.lane, queued_at = excluded.queued_at"""
_DEQUEUE = "DELETE FROM queue WHERE attempt_id = ?"
# (project, lane) pairs that one claim weighs; with more waiting, those from the oldest one's project on
MOST_HEADS = 200
NO_PROJECT = 1 << 62
# Hops from pair to pair along the index instead of reading every row (PostgreSQL wiki: loose index scan).
_HEADS = """
    WITH RECURSIVE heads(id) AS (
        SELECT id FROM (SELECT attempt_id AS id FROM queue WHERE project_id >= ? AND project_id < ? ORDER BY project_id, lane, attempt_id LIMIT 1) AS first_one
        UNION ALL
        SELECT coalesce(
            (SELECT n.attempt_id FROM queue n WHERE n.project_id = q.project_id AND n.lane > q.lane ORDER BY n.lane, n.attempt_id LIMIT 1),
            (SELECT n.attempt_id FROM queue n WHERE n.project_id > q.project_id AND n.project_id < ? ORDER BY n.project_id, n.lane, n.attempt_id LIMIT 1))
        FROM heads JOIN queue q ON q.attempt_id = heads.id)
    SELECT q.attempt_id, q.project_id, q.lane FROM (SELECT id FROM heads LIMIT ?) AS few JOIN queue q ON q.attempt_id = few.id"""
_HEADS_OF_PROJECT = """
    WITH RECURSIVE lanes(lane) AS (
        SELECT min(lane) FROM queue WHERE project_id = ?
        UNION ALL
        SELECT (SELECT min(q.lane) FROM queue q WHERE q.project_id = ? AND q.lane > lanes.lane)
        FROM lanes WHERE lanes.lane IS NOT NULL)
    SELECT (SELECT min(q.attempt_id) FROM queue q WHERE q.project_id = ? AND q.lane = lanes.lane), ?, lane
    FROM lanes WHERE lane IS NOT NULL"""
_LANE_HEADS = """
    WITH RECURSIVE lanes(lane) AS (
        SELECT min(lane) FROM queue
        UNION ALL
        SELECT (SELECT min(q.lane) FROM queue q WHERE q.lane > lanes.lane) FROM lanes WHERE lanes.lane IS NOT NULL)
    SELECT q.attempt_id, q.project_id, q.lane FROM lanes JOIN queue q ON q.attempt_id = (
        SELECT min(o.attempt_id) FROM queue o WHERE o.lane = lanes.lane)"""
# Whether a project that waits is in the group is asked of each such project, so that a claim still grows with
# those that wait only.
_WAITING_IN_GROUP = """
    WITH RECURSIVE waiting(id) AS (
        SELECT min(project_id) FROM queue
        UNION ALL
        SELECT (SELECT min(q.project_id) FROM queue q WHERE q.project_id > waiting.id) FROM waiting WHERE waiting.id IS NOT NULL)
    SELECT p.id FROM waiting w JOIN projects p ON p.id = w.id JOIN groups g ON g.id = ?
    WHERE substr(lower(p.path), 1, length(g.path) + 1) = lower(g.path) || '/' LIMIT ?"""
_BUSY = """
    SELECT a.project_id, count(*) FROM attempts a JOIN runners r ON r.id = a.runner_id AND r.project_id IS NULL AND r.group_id IS NULL
    WHERE a.state IN ('running', 'stopping') GROUP BY a.project_id"""


@dataclass(frozen=True, slots=True)
class Head:
    """The oldest queued attempt of a project in a lane."""

    attempt_id: int
    project_id: int
    lane: str


def lane_of(job: Job) -> str:
    """`protected`, `stock` and the sorted tags, as JSON; labels, if there are any, as a list at the end."""
    plan = job.plan
    return _lane(plan.protected, plan.stock, plan.tags, plan.labels)


@lru_cache(1024)
def _lane(protected: bool, stock: bool, tags: tuple[str, ...], labels: tuple[str, ...]) -> str:
    last = [sorted({label.lower() for label in labels})] if labels else []
    return msgspec.json.encode([protected, stock, *sorted(set(tags)), *last]).decode()


@lru_cache(1024)
def _parsed(lane: str) -> tuple[bool, bool, frozenset[str], frozenset[str]]:
    protected, stock, *tags = msgspec.json.decode(lane)
    labels = tags.pop() if tags and isinstance(tags[-1], list) else ()
    return protected, stock, frozenset(tags), frozenset(labels)


def may_take(runner: Runner, lane: str) -> bool:
    """Tags must all be the runner's; untagged and non-stock work each needs a runner that allows it; a runner
    for protected refs takes nothing else. A runner that has labels takes only what asks for labels, all of
    which it has."""
    protected, stock, tags, labels = _parsed(lane)
    if runner.protected and not protected:
        return False
    if (own := runner.extra.get("labels")) is not None:
        return bool(labels) and labels.issubset(own)
    if runner.stock and not stock:
        return False
    return tags.issubset(runner.tags) if tags else runner.run_untagged


def enqueue(link: Link, attempt: Attempt, job: Job) -> None:
    queued_at = attempt.queued_at if attempt.queued_at is not None else attempt.created_at
    link.run(_ENQUEUE, (attempt.id, attempt.run_id, attempt.project_id, lane_of(job), queued_at))


def dequeue(link: Link, attempt_id: int) -> None:
    link.run(_DEQUEUE, (attempt_id,))


def heads_for(link: Link, runner: Runner) -> list[Head]:
    """What this runner may take, the best first."""
    if runner.paused:
        return []
    if runner.project_id is not None:
        found = link.rows(_HEADS_OF_PROJECT, (runner.project_id,) * 4)
        return sorted(_allowed(runner, found), key=lambda head: head.attempt_id)
    if runner.group_id is not None:
        return _of_group(link, runner, runner.group_id)
    firsts = _allowed(runner, link.rows(_LANE_HEADS))
    if not firsts:
        return []
    oldest = min((head.attempt_id, head.project_id) for head in firsts)[1]
    found = link.rows(_HEADS, (oldest, NO_PROJECT, NO_PROJECT, MOST_HEADS))
    if len(found) < MOST_HEADS:
        found += link.rows(_HEADS, (0, oldest, oldest, MOST_HEADS - len(found)))
    heads = list({*firsts, *_allowed(runner, found)})
    if len({head.project_id for head in heads}) < 2:
        return sorted(heads, key=lambda head: head.attempt_id)
    busy = {int(project): int(count) for project, count in link.rows(_BUSY)}
    return sorted(heads, key=lambda head: (busy.get(head.project_id, 0), head.attempt_id))


def _of_group(link: Link, runner: Runner, group_id: int) -> list[Head]:
    """Oldest first, as in GitLab: only runners of the instance share fairly."""
    heads: list[Head] = []
    for (project_id,) in link.rows(_WAITING_IN_GROUP, (group_id, MOST_HEADS)):
        heads += _allowed(runner, link.rows(_HEADS_OF_PROJECT, (project_id,) * 4))
    return sorted(heads, key=lambda head: head.attempt_id)


def _allowed(runner: Runner, found: Iterable[Columns]) -> list[Head]:
    return [Head(int(id), int(project), lane) for id, project, lane in found if may_take(runner, lane)]


def next_queued(link: Link, runner: Runner) -> int | None:
    heads = heads_for(link, runner)
    return heads[0].attempt_id if heads else None


# PostgreSQL only. Locking the run is enough, since queue rows come and go only under their run's lock; a lock
# on the queue row as well would stay behind when the run is skipped, and starve the one who holds the run.
_FREE = """
    SELECT q.attempt_id, q.run_id FROM queue q JOIN runs r ON r.id = q.run_id
    WHERE q.project_id = ? AND q.lane = ? ORDER BY q.attempt_id LIMIT 1 FOR NO KEY UPDATE OF r SKIP LOCKED"""
_RUN_OF = "SELECT run_id FROM queue WHERE attempt_id = ?"


def free_like(link: Link, head: Head) -> tuple[int, int] | None:
    """(attempt id, run id) of the oldest row of the head's project and lane whose run nobody holds; the run
    is locked. The row may be gone by now: ask `run_of` again."""
    found = link.rows(_FREE, (head.project_id, head.lane))
    return (int(found[0][0]), int(found[0][1])) if found else None


def run_of(link: Link, attempt_id: int) -> int | None:
    """None: the attempt is not queued (any more)."""
    found = link.rows(_RUN_OF, (attempt_id,))
    return int(found[0][0]) if found else None
