"""What every store promises, on SQLite in memory, SQLite in a file, and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from runyard.engine.ports import ArtifactFilter, AttemptFilter, Page, RunFilter
from runyard.model.errors import Conflict, Invalid, NotFound, Unavailable
from runyard.model.listing import outline_of
from runyard.model.plan import Gate, Image, JobPlan, Need, Network, Retry, StepKind, StepPlan, Variable, When
from runyard.model.state import Hold, Outcome, Reason, State
from runyard.model.work import (
    Artifact,
    Attempt,
    Connection,
    Deployment,
    Environment,
    Group,
    Job,
    Member,
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

EVERYTHING = Page(limit=1000, descending=False)


def full_plan() -> JobPlan:
    return JobPlan(
        "build: [a]",
        "build",
        steps=(
            StepPlan("1", "one", argv=("sh",), env={"A": "b"}, timeout_s=2.5, continue_on_error="${{ x }}"),
            StepPlan(
                "2",
                "two",
                kind=StepKind.UPLOAD,
                params={"paths": ["a", "b"], "untracked": True},
                timeout_s=None,
            ),
        ),
        needs=(Need("x", optional=True),),
        gate=Gate(when=When.DELAYED, delay_s=5),
        variables=(Variable("K", "v\u00e9\u0000", masked=True),),
        context={"matrix": {"os": "linux", "n": 1}, "deep": [1, [2.5, None]]},
        outputs={"o": "${{ 1 }}"},
        image=Image("alpine", entrypoint=("",), options={"x": 1}),
        services=(Image("postgres", alias="db"),),
        retry=Retry(2, ("script",), (3,)),
        network=Network.NONE,
        allow_failure_exit_codes=(1, 2),
        exit_words={1: "differences found"},
        extra={"gitlab": {"a": [True]}},
    )


def test_every_kind_of_row_comes_back_as_it_was_added(store: Any, made: Any) -> None:
    with store.begin() as tx:
        user = tx.add(User(0, "root", "R", "r@x", True, 5, {"k": [1, {"a": None}]}))
        project = tx.add(Project(0, "g/n", "n", "trunk", "public", "/x", 3, 7, {"gitlab": {}}))
        run = tx.add(
            Run(0, project.id, 1, "depot", "push", "main", made.SHA, "b" * 40, True, "n", user.id, State.DONE,
                Outcome.FAILED, None, True, "e", (Variable("A", "b", raw=True),), "key", 1, 2, 3, 4, {"x": 1})
        )  # fmt: skip
        workflow = tx.add(
            Workflow(0, run.id, "k", "n", "p", State.HELD, None, Hold.MANUAL, True, "e", 1, 2, 3, {"x": 1})
        )
        job = tx.add(Job(0, run.id, workflow.id, project.id, "key", "name", full_plan(), 4, 9))
        attempt = tx.add(
            Attempt(0, job.id, run.id, project.id, 1, State.DONE, Outcome.ERRORED, Reason.RUNNER_LOST, None, "m", True,
                    True, True, 1, 2, 3, 4, 5, 6, None, 8, user.id, "h", 137, 1 << 40, 0xFFFFFFFF, "blob", 98.5,
                    {"o": "v"}, (Variable("A", "b"),), 11, {"x": [1]})
        )  # fmt: skip
        rows = [
            user,
            project,
            run,
            workflow,
            job,
            attempt,
            tx.add(Token(0, "personal", "hash", user.id, project.id, "n", ("api", "read"), 1, 2, 3)),
            tx.add(
                SecretVariable(
                    0, "K", "sealed", project.id, True, True, True, True, "prod/*", "secret", {"a": 1}
                )
            ),
            tx.add(
                Artifact(
                    0,
                    attempt.id,
                    run.id,
                    project.id,
                    "n",
                    "archive",
                    "zip",
                    "a.zip",
                    1 << 40,
                    "s",
                    "b",
                    1,
                    2,
                    {"a": 1},
                )
            ),
            tx.add(
                Runner(
                    0,
                    "th",
                    "d",
                    ("a", "b"),
                    False,
                    True,
                    True,
                    project.id,
                    60,
                    False,
                    5,
                    6,
                    {"v": "1"},
                    {"e": 2},
                )
            ),
            tx.add(Connection(0, "c", "duckdb", {"file": "x"}, "sealed", 1, 2, {"a": 1})),
            tx.add(Record(0, "looker.suite", project.id, "k", {"a": [1]}, 1, 2)),
        ]
        step = Step(attempt.id, 2, "k", "n", State.DONE, Outcome.FAILED, 3, 4, 5, 6, 7, {"summary": "s"})
        tx.add(step)
    with store.look() as tx:
        for row in rows:
            assert row.id > 0
            assert tx.get(type(row), row.id) == row
        assert tx.steps(attempt.id) == [step]
        assert tx.get(User, 999) is None


def test_a_plan_read_by_another_store_object_is_the_same(store: Any, made: Any) -> None:
    with store.begin() as tx:
        _, [(job, _)] = made.add_graph(tx, full_plan())
    store.jobs.clear()
    with store.look() as tx:
        found = tx.get(Job, job.id)
        assert found == job
        assert isinstance(found.plan.steps[1].kind, StepKind)
        assert isinstance(found.plan.gate.when, When)


def test_save_writes_every_column_and_needs_the_row(store: Any) -> None:
    with store.begin() as tx:
        user = tx.add(User(0, "a"))
        changed = replace(user, username="b", name="n", is_admin=True, extra={"a": 1})
        tx.save(changed)
        assert tx.get(User, user.id) == changed
        with pytest.raises(NotFound):
            tx.save(replace(user, id=999))


def test_saving_a_project_never_sets_its_numbers_back(store: Any, made: Any) -> None:
    with store.begin() as tx:
        project = made.add_project(tx)
        assert [tx.next_number(project.id) for _ in range(3)] == [1, 2, 3]
        tx.save(replace(project, name="new"))
        assert tx.get(Project, project.id).last_number == 3
        assert tx.next_number(project.id) == 4
        with pytest.raises(NotFound):
            tx.next_number(999)


def test_a_step_is_saved_over_the_one_at_its_position(store: Any, made: Any) -> None:
    with store.begin() as tx:
        _, [(_, attempt)] = made.add_graph(tx, made.plan("a"))
        tx.save(Step(attempt.id, 1, "b", "B"))
        tx.save(Step(attempt.id, 0, "a", "A"))
        tx.save(Step(attempt.id, 1, "b", "B", State.DONE, Outcome.PASSED, 0))
        assert [(s.position, s.state) for s in tx.steps(attempt.id)] == [(0, State.WAITING), (1, State.DONE)]
        tx.remove(Step, attempt.id)
        assert tx.steps(attempt.id) == []


def test_ids_ascend_in_the_given_order_and_are_never_given_twice(store: Any) -> None:
    with store.begin() as tx:
        users = tx.add_all([User(0, f"u{i}") for i in range(50)])
        assert [u.id for u in users] == sorted({u.id for u in users})
        assert [tx.get(User, u.id).username for u in users] == [f"u{i}" for i in range(50)]
        tx.remove(User, users[-1].id)
    with store.begin() as tx:
        assert tx.add(User(0, "later")).id > users[-1].id
        assert tx.add_all([]) == []


def test_a_row_may_bring_its_own_id_and_later_ids_lie_beyond_it(store: Any) -> None:
    with store.begin() as tx:
        assert tx.add(User(500, "five hundred")).id == 500
        assert tx.add(User(0, "next")).id == 501


def test_a_block_that_raises_leaves_nothing(store: Any, made: Any) -> None:
    with pytest.raises(ZeroDivisionError), store.begin() as tx:
        made.add_graph(tx, made.plan("a"))
        raise ZeroDivisionError
    with store.look() as tx:
        assert tx.projects("", Page()) == []
        assert tx.count_runs(RunFilter()) == 0


def test_a_rolled_back_job_is_not_remembered_when_its_id_is_given_again(store: Any, made: Any) -> None:
    with pytest.raises(ZeroDivisionError), store.begin() as tx:
        run, _ = made.add_graph(tx, made.plan("first"))
        tx.graph(run.id)
        raise ZeroDivisionError
    with store.begin() as tx:
        run, [(job, attempt)] = made.add_graph(tx, made.plan("second"))
        assert tx.graph(run.id) == [(job, attempt)]
    with store.look() as tx:
        [(found, _)] = tx.graph(run.id)
        assert found.plan.key == "second"


def test_reading_transactions_cannot_write(store: Any) -> None:
    with pytest.raises(Unavailable), store.look() as tx:
        tx.add(User(0, "a"))
    with store.begin() as tx:
        tx.add(User(0, "a"))


@pytest.mark.parametrize(
    "rows",
    [
        [User(0, "Root"), User(0, "rOOT")],
        [Project(0, "Group/Name"), Project(0, "group/name")],
        [Token(0, "personal", "h"), Token(0, "session", "h")],
        [Runner(0, "h"), Runner(0, "h")],
        [Connection(0, "c", "duckdb"), Connection(0, "c", "postgres")],
        [Record(0, "k.n", None, "a"), Record(0, "k.n", None, "a")],
        [SecretVariable(0, "K", "v"), SecretVariable(0, "K", "w")],
    ],
    ids=lambda rows: type(rows[0]).__name__,
)
def test_a_taken_key_is_a_conflict_and_the_transaction_goes_on(store: Any, rows: list[Any]) -> None:
    with store.begin() as tx:
        first = tx.add(rows[0])
        with pytest.raises(Conflict):
            tx.add(rows[1])
        assert tx.get(type(first), first.id) == first
        tx.add(User(0, "someone"))
    with store.look() as tx:
        assert tx.user_by_name("SOMEONE") is not None


def test_unique_rules_inside_a_project(store: Any, made: Any) -> None:
    with store.begin() as tx:
        project, other = made.add_project(tx), made.add_project(tx, "other/one")
        run = tx.add(Run(0, project.id, 1, "gitlab", "api", "main", made.SHA, idempotency_key="k"))
        for number, key in [(1, "z"), (2, "k")]:
            with pytest.raises(Conflict):
                tx.add(Run(0, project.id, number, "gitlab", "api", "main", made.SHA, idempotency_key=key))
        tx.add(Run(0, other.id, 1, "gitlab", "api", "main", made.SHA, idempotency_key="k"))
        tx.add(Run(0, project.id, 3, "gitlab", "api", "main", made.SHA))
        tx.add(Run(0, project.id, 4, "gitlab", "api", "main", made.SHA))
        tx.add_all(
            [
                Record(0, "k.n", project.id, "a"),
                Record(0, "k.n", other.id, "a"),
                Record(0, "k.m", project.id, "a"),
            ]
        )
        tx.add_all([Record(0, "k.n", project.id, ""), Record(0, "k.n", project.id, "")])
        assert tx.run_by_idempotency(project.id, "k") == run
        assert tx.run_by_idempotency(project.id, "none") is None


def test_a_parent_that_is_gone_is_a_conflict(store: Any, made: Any) -> None:
    with pytest.raises(Conflict), store.begin() as tx:
        tx.add(Run(0, 999, 1, "gitlab", "api", "main", made.SHA))


@pytest.mark.parametrize(
    "broken",
    [
        {"state": State.DONE},
        {"outcome": Outcome.PASSED},
        {"state": State.RUNNING},
        {"state": State.STOPPING},
        {"state": State.QUEUED, "lease_until_at": 5},
        {"state": State.DONE, "outcome": Outcome.PASSED, "lease_until_at": 5},
        {"state": State.QUEUED, "hold": Hold.MANUAL},
        {"state": State.HELD, "hold": Hold.DELAYED},
    ],
    ids=str,
)
def test_the_machines_invariants_are_constraints(store: Any, made: Any, broken: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="refuses"), store.begin() as tx:
        _, [(_, attempt)] = made.add_graph(tx, made.plan("a"))
        tx.save(replace(attempt, **broken))


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_stored(store: Any, made: Any, state: State) -> None:
    with store.begin() as tx:
        _, [(_, attempt)] = made.add_graph(tx, made.plan("a"))
        tx.save(made.moved(attempt, state))
        assert tx.get(Attempt, attempt.id).state is state


def test_a_job_has_at_most_one_open_attempt(store: Any, made: Any) -> None:
    with store.begin() as tx:
        _, [(job, first)] = made.add_graph(tx, made.plan("a"))
        tx.save(made.moved(first, State.DONE, latest=False))
        second = tx.add(Attempt(0, job.id, first.run_id, first.project_id, 2))
    with pytest.raises(Conflict), store.begin() as tx:
        tx.add(Attempt(0, job.id, first.run_id, first.project_id, 3))
    with store.look() as tx:
        assert tx.graph(first.run_id) == [(job, second)]


@pytest.mark.parametrize("value", ["\ud800", 1 << 70], ids=["surrogate", "huge"])
def test_what_cannot_be_stored_is_invalid(store: Any, value: Any) -> None:
    with pytest.raises(Invalid), store.begin() as tx:
        tx.add(User(0, "a", name=value) if isinstance(value, str) else User(0, "a", created_at=value))


def test_removing_a_project_takes_everything_that_hangs_on_it(store: Any, made: Any) -> None:
    with store.begin() as tx:
        run, [(job, attempt)] = made.add_graph(tx, made.plan("a"))
        tx.enqueue(made.moved(attempt, State.QUEUED), job)
        tx.append_log(attempt.id, 0, b"x")
        tx.save(Step(attempt.id, 0, "s", "s"))
        artifact = tx.add(
            Artifact(0, attempt.id, run.id, run.project_id, "n", "archive", "zip", "f", 1, "s", "b")
        )
        tx.add(Token(0, "personal", "h", project_id=run.project_id))
        tx.add(Record(0, "k.n", run.project_id, "a"))
        tx.add(SecretVariable(0, "K", "v", run.project_id))
    with store.begin() as tx:
        tx.remove(Project, run.project_id)
        tx.remove(Project, run.project_id)
    with store.look() as tx:
        gone = [(Run, run), (Job, job), (Attempt, attempt), (Artifact, artifact)]
        assert [tx.get(kind, row.id) for kind, row in gone] == [None] * 4
        assert tx.next_queued(made.ANY_RUNNER) is None
        assert tx.log_chunks(attempt.id, 0, 100) == []
        assert tx.steps(attempt.id) == []
        assert tx.token_by_hash("h") is None
        assert tx.records("k.n", None, None, Page()) == []


def test_who_and_where_is_found_by_name_and_hash(store: Any) -> None:
    with store.begin() as tx:
        user = tx.add(User(0, "Ada"))
        token = tx.add(Token(0, "personal", "th", user.id, scopes=("api",)))
        runner = tx.add(Runner(0, "rh"))
        project = tx.add(Project(0, "Group/Sub/Name"))
    with store.look() as tx:
        assert tx.user_by_name("aDA") == user
        assert tx.token_by_hash("th") == token
        assert tx.runner_by_hash("rh") == runner
        assert tx.project_by_path("group/SUB/name") == project
        assert (
            tx.user_by_name("x")
            is tx.token_by_hash("x")
            is tx.runner_by_hash("x")
            is tx.project_by_path("x")
            is None
        )
        assert tx.runners(Page()) == [runner]


def test_projects_are_searched_without_case_and_without_wildcards(store: Any) -> None:
    with store.begin() as tx:
        a, b, c = tx.add_all([Project(0, "g/Alpha"), Project(0, "g/a_b"), Project(0, "g/axb", name="100%")])
    with store.look() as tx:
        assert tx.projects("ALPHA", Page()) == [a]
        assert tx.projects("a_b", Page()) == [b]
        assert tx.projects("0%", Page()) == [c]
        assert tx.projects("", Page(limit=2)) == [c, b]
        assert tx.projects("", Page(limit=2, offset=1, descending=False)) == [b, c]
        assert tx.projects("", Page(after_id=b.id)) == [a]
        assert tx.projects("", Page(after_id=b.id, descending=False)) == [c]


def test_variables_of_the_instance_come_before_the_projects(store: Any, made: Any) -> None:
    with store.begin() as tx:
        project, other = made.add_project(tx), made.add_project(tx, "o/o")
        mine = tx.add(SecretVariable(0, "K", "p", project.id))
        tx.add(SecretVariable(0, "K", "o", other.id))
        instance = tx.add(SecretVariable(0, "K", "i"))
        assert tx.secret_variables(project.id) == [instance, mine]
        assert tx.secret_variables(None) == [instance]


def test_records_by_kind_project_and_key(store: Any, made: Any) -> None:
    with store.begin() as tx:
        project = made.add_project(tx)
        a = tx.add(Record(0, "l.suite", project.id, "a", {"n": 1}))
        b = tx.add(Record(0, "l.suite", None, "a"))
        tx.add(Record(0, "d.ci", project.id, "a"))
        assert tx.records("l.suite", None, None, EVERYTHING) == [a, b]
        assert tx.records("l.suite", project.id, None, EVERYTHING) == [a]
        assert tx.records("l.suite", None, "a", Page(limit=1)) == [b]
        assert tx.records("l.suite", None, "z", Page()) == []
        assert tx.connections() == []


def test_runs_are_filtered_by_each_field_and_by_pairs_of_states(store: Any, made: Any) -> None:
    with store.begin() as tx:
        project, other = made.add_project(tx), made.add_project(tx, "o/o")
        waiting = made.add_run(tx, project, updated_at=10)
        passed = made.add_run(tx, project, State.DONE, Outcome.PASSED, ref="v1", tag=True, updated_at=20)
        failed = made.add_run(
            tx, project, State.DONE, Outcome.FAILED, dialect="depot", source="push", updated_at=30
        )
        foreign = made.add_run(tx, other, State.RUNNING, sha="f" * 40, updated_at=40)
    cases: list[tuple[RunFilter, list[Run]]] = [
        (RunFilter(), [waiting, passed, failed, foreign]),
        (RunFilter(project_id=project.id), [waiting, passed, failed]),
        (RunFilter(dialect="depot"), [failed]),
        (RunFilter(ref="v1"), [passed]),
        (RunFilter(source="push"), [failed]),
        (RunFilter(tag=True), [passed]),
        (RunFilter(tag=False, project_id=project.id), [waiting, failed]),
        (RunFilter(sha_prefix="fff"), [foreign]),
        (RunFilter(sha_prefix="f" * 40), [foreign]),
        (RunFilter(updated_after_at=20), [failed, foreign]),
        (RunFilter(updated_before_at=20), [waiting]),
        (RunFilter(wanted=((State.DONE, None),)), [passed, failed]),
        (RunFilter(wanted=((State.DONE, Outcome.FAILED),)), [failed]),
        (RunFilter(wanted=((State.WAITING, None), (State.DONE, Outcome.PASSED))), [waiting, passed]),
        (RunFilter(project_id=project.id, wanted=((State.RUNNING, None), (State.HELD, None))), []),
    ]
    with store.look() as tx:
        for filter, expected in cases:
            assert tx.runs(filter, EVERYTHING) == expected, filter
            assert tx.runs(filter, Page()) == expected[::-1], filter
            assert tx.count_runs(filter) == len(expected), filter
            assert tx.runs(filter, Page(limit=1, offset=1)) == expected[::-1][1:2], filter
            assert tx.runs(filter, Page(after_id=failed.id)) == [
                r for r in expected[::-1] if r.id < failed.id
            ], filter


def test_counting_stops_one_beyond_ten_thousand(store: Any, made: Any) -> None:
    with store.begin() as tx:
        project = made.add_project(tx)
        many = [
            Run(
                0,
                project.id,
                i,
                "gitlab",
                "api",
                "main",
                made.SHA,
                state=State.DONE,
                outcome=list(Outcome)[i % 2],
            )
            for i in range(10_050)
        ]
        tx.add_all(many)
        assert tx.count_runs(RunFilter()) == 10_001
        assert tx.count_runs(RunFilter(wanted=((State.DONE, None),))) == 10_001
        assert tx.count_runs(RunFilter(wanted=((State.DONE, Outcome.PASSED),))) == 5025


def test_the_graph_has_each_jobs_latest_attempt_in_position_order(store: Any, made: Any) -> None:
    with store.begin() as tx:
        run, pairs = made.add_graph(tx, *[made.plan(f"j{i}") for i in range(20)])
        job, first = pairs[3]
        tx.save(made.moved(first, State.DONE, latest=False))
        second = tx.add(Attempt(0, job.id, run.id, run.project_id, 2))
        made.add_graph(tx, made.plan("other"))
        pairs[3] = (job, second)
        assert tx.graph(run.id) == pairs
    store.jobs.clear()
    with store.look() as tx:
        assert tx.graph(run.id) == pairs
        assert tx.graph(run.id) == pairs
        assert [w.key for w in tx.workflows(run.id)] == ["main"]
        assert tx.graph(999) == []


def test_attempts_with_their_jobs_by_each_filter(store: Any, made: Any) -> None:
    with store.begin() as tx:
        run, [(a, a1), (b, b1), (c, c1)] = made.add_graph(tx, made.plan("a"), made.plan("b"), made.plan("c"))
        other, [(d, d1)] = made.add_graph(tx, made.plan("d"), path="o/o")
        a1 = made.moved(a1, State.DONE, outcome=Outcome.FAILED, latest=False, runner_id=7)
        b1 = made.moved(b1, State.RUNNING, runner_id=7)
        for changed in (a1, b1):
            tx.save(changed)
        a2 = tx.add(Attempt(0, a.id, run.id, run.project_id, 2))
    every = [(a, a1), (b, b1), (c, c1), (d, d1), (a, a2)]
    cases: list[tuple[AttemptFilter, list[Any]]] = [
        (AttemptFilter(), every),
        (AttemptFilter(project_id=run.project_id), [x for x in every if x[0] is not d]),
        (AttemptFilter(run_id=other.id), [(d, d1)]),
        (AttemptFilter(run_id=run.id, latest_only=True), [(b, b1), (c, c1), (a, a2)]),
        (AttemptFilter(job_id=a.id), [(a, a1), (a, a2)]),
        (AttemptFilter(runner_id=7), [(a, a1), (b, b1)]),
        (AttemptFilter(run_id=run.id, project_id=run.project_id, wanted=((State.DONE, None),)), [(a, a1)]),
        (AttemptFilter(project_id=run.project_id, wanted=((State.RUNNING, None),)), [(b, b1)]),
        (AttemptFilter(wanted=((State.DONE, Outcome.FAILED), (State.RUNNING, None))), [(a, a1), (b, b1)]),
        (
            AttemptFilter(run_id=run.id, wanted=((State.WAITING, None), (State.RUNNING, None))),
            [(b, b1), (c, c1), (a, a2)],
        ),
    ]
    with store.look() as tx:
        for filter, expected in cases:
            assert tx.attempts(filter, EVERYTHING) == expected, filter
            assert tx.attempts(filter, Page(limit=2)) == expected[::-1][:2], filter


def test_claims_follow_age_tags_project_protection_and_stock(store: Any, made: Any) -> None:
    plans = [
        made.plan("tagged", tags=("linux", "docker"), stock=True),
        made.plan("own"),
        made.plan("protected", protected=True, stock=True),
        made.plan("plain", stock=True),
    ]
    with store.begin() as tx:
        _, pairs = made.add_graph(tx, *plans)
        _, [(far_job, far)] = made.add_graph(tx, made.plan("far", stock=True), path="o/o")
        for job, attempt in [*reversed(pairs), (far_job, far)]:
            tx.enqueue(made.moved(attempt, State.QUEUED), job)
        tagged, own, protected, plain = [a.id for _, a in pairs]
    cases = [
        (Runner(0, "", stock=False, tags=("docker", "linux", "arm")), tagged),
        (Runner(0, "", stock=False, protected=True, tags=("docker", "linux", "arm")), protected),
        (Runner(0, "", stock=False, tags=("docker",)), own),
        (Runner(0, "", protected=True), protected),
        (Runner(0, ""), protected),
        (Runner(0, "", tags=("linux", "docker"), run_untagged=False), tagged),
        (Runner(0, "", tags=("linux",), run_untagged=False), None),
        (Runner(0, "", project_id=far.project_id), far.id),
        (Runner(0, "", project_id=999), None),
        (Runner(0, "", paused=True), None),
    ]
    with store.begin() as tx:
        for runner, expected in cases:
            assert tx.next_queued(runner) == expected, runner
        tx.enqueue(pairs[3][1], pairs[3][0])
        tx.dequeue(protected)
        assert tx.next_queued(Runner(0, "", protected=True)) is None
        assert tx.next_queued(Runner(0, "")) == plain
        tx.dequeue(plain)
        tx.dequeue(plain)
        assert tx.next_queued(Runner(0, "")) == far.id


def test_a_runner_with_labels_takes_only_what_asks_for_some_of_them(store: Any, made: Any) -> None:
    plans = [
        made.plan("without", stock=True),
        made.plan("big", labels=("Big",), tags=("big",)),
        made.plan("two", labels=("x", "Big")),
    ]
    with store.begin() as tx:
        _, pairs = made.add_graph(tx, *plans)
        for job, attempt in pairs:
            tx.enqueue(made.moved(attempt, State.QUEUED), job)
        without, big, two = [a.id for _, a in pairs]

        def taken(*labels: str, **more: Any) -> int | None:
            found: int | None = tx.next_queued(
                Runner(0, "", stock=False, extra={"labels": list(labels)}, **more)
            )
            return found

        assert (taken(), taken("other"), taken("big"), taken("x")) == (None, None, big, None)
        tx.dequeue(big)
        assert (taken("big"), taken("big", "x"), taken("big", "x", protected=True)) == (None, two, None)
        assert tx.next_queued(Runner(0, "", tags=("big",))) == without


def test_a_groups_runner_serves_what_is_below_the_group(store: Any, made: Any) -> None:
    with store.begin() as tx:
        pairs = {}
        for path in ("Top/a", "top/sub/b", "topping/c", "other/d"):
            _, [(job, attempt)] = made.add_graph(tx, made.plan("j", tags=("t",)), path=path)
            tx.enqueue(made.moved(attempt, State.QUEUED), job)
            pairs[path] = attempt
        top, sub = tx.add(Group(0, "top")), tx.add(Group(0, "top/sub"))
        wide = Runner(0, "", stock=False, tags=("t",), group_id=top.id)
        assert tx.next_queued(wide) == pairs["Top/a"].id
        tx.dequeue(pairs["Top/a"].id)
        assert tx.next_queued(wide) == pairs["top/sub/b"].id
        assert tx.next_queued(replace(wide, group_id=sub.id)) == pairs["top/sub/b"].id
        assert tx.next_queued(replace(wide, tags=())) is None
        tx.dequeue(pairs["top/sub/b"].id)
        assert tx.next_queued(wide) is None
        assert tx.next_queued(replace(wide, group_id=999)) is None


def test_instance_runners_share_fairly_between_projects(store: Any, made: Any) -> None:
    with store.begin() as tx:
        projects = [made.add_graph(tx, *[made.plan(f"j{i}") for i in range(4)], path=f"g/{n}") for n in "abc"]
        for _, pairs in projects:
            for job, attempt in pairs:
                tx.enqueue(made.moved(attempt, State.QUEUED), job)
        a, b, c = [[attempt for _, attempt in pairs] for _, pairs in projects]
        shared, own = tx.add(Runner(0, "shared")), tx.add(Runner(0, "own", project_id=a[0].project_id))
        anyone = Runner(0, "", stock=False)
        order = []
        for _ in range(12):
            id = tx.next_queued(anyone)
            attempt = next(x for x in (*a, *b, *c) if x.id == id)
            order.append(attempt)
            tx.dequeue(id)
            # What runs on a project's own runners counts against nobody.
            runner = own if attempt in (a[0], a[1]) else shared
            tx.save(made.moved(attempt, State.RUNNING, lease_until_at=9, deadline_at=9, runner_id=runner.id))
        assert order == [a[0], a[1], a[2], b[0], c[0], a[3], b[1], c[1], b[2], c[2], b[3], c[3]]
        for attempt in (b[1], b[2]):
            tx.enqueue(made.moved(attempt, State.QUEUED), next(j for j, x in projects[1][1] if x is attempt))
        assert tx.next_queued(Runner(0, "", stock=False, project_id=b[0].project_id)) == b[1].id


def test_what_is_due_comes_by_id_and_the_next_moment_is_known(store: Any, made: Any) -> None:
    with store.begin() as tx:
        _, pairs = made.add_graph(tx, *[made.plan(f"j{i}") for i in range(6)])
        a, b, c, d, e, _ = [attempt for _, attempt in pairs]
        assert tx.next_due_at() is None
        for changed in (
            made.moved(a, State.RUNNING, lease_until_at=300, deadline_at=900),
            made.moved(b, State.HELD, hold=Hold.DELAYED, run_after_at=200),
            made.moved(c, State.RUNNING, lease_until_at=800, deadline_at=250),
            made.moved(d, State.HELD),
            made.moved(e, State.DONE, deadline_at=1, run_after_at=1),
        ):
            tx.save(changed)
        assert tx.next_due_at() == 200
        assert [x.id for x in tx.due(199, 10)] == []
        assert [x.id for x in tx.due(200, 10)] == [b.id]
        assert [x.id for x in tx.due(300, 10)] == [a.id, b.id, c.id]
        assert [x.id for x in tx.due(300, 2)] == [a.id, b.id]


def test_lists_show_attempts_without_their_plans(store: Any, made: Any) -> None:
    with store.begin() as tx:
        _, [(a, a1), (b, b1)] = made.add_graph(tx, made.plan("a"), full_plan())
        a1 = replace(
            made.moved(a1, State.DONE, outcome=Outcome.FAILED, latest=False), extra={"x": [1]}, coverage=5.5
        )
        tx.save(a1)
        again = tx.add(
            Attempt(0, a.id, a.run_id, a.project_id, 2, tolerated=True, reason=Reason.TIMEOUT, log_bytes=7)
        )
        for attempt_id, name in ((again.id, "two"), (a1.id, "one"), (a1.id, "three")):
            tx.add(
                Artifact(
                    0,
                    attempt_id,
                    a.run_id,
                    a.project_id,
                    name,
                    "archive",
                    "zip",
                    f"{name}.zip",
                    3,
                    "",
                    "k",
                    1,
                    9,
                )
            )
    with store.look() as tx:
        filter = AttemptFilter(run_id=a.run_id)
        for page in (Page(), Page(limit=2), Page(limit=2, after_id=again.id), Page(descending=False)):
            rows, pairs = tx.listed(filter, page), tx.attempts(filter, page)
            assert [row.outline for row in rows] == [outline_of(job) for job, _ in pairs]
            for row, (_, attempt) in zip(rows, pairs, strict=True):
                assert row[:-1] == tuple(getattr(attempt, name) for name in row._fields[:-1])
        assert tx.listed(replace(filter, wanted=((State.DONE, None),)), Page())[0].id == a1.id
        assert tx.listed_one(b1.id).outline == (
            b.name,
            full_plan().stage,
            full_plan().allow_failure,
            full_plan().tags,
            False,
        )
        assert tx.listed_one(10**9) is None
        briefs, pairs = (
            tx.briefs(a.run_id),
            tx.attempts(AttemptFilter(run_id=a.run_id), Page(descending=False)),
        )
        assert [brief.name for brief in briefs] == [job.name for job, _ in pairs] and len(pairs) == 3
        for brief, (_, attempt) in zip(briefs, pairs, strict=True):
            assert brief[:-1] == tuple(getattr(attempt, name) for name in brief._fields[:-1])
        assert tx.briefs(10**9) == []
        left = tx.listed_artifacts([again.id, b1.id, a1.id])
        assert [(f.attempt_id, f.filename) for f in left] == [
            (a1.id, "one.zip"),
            (a1.id, "three.zip"),
            (again.id, "two.zip"),
        ]
        assert left[0] == (a1.id, "archive", "zip", "one.zip", 3, 9)
        assert tx.listed_artifacts([]) == []
    with store.begin() as tx:
        tx.save(replace(tx.get(Job, a.id), name="drawn", plan=replace(a.plan, stage="late", tags=("q",))))
        assert [brief.name for brief in tx.briefs(a.run_id)] == ["drawn", b.name, "drawn"]
    with store.look() as tx:
        assert [(r.outline.stage, r.outline.tags) for r in tx.listed(AttemptFilter(job_id=a.id), Page())] == [
            ("late", ("q",))
        ] * 2


def test_a_card_is_kept_until_something_is_written_that_it_shows(store: Any, made: Any) -> None:
    with store.begin() as tx:
        _, [(a, a1), (_, b1)] = made.add_graph(tx, made.plan("a"), made.plan("b"))
        a1 = made.moved(a1, State.DONE, outcome=Outcome.PASSED)
        tx.save(a1)
        left = Artifact(
            0, a1.id, a.run_id, a.project_id, "one", "archive", "zip", "one.zip", 3, "", "k", 1, 9
        )

    def kept(write: Callable[[Any], object]) -> bool:
        """Whether a card survives the write."""
        with store.begin() as tx:
            tx.draw(a1.id, b"card")
            assert tx.undrawn(10) == []
        with store.begin() as tx:
            write(tx)
            found = tx.cards(AttemptFilter(run_id=a.run_id), Page())
            assert [row.id for row in found] == [b1.id, a1.id]
            assert [row.id for row in tx.undrawn(10)] == ([] if found[1].card else [a1.id])
            return found[1].card == b"card"

    with store.begin() as tx:
        tx.draw(b1.id, b"card")  # it is not done
        assert tx.cards(AttemptFilter(run_id=a.run_id), Page())[0] == (b1.id, a.run_id, None, None, None)
    assert kept(lambda tx: None)
    assert not kept(lambda tx: tx.save(replace(a1, erased_at=5)))
    added: list[Artifact] = []
    assert not kept(lambda tx: added.append(tx.add(left)))
    assert not kept(lambda tx: tx.save(replace(added[0], expires_at=None)))
    assert not kept(lambda tx: tx.remove(Artifact, added[0].id))
    assert not kept(lambda tx: tx.save(replace(tx.get(Job, a.id), plan=replace(a.plan, stage="late"))))
    assert kept(lambda tx: tx.add(replace(left, attempt_id=b1.id)))


def test_old_queued_attempts_are_found(store: Any, made: Any) -> None:
    with store.begin() as tx:
        _, pairs = made.add_graph(tx, *[made.plan(f"j{i}") for i in range(4)])
        for i, (job, attempt) in enumerate(pairs):
            queued = made.moved(attempt, State.QUEUED, queued_at=100 - i)
            tx.save(queued)
            if i < 3:  # the last one is for no runner: never in the queue, never stuck
                tx.enqueue(queued, job)
        assert [a.id for a in tx.queued_before(100, 10)] == [pairs[2][1].id, pairs[1][1].id]
        assert [a.id for a in tx.queued_before(200, 1)] == [pairs[2][1].id]


def test_a_concurrency_group_shows_who_holds_or_wants_the_seat(store: Any, made: Any) -> None:
    with store.begin() as tx:
        _, pairs = made.add_graph(
            tx,
            *[made.in_group(f"j{i}", "prod") for i in range(6)], made.in_group("x", "dev"), made.plan("y"),
            *[made.in_group(f"late{i}", "prod") for i in range(2)],
        )  # fmt: skip
        states = [
            (State.HELD, Hold.CONCURRENCY),
            (State.HELD, Hold.MANUAL),
            (State.QUEUED, None),
            (State.RUNNING, None),
            (State.STOPPING, None),
            (State.DONE, None),
            (State.RUNNING, None),
        ]
        for (_, attempt), (state, hold) in zip(pairs, states, strict=False):
            tx.save(made.moved(attempt, state, hold=hold))
        tx.save(made.moved(pairs[9][1], State.HELD, hold=Hold.DELAYED, run_after_at=5))
        project_id = pairs[0][0].project_id
        assert [j.key for j, _ in tx.in_group(project_id, "prod")] == ["j0", "j2", "j3", "j4"]
        coming = [j.key for j, _ in tx.in_group(project_id, "prod", upcoming=True)]
        assert coming == ["j0", "j2", "j3", "j4", "late0", "late1"]
        assert [j.key for j, _ in tx.in_group(project_id, "dev")] == ["x"]
        assert tx.in_group(999, "prod") == []
        active, held = tx.group_heads(project_id, "prod")
        assert (active[0].key, held[0].key) == ("j2", "j0")
        active, held = tx.group_heads(project_id, "dev")
        assert (active[0].key, held) == ("x", None)
        assert tx.group_heads(999, "prod") == (None, None)


def test_log_chunks_reach_beyond_the_start_until_the_limit(store: Any, made: Any) -> None:
    chunks = [(0, b"aaaa"), (4, b"bb"), (6, b"cccc"), (10, bytes(range(256)))]
    with store.begin() as tx:
        _, [(_, attempt)] = made.add_graph(tx, made.plan("a"))
        for offset, data in chunks:
            tx.append_log(attempt.id, offset, data)
    with pytest.raises(Conflict), store.begin() as tx:
        tx.append_log(attempt.id, 4, b"again")
    with store.look() as tx:
        assert tx.log_chunks(attempt.id, 0, 1 << 20) == chunks
        assert tx.log_chunks(attempt.id, 3, 1 << 20) == chunks
        assert tx.log_chunks(attempt.id, 4, 1 << 20) == chunks[1:]
        assert tx.log_chunks(attempt.id, 0, 1) == chunks[:1]
        assert tx.log_chunks(attempt.id, 0, 5) == chunks[:2]
        assert tx.log_chunks(attempt.id, 5, 2) == chunks[1:3]
        assert tx.log_chunks(attempt.id, 266, 100) == []
        assert tx.log_chunks(999, 0, 100) == []


def test_chunks_know_when_they_arrived(store: Any, made: Any) -> None:
    with store.begin() as tx:
        _, [(_, attempt), (_, other)] = made.add_graph(tx, made.plan("a"), made.plan("b"))
        for offset, data, at in ((0, b"aaaa", 100), (4, b"bb", None), (6, b"cc", 300), (8, b"dd", 400)):
            tx.append_log(attempt.id, offset, data, at)
        tx.append_log(other.id, 0, b"x", 1)
    with store.look() as tx:
        assert tx.log_times(attempt.id, 0, 99) == [(0, 100), (6, 300), (8, 400)]
        assert tx.log_times(attempt.id, 7, 8) == [(6, 300)]
        assert tx.log_times(attempt.id, 7, 9) == [(6, 300), (8, 400)]
        assert tx.log_times(attempt.id, 4, 6) == []


def test_samples_are_kept_once_and_go_with_their_attempt(store: Any, made: Any) -> None:
    with store.begin() as tx:
        run, [(_, attempt), (_, other)] = made.add_graph(tx, made.plan("a"), made.plan("b"))
        tx.append_samples(attempt.id, 20, b"later")
        tx.append_samples(attempt.id, 10, b"first")
        tx.append_samples(attempt.id, 10, b"again")
        tx.append_samples(other.id, 10, b"other")
    with store.look() as tx:
        assert tx.samples(attempt.id) == [b"first", b"later"] and tx.samples(999) == []
    with store.begin() as tx:
        tx.remove(Project, run.project_id)
    with store.look() as tx:
        assert tx.samples(attempt.id) == []


def test_done_attempts_with_chunks_are_unsealed(store: Any, made: Any) -> None:
    with store.begin() as tx:
        _, pairs = made.add_graph(tx, *[made.plan(f"j{i}") for i in range(5)])
        for i, (_, attempt) in enumerate(pairs):
            if i != 2:
                tx.append_log(attempt.id, 0, b"x")
                tx.append_log(attempt.id, 1, b"y")
            if i != 3:
                tx.save(made.moved(attempt, State.DONE))
        ids = [a.id for _, a in pairs]
        assert [a.id for a in tx.unsealed(10)] == [ids[0], ids[1], ids[4]]
        assert [a.id for a in tx.unsealed(1)] == [ids[0]]
        tx.drop_log(ids[0])
        assert [a.id for a in tx.unsealed(10)] == [ids[1], ids[4]]


def artifact(attempt: Attempt, blob: str, **more: Any) -> Artifact:
    values = {
        "name": "n",
        "type": "archive",
        "format": "zip",
        "filename": "f",
        "size_bytes": 1,
        "sha256": "s",
        **more,
    }
    return Artifact(0, attempt.id, attempt.run_id, attempt.project_id, blob=blob, **values)


def test_artifacts_by_each_filter(store: Any, made: Any) -> None:
    with store.begin() as tx:
        run, [(_, a), (_, b)] = made.add_graph(tx, made.plan("a"), made.plan("b"))
        one = tx.add(artifact(a, "1", expires_at=5))
        two = tx.add(artifact(a, "2", type="junit", name="r"))
        three = tx.add(artifact(b, "3", expires_at=9))
        cases = [
            (ArtifactFilter(run_id=run.id), [one, two, three]),
            (ArtifactFilter(attempt_id=a.id), [one, two]),
            (ArtifactFilter(attempt_ids=(a.id, b.id)), [one, two, three]),
            (ArtifactFilter(project_id=run.project_id, type="junit"), [two]),
            (ArtifactFilter(run_id=run.id, name="r"), [two]),
            (ArtifactFilter(expired_before_at=9), [one]),
            (ArtifactFilter(run_id=999), []),
        ]
        for filter, expected in cases:
            assert tx.artifacts(filter, EVERYTHING) == expected, filter


def test_the_newest_archive_is_of_the_newest_passed_run(store: Any, made: Any) -> None:
    with store.begin() as tx:
        found: list[Artifact] = []
        for ref, outcome in [("main", "passed"), ("main", "passed"), ("main", "failed"), ("dev", "passed")]:
            run, [(_, a), (_, b)] = made.add_graph(tx, made.plan("build"), made.plan("test"))
            tx.save(replace(run, ref=ref, state=State.DONE, outcome=Outcome(outcome)))
            found.append(tx.add(artifact(a, "x")))
            tx.add(artifact(a, "y", type="junit"))
            tx.add(artifact(b, "z"))
        assert tx.newest_archive(run.project_id, "main", "build") == found[1]
        assert tx.newest_archive(run.project_id, "main", "deploy") is None
        assert tx.newest_archive(run.project_id, "none", "build") is None


def test_blobs_in_use_are_named_by_artifacts_logs_and_uploads(store: Any, made: Any) -> None:
    with store.begin() as tx:
        _, [(_, attempt)] = made.add_graph(tx, made.plan("a"))
        tx.add(artifact(attempt, "art"))
        tx.save(replace(attempt, log_blob="log"))
        record = tx.add(Record(0, "d.upload", None, "", {"blob": "upload"}))
        keys = ["art", "log", "upload", "gone", "", *[f"k{i}" for i in range(1000)]]
        assert tx.blobs_in_use(keys) == {"art", "log", "upload"}
        tx.save(replace(record, data={}))
        assert tx.blobs_in_use(keys) == {"art", "log"}
        assert tx.blobs_in_use([]) == set()


def test_big_pieces_of_log_come_back_whole_wherever_they_lie(store: Any, made: Any) -> None:
    pieces = [bytes([i]) * size for i, size in enumerate((10, 70_000, 1 << 20, 5, 200_000))]
    with store.begin() as tx:
        _, [(_, attempt)] = made.add_graph(tx, made.plan("a"))
        at = 0
        for piece in pieces:
            tx.append_log(attempt.id, at, piece)
            at += len(piece)
    with store.look() as tx:
        chunks = tx.log_chunks(attempt.id, 0, 1 << 30)
        assert b"".join(data for _, data in chunks) == b"".join(pieces)
        ((offset, data), *_) = tx.log_chunks(attempt.id, 100_000, 1)
        assert data[100_000 - offset] == 2
    with pytest.raises(Conflict), store.begin() as tx:
        tx.append_log(attempt.id, 10, b"x" * 80_000)
    with store.look() as tx:
        assert b"".join(data for _, data in tx.log_chunks(attempt.id, 0, 1 << 30)) == b"".join(pieces)
    with store.begin() as tx:
        tx.drop_log(attempt.id)
    with store.look() as tx:
        assert tx.log_chunks(attempt.id, 0, 1 << 30) == []


def _world(tx: Any) -> dict[str, Any]:
    """Two people, a group with a subgroup, and projects of every visibility."""
    ada, eve = tx.add(User(0, "ada")), tx.add(User(0, "eve"))
    top, sub = tx.add(Group(0, "Top_1")), tx.add(Group(0, "Top_1/sub"))
    paths = (
        ("Top_1/sub/app", "private"),
        ("Topx1/app", "private"),
        ("eve/own", "private"),
        ("x/open", "public"),
        ("x/inside", "internal"),
    )
    rows = {path: tx.add(Project(0, path, path.rpartition("/")[2], visibility=v)) for path, v in paths}
    return {"ada": ada, "eve": eve, "top": top, "sub": sub, **rows}


def test_people_see_what_is_open_theirs_or_below_their_groups(store: Any, made: Any) -> None:
    with store.begin() as tx:
        world = _world(tx)

        def seen(who: User, now: int = 10) -> list[str]:
            return [p.path for p in tx.projects("", Page(descending=False), who, now)]

        opened = ["x/open", "x/inside"]
        assert seen(world["ada"]) == opened and seen(world["eve"]) == ["eve/own", *opened]
        tx.add(Member(0, world["ada"].id, 20, group_id=world["top"].id, expires_at=100))
        assert seen(world["ada"]) == ["Top_1/sub/app", *opened], "an underscore is no pattern"
        assert seen(world["ada"], 100) == opened, "a membership ends"
        tx.add(Member(0, world["ada"].id, 10, world["Topx1/app"].id))
        assert seen(world["ada"], 100) == ["Topx1/app", *opened]
        assert [p.path for p in tx.projects("APP", Page(), world["ada"], 10)] == [
            "Topx1/app",
            "Top_1/sub/app",
        ]
        assert len(tx.projects("", Page(), replace(world["eve"], is_admin=True))) == 5
        assert sorted(tx.memberships(world["ada"].id, 10), key=str) == [
            (world["Topx1/app"].id, None, 10),
            (None, "top_1", 20),
        ]
        with pytest.raises(Conflict):
            tx.add(Member(0, world["ada"].id, 30, world["Topx1/app"].id))


def test_variables_come_from_the_outside_in(store: Any, made: Any) -> None:
    with store.begin() as tx:
        world = _world(tx)
        app = world["Top_1/sub/app"]
        owners = [(app.id, None), (None, world["sub"].id), (None, None), (None, world["top"].id)]
        for i, (project, group) in enumerate(owners):
            tx.add(SecretVariable(0, "K", str(i), project, group_id=group))
        assert [v.value for v in tx.secret_variables(app.id)] == ["2", "3", "1", "0"]
        assert [v.value for v in tx.secret_variables(None)] == ["2"]
        assert [v.value for v in tx.secret_variables(world["x/open"].id)] == ["2"]
        found = tx.find(SecretVariable, Page(), project_id=None, group_id=world["sub"].id)
        assert [v.value for v in found] == ["1"]
        tx.remove(Group, world["sub"].id)
        assert [v.value for v in tx.secret_variables(app.id)] == ["2", "3", "0"]
        assert tx.group_by_path("TOP_1") == world["top"] and tx.group_by_path("top_1/sub") is None


def test_environments_are_found_when_their_time_has_come(store: Any, made: Any) -> None:
    with store.begin() as tx:
        project = made.add_project(tx)
        rows = [
            tx.add(Environment(0, project.id, f"e{i}", f"e{i}", auto_stop_at=at))
            for i, at in enumerate((300, None, 100))
        ]
        assert [e.name for e in tx.auto_stops(300, 10)] == ["e2", "e0"]
        assert [e.name for e in tx.auto_stops(299, 10)] == ["e2"]
        last = tx.add(Deployment(0, project.id, rows[0].id, 1, "main", made.SHA, "running", attempt_id=7))
        assert tx.find(Deployment, Page(), attempt_id=7) == [last]
        tx.remove(Environment, rows[0].id)
        assert tx.find(Deployment, Page(), project_id=project.id) == []
        with pytest.raises(Conflict):
            tx.add(Environment(0, project.id, "e1", "other"))


def test_a_column_that_is_not_there_is_a_mistake_of_ours(store: Any) -> None:
    with store.begin() as tx, pytest.raises(KeyError):
        tx.find(Member, Page(), **{"1=1 OR user_id": 1})


def test_pages_of_cards_are_the_pages_of_the_list_however_they_are_asked(store: Any, made: Any) -> None:
    with store.begin() as tx:
        run, pairs = made.add_graph(tx, *[made.plan(f"j{n}") for n in range(7)])
    ids = [attempt.id for _, attempt in pairs]
    filter = AttemptFilter(project_id=run.project_id)
    with store.look() as tx:
        for descending in (True, False):
            for after_id in (None, ids[3], ids[0], ids[-1], ids[-1] + 9):
                for offset in range(9):
                    page = Page(3, offset, after_id, descending)
                    assert [c.id for c in tx.cards(filter, page)] == [r.id for r in tx.listed(filter, page)]
