"""`runyard lookml check PATH` validates a LookML project without a server; `runyard lookml sql PROJECT …` prints an explore's SQL.

A thin skin over `tasks.lookml`. Exit codes: 0 clean, 1 findings, 2 could not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from runyard.tasks.lookml.databases import CannotConnect, Connection, connection
from runyard.tasks.lookml.language.findings import Severity, nearest
from runyard.tasks.lookml.language.model import Explore, Field, Model, models
from runyard.tasks.lookml.language.project import Project, load
from runyard.tasks.lookml.report import EXIT, Json, failure, lookml_report, sql_report, tested_lines
from runyard.tasks.lookml.sql.expressions import Unresolved
from runyard.tasks.lookml.sql.query import build
from runyard.tasks.lookml.sql.timeframes import Dialect
from runyard.tasks.lookml.validators import checks, sqlcheck

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="LookML without a Looker instance.",
)


class Output(StrEnum):
    """How the result is printed."""

    TEXT = "text"
    JSON = "json"


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="the project's folder", exists=True, file_okay=False)] = Path(),
    connections: Annotated[
        list[str] | None,
        typer.Option(
            "--connection",
            "-c",
            metavar="NAME=URL",
            help="bind the SQL too: duckdb:///file or postgresql://…",
        ),
    ] = None,
    select: Annotated[
        list[str] | None, typer.Option(metavar="MODEL/EXPLORE", help="only these explores (SQL)")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="MODEL/EXPLORE", help="not these explores (SQL)")
    ] = None,
    constant: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="override a manifest constant")
    ] = None,
    severity: Annotated[Severity, typer.Option(help="fail at this severity or worse")] = Severity.WARNING,
    fail_fast: Annotated[bool, typer.Option(help="stop at an explore's first SQL error")] = False,
    timeout: Annotated[float, typer.Option(help="seconds per query", min=0.1)] = 60.0,
    output: Annotated[Output, typer.Option("--output", "-o", help="text or json")] = Output.TEXT,
) -> None:
    """Find every problem of a LookML project; with connections, bind every dimension in the database."""
    is_text = output is Output.TEXT
    project = load(path, _pairs(constant, "--constant"))
    reports = [_lookml(project, severity, is_text)]
    if connections:
        options = sqlcheck.Options(
            selectors=_selectors(select),
            exclusions=_selectors(exclude),
            fail_fast=fail_fast,
            timeout_s=timeout,
        )
        reports.append(_sql(project, connections, options, is_text))
    if not is_text:
        print(json.dumps({r["validator"]: r for r in reports}, ensure_ascii=False, indent=2))
    raise typer.Exit(max(EXIT[r["status"]] for r in reports))


def _lookml(project: Project, severity: Severity, is_text: bool) -> Json:
    findings = checks.validate(project)
    report = lookml_report(
        findings, severity, {"files": len(project.trees), "models": len(project.model_paths())}
    )
    if is_text:
        for one in findings:
            print(one)
        print(f"LookML: {report['status']}, {len(findings)} findings in {len(project.trees)} files")
    return report


def _sql(project: Project, connections: Sequence[str], options: sqlcheck.Options, is_text: bool) -> Json:
    try:
        known = {
            name: connection(name, {"url": url}) for name, url in _pairs(connections, "--connection").items()
        }
    except CannotConnect as problem:
        report = failure("sql", str(problem))
    else:
        report = _bound(project, known, options, is_text)
    if is_text:
        extra = f", {report['problem']}" if report["problem"] else ""
        print(
            f"SQL: {report['status']}, {report['error_count']} errors in {report['summary'].get('explores', 0)} explores{extra}"
        )
    return report


def _bound(project: Project, known: dict[str, Connection], options: sqlcheck.Options, is_text: bool) -> Json:
    def say(tried: sqlcheck.TriedExplore) -> None:
        if is_text:
            print("\n".join(tested_lines(tried)))

    tried = sqlcheck.validate(models(project), known, options, say)
    return sql_report(tried, {}) if tried else failure("sql", "no explore is selected")


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
        _stop(f"the dialect {dialect!r} is not served; duckdb and postgres are")
    spoken: Dialect = "postgres" if dialect == "postgres" else "duckdb"
    found = _explore(_model(models(load(project, _pairs(constant, "--constant"))), model), explore)
    wanted = [_field(found, name.strip()) for name in fields.split(",") if name.strip()]
    if not wanted:
        _stop("name at least one field")
    try:
        print(build(sqlcheck.context(found, spoken, {}, wanted), wanted, limit).sql)
    except Unresolved as problem:
        hint = f" Did you mean {problem.suggestion}?" if problem.suggestion else ""
        _stop(f"{problem.file}:{problem.line}: {problem.message}{hint}", 1)


def _model(found: Sequence[Model], name: str) -> Model:
    names = [m.name for m in found]
    if not name and len(found) == 1:
        return found[0]
    for one in found:
        if one.name == name:
            return one
    return _stop(
        f"there is no model {name!r}{_hint(name, names)}"
        if name
        else f"name a model with --model: {', '.join(names) or 'there are none'}"
    )


def _explore(model: Model, name: str) -> Explore:
    found = model.explore(name)
    if found is None:
        return _stop(f"model {model.name!r} has no explore {name!r}{_hint(name, model.explores.roots)}")
    return found


def _field(explore: Explore, name: str) -> tuple[str, Field]:
    found = explore.find(name)
    if found is None:
        known = [f"{a}.{f.name}" for a, f in explore.visible()]
        return _stop(f"explore {explore.name!r} has no field {name!r}{_hint(name, known)}")
    return name.rpartition(".")[0] or explore.alias, found


def _hint(name: str, known: Sequence[str] | dict[str, Any]) -> str:
    guess = nearest(name, known)
    return f"; did you mean {guess!r}?" if guess else ""


def _pairs(items: Sequence[str] | None, option: str) -> dict[str, str]:
    found = {}
    for item in items or ():
        name, sign, value = item.partition("=")
        if not sign or not name:
            _stop(f"{option} {item!r} is not NAME=VALUE")
        found[name] = value
    return found


def _selectors(items: Sequence[str] | None) -> tuple[str, ...]:
    for item in items or ():
        if item.count("/") != 1:
            _stop(f"{item!r} is not model/explore")
    return tuple(items or ())


def _stop(message: str, code: int = 2) -> NoReturn:
    sys.stderr.write(f"runyard lookml: {message}\n")
    raise typer.Exit(code)
