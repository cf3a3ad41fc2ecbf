"""`runyard check`: what a dialect thinks of the files of this folder, without a server."""

from __future__ import annotations

import fnmatch
import gc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from runyard.app.vendors import load_dialects
from runyard.cli.compiling import FolderFiles, hint
from runyard.cli.lines import printable
from runyard.dialects import Dialect
from runyard.model.errors import Invalid, Problem, RunyardError


def check(
    files: Annotated[
        list[str] | None, typer.Argument(help="Files or patterns; default: all that any door would run")
    ] = None,
    folder: Annotated[Path, typer.Option("--folder", "-C", help="The repository")] = Path(),
    output: Annotated[Literal["text", "json"], typer.Option(help="text or json")] = "text",
) -> None:
    """Find every problem in pipeline and workflow files; exit 0 none, 1 some, 2 could not."""
    # trees of files hold no circles, and looking for some would take a fifth of the time of many files
    gc.disable()
    tree = FolderFiles(folder.resolve())
    try:
        chosen = [(d, path) for d in load_dialects().values() for path in _chosen(d, tree, files or [])]
        _all_meant([path for _, path in chosen], files or [], folder)
        found = [(path, problem) for dialect, path in chosen for problem in _problems(dialect, tree, path)]
    except RunyardError as error:
        typer.echo(f"runyard: {error.message}", err=True)
        raise typer.Exit(2) from None
    if output == "json":
        typer.echo(json.dumps([msgspec.to_builtins(problem) for _, problem in found], indent=2))
    else:
        for _, problem in found:
            typer.echo(printable(f"{_place(problem)}: {problem.severity}: {problem.message}{hint(problem)}"))
        typer.echo(f"{_count(len(found), 'problem')} in {_count(len(chosen), 'file')}", err=True)
    if any(problem.severity == "error" for _, problem in found):
        raise typer.Exit(1)


def _chosen(dialect: Dialect, tree: FolderFiles, wanted: Sequence[str]) -> list[str]:
    entries = list(dialect.entries(tree))
    if not wanted:
        return entries
    return [e for e in entries if any(_meant(e, w) for w in wanted)]


def _problems(dialect: Dialect, tree: FolderFiles, path: str) -> Sequence[Problem]:
    """Of one file; that it cannot be read at all is one, and the others are looked at."""
    try:
        return dialect.check(tree, path)
    except RunyardError as error:
        return [Problem(error.message, path)]


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
