"""One transaction: the Tx port over a link. Made by the stores (sqlite.py, postgres.py); used by every engine
verb.

Reads see the transaction's own writes. The SQL is in queries/ and rows.py; here is only which query answers
which method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from runyard.engine.ports import ArtifactFilter, AttemptFilter, Kept, Page, Row, RunFilter
from runyard.model.errors import NotFound
from runyard.model.listing import Brief, Card, Listed, ListedArtifact
from runyard.model.state import State
from runyard.model.work import (
    Artifact,
    Attempt,
    Connection,
    Environment,
    Group,
    Job,
    Project,
    Record,
    Run,
    Runner,
    SecretVariable,
    Step,
    Token,
    User,
    Workflow,
)
from runyard.store.link import Columns, JobCache, KeptRuns, Link
from runyard.store.queries import access, clock, content, listing, people, queue, runs, sealed
from runyard.store.rows import ATTEMPT, WORKFLOW, Shape, shape_of

R = TypeVar("R", bound=Row)

# What appending to a log writes of its attempt. The size is told by the log's file too, and a lease begins
# anew with every start.
PROGRESS = frozenset(
    ATTEMPT.update_of(columns)
    for columns in (("log_bytes",), ("lease_until_at",), ("log_bytes", "lease_until_at"))
)
_STATE = ATTEMPT.names.index("state")
_HOLD_ATTEMPTS = (Project, Run, Workflow, Job, Attempt)


class StoreTx:
    """Keeps the promises of `engine.ports.Tx`. `topics` are rung, and `new_jobs` published, by the store
    after the commit."""

    def __init__(self, link: Link, jobs: JobCache, kept: KeptRuns | None = None) -> None:
        self._link = link
        self._jobs = jobs
        self._kept = kept
        self._boards: set[int] = set()
        self.touched: set[int] = set()  # runs whose kept boards this transaction has used or made old
        self.new_jobs: dict[int, Job] = {}
        self.topics: dict[str, None] = {}
        self.dropped_logs: list[int] = []
        # Encoded rows as this transaction last saw them: saving writes only what has changed since.
        self._seen: dict[tuple[type[Any], int], Sequence[Any]] = {}
        self._variables: dict[
            int | None, list[SecretVariable]
        ] = {}  # by project, while none of them is touched

    # any row
    def add(self, row: R) -> R:
        return self.add_all([row])[0]

    def add_all(self, rows: Sequence[R]) -> list[R]:
        if not rows:
            return []
        shape = shape_of(type(rows[0]))
        self._forget_variables(shape.kind)
        if isinstance(rows[0], Step) or any(r.id for r in rows if not isinstance(r, Step)):
            for values in self._inserted(shape, rows):
                self._link.run(shape.insert, values)
            added = list(rows)
            self._ids_given(shape.table)
        else:
            encoded = self._inserted(shape, rows)
            ids = self._link.insert_all(shape.insert_new, (values[1:] for values in encoded))
            added = [shape.with_id(row, id) for row, id in zip(rows, ids, strict=True)]
            for id, values in zip(ids, encoded, strict=True):
                values[0] = id
                self._seen[shape.kind, id] = values
        for row in added:
            self._added(row)
        return added

    def _forget_variables(self, kind: type[Any]) -> None:
        if kind is SecretVariable:
            self._variables.clear()

    def _inserted(self, shape: Shape[R], rows: Sequence[R]) -> list[list[Any]]:
        """Their columns with those that are no fields of them."""
        encoded = [shape.encode(row) for row in rows]
        if shape.kind is Attempt:
            jobs = self._jobs_of(row.job_id for row in rows if isinstance(row, Attempt))
            for values, job in zip(encoded, jobs, strict=True):
                rule = job.plan.concurrency
                values += [None if rule is None else rule.group, listing.outline_text(job)]
        return encoded

    def _ids_given(self, table: str) -> None:
        """Rows brought their own ids: later ids must lie beyond them (SQLite sees to that itself)."""

    def _added(self, row: Row) -> None:
        match row:
            case Job():
                self.new_jobs[row.id] = row
                if self._kept is not None:
                    self._kept.forget([row.run_id])
            case Attempt():
                self._note(row)
            case Artifact():
                listing.forget_card(self._link, row.attempt_id)
            case Record():
                people.note_record_blob(self._link, row)
            case _:
                pass

    def get(self, kind: type[R], id: int) -> R | None:
        if kind is Job:
            known = self.new_jobs.get(id) or self._jobs.get(id)
            if known is not None:
                # The cached job may have been removed; its id proves that it is the same one.
                return known if self._link.rows("SELECT 1 FROM jobs WHERE id = ?", (id,)) else None  # type: ignore[return-value]
        shape = shape_of(kind)
        found = self._link.rows(shape.select_one, (id,))
        return self._saw(shape, found[0]) if found else None

    def _saw(self, shape: Shape[R], columns: Sequence[Any]) -> R:
        self._seen[shape.kind, columns[0]] = columns
        return shape.decode(columns)

    def _saw_attempt(self, columns: Columns) -> Attempt:
        self._seen[Attempt, columns[0]] = columns
        return self._jobs.attempt(columns, ATTEMPT.decode)

    def save(self, row: R) -> None:
        if isinstance(row, Step):
            runs.save_step(self._link, row)
            return
        shape = shape_of(type(row))
        self._forget_variables(shape.kind)
        values = shape.encode(row)
        before = self._before(row, row.id)
        update = shape.update(before, values)
        if update is None:
            return
        note = self._link.follow if update[0] in PROGRESS else self._link.run
        if not note(*update):
            raise NotFound(f"There is no {type(row).__name__.lower()} {row.id}.")
        self._seen[shape.kind, row.id] = values
        if isinstance(row, Attempt):
            self._note(row)
            if before is None or before[_STATE] == State.DONE.value:  # none other has a card
                listing.forget_card(self._link, row.id)
        elif isinstance(row, Artifact):
            listing.forget_card(self._link, row.attempt_id)
        elif isinstance(row, Job):
            self._jobs.forget(row.id)
            self.new_jobs[row.id] = row
            if self._kept is not None:
                self._kept.forget([row.run_id])
            if row.plan.concurrency is not None:
                runs.set_open_group(self._link, row.id, row.plan.concurrency.group)
            listing.draw_again(self._link, row)
        elif isinstance(row, Record):
            people.note_record_blob(self._link, row)

    def _before(self, row: Row, id: int) -> Sequence[Any] | None:
        """The row's columns as they are stored; None where that is not known."""
        seen = self._seen.get((type(row), id))
        if seen is None and isinstance(row, Attempt) and self._kept is not None:
            known = self._kept.stored(row)
            return None if known is None else ATTEMPT.encode(known)
        return seen

    def _note(self, attempt: Attempt) -> None:
        if self._kept is not None:
            self.touched.add(attempt.run_id)
            self._kept.saved(attempt)

    def remove(self, kind: type[R], id: int) -> None:
        """A step has no id of its own: `remove(Step, attempt_id)` removes all steps of the attempt."""
        self._seen.clear()
        self._variables.clear()
        if self._kept is not None and kind in _HOLD_ATTEMPTS:
            self._kept.clear()
        if kind is Artifact:
            listing.forget_card_with(self._link, id)
        if kind is Step:
            self._link.run("DELETE FROM steps WHERE attempt_id = ?", (id,))
        else:
            self._link.run(shape_of(kind).delete, (id,))

    # who and where
    def project_by_path(self, path: str) -> Project | None:
        return people.project_by_path(self._link, path)

    def projects(self, search: str, page: Page, person: User | None = None, now: int = 0) -> list[Project]:
        return people.projects(self._link, search, page, person, now)

    def find(self, kind: type[R], page: Page, **equal: Any) -> list[R]:
        return access.find(self._link, shape_of(kind), page, equal)

    def group_by_path(self, path: str) -> Group | None:
        return access.group_by_path(self._link, path)

    def memberships(self, user_id: int, now: int) -> list[tuple[int | None, str | None, int]]:
        return access.memberships(self._link, user_id, now)

    def auto_stops(self, now: int, limit: int) -> list[Environment]:
        return access.auto_stops(self._link, now, limit)

    def next_number(self, project_id: int) -> int:
        return people.next_number(self._link, project_id)

    def user_by_name(self, username: str) -> User | None:
        return people.user_by_name(self._link, username)

    def token_by_hash(self, hash: str) -> Token | None:
        return people.token_by_hash(self._link, hash)

    def tokens_of(self, user_id: int) -> list[Token]:
        return people.tokens_of(self._link, user_id)

    def runner_by_hash(self, token_hash: str) -> Runner | None:
        return people.runner_by_hash(self._link, token_hash)

    def runners(self, page: Page) -> list[Runner]:
        return people.runners(self._link, page)

    def connections(self) -> list[Connection]:
        return people.connections(self._link)

    def secret_variables(self, project_id: int | None) -> list[SecretVariable]:
        if project_id not in self._variables:
            self._variables[project_id] = people.secret_variables(self._link, project_id)
        return list(self._variables[project_id])

    def records(self, kind: str, project_id: int | None, key: str | None, page: Page) -> list[Record]:
        return people.records(self._link, kind, project_id, key, page)

    # runs
    def run_by_idempotency(self, project_id: int, key: str) -> Run | None:
        return runs.run_by_idempotency(self._link, project_id, key)

    def runs(self, filter: RunFilter, page: Page) -> list[Run]:
        return runs.runs(self._link, filter, page)

    def count_runs(self, filter: RunFilter) -> int:
        return runs.count_runs(self._link, filter)

    def workflows(self, run_id: int) -> list[Workflow]:
        return [self._saw(WORKFLOW, r) for r in runs.workflows(self._link, run_id)]

    def graph(self, run_id: int) -> list[tuple[Job, Attempt]]:
        latest = runs.latest_attempts(self._link, run_id, self._saw_attempt)
        if self._kept is not None:
            self._kept.read(run_id, latest)
        known = self._known_jobs(a.job_id for a in latest)
        if (
            len(latest) - len(known) <= runs.AT_ONCE
        ):  # none, or those whose plans may change, which are never kept
            known = self._find_jobs(a.job_id for a in latest)
        else:
            found = runs.jobs_of_run(self._link, run_id)
            self._jobs.put(job for job in found if job.id not in self.new_jobs)
            known |= {job.id: job for job in found if job.id not in known}
        return [(known[a.job_id], a) for a in latest]

    def kept(self, run_id: int) -> Kept | None:
        if self._kept is None:
            return None
        if run_id in self._boards and not self._kept.is_free(run_id):
            # Two boards of one run live in this transaction: what the first one does now may not be what the
            # second one read.
            self._kept.forget([run_id])
            return None
        self._boards.add(run_id)
        self.touched.add(run_id)
        kept = self._kept.of(run_id)
        kept.is_lent = True
        return kept

    def attempts(self, filter: AttemptFilter, page: Page) -> list[tuple[Job, Attempt]]:
        return runs.attempts(self._link, filter, page, self._saw_attempt, self._find_jobs)

    def listed(self, filter: AttemptFilter, page: Page) -> list[Listed]:
        return listing.listed(self._link, filter, page)

    def listed_one(self, attempt_id: int) -> Listed | None:
        return listing.listed_one(self._link, attempt_id)

    def briefs(self, run_id: int) -> list[Brief]:
        return listing.briefs(self._link, run_id)

    def cards(self, filter: AttemptFilter, page: Page) -> list[Card]:
        return listing.cards(self._link, filter, page)

    def undrawn(self, limit: int) -> list[Listed]:
        return listing.undrawn(self._link, limit)

    def draw(self, attempt_id: int, card: bytes) -> None:
        listing.draw(self._link, attempt_id, card)

    def listed_artifacts(self, attempt_ids: Sequence[int]) -> list[ListedArtifact]:
        return listing.listed_artifacts(self._link, attempt_ids)

    def steps(self, attempt_id: int) -> list[Step]:
        return runs.steps(self._link, attempt_id)

    # queue
    def enqueue(self, attempt: Attempt, job: Job) -> None:
        queue.enqueue(self._link, attempt, job)

    def dequeue(self, attempt_id: int) -> None:
        queue.dequeue(self._link, attempt_id)

    def next_queued(self, runner: Runner) -> int | None:
        return queue.next_queued(self._link, runner)

    # time
    def due(self, now: int, limit: int) -> list[Attempt]:
        return clock.due(self._link, now, limit)

    def next_due_at(self) -> int | None:
        return clock.next_due_at(self._link)

    def queued_before(self, at: int, limit: int) -> list[Attempt]:
        return clock.queued_before(self._link, at, limit)

    def in_group(self, project_id: int, group: str, upcoming: bool = False) -> list[tuple[Job, Attempt]]:
        found = clock.in_group(self._link, project_id, group, upcoming)
        jobs = self._find_jobs(a.job_id for a in found)
        return [(jobs[a.job_id], a) for a in found]

    def group_heads(
        self, project_id: int, group: str
    ) -> tuple[tuple[Job, Attempt] | None, tuple[Job, Attempt] | None]:
        found = clock.group_heads(self._link, project_id, group)
        jobs = self._find_jobs(a.job_id for a in found if a is not None)
        active, held = (None if a is None else (jobs[a.job_id], a) for a in found)
        return active, held

    # log chunks
    def append_log(self, attempt_id: int, offset: int, data: bytes, at: int | None = None) -> None:
        content.append_log(self._link, attempt_id, offset, data, at)

    def log_times(self, attempt_id: int, start: int, end: int) -> list[tuple[int, int]]:
        return content.log_times(self._link, attempt_id, start, end)

    def log_chunks(self, attempt_id: int, start: int, limit_bytes: int) -> list[tuple[int, bytes]]:
        return content.log_chunks(self._link, attempt_id, start, limit_bytes)

    def drop_log(self, attempt_id: int) -> None:
        content.drop_log(self._link, attempt_id)
        self.dropped_logs.append(attempt_id)

    def append_samples(self, attempt_id: int, at: int, data: bytes) -> None:
        content.append_samples(self._link, attempt_id, at, data)

    def samples(self, attempt_id: int) -> list[bytes]:
        return content.samples(self._link, attempt_id)

    def unsealed(self, limit: int, after_id: int = 0) -> list[Attempt]:
        return content.unsealed(self._link, limit, after_id)

    # artifacts
    def artifacts(self, filter: ArtifactFilter, page: Page) -> list[Artifact]:
        return content.artifacts(self._link, filter, page)

    def newest_archive(self, project_id: int, ref: str, job_name: str) -> Artifact | None:
        return content.newest_archive(self._link, project_id, ref, job_name)

    def blobs_in_use(self, keys: Sequence[str]) -> set[str]:
        return content.blobs_in_use(self._link, keys)

    # secrets at rest
    def reseal(self, renew: Callable[[str], str | None]) -> int:
        return sealed.reseal(self._link, renew)

    def ring(self, topic: str) -> None:
        self.topics[topic] = None

    # jobs, which never change
    def _known_jobs(self, ids: Iterable[int]) -> dict[int, Job]:
        known: dict[int, Job] = {}
        for id in ids:
            job = self.new_jobs.get(id) or self._jobs.get(id)
            if job is not None:
                known[id] = job
        return known

    def _find_jobs(self, ids: Iterable[int]) -> dict[int, Job]:
        wanted = dict.fromkeys(ids)
        known = self._known_jobs(wanted)
        missing = [id for id in wanted if id not in known]
        if missing:
            found = runs.jobs_by_id(self._link, missing)
            self._jobs.put(found)
            known |= {job.id: job for job in found}
        return known

    def _jobs_of(self, ids: Iterable[int]) -> list[Job]:
        wanted = list(ids)
        known = self._find_jobs(wanted)
        missing = [id for id in wanted if id not in known]
        if missing:
            raise NotFound(f"There is no job {missing[0]}.")
        return [known[id] for id in wanted]
