"""`runyard lookml check PATH` validates a LookML project without a server; `runyard lookml sql PROJECT …` prints an explore's SQL.

A thin skin over `tasks.lookml`. Exit codes: 0 clean, 1 findings, 2 could not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from runyard.cli.lookml_check import check, pairs, stop
from runyard.tasks.lookml.language.findings import nearest
from runyard.tasks.lookml.language.model import Explore, Field, Model, models
from runyard.tasks.lookml.language.project import load
from runyard.tasks.lookml.sql.dialects import Dialect
from runyard.tasks.lookml.sql.expressions import Unresolved
from runyard.tasks.lookml.sql.query import build
from runyard.tasks.lookml.validators import sqlcheck

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="LookML without a Looker instance.",
)


app.command()(check)


@app.command()
def sql(
    project: Annotated[Path, typer.Argument(help="the project's folder", exists=True, file_okay=False)],
    explore: Annotated[str, typer.Option("--explore", "-e", help="the explore's name")],
    fields: Annotated[str, typer.Option("--fields", "-f", help="view.field,view.field")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="the model's name; may be left out when there is one")
    ] = "",
    dialect: Annotated[str, typer.Option(help="duckdb or postgres")] = "duckdb",
    limit: Annotated[int, typer.Option(help="rows", min=0)] = 500,
    constant: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE")] = None,
) -> None:
    """Print the SQL of some fields of an explore."""
    if dialect not in ("duckdb", "postgres"):
        stop(f"the dialect {dialect!r} is not served; duckdb and postgres are")
    spoken: Dialect = "postgres" if dialect == "postgres" else "duckdb"
    found = _explore(_model(models(load(project, pairs(constant, "--constant"))), model), explore)
    wanted = [_field(found, name.strip()) for name in fields.split(",") if name.strip()]
    if not wanted:
        stop("name at least one field")
    try:
        print(build(sqlcheck.context(found, spoken, {}, wanted), wanted, limit).sql)
    except Unresolved as problem:
        hint = f" Did you mean {problem.suggestion}?" if problem.suggestion else ""
        stop(f"{problem.file}:{problem.line}: {problem.message}{hint}", 1)


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
