"""Cost does not grow with history: the plans SQLite makes for the named queries, and a claim from a queue of
20,000."""

from __future__ import annotations

import time
from typing import Any

import pytest

from runyard.engine.ports import ArtifactFilter, AttemptFilter, Page, RunFilter
from runyard.model.state import Outcome, State
from runyard.model.work import Attempt, Deployment, Environment, Member, Run, Runner, SecretVariable, Token
from runyard.store.link import JobCache
from runyard.store.sqlite import SqliteLink, SqliteStore
from runyard.store.transaction import StoreTx

PASSED = ((State.DONE, Outcome.PASSED),)
OPEN = ((State.RUNNING, None), (State.STOPPING, None))
MANY = ((State.DONE, None), (State.RUNNING, None))
LISTS = {
    "runs": lambda tx: tx.runs(RunFilter(), Page()),
    "runs of a project": lambda tx: tx.runs(RunFilter(project_id=1), Page()),
    "runs of a project and state": lambda tx: tx.runs(RunFilter(project_id=1, wanted=PASSED), Page()),
    "runs of a project and states": lambda tx: tx.runs(RunFilter(project_id=1, wanted=MANY), Page()),
    "runs of states": lambda tx: tx.runs(RunFilter(wanted=MANY), Page()),
    "runs of a dialect": lambda tx: tx.runs(RunFilter(dialect="depot"), Page()),
    "runs of a ref": lambda tx: tx.runs(RunFilter(project_id=1, ref="main"), Page(after_id=50)),
    "runs of a sha": lambda tx: tx.runs(RunFilter(project_id=1, sha_prefix="a" * 40), Page()),
    "count": lambda tx: tx.count_runs(RunFilter(project_id=1, wanted=MANY)),
    "run by key": lambda tx: tx.run_by_idempotency(1, "k"),
    "graph": lambda tx: tx.graph(1),
    "workflows": lambda tx: tx.workflows(1),
    "steps": lambda tx: tx.steps(1),
    "attempts of a project": lambda tx: tx.attempts(AttemptFilter(project_id=1), Page()),
    "attempts of a project and states": lambda tx: tx.attempts(
        AttemptFilter(project_id=1, wanted=MANY), Page()
    ),
    "open attempts": lambda tx: tx.attempts(AttemptFilter(wanted=OPEN), Page(descending=False)),
    "attempts of a run": lambda tx: tx.attempts(AttemptFilter(run_id=1, project_id=1, wanted=MANY), Page()),
    "listed of a project": lambda tx: tx.listed(AttemptFilter(project_id=1), Page(after_id=50)),
    "listed of a run": lambda tx: tx.listed(AttemptFilter(run_id=1, latest_only=True), Page()),
    "briefs": lambda tx: tx.briefs(1),
    "cards of a project": lambda tx: tx.cards(AttemptFilter(project_id=1), Page(after_id=50)),
    "undrawn": lambda tx: tx.undrawn(10),
    "listed artifacts": lambda tx: tx.listed_artifacts([1, 2, 3]),
    "attempts of a job": lambda tx: tx.attempts(AttemptFilter(job_id=1), Page()),
    "attempts of a runner": lambda tx: tx.attempts(AttemptFilter(runner_id=1), Page()),
    "due": lambda tx: tx.due(1, 10),
    "next due": lambda tx: tx.next_due_at(),
    "stuck": lambda tx: tx.queued_before(1, 10),
    "group": lambda tx: tx.in_group(1, "g"),
    "heads of a group": lambda tx: tx.group_heads(1, "g"),
    "group with who is coming": lambda tx: tx.in_group(1, "g", upcoming=True),
    "unsealed": lambda tx: tx.unsealed(10),
    "claim": lambda tx: tx.next_queued(Runner(0, "", stock=False)),
    "claim for a group": lambda tx: tx.next_queued(Runner(0, "", group_id=1)),
    "claim for a project": lambda tx: tx.next_queued(Runner(0, "", project_id=1)),
    "artifacts of a run": lambda tx: tx.artifacts(ArtifactFilter(run_id=1), Page()),
    "artifacts of an attempt": lambda tx: tx.artifacts(ArtifactFilter(attempt_id=1), Page()),
    "expired artifacts": lambda tx: tx.artifacts(ArtifactFilter(expired_before_at=1), Page()),
    "newest archive": lambda tx: tx.newest_archive(1, "main", "build"),
    "blobs in use": lambda tx: tx.blobs_in_use(["a", "b"]),
    "records": lambda tx: tx.records("k", 1, "a", Page()),
    "project by path": lambda tx: tx.project_by_path("a/b"),
    "user by name": lambda tx: tx.user_by_name("a"),
    "token": lambda tx: tx.token_by_hash("a"),
    "tokens of a user": lambda tx: tx.tokens_of(1),
    "log": lambda tx: tx.log_chunks(1, 5, 10),
    "times of a log": lambda tx: tx.log_times(1, 5, 10),
    "samples": lambda tx: tx.samples(1),
    "memberships": lambda tx: tx.memberships(1, 5),
    "group by path": lambda tx: tx.group_by_path("a/b"),
    "members of a project": lambda tx: tx.find(Member, Page(), project_id=1),
    "members of a group": lambda tx: tx.find(Member, Page(), group_id=1),
    "environment by name": lambda tx: tx.find(Environment, Page(), project_id=1, name="a"),
    "environments to stop": lambda tx: tx.auto_stops(1, 10),
    "deployments of a project": lambda tx: tx.find(Deployment, Page(), project_id=1),
    "deployments of an environment": lambda tx: tx.find(
        Deployment, Page(), environment_id=1, status="success"
    ),
    "deployment of an attempt": lambda tx: tx.find(Deployment, Page(), attempt_id=1),
    "variables of a group": lambda tx: tx.find(SecretVariable, Page(), project_id=None, group_id=1),
    "tokens of a project": lambda tx: tx.find(Token, Page(), project_id=1),
}
# Lists without a narrowing condition walk the primary key, or an index that holds nothing else, backwards and
# stop at their limit.
WALKS = {"runs", "undrawn"}


