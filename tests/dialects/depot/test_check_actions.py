"""`runyard check` of steps that use actions of the same repository, and of conditions that depend on
nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from runyard.dialects.depot import DIALECT

PATH = ".depot/workflows/a.yml"
ACTION = """
inputs: {Need: {required: true}, opt: {required: true, default: a}, old: {deprecationMessage: use opt}}
outputs: {said: {value: x}}
runs: {using: composite, steps: [{run: echo, shell: bash}]}
"""
PROGRAM = ACTION.replace(
    "{using: composite, steps: [{run: echo, shell: bash}]}", "{using: node20, main: x.js}"
)


class Tree:
    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def read(self, path: str) -> bytes | None:
        return self.files[path].encode() if path in self.files else None

    def paths(self) -> Sequence[str]:
        return sorted(self.files)

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        return None


def checked(steps: str, **files: str) -> list[str]:
    text = f"on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n{steps}"
    given = {"act/action.yml": ACTION, "js/action.yaml": PROGRAM, "box/Dockerfile": "FROM x", **files}
    return [f"{p.line}: {p.message}" for p in DIALECT.check(Tree({PATH: text, **given}), PATH)]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("{uses: ./act, with: {need: 1}}", []),
        ("{uses: $/act/, with: {NEED: 1, opt: 2}}", []),
        ("{uses: ./box, with: {args: x}}", []),
        ("{uses: ./act}", ["6: Input 'Need' of this action is required, but not given"]),
        ("{uses: ./act, with: {need: 1, nede: 2}}", ["6: Unexpected input 'nede'"]),
        ("{uses: ./act, with: {need: 1, old: 2}}", ["6: Input 'old' of this action is deprecated: use opt"]),
        ("{uses: ./gone}", ["6: there is no action in 'gone' of this repository"]),
        (
            "{id: s, uses: ./act, with: {need: '${{ steps.s.outputs.x }}'}}",
            ["6: `steps` has no property 's'"],
        ),
    ],
)
def test_inputs(step: str, said: list[str]) -> None:
    assert checked(f"      - {step}\n") == said


def test_outputs_of_a_composite_action_are_those_it_declares() -> None:
    use = "      - {{id: s, uses: ./{0}, with: {{need: 1}}}}\n      - run: echo ${{{{ steps.s.outputs.SAID }}}} ${{{{ steps.s.outputs.other }}}}\n"
    assert checked(use.format("act")) == ["7: `steps.s.outputs` has no property 'other'"]
    assert checked(use.format("js")) == []  # a program may set any


def test_an_action_that_cannot_be_read_is_said_where_it_is_used() -> None:
    found = checked("      - uses: ./bad\n", **{"bad/action.yml": "runs:\n  using: node9"})
    assert found == [
        "6: this action cannot be used: bad/action.yml:2:3: 'using: node9' is not known; expected node20, node24, composite or docker"
    ]


def test_other_checkouts_and_lone_workflows_leave_paths_unjudged() -> None:
    other = "      - {uses: actions/checkout@v4, with: {repository: a/b, path: gone}}\n      - uses: ./gone\n"
    assert checked(other) == []
    text = "on: push\njobs:\n  a: {runs-on: ubuntu-latest, steps: [{uses: ./gone}]}\n"
    assert DIALECT.check(Tree({PATH: text}), PATH) == []


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("true", "true"),
        ("${{ 'x' }}", "true"),
        ("${{ false }}", "false"),
        ("1 > 2 || ''", "false"),
        ("always()", ""),
        ("github.ref == 'x' || true", ""),
        ("!cancelled()", ""),
    ],
)
def test_conditions_that_depend_on_nothing(condition: str, said: str) -> None:
    found = checked(f'      - {{run: x, if: "{condition}"}}\n')
    assert found == ([f"6: this `if` is always {said}: it depends on nothing"] if said else [])


def test_a_job_without_steps_and_a_shell_of_another_system() -> None:
    text = "on: push\njobs:\n  a: {runs-on: ubuntu-latest, steps: []}\n  b: {runs-on: ubuntu-latest, steps: [{run: x, shell: cmd}]}\n"
    found = DIALECT.check(Tree({PATH: text}), PATH)
    assert [(p.line, p.severity) for p in found] == [(3, "warning"), (4, "warning")]
    assert (
        found[0].message == "job 'a' has no steps"
        and "the shell 'cmd' is only on Windows" in found[1].message
    )
