"""Hypothesis: whatever configuration is written, it is refused with a place, or its plan is one whose
simulation ends.

The simulation is the real engine on SQLite: runners pass or fail what is queued, people play what waits for
them, bridges start a small run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runyard.dialects.gitlab.config import check, compile
from runyard.engine import bridges, control, dispatch, trigger, upkeep
from runyard.engine.dispatch import Finish
from runyard.engine.ports import Tx
from runyard.engine.terms import Terms
from runyard.model.errors import Invalid, NothingToRun
from runyard.model.plan import JobPlan, Plan, WorkflowPlan
from runyard.model.state import Hold, Outcome, Reason, State
from runyard.model.work import Attempt, Project, Run, Runner, User
from runyard.store.sqlite import SqliteStore
from runyard.syntax.yamltree import dump
from tests.dialects.gitlab_config.conftest import Tree, make_trigger

NAMES = ["a", "b", "c", ".h", "d e"]
STAGES = ["build", "test", "deploy", ".pre", ".post"]
CONDITIONS = ["$CI", "$NOPE", '$A == "1"', "$A =~ /x|1/", "$NOPE == null && $A", "$A ||", "${A}"]
WHENS = ["on_success", "on_failure", "always", "manual", "never", "delayed", "sometimes"]


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


rule = st.fixed_dictionaries(
    {},
    optional={
        "if": st.sampled_from(CONDITIONS),
        "when": st.sampled_from(WHENS[:-1]),
        "allow_failure": st.booleans(),
        "start_in": one_of("1 minute", "2 weeks"),
        "needs": st.lists(st.sampled_from(NAMES[:3]), max_size=2),
        "variables": st.just({"A": "1"}),
        "exists": one_of(["x.txt"], ["no"]),
        "changes": one_of(["x.txt"], {"paths": ["y"], "compare_to": "main"}),
    },
)
need = st.one_of(
    st.sampled_from(NAMES),
    st.fixed_dictionaries(
        {"job": st.sampled_from(NAMES[:3])}, optional={"optional": st.booleans(), "artifacts": st.booleans()}
    ),
)
job = st.fixed_dictionaries(
    {},
    optional={
        "script": one_of("x", ["x", ["y"]], [], "", ["x"], ["z"]),
        "stage": st.sampled_from(STAGES),
        "extends": st.sampled_from([".h", "a", "gone", [".h", "b"]]),
        "needs": st.lists(need, max_size=3),
        "rules": st.lists(rule, max_size=3),
        "when": st.sampled_from(WHENS),
        "start_in": one_of("5 minutes"),
        "allow_failure": one_of(True, False, {"exit_codes": [3]}),
        "parallel": one_of(2, 0, {"matrix": [{"V": ["1", "2"]}]}, {"matrix": []}),
        "retry": one_of(1, 2, 9, {"max": 1, "when": "script_failure"}),
        "resource_group": one_of("g", "$A"),
        "variables": one_of({"A": "1"}, {"A": "$B", "B": "$A"}, {"A": {"value": "2", "expand": False}}),
        "environment": one_of("prod", {"name": "r/$A", "on_stop": "c"}, {"name": "r", "action": "stop"}),
        "dependencies": st.lists(st.sampled_from(NAMES[:3]), max_size=2),
        "only": one_of(["main"], ["tags"], {"variables": ["$A"]}),
        "trigger": one_of(
            "g/p", {"include": "x.yml", "strategy": "depend"}, {"project": "g/p", "strategy": "mirror"}
        ),
        "interruptible": st.booleans(),
        "timeout": one_of("1h", "never"),
        "artifacts": one_of({"paths": ["p"]}, {"reports": {"dotenv": "d"}}, {"paths": "*"}),
        "cache": one_of({"key": "$A", "paths": ["p"]}, {"key": {"files": ["x.txt"]}}),
        "inherit": one_of({"default": False}, {"variables": ["A"]}),
        "inputs": one_of({"i": {"default": "$A"}}, {"i": {"type": "number", "default": 1}}, {"i": {}}),
        "run": one_of([{"name": "n", "script": "x"}], [{"name": "n", "step": "./x"}], []),
        "after_script": one_of("${{ job.inputs.i }}", ["y"]),
        "image": one_of("i:${{ job.inputs.i }}", "$A", {"name": "i"}),
    },
)
config = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(NAMES, job),
        "stages": st.lists(st.sampled_from(STAGES), min_size=1, max_size=4),
        "default": one_of({"retry": 1}, {"before_script": ["b"]}, {"identity": "x"}, {"unknown": 1}),
        "variables": one_of({"A": "1"}, {"A": "$CI_COMMIT_REF_NAME"}),
        "workflow": st.fixed_dictionaries(
            {}, optional={"rules": st.lists(rule, max_size=2), "name": one_of("n $A")}
        ),
        "include": one_of("x.yml", {"local": "gone.yml"}, [{"local": "x.yml", "rules": [{"if": "$CI"}]}]),
    },
)

TERMS = Terms()
ROUNDS = 60


class PlainVault:
    def seal(self, text: str) -> str:
        return text

    def open(self, sealed: str) -> str:
        return sealed


class Yard:
    """The engine with one runner, one person and time."""

    def __init__(self) -> None:
        self.store = SqliteStore(":memory:")
        self.now = 1_700_000_000_000
        with self.store.begin() as tx:
            self.user = tx.add(User(0, "root", is_admin=True))
            self.project = tx.add(Project(0, "group/app", "app"))
            tx.add(Project(0, "g/p", "p"))
            self.runner = tx.add(Runner(0, "r", "local", stock=False))

    def ends(self, plan: Plan, fail_every: int) -> bool:
        """Whether all of it comes to an end."""
        ask = make_trigger(project=self.project, actor=self.user, now=self.now)
        with self.store.begin() as tx:
            run = trigger.accept(tx, ask, plan, self.now, TERMS)
        for turn in range(ROUNDS):
            self.now += 3_600_000
            with self.store.begin() as tx:
                upkeep.sweep(tx, self.now, TERMS)
                self._people(tx, run.id)
                self._start_bridges(tx)
                self._work(tx, turn, fail_every)
            with self.store.look() as tx:
                found = tx.get(Run, run.id)
                if found is not None and found.state is State.DONE:
                    return True
        return False

    def _people(self, tx: Tx, run_id: int) -> None:
        for _, attempt in tx.graph(run_id):
            fresh = tx.get(Attempt, attempt.id)
            if fresh is not None and fresh.hold is Hold.MANUAL:
                control.play(tx, fresh.id, self.now, self.user.id)

    def _start_bridges(self, tx: Tx) -> None:
        small = Plan((WorkflowPlan("w", jobs=(JobPlan("j", "j"),)),))
        for attempt_id in bridges.waiting(tx):
            order = bridges.order(tx, attempt_id, self.now, PlainVault(), TERMS)
            if isinstance(order, bridges.Order):
                ask = replace(
                    make_trigger(actor=self.user),
                    project=order.project,
                    ref=order.ref or "main",
                    now=self.now,
                )
                bridges.started(tx, attempt_id, ask, small, self.now, TERMS)
            elif order is not None:
                bridges.failed(tx, attempt_id, order.reason, order.message, self.now)

    def _work(self, tx: Tx, turn: int, fail_every: int) -> None:
        while got := dispatch.claim(tx, self.runner, lambda id: f"glcbt-{id}", self.now, TERMS, PlainVault()):
            bad = fail_every and (got.attempt_id + turn) % fail_every == 0
            end = Finish(Outcome.FAILED, Reason.SCRIPT, 1) if bad else Finish(Outcome.PASSED)
            dispatch.finish(tx, got.attempt_id, got.token, end, self.now)


def judged(written: dict[str, Any], fail_every: int) -> None:
    text = dump(written)
    files = Tree({".gitlab-ci.yml": text, "x.yml": ".h: {script: [from x]}\nx: {script: [y]}\n", "x.txt": ""})
    try:
        plan = compile(make_trigger(), files)
    except NothingToRun:
        return
    except Invalid as error:
        assert error.problems and all(p.file and p.line >= 1 and p.column >= 1 for p in error.problems), text
        return
    assert not [p for p in check(files) if p.severity == "error"], (
        f"compile takes what check refuses:\n{text}"
    )
    yard = Yard()
    try:
        assert yard.ends(plan, fail_every), f"this does not end:\n{text}"
    finally:
        yard.store.close()


QUICK = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck), print_blob=False
)  # fmt: skip


@QUICK
@given(config, st.integers(0, 4))
def test_a_configuration_is_refused_with_a_place_or_comes_to_an_end(
    written: dict[str, Any], fail_every: int
) -> None:
    judged(written, fail_every)


GOOD = st.fixed_dictionaries(
    {"script": one_of(["x"]), "stage": st.sampled_from(STAGES[:3])},
    optional={
        "rules": st.lists(st.fixed_dictionaries({}, optional={"if": one_of("$CI", "$NOPE", '$A == "1"'), "when": st.sampled_from(WHENS[:4])}), min_size=1, max_size=3),
        "allow_failure": st.booleans(),
        "parallel": one_of(2, {"matrix": [{"V": ["1", "2"]}]}),
        "retry": one_of(1, 2),
        "resource_group": one_of("g", "h"),
        "environment": one_of("prod"),
        "interruptible": st.booleans(),
        "needs": st.lists(st.fixed_dictionaries({"job": one_of("a", "b"), "optional": st.just(True)}), max_size=1),
    },
)  # fmt: skip


@QUICK
@given(st.dictionaries(one_of("a", "b", "c", "d"), GOOD, min_size=1), st.integers(0, 4))
def test_what_is_well_written_mostly_runs_and_always_ends(written: dict[str, Any], fail_every: int) -> None:
    judged(
        {**written, "e": {"stage": "deploy", "trigger": {"include": "x.yml", "strategy": "depend"}}},
        fail_every,
    )


@pytest.mark.slow
@settings(QUICK, max_examples=5000)
@given(config, st.integers(0, 4))
def test_many_more_of_them(written: dict[str, Any], fail_every: int) -> None:
    judged(written, fail_every)
