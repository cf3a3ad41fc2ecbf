"""`runyard check` of workflows: what is warned about beyond what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from runyard.dialects.depot import DIALECT
from runyard.model.trigger import Files

PATH = ".depot/workflows/a.yml"


class One:
    """A tree of one file."""

    def __init__(self, text: str) -> None:
        self.text = text

    def read(self, path: str) -> bytes | None:
        return self.text.encode() if path == PATH else None

    def paths(self) -> Sequence[str]:
        return [PATH]

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        return None


def checked(steps: str, job: str = "") -> list[tuple[int, str, str]]:
    text = f"on: push\njobs:\n  first: {{runs-on: ubuntu-latest, steps: [{{run: x}}]}}\n  a:\n    needs: first\n    runs-on: ubuntu-latest\n{job}    steps:\n{steps}"
    files: Files = One(text)
    return [(p.line, p.severity, p.message) for p in DIALECT.check(files, PATH)]


@pytest.mark.parametrize(
    "path",
    [
        "github.head_ref",
        "github.event.issue.title",
        "github.event.commits[0].message",
        "join(github.event.pages.*.page_name)",
    ],
)
def test_strangers_text_in_a_script_is_warned_about(path: str) -> None:
    found = checked(
        f"      - run: echo ${{{{ {path} }}}}\n      - env: {{T: '${{{{ {path} }}}}'}}\n        run: echo \"$T\"\n"
    )
    assert [(line, severity) for line, severity, _ in found] == [(8, "warning")]


def test_every_broken_expression_of_a_text_is_blamed_at_its_own_place() -> None:
    text = "echo ${{ github.sha && }} ${{ github.ref }} ${{ contains('x') }} ${{ 1 + 1 }} ${{ open"
    files: Files = One(
        f"on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: {text}\n"
    )
    found = DIALECT.check(files, PATH)
    assert [(p.line, p.column - len("      - run: "), p.message.partition(":")[0]) for p in found] == [
        (6, text.index("}}") + 1, "Unexpected end of expression"),
        (6, text.index("contains") + 1, "Too few parameters supplied"),
        (6, text.index("+") + 1, "Unexpected symbol"),
        (
            6,
            text.index("${{ open") + 1,
            "The expression is not closed. An unescaped ${{ was found without }}",
        ),
    ]


def test_an_if_that_is_always_true() -> None:
    found = checked("      - {run: x, if: \"${{ github.ref_name }} == 'main'\"}\n")
    assert found == [(8, "warning", "this `if` is always true: there is text around its ${{ }}")]
    assert (
        checked("      - run: x\n        if: |\n          ${{ github.sha == 'main' }}\n")[0][2] == found[0][2]
    )
    assert checked("      - run: x\n        if: |\n          github.sha == 'main'\n") == []


def test_needs_and_steps_that_are_not_there() -> None:
    found = checked(
        "      - {id: s, run: 'echo ${{ steps.t.outputs.a }}'}\n      - {id: t, run: 'echo ${{ needs.frist.result }}', if: steps.x.outcome == 'success'}\n"
    )
    assert [message for _, _, message in found] == [
        "`steps` has no property 't'",
        "`needs` has no property 'frist'",
        "`steps` has no property 'x'",
    ]
    assert (
        checked(
            "      - {id: s, run: x}\n      - {run: 'echo ${{ steps.S.outcome }} ${{ join(needs.*.result) }} ${{ needs.first.result }}'}\n"
        )
        == []
    )


def test_a_missing_file_is_a_problem_and_the_example_has_none() -> None:
    from pathlib import Path

    assert [p.message for p in DIALECT.check(One(""), "nope.yml")] == ["There is no such file"]
    example = Path(__file__).parents[3] / "examples/depot/.depot/workflows/ci.yml"
    assert DIALECT.check(One(example.read_text()), PATH) == []


@pytest.mark.parametrize(
    ("steps", "column", "message"),
    [
        ("      - run: echo ${{ github.event_nam }}\n", 30, "`github` has no property 'event_nam'"),
        (
            "      - run: echo ${{ github.event }}\n",
            30,
            "`github.event` is an object, of which a text makes 'Object'",
        ),
        (
            "      - run: echo ${{ github.sha.x }}\n",
            34,
            "`github.sha` is a string, which has no property 'x'",
        ),
        (
            "      - run: echo ${{ startsWith(github.event, 'x') }}\n",
            41,
            "`github.event` is an object; startsWith() takes texts",
        ),
        (
            "      - run: echo ${{ format('{0} {1}', 1) }}\n",
            23,
            "the format has a place {1}, but only 1 arguments are given",
        ),
        (
            "      - run: 'echo ::set-output name=a::b'\n",
            19,
            "the workflow command `set-output` is deprecated",
        ),
        ("      - run: echo ${{ needs.first.outputs.a }}\n", 43, "`needs.first.outputs` has no property 'a'"),
        ("      - run: echo ${{ matrix.os }}\n", 30, "`matrix` has no property 'os'"),
        ("      - run: echo ${{ job.status && runner.nam }}\n", 44, "`runner` has no property 'nam'"),
    ],
)
def test_what_an_expression_gives_is_judged_at_its_place(steps: str, column: int, message: str) -> None:
    text = f"on: push\njobs:\n  first: {{runs-on: ubuntu-latest, steps: [{{run: x}}]}}\n  a:\n    needs: first\n    runs-on: ubuntu-latest\n    steps:\n{steps}"
    assert [(p.line, p.column, p.message) for p in DIALECT.check(One(text), PATH)] == [(8, column, message)]
