"""What a transaction needs of one database connection, and what all transactions of a store share. Called by
transaction.py and queries/.

SQL is written once, with `?` marks, in the words that SQLite and PostgreSQL have in common; a link runs it
and turns every driver exception into one of the nine errors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from runyard.engine.ports import Kept
from runyard.model.work import Attempt, Job
from runyard.store.log_files import LogFiles
from runyard.store.rows import may_be_planned_anew

Columns = tuple[Any, ...]


class Link(Protocol):
    """One connection inside one transaction. `files` take big log pieces where there are any (SQLite on
    disk)."""

    files: LogFiles | None
    files_from_bytes: int  # the smallest piece for a file

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Columns]: ...
    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """The number of rows that were changed."""

    def follow(self, sql: str, values: Sequence[Any] = ()) -> int:
        """As `run`, for what a sealed log file says too: of a transaction that did nothing else the commit
        need not be synced."""

    def insert_all(self, sql: str, many: Iterable[Sequence[Any]]) -> list[int]:
        """Inserts rows without their ids, in the given order; the ids ascend."""


class JobCache:
    """Jobs never change after accept, so one decoded plan serves every later fold of a run. Those that are
    still to be drawn do (once or more), maybe by another replica, and are not kept.

    Ids are never given twice (AUTOINCREMENT, sequences), except after a rollback: a store clears the cache
    when a commit fails, and a transaction publishes the jobs it added only after its commit.
    """

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._jobs: OrderedDict[int, Job] = OrderedDict()
        self._attempts: dict[int, tuple[Columns, Attempt]] = {}

    def attempt(self, columns: Columns, decode: Callable[[Columns], Attempt]) -> Attempt:
        """The decoded row, kept from an earlier read when no column differs: a fold of 1,000 jobs decodes
        only what moved."""
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
            if not may_be_planned_anew(job):
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


class KeptRuns:
    """`engine.ports.Kept` by run id, for the only writer of a store; the newest few, bounded by their
    jobs."""

    def __init__(self, limit_jobs: int = 8192) -> None:
        self._limit_jobs = limit_jobs
        self._runs: OrderedDict[int, Kept] = OrderedDict()

    def of(self, run_id: int) -> Kept:
        """The run's place, made when it is not there; older ones go when there are too many jobs."""
        kept = self._runs.get(run_id)
        if kept is None:
            kept = self._runs[run_id] = Kept()
        self._runs.move_to_end(run_id)
        jobs = sum(one.size for one in self._runs.values())
        while (jobs > self._limit_jobs and len(self._runs) > 1) or len(self._runs) > 64:
            jobs -= self._runs.popitem(last=False)[1].size
        return kept

    def is_free(self, run_id: int) -> bool:
        """Whether it is there and nobody has it."""
        kept = self._runs.get(run_id)
        return kept is not None and not kept.is_lent

    def read(self, run_id: int, latest: Iterable[Attempt]) -> None:
        """These are the run's latest attempts."""
        kept = self._runs.get(run_id)
        if kept is not None:
            kept.stored = {attempt.job_id: attempt for attempt in latest}

    def saved(self, attempt: Attempt) -> None:
        """A row was written."""
        kept = self._runs.get(attempt.run_id)
        if kept is None:
            return
        if attempt.latest:
            kept.saved[attempt.job_id] = kept.stored[attempt.job_id] = attempt
        elif self.stored(attempt) is not None:
            del kept.stored[attempt.job_id]

    def stored(self, attempt: Attempt) -> Attempt | None:
        """The attempt as it was written last; None where that is not known."""
        kept = self._runs.get(attempt.run_id)
        known = kept.stored.get(attempt.job_id) if kept is not None else None
        return known if known is not None and known.id == attempt.id else None

    def forget(self, run_ids: Iterable[int]) -> None:
        """Of these nothing is known any more."""
        for run_id in run_ids:
            self._runs.pop(run_id, None)

    def clear(self) -> None:
        """Of none."""
        self._runs.clear()
