"""The in-process line while the database refuses: each verb, whole jobs, and when patience ends."""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from runyard.engine.dispatch import Finish, Verdict
from runyard.engine.ports import AttemptFilter, Tx
from runyard.http.auth import hash_token
from runyard.model.errors import Away, Conflict, Unavailable
from runyard.model.plan import Assignment, JobPlan, Network, StepKind, StepPlan
from runyard.model.state import Outcome, Reason, State
from runyard.model.usage import Sample
from runyard.model.work import Step
from runyard.runner import patience
from runyard.runner.link import Parcel, Sought
from runyard.runner.local import LocalLink, Ports, enroll
from runyard.runner.loop import RunnerLoop
from runyard.runner.outfit import outfit
from runyard.runner.patience import Patience
from runyard.runner.sandbox import Limits
from tests.runner.conftest import ALL, Yard, make_ports, seed, sh

REFUSALS = 3


@dataclass
class Fickle:
    """A database that answers Away: to the first `refusals` of the works it is asked, or as `refuses` says.
    `before`: they are not done; otherwise they are, and only the answer is lost."""

    inner: Any
    refusals: int = 0
    before: bool = True
    error: type[Unavailable] = Away
    refuses: Callable[[], bool] | None = None
    asked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def submit_read(self, work: Callable[[Tx], Any]) -> Future[Any]:
        return self._maybe(self.inner.submit_read, work)

    def submit_write(self, work: Callable[[Tx], Any]) -> Future[Any]:
        return self._maybe(self.inner.submit_write, work)

    def _maybe(self, submit: Callable[[Any], Future[Any]], work: Callable[[Tx], Any]) -> Future[Any]:
        with self.lock:
            self.asked += 1
            refused = self.refuses() if self.refuses is not None else self.refusals > 0
            self.refusals -= 1
        if not refused:
            return submit(work)
        if not self.before:
            submit(work).exception()
        said: Future[Any] = Future()
        said.set_exception(self.error("It is away."))
        return said

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.05)


@dataclass
class Line:
    """A link to a database that is fickle from now on, and an attempt that it holds."""

    yard: Yard
    link: LocalLink
    db: Fickle
    work: Assignment


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[Ports]:
    made = make_ports(tmp_path)
    yield made
    made.db.close()


@pytest.fixture
def line(ports: Ports) -> Iterator[Line]:
    project, user, sha = seed(ports)
    db = Fickle(ports.db)
    link = LocalLink(replace(ports, db=db), enroll(ports, "test", (), hash_token("x")))
    yard = Yard(ports, project, user, sha, link)
    yard.submit(JobPlan("job", "job", steps=(sh("true"),), cache_scopes=("main",)))
    work = link.claim()
    assert work is not None
    yield Line(yard, link, db, work)
    link.close()


def parcel(tmp_path: Path, name: str, data: bytes, type: str = "archive") -> tuple[Parcel, Path]:
    file = tmp_path / name
    file.write_bytes(data)
    return Parcel(name, type, "zip", name), file


DOTENV, JUNIT = (
    b"COLOR=blue\n",
    b'<testsuite name="s"><testcase name="a" classname="c" time="1"/></testsuite>',
)


def log(line: Line, tmp_path: Path) -> Any:
    taken = line.link.log(line.work, 0, b"hello").result(20)
    return taken.verdict, taken.accepted, taken.size, line.yard.log(line.work.attempt_id)


def step(line: Line, tmp_path: Path) -> Any:
    line.link._grown_up(line.work)
    row = Step(line.work.attempt_id, 0, "one", "one", started_at=1, state=State.RUNNING)
    line.link.step(line.work, row)
    line.link.step(line.work, replace(row, state=State.DONE, outcome=Outcome.PASSED, finished_at=2))
    line.link.finish(line.work, Finish(Outcome.PASSED))
    return [(s.key, s.state, s.outcome) for s in line.yard.steps(line.work.attempt_id)]


