"""Unsealed log chunks, artifacts, and which blobs any row still names."""
# ruff: noqa: S608 - only names of columns and marks are pasted into SQL; every value is bound

from __future__ import annotations

from collections.abc import Sequence

from runyard.engine.ports import ArtifactFilter, Page
from runyard.model.errors import Unavailable
from runyard.model.work import Artifact, Attempt
from runyard.store.link import Link
from runyard.store.queries.lists import Conditions, window
from runyard.store.rows import ARTIFACT, ATTEMPT

_APPEND = "INSERT INTO log_chunks (attempt_id, start, size, data, taken_at) VALUES (?, ?, ?, ?, ?)"
_TIMES = """
    SELECT start, taken_at FROM log_chunks WHERE attempt_id = ? AND taken_at IS NOT NULL AND start < ?
    AND start >= coalesce((SELECT max(start) FROM log_chunks WHERE attempt_id = ? AND start <= ?), 0) ORDER BY start"""
MOST_BATCHES = 10_000  # a job holds its own token: it must not fill the database with figures
_ADD_SAMPLES = (
    "INSERT INTO samples (attempt_id, at, data) SELECT ?, ?, ? WHERE"
    f" (SELECT count(*) FROM samples WHERE attempt_id = ?) < {MOST_BATCHES} ON CONFLICT DO NOTHING"
)
_SAMPLES = "SELECT data FROM samples WHERE attempt_id = ? ORDER BY at"
_CHUNK_AT = (
    "SELECT start, size, data FROM log_chunks WHERE attempt_id = ? AND start <= ? ORDER BY start DESC LIMIT 1"
)
_CHUNKS = (
    "SELECT start, size, data FROM log_chunks WHERE attempt_id = ? AND start > ? AND start < ? ORDER BY start"
)
_NEXT_CHUNK = (
    "SELECT start, size, data FROM log_chunks WHERE attempt_id = ? AND start > ? ORDER BY start LIMIT 1"
)
_DROP = "DELETE FROM log_chunks WHERE attempt_id = ?"
# Hops from attempt to attempt along the primary key: the cost is the number of unsealed logs, not of chunks
# or attempts.
_UNSEALED = f"""
    WITH RECURSIVE logs(id) AS (
        SELECT min(attempt_id) FROM log_chunks WHERE attempt_id > ?
        UNION ALL
        SELECT (SELECT min(c.attempt_id) FROM log_chunks c WHERE c.attempt_id > logs.id) FROM logs WHERE logs.id IS NOT NULL)
    {ATTEMPT.select} WHERE id IN (SELECT id FROM logs WHERE id IS NOT NULL) AND state = 'done' ORDER BY id LIMIT ?"""
_NEWEST_PASSED = """
    SELECT id FROM runs WHERE project_id = ? AND ref = ? AND outcome = 'passed' ORDER BY id DESC LIMIT 1"""
_ARCHIVE_OF = f"""
    SELECT {ARTIFACT.prefixed("f")} FROM artifacts f
    JOIN attempts a ON a.id = f.attempt_id JOIN jobs j ON j.id = a.job_id
    WHERE f.run_id = ? AND f.type = 'archive' AND j.name = ? ORDER BY f.id DESC LIMIT 1"""


def append_log(link: Link, attempt_id: int, offset: int, data: bytes, at: int | None) -> None:
    if link.files is not None and len(data) >= link.files_from_bytes:
        note = link.follow if link.files.goes_on(attempt_id, offset) else link.run
        note(_APPEND, (attempt_id, offset, len(data), b"", at))  # first: it refuses a place that is taken
        link.files.write(attempt_id, offset, data)
    else:
        link.run(_APPEND, (attempt_id, offset, len(data), data, at))


def log_times(link: Link, attempt_id: int, start: int, end: int) -> list[tuple[int, int]]:
    return [(offset, at) for offset, at in link.rows(_TIMES, (attempt_id, end, attempt_id, start))]


def append_samples(link: Link, attempt_id: int, at: int, data: bytes) -> None:
    link.run(_ADD_SAMPLES, (attempt_id, at, data, attempt_id))


def samples(link: Link, attempt_id: int) -> list[bytes]:
    return [bytes(data) for (data,) in link.rows(_SAMPLES, (attempt_id,))]


def log_chunks(link: Link, attempt_id: int, start: int, limit_bytes: int) -> list[tuple[int, bytes]]:
    chunks: list[tuple[int, bytes]] = []
    reached = 0
    for offset, size, data in link.rows(_CHUNK_AT, (attempt_id, start)):
        if offset + size > start:
            chunks.append((offset, _bytes_of(link, attempt_id, offset, size, data)))
            reached = offset + size - start
    if reached >= limit_bytes and chunks:
        return chunks
    following = link.rows(_CHUNKS, (attempt_id, start, start + limit_bytes))
    if not following and not chunks:
        following = link.rows(_NEXT_CHUNK, (attempt_id, start))
    for offset, size, data in following:
        chunks.append((offset, _bytes_of(link, attempt_id, offset, size, data)))
        reached += size
        if reached >= limit_bytes:
            break
    return chunks


def _bytes_of(link: Link, attempt_id: int, offset: int, size: int, data: bytes) -> bytes:
    if data or not size:
        return data
    if link.files is None:
        raise Unavailable("This log lies in files of another server.")
    try:
        return link.files.read(attempt_id, offset, size)
    except OSError as error:
        raise Unavailable(f"A piece of log cannot be read: {error.strerror}.") from error


def drop_log(link: Link, attempt_id: int) -> None:
    link.run(_DROP, (attempt_id,))


def unsealed(link: Link, limit: int, after_id: int) -> list[Attempt]:
    return [ATTEMPT.decode(r) for r in link.rows(_UNSEALED, (after_id, limit))]


def artifacts(link: Link, filter: ArtifactFilter, page: Page) -> list[Artifact]:
    conditions = Conditions()
    conditions.equal("run_id", filter.run_id)
    conditions.equal("attempt_id", filter.attempt_id)
    if filter.attempt_ids:
        marks = ", ".join("?" * len(filter.attempt_ids))
        conditions.add(f"attempt_id IN ({marks})", *filter.attempt_ids)
    conditions.equal("project_id", filter.project_id)
    conditions.equal("type", filter.type)
    conditions.equal("name", filter.name)
    if filter.expired_before_at is not None:
        # A subquery, because SQLite would rather walk all artifacts in id order than sort the few that have
        # expired.
        conditions.add("id IN (SELECT id FROM artifacts WHERE expires_at < ?)", filter.expired_before_at)
    return [ARTIFACT.decode(r) for r in window(link, ARTIFACT.select, conditions, page)]


def newest_archive(link: Link, project_id: int, ref: str, job_name: str) -> Artifact | None:
    for (run_id,) in link.rows(_NEWEST_PASSED, (project_id, ref)):
        for found in link.rows(_ARCHIVE_OF, (run_id, job_name)):
            return ARTIFACT.decode(found)
    return None


def blobs_in_use(link: Link, keys: Sequence[str]) -> set[str]:
    used: set[str] = set()
    for start in range(0, len(keys), 300):
        some = [k for k in keys[start : start + 300] if k]
        marks = ", ".join("?" * len(some))
        sql = (
            f"SELECT blob FROM artifacts WHERE blob IN ({marks})"
            f" UNION SELECT log_blob FROM attempts WHERE log_blob <> '' AND log_blob IN ({marks})"
            f" UNION SELECT blob FROM records WHERE blob IN ({marks})"
        )
        if some:
            used.update(row[0] for row in link.rows(sql, (*some, *some, *some)))
    return used
