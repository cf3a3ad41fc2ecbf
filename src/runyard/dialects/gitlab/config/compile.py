"""`.gitlab-ci.yml` to a Plan, and the same text checked or linted without running it.

compile(trigger, files) -> Plan                   the Dialect seam; Invalid or NothingToRun
check(files, path) -> list[Problem]               every problem that needs no trigger to see
lint(files, path, content, trigger) -> Lint       what `P/ci/lint` answers
dry_run(trigger, files, content) -> Lint          the same, rules judged: what a pipeline on that ref would be
entries(files) -> list[str]                       the files of a tree that this dialect would run
"""

import json
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from typing import Any

from runyard.dialects.gitlab.config.document import Judge, Loader
from runyard.dialects.gitlab.config.downstream import CHILD
from runyard.dialects.gitlab.config.evaluate import Ground, first
from runyard.dialects.gitlab.config.extends import dereferenced, extended
from runyard.dialects.gitlab.config.findings import Findings, Place
from runyard.dialects.gitlab.config.graph import check_graph
from runyard.dialects.gitlab.config.inputs import InputSpec, nodes_of
from runyard.dialects.gitlab.config.lower import lower
from runyard.dialects.gitlab.config.predefined import pipeline_variables
from runyard.dialects.gitlab.config.reader import read
from runyard.dialects.gitlab.config.rules import include_rules
from runyard.dialects.gitlab.config.scope import Layer, Scope, VariableError
from runyard.dialects.gitlab.config.spec import Config, JobSpec
from runyard.model.errors import Invalid, NothingToRun, Problem, TooLarge
from runyard.model.plan import Plan
from runyard.model.trigger import Files, Trigger
from runyard.model.work import Project
from runyard.syntax.yamltree import Mapping, Mark, Node, YamlError, dump, to_plain

CONFIG_PATH = ".gitlab-ci.yml"


@dataclass(frozen=True, slots=True)
class Lint:
    """A configuration judged for people. `includes` are GitLab's objects, but for the addresses: {type,
    location, extra, context_project, context_sha}."""

    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    merged_yaml: str | None = None
    includes: tuple[Dict[str, Any], ...] = ()
    jobs: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class _Reading:
    """`root`: the merged text; None when something was wrong before it was whole."""

    root: Mapping | None
    config: Config | None
    includes: tuple[Dict[str, Any], ...]


def config_path(project: Project) -> str:
    """Where the project keeps its configuration."""
    settings = project.extra.get("gitlab") or {}
    return str(settings.get("ci_config_path") or CONFIG_PATH)


def entries(files: Files) -> list[str]:
    """`.gitlab-ci.yml` when there is one."""
    try:
        return [CONFIG_PATH] if files.read(CONFIG_PATH) is not None else []
    except TooLarge:
        return [CONFIG_PATH]


def compile(trigger: Trigger, files: Files) -> Plan:
    """The plan of one trigger."""
    out = Findings()
    path, content = _root(trigger, files, out)
    out.check()
    if content is None:
        raise NothingToRun("Missing CI config file")
    ground = Ground(trigger, files, out)
    reading = _judged(trigger, files, ground, path, content)
    out.check()
    assert reading.config is not None  # noqa: S101 - else there is an error
    return lower(reading.config, trigger, ground, path)


def _root(trigger: Trigger, files: Files, out: Findings) -> tuple[str, bytes | None]:
    """The text to begin with: the project's file, or for a child pipeline the list of what its bridge
    includes."""
    child = trigger.options.get(CHILD)
    if isinstance(child, dict):
        # JSON is YAML; the parts are located in their own files.
        return f"trigger:include of {child.get('name', 'a job')}", json.dumps(
            {"include": child.get("include")}
        ).encode()
    path = str(trigger.options.get("config_path") or config_path(trigger.project))
    return path, _content(files, path, out)


def _judged(trigger: Trigger, files: Files, ground: Ground, path: str, content: str | bytes) -> _Reading:
    """Includes as their rules and variables have them for this trigger."""
    outer = (*trigger.project_variables, *trigger.variables)
    scope = Scope(Layer(pipeline_variables(trigger, path)), Layer(outer))

    def holds(node: Node, place: Place) -> bool:
        rule = first(include_rules(node, place), ground, scope)
        return rule is not None and rule.when != "never"

    loader = _loader(trigger, files, ground.out, Judge(holds, scope.expand, scope.known))
    return _read(
        loader, path, content, trigger.server.needs_per_job, nodes_of(trigger.inputs, Mark(0, 0, ""))
    )


def _loader(trigger: Trigger | None, files: Files, out: Findings, judge: Judge) -> Loader:
    if trigger is None:
        return Loader(files, out, judge, is_check=True)
    return Loader(files, out, judge, trigger.reach, is_child=CHILD in trigger.options)


def check(files: Files, path: str = CONFIG_PATH) -> list[Problem]:
    """Every problem of the file and what it includes, in order of place."""
    out = Findings()
    content = _content(files, path, out)
    if content is None and not out.errors:
        out.error(Mark(1, 1, path), "Missing CI config file")
    if content is not None:
        _read_all(_loader(None, files, out, _open_minded()), path, content, None)
    return sorted(out.problems, key=lambda problem: (problem.file, problem.line, problem.column))


