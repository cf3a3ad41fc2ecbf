"""Workflows that are made to hurt end as refusals or plans within seconds of processor time and without being
executed by anyone on the way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import pytest

from runyard.dialects.depot import DIALECT
from runyard.model.errors import RunyardError
from runyard.model.trigger import Commit, Trigger
from runyard.model.work import Project, User

PATH = ".github/workflows/x.yml"
MIB = 1 << 20
HEAD = "on: push\njobs:\n"
JOB = "  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: "
LIMIT_S = 20.0  # of processor time, on a slow and busy machine; most take hundredths


def job(text: str) -> str:
    return f"{HEAD}  a:\n    runs-on: ubuntu-latest\n    {text}\n    steps: [{{run: x}}]\n"


def many_needs(count: int) -> str:
    jobs = (
        f"  j{n}: {{runs-on: x, needs: [{', '.join(f'j{m}' for m in range(n))}], steps: [{{run: x}}]}}\n"
        for n in range(count)
    )
    return HEAD + "".join(jobs)


HOSTILE = {
    "deep flow": HEAD + "  a: " + "[" * 5000,
    "deep blocks": "".join(" " * n + "a:\n" for n in range(700)),
    "alias bomb": "on: push\nx: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(f"y{n}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(12)) + "jobs: {}\n",
    "a million blanks": HEAD + " " * (MIB - 100),
    "one MiB of a script": HEAD + JOB + "echo " + "x" * (MIB - 200) + "\n",
    "one MiB of expressions": HEAD + JOB + "|\n" + "          ${{ github.sha }}\n" * 36_000,
    "an expression of 20,000 brackets": HEAD + JOB + "${{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}\n",
    "an expression of 10,000 operators": HEAD + JOB + "${{ " + " && ".join(["github.sha"] * 1900) + " }}\n",
    "a deep dereference": HEAD + JOB + "${{ github" + ".a" * 9000 + " }}\n",
    "stars": HEAD + JOB + "${{ github" + ".*" * 49 + " }}\n",
    "nested calls": HEAD + JOB + "${{ " + "toJSON(" * 3000 + "github" + ")" * 3000 + " }}\n",
    "format that grows": job("name: ${{ format('{0}{0}{0}{0}{0}{0}{0}{0}{0}{0}', format('{0}{0}{0}{0}{0}{0}{0}{0}{0}{0}', format('{0}{0}{0}{0}{0}{0}{0}{0}', toJSON(github)))) }}"),
    "matrix of 10^20": job("strategy: {matrix: {" + ", ".join(f"v{n}: [{', '.join(map(str, range(100)))}]" for n in range(10)) + "}}"),
    "matrix of 256 and includes": job("strategy: {matrix: {a: [" + ", ".join(map(str, range(256))) + "], include: [" + ", ".join(f"{{a: {n}, b{n}: 1}}" for n in range(2000)) + "]}}"),
    "fromJSON of depth": job("name: ${{ fromJSON('" + "[" * 9000 + "]" * 9000 + "') }}"),
    "all needs all": many_needs(250),
    "a long circle": HEAD + "".join(f"  j{n}: {{runs-on: x, needs: j{(n + 1) % 3000}, steps: [{{run: x}}]}}\n" for n in range(3000)),
    "20,000 unknown keys": HEAD + "  a:\n    runs-on: x\n" + "".join(f"    key{n}: 1\n" for n in range(20_000)),
    "10,000 jobs": HEAD + "".join(f"  j{n}: {{runs-on: x}}\n" for n in range(10_000)),
    "1,001 steps": HEAD + "  a:\n    runs-on: x\n    steps:\n" + "      - run: x\n" * 1001,
    "a glob of stars": "on: {push: {branches: ['" + "*a" * 4000 + "']}}\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n",
    "a cron of commas": "on: {schedule: [{cron: '" + "1," * 5000 + "1 * * * *'}]}\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n",
    "injection through names": job("name: \"${{ github.event.head_commit.message }}\""),
    "an expression in an expression": job("env: {A: \"${{ format('{0}', '${{ secrets.X }}') }}\"}"),
    "lone surrogates": job('name: "\\ud800"'),
    "needs as an expression": job("needs: ${{ fromJSON('[\"a\"]') }}"),
}  # fmt: skip


class One:
    """A tree of one file, whose head commit's message is a stranger's."""

    def __init__(self, text: str) -> None:
        self.data = text.encode("utf-8", "replace")

    def read(self, path: str) -> bytes | None:
        return self.data if path == PATH else None

    def paths(self) -> Sequence[str]:
        return [PATH]

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        return None


STRANGER = Trigger(
    Project(1, "group/project"), "depot", "push", "main", "a" * 40, User(1, "root"), 1_700_000_000_000,
    commit=Commit("a" * 40, message="${{ secrets.KEY }} $(id) `id` ' \" ; rm -rf /"), options={"workflow": PATH, "event": "push"},
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_workflow_is_judged_in_bounded_time(name: str) -> None:
    files = One(HOSTILE[name])
    start = time.process_time()
    found = DIALECT.check(files, PATH)
    with suppress(RunyardError):  # anything else would be a 5xx
        assert DIALECT.compile(STRANGER, files).workflows
    assert time.process_time() - start < LIMIT_S

    assert all(len(p.message) <= 500 for p in found)


def test_a_strangers_text_is_a_value_and_never_an_expression() -> None:
    plan = DIALECT.compile(STRANGER, One(HOSTILE["injection through names"]))
    (one,) = plan.workflows[0].jobs
    assert one.name == "${{ secrets.KEY }} $(id) `id` ' \" ; rm -rf /"
    assert not one.drawn
