"""A suite on a commit as a Plan: one job per validator, each its checkouts, `python -m runyard.tasks.lookml
…` and its reports.

Called by the launcher (`Dialect.compile`) with `Trigger.options` made by `starting`: `suite` {id, data},
`connections` {name: settings without secrets}, `user_attributes`, `branch`, `commit`, `target` {branch, sha}
for incremental validators, `imports` and `target_imports` [{name, project_id, sha}].
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import runyard
from runyard.dialects import PushTrigger
from runyard.dialects.looker.links import PAGES
from runyard.dialects.looker.suites import enabled, is_incremental, whole
from runyard.model.errors import Invalid, Problem, Severity, TooLarge
from runyard.model.plan import Bind, ConnectionUse, JobPlan, Network, Plan, StepKind, StepPlan, WorkflowPlan
from runyard.model.trigger import Files, Push, Trigger
from runyard.tasks.lookml.language.findings import RANK, Finding
from runyard.tasks.lookml.language.findings import Severity as Rank
from runyard.tasks.lookml.language.model import models
from runyard.tasks.lookml.language.project import Project, from_texts

REPORT = "lookml"
"""The type of the artifact that carries a validator's JSON."""

VALIDATOR_TIMEOUT_S = 3600
MODEL = ".model.lkml"
TARGET, IMPORTS, TARGET_IMPORTS = ".runyard-target", ".runyard-imports", ".runyard-target-imports"
TITLES = {"lookml": "LookML", "sql": "SQL", "assert": "Assert", "content": "Content", "style": "Style"}
CACHE = ".runyard-cache"
"""Where the LookML validator finds what earlier runs of the project learned, by git blob; never what the
repository itself has there."""
QUERYING = frozenset({"sql", "assert"})
"""Validators that ask the database."""


def compile_suite(trigger: Trigger, files: Files) -> Plan:
    """The plan of one suite run."""
    options = trigger.options
    suite: Mapping[str, Any] = options.get("suite") or {}
    # Without a suite (`runyard compile`): what a suite with a name and nothing else asks for.
    data: Mapping[str, Any] = whole(suite.get("data") or {"name": "default"})
    wanted = enabled(data)
    if not wanted:
        raise Invalid("The suite has no validator switched on.")
    jobs = tuple(_job(validator, trigger, data, files) for validator in wanted)
    name = str(data.get("name", ""))
    target = options.get("target") or {}
    extra = {
        "suite_id": str(suite.get("id", "")),
        "validators": wanted,
        "branch": options.get("branch"),
        "commit": options.get("commit"),
        "user_attributes": list(options.get("user_attributes") or ()),
        "project_imports": {i["name"]: i["sha"] for i in options.get("imports") or ()},
        "asked_imports": dict(options.get("asked_imports") or {}),
        "incremental": {v: bool(target) and is_incremental(v, data) for v in wanted},
        "target": dict(target),
        "trigger": str(options.get("trigger") or ""),
        "change_request": dict(options.get("change_request") or {}),
        "dbt": dict(options.get("dbt") or {}),
        "duplicate_of": options.get("duplicate_of"),
    }
    return Plan(
        (WorkflowPlan("suite", name, jobs=jobs),),
        name=name,
        extra={"looker": extra, "page": f"{PAGES}/runs/{{id}}"},
    )


def _job(validator: str, trigger: Trigger, data: Mapping[str, Any], files: Files) -> JobPlan:
    """One validator. -I: the repository is the working folder, and nothing of it may be imported as
    Python."""
    names = {"--out": f"runyard-{validator}.json", "--summary": f"runyard-{validator}.md"}
    junit = f"runyard-{validator}.xml"
    program = (sys.executable, "-I", "-m", "runyard.tasks.lookml", validator, "--project", ".")
    outputs = tuple(word for pair in {**names, "--junit": junit}.items() for word in pair)
    argv = (*program, *outputs, *_arguments(validator, trigger, data))
    uses, paths = _databases(trigger, files) if validator in QUERYING else ((), [])
    timeout_s = data["lookml_validator_config_timeout"] if validator == "lookml" else VALIDATOR_TIMEOUT_S
    imports = [one for key in ("imports", "target_imports") for one in trigger.options.get(key) or ()]
    return JobPlan(
        key=validator,
        name=f"{TITLES[validator]} validator",
        steps=(
            *_checkouts(validator, trigger, data),
            *(_restored() if validator == "lookml" else ()),
            StepPlan("validate", f"{TITLES[validator]} validator", argv=argv),
            *(_saved() if validator == "lookml" else ()),
            _upload("report", "Keep the report", validator, names["--out"], REPORT),
            _upload("summary", "Keep the summary", f"{validator} summary", names["--summary"], "summary"),
            _upload("junit", "Keep the JUnit report", f"{validator} junit", junit, "junit"),
        ),
        connections=uses,
        timeout_s=int(timeout_s),
        network=_network(uses),
        binds=tuple(Bind(p) for p in [*_own_paths(), *paths]),
        other_projects=tuple(sorted({int(i["project_id"]) for i in imports})),
        extra={"looker": {"validator": validator}},
    )


def _restored() -> Iterator[StepPlan]:
    """The project's cache. A file that was committed under its name goes first: it would be believed."""
    yield StepPlan("no_cache", "Make room for the cache", argv=("rm", "-rf", CACHE))
    yield _cache("cache", "Restore what earlier runs learned", StepKind.CACHE_RESTORE, "success()")


def _saved() -> Iterator[StepPlan]:
    """Findings fail the step before it, and are kept all the same."""
    yield _cache(
        "keep",
        "Keep what was learned",
        StepKind.CACHE_SAVE,
        "!cancelled() && steps.cache.outcome == 'success'",
    )


