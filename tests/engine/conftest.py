"""A small house: one project, one runner, the real engine on SQLite in memory, and a clock that the test
moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from runyard.engine import dispatch, trigger, upkeep
from runyard.engine.dispatch import Finish
from runyard.engine.ports import Tx
from runyard.engine.terms import Terms
from runyard.engine.views import run_tree
from runyard.model.plan import Assignment, JobPlan, Need, Plan, WorkflowPlan
from runyard.model.state import Outcome, Reason, State
from runyard.model.trigger import ServerFacts, Trigger
from runyard.model.work import Attempt, Job, Project, Run, Runner, User
from runyard.store.sqlite import SqliteStore

T = TypeVar("T")


class PlainVault:
    """Seals by turning the text round, so that an unopened secret is seen."""

    def seal(self, text: str) -> str:
        return text[::-1]

    def open(self, sealed: str) -> str:
        return sealed[::-1]


@dataclass
class House:
    store: SqliteStore
    now: int = 1_700_000_000_000
    terms: Terms = field(
        default_factory=lambda: Terms(server=ServerFacts("http://yard"), log_limit_bytes=1000)
    )
    vault: PlainVault = field(default_factory=PlainVault)

    def __post_init__(self) -> None:
        with self.store.begin() as tx:
            self.user = tx.add(User(0, "root"))
            self.project = tx.add(Project(0, "group/app", "app"))
            self.runner = tx.add(Runner(0, "r", "local", tags=("big",), stock=False, info={"version": "1"}))

    def do(self, verb: Callable[..., T], *args: Any, **more: Any) -> T:
        with self.store.begin() as tx:
            return verb(tx, *args, **more)

    def trigger(self, **more: Any) -> Trigger:
        given = {"dialect": "gitlab", "source": "api", "ref": "main", "sha": "a" * 40, "actor": self.user}
        return Trigger(project=self.project, now=self.now, **{**given, **more})

    def accept(self, *jobs: JobPlan, plan: Plan | None = None, **more: Any) -> Run:
        plan = plan or Plan((WorkflowPlan("w", jobs=jobs),))
        return self.do(trigger.accept, self.trigger(**more), plan, self.now, self.terms)

    def claim(self, runner: Runner | None = None) -> Assignment | None:
        mint = lambda id: f"glcbt-{id}-secret"  # noqa: E731
        return self.do(dispatch.claim, runner or self.runner, mint, self.now, self.terms, self.vault)

    def finish(self, got: Assignment, outcome: Outcome = Outcome.PASSED, **more: Any) -> Attempt:
        if outcome is Outcome.FAILED:
            more = {"reason": Reason.SCRIPT, "exit_code": 1, **more}
        return self.do(dispatch.finish, got.attempt_id, got.token, Finish(outcome, **more), self.now).attempt

    def work(self, outcome: Outcome = Outcome.PASSED, **more: Any) -> str:
        """Claims one job and ends it; says which."""
        got = self.claim()
        assert got is not None, "nothing is queued"
        self.finish(got, outcome, **more)
        return got.job.key

    def pass_s(self, seconds: int) -> int:
        self.now += seconds * 1000
        return self.do(upkeep.sweep, self.now, self.terms)

    def look(self, read: Callable[[Tx], T]) -> T:
        with self.store.look() as tx:
            return read(tx)

    def run(self, run: Run) -> Run:
        found = self.look(lambda tx: tx.get(Run, run.id))
        assert found is not None
        return found

    def latest(self, run: Run) -> dict[str, Attempt]:
        return {job.key: attempt for job, attempt in self.look(lambda tx: tx.graph(run.id))}

    def jobs(self, run: Run) -> dict[str, Job]:
        return {job.key: job for job, _ in self.look(lambda tx: tx.graph(run.id))}

    def shown(self, run: Run) -> dict[str, str]:
        """Outcome, hold or state of every job."""
        return {k: str(a.outcome or a.hold or a.state) for k, a in self.latest(run).items()}

    def tries(self, run: Run, key: str) -> list[Attempt]:
        tree = self.look(lambda tx: run_tree(tx, run.id))
        return next(list(j.attempts) for j in tree.jobs if j.job.key == key)

    def queued(self, run: Run) -> list[str]:
        return [k for k, a in self.latest(run).items() if a.state is State.QUEUED]


@pytest.fixture
def house() -> Iterator[House]:
    store = SqliteStore(":memory:")
    yield House(store)
    store.close()


@pytest.fixture
def job() -> Callable[..., JobPlan]:
    """A JobPlan; `needs` may be names."""

    def make(key: str, *, needs: tuple[Any, ...] = (), **more: Any) -> JobPlan:
        named = tuple(n if isinstance(n, Need) else Need(n) for n in needs)
        return JobPlan(key=key, name=more.pop("name", key), needs=named, **more)

    return make
