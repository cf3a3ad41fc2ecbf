"""The world: the real engine on the real SQLite store, with runners that lie, stall and repeat, a clock that
jumps, and crashes.

Every public method is one event. After each, `checks.everything` must hold; `drain` must bring all work to an
end.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sim_checks import WatchTx, everything, fingerprint
from sim_events import PROFILES
from sim_plain import Twin
from sim_plans import GROUPS, Pick, make_plan

from runyard.engine import bridges, control, dispatch, trigger, upkeep
from runyard.engine.bridges import Refusal
from runyard.engine.dispatch import Finish, Verdict
from runyard.engine.groups import RESOURCE_GROUPS
from runyard.engine.lineage import is_child
from runyard.engine.ports import AttemptFilter, Page, RunFilter, Tx
from runyard.engine.terms import Terms
from runyard.model.errors import RunyardError
from runyard.model.plan import Assignment, JobPlan, Plan, Variable, WorkflowPlan
from runyard.model.state import Outcome, Reason, State
from runyard.model.trigger import Trigger
from runyard.model.work import Artifact, Attempt, Job, Project, Run, Runner, Step, User
from runyard.store.sqlite import SqliteStore

T = TypeVar("T")

TERMS = Terms(lease_s=60, requeues=2, stuck_after_s=3 * 86400, log_limit_bytes=64, jobs_per_run=50)
START = 1_700_000_000_000
SMALL = Plan((WorkflowPlan("w0", jobs=(JobPlan("j0", "j0"),)),))
SHAS = ["a" * 40, "b" * 40]


class Crash(BaseException):
    """The server died here."""


class PlainVault:
    def seal(self, text: str) -> str:
        return text

    def open(self, sealed: str) -> str:
        return sealed


@dataclass
class Claim:
    """What a runner believes it holds."""

    assignment: Assignment
    log: bytes = b""
    finished: Finish | None = None

    @property
    def id(self) -> int:
        return self.assignment.attempt_id

    @property
    def token(self) -> str:
        return self.assignment.token


@dataclass
class World:
    pick: Pick
    store: Any = field(default_factory=lambda: SqliteStore(":memory:"))
    now: int = START
    steps: int = 0
    claims: list[Claim] = field(default_factory=list)
    claimed: set[int] = field(default_factory=set)
    logs: dict[int, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    trail: list[str] = field(default_factory=list)
    followed: set[int] = field(default_factory=set)  # attempts of makers, made because a part was retried
    mode: str = ""  # of all concurrency groups
    twin: Twin | None = None

    def __post_init__(self) -> None:
        with self.store.begin() as tx:
            self._furnish(tx)
        if self.twin is not None:
            self.twin.do(self._furnish)

    def _furnish(self, tx: Tx) -> None:
        self.user = tx.add(User(0, "root"))
        modes = {RESOURCE_GROUPS: dict.fromkeys(GROUPS, self.mode)}
        self.project = tx.add(Project(0, "group/project", "project", extra=modes if self.mode else {}))
        self.runners = [
            tx.add(Runner(0, "one", stock=False, tags=("big",))),
            tx.add(Runner(0, "two", stock=False)),
            tx.add(Runner(0, "three", stock=False, project_id=self.project.id, tags=("big", "red"))),
        ]

    def close(self) -> None:
        self.store.close()
        if self.twin is not None:
            self.twin.close()

    # how an event meets the database
    def do(self, verb: Callable[[Tx], T]) -> T:
        """One committed transaction; before it, sometimes, one that dies at a random call and must leave no
        trace."""
        if self.pick(6) == 0:
            self._die_in(verb)
        try:
            with self.store.begin() as tx:
                return verb(WatchTx(tx))
        finally:
            if self.twin is not None:
                self.twin.do(verb)

    def _die_in(self, verb: Callable[[Tx], Any]) -> None:
        before = fingerprint(self.store)
        try:
            with self.store.begin() as tx:
                verb(WatchTx(tx, dies_after=1 + self.pick(25), death=Crash))
                raise Crash
        except (Crash, RunyardError):
            assert fingerprint(self.store) == before, "a transaction that died left a trace"

    def again(self, verb: Callable[[Tx], T]) -> T:
        """An event whose answer is sometimes lost, so that it is repeated: the second time nothing may
        change."""
        answer = self.do(verb)
        if self.pick(3) == 0:
            before = fingerprint(self.store)
            with suppress(RunyardError):
                self.do(verb)
            assert fingerprint(self.store) == before, "a repeated event changed something"
        return answer

    def read(self, look: Callable[[Tx], T]) -> T:
        with self.store.look() as tx:
            return look(tx)

    # triggers
    def submit(self) -> None:
        plan = make_plan(self.pick)
        key = f"k{self.pick(4)}" if self.pick(4) == 0 else ""
        if self.read(lambda tx: len(tx.runs(_ALL_RUNS, _PAGE))) > 6:
            return
        ask = Trigger(
            project=self.project,
            dialect="gitlab",
            source="api",
            ref="main",
            sha=SHAS[self.pick(2)],
            actor=self.user,
            now=self.now,
            idempotency_key=key,
        )
        verb = lambda tx: trigger.accept(tx, ask, plan, self.now, TERMS)  # noqa: E731
        run = self.again(verb) if key else self.do(verb)
        if key:
            assert self.keys.setdefault(key, run.id) == run.id, "an idempotency key named two runs"

    def extend(self) -> None:
        run = self._run()
        plan = make_plan(self.pick)
        if run is None or not plan.workflows[0].jobs:
            return
        jobs = [replace(job, key=f"x{job.key}", group="", needs=()) for job in plan.workflows[0].jobs[:3]]
        if is_child(run):  # as in `bridge`: a group of its own bridge would keep it waiting for ever
            jobs = [replace(job, concurrency=None, drawn=None) for job in jobs]
        if self.read(lambda tx: len(tx.graph(run.id))) < 20:
            self._may_refuse(lambda tx: trigger.extend(tx, run.id, "w0", jobs, self.now, TERMS))

    def bridge(self) -> None:
        """Starts one of the runs that bridges ask for; often twice, as two replicas would, or after a
        crash."""
        waiting = self.read(bridges.waiting)
        if not waiting:
            return
        attempt_id = waiting[self.pick(len(waiting))]
        order = self.read(lambda tx: bridges.order(tx, attempt_id, self.now, PlainVault(), TERMS))
        assert order is not None, "a bridge waits that nobody may start"
        if isinstance(order, Refusal) or self.pick(6) == 0:
            reason = order.reason if isinstance(order, Refusal) else Reason.DOWNSTREAM_REFUSED
            self.again(lambda tx: bridges.failed(tx, attempt_id, reason, "no", self.now))
            return
        plan = make_plan(self.pick) if len(self.read(lambda tx: tx.runs(_ALL_RUNS, _PAGE))) < 9 else SMALL
        # A child that waits for a group which its own bridge holds would wait for ever, in GitLab too; so
        # children have no groups here.
        flows = [
            replace(
                flow,
                concurrency=None,
                jobs=tuple(replace(job, concurrency=None, drawn=None) for job in flow.jobs),
            )
            for flow in plan.workflows
        ]
        plan = replace(plan, workflows=tuple(flows))
        ask = Trigger(order.project, "gitlab", order.source, order.ref, order.sha, order.actor, self.now)
        self.again(lambda tx: bridges.started(tx, attempt_id, ask, plan, self.now, TERMS))

    # runners
    def claim(self) -> None:
        runner = self.runners[self.pick(len(self.runners))]
        mint = lambda id: f"glcbt-{id}-{self.steps}"  # noqa: E731
        got = self.do(lambda tx: dispatch.claim(tx, runner, mint, self.now, TERMS, PlainVault()))
        if got is None:
            return
        assert got.attempt_id not in self.claimed, "an attempt was handed out twice"
        assert set(got.job.tags) <= set(runner.tags), "a runner got a job with tags it has not"
        self.claimed.add(got.attempt_id)
        self.logs[got.attempt_id] = b""
        if self.pick(8):  # else the answer was lost: nobody knows of this lease
            self.claims.append(Claim(got))

    def beat(self) -> None:
        claim = self._claim()
        if claim is None:
            return
        reply = self._runner_call(claim, lambda tx: dispatch.beat(tx, claim.id, claim.token, self.now, TERMS))
        self._obey(claim, reply)

    def foreign_token(self) -> None:
        claim = self._claim()
        if claim is None or claim.finished is not None:
            return
        before = fingerprint(self.store)
        token = "glcbt-0-thief"
        attempt = self.read(lambda tx: tx.get(Attempt, claim.id))
        for verb in (
            lambda tx: dispatch.beat(tx, claim.id, token, self.now, TERMS),
            lambda tx: dispatch.log(tx, claim.id, token, len(claim.log), b"evil", self.now, TERMS),
            lambda tx: dispatch.finish(tx, claim.id, token, Finish(Outcome.PASSED), self.now),
        ):
            try:
                self.do(verb)
                assert attempt is None or attempt.state is State.DONE, "a foreign token was accepted"
            except RunyardError:
                pass
        assert fingerprint(self.store) == before, "a foreign token changed something"

    def log(self) -> None:
        claim = self._claim()
        if claim is None:
            return
        data = bytes([65 + self.pick(26)]) * (1 + self.pick(20))
        offset = [len(claim.log)] * 4 + [max(0, len(claim.log) - self.pick(9)), len(claim.log) + 5, 0]
        at = offset[self.pick(len(offset))]
        if at < len(claim.log):  # a repeat carries the same bytes, and some new ones
            data = claim.log[at:] + data
        before = self.logs[claim.id]
        reply = self._runner_call(
            claim, lambda tx: dispatch.log(tx, claim.id, claim.token, at, data, self.now, TERMS)
        )
        if reply is None:
            return
        if reply.accepted:
            claim.log = claim.log[:at] + data
            self.logs[claim.id] = claim.log
            assert reply.size == len(claim.log), "the server counts other bytes than were sent"
        elif reply.attempt.reason is Reason.LOG_TOO_BIG or reply.verdict is Verdict.ABORT:
            if reply.attempt.log_bytes != len(before):
                kept = (before + data[len(before) - at :])[: TERMS.log_limit_bytes]
                note = b"\nThe log reached its limit of 64 bytes; the job was stopped.\n"
                self.logs[claim.id] = kept + note
            self._drop(claim)
            return
        else:
            assert at > reply.size == len(claim.log), "bytes without a gap were refused"
        self._obey(claim, reply)

    def step(self) -> None:
        claim = self._claim()
        if claim is None:
            return
        done = self.pick(2) == 0
        row = Step(
            claim.id,
            self.pick(3),
            "s",
            "step",
            State.DONE if done else State.RUNNING,
            Outcome.PASSED if done else None,
            started_at=self.now,
            finished_at=self.now - 5 if done else None,
        )
        self._runner_call(claim, lambda tx: dispatch.steps(tx, claim.id, claim.token, [row], self.now, TERMS))

    def artifact(self) -> None:
        claim = self._claim()
        if claim is None:
            return
        sha = "0123"[self.pick(2)] * 64
        row = Artifact(0, 0, 0, 0, "artifacts", "archive", "zip", "artifacts.zip", 3, sha, f"blob-{sha[0]}")
        self._runner_call(claim, lambda tx: dispatch.artifact(tx, claim.id, claim.token, row, self.now))

    def finish(self) -> None:
        claim = self._claim()
        if claim is None:
            return
        self._finish(claim, ENDS[self.pick(len(ENDS))])

    def _finish(self, claim: Claim, end: Finish) -> None:
        before = self.read(lambda tx: tx.get(Attempt, claim.id))
        history = self.read(lambda tx: _history(tx, before)) if before else []
        try:
            reply = self.again(lambda tx: dispatch.finish(tx, claim.id, claim.token, end, self.now))
        except RunyardError:
            assert before is None or before.state is State.DONE, "a runner could not end its own attempt"
            self._drop(claim)
            return
        assert before is not None
        if claim.finished is not None:
            assert reply.attempt == before, "a second finish changed the first"
            return
        claim.finished = end
        self._ended_rightly(before, history, end, reply.attempt)

    def _ended_rightly(self, before: Attempt, history: list[Attempt], end: Finish, after: Attempt) -> None:
        if before.state is State.STOPPING:
            wanted = Outcome.FAILED if before.reason is Reason.TIMEOUT else Outcome.CANCELED
            assert after.outcome is wanted, "a stopping attempt did not end as canceled"
            return
        assert (after.outcome, after.exit_code) == (end.outcome, end.exit_code), (
            "the first finish does not count"
        )
        plan = self.read(lambda tx: tx.graph(after.run_id))
        rule = next(job.plan.retry for job, _ in plan if job.id == after.job_id)
        listed = "always" in rule.when or end.reason.value in rule.when or end.exit_code in rule.exit_codes
        told = [a for a in history if a.number < after.number and a.outcome is not Outcome.SKIPPED]
        tries = len([a for a in told if a.reason is not Reason.RUNNER_LOST])
        bad = end.outcome in (Outcome.FAILED, Outcome.ERRORED)
        newer = [a for a in self.read(lambda tx: _history(tx, after)) if a.number > after.number]
        if bad and not newer and not after.tolerated:
            self._siblings_stopped(after, plan)
        if bad and listed and tries < rule.max:
            assert newer and newer[0].automatic, "the retry rule was not followed"
        else:
            assert not newer, "an attempt was retried beyond its rule"

    def _siblings_stopped(self, failed: Attempt, graph: list[tuple[Job, Attempt]]) -> None:
        job = next(job for job, _ in graph if job.id == failed.job_id)
        for other, attempt in graph:
            leg = other.workflow_id == job.workflow_id and other.plan.matrix_group == job.plan.matrix_group
            mine, theirs = job.plan.origin, other.plan.origin
            part = (
                mine and mine.fail_fast and theirs and theirs.parent == mine.parent and theirs.leg != mine.leg
            )
            part = part and other.workflow_id == job.workflow_id
            if other.plan.unfold is not None:
                continue  # it runs until what it has made, which is stopping, has ended
            if job.plan.fail_run or (job.plan.fail_fast and leg) or part:
                assert attempt.state in (State.DONE, State.STOPPING), "a failure did not stop its siblings"

    def give_back(self) -> None:
        claim = self._claim()
        if claim is not None:
            self._runner_call(
                claim, lambda tx: dispatch.give_back(tx, claim.id, claim.token, self.now, TERMS)
            )
            self._drop(claim)

    def vanish(self) -> None:
        claim = self._claim()
        if claim is not None:
            self._drop(claim)

    def lose(self) -> None:
        """A runner takes a job and is never heard of again; its lease runs out."""
        self.claim()
        self.claims.clear()
        self.now += 61_000
        self.sweep()

    # people
    def cancel(self) -> None:
        attempt = self._attempt()
        if attempt is None:
            return
        kind = self.pick(4)
        if kind == 0:
            self.again(lambda tx: control.cancel_run(tx, attempt.run_id, self.now, self.user.id))
        elif kind == 1:
            self.again(lambda tx: control.cancel_job(tx, attempt.job_id, self.now, self.user.id))
        elif kind == 2:
            self.again(lambda tx: control.cancel_attempt(tx, attempt.id, self.now))
        else:
            flow = self.read(lambda tx: tx.workflows(attempt.run_id))[0]
            self.again(lambda tx: control.cancel_workflow(tx, flow.id, self.now))

    def force_cancel(self) -> None:
        attempt = self._attempt(State.STOPPING)
        if attempt is not None:
            self.again(lambda tx: control.force_cancel(tx, attempt.id, self.now))

    def retry(self) -> None:
        attempt = self._attempt(State.DONE)
        if attempt is None or attempt.number > 6:
            return
        before = self.read(lambda tx: tx.attempts(_ANY, _PAGE))
        self._may_refuse(lambda tx: control.retry(tx, attempt.id, self.now, self.user.id))
        if next(job for job, a in before if a.id == attempt.id).plan.origin is not None:
            known = {a.id for _, a in before}
            self.followed |= {
                a.id
                for job, a in self.read(lambda tx: tx.attempts(_ANY, _PAGE))
                if a.id not in known and job.plan.unfold is not None and job.id != attempt.job_id
            }

    def retry_run(self) -> None:
        run = self._run()
        if (
            run is not None
            and self.read(lambda tx: max((a.number for _, a in tx.graph(run.id)), default=9)) < 6
        ):
            self.do(lambda tx: control.retry_run(tx, run.id, self.now, self.user.id))

    def retry_top(self) -> None:
        """As `retry`, of the last attempt of a job that none has made."""
        last = [(j, a) for j, a in self.read(lambda tx: tx.attempts(_ANY, _PAGE)) if a.latest]
        top = [a for j, a in last if j.plan.origin is None and a.state is State.DONE and a.number < 6]
        if top:
            attempt = top[self.pick(len(top))]
            self._may_refuse(lambda tx: control.retry(tx, attempt.id, self.now, self.user.id))

    def rerun(self) -> None:
        """A workflow that is over is done again from its beginning (`retry_jobs`)."""
        over = [(j, a) for j, a in self.read(lambda tx: tx.attempts(_ANY, _PAGE)) if a.latest]
        flows = sorted({job.workflow_id for job, _ in over})
        if not flows:
            return
        mine = flows[self.pick(len(flows))]
        chosen = [(j, a) for j, a in over if j.workflow_id == mine and a.outcome is not Outcome.SKIPPED]
        if not chosen or any(a.number > 5 for _, a in chosen):
            return
        ids, run_id = [job.id for job, _ in chosen], chosen[0][1].run_id
        self._may_refuse(lambda tx: control.retry_jobs(tx, run_id, ids, self.now, self.user.id))

    def play(self) -> None:
        attempt = self._attempt(State.HELD) or self._attempt()
        if attempt is not None:
            given = (Variable("A", "1"),)
            self._may_refuse(
                lambda tx: control.play(tx, attempt.id, self.now, self.user.id, given), repeat=True
            )

    def unschedule(self) -> None:
        attempt = self._attempt(State.HELD)
        if attempt is not None:
            self._may_refuse(lambda tx: control.unschedule(tx, attempt.id, self.now), repeat=True)

    def erase(self) -> None:
        attempt = self._attempt(State.DONE)
        if attempt is not None:
            self.again(lambda tx: control.erase(tx, attempt.id, self.now))
            self.logs[attempt.id] = b""

    def delete_run(self) -> None:
        run = self._run()
        if run is None or self.pick(3):
            return
        gone = {a.id for _, a in self.read(lambda tx: tx.attempts(_of(run.id), _PAGE))}
        self.again(lambda tx: control.delete_run(tx, run.id, self.now))
        self.claims = [c for c in self.claims if c.id not in gone]
        self.logs = {k: v for k, v in self.logs.items() if k not in gone}
        self.keys = {k: v for k, v in self.keys.items() if v != run.id}

    # time
    def pass_time(self) -> None:
        self.now += [1_000, 20_000, 61_000, 300_000, 700_000][self.pick(5)]
        self.sweep()

    def sweep(self) -> None:
        while self.do(lambda tx: upkeep.sweep(tx, self.now, TERMS, 10)) >= 10:
            pass

    def clock_jumps(self) -> None:
        by = 3_600_000 if self.pick(2) else -3_600_000
        leased = self.read(lambda tx: len(tx.attempts(_LEASED, _PAGE)))
        before = self.now
        self.now += by
        seen = upkeep.jumped(before, self.now, 0)
        assert seen == by
        self.do(lambda tx: upkeep.forgive(tx, self.now, TERMS, seen))
        self.sweep()
        still = self.read(lambda tx: len(tx.attempts(_LEASED, _PAGE)))
        assert still == leased, "a jump of the clock cost a runner its lease"

    def seal(self) -> None:
        for attempt in self.read(lambda tx: upkeep.to_seal(tx)):
            data = b"".join(d for _, d in self.read(lambda tx, a=attempt: tx.log_chunks(a.id, 0, 1 << 20)))
            key = f"log-{attempt.id}"
            self.blobs[key] = data
            self.again(lambda tx, a=attempt, k=key, d=data: upkeep.sealed(tx, a.id, k, len(d), zlib.crc32(d)))

    # the end
    def drain(self) -> None:
        """With honest runners, patient people and time, everything ends."""
        self.claims.clear()
        for _ in range(400):
            self.now += 61_000
            self.sweep()
            for attempt in self._attempts_in(State.HELD):
                if attempt.hold == "manual":
                    self._may_refuse(lambda tx, a=attempt: control.play(tx, a.id, self.now))
            while self.read(bridges.waiting):
                self.bridge()
            for runner in self.runners:
                while got := self.do(
                    lambda tx, r=runner: dispatch.claim(tx, r, _last_token, self.now, TERMS, PlainVault())
                ):
                    self.do(lambda tx, g=got: dispatch.finish(tx, g.attempt_id, g.token, ENDS[0], self.now))
                    self.logs[got.attempt_id] = b""
            open_runs = [
                r for r in self.read(lambda tx: tx.runs(_ALL_RUNS, _PAGE)) if r.state is not State.DONE
            ]
            waits = [r for r in open_runs if not self.read(lambda tx, r=r: _awaits(tx, r))]
            for run in open_runs:
                if run not in waits:
                    self.do(lambda tx, r=run: control.conclude(tx, r.id, self.now))
            if not open_runs:
                return
        raise AssertionError("work does not end although there are runners and time")

    # choosing
    def _claim(self) -> Claim | None:
        return self.claims[self.pick(len(self.claims))] if self.claims else None

    def _drop(self, claim: Claim) -> None:
        if claim in self.claims:
            self.claims.remove(claim)

    def _run(self) -> Run | None:
        runs = self.read(lambda tx: tx.runs(_ALL_RUNS, _PAGE))
        return runs[self.pick(len(runs))] if runs else None

    def _attempts_in(self, *states: State) -> list[Attempt]:
        found = [a for _, a in self.read(lambda tx: tx.attempts(_ANY, _PAGE))]
        return [a for a in found if not states or a.state in states]

    def _attempt(self, *states: State) -> Attempt | None:
        found = self._attempts_in(*states)
        return found[self.pick(len(found))] if found else None

    def _may_refuse(self, verb: Callable[[Tx], Any], *, repeat: bool = False) -> None:
        before = fingerprint(self.store)
        try:
            self.again(verb) if repeat else self.do(verb)
        except RunyardError:
            assert fingerprint(self.store) == before, "a refused request changed something"

    def _runner_call(self, claim: Claim, verb: Callable[[Tx], T]) -> T | None:
        attempt = self.read(lambda tx: tx.get(Attempt, claim.id))
        try:
            return self.again(verb)
        except RunyardError as error:
            open_ = attempt is not None and attempt.state is not State.DONE
            assert not open_ or "same type" in str(error), f"a runner was refused its own attempt: {error}"
            return None

    def _obey(self, claim: Claim, reply: Any) -> None:
        if reply is None or reply.verdict is Verdict.ABORT:
            self._drop(claim)
            return
        stopping = reply.attempt.state is State.STOPPING
        assert (reply.verdict is Verdict.STOP) == stopping, "the runner was not told to stop"

    def event(self, name: str) -> None:
        """One event by name, then every check."""
        self.trail.append(name)
        self.steps += 1
        getattr(self, name)()
        everything(self.store, self.logs, self.blobs, self.now, self.followed)
        assert self.twin is None or fingerprint(self.twin.store) == fingerprint(self.store), (
            "settle by what changed and settle by everything disagree"
        )


def _last_token(attempt_id: int) -> str:
    return f"glcbt-{attempt_id}-end"


def _history(tx: Tx, attempt: Attempt) -> list[Attempt]:
    return [a for _, a in tx.attempts(replace(_ANY, job_id=attempt.job_id), _PAGE)]


def _awaits(tx: Tx, run: Run) -> bool:
    return all(a.state is State.DONE for _, a in tx.graph(run.id))


_PAGE = Page(limit=5000, descending=False)
_ALL_RUNS = RunFilter()
_ANY = AttemptFilter()
_LEASED = AttemptFilter(wanted=((State.RUNNING, None), (State.STOPPING, None)))


def _of(run_id: int) -> AttemptFilter:
    return AttemptFilter(run_id=run_id)


ENDS = [
    Finish(Outcome.PASSED, outputs={"o": "1"}),
    Finish(Outcome.PASSED),
    Finish(Outcome.PASSED),
    Finish(Outcome.FAILED, Reason.SCRIPT, 1),
    Finish(Outcome.FAILED, Reason.SCRIPT, 3),
    Finish(Outcome.FAILED, Reason.SCRIPT, 7),
    Finish(Outcome.ERRORED, Reason.RUNNER_SYSTEM),
]


def history(seed: int, steps: int, store: Any = None, mode: str = "", *, twin: bool = True) -> None:
    """One random history with its drain; the note in a failure replays it. On SQLite it has a twin, if
    wanted."""
    pick = random.Random(seed).randrange
    store = store or SqliteStore(":memory:")
    world = World(pick, store, mode=mode, twin=Twin() if twin and isinstance(store, SqliteStore) else None)
    events = PROFILES[seed % len(PROFILES)]
    try:
        for _ in range(steps):
            world.event(events[world.pick(len(events))])
        world.drain()
        everything(world.store, world.logs, world.blobs, world.now, world.followed)
    except BaseException as error:
        error.add_note(
            f"history({seed}, {steps}) after {world.steps} events, the last of them {world.trail[-12:]}"
        )
        raise
    finally:
        world.close()
