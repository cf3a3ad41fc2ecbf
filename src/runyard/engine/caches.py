"""Caches that jobs keep for later runs of their project: found by key or its beginning, within scopes that
the plan gives (contracts/actions.md §10.2).

A job writes the first of its plan's `cache_scopes` and reads all, in order; so what an unprotected branch
keeps never reaches another (reliability.md §5 C19). An entry is a Record: reserved first, complete once it
names a blob, then never changed. Verbs over one transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runyard.engine.ports import Page, Tx
from runyard.model.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge
from runyard.model.state import LEASED
from runyard.model.work import Attempt, Job, Record

ENTRY = "actions.cache"
MAX_KEY_CHARS = 512
MOST_RESTORE_KEYS = 10
MOST_ENTRIES = 2000  # of a project
KEEP_BYTES = 10 << 30  # of a project, as at GitHub
KEEP_MS = 7 * 86_400_000  # unused
RESERVED_MS = 3_600_000
TOUCH_MS = 600_000
_ALL = Page(limit=10_000)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a job looks for. `version` is the client's word for how the archive was made; entries of another
    are not its own."""

    key: str
    version: str
    restore_keys: tuple[str, ...] = ()


def check_key(key: str) -> str:
    """The key itself. Invalid for what cannot be one."""
    if not 0 < len(key) <= MAX_KEY_CHARS or "," in key or any(ord(c) < 32 for c in key):
        raise Invalid(f"a cache key has 1 to {MAX_KEY_CHARS} characters, no commas and no line breaks")
    return key


def find(tx: Tx, attempt: Attempt, wanted: Wanted, now: int) -> Record | None:
    """The entry to restore: in each scope the key itself, else the newest that begins with it, else with a
    restore key in their order."""
    if len(wanted.restore_keys) > MOST_RESTORE_KEYS:
        raise Invalid(f"there may be at most {MOST_RESTORE_KEYS} restore keys")
    check_key(wanted.key)
    there = [
        r
        for r in _entries(tx, attempt.project_id)
        if r.data.get("blob") and r.data["version"] == wanted.version
    ]
    for scope in _scopes(tx, attempt):
        found = _best([r for r in there if r.data["scope"] == scope], wanted)
        if found is not None:
            if now - found.updated_at > TOUCH_MS:
                tx.save(replace(found, updated_at=now))
            return found
    return None


def _best(rows: Sequence[Record], wanted: Wanted) -> Record | None:
    exact = next((r for r in rows if r.data["key"] == wanted.key), None)
    if exact is not None:
        return exact
    for prefix in (wanted.key, *filter(None, wanted.restore_keys)):
        found = [r for r in rows if str(r.data["key"]).startswith(prefix)]
        if found:
            return max(found, key=lambda r: r.id)
    return None


def reserve(tx: Tx, attempt: Attempt, key: str, version: str, now: int) -> Record:
    """A place for an entry in the job's own scope. Conflict when there is one already, or another job is
    writing it."""
    check_key(key)
    if not 0 < len(version) <= MAX_KEY_CHARS:
        raise Invalid("a cache version has 1 to 512 characters")
    scopes = _scopes(tx, attempt)
    if not scopes:
        raise Forbidden("this job has no cache of its own")
    name = hashlib.sha256("\0".join((scopes[0], version, key)).encode("utf-8", "replace")).hexdigest()
    for known in tx.records(ENTRY, attempt.project_id, name, Page(limit=1)):
        if known.data.get("blob"):
            raise Conflict(f"a cache entry of the key {key!r} already exists in this scope")
        if (
            known.data["attempt_id"] != attempt.id
            and now - known.created_at < RESERVED_MS
            and _runs(tx, known)
        ):
            raise Conflict(f"another job is creating the cache entry {key!r}")
        tx.remove(Record, known.id)
    _make_room(tx, attempt.project_id)
    data = {"scope": scopes[0], "version": version, "key": key, "attempt_id": attempt.id, "size_bytes": 0}
    return tx.add(Record(0, ENTRY, attempt.project_id, name, data, now, now))


def open_entries(tx: Tx, attempt: Attempt) -> list[Record]:
    """What this very job has reserved and not completed."""
    rows = _entries(tx, attempt.project_id)
    return [r for r in rows if r.data["attempt_id"] == attempt.id and not r.data.get("blob")]


def reserved(tx: Tx, attempt: Attempt, key: str, version: str) -> Record:
    """The open entry of this key. NotFound otherwise."""
    for record in open_entries(tx, attempt):
        if (record.data["key"], record.data["version"]) == (key, version):
            return record
    raise NotFound(f"no reservation of the cache key {key[:200]!r}")


def complete(tx: Tx, entry: Record, blob: str, size_bytes: int, now: int) -> Record:
    """The bytes are stored: from now on the entry can be found. Others go when the project has more than it
    may."""
    if size_bytes > KEEP_BYTES:
        raise TooLarge(f"a cache may have at most {KEEP_BYTES} bytes")
    kept = replace(entry, data={**entry.data, "blob": blob, "size_bytes": size_bytes}, updated_at=now)
    tx.save(kept)
    rows = sorted((r for r in _entries(tx, entry.project_id) if r.id != entry.id), key=lambda r: r.updated_at)
    total = size_bytes + sum(int(r.data["size_bytes"]) for r in rows)
    for row in rows:
        if total <= KEEP_BYTES:
            break
        total -= int(row.data["size_bytes"])
        tx.remove(Record, row.id)
    return kept


def sweep(tx: Tx, now: int) -> int:
    """Removes entries that nobody used for a week, and reservations that came to nothing; answers how
    many."""
    old = [r for r in tx.records(ENTRY, None, None, Page(limit=1000, descending=False)) if _is_old(r, now)]
    for record in old:
        tx.remove(Record, record.id)
    return len(old)


def _is_old(record: Record, now: int) -> bool:
    age = now - record.updated_at
    return age > KEEP_MS or (not record.data.get("blob") and age > 2 * RESERVED_MS)


def _entries(tx: Tx, project_id: int | None) -> list[Record]:
    return tx.records(ENTRY, project_id, None, _ALL)


def _make_room(tx: Tx, project_id: int) -> None:
    rows = sorted(_entries(tx, project_id), key=lambda r: r.updated_at)
    for row in rows[: max(0, len(rows) + 1 - MOST_ENTRIES)]:
        tx.remove(Record, row.id)


def _scopes(tx: Tx, attempt: Attempt) -> tuple[str, ...]:
    job = tx.get(Job, attempt.job_id)
    return job.plan.cache_scopes if job else ()


def _runs(tx: Tx, record: Record) -> bool:
    attempt = tx.get(Attempt, int(record.data["attempt_id"]))
    return attempt is not None and attempt.state in LEASED
