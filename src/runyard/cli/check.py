"""`runyard check` and `runyard compile`: what a dialect thinks of the files of this folder, without a server."""

from __future__ import annotations

import fnmatch
import gc
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from runyard.app.vendors import DIALECTS, load_dialect, load_dialects
from runyard.cli.pairs import pair
from runyard.dialects import Dialect
from runyard.model.errors import Invalid, Problem, RunyardError, TooLarge
from runyard.model.plan import Plan, Variable, When
from runyard.model.trigger import Commit, Trigger
from runyard.model.work import Project, User

FILE_LIMIT_BYTES = 1 << 20
SKIPPED = frozenset({".git", "node_modules", ".venv", "__pycache__"})


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The Files port over a plain folder."""

    root: Path

    def read(self, path: str) -> bytes | None:
        """Bytes of a file beneath the folder; links that leave it are not followed."""
        full = (self.root / path).resolve()
        if not full.is_relative_to(self.root) or not full.is_file():
            return None
        if full.stat().st_size > FILE_LIMIT_BYTES:
            raise TooLarge(f"{path} has more than {FILE_LIMIT_BYTES} bytes.")
        return full.read_bytes()

    def paths(self) -> Sequence[str]:
        """Every file, but for what is never part of a repository."""
        found = []
        for folder, folders, names in os.walk(self.root):
            folders[:] = [f for f in folders if f not in SKIPPED]
            found += [Path(folder, n).relative_to(self.root).as_posix() for n in names]
        return sorted(found)

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        """Unknown without history."""
        return None


def check(
    files: Annotated[
        list[str] | None, typer.Argument(help="Files or patterns; default: all that any door would run")
    ] = None,
    folder: Annotated[Path, typer.Option("--folder", "-C", help="The repository")] = Path(),
    output: Annotated[Literal["text", "json"], typer.Option(help="text or json")] = "text",
) -> None:
    """Find every problem in pipeline and workflow files; exit 0 none, 1 some, 2 could not."""
    gc.disable()  # trees of files hold no circles, and looking for some would take a fifth of the time of many files
    tree = FolderFiles(folder.resolve())
    try:
        chosen = [(d, path) for d in load_dialects().values() for path in _chosen(d, tree, files or [])]
        _all_meant([path for _, path in chosen], files or [], folder)
        found = [(path, problem) for dialect, path in chosen for problem in dialect.check(tree, path)]
    except RunyardError as error:
        typer.echo(f"runyard: {error.message}", err=True)
        raise typer.Exit(2) from None
    if output == "json":
        typer.echo(json.dumps([msgspec.to_builtins(problem) for _, problem in found], indent=2))
    else:
        for _, problem in found:
            typer.echo(f"{_place(problem)}: {problem.severity}: {problem.message}{_hint(problem)}")
        typer.echo(f"{_count(len(found), 'problem')} in {_count(len(chosen), 'file')}", err=True)
    if any(problem.severity == "error" for _, problem in found):
        raise typer.Exit(1)


def _chosen(dialect: Dialect, tree: FolderFiles, wanted: Sequence[str]) -> list[str]:
    entries = list(dialect.entries(tree))
    if not wanted:
        return entries
    return [e for e in entries if any(_meant(e, w) for w in wanted)]


def _all_meant(chosen: Sequence[str], wanted: Sequence[str], folder: Path) -> None:
    """Nothing to check is no success: a wrong name or folder would pass for a clean one."""
    if not chosen and not wanted:
        raise Invalid(
            f"There is nothing to check in {folder.resolve()}: no .gitlab-ci.yml, no workflow, no LookML model."
        )
    for one in wanted:
        if not any(_meant(path, one) for path in chosen):
            raise Invalid(
                f"No door runs a file {one!r} in {folder.resolve()}; name files as seen from the repository, and the repository with -C."
            )


def _meant(path: str, wanted: str) -> bool:
    return fnmatch.fnmatch(path, wanted.removeprefix("./"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _place(problem: Problem) -> str:
    return ":".join([problem.file or "-", *(str(n) for n in (problem.line, problem.column) if n)])


def _hint(problem: Problem) -> str:
    return f" ({problem.suggestion})" if problem.suggestion else ""


def compile_file(
    file: Annotated[str, typer.Argument(help="The file, as seen from the repository")] = ".gitlab-ci.yml",
    folder: Annotated[Path, typer.Option("--folder", "-C", help="The repository")] = Path(),
    ref: Annotated[str, typer.Option(help="The branch or tag it would run on")] = "main",
    tag: Annotated[bool, typer.Option("--tag", help="The ref is a tag")] = False,
    source: Annotated[
        str, typer.Option(help="What starts it: push, api, schedule, merge_request_event, …")
    ] = "api",
    var: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, as often as needed")] = None,
    given: Annotated[
        list[str] | None, typer.Option("--input", help="KEY=VALUE for spec:inputs; JSON for arrays")
    ] = None,
    output: Annotated[
        Literal["yaml", "json", "list"], typer.Option(help="yaml, json, or a list of the jobs")
    ] = "yaml",
) -> None:
    """Print the plan a file compiles to; exit 0, or 2 with the located problems."""
    gc.disable()  # a plan of thousands of jobs only grows, and the process ends with it: collecting would make large ones slower per job
    tree = FolderFiles(folder.resolve())
    try:
        variables, inputs = (
            [pair(v) for v in var or []],
            {v.key: _plain(v.value) for v in map(pair, given or [])},
        )
        plan = compile_plan(tree, file, ref, variables, inputs=inputs, source=source, tag=tag)
    except Invalid as error:
        for problem in error.problems or (Problem(error.message),):
            typer.echo(f"{problem}{_hint(problem)}", err=True)
        raise typer.Exit(2) from None
    except RunyardError as error:
        typer.echo(f"runyard: {error.message}", err=True)
        raise typer.Exit(2) from None
    for warning in plan.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if output == "list":
        typer.echo("".join(_listed(plan)), nl=False)
        return
    data = _trimmed(msgspec.to_builtins(plan))
    if output == "json":
        typer.echo(json.dumps(data, indent=2))
    else:
        typer.echo(_yaml(data), nl=False)


def _listed(plan: Plan) -> Iterator[str]:
    """One line for each job: stage, name, how it starts, what it needs."""
    for workflow in plan.workflows:
        for job in workflow.jobs:
            needs = ", ".join(need.group for need in job.needs)
            when = "" if job.gate.when is When.ON_SUCCESS else f"  {job.gate.when}"
            yield f"{job.stage or workflow.path:<20} {job.name}{when}{f'  needs {needs}' if needs else ''}\n"


def _plain(text: str) -> Any:
    """An array where one was written; any other text stays one, for the input's own type to judge."""
    if not text.startswith("["):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def compile_plan(
    tree: FolderFiles,
    file: str,
    ref: str,
    variables: Sequence[Variable],
    inputs: Mapping[str, Any] | None = None,
    source: str = "api",
    *,
    tag: bool = False,
) -> Plan:
    """As a run on that branch or tag would be compiled."""
    dialect = dialect_of(tree, file)
    trigger = Trigger(
        project=Project(id=1, path="local/project"),
        dialect=dialect.name,
        source=source,
        ref=ref,
        sha="0" * 40,
        actor=User(1, "root"),
        now=0,
        tag=tag,
        commit=Commit("0" * 40),
        variables=tuple(variables),
        inputs=inputs or {},
        options={"workflow": file},
    )
    return dialect.compile(trigger, tree)


def dialect_of(tree: FolderFiles, file: str) -> Dialect:
    """Whose file this is."""
    for name in DIALECTS:  # one after the other: each takes its time to import
        dialect = load_dialect(name)
        if file in dialect.entries(tree):
            return dialect
    if tree.read(file) is None:
        raise Invalid(problems=[Problem("there is no such file", file=file)])
    raise Invalid(problems=[Problem("no door runs a file of this name", file=file)])


def _trimmed(value: Any) -> Any:
    """Without what is empty, so that people can read it."""
    if isinstance(value, dict):
        kept = {k: _trimmed(v) for k, v in value.items()}
        return {k: v for k, v in kept.items() if v not in (None, "", [], {}, False)}
    return [_trimmed(v) for v in value] if isinstance(value, list | tuple) else value


def _yaml(data: Any) -> str:
    """Readable YAML: texts of several lines stand as blocks."""
    import yaml

    class Readable(yaml.SafeDumper):
        """A dumper of our own, so that nobody else's output changes."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Readable.add_representer(str, text)
    return yaml.dump(data, Dumper=Readable, sort_keys=False, allow_unicode=True, width=110)
