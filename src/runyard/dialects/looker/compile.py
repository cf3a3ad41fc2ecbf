"""A suite on a commit as a Plan: one job per validator, each a checkout, `python -m runyard.tasks.lookml …` and its report.

Called by the launcher (`Dialect.compile`) with `Trigger.options` made by routes_runs: `suite` {id, data}, `connections` {name: settings with
secrets}, `user_attributes`, `branch`, `commit`. A validator that is not served becomes a job that says so and fails.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import runyard
from runyard.dialects import PushTrigger
from runyard.dialects.looker.suites import SERVED, enabled, written
from runyard.model.errors import Invalid, Problem, Severity, TooLarge
from runyard.model.plan import Bind, ConnectionUse, JobPlan, Network, Plan, StepKind, StepPlan, WorkflowPlan
from runyard.model.trigger import Files, Push, Trigger
from runyard.tasks.lookml.language.findings import RANK, Finding
from runyard.tasks.lookml.language.findings import Severity as Rank
from runyard.tasks.lookml.language.model import models
from runyard.tasks.lookml.language.project import Project, from_texts

REPORT = "lookml"
"""The type of the artifact that carries a validator's JSON."""

SQL_TIMEOUT_S = 3600
MODEL = ".model.lkml"


def compile_suite(trigger: Trigger, files: Files) -> Plan:
    """The plan of one suite run."""
    suite: Mapping[str, Any] = trigger.options.get("suite") or {}
    # Without a suite (`runyard compile`): what a suite with a name and nothing else asks for.
    data: Mapping[str, Any] = suite.get("data") or written({"name": "default"})
    wanted = enabled(data)
    if not wanted:
        raise Invalid("The suite has no validator switched on.")
    jobs = tuple(_job(validator, trigger, data, files) for validator in wanted)
    name = str(data.get("name", ""))
    extra = {
        "suite_id": str(suite.get("id", "")),
        "validators": wanted,
        "branch": trigger.options.get("branch"),
        "commit": trigger.options.get("commit"),
        "user_attributes": list(trigger.options.get("user_attributes") or ()),
        "project_imports": dict(trigger.options.get("project_imports") or {}),
        "incremental": {v: bool(data.get(f"{v}_validator_config_incremental")) for v in wanted},
        "retries_of": trigger.options.get("duplicate_of"),
    }
    return Plan((WorkflowPlan("suite", name, jobs=jobs),), name=name, extra={"looker": extra})


def _job(validator: str, trigger: Trigger, data: Mapping[str, Any], files: Files) -> JobPlan:
    incremental = validator == "sql" and bool(data.get("sql_validator_config_incremental"))
    if validator not in SERVED:
        return _refusal(validator, f"The {validator} validator is not served by this version of Runyard.")
    if incremental:
        return _refusal(
            validator,
            "Incremental SQL validation is not served by this version of Runyard; switch it off in the suite.",
        )
    if validator == "lookml":
        argv = ["--severity", _threshold(str(data["lookml_validator_config_severity"]))]
        return _validation(validator, argv, int(data["lookml_validator_config_timeout"]), trigger)
    return _sql(trigger, data, files)


def _threshold(severity: str) -> str:
    """Looker's `success` is below everything: any message fails the suite, as `info` does."""
    return "info" if severity == "success" else severity


def _sql(trigger: Trigger, data: Mapping[str, Any], files: Files) -> JobPlan:
    argv = ["--chunk-size", str(data["sql_validator_config_chunk_size"])]
    argv += ["--fail-fast"] if data["sql_validator_config_fail_fast"] else []
    argv += ["--ignore-hidden"] if data["sql_validator_config_ignore_hidden"] else []
    for flag, key in (("--select", "selectors"), ("--exclude", "exclusions")):
        argv += [f"{flag}={item}" for item in data[f"sql_validator_config_{key}"]]
    for attribute in trigger.options.get("user_attributes") or ():
        argv.append(f"--user-attribute={attribute['name']}={attribute['value']}")
    named = connection_names(files)
    given = {n: s for n, s in (trigger.options.get("connections") or {}).items() if n in named}
    uses = tuple(ConnectionUse(name, int(s["id"]), s["settings"]) for name, s in given.items())
    databases = [
        str(use.settings["file"])
        for use in uses
        if use.settings.get("dialect") == "duckdb" and use.settings.get("file")
    ]
    # With the write-ahead log, or DuckDB would show older data; a file that is not there is the validator's to report.
    paths = [path for file in databases for path in (file, f"{file}.wal") if Path(path).exists()]
    network = Network.HOST if any(u.settings.get("dialect") != "duckdb" for u in uses) else Network.NONE
    return _validation("sql", argv, SQL_TIMEOUT_S, trigger, uses, paths, network)


