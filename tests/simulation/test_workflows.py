"""Actions workflows under chance: whatever the parser accepts ends in a terminal state, with runners that
lie, crashes and clock jumps as for any other plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import sim_makers
import sim_world
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sim_plans import Pick

from runyard.dialects.depot import DIALECT
from runyard.model.errors import Invalid
from runyard.model.plan import Plan
from runyard.model.trigger import Commit, Trigger
from runyard.model.work import Project, User

PATH = ".github/workflows/x.yml"
CONDITIONS = [
    "", "", "always()", "failure()", "success()", "cancelled()", "'text'", "needs.*.result == 'success'", "!cancelled()", "fromJSON('[1')[9]",
    "github.ref == 'refs/heads/main' && success()", "contains(needs.*.result, 'failure')", "toJSON(needs) != ''", "vars.X", "inputs.x || false",
]  # fmt: skip
MATRICES = [
    "", "", "{a: [1, 2]}", "{a: [1, 2], b: [x, y], exclude: [{a: 1, b: x}]}", "{include: [{a: 1}, {a: 2}]}", "{a: '${{ fromJSON(''[1,2,3]'') }}'}",
    "'${{ fromJSON(needs.j0.outputs.m) }}'", "{a: '${{ fromJSON(needs.j0.outputs.m || ''[]'') }}'}",
]  # fmt: skip
CONCURRENCY = [
    "", "", "", "group", "{group: g, cancel-in-progress: true}", "{group: '${{ github.ref }}-${{ matrix.a }}', cancel-in-progress: false}",
    "{group: g, queue: max}", "{group: '${{ needs.j0.outputs.m }}x', cancel-in-progress: '${{ github.ref == ''x'' }}'}",
]  # fmt: skip
STEPS = [
    "run: echo hi", "{id: s, run: exit 1, continue-on-error: true}", "{run: x, if: always()}", "{uses: actions/checkout@v4}", "{run: x, if: failure(), timeout-minutes: 1}",
]  # fmt: skip


def workflow(pick: Pick) -> str:
    """A file whose every part is chosen."""
    lines = ["on: [push, workflow_dispatch]", f"name: w{pick(3)}"]
    if rule := CONCURRENCY[pick(len(CONCURRENCY))]:
        lines.append(
            f"concurrency: {rule}" if "needs" not in rule and "matrix" not in rule else "concurrency: w"
        )
    lines.append("jobs:")
    count = 1 + pick(5)
    for number in range(count):
        needs = sorted({pick(number) for _ in range(pick(3))}) if number else []
        lines += (
            [f"  j{number}:", f"    needs: [{', '.join(f'j{n}' for n in needs)}]"]
            if needs
            else [f"  j{number}:"]
        )
        lines.append(
            "    runs-on: " + ["ubuntu-latest", "[self-hosted, big]", "${{ github.ref && 'x' }}"][pick(3)]
        )
        for key, value in (
            ("if", CONDITIONS[pick(len(CONDITIONS))]),
            ("concurrency", CONCURRENCY[pick(len(CONCURRENCY))]),
            ("continue-on-error", ["", "true", "${{ github.ref == 'x' }}"][pick(3)]),
            ("timeout-minutes", ["", "1", "${{ fromJSON('2') }}"][pick(3)]),
            ("environment", ["", "", "prod"][pick(3)]),
        ):
            lines += [f"    {key}: {value}"] if value else []
        if matrix := MATRICES[pick(len(MATRICES))]:
            lines.append(
                f"    strategy: {{matrix: {matrix}, fail-fast: {['true', 'false'][pick(2)]}{', max-parallel: 1' if pick(2) else ''}}}"
            )
        lines.append(
            "    outputs: {m: " + ["'[1,2]'", "'[]'", "nonsense", "'${{ steps.s.outputs.x }}'"][pick(4)] + "}"
        )
        lines.append("    steps:")
        lines += [f"      - {STEPS[pick(len(STEPS))]}" for _ in range(1 + pick(2))]
    return "\n".join(lines) + "\n"


class One:
    """A tree of one file."""

    def __init__(self, text: str) -> None:
        self.data = text.encode()

    def read(self, path: str) -> bytes | None:
        return self.data if path == PATH else None

    def paths(self) -> Sequence[str]:
        return [PATH]

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        return None


def compiled(text: str) -> Plan | None:
    """The plan, or None when the parser refuses."""
    trigger = Trigger(
        Project(1, "group/project"), "depot", "push", "main", "a" * 40, User(1, "root"), 1_700_000_000_000, commit=Commit("a" * 40), options={"workflow": PATH}
    )  # fmt: skip
    try:
        return DIALECT.compile(trigger, One(text))
    except Invalid:
        return None


accepted: list[bool] = []


def plan_of(pick: Pick) -> Plan:
    found = compiled(workflow(pick))
    accepted.append(found is not None)
    return found or sim_world.SMALL


@pytest.fixture(autouse=True)
def workflows_are_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim_world, "make_plan", plan_of)
    monkeypatch.setattr(sim_world, "ENDS", [*sim_world.ENDS, *sim_makers.ENDS])


@pytest.mark.parametrize("block", range(4))
def test_every_accepted_workflow_ends(block: int) -> None:
    accepted.clear()
    for seed in range(block * 6, block * 6 + 6):
        sim_world.history(seed, 60)
    assert sum(accepted) > len(accepted) / 3 > 1


@settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(st.data())
def test_an_accepted_workflow_alone_ends(data: Any) -> None:
    world = sim_world.World(lambda n: data.draw(st.integers(0, n - 1)) if n > 1 else 0)
    try:
        world.submit()
        world.pick = lambda n: 0
        world.drain()
    finally:
        world.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_workflows_end() -> None:
    for seed in range(20_000, 20_300):
        sim_world.history(seed, 120)
