"""Reusable workflows, late matrices and late keys: what compile makes of them, and what it says when they are
wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from runyard.dialects.depot import DIALECT
from runyard.model.errors import Invalid, NotFound
from runyard.model.plan import Drawn, Given, JobPlan, Labels, Need
from runyard.model.trigger import Files, Trigger
from runyard.model.work import Project, User

ROOT = ".github/workflows/"


class Tree:
    """Files by path; names without a folder lie in .github/workflows."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = {name if "/" in name else ROOT + name: text for name, text in files.items()}

    def read(self, path: str) -> bytes | None:
        found = self._files.get(path)
        return None if found is None else found.encode()

    def paths(self) -> Sequence[str]:
        return sorted(self._files)

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        return None


class Elsewhere:
    """Other repositories of the server."""

    def __init__(self, trees: Mapping[tuple[str, str], Files]) -> None:
        self._trees = trees

    def tree(self, project: str, ref: str) -> tuple[Files, str] | None:
        if project == "other/gone":
            raise NotFound("there is no such ref")
        found = self._trees.get((project, ref))
        return (found, "f" * 40) if found else None

    def tags(self, project: str) -> Sequence[str]:
        return []

    def remote(self, url: str) -> bytes:
        raise NotFound("no")

    def artifact(self, job: str, path: str) -> bytes | None:
        return None

    def template(self, name: str) -> bytes | None:
        return None


def plan(files: Mapping[str, str], **more: Any) -> dict[str, JobPlan]:
    trigger = Trigger(
        project=Project(1, "group/app"),
        dialect="depot",
        source="push",
        ref="main",
        sha="a" * 40,
        actor=User(1, "ann"),
        now=1,
        options={"event": "push", "workflow": "ci.yml"},
        **more,
    )
    made = DIALECT.compile(trigger, Tree(files))
    return {job.key: job for job in made.workflows[0].jobs}


def problems(files: Mapping[str, str], **more: Any) -> list[str]:
    with pytest.raises(Invalid) as caught:
        plan(files, **more)
    return [f"{p.file.rpartition('/')[2]}:{p.line}: {p.message}" for p in caught.value.problems]


CALLED = """
on:
  workflow_call:
    inputs:
      tag: {type: string, required: true}
      deep: {type: boolean, default: true}
      n: {type: number}
    secrets:
      KEY: {required: true}
    outputs:
      url: {value: '${{ jobs.deploy.outputs.url }}'}
env: {A: '${{ inputs.tag }}'}
jobs:
  check:
    name: Check ${{ inputs.tag }}
    runs-on: ubuntu-latest
    steps: [{run: echo}]
  deploy:
    needs: check
    if: inputs.deep
    runs-on: ubuntu-latest
    outputs: {url: '${{ steps.a.outputs.u }}'}
    steps: [{id: a, run: 'echo ${{ secrets.KEY }}'}]
"""


def caller(uses: str = "./.github/workflows/called.yml", more: str = "") -> str:
    return f"""
on: push
jobs:
  a: {{runs-on: x, outputs: {{v: b}}, steps: [{{run: x}}]}}
  c:
    needs: a
    uses: {uses}
    with: {{tag: 'v-${{{{ github.ref_name }}}}'}}
    secrets: {{KEY: '${{{{ secrets.OTHER }}}}'}}
{more}"""


def test_a_call_becomes_a_job_that_unfolds() -> None:
    jobs = plan({"ci.yml": caller(), "called.yml": CALLED})
    assert list(jobs) == ["a", "c"]
    call = jobs["c"]
    part = call.unfold
    assert (
        part is not None and part.calls and not call.claimable and call.needs == (Need("a", artifacts=False),)
    )
    assert part.inputs == {
        "tag": Given("v-${{ github.ref_name }}"),
        "deep": Given(True, "boolean"),
        "n": Given(0, "number"),
    }
    assert part.secrets == {"KEY": "${{ secrets.OTHER }}"}
    assert part.outputs == {"url": "${{ jobs.deploy.outputs.url }}"}
    check, deploy = part.jobs
    # All that these inputs need is known at the push, so the called jobs know them already.
    assert (check.name, check.drawn) == ("Check v-main", None)
    assert deploy.needs == (Need("check", artifacts=False),)
    assert check.context == {"github": {"job": "check"}, "matrix": {}, "strategy": check.context["strategy"]}
    assert {v.key: v.value for v in check.variables}["GITHUB_JOB"] == "check"


