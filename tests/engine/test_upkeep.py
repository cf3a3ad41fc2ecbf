"""What time brings: lost runners, deadlines, delays, a stuck queue, restarts, clock jumps, expiry, retention,
sealing."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any, BinaryIO

import pytest

from runyard.app.upkeep import Upkeep
from runyard.engine import control, dispatch, housekeeping, upkeep
from runyard.engine.ports import BlobRef, Page, RunFilter
from runyard.engine.terms import Terms
from runyard.engine.views import log_from, run_tree
from runyard.model.errors import Away, Conflict, Unavailable
from runyard.model.plan import Gate, Retry, When
from runyard.model.state import Outcome, Reason, State
from runyard.model.work import Artifact, Attempt, Run
from runyard.settings import Settings


def test_a_lost_runner_gives_the_attempt_back_at_most_twice(house: Any, job: Any) -> None:
    run = house.accept(job("a", retry=Retry(1)))
    for _ in range(3):
        assert house.claim() is not None
        assert house.pass_s(59) == 0
        assert house.pass_s(1) == 1
    assert [a.reason for a in house.tries(run, "a")] == [Reason.RUNNER_LOST] * 3
    assert house.run(run).outcome is Outcome.ERRORED
    assert house.claim() is None
    house.do(control.retry, house.latest(run)["a"].id, house.now)
    house.claim()
    house.pass_s(60)
    assert house.shown(run) == {"a": "queued"}, "a person's retry starts the count again"


def test_lost_runners_do_not_use_up_the_jobs_own_retries(house: Any, job: Any) -> None:
    run = house.accept(job("a", retry=Retry(1)))
    house.claim()
    house.pass_s(60)
    house.work(Outcome.FAILED)
    assert house.shown(run) == {"a": "queued"}
    house.work(Outcome.FAILED)
    assert house.shown(run) == {"a": "failed"}


def test_a_job_that_forbids_it_is_not_handed_out_again(house: Any, job: Any) -> None:
    run = house.accept(job("a", requeue_lost=False))
    house.claim()
    house.pass_s(60)
    assert (house.shown(run), house.latest(run)["a"].reason) == ({"a": "errored"}, Reason.RUNNER_LOST)


def test_a_late_finish_of_a_lost_attempt_is_refused(house: Any, job: Any) -> None:
    house.accept(job("a"))
    got = house.claim()
    house.pass_s(60)
    with pytest.raises(Conflict):
        house.finish(got)
    assert house.claim().attempt_number == 2


def test_a_lost_runner_of_a_canceled_job_ends_it_canceled(house: Any, job: Any) -> None:
    run = house.accept(job("a"))
    got = house.claim()
    house.do(control.cancel_attempt, got.attempt_id, house.now)
    house.pass_s(60)
    assert house.shown(run) == {"a": "canceled"}
    assert house.claim() is None


def beat(house: Any, got: Any, seconds: int) -> None:
    for _ in range(seconds // 30):
        house.pass_s(30)
        house.do(dispatch.beat, got.attempt_id, got.token, house.now, house.terms)


def test_a_job_that_outlives_its_limit_is_stopped_and_has_failed(house: Any, job: Any) -> None:
    run = house.accept(job("a", timeout_s=60))
    got = house.claim()
    beat(house, got, 90)
    assert house.shown(run) == {"a": "stopping"}
    ended = house.finish(got)
    assert (ended.outcome, ended.reason) == (Outcome.FAILED, Reason.TIMEOUT)


def test_a_runner_that_never_confirms_a_stop_loses_the_job_in_the_end(house: Any, job: Any) -> None:
    run = house.accept(job("a"))
    got = house.claim()
    house.do(control.cancel_attempt, got.attempt_id, house.now)
    beat(house, got, 360)
    assert house.shown(run) == {"a": "canceled"}
    with pytest.raises(Conflict):
        house.finish(got)


def test_a_delayed_job_starts_when_its_time_has_come(house: Any, job: Any) -> None:
    run = house.accept(job("a", gate=Gate(When.DELAYED, delay_s=100)))
    house.pass_s(99)
    assert house.shown(run) == {"a": "delayed"}
    house.pass_s(1)
    assert house.shown(run) == {"a": "queued"}


def test_what_nobody_takes_for_a_day_is_stuck(house: Any, job: Any) -> None:
    run = house.accept(job("a", tags=("moon",)), job("b", needs=("a",)))
    house.pass_s(86_401)
    assert house.shown(run) == {"a": "errored", "b": "skipped"}
    assert house.latest(run)["a"].reason is Reason.STUCK


def test_a_restart_gives_every_lease_a_fresh_period(house: Any, job: Any) -> None:
    run = house.accept(job("a", timeout_s=60))
    got = house.claim()
    house.now += 3_600_000
    assert house.do(upkeep.forgive, house.now, house.terms) == 1
    assert house.pass_s(30) == 0
    assert house.finish(got).outcome is Outcome.PASSED
    assert house.run(run).outcome is Outcome.PASSED


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_jump_costs_no_lease_and_no_delay(house: Any, job: Any, hours: int) -> None:
    run = house.accept(job("a"), job("d", gate=Gate(When.DELAYED, delay_s=300)))
    got = house.claim()
    before, house.now = house.now, house.now + hours * 3_600_000
    by = upkeep.jumped(before, house.now, 10)
    house.do(upkeep.forgive, house.now, house.terms, by)
    house.pass_s(0)
    assert house.shown(run) == {"a": "running", "d": "delayed"}
    ended = house.finish(got)
    assert ended.finished_at >= ended.started_at >= ended.created_at
    house.pass_s(301)
    assert house.shown(run)["d"] == "queued"
    assert upkeep.jumped(0, 4000, 0) == 0


class MemoryBlobs:
    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.changed: dict[str, int] = {}

    def put(self, chunks: Iterable[bytes], limit_bytes: int | None = None) -> BlobRef:
        data = b"".join(chunks)
        key = hashlib.sha256(data).hexdigest()
        self.held[key] = data
        return BlobRef(key, len(data), key)

    def seekable(self, key: str) -> BinaryIO:
        return BytesIO(self.held[key])

    def delete(self, key: str) -> None:
        del self.held[key]

    def walk(self) -> Iterator[tuple[str, int]]:
        yield from [(key, self.changed.get(key, 0)) for key in self.held]


class OneThread:
    """The Database port on the test's own thread."""

    def __init__(self, house: Any) -> None:
        self.house = house

    def submit_read(self, work: Any) -> Any:
        return Answer(self.house.look(work))

    def submit_write(self, work: Any) -> Any:
        return Answer(self.house.do(work))