def _validation(
    validator: str,
    argv: Sequence[str],
    timeout_s: int,
    trigger: Trigger,
    connections: tuple[ConnectionUse, ...] = (),
    paths: Sequence[str] = (),
    network: Network = Network.NONE,
) -> JobPlan:
    out, summary = f"runyard-{validator}.json", f"runyard-{validator}.md"
    # -I: the repository is the working folder, and nothing of it may be imported as Python.
    program = (
        sys.executable,
        "-I",
        "-m",
        "runyard.tasks.lookml",
        validator,
        "--project",
        ".",
        "--out",
        out,
        "--summary",
        summary,
        *argv,
    )
    return JobPlan(
        key=validator,
        name=f"{TITLES[validator]} validator",
        steps=(
            StepPlan(
                "checkout",
                "Check out the project",
                StepKind.CHECKOUT,
                params={"sha": trigger.sha, "depth": 1},
            ),
            StepPlan("validate", f"{TITLES[validator]} validator", argv=program),
            _upload("report", "Keep the report", validator, out, REPORT),
            _upload("summary", "Keep the summary", f"{validator} summary", summary, "summary"),
        ),
        connections=connections,
        timeout_s=timeout_s,
        network=network,
        binds=tuple(Bind(p) for p in [*_own_paths(), *paths]),
        extra={"looker": {"validator": validator}},
    )


def _upload(key: str, title: str, name: str, file: str, type: str) -> StepPlan:
    params = {
        "name": name,
        "paths": [file],
        "type": type,
        "format": "raw",
        "filename": file,
        "if_no_files": "warn",
    }
    return StepPlan(key, title, StepKind.UPLOAD, params=params, condition="always()")


TITLES = {"lookml": "LookML", "sql": "SQL", "assert": "Assert", "content": "Content", "style": "Style"}


def _own_paths() -> list[str]:
    """Where this Python and this package lie, so that the box shows them; the system's own /usr is there anyway."""
    package = Path(runyard.__file__).parent.parent
    found = [Path(sys.prefix), Path(sys.base_prefix), package]
    kept: list[str] = []
    for path in found:
        if not path.is_relative_to("/usr") and str(path) not in kept:
            kept.append(str(path))
    return kept


def _refusal(validator: str, message: str) -> JobPlan:
    """A job that only says why it cannot: never silently passed."""
    step = StepPlan("refuse", message, argv=("/bin/sh", "-c", 'echo "$0"; exit 2', message))
    extra = {"looker": {"validator": validator, "refused": message}}
    return JobPlan(validator, f"{TITLES[validator]} validator", (step,), network=Network.NONE, extra=extra)


def entries(files: Files) -> list[str]:
    """The model files of a tree."""
    return [p for p in files.paths() if p.endswith(MODEL) and not p.startswith("imported_projects/")]


def check(files: Files, path: str) -> list[Problem]:
    """The LookML validator's findings for one model: those in files that it sees and that no earlier model saw."""
    from runyard.tasks.lookml.validators.checks import (
        validate,  # Liquid costs 0.2 s of import that a server's start need not pay
    )

    project = _project(files)
    owners: dict[str, str] = {}
    for model in models(project):
        for seen in model.files:
            owners.setdefault(seen, model.path)
    first = next(iter(entries(files)), path)
    found = [f for f in validate(project) if owners.get(f.file, first) == path]
    return [_problem(f) for f in found if f.severity is not Rank.INFO]


def _problem(finding: Finding) -> Problem:
    severity: Severity = "error" if RANK[finding.severity] >= RANK[Rank.ERROR] else "warning"
    hint = f"did you mean {finding.suggestion}?" if finding.suggestion else ""
    return Problem(finding.message, finding.file, finding.line, finding.column, severity, hint)


def _project(files: Files) -> Project:
    return from_texts(_texts(files, [p for p in files.paths() if p.endswith((".lkml", ".lookml"))]))


def _texts(files: Files, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        try:
            data = files.read(path)
        except TooLarge:
            continue  # the validator itself reads larger files from the checkout
        if data is not None:
            yield path, data


def connection_names(files: Files) -> set[str]:
    """The connections that the project's models name; only those reach the job."""
    wanted = [
        p
        for p in files.paths()
        if p.endswith(".lkml") and PurePosixPath(p).name.endswith((MODEL, "manifest.lkml"))
    ]
    project = from_texts(_texts(files, wanted))
    return {tree.text("connection") for tree in project.trees.values()} - {""}


def on_push(_push: Push, _files: Files) -> list[PushTrigger]:
    """Suites start by the API; pull request and schedule triggers are not served yet."""
    return []
