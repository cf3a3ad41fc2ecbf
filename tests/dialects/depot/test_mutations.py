"""Broken workflows of every kind end as refusals: thousands of mutations of a real one, and of
expressions."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Sequence
from pathlib import Path

from runyard.dialects.depot import DIALECT
from runyard.model.errors import RunyardError
from runyard.model.trigger import Trigger
from runyard.model.work import Project, User
from runyard.syntax.expressions import ExpressionError, Status, condition, render

ROUNDS = int(os.environ.get("RUNYARD_MUTATIONS", "400"))
EXAMPLE = (Path(__file__).parents[3] / "examples/depot/.depot/workflows/ci.yml").read_text()
PATH = ".depot/workflows/ci.yml"
SCRAPS = [
    "null", "[]", "{}", "[[]]", "{a: b}", "true", "-1", "1e999", "''", "${{ x }}", "${{", "${{ github }}", "${{ toJSON(github) }}", "*a", "&a x",
    "!t x", "- ", "? x", "<<: {a: b}", "\t", "\0", "\u2028", "a" * 300, "${{ fromJSON('[1,2]') }}", "${{ matrix }}", "'", '"', "|", "__x", "9" * 30,
]  # fmt: skip


class One:
    """A tree of one file."""

    def __init__(self, text: str) -> None:
        self.text = text

    def read(self, path: str) -> bytes | None:
        return self.text.encode("utf-8", "surrogatepass") if path == PATH else None

    def paths(self) -> Sequence[str]:
        return [PATH]

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        return None


def mutated(rng: random.Random) -> str:
    lines = EXAMPLE.split("\n")
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(lines))
        match rng.randrange(6):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[rng.randrange(len(lines))])
            case 2:
                lines[at] = re.sub(r":.*", ": " + rng.choice(SCRAPS), lines[at], count=1)
            case 3:
                lines[at] = "  " + lines[at]
            case 4:
                lines[at] = lines[at].replace("- ", rng.choice(SCRAPS) + " ", 1)
            case _:
                place = rng.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:place] + rng.choice(SCRAPS) + lines[at][place:]
        lines = lines or [""]
    return "\n".join(lines)


def test_mutated_workflows_compile_or_are_refused() -> None:
    refused = 0
    for seed in range(ROUNDS):
        files = One(mutated(random.Random(seed)))
        trigger = Trigger(
            project=Project(1, "g/p"), dialect="depot", source="api", ref="main", sha="a" * 40, actor=User(1, "u"), now=1,
            options={"event": "api", "workflow": PATH},
        )  # fmt: skip
        try:
            DIALECT.compile(trigger, files)
        except RunyardError:
            refused += 1
        for problem in DIALECT.check(files, PATH):
            assert problem.file == PATH and problem.line > 0, (seed, problem)
    assert ROUNDS // 4 < refused < ROUNDS


def test_any_expression_evaluates_or_is_an_expression_error() -> None:
    rng = random.Random(3)
    words = [
        "a",
        ".b",
        "[0]",
        "['x']",
        ".*",
        "(",
        ")",
        ",",
        "'t'",
        "1",
        "==",
        "!",
        "&&",
        "||",
        "<",
        "format(",
        "join(",
        "toJSON(",
        "fromJSON(",
        "success()",
        " ",
        "case(",
        "contains(",
    ]
    context = {"a": {"b": [1, {"x": None}], "x": "y"}}
    ended = 0
    for _ in range(ROUNDS * 10):
        text = "".join(rng.choices(words, k=rng.randrange(1, 9)))
        try:
            condition(text, context, Status())
            render(f"x ${{{{ {text} }}}}", context)
            ended += 1
        except ExpressionError as error:
            assert 0 <= error.offset <= len(text) + 7
    assert ended > ROUNDS // 10