def lint(
    files: Files,
    path: str = CONFIG_PATH,
    content: str | bytes | None = None,
    trigger: Trigger | None = None,
) -> Lint:
    """The file of the tree, or `content` in its place; every include's rules hold. `trigger` says who asks
    and what is in reach."""
    out = Findings()
    text = _content(files, path, out) if content is None else content
    if text is None:
        if not out.errors:
            out.error(Mark(0, 0, path), f"Please provide content of {path}")
        return Lint(tuple(out.errors), ())
    most_needs = trigger.server.needs_per_job if trigger else None
    return _shown(_read_all(_loader(trigger, files, out, _open_minded()), path, text, most_needs), out)


def asked(trigger: Trigger, files: Files) -> tuple[Dict[str, InputSpec], Mapping | None] | None:
    """The inputs of the project's configuration, and its merged text as far as it can be read; None where
    there is no file."""
    out = Findings()
    path = config_path(trigger.project)
    content = _content(files, path, out)
    if content is None:
        return None
    loader = _loader(trigger, files, out, _open_minded())
    try:
        root = loader.load(path, content)
    except (Invalid, YamlError, VariableError):  # starting it says what is wrong
        root = None
    return loader.asked, root


def dry_run(trigger: Trigger, files: Files, content: str | bytes | None = None) -> Lint:
    """What this trigger would make: the errors and the jobs of a real pipeline, without one."""
    out = Findings()
    path = config_path(trigger.project)
    text = _content(files, path, out) if content is None else content
    if text is None:
        if not out.errors:
            out.error(Mark(0, 0, path), f"Please provide content of {path}")
        return Lint(tuple(out.errors), ())
    ground = Ground(trigger, files, out)
    reading = _judged(trigger, files, ground, path, text)
    shown = _shown(reading, out)
    if out.errors or reading.config is None:
        return shown
    try:
        plan = lower(reading.config, trigger, ground, path)
    except NothingToRun as error:
        nothing = Problem(error.message, path)
        return Lint((nothing,), tuple(out.warnings), shown.merged_yaml, shown.includes)
    except Invalid:
        return Lint(tuple(out.errors), tuple(out.warnings), shown.merged_yaml, shown.includes)
    names = {job.group for workflow in plan.workflows for job in workflow.jobs}
    jobs = tuple(job for job in shown.jobs if job["name"] in names)
    return Lint(tuple(out.errors), tuple(out.warnings), shown.merged_yaml, shown.includes, jobs)


def _shown(reading: _Reading, out: Findings) -> Lint:
    merged = None if reading.root is None else "---\n" + dump(to_plain(reading.root))
    jobs = tuple(_jobs_of(reading.config)) if reading.config is not None and not out.errors else ()
    return Lint(tuple(out.errors), tuple(out.warnings), merged, reading.includes, jobs)


def _jobs_of(config: Config) -> list[dict[str, Any]]:
    return [
        {
            "name": job.name,
            "stage": job.stage,
            "before_script": list(job.before_script),
            "script": list(job.script),
            "after_script": list(job.after_script),
            "tag_list": list(job.tags),
            "only": _shown_only(config, job),
            "except": {"refs": list(job.except_.refs or ())} if job.except_ else None,
            "environment": job.environment.name if job.environment else None,
            "when": job.when or "on_success",
            "allow_failure": job.allow_failure.always
            if job.allow_failure
            else job.when == "manual" and job.rules is None,
            "needs": [
                {"name": need.job, "artifacts": need.artifacts, "optional": need.optional}
                for need in job.needs
            ]
            if job.needs is not None
            else None,
        }
        for job in config.jobs.values()
    ]


def _shown_only(config: Config, job: JobSpec) -> dict[str, Any] | None:
    """Its own `only`, else what GitLab takes for it where neither the job nor the workflow has rules."""
    if job.only is not None:
        return {"refs": list(job.only.refs or ())}
    is_ruled = job.rules is not None or config.workflow.rules is not None
    return None if is_ruled else {"refs": ["branches", "tags"]}


def _content(files: Files, path: str, out: Findings) -> bytes | None:
    try:
        return files.read(path)
    except TooLarge:
        out.error(Mark(1, 1, path), "the file is larger than 1 MiB")
        return None


def _open_minded() -> Judge:
    """Every rule holds, and texts stay as they are."""

    def holds(node: Node, place: Place) -> bool:
        include_rules(node, place)
        return True

    return Judge(holds, lambda text: text, lambda text: text)


def _read_all(loader: Loader, path: str, content: str | bytes, most_needs: int | None) -> _Reading:
    """As if every include's rules held and nobody had given inputs."""
    return _read(loader, path, content, most_needs, None)


def _read(
    loader: Loader, path: str, content: str | bytes, most_needs: int | None, given: Dict[str, Node] | None
) -> _Reading:
    out = loader.out
    try:
        root = loader.load(path, content, given)
        includes = tuple(loader.included)
        if root is None:
            return _Reading(None, None, includes)
        out.trusting = loader.finder.unread
        root = extended(root, out)
        if loader.uses_references:
            root = dereferenced(root, out)
        merged = None if out.errors else root
        config = read(root, out)
        check_graph(config, most_needs, out)
    except Invalid:  # too much work; `out` says so
        return _Reading(None, None, ())
    except YamlError as error:
        out.error(Mark(error.line, error.column, error.file or path), error.message)
        return _Reading(None, None, ())
    except VariableError as error:
        out.error(Mark(1, 1, path), str(error))
        return _Reading(None, None, ())
    return _Reading(merged, config, includes)
