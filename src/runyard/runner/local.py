"""The runner protocol in-process: the built-in runner's line to the engine through the Database, Bell, Blobs
and Source ports. Made by app. A database that is away is waited for (`patience.py`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from runyard.engine import caches, dispatch
from runyard.engine.dispatch import Finish, LogReply, Verdict
from runyard.engine.ports import (
    Actions,
    ArtifactFilter,
    Bell,
    Blobs,
    Clock,
    Database,
    Page,
    Sign,
    Source,
    Tx,
    Vault,
)
from runyard.engine.terms import Terms
from runyard.model.errors import Conflict, Forbidden, Invalid, NotFound, RunyardError
from runyard.model.plan import Assignment, InputArtifact
from runyard.model.state import State
from runyard.model.usage import Sample
from runyard.model.work import Artifact, Attempt, Record, Runner, Step
from runyard.runner.link import Door, Parcel, Sought, Taken
from runyard.runner.patience import Patience
from runyard.syntax import reports

T = TypeVar("T")

CLAIM_WAIT_S = 30.0
NOTED_EVERY_MS = 600_000
BUILT_IN = "built_in"


@dataclass(frozen=True, slots=True)
class Ports:
    """What the line is made of. `mint` makes a job token for an attempt (`http.auth.job_token`)."""

    db: Database
    bell: Bell
    blobs: Blobs
    source: Source
    vault: Vault
    terms: Terms
    now: Clock
    mint: Callable[[int], str]
    sign: Sign | None = None  # `http.identity`
    actions: Actions | None = None
    door: Door | None = None  # where this server listens


def enroll(ports: Ports, description: str, tags: tuple[str, ...], token_hash: str) -> Runner:
    """The built-in runner's row: one per server, taken over at each start."""

    def find(tx: Tx) -> Runner:
        for row in tx.runners(Page(limit=1000)):
            if row.extra.get(BUILT_IN):
                kept = replace(
                    row,
                    description=description,
                    tags=tags,
                    protected=False,
                    contacted_at=ports.now(),
                    paused=False,
                )
                tx.save(kept)
                return kept
        fresh = Runner(
            0, token_hash, description, tags, stock=False, contacted_at=ports.now(), created_at=ports.now(),
            info={"name": "runyard"}, extra={BUILT_IN: True},
        )  # fmt: skip
        return tx.add(fresh)

    return ports.db.submit_write(find).result()


@dataclass(slots=True)
class Untold:
    """Steps of an attempt that the database may not have yet, by position, the latest word on each. While the
    attempt is young, too young to be watched, they travel with its first log bytes or its end, which saves
    short jobs their commits."""

    steps: dict[int, Step] = field(default_factory=dict)
    is_young: bool = True