class Recorder(SqliteLink):
    """Notes every statement with its values."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection, None)
        self.seen: list[tuple[str, Any]] = []

    def rows(self, sql: str, values: Any = ()) -> Any:
        self.seen.append((sql, tuple(values)))
        return super().rows(sql, values)


@pytest.mark.parametrize("name", LISTS)
def test_no_named_query_reads_a_whole_table(name: str) -> None:
    store = SqliteStore()
    with store.turn() as connection:
        link = Recorder(connection)
        LISTS[name](StoreTx(link, JobCache()))
        assert link.seen
        for sql, values in link.seen:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
            assert plan
            scans = [line for line in plan if line.startswith("SCAN") and line.split()[1] in TABLES]
            assert name in WALKS or not scans, (sql, plan)
            assert name != "undrawn" or scans == ["SCAN attempts USING INDEX attempts_undrawn"]
            assert name not in {"runs of a project", "graph"} or not any(
                "TEMP B-TREE" in line for line in plan
            ), plan
    store.close()


TABLES = (
    "runs",
    "attempts",
    "jobs",
    "a",
    "j",
    "steps",
    "artifacts",
    "log_chunks",
    "c",
    "q",
    "queue",
    "records",
    "users",
)


def test_a_claim_costs_the_same_however_long_the_queue_is(made: Any) -> None:
    store = SqliteStore()
    runner = Runner(0, "", stock=False, tags=("rare",), run_untagged=False)

    def seconds() -> float:
        with store.look() as tx:
            tx.next_queued(runner)
            began = time.perf_counter()
            for _ in range(50):
                assert tx.next_queued(runner) is not None
            return time.perf_counter() - began

    with store.begin() as tx:
        run, pairs = made.add_graph(
            tx, *[made.plan(f"f{i}") for i in range(100)], made.plan("rare", tags=("rare",))
        )
        for job, attempt in pairs:
            tx.enqueue(attempt, job)
    few = min(seconds() for _ in range(5))
    with store.begin() as tx:
        job = pairs[0][0]
        for i in range(200):
            done = [
                Attempt(0, job.id, run.id, run.project_id, 2 + i * 100 + n, State.DONE, Outcome.PASSED)
                for n in range(100)
            ]
            for attempt in tx.add_all(done):
                tx.enqueue(attempt, job)
    many = min(seconds() for _ in range(5))
    assert many < few * 4
    store.close()


def test_lists_are_flat_when_history_grows(made: Any) -> None:
    store = SqliteStore()

    def seconds() -> float:
        with store.look() as tx:
            began = time.perf_counter()
            for _ in range(20):
                tx.runs(RunFilter(project_id=1), Page())
                tx.runs(
                    RunFilter(project_id=1, wanted=((State.RUNNING, None), (State.DONE, Outcome.CANCELED))),
                    Page(),
                )
                tx.runs(RunFilter(wanted=((State.DONE, None),), updated_before_at=0), Page(descending=False))
            return time.perf_counter() - began

    with store.begin() as tx:
        project = made.add_project(tx)
        tx.add_all([run(project.id, i) for i in range(1000)])
    few = min(seconds() for _ in range(5))
    with store.begin() as tx:
        tx.add_all([run(project.id, i) for i in range(1000, 30_000)])
    many = min(seconds() for _ in range(5))
    assert many < few * 4
    store.close()


def run(project_id: int, number: int) -> Run:
    outcome = Outcome.CANCELED if number < 100 else Outcome.PASSED
    return Run(0, project_id, number, "gitlab", "api", "main", "a" * 40, state=State.DONE, outcome=outcome)
