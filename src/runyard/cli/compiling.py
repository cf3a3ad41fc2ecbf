"""`runyard compile`: the plan a file compiles to, without a server. Shares with `runyard check` how a folder
is read and whose a file is.

The command line is read by argparse instead of typer, whose imports take as long as compiling a thousand jobs
(docs/decisions/0012).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from runyard.app.vendors import DIALECTS, load_dialect
from runyard.cli.lines import printable
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
        """Unknown without history; against a ref what differs from it in the folder's own repository, or
        everything where there is none."""
        return None if base is None else _differs(self.root, base)


def _differs(root: Path, base: str) -> frozenset[str] | None:
    """Uncommitted work included. None: there is no such ref. git is asked only where a rule compares."""
    from tempfile import TemporaryDirectory

    from runyard.sources.repositories import GitSource
    from runyard.sources.workcopy import import_folder

    with TemporaryDirectory() as folder:
        source = GitSource(Path(folder))
        try:
            found = import_folder(root, source, 1)
        except RunyardError:
            return frozenset(FolderFiles(root).paths())
        return source.files(1, found.sha).changed(base)


def compile_file(args: Sequence[str], prog_name: str) -> None:
    """The verb."""
    sys.exit(_compile(_parser(prog_name).parse_args(args)))


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=name, description="Print the plan a file compiles to; exit 0, or 2 with the located problems."
    )
    parser.add_argument(
        "file", nargs="?", default=".gitlab-ci.yml", help="The file, as seen from the repository"
    )
    parser.add_argument("--folder", "-C", type=Path, default=Path(), help="The repository")
    parser.add_argument("--ref", default="main", help="The branch or tag it would run on")
    parser.add_argument("--tag", action="store_true", help="The ref is a tag")
    parser.add_argument(
        "--source", default="api", help="What starts it: push, api, schedule, merge_request_event, …"
    )
    parser.add_argument("--var", action="append", default=[], metavar="KEY=VALUE", help="As often as needed")
    parser.add_argument(
        "--input", action="append", default=[], metavar="KEY=VALUE", help="For spec:inputs; JSON for arrays"
    )
    parser.add_argument(
        "--output", choices=("yaml", "json", "list"), default="yaml", help="yaml, json, or a list of the jobs"
    )
    return parser


def _compile(asked: argparse.Namespace) -> int:
    # a plan of thousands of jobs only grows, and the process ends with it: collecting would make large ones
    # slower per job
    gc.disable()
    tree = FolderFiles(asked.folder.resolve())
    try:
        variables = [pair(v) for v in asked.var]
        inputs = {v.key: _plain(v.value) for v in map(pair, asked.input)}
        plan = compile_plan(
            tree, asked.file, asked.ref, variables, inputs=inputs, source=asked.source, tag=asked.tag
        )
    except Invalid as error:
        _say(str(problem) for problem in error.problems or (Problem(error.message),))
        return 2
    except RunyardError as error:
        _say([f"runyard: {error.message}"])
        return 2
    _say(f"warning: {warning}" for warning in plan.warnings)
    if asked.output == "list":
        sys.stdout.writelines(_listed(plan))
        return 0
    data = _trimmed(msgspec.to_builtins(plan))
    sys.stdout.write(f"{json.dumps(data, indent=2)}\n" if asked.output == "json" else _yaml(data))
    return 0


def _say(lines: Iterable[str]) -> None:
    sys.stderr.writelines(f"{printable(line)}\n" for line in lines)


def hint(problem: Problem) -> str:
    """The suggestion in brackets, where there is one."""
    return f" ({problem.suggestion})" if problem.suggestion else ""


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
