"""Pairs of tables as a Plan: one job per pair, which runs `python -m runyard.tasks.datadiff` and leaves its report. Nothing is read from git.

Called by the launcher (`Dialect.compile`, an awaiting run or a single diff) and by routes that extend a waiting run with submitted pairs.
`Trigger.options`: `ci` (what the run belongs to, for `Run.extra`) and `jobs` (ready JobPlans, of `diff_job`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import runyard
from runyard.dialects import PushTrigger
from runyard.model.errors import Invalid, Problem
from runyard.model.plan import (
    Bind,
    ConnectionUse,
    Gate,
    JobPlan,
    Network,
    Plan,
    StepKind,
    StepPlan,
    When,
    WorkflowPlan,
)
from runyard.model.trigger import Files, Push, Trigger

WORKFLOW = "diffs"
REPORT = "datadiff"
ROWS = "datadiff_rows"
RESULT_FILE, ROWS_FILE = "result.json", "diff.parquet"
DIFFERENT, COULD_NOT, BAD_KEYS = 1, 2, 3
DATABASES = ("duckdb", "postgres")


class NoFiles:
    """The repository of a run that looks at no file."""

    def read(self, path: str) -> bytes | None:
        """Nothing."""
        return None

    def paths(self) -> Sequence[str]:
        """None."""
        return ()

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        """Unknown."""
        return None


def compile_run(trigger: Trigger, files: Files) -> Plan:
    """A CI run that waits for tables, or a run of the pairs that are already known."""
    jobs: tuple[JobPlan, ...] = tuple(trigger.options.get("jobs") or ())
    about: Mapping[str, Any] = trigger.options.get("ci") or {}
    workflow = WorkflowPlan(WORKFLOW, "Data diffs", jobs=jobs, awaits=not jobs)
    return Plan((workflow,), name=str(trigger.options.get("name", "")), extra={"datafold": dict(about)})


def diff_job(
    spec: Mapping[str, Any],
    connections: Sequence[ConnectionUse],
    request: Mapping[str, Any],
    *,
    errors_fail: bool,
    confirm: bool,
) -> JobPlan:
    """One pair as a job. `connections`: named by id; `request`: what the API shows of the diff.

    Differences are a finding, not a failure: exit 1 is tolerated, so the run ends well and shows a warning.
    """
    key = "diff-" + sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
    a, b = (str(side.get("table") or "query") for side in (spec["a"], spec["b"]))
    name = b if a == b else f"{a} → {b}"
    program = (
        sys.executable,
        "-I",
        "-m",
        "runyard.tasks.datadiff",
        "--spec",
        "{script}",
        "--out",
        "datadiff",
    )
    dialects = {str(c.settings["dialect"]) for c in connections}
    files = [str(c.settings["file"]) for c in connections if c.settings["dialect"] == "duckdb"]
    return JobPlan(
        key=key,
        name=name[:200],
        steps=(
            StepPlan("diff", "Compare", argv=program, script=json.dumps(spec, indent=1)),
            _upload("report", "Keep the report", RESULT_FILE, REPORT),
            _upload("rows", "Keep the differing rows", ROWS_FILE, ROWS),
            _upload("summary", "Keep the summary", "summary.md", "summary"),
        ),
        gate=Gate(When.MANUAL) if confirm else Gate(),
        connections=tuple(connections),
        allow_failure_exit_codes=(DIFFERENT,) if errors_fail else (DIFFERENT, COULD_NOT),
        network=Network.NONE if dialects == {"duckdb"} else Network.HOST,
        binds=tuple(Bind(path) for path in [*_own_paths(), *_with_logs(files)]),
        extra={"datafold": {"request": dict(request)}},
    )


def _upload(key: str, name: str, filename: str, type: str) -> StepPlan:
    params = {
        "name": filename,
        "paths": [f"datadiff/{filename}"],
        "type": type,
        "format": "raw",
        "filename": filename,
        "if_no_files": "ignore",
    }
    return StepPlan(key, name, StepKind.UPLOAD, params=params, condition="always()")


def _with_logs(files: Sequence[str]) -> list[str]:
    """Database files and, where one was left behind, their write-ahead logs: without it DuckDB would show older data."""
    logs = [f"{file}.wal" for file in files]
    return list(dict.fromkeys([*files, *(log for log in logs if Path(log).exists())]))


def _own_paths() -> list[str]:
    """Where this Python and this package lie, so that the box shows them; the system's own /usr is there anyway."""
    found = (Path(sys.prefix), Path(sys.base_prefix), Path(runyard.__file__).parent.parent)
    return list(dict.fromkeys(str(path) for path in found if not path.is_relative_to("/usr")))


def entries(files: Files) -> Sequence[str]:
    """No file of a repository makes a Datafold run."""
    return ()


def check(files: Files, path: str) -> Sequence[Problem]:
    """There is nothing to check."""
    raise Invalid("Datafold runs come from the API; there is no file to check.")


def on_push(push: Push, files: Files) -> Sequence[PushTrigger]:
    """Runs start by the API."""
    return ()
