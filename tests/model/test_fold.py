"""The composite rule against the table of contracts/gitlab.md §3.9 (written here as data), for every set of
children."""

from __future__ import annotations

from itertools import combinations

import pytest

from runyard.model.fold import Folded, Share, Word, composite, fold, fold_parents, word
from runyard.model.state import Hold, Outcome, State

# (number, "only" these / "any" of these, answer); "only" of a set without any of them is rule 3's empty case
RULES: list[tuple[int, str, str, str]] = [
    (2, "only", "skipped ignored", "skipped"),
    (3, "only", "success skipped ok_warn ignored", "success"),
    (4, "only", "created ok_warn ignored", "created"),
    (6, "only", "canceled success skipped ok_warn ignored", "canceled"),
    (7, "only", "pending created skipped ok_warn ignored", "pending"),
    (8, "any", "running pending", "running"),
    (9, "any", "waiting_for_resource", "waiting_for_resource"),
    (11, "any", "manual", "manual"),
    (12, "any", "scheduled", "scheduled"),
    (14, "any", "created", "running"),
    (15, "any", "canceling", "canceling"),
]


def by_table(words: frozenset[str], dag: bool) -> str:
    if dag and words & {"skipped", "ignored"}:
        return "skipped"
    if not words:
        return "success"
    for _, kind, listed, answer in RULES:
        names = set(listed.split())
        if (kind == "only" and words <= names) or (kind == "any" and words & names):
            return answer
    return "errored" if "errored" in words else "failed"


@pytest.mark.parametrize("dag", [False, True])
def test_every_set_of_children_folds_as_the_table_says(dag: bool) -> None:
    for size in range(len(Word) + 1):
        for chosen in combinations(Word, size):
            words = frozenset(chosen)
            assert composite(words, dag=dag) == by_table(frozenset(w.value for w in words), dag), words


def test_a_parent_alone_passes_its_state_on() -> None:
    for folded in (
        Folded(State.WAITING),
        Folded(State.QUEUED),
        Folded(State.RUNNING),
        Folded(State.STOPPING),
        Folded(State.HELD, hold=Hold.MANUAL),
        Folded(State.HELD, hold=Hold.DELAYED),
        Folded(State.HELD, hold=Hold.CONCURRENCY),
        Folded(State.DONE, Outcome.PASSED),
        Folded(State.DONE, Outcome.PASSED, warnings=True),
        Folded(State.DONE, Outcome.FAILED),
        Folded(State.DONE, Outcome.ERRORED),
        Folded(State.DONE, Outcome.CANCELED),
        Folded(State.DONE, Outcome.SKIPPED),
    ):
        assert fold_parents([folded]) == folded


DONE = State.DONE
PASSED, FAILED, ERRORED = Outcome.PASSED, Outcome.FAILED, Outcome.ERRORED


@pytest.mark.parametrize(
    ("children", "wanted"),
    [
        ([], Folded(DONE, PASSED)),
        ([Share(DONE, PASSED), Share(State.WAITING)], Folded(State.RUNNING)),
        ([Share(DONE, PASSED), Share(State.HELD, hold=Hold.MANUAL)], Folded(State.HELD, hold=Hold.MANUAL)),
        ([Share(DONE, PASSED), Share(State.HELD, hold=Hold.MANUAL, allowed=True)], Folded(DONE, PASSED)),
        ([Share(State.HELD, hold=Hold.MANUAL, allowed=True)], Folded(DONE, Outcome.SKIPPED)),
        ([Share(DONE, PASSED), Share(DONE, FAILED, allowed=True)], Folded(DONE, PASSED, warnings=True)),
        ([Share(DONE, PASSED), Share(DONE, FAILED)], Folded(DONE, FAILED)),
        ([Share(DONE, ERRORED), Share(DONE, FAILED)], Folded(DONE, ERRORED)),
        ([Share(DONE, PASSED), Share(DONE, Outcome.CANCELED)], Folded(DONE, Outcome.CANCELED)),
        ([Share(DONE, FAILED), Share(DONE, Outcome.CANCELED)], Folded(DONE, FAILED)),
        ([Share(State.QUEUED), Share(State.WAITING)], Folded(State.QUEUED)),
        ([Share(State.QUEUED), Share(DONE, PASSED)], Folded(State.RUNNING)),
        ([Share(State.STOPPING), Share(DONE, Outcome.CANCELED)], Folded(State.STOPPING)),
        ([Share(DONE, Outcome.SKIPPED), Share(DONE, PASSED)], Folded(DONE, PASSED)),
        ([Share(DONE, Outcome.SKIPPED)], Folded(DONE, Outcome.SKIPPED)),
    ],
)
def test_a_workflow_shows_its_jobs(children: list[Share], wanted: Folded) -> None:
    assert fold(children) == wanted


def test_every_state_of_a_child_has_a_word() -> None:
    for allowed in (False, True):
        for state in State:
            outcomes = list(Outcome) if state is DONE else [None]
            holds = list(Hold) if state is State.HELD else [None]
            for outcome in outcomes:
                for hold in holds:
                    assert word(Share(state, outcome, hold, allowed)) in Word


def test_a_run_warns_when_one_of_its_workflows_does() -> None:
    fine, warned = Folded(DONE, PASSED), Folded(DONE, PASSED, warnings=True)
    assert fold_parents([fine, warned]) == Folded(DONE, PASSED, warnings=True)
    assert fold_parents([warned, Folded(DONE, FAILED)]) == Folded(DONE, FAILED)
