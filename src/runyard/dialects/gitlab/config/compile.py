"""`.gitlab-ci.yml` to a Plan, and the same text checked or linted without running it.

compile(trigger, files) -> Plan           the Dialect seam; Invalid or NothingToRun
check(files, path) -> list[Problem]       every problem that needs no trigger to see
lint(files, path, content) -> Lint        what `P/ci/lint` answers
entries(files) -> list[str]               the files of a tree that this dialect would run
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runyard.dialects.gitlab.config.document import Loader
from runyard.dialects.gitlab.config.evaluate import Ground, first
from runyard.dialects.gitlab.config.extends import dereferenced, extended
from runyard.dialects.gitlab.config.findings import Findings, Place
from runyard.dialects.gitlab.config.graph import check_graph
from runyard.dialects.gitlab.config.lower import lower
from runyard.dialects.gitlab.config.predefined import pipeline_variables
from runyard.dialects.gitlab.config.reader import read
from runyard.dialects.gitlab.config.rules import include_rules
from runyard.dialects.gitlab.config.scope import Layer, Scope, VariableError
from runyard.dialects.gitlab.config.spec import Config
from runyard.model.errors import Invalid, NothingToRun, Problem, TooLarge
from runyard.model.plan import Plan
from runyard.model.trigger import Files, Trigger
from runyard.model.work import Project
from runyard.syntax.yamltree import Mapping, Mark, Node, YamlError, dump, to_plain

CONFIG_PATH = ".gitlab-ci.yml"


@dataclass(frozen=True, slots=True)
class Lint:
    """A configuration judged without a trigger. `includes` are the local files it read."""

    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    merged_yaml: str = ""
    includes: tuple[str, ...] = ()
    jobs: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class _Reading:
    root: Mapping | None
    config: Config | None
    includes: tuple[str, ...]


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
    path = config_path(trigger.project)
    if trigger.inputs:
        raise Invalid("This pipeline takes no inputs: `spec:inputs` is not served here.")
    out = Findings()
    content = _content(files, path, out)
    out.check()
    if content is None:
        raise NothingToRun("Missing CI config file")
    ground = Ground(trigger, files, out)
    outer = (*trigger.project_variables, *trigger.variables)
    scope = Scope(Layer(pipeline_variables(trigger, path)), Layer(outer))

    def holds(node: Node, place: Place) -> bool:
        rule = first(include_rules(node, place), ground, scope)
        return rule is not None and rule.when != "never"

    reading = _read(files, path, content, out, holds, scope.expand)
    out.check()
    assert reading.config is not None  # noqa: S101 - else there is an error
    return lower(reading.config, trigger, ground, path)


def check(files: Files, path: str = CONFIG_PATH) -> list[Problem]:
    """Every problem of the file and what it includes, in order of place."""
    out = Findings()
    content = _content(files, path, out)
    if content is None and not out.errors:
        out.error(Mark(1, 1, path), "Missing CI config file")
    if content is not None:
        _read_all(files, path, content, out)
    return sorted(out.problems, key=lambda problem: (problem.file, problem.line, problem.column))


def lint(files: Files, path: str = CONFIG_PATH, content: str | bytes | None = None) -> Lint:
    """The file of the tree, or `content` in its place."""
    out = Findings()
    text = _content(files, path, out) if content is None else content
    if text is None:
        if not out.errors:
            out.error(Mark(0, 0, path), f"Please provide content of {path}")
        return Lint(tuple(out.errors), ())
    reading = _read_all(files, path, text, out)
    merged = ""
    if reading.root is not None and not out.errors:
        merged = dump(to_plain(reading.root))
    jobs = tuple(_shown(reading.config)) if reading.config is not None and not out.errors else ()
    return Lint(tuple(out.errors), tuple(out.warnings), merged, reading.includes, jobs)


def _shown(config: Config) -> list[dict[str, Any]]:
    return [
        {
            "name": job.name,
            "stage": job.stage,
            "before_script": list(job.before_script),
            "script": list(job.script),
            "after_script": list(job.after_script),
            "tag_list": list(job.tags),
            "environment": job.environment.name if job.environment else None,
            "when": job.when or "on_success",
            "allow_failure": bool(job.allow_failure and job.allow_failure.always),
            "needs": [{"name": need.job} for need in job.needs] if job.needs is not None else None,
        }
        for job in config.jobs.values()
    ]


def _content(files: Files, path: str, out: Findings) -> bytes | None:
    try:
        return files.read(path)
    except TooLarge:
        out.error(Mark(1, 1, path), "the file is larger than 1 MiB")
        return None


def _read_all(files: Files, path: str, content: str | bytes, out: Findings) -> _Reading:
    """As if every include's rules held."""

    def holds(node: Node, place: Place) -> bool:
        include_rules(node, place)
        return True

    return _read(files, path, content, out, holds, lambda text: text)


def _read(
    files: Files,
    path: str,
    content: str | bytes,
    out: Findings,
    holds: Callable[[Node, Place], bool],
    expand: Callable[[str], str],
) -> _Reading:
    loader = Loader(files, out, holds, expand)
    try:
        root = loader.load(path, content)
        includes = tuple(loader.included)
        if root is None:
            return _Reading(None, None, includes)
        root = extended(root, out)
        if loader.uses_references:
            root = dereferenced(root, out)
        config = read(root, out)
        check_graph(config, out)
    except Invalid:  # too much work; `out` says so
        return _Reading(None, None, ())
    except YamlError as error:
        out.error(Mark(error.line, error.column, error.file or path), error.message)
        return _Reading(None, None, ())
    except VariableError as error:
        out.error(Mark(1, 1, path), str(error))
        return _Reading(None, None, ())
    return _Reading(root, config, includes)