def test_inputs_that_wait_for_needs_make_their_jobs_wait() -> None:
    text = caller().replace("v-${{ github.ref_name }}", "${{ needs.a.outputs.v }}")
    call = plan({"ci.yml": text, "called.yml": CALLED})["c"]
    assert call.unfold is not None
    check = call.unfold.jobs[0]
    assert check.drawn == Drawn(name="Check ${{ inputs.tag }}")
    assert call.unfold.inputs["tag"] == Given("${{ needs.a.outputs.v }}")


def test_inherited_secrets_are_all_of_them() -> None:
    text = caller().replace("secrets: {KEY: '${{ secrets.OTHER }}'}", "secrets: inherit")
    call = plan({"ci.yml": text, "called.yml": CALLED})["c"]
    assert call.unfold is not None and call.unfold.secrets is None


def test_a_matrix_of_calls_named_by_its_values() -> None:
    more = "    name: To ${{ matrix.x }}\n    strategy: {matrix: {x: [1, 2]}, max-parallel: 1, fail-fast: false}\n"
    call = plan({"ci.yml": caller(more=more), "called.yml": CALLED})["c"]
    assert call.unfold is not None
    part = call.unfold
    assert (call.name, part.name, part.matrix) == ("c", "To ${{ matrix.x }}", {"x": [1, 2]})
    assert (part.max_parallel, part.fail_fast) == (1.0, False)


def test_a_workflow_of_another_repository_calls_its_own() -> None:
    inner = "on: workflow_call\njobs:\n  last: {runs-on: x, steps: [{run: x}]}\n"
    outer = "on: workflow_call\njobs:\n  deep: {uses: ./.github/workflows/inner.yml}\n"
    reach = Elsewhere({("tools/ci", "v1"): Tree({"outer.yml": outer, "inner.yml": inner})})
    text = "on: push\njobs:\n  c: {uses: tools/ci/.github/workflows/outer.yml@v1}\n"
    call = plan({"ci.yml": text}, reach=reach)["c"]
    assert call.unfold is not None
    (deep,) = call.unfold.jobs
    assert deep.key == "deep" and deep.unfold is not None
    assert [job.key for job in deep.unfold.jobs] == ["last"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"ci.yml": caller()}, "ci.yml:7: The workflow './.github/workflows/called.yml' was not found"),
        (
            {"ci.yml": caller(), "called.yml": "on: push\njobs: {x: {runs-on: x}}\n"},
            "ci.yml:7: The workflow './.github/workflows/called.yml' cannot be called: its `on` has no workflow_call",
        ),
        (
            {"ci.yml": caller(), "called.yml": CALLED.replace("needs: check", "needs: nobody")},
            "called.yml:19: Job 'deploy' depends on unknown job 'nobody'.",
        ),
        (
            {"ci.yml": caller().replace("tag:", "tg:"), "called.yml": CALLED},
            "ci.yml:7: Input 'tag' is required, but not provided while calling",
        ),
        (
            {"ci.yml": caller().replace("tag:", "tag: x, deep: 7, no:"), "called.yml": CALLED},
            "ci.yml:8: Unexpected value for input 'deep': a boolean was expected",
        ),
        (
            {"ci.yml": caller().replace("KEY:", "KAY:"), "called.yml": CALLED},
            "ci.yml:7: Secret 'KEY' is required, but not provided while calling",
        ),
        (
            {"ci.yml": caller("./.github/workflows/ci.yml")},
            "ci.yml:7: The workflow '.github/workflows/ci.yml' calls itself, directly or through others",
        ),
        ({"ci.yml": caller("./elsewhere.yml")}, "ci.yml:7: Invalid workflow reference './elsewhere.yml'"),
        ({"ci.yml": caller("${{ x }}")}, "ci.yml:7: `uses` takes no expressions"),
        (
            {"ci.yml": caller(more="    runs-on: x\n"), "called.yml": CALLED},
            "ci.yml:10: Unexpected value 'runs-on'",
        ),
        (
            {"ci.yml": caller("other/gone/.github/workflows/x.yml@v1")},
            "ci.yml:7: The workflow 'other/gone/.github/workflows/x.yml@v1' was not found: there is no such ref",
        ),
        (
            {"ci.yml": caller("other/none/.github/workflows/x.yml@v1")},
            "ci.yml:7: The workflow 'other/none/.github/workflows/x.yml@v1' was not found",
        ),
    ],
)
def test_a_wrong_call_is_told_with_its_place(files: dict[str, str], said: str) -> None:
    assert said in problems(files, reach=Elsewhere({}))