def _cache(key: str, title: str, kind: StepKind, condition: str) -> StepPlan:
    params = {"key": "lookml", "paths": [CACHE]}
    return StepPlan(key, title, kind, params=params, condition=condition, continue_on_error=True)


def _checkouts(validator: str, trigger: Trigger, data: Mapping[str, Any]) -> Iterator[StepPlan]:
    """The commit, the target's commit beside it where only new errors count, and the projects that either
    imports at their pinned commits."""
    places: list[tuple[str, str, dict[str, Any]]] = [
        ("checkout", "Check out the project", {"sha": trigger.sha})
    ]
    target = _target(validator, trigger, data)
    if target:
        places.append(("target", "Check out the target", {"sha": target, "path": TARGET}))
    for n, (one, folder) in enumerate(_folders(trigger, with_target=bool(target))):
        params = {"sha": one["sha"], "path": folder, "project_id": int(one["project_id"])}
        places.append((f"import_{n}", f"Check out the imported project {one['name']}", params))
    for key, name, params in places:
        yield StepPlan(key, name, StepKind.CHECKOUT, params={**params, "depth": 1})


def _folders(trigger: Trigger, *, with_target: bool) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Each import with the folder that it is laid out in; one that both sides have at the same commit is laid
    out once."""
    own = trigger.options.get("imports") or ()
    yield from ((one, f"{IMPORTS}/{one['name']}") for one in own)
    if with_target:
        others = trigger.options.get("target_imports") or ()
        yield from ((one, f"{TARGET_IMPORTS}/{one['name']}") for one in others if one not in own)


def _target(validator: str, trigger: Trigger, data: Mapping[str, Any]) -> str:
    """The commit that errors must be new against, or nothing."""
    target = trigger.options.get("target") or {}
    return str(target.get("sha", "")) if is_incremental(validator, data) else ""


def _arguments(validator: str, trigger: Trigger, data: Mapping[str, Any]) -> Iterator[str]:
    """The suite's wishes as options of the program (tasks/lookml/program.py)."""
    for attribute in trigger.options.get("user_attributes") or ():
        yield f"--user-attribute={attribute['name']}={attribute['value']}"
    own = list(trigger.options.get("imports") or ())
    for one in own:
        yield f"--import={one['name']}={IMPORTS}/{one['name']}"
    if _target(validator, trigger, data):
        yield f"--target={TARGET}"
        for one in trigger.options.get("target_imports") or ():
            yield f"--target-import={one['name']}={IMPORTS if one in own else TARGET_IMPORTS}/{one['name']}"

    def value(name: str) -> Any:
        return data.get(f"{validator}_validator_config_{name}")

    for flag, key in LISTS:
        yield from (f"{flag}={item}" for item in value(key) or ())
    for flag, key in FLAGS:
        if value(key):
            yield flag
    for flag, key in NUMBERS:
        if value(key):
            yield f"{flag}={value(key)}"
    if validator == "lookml":
        yield f"--cache={CACHE}"
    if validator in QUERYING and data.get("written_for"):
        yield f"--written-for={data['written_for']}"
    if validator == "lookml":
        # Looker's `success` is below everything: any message fails the suite, as `info` does.
        yield f"--severity={'info' if value('severity') == 'success' else value('severity')}"


LISTS = (
    ("--select", "selectors"),
    ("--exclude", "exclusions"),
    ("--include-folder", "include_folders"),
    ("--exclude-folder", "exclude_folders"),
)
FLAGS = (
    ("--fail-fast", "fail_fast"),
    ("--ignore-hidden", "ignore_hidden"),
    ("--measures", "measures"),
    ("--exclude-personal", "exclude_personal"),
)
NUMBERS = (
    ("--chunk-size", "chunk_size"),
    ("--concurrency", "query_concurrency"),
    ("--concurrency", "concurrency"),
)


def _databases(trigger: Trigger, files: Files) -> tuple[tuple[ConnectionUse, ...], list[str]]:
    """The connections that the project's models name, and the files of DuckDB that the box must show."""
    named = connection_names(files)
    given = {n: s for n, s in (trigger.options.get("connections") or {}).items() if n in named}
    uses = tuple(ConnectionUse(name, int(s["id"]), s["settings"]) for name, s in given.items())
    databases = [
        str(use.settings["file"])
        for use in uses
        if use.settings.get("dialect") == "duckdb" and use.settings.get("file")
    ]
    # With the write-ahead log, or DuckDB would show older data; a file that is not there is the validator's
    # to report.
    return uses, [path for file in databases for path in (file, f"{file}.wal") if Path(path).exists()]


def _network(uses: Sequence[ConnectionUse]) -> Network:
    return Network.HOST if any(u.settings.get("dialect") != "duckdb" for u in uses) else Network.NONE


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


def _own_paths() -> list[str]:
    """Where this Python and this package lie, so that the box shows them; the system's own /usr is there
    anyway."""
    package = Path(runyard.__file__).parent.parent
    found = [Path(sys.prefix), Path(sys.base_prefix), package]
    kept: list[str] = []
    for path in found:
        if not path.is_relative_to("/usr") and str(path) not in kept:
            kept.append(str(path))
    return kept


def entries(files: Files) -> list[str]:
    """The model files of a tree."""
    return [p for p in files.paths() if p.endswith(MODEL) and not p.startswith("imported_projects/")]


def check(files: Files, path: str) -> list[Problem]:
    """The LookML validator's findings for one model: those in files that it sees and that no earlier model
    saw."""
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
    """What a push starts stands in the store, not in the pushed files: see `triggers.pushed`."""
    return []
