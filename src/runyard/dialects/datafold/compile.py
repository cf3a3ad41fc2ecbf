"""Pairs of tables as a Plan: one job per pair, which runs `python -m runyard.tasks.datadiff` and leaves its
report.

Called by the launcher (`Dialect.compile`: an awaiting run, a single diff, or what a push of a dbt project
builds) and by routes that extend a waiting run. `Trigger.options`: `ci` (what the run belongs to, for
`Run.extra`) and `jobs` (ready JobPlans); `push` for a run that a push starts.
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
from runyard.dialects.datafold.section import SECTION_FILE, has_section, read_section
from runyard.model.errors import Invalid, Problem
from runyard.model.plan import (
    Bind,
    ConnectionUse,
    Gate,
    JobPlan,
    Need,
    Network,
    Plan,
    StepKind,
    StepPlan,
    When,
    WorkflowPlan,
)
from runyard.model.trigger import Files, Push, Trigger

WORKFLOW, CHOICE = "diffs", "choice"
REPORT = "datadiff"
ROWS = "datadiff_rows"
RESULT_FILE, ROWS_FILE = "result.json", "diff.parquet"
DIFFERENT, COULD_NOT, BAD_KEYS = 1, 2, 3


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
    """A CI run that waits for tables, a run of pairs or questions that are already known, or a run that first
    builds both sides."""
    if trigger.options.get("push"):
        return _pushed(trigger, files)
    jobs: tuple[JobPlan, ...] = tuple(trigger.options.get("jobs") or ())
    about: Mapping[str, Any] = trigger.options.get("ci") or {}
    if not jobs and not about:
        raise Invalid(
            "Datafold runs start by the API or by a push to a server; there is nothing to run here."
        )
    workflow = WorkflowPlan(WORKFLOW, "Data diffs", jobs=jobs, awaits=not jobs)
    return Plan((workflow,), name=str(trigger.options.get("name", "")), extra={"datafold": dict(about)})


def _pushed(trigger: Trigger, files: Files) -> Plan:
    """A run that `building.py` gives its jobs: the configuration that says where to build is in the database.
    The second workflow never gets any; it keeps the run open between the end of the build and the diffs that
    follow from it."""
    section = read_section(files)
    about = {
        "ci_config_id": None,
        "pr_num": 0,
        "pr_branch": trigger.ref,
        "pr_sha": trigger.sha,
        "base_branch": "",
        "base_sha": "",
        "source": "push",
        "build": section.model_dump(mode="json"),
    }
    workflows = (
        WorkflowPlan(WORKFLOW, "Builds and data diffs", path=SECTION_FILE, awaits=True),
        WorkflowPlan(CHOICE, "Choice of models", awaits=True),
    )
    return Plan(workflows, name=f"dbt {trigger.ref}", extra={"datafold": about})


def diff_job(
    spec: Mapping[str, Any],
    connections: Sequence[ConnectionUse],
    request: Mapping[str, Any],
    *,
    errors_fail: bool,
    confirm: bool,
    before: tuple[StepPlan, ...] = (),
    needs: tuple[Need, ...] = (),
    files: Sequence[str] = (),
    dependencies: Sequence[Mapping[str, Any]] = (),
) -> JobPlan:
    """One pair as a job. `connections`: named by id; `request`: what the API shows of the diff; `before`:
    steps that bring what is compared; `files` of the server that it reads.

    Differences are a finding, not a failure: exit 1 is tolerated, so the run ends well and shows a warning.
    """
    key = "diff-" + sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
    a, b = (str(side.get("table") or side.get("file") or "query") for side in (spec["a"], spec["b"]))
    name = b if a == b else f"{a} → {b}"
    places = (spec["a"], spec["b"], spec.get("materialize") or {})
    sides = {str(place.get("connection", "")) for place in places}
    asked = [use for use in connections if use.name in sides]
    return JobPlan(
        key=key,
        name=name[:200],
        steps=(
            *before,
            StepPlan(
                "diff", "Compare", argv=program("runyard.tasks.datadiff"), script=json.dumps(spec, indent=1)
            ),
            kept("report", "Keep the report", RESULT_FILE, REPORT),
            kept("rows", "Keep the differing rows", ROWS_FILE, ROWS),
            kept("summary", "Keep the summary", "summary.md", "summary"),
        ),
        needs=needs,
        gate=Gate(When.MANUAL) if confirm else Gate(),
        connections=tuple(asked),
        allow_failure_exit_codes=(DIFFERENT,) if errors_fail else (DIFFERENT, COULD_NOT),
        exit_words={DIFFERENT: "differences found", COULD_NOT: "could not be compared"},
        network=reach(asked),
        binds=shown(asked, files),
        extra={"datafold": {"request": dict(request), "dependencies": list(dependencies)}},
    )


def program(module: str) -> tuple[str, ...]:
    """A task of ours as an argv: reads the step's script as its spec, writes into the folder `datadiff`."""
    return (sys.executable, "-I", "-m", module, "--spec", "{script}", "--out", "datadiff")


def kept(key: str, name: str, filename: str, type: str, folder: str = "datadiff", **more: Any) -> StepPlan:
    """A step that keeps one file as an artifact, if it is there."""
    params = {
        "name": filename,
        "paths": [f"{folder}/{filename}"],
        "type": type,
        "format": "raw",
        "filename": filename,
        "if_no_files": "ignore",
        **more,
    }
    return StepPlan(key, name, StepKind.UPLOAD, params=params, condition="always()")


def reach(connections: Sequence[ConnectionUse]) -> Network:
    """DuckDB files need no network; a server may be anywhere."""
    dialects = {str(use.settings["dialect"]) for use in connections}
    return Network.NONE if dialects <= {"duckdb"} else Network.HOST


def shown(connections: Sequence[ConnectionUse], files: Sequence[str] = ()) -> tuple[Bind, ...]:
    """What of the server the box shows: our own program, the files of databases, named files. A relative file
    lies in the workspace."""
    databases = [str(use.settings["file"]) for use in connections if use.settings["dialect"] == "duckdb"]
    absolute = [file for file in databases if file.startswith("/")]
    return tuple(Bind(path) for path in dict.fromkeys([*own_paths(), *_with_logs(absolute), *files]))


def _with_logs(files: Sequence[str]) -> list[str]:
    """Database files and, where one was left behind, their write-ahead logs: without it DuckDB would show
    older data."""
    logs = [f"{file}.wal" for file in files]
    return list(dict.fromkeys([*files, *(log for log in logs if Path(log).exists())]))


def own_paths() -> list[str]:
    """Where this Python and this package lie, so that the box shows them; the system's own /usr is there
    anyway."""
    found = (Path(sys.prefix), Path(sys.base_prefix), Path(runyard.__file__).parent.parent)
    return list(dict.fromkeys(str(path) for path in found if not path.is_relative_to("/usr")))


def entries(files: Files) -> Sequence[str]:
    """runyard.toml, where it has a section [datafold]."""
    return [SECTION_FILE] if has_section(files) else []


def check(files: Files, path: str) -> Sequence[Problem]:
    """What is wrong with the section."""
    try:
        read_section(files, path)
    except Invalid as error:
        return error.problems or (Problem(error.message, file=path),)
    return ()


def on_push(push: Push, files: Files) -> Sequence[PushTrigger]:
    """A push of a branch with a [datafold] section builds and compares it; the default branch is what others
    are compared with."""
    if push.tag or push.ref == push.project.default_branch or not has_section(files):
        return ()
    return (PushTrigger("push", {"push": True}),)