def usage(line: Line, tmp_path: Path) -> Any:
    line.link.usage(line.work, [Sample(5, 0.5, 10, 20)])
    until = time.monotonic() + 20
    while not (found := line.yard.ports.db.submit_read(lambda tx: tx.samples(line.work.attempt_id)).result()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return len(found)


def upload(line: Line, tmp_path: Path) -> Any:
    line.link.upload(line.work, *parcel(tmp_path, "a.zip", b"bytes"))
    (row,) = line.yard.artifacts(line.work.attempt_id)
    return row.name, line.yard.bytes_of(row).read()


def replaced(line: Line, tmp_path: Path) -> Any:
    for data in (b"old", b"new"):
        sent, file = parcel(tmp_path, "a.zip", data)
        line.link.upload(line.work, replace(sent, replace=True), file)
    return [line.yard.bytes_of(row).read() for row in line.yard.artifacts(line.work.attempt_id)]


def report(line: Line, tmp_path: Path) -> Any:
    line.link.upload(line.work, *parcel(tmp_path, "env", DOTENV, "dotenv"))
    line.link.upload(line.work, *parcel(tmp_path, "junit.xml", JUNIT, "junit"))
    rows = line.yard.artifacts(line.work.attempt_id)
    return sorted(row.type for row in rows), dict(line.yard.attempt(line.work.attempt_id).outputs)


def artifacts(line: Line, tmp_path: Path) -> Any:
    return line.link.artifacts(line.work)


def cache(line: Line, tmp_path: Path) -> Any:
    file = tmp_path / "cache"
    file.write_bytes(b"kept")
    kept = line.link.cache_keep(line.work, "deps", "v", file)
    found = line.link.cache_find(line.work, Sought("deps", "v"))
    assert found is not None and found[1] is not None
    with found[1] as data:
        return kept, found[0], data.read()


def watch(line: Line, tmp_path: Path) -> Any:
    before = line.yard.attempt(line.work.attempt_id).lease_until_at or 0
    hurried = replace(line.work, lease_s=0)
    return line.link.watch(hurried), (line.yard.attempt(line.work.attempt_id).lease_until_at or 0) >= before


def finish(line: Line, tmp_path: Path) -> Any:
    line.link.log(line.work, 0, b"bye").result(20)
    line.link.finish(
        line.work, Finish(Outcome.FAILED, Reason.SCRIPT, 3, log_bytes=3, log_crc=zlib.crc32(b"bye"))
    )
    ended = line.yard.attempt(line.work.attempt_id)
    return ended.outcome, ended.reason, ended.exit_code, ended.message


def finish_if_whole(line: Line, tmp_path: Path) -> Any:
    early = line.link.finish_if_whole(line.work, Finish(Outcome.PASSED, log_bytes=9))
    whole = line.link.finish_if_whole(line.work, Finish(Outcome.PASSED, log_bytes=0))
    return early, whole, line.yard.attempt(line.work.attempt_id).outcome


def give_back(line: Line, tmp_path: Path) -> Any:
    line.link.give_back(line.work)
    found = line.yard.ports.db.submit_read(
        lambda tx: tx.attempts(AttemptFilter(run_id=line.yard.runs[0]), ALL)
    ).result()
    return [(a.number, a.state, a.outcome, a.reason) for _, a in found]


def claim(line: Line, tmp_path: Path) -> Any:
    (attempt_id,) = line.yard.submit(JobPlan("next", "next", steps=(sh("true"),)))
    got = line.link.claim()
    assert got is not None
    line.link.finish(got, Finish(Outcome.PASSED))
    return got.attempt_id == attempt_id, line.yard.attempt(attempt_id).outcome


EXPECTED = {
    log: (Verdict.GO, True, 5, "hello"),
    step: [("one", State.DONE, Outcome.PASSED)],
    usage: 1,
    upload: ("a.zip", b"bytes"),
    replaced: [b"new"],
    report: (["dotenv", "junit"], {"COLOR": "blue"}),
    artifacts: (),
    cache: (True, "deps", b"kept"),
    watch: (Verdict.GO, True),
    finish: (Outcome.FAILED, Reason.SCRIPT, 3, ""),
    finish_if_whole: (False, True, Outcome.PASSED),
    give_back: [
        (1, State.DONE, Outcome.ERRORED, Reason.RUNNER_LOST),
        (2, State.QUEUED, None, Reason.NONE),
    ],
    claim: (True, Outcome.PASSED),
}


@pytest.mark.parametrize("before", [True, False], ids=["not done", "answer lost"])
@pytest.mark.parametrize("verb", EXPECTED, ids=lambda verb: verb.__name__)
def test_a_verb_waits_for_the_database(
    line: Line, tmp_path: Path, verb: Callable[[Line, Path], Any], before: bool
) -> None:
    line.db.refusals, line.db.before, line.db.asked = REFUSALS, before, 0
    assert verb(line, tmp_path) == EXPECTED[verb]
    until = time.monotonic() + 20
    while line.db.asked <= REFUSALS:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("error", [Unavailable, Conflict])
def test_a_refusal_that_is_no_absence_is_told_at_once(
    line: Line, tmp_path: Path, error: type[Unavailable]
) -> None:
    """A full disk is Unavailable."""
    line.db.refusals, line.db.error, line.db.asked = 1, error, 0
    with pytest.raises(error) as told:
        line.link.upload(line.work, *parcel(tmp_path, "a.zip", b"bytes"))
    assert (type(told.value), line.db.asked) == (error, 1)


def test_patience_ends(ports: Ports, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "runyard.runner")
    db = Fickle(ports.db, refuses=lambda: True)
    waiting = Patience(db, patience_s=0.3)
    began = time.monotonic()
    asked = [waiting.submit_write(lambda tx: 1), waiting.submit_read(lambda tx: 2)]
    for one in asked:
        with pytest.raises(Away):
            one.result(20)
    assert time.monotonic() - began < 10
    assert db.asked > 4
    db.refuses = None
    assert waiting.submit_read(lambda tx: 3).result(20) == 3
    assert [record.message for record in caplog.records if record.name == "runyard.runner"] == [
        "the database is away, jobs wait for it",
        "the database is back",
    ]
    waiting.close()


def test_who_waits_is_told_when_the_line_closes(line: Line, tmp_path: Path) -> None:
    line.db.refuses = lambda: True
    future = line.link.log(line.work, 0, b"x")
    while line.db.asked < 3:
        time.sleep(0.01)
    line.link.close()
    with pytest.raises(Away):
        future.result(20)
    with pytest.raises(Away):
        line.link.upload(line.work, *parcel(tmp_path, "a.zip", b"bytes"))


def test_claims_wait_and_take_an_attempt_once(line: Line) -> None:
    """The answers to all tries are lost, and there are more attempts than one to take."""
    for key in ("a", "b", "c"):
        line.yard.submit(JobPlan(key, key, steps=(sh("true"),)))
    line.db.refusals, line.db.before = 2, False
    got = [line.link.claim() for _ in range(3)]
    assert len({work.attempt_id for work in got if work}) == 3
    assert line.link.claim_now() is None


class Hands:
    """A runner over a fickle database."""

    def __init__(self, ports: Ports, folder: Path, slots: int = 2) -> None:
        project, user, sha = seed(ports)
        self.db = Fickle(ports.db)
        link = LocalLink(replace(ports, db=self.db), enroll(ports, "test", (), hash_token("x")))
        means = outfit(link, folder, Limits(), Network.NONE, allow_plain=True, grace_s=1.0)
        self.loop = RunnerLoop(means, slots)
        self.loop.start()
        self.yard = Yard(ports, project, user, sha, link, self.loop, means.sandbox.level)


@pytest.fixture
def hands(ports: Ports, tmp_path: Path) -> Iterator[Hands]:
    made = Hands(ports, tmp_path / "runner")
    yield made
    made.db.refuses, made.db.refusals = None, 0
    made.loop.stop(5)


TALK = (
    "for i in $(seq 1 200); do echo line $i; sleep 0.002; done; head -c 3000000 /dev/zero | tr '\\0' x; echo"
)


def test_jobs_end_as_their_scripts_say_while_the_database_flickers(hands: Hands) -> None:
    """Half of all works are refused, some after they were done."""
    chance = random.Random(7)

    def refuses() -> bool:
        hands.db.before = chance.random() < 0.5
        return chance.random() < 0.5

    hands.db.refuses = refuses
    keep = StepPlan("u", "u", StepKind.UPLOAD, params={"paths": ["out"], "name": "out"})
    good = [sh(f"{TALK}; echo made > out"), keep]
    bad = [sh("echo one"), sh("exit 7", key="seven")]
    ids = hands.yard.submit(
        *(JobPlan(f"good{i}", f"good{i}", network=Network.NONE, steps=tuple(good)) for i in range(4)),
        *(JobPlan(f"bad{i}", f"bad{i}", network=Network.NONE, steps=tuple(bad)) for i in range(2)),
    )
    for attempt_id in ids[:4]:
        ended, text = hands.yard.wait(attempt_id), hands.yard.log(attempt_id)
        assert (ended.outcome, ended.number, ended.message) == (Outcome.PASSED, 1, ""), text[-500:]
        assert [line for line in text.splitlines() if line.startswith("line ")] == [
            f"line {i}" for i in range(1, 201)
        ]
        assert text.count("x" * 3_000_000) == 1
        assert zlib.crc32(hands.yard.log_bytes(attempt_id)) == ended.log_crc
        assert [row.name for row in hands.yard.artifacts(attempt_id)] == ["out"]
        assert [s.outcome for s in hands.yard.steps(attempt_id)] == [Outcome.PASSED] * 2
    for attempt_id in ids[4:]:
        ended = hands.yard.wait(attempt_id)
        assert (ended.outcome, ended.reason, ended.exit_code) == (Outcome.FAILED, Reason.SCRIPT, 7)
        assert [s.outcome for s in hands.yard.steps(attempt_id)] == [Outcome.PASSED, Outcome.FAILED]


FOR_EVER = "while sleep 0.05; do echo tick; done"


def test_a_job_whose_line_stays_dead_goes_back(hands: Hands) -> None:
    (attempt_id,) = hands.yard.submit(JobPlan("j", "j", network=Network.NONE, steps=(sh(FOR_EVER),)))
    while "tick" not in hands.yard.log(attempt_id):
        time.sleep(0.02)
    hands.yard.link._db._patience_s = 0.5  # type: ignore[attr-defined]
    hands.db.refuses = lambda: True
    until = time.monotonic() + 30
    while not any(execution.abandoned for execution in hands.loop._running.values()):
        assert time.monotonic() < until
        time.sleep(0.02)
    hands.db.refuses = None
    ended = hands.yard.wait(attempt_id)
    assert (ended.outcome, ended.reason) == (Outcome.ERRORED, Reason.RUNNER_LOST)


def test_a_stop_while_the_database_is_away_is_quick_and_judges_nothing(hands: Hands) -> None:
    (attempt_id,) = hands.yard.submit(JobPlan("j", "j", network=Network.NONE, steps=(sh(FOR_EVER),)))
    while "tick" not in hands.yard.log(attempt_id):
        time.sleep(0.02)
    hands.db.refuses = lambda: True
    time.sleep(0.3)
    began = time.monotonic()
    hands.loop.stop(0.5)
    assert time.monotonic() - began < 8
    assert hands.yard.attempt(attempt_id).state is State.RUNNING


def test_a_database_that_another_process_holds_is_waited_for(
    ports: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than SQLite itself waits."""
    store: Any = ports.db
    store._store._writer.execute("PRAGMA busy_timeout = 100")
    hands = Hands(ports, tmp_path / "runner", slots=1)
    (attempt_id,) = hands.yard.submit(
        JobPlan("j", "j", network=Network.NONE, steps=(sh("echo begun; sleep 0.5; echo done; exit 3"),))
    )
    while "begun" not in hands.yard.log(attempt_id):
        time.sleep(0.02)
    other = sqlite3.connect(tmp_path / "runyard.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(1.5)
    assert hands.db.asked
    other.execute("ROLLBACK")
    other.close()
    ended = hands.yard.wait(attempt_id)
    assert (ended.outcome, ended.exit_code, ended.number) == (Outcome.FAILED, 3, 1)
    hands.loop.stop(5)


def test_an_error_of_ours_never_passes_a_job(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr("runyard.runner.job.Execution._outputs", broken)
    (attempt_id,) = hands.yard.submit(JobPlan("j", "j", network=Network.NONE, steps=(sh("true"),)))
    ended = hands.yard.wait(attempt_id)
    assert (ended.outcome, ended.reason) == (Outcome.ERRORED, Reason.RUNNER_SYSTEM)
    assert "error of its own" in ended.message
