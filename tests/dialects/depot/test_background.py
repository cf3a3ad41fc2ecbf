"""`background`, `wait`, `wait-all` and `cancel` of steps: what compile makes of them, what it refuses, and
what `check` warns about."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.model.plan import StepKind
from tests.dialects.depot.test_lanes import job, wrong

from .test_check import checked

ALWAYS = "always()"


def shapes(body: str) -> list[tuple[str, StepKind, Any, bool]]:
    return [
        (step.key, step.kind, step.params.get("steps"), step.background)
        for step in job(f"    steps: {body}\n").steps
    ]


def test_they_become_steps_that_always_run() -> None:
    steps = job(
        "    steps: [{run: a, id: a, background: true}, {run: b, background: true}, {wait: a}, {wait: [a], name: Both, id: w}, {cancel: a, continue-on-error: true}, {wait-all: }]\n"
    ).steps
    assert [(step.key, step.name, step.kind, step.params.get("steps"), step.condition) for step in steps] == [
        ("a", "Run a", StepKind.RUN, None, None),
        ("__run", "Run b", StepKind.RUN, None, None),
        ("__wait", "Wait", StepKind.WAIT, ["a"], ALWAYS),
        ("w", "Both", StepKind.WAIT, ["a"], ALWAYS),
        ("__cancel", "Cancel", StepKind.CANCEL, ["a"], ALWAYS),
        ("__wait-all", "Wait for all", StepKind.WAIT, None, ALWAYS),
    ]
    assert [step.background for step in steps] == [True, True, False, False, False, False]
    assert steps[4].continue_on_error is True


@pytest.mark.parametrize(
    ("body", "is_added"),
    [
        ("[{run: a, background: true}, {run: b}]", True),
        ("[{run: a, id: a, background: true}, {wait: a}]", False),
        ("[{run: a, id: a, background: true}, {cancel: a}]", False),
        ("[{uses: ./x, background: true}, {wait-all: true}]", False),
        ("[{wait-all: }, {run: a, background: true}]", True),
        ("[{run: a, background: false}]", False),
    ],
)
def test_the_job_waits_at_its_end_for_those_that_nothing_waits_for(body: str, is_added: bool) -> None:
    last = shapes(body)[-1]
    assert (last == ("__implicit_wait_all", StepKind.WAIT, None, False)) is is_added


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("[{wait: a}]", "Step references unknown step ID 'a'"),
        ("[{wait: b}, {run: b, id: b, background: true}]", "Step references unknown step ID 'b'"),
        ("[{run: b, id: a, background: true}, {wait: [a, c]}]", "Step references unknown step ID 'c'"),
        ("[{cancel: [a]}]", "A sequence was not expected"),
        ("[{cancel: ''}]", "`cancel` must not be empty"),
        ("[{wait-all: false}]", "The value of 'wait-all' must be true or omitted"),
        ("[{wait-all: , if: always()}]", "Unexpected value 'if'"),
        ("[{wait-all: , run: x}]", "Unexpected value 'wait-all'"),
        ("[{run: x, background: '${{ true }}'}]", "`background` takes no expression"),
        ("[{parallel: [{run: x, background: true}]}]", "Parallel steps run in the background by themselves"),
        ("[{parallel: [{wait-all: }]}]", "Parallel steps run in the background by themselves"),
        ("[{name: x}]", "Add one of these properties: run, uses, wait, wait-all, cancel"),
    ],
)
def test_what_is_wrong_with_them(body: str, said: str) -> None:
    assert said in wrong(f"    steps: {body}\n")


def test_check_knows_when_outputs_are_there() -> None:
    found = checked(
        "      - {id: s, run: x, background: true}\n      - run: echo ${{ steps.s.outputs.x }}\n      - wait: s\n      - run: echo ${{ steps.s.outputs.x }}\n"
    )
    assert [(line, severity) for line, severity, _ in found] == [(9, "warning")]
    assert checked("      - {id: s, run: x, background: true}\n") == []


def test_check_sees_a_wait_for_a_step_of_the_foreground() -> None:
    found = checked("      - {id: s, run: x}\n      - wait: s\n")
    assert found == [(9, "warning", "the step 's' does not run in the background")]


@pytest.mark.parametrize(
    ("body", "labels"),
    [
        ("[{run: a}]", ("x",)),
        ("[{run: a, background: true}]", ()),
        ("[{parallel: [{run: a}]}]", ()),
        ("[{run: a, retry: 2}]", ()),
    ],
)
def test_no_runner_of_another_make_gets_steps_that_it_does_not_know(
    body: str, labels: tuple[str, ...]
) -> None:
    assert job(f"    steps: {body}\n").labels == labels
