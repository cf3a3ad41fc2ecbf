"""`runyard lookml check PATH` validates a LookML project without a server; `runyard lookml sql PROJECT …`
prints an explore's SQL.

A thin skin over `tasks.lookml`. Exit codes: 0 clean, 1 findings, 2 could not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import available_timezones

import typer

from runyard.cli.lookml_check import check, pairs, stop
from runyard.tasks.lookml.language.findings import nearest
from runyard.tasks.lookml.language.model import Explore, Field, Model, models
from runyard.tasks.lookml.language.project import load
from runyard.tasks.lookml.sql.compiler import context_of
from runyard.tasks.lookml.sql.dialects import NAMES, Dialect, dialect_named
from runyard.tasks.lookml.sql.expressions import Unresolved
from runyard.tasks.lookml.sql.query import Query, build

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="LookML without a Looker instance.",
)


app.command()(check)


class Output(StrEnum):
    """How a query is printed."""

    TEXT = "text"
    MAP = "map"
    JSON = "json"


@app.command()
def sql(
    project: Annotated[Path, typer.Argument(help="the project's folder", exists=True, file_okay=False)],
    explore: Annotated[str, typer.Option("--explore", "-e", help="the explore's name")],
    fields: Annotated[str, typer.Option("--fields", "-f", help="view.field,view.field")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="the model's name; may be left out when there is one")
    ] = "",
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", metavar="FIELD=EXPRESSION", help="a filter expression, or a parameter's value"
        ),
    ] = None,
    sorts: Annotated[
        str, typer.Option("--sort", metavar="FIELD [desc],…", help="selected fields to sort by")
    ] = "",
    dialect: Annotated[str, typer.Option(help=", ".join(NAMES))] = "duckdb",
    written: Annotated[
        str, typer.Option(help="the dialect that the project's SQL is in, when it is to be transpiled")
    ] = "",
    timezone: Annotated[str, typer.Option(help="the query's time zone; times stay as stored without")] = "",
    limit: Annotated[int, typer.Option(help="rows", min=0)] = 500,
    constant: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE")] = None,
    user_attribute: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE")] = None,
    imports: Annotated[
        list[str] | None, typer.Option("--import", metavar="NAME=DIR", help="an imported project's folder")
    ] = None,
    output: Annotated[
        Output,
        typer.Option("--output", "-o", help="map (each line with its LookML as a comment), text, json"),
    ] = Output.MAP,
) -> None:
    """Print the SQL of some fields of an explore, with the LookML that each line comes from."""
    if timezone and timezone not in available_timezones():
        stop(f"there is no time zone {timezone!r}{_hint(timezone, sorted(available_timezones()))}")
    spoken, source = _dialect(dialect), _dialect(written) if written else None
    folders = {name: Path(folder) for name, folder in pairs(imports, "--import").items()}
    read = load(project, pairs(constant, "--constant"), folders)
    found = _explore(_model(models(read), model), explore)
    wanted = [_field(found, name.strip()) for name in fields.split(",") if name.strip()]
    if not wanted:
        stop("name at least one field")
    context = context_of(
        found,
        spoken,
        pairs(user_attribute, "--user-attribute"),
        timezone=timezone,
        written=source,
    )
    try:
        made = build(context, wanted, limit, filters=pairs(filters, "--filter"), sorts=_sorts(sorts))
    except Unresolved as problem:
        hint = f" Did you mean {problem.suggestion}?" if problem.suggestion else ""
        stop(f"{problem.file}:{problem.line}: {problem.message}{hint}", 1)
    _print(made, output)


def _print(made: Query, output: Output) -> None:
    if output is Output.TEXT:
        print(made.sql)
        return
    origins = [[f"{p.file}:{p.line}", p.field] for p in made.line_origins()]
    if output is Output.JSON:
        shown = {
            "sql": made.sql,
            "columns": made.columns,
            "post": made.post,
            "lines": [o if o[1] else None for o in origins],
        }
        print(json.dumps(shown, ensure_ascii=False, indent=2))
        return
    lines = made.sql.split("\n")
    width = min(100, max(len(line) for line in lines))
    for line, (place, field) in zip(lines, origins, strict=True):
        print(f"{line:<{width}}  -- {place} {field}" if field else line)


def _dialect(word: str) -> Dialect:
    found = dialect_named(word)
    return found or stop(f"the dialect {word!r} is not served; {', '.join(NAMES)} are")


def _sorts(text: str) -> list[tuple[str, bool]]:
    """`a.b desc, c.d` as (name, is_descending)."""
    found = []
    for item in text.split(","):
        name, _, direction = item.strip().partition(" ")
        if direction.strip().lower() not in ("", "asc", "desc"):
            stop(f"--sort {item.strip()!r}: after the field only asc or desc may follow")
        if name:
            found.append((name, direction.strip().lower() == "desc"))
    return found


def _model(found: Sequence[Model], name: str) -> Model:
    names = [m.name for m in found]
    if not name and len(found) == 1:
        return found[0]
    for one in found:
        if one.name == name:
            return one
    return stop(
        f"there is no model {name!r}{_hint(name, names)}"
        if name
        else f"name a model with --model: {', '.join(names) or 'there are none'}"
    )


def _explore(model: Model, name: str) -> Explore:
    found = model.explore(name)
    if found is None:
        return stop(f"model {model.name!r} has no explore {name!r}{_hint(name, model.explores.roots)}")
    return found


def _field(explore: Explore, name: str) -> tuple[str, Field]:
    found = explore.find(name)
    if found is None:
        known = [f"{a}.{f.name}" for a, f in explore.visible()]
        return stop(f"explore {explore.name!r} has no field {name!r}{_hint(name, known)}")
    return name.rpartition(".")[0] or explore.alias, found


def _hint(name: str, known: Sequence[str] | dict[str, Any]) -> str:
    guess = nearest(name, known)
    return f"; did you mean {guess!r}?" if guess else ""