class Answer:
    def __init__(self, value: Any) -> None:
        self.value = value

    def result(self) -> Any:
        return self.value


@pytest.mark.parametrize("lie", [False, True])
def test_a_sealed_log_reads_as_before(house: Any, job: Any, lie: bool) -> None:
    house.accept(job("a"))
    got = house.claim()
    for offset in range(0, 900, 90):
        data = bytes([offset // 10]) * 90
        house.do(dispatch.log, got.attempt_id, got.token, offset, data, house.now, house.terms)
    blobs, db = MemoryBlobs(), OneThread(house)

    def read(start: int) -> bytes:
        return house.look(lambda tx: log_from(tx, blobs, tx.get(Attempt, got.attempt_id), start, 500))

    assert housekeeping.seal_logs(db, blobs) == 0, "a running log is not sealed"
    whole = read(0) + read(500)
    house.finish(got, log_bytes=900, log_crc=zlib.crc32(whole) + lie)
    assert housekeeping.seal_logs(db, blobs) == 1
    assert housekeeping.seal_logs(db, blobs) == 0
    assert (len(whole), read(0) + read(500)) == (900, whole)
    assert house.look(lambda tx: tx.log_chunks(got.attempt_id, 0, 9)) == []
    assert ("checksum" in house.look(lambda tx: tx.get(Attempt, got.attempt_id)).message) == lie


class Days(OneThread):
    """A clock that only waiting moves, and a database that is away in between."""

    def __init__(self, house: Any, away: range, end: int) -> None:
        super().__init__(house)
        self.away, self.end, self.passed = away, end, 0
        self.shown: list[dict[str, str]] = []

    def wait(self, seconds: float) -> bool:
        self.shown.append(self.house.shown(self.house.look(lambda tx: tx.runs(RunFilter(), Page(1)))[0]))
        self.passed += int(seconds)
        self.house.now += int(seconds) * 1000
        return self.passed > self.end

    def monotonic(self) -> float:
        return float(self.passed)

    def submit_read(self, work: Any) -> Any:
        if self.passed in self.away:
            raise Away("It is away.")
        return super().submit_read(work)


@pytest.mark.parametrize("away, lost_at", [(range(0), 60), (range(30, 45), 60), (range(5, 70), 130)])
def test_leases_outlive_a_silence_of_the_database(
    house: Any, job: Any, monkeypatch: pytest.MonkeyPatch, away: range, lost_at: int
) -> None:
    """Nobody could beat; a runner that is really gone is found one lease after the database's return."""
    house.accept(job("a"))
    house.claim()
    days = Days(house, away, 140)
    monkeypatch.setattr("runyard.app.upkeep.time", days)
    rounds = Upkeep(days, MemoryBlobs(), lambda: house.now, house.terms, stopping=days)
    rounds._watch()
    assert [shown["a"] for shown in days.shown].index("queued") == lost_at


def test_a_round_removes_all_that_is_due(house: Any, job: Any) -> None:
    runs = [house.accept(job("a")) for _ in range(60)]
    for run in runs:
        house.do(control.cancel_run, run.id, house.now)
    kept = house.accept(job("a"))
    rounds = Upkeep(OneThread(house), MemoryBlobs(), lambda: house.now + 10_000, Terms(run_retention_s=1))
    rounds.expire()
    assert [run.id for run in house.look(lambda tx: tx.runs(RunFilter(), Page(100)))] == [kept.id]


def test_a_log_that_cannot_be_read_holds_up_no_other(house: Any, job: Any) -> None:
    house.accept(job("lost"), job("whole"))
    ids = []
    for _ in range(2):
        got = house.claim()
        house.do(dispatch.log, got.attempt_id, got.token, 0, b"said", house.now, house.terms)
        house.finish(got, log_bytes=4)
        ids.append(got.attempt_id)
    elsewhere = "UPDATE log_chunks SET data = x'' WHERE attempt_id = ?"
    house.do(lambda tx: tx._link.run(elsewhere, (ids[0],)))
    blobs, db = MemoryBlobs(), OneThread(house)

    assert housekeeping.seal_logs(db, blobs, limit=1) == 1
    assert house.look(lambda tx: tx.get(Attempt, ids[1])).log_blob in blobs.held
    with pytest.raises(Unavailable, match="another server"):
        housekeeping.seal_logs(db, blobs, limit=1)


def test_a_log_that_was_erased_while_it_was_sealed_stays_erased(house: Any, job: Any) -> None:
    house.accept(job("a"))
    got = house.claim()
    house.do(dispatch.log, got.attempt_id, got.token, 0, b"x", house.now, house.terms)
    house.finish(got)
    house.do(control.erase, got.attempt_id, house.now)
    assert house.do(upkeep.sealed, got.attempt_id, "blob", 1, 0) is False
    assert house.look(lambda tx: tx.get(Attempt, got.attempt_id)).log_blob == ""


def test_only_old_blobs_that_no_row_names_are_swept(house: Any, job: Any) -> None:
    house.accept(job("a"))
    got = house.claim()
    blobs = MemoryBlobs()
    blobs.held = {"named": b"1", "old": b"2", "young": b"3"}
    blobs.changed = {"young": house.now}
    row = Artifact(0, 0, 0, 0, "x", "archive", "zip", "a.zip", 1, "1" * 64, "named")
    house.do(dispatch.artifact, got.attempt_id, got.token, row, house.now)
    assert housekeeping.sweep_blobs(OneThread(house), blobs, house.now, house.terms) == 1
    assert set(blobs.held) == {"named", "young"}


def test_runs_older_than_the_retention_are_removed(house: Any, job: Any) -> None:
    old, still = house.accept(job("a")), house.accept(job("a"))
    house.work()
    terms = Terms(run_retention_s=100)
    assert house.do(upkeep.retire_runs, house.now + 99_000, terms) == 0
    assert house.do(upkeep.retire_runs, house.now + 101_000, Terms()) == 0
    assert house.do(upkeep.retire_runs, house.now + 101_000, terms) == 1
    assert house.look(lambda tx: tx.get(Run, old.id)) is None
    assert house.run(still).state is State.QUEUED


def test_terms_come_from_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_LEASE_S", "7")
    from runyard.model.trigger import ServerFacts

    terms = Terms.of(Settings(), ServerFacts("http://x"))
    assert (terms.lease_s, terms.server.url, terms.requeues) == (7, "http://x", 2)


def test_the_tree_of_a_run_shows_every_attempt(house: Any, job: Any) -> None:
    run = house.accept(job("a", retry=Retry(1)), job("b"))
    house.work(Outcome.FAILED)
    tree = house.look(lambda tx: run_tree(tx, run.id))
    assert [(j.job.key, [a.number for a in j.attempts]) for j in tree.jobs] == [("a", [1, 2]), ("b", [1])]
    assert tree.jobs[0].latest.state is State.QUEUED
