"""Every case under examples/depot: workflow files and a trigger, and the plan (or the problems) they make.

A case is a folder: files of a repository, `trigger.json` (optional: options, inputs, ref, tag, message,
changed) and `plan.json` or `problems.txt`. With RUNYARD_UPDATE_EXAMPLES=1 the expectations are written anew:
read the diff.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runyard.dialects.depot import DIALECT
from runyard.dialects.depot.workflow.facts import LATE, STEP_ENVIRONMENT
from runyard.dialects.depot.workflow.late import CANCEL_TIMEOUT_S
from runyard.model.errors import Invalid, RunyardError
from runyard.model.plan import JobPlan, Plan, StepPlan, Variable
from runyard.model.trigger import Commit, Trigger
from runyard.model.work import Project, User

CASES = Path(__file__).parents[1] / "examples" / "depot"
OWN = ("trigger.json", "plan.json", "problems.txt")


class Folder:
    """A case's files as a compiler sees them."""

    def __init__(self, root: Path, changed: Sequence[str] | None) -> None:
        files = (path for path in root.rglob("*") if path.is_file() and path.name not in OWN)
        self._files = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
        self._changed = None if changed is None else frozenset(changed)

    def read(self, path: str) -> bytes | None:
        return self._files.get(path)

    def paths(self) -> Sequence[str]:
        return sorted(self._files)

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        return self._changed


def short(plan: Plan) -> Any:
    """A plan without what every plan repeats: defaults, GITHUB_* variables, the step environment,
    contexts."""
    flows = []
    for flow in plan.workflows:
        row = differing(flow, type(flow)(key=""))
        row["jobs"] = [short_job(job) for job in flow.jobs]
        flows.append(row)
    found = {"name": plan.name, "warnings": list(plan.warnings), "workflows": flows}
    return {key: value for key, value in found.items() if value}


def short_job(job: JobPlan) -> Any:
    assert job.late == LATE
    row = differing(job, JobPlan(key="", name=""))
    del row["late"]
    if job.unfold is None:
        assert row.pop("after_limit_s") == CANCEL_TIMEOUT_S
    row.pop("cache_scopes", None)  # as the ref says, everywhere
    context = row.pop("context")
    row |= {key: context[key] for key in ("matrix", "inputs", "vars") if context[key]}
    row["variables"] = {
        v.key: ("late " if v.late else "") + v.value
        for v in job.variables
        if not v.key.startswith("GITHUB_") and v.key != "CI"
    }
    row["steps"] = [short_step(step) for step in job.steps]
    return {key: value for key, value in row.items() if value not in ({}, [], None)}


def short_step(step: StepPlan) -> Any:
    row = differing(step, StepPlan(key="", name="", templated=True, commands=True))
    row["env"] = {k: v for k, v in step.env.items() if k not in STEP_ENVIRONMENT and k != "GITHUB_ACTION"}
    assert step.env["GITHUB_ACTION"] == step.key
    return {key: value for key, value in row.items() if value not in ({}, None)}


def differing(value: Any, default: Any) -> dict[str, Any]:
    mine, theirs = msgspec.to_builtins(value), msgspec.to_builtins(default)
    return {key: item for key, item in mine.items() if item != theirs.get(key)}


def compiled(case: Path) -> tuple[str, str]:
    """(name of the expectation file, its text)."""
    given = json.loads((case / "trigger.json").read_text()) if (case / "trigger.json").exists() else {}
    trigger = Trigger(
        project=Project(7, "group/project"),
        dialect="depot",
        source=given.get("options", {}).get("event", "api"),
        ref=given.get("ref", "main"),
        tag=given.get("tag", False),
        sha="c0ffee" * 6 + "c0ff",
        before_sha=given.get("before", "0" * 40),
        commit=Commit("c0ffee" * 6 + "c0ff", given.get("message", "A commit")),
        actor=User(3, "alice"),
        now=1_800_000_000_000,
        inputs=given.get("inputs", {}),
        options=given.get("options", {}),
        project_variables=tuple(Variable(k, v) for k, v in given.get("vars", {}).items()),
    )
    try:
        plan = DIALECT.compile(trigger, Folder(case, given.get("changed")))
    except Invalid as error:
        lines = [str(problem) for problem in error.problems] or [f"{type(error).__name__}: {error.message}"]
        return "problems.txt", "\n".join(lines) + "\n"
    except RunyardError as error:
        return "problems.txt", f"{type(error).__name__}: {error.message}\n"
    return "plan.json", json.dumps(short(plan), indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("case", sorted(p.name for p in CASES.iterdir()))
def test_a_case_compiles_to_what_is_stored(case: str) -> None:
    name, text = compiled(CASES / case)
    if os.environ.get("RUNYARD_UPDATE_EXAMPLES"):
        for old in OWN[1:]:
            (CASES / case / old).unlink(missing_ok=True)
        (CASES / case / name).write_text(text)
    stored = CASES / case / name
    assert stored.exists(), text
    assert text == stored.read_text()


def test_there_are_enough_cases() -> None:
    assert len(list(CASES.iterdir())) >= 15


def test_a_plan_is_json() -> None:
    for case in CASES.iterdir():
        name, text = compiled(case)
        if name == "plan.json":
            json.loads(text)
