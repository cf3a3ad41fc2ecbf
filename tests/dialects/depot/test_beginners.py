"""Mistakes that beginners make: one located blame for each, and a hint that leads on."""

from __future__ import annotations

import pytest

from runyard.dialects.depot import DIALECT
from tests.dialects.depot.test_check import PATH, One

HEAD = "on: push\njobs:\n  build:\n    runs-on: ubuntu-latest\n"
STEPS = "    steps: [{run: make}]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("on: push\njobs:\n  build:\n    runs_on: x\n" + STEPS, ["4:5 Unexpected value 'runs_on' (did you mean 'runs-on'?)"]),
        ("on: push\njob:\n  build: {}\n", ["2:1 Unexpected value 'job' (did you mean 'jobs'?)"]),
        ("on: push\njobs:\n  - build: {}\n", ["3:3 A sequence was not expected; expected a mapping (write `key: value` lines without `- `)"]),
        (HEAD + "    steps:\n      run: make\n", ["6:7 A mapping was not expected; expected a sequence (begin each item with `- `)"]),
        (HEAD + STEPS + "    run: make\n", ["6:5 Unexpected value 'run' (a key of a step; indent it under its `- `)"]),
        (HEAD + "    env:\n      - A=1\n" + STEPS, ["6:7 A sequence was not expected; expected a mapping (write `key: value` lines without `- `)"]),
        (HEAD + "    timeout-minutes: 10 minutes\n" + STEPS, ["5:22 Unexpected value '10 minutes' (expected a number)"]),
        (HEAD + "    strategy: {matrix: {a: 3.11}}\n" + STEPS, ["5:28 Unexpected value '3.11' (expected a sequence)"]),
        (HEAD + "    steps:\n      - uses: actions/setup-node@v4\n        cache: npm\n", ["7:9 Unexpected value 'cache' (inputs of an action stand under `with`)"]),
        (HEAD + "    steps:\n      - {run: x, nam: y}\n", ["6:18 Unexpected value 'nam' (did you mean 'name'?)"]),
        (HEAD + "    if: github.ref = 'x'\n" + STEPS, ["5:20 Unexpected symbol: '='. Located at position 12 within expression: github.ref = 'x' (equality is ==)"]),
        (HEAD + "    if: github.ref == \"x\"\n" + STEPS, ["5:23 Unexpected symbol: '\"x\"'. Located at position 15 within expression: github.ref == \"x\" (texts stand in single quotes)"]),
        (HEAD + "    steps:\n      - run: echo ${{ github.run_id + 1 }}\n", ["6:37 Unexpected symbol: '+'. Located at position 16 within expression:  github.run_id + 1  (there is no arithmetic; format('{0}{1}', a, b) joins texts)"]),
    ],
)  # fmt: skip
def test_each_mistake_is_blamed_once_at_its_place(text: str, said: list[str]) -> None:
    found = DIALECT.check(One(text), PATH)
    assert [
        f"{p.line}:{p.column} {p.message}" + (f" ({p.suggestion})" if p.suggestion else "") for p in found
    ] == said
