"""What a transaction needs of one database connection, and what all transactions of a store share. Called by transaction.py and queries/.

SQL is written once, with `?` marks, in the words that SQLite and PostgreSQL have in common; a link runs it and turns every driver
exception into one of the nine errors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from runyard.model.work import Attempt, Job
from runyard.store.log_files import LogFiles

Columns = tuple[Any, ...]


class Link(Protocol):
    """One connection inside one transaction. `files` take big log pieces where there are any (SQLite on disk)."""

    files: LogFiles | None

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Columns]: ...
    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """The number of rows that were changed."""

    def insert_all(self, sql: str, many: Iterable[Sequence[Any]]) -> list[int]:
        """Inserts rows without their ids, in the given order; the ids ascend."""


class JobCache:
    """Jobs never change after accept, so one decoded plan serves every later fold of a run.

    Ids are never given twice (AUTOINCREMENT, sequences), except after a rollback: a store clears the cache when a commit fails,
    and a transaction publishes the jobs it added only after its commit.
    """

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._jobs: OrderedDict[int, Job] = OrderedDict()
        self._attempts: dict[int, tuple[Columns, Attempt]] = {}

    def attempt(self, columns: Columns, decode: Callable[[Columns], Attempt]) -> Attempt:
        """The decoded row, kept from an earlier read when no column differs: a fold of 1,000 jobs decodes only what moved."""
        id = columns[0]
        known = self._attempts.get(id)
        if known is not None and known[0] == columns:
            return known[1]
        attempt = decode(columns)
        if len(self._attempts) >= self._limit:
            self._attempts.clear()
        self._attempts[id] = (columns, attempt)
        return attempt

    def get(self, id: int) -> Job | None:
        job = self._jobs.get(id)
        if job is not None:
            try:
                self._jobs.move_to_end(id)
            except KeyError:  # another thread evicted it meanwhile
                return job
        return job

    def put(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._jobs[job.id] = job
        while len(self._jobs) > self._limit:
            try:
                self._jobs.popitem(last=False)
            except KeyError:
                return

    def forget(self, id: int) -> None:
        self._jobs.pop(id, None)

    def clear(self) -> None:
        self._jobs.clear()