def test_calls_are_at_most_ten_levels_deep() -> None:
    head = "on: [push, workflow_call]\njobs:\n  c: {uses: ./.github/workflows/%s.yml}\n"
    files = {"ci.yml": head % "w1"} | {f"w{n}.yml": head % f"w{n + 1}" for n in range(1, 12)}
    assert problems(files) == ["w9.yml:3: Workflows may call each other at most 10 levels deep"]


LATE = """
on: push
jobs:
  a: {runs-on: x, outputs: {v: b}, steps: [{run: x}]}
  m:
    needs: a
    name: Leg ${{ matrix.v }}
    strategy:
      matrix: {v: '${{ fromJSON(needs.a.outputs.v) }}', w: [1]}
      fail-fast: ${{ needs.a.outputs.fast == 'yes' }}
    runs-on: ['${{ matrix.v }}', self-hosted]
    timeout-minutes: ${{ matrix.w }}
    continue-on-error: ${{ matrix.w == 1 }}
    concurrency: 'g-${{ matrix.v }}'
    environment: ${{ matrix.v }}
    env: {V: '${{ matrix.v }}'}
    steps: [{run: x, timeout-minutes: '${{ matrix.w }}'}]
"""


def test_a_matrix_that_waits_for_needs() -> None:
    job = plan({"ci.yml": LATE})["m"]
    assert job.unfold is not None and not job.claimable and job.name == "m" and not job.steps
    assert job.unfold.matrix == {"v": "${{ fromJSON(needs.a.outputs.v) }}", "w": [1]}
    assert job.unfold.fail_fast == "${{ needs.a.outputs.fast == 'yes' }}"
    assert job.unfold.name == "Leg ${{ matrix.v }}"
    (leg,) = job.unfold.jobs
    assert leg.drawn == Drawn(
        timeout_minutes="${{ matrix.w }}",
        allow_failure="${{ matrix.w == 1 }}",
        group="g-${{ matrix.v }}",
        environment="${{ matrix.v }}",
        labels=Labels(("${{ matrix.v }}", "self-hosted"), "self-hosted", leg.drawn.labels.without)
        if leg.drawn and leg.drawn.labels
        else None,
    )
    assert [(v.value, v.late) for v in leg.variables if v.key == "V"] == [("${{ matrix.v }}", True)]


def test_a_name_that_waits_for_needs_without_a_matrix() -> None:
    text = LATE.replace("Leg ${{ matrix.v }}", "Of ${{ needs.a.outputs.v }}")
    job = plan({"ci.yml": text})["m"]
    assert job.drawn == Drawn(name="Of ${{ needs.a.outputs.v }}")
    assert job.unfold is not None and job.unfold.name == ""


@pytest.mark.parametrize("matrix", ["{v: '${{ matrix.x }}'}", "'${{ secrets.A }}'"])
def test_a_matrix_may_not_ask_for_what_it_never_knows(matrix: str) -> None:
    text = f"on: push\njobs:\n  m:\n    strategy: {{matrix: {matrix}}}\n    runs-on: x\n"
    assert "Unrecognized named-value" in problems({"ci.yml": text})[0]


def test_a_called_files_own_group_counts_for_the_call() -> None:
    called = CALLED.replace(
        "env: {A", "concurrency: {group: 'g-${{ inputs.tag }}', cancel-in-progress: true}\nenv: {A"
    )
    call = plan({"ci.yml": caller(), "called.yml": called})["c"]
    assert call.concurrency is not None and call.concurrency.group == "g-v-main"
    late = caller().replace("v-${{ github.ref_name }}", "${{ needs.a.outputs.v }}")
    assert plan({"ci.yml": late, "called.yml": called})["c"].concurrency is None