class LocalLink:
    """Keeps the promises of `link.Link`."""

    def __init__(self, ports: Ports, runner: Runner) -> None:
        self._ports = ports
        self._db = Patience(ports.db)
        self._runner = runner
        self._turn = threading.Lock()
        self._closed = threading.Event()
        self._untold: dict[int, Untold] = {}
        self._holding = threading.Lock()

    def claim(self) -> Assignment | None:
        """Only the thread whose turn it is asks and waits; the next one asks at once, so a burst is spread
        without a herd."""
        p = self._ports
        with self._turn:
            while not self._closed.is_set():
                seen = p.bell.version("queue")
                found = self.claim_now()
                if found is not None:
                    return found
                if not self._closed.is_set():
                    p.bell.wait("queue", seen, CLAIM_WAIT_S)
        return None

    def claim_now(self) -> Assignment | None:
        """What is queued; None when nothing is."""
        tried: list[Assignment] = []

        def once(tx: Tx) -> Assignment | None:
            """An attempt whose commit was durable, but whose answer the database took with it, is ours."""
            for work in tried:
                with suppress(Forbidden, NotFound):
                    if dispatch.leased(tx, work.attempt_id, work.token) is not None:
                        return work
            found = self._claim(tx)
            if found is not None:
                tried.append(found)
            return found

        found = self._db.submit_write(once).result()
        if found is not None:
            with self._holding:
                self._untold[found.attempt_id] = Untold()
        return found

    def _claim(self, tx: Tx) -> Assignment | None:
        p = self._ports
        runner = tx.get(Runner, self._runner.id) or self._runner
        if p.now() - (runner.contacted_at or 0) > NOTED_EVERY_MS:
            runner = replace(runner, contacted_at=p.now())
            tx.save(runner)
        return dispatch.claim(tx, runner, p.mint, p.now(), p.terms, p.vault, p.sign)

    def log(self, work: Assignment, offset: int, data: bytes) -> Future[Taken]:
        """One transaction; the store groups commits."""
        p = self._ports
        came_at = p.now()  # a slow disk may hold up the writer, and lines carry this time

        def append(tx: Tx) -> Taken:
            try:
                reply: LogReply = dispatch.log(
                    tx, work.attempt_id, work.token, offset, data, came_at, p.terms
                )
            except (Forbidden, NotFound):
                self._forget(work)
                return Taken(Verdict.ABORT, False, -1)
            if reply.verdict is Verdict.ABORT:
                self._forget(work)
                return Taken(Verdict.ABORT, reply.accepted, -1)
            return Taken(reply.verdict, reply.accepted, reply.size)

        return self._write(work, append)

    def step(self, work: Assignment, row: Step) -> None:
        """At the latest with the end."""
        with self._holding:
            untold = self._untold.get(work.attempt_id)
            if untold is None:  # no longer ours
                return
            untold.steps[row.position] = row
            if untold.is_young:
                return
        self._write(work, _nothing)

    def _write(self, work: Assignment, verb: Callable[[Tx], T]) -> Future[T]:
        """A transaction of this attempt, which takes along what the database may not have of its steps."""
        carried: dict[int, Step] = {}

        def both(tx: Tx) -> T:
            carried.clear()
            with suppress(Forbidden, NotFound):
                carried.update(self._tell_steps(tx, work))
            return verb(tx)

        def told(future: Future[T]) -> None:
            if carried and future.exception() is None:
                self._have_told(work, carried)

        future = self._db.submit_write(both)
        future.add_done_callback(told)
        return future

    def _tell_steps(self, tx: Tx, work: Assignment) -> dict[int, Step]:
        """The rows that were written."""
        untold = self._untold.get(work.attempt_id)
        if untold is None or not untold.steps:
            return {}
        # The attempt first: who waits for its run (PostgreSQL) must not write words that are old by then.
        if dispatch.leased(tx, work.attempt_id, work.token) is None:
            return {}
        with self._holding:
            rows = dict(untold.steps)
        dispatch.steps(
            tx, work.attempt_id, work.token, list(rows.values()), self._ports.now(), self._ports.terms
        )
        return rows

    def _have_told(self, work: Assignment, rows: dict[int, Step]) -> None:
        with self._holding:
            untold = self._untold.get(work.attempt_id)
            for position, row in rows.items():
                if untold is not None and untold.steps.get(position) is row:
                    del untold.steps[position]

    def _forget(self, work: Assignment) -> None:
        with self._holding:
            self._untold.pop(work.attempt_id, None)

    def usage(self, work: Assignment, samples: Sequence[Sample]) -> None:
        """In order with the end."""

        def keep(tx: Tx) -> None:
            with suppress(Forbidden, NotFound):
                dispatch.usage(tx, work.attempt_id, work.token, samples)

        self._db.submit_write(keep)

    def watch(self, work: Assignment) -> Verdict:
        """Rung by whatever ends or stops the attempt, or by time: then the lease is renewed."""
        verdict = self._watched(work)
        if verdict is Verdict.ABORT:
            self._forget(work)
        return verdict

    def _watched(self, work: Assignment) -> Verdict:
        p, topic = self._ports, f"verdict:{work.attempt_id}"
        if self._grown_up(work):
            self._write(work, _nothing)
        seen = p.bell.version(topic)
        verdict = self._standing(work)
        if verdict is not Verdict.GO:
            return verdict
        if p.bell.wait(topic, seen, work.lease_s / 3) != seen:
            return self._standing(work)
        try:
            return self._db.submit_write(
                lambda tx: dispatch.beat(tx, work.attempt_id, work.token, p.now(), p.terms).verdict
            ).result()
        except (Forbidden, NotFound):
            return Verdict.ABORT

    def _grown_up(self, work: Assignment) -> bool:
        """From now on steps are told as they come. Whether there are some that were kept back so far."""
        with self._holding:
            untold = self._untold.get(work.attempt_id)
            if untold is None or not untold.is_young:
                return False
            untold.is_young = False
            return bool(untold.steps)

    def _standing(self, work: Assignment) -> Verdict:
        attempt = self._db.submit_read(lambda tx: tx.get(Attempt, work.attempt_id)).result()
        if attempt is None or attempt.token_hash != dispatch.token_hash(work.token):
            return Verdict.ABORT
        match attempt.state:
            case State.RUNNING:
                return Verdict.GO
            case State.STOPPING:
                return Verdict.STOP
            case State.WAITING | State.HELD | State.QUEUED | State.DONE:
                return Verdict.ABORT

    def upload(self, work: Assignment, parcel: Parcel, file: Path) -> int:
        """Blob first, row second."""
        p = self._ports
        try:
            told = reports.take_in(parcel.type, file)
        except ValueError as error:
            raise Invalid(str(error)) from None
        blob = p.blobs.put_file(file)
        now = p.now()
        expires_at = dispatch.default_expiry(p.terms, now, parcel.expire_in_s)
        row = Artifact(
            0, work.attempt_id, work.run_id, work.project_id, parcel.name, parcel.type, parcel.format, parcel.filename,
            blob.size_bytes, blob.sha256, blob.key, now, None if parcel.expires and parcel.expire_in_s is None else expires_at, told.extra,
        )  # fmt: skip

        def note(tx: Tx) -> int:
            if parcel.replace:
                for old in tx.artifacts(
                    ArtifactFilter(attempt_id=work.attempt_id, name=parcel.name), Page(limit=100)
                ):
                    tx.remove(Artifact, old.id)
            return dispatch.artifact(tx, work.attempt_id, work.token, row, p.now(), told.outputs).id

        return self._db.submit_write(note).result()

    def artifacts(self, work: Assignment) -> tuple[InputArtifact, ...]:
        """A look at the rows."""
        return self._db.submit_read(lambda tx: dispatch.artifacts(tx, work.attempt_id, work.token)).result()

    def action(self, work: Assignment, repository: str, ref: str) -> tuple[str, BinaryIO]:
        """From the operator's address, or what is kept of it."""
        if self._ports.actions is None:
            raise Forbidden("remote actions cannot be fetched here")
        return self._ports.actions.tree(repository, ref)

    def cache_find(self, work: Assignment, sought: Sought) -> tuple[str, BinaryIO | None] | None:
        """A look, and the blob itself where blobs are files."""
        p = self._ports
        wanted = caches.Wanted(sought.key, sought.version, sought.restore_keys)

        def find(tx: Tx) -> Record | None:
            attempt = dispatch.leased(tx, work.attempt_id, work.token)
            return caches.find(tx, attempt, wanted, p.now()) if attempt is not None else None

        entry = self._db.submit_write(find).result()
        if entry is None:
            return None
        blob = str(entry.data["blob"])
        path = None if sought.look_only else p.blobs.local_path(blob)
        file = path.open("rb") if path else None if sought.look_only else p.blobs.seekable(blob)
        return str(entry.data["key"]), file

    def cache_keep(self, work: Assignment, key: str, version: str, file: Path) -> bool:
        """Reserved, then the blob, then the entry is whole."""
        p = self._ports

        def held(tx: Tx) -> Attempt:
            attempt = dispatch.leased(tx, work.attempt_id, work.token)
            if attempt is None:
                raise Conflict("the job has ended")
            return attempt

        try:
            entry = self._db.submit_write(
                lambda tx: caches.reserve(tx, held(tx), key, version, p.now())
            ).result()
        except Conflict:
            return False
        blob = p.blobs.put_file(file)
        self._db.submit_write(
            lambda tx: caches.complete(tx, entry, blob.key, blob.size_bytes, p.now())
        ).result()
        return True

    def door(self) -> Door | None:
        """As app told."""
        return self._ports.door

    def open(self, work: Assignment, given: InputArtifact) -> BinaryIO:
        """The blob itself where blobs are files."""
        path = self._ports.blobs.local_path(given.blob)
        try:
            return path.open("rb") if path else self._ports.blobs.seekable(given.blob)
        except FileNotFoundError:
            raise NotFound(f"The artifact {given.name!r} of {given.job_name!r} is gone.") from None

    def checkout(self, work: Assignment, sha: str, ref: str, depth: int, into: Path) -> str:
        """From the mirror, without a network."""
        source = self._ports.source
        full = ref
        if not sha:
            commit, short, is_tag = source.resolve(work.project_id, ref)
            sha = commit.sha
            full = f"refs/tags/{short}" if is_tag else f"refs/heads/{short}"
        source.checkout(work.project_id, sha, full, depth, into)
        return sha

    def finish(self, work: Assignment, end: Finish) -> None:
        """Durable when it returns."""
        self._finish(work, end, lambda _: True)

    def finish_if_whole(self, work: Assignment, end: Finish) -> bool:
        """Bytes on their way are before it in the writer's queue, mostly in the same commit."""
        return self._finish(work, end, lambda attempt: attempt.log_bytes == end.log_bytes)

    def _finish(self, work: Assignment, end: Finish, ready: Callable[[Attempt], bool]) -> bool:
        p = self._ports

        def end_it(tx: Tx) -> bool:
            with suppress(Conflict, Forbidden, NotFound):
                attempt = tx.get(Attempt, work.attempt_id)
                if attempt is not None and not ready(attempt):
                    return attempt.state is State.DONE
                dispatch.finish(tx, work.attempt_id, work.token, end, p.now())
            return True

        is_over = self._write(work, end_it).result()
        if is_over:
            self._forget(work)
        return is_over

    def give_back(self, work: Assignment) -> None:
        """At shutdown."""
        p = self._ports
        self._forget(work)
        with suppress(RunyardError):
            self._db.submit_write(
                lambda tx: dispatch.give_back(tx, work.attempt_id, work.token, p.now(), p.terms)
            ).result()

    def close(self) -> None:
        """Wakes the thread that waits; a database that is away is no longer waited for."""
        self._closed.set()
        self._db.close()
        self._ports.bell.ring(["queue"])


def _nothing(tx: Tx) -> None:
    """What is told with it is all."""
