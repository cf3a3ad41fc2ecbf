"""`runyard lookml check PATH`: the five validators on a project, without a server. Exit codes: 0 clean, 1
findings, 2 could not.

Which validators run: LookML always; style where there is an lkmlstyle.yaml; content where there are
dashboards or exports; SQL and data tests with `--connection`. `--only` asks for some by name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from runyard import __version__
from runyard.cli.lines import printable
from runyard.cli.lookml_target import NoTarget, target_tree
from runyard.tasks.lookml.connections import CannotConnect, Connection, connection, written_dialect
from runyard.tasks.lookml.junit import TITLES, junit
from runyard.tasks.lookml.language.findings import Severity
from runyard.tasks.lookml.report import EXIT, VALIDATORS, Json
from runyard.tasks.lookml.rows import rows
from runyard.tasks.lookml.sarif import sarif
from runyard.tasks.lookml.validation import Request, Validation, selection
from runyard.tasks.lookml.validators.content.check import library
from runyard.tasks.lookml.validators.style.config import NAMES


class Output(StrEnum):
    """How the result is printed."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    SARIF = "sarif"


Many = list[str] | None
Connections = Annotated[
    Many,
    typer.Option(
        "--connection",
        "-c",
        metavar="NAME=URL",
        help="run SQL too: duckdb:///abs/file.db, postgres://…, snowflake://…, bigquery://…, redshift://…",
    ),
]


def check(
    path: Annotated[Path, typer.Argument(help="the project's folder", exists=True, file_okay=False)] = Path(),
    connections: Connections = None,
    target: Annotated[
        str, typer.Option(metavar="REF", help="only what is new against this branch, commit or folder")
    ] = "",
    only: Annotated[
        Many, typer.Option(metavar="NAME", help=f"only these validators: {', '.join(VALIDATORS)}")
    ] = None,
    select: Annotated[
        Many, typer.Option(metavar="MODEL/EXPLORE", help="only these explores; * for any")
    ] = None,
    exclude: Annotated[Many, typer.Option(metavar="MODEL/EXPLORE", help="not these explores")] = None,
    constant: Annotated[Many, typer.Option(metavar="NAME=VALUE", help="override a manifest constant")] = None,
    user_attribute: Annotated[
        Many, typer.Option(metavar="NAME=VALUE", help="a user attribute's value")
    ] = None,
    imports: Annotated[
        Many, typer.Option("--import", metavar="NAME=DIR", help="where an imported project lies")
    ] = None,
    severity: Annotated[
        Severity, typer.Option(help="LookML: fail at this severity or worse")
    ] = Severity.WARNING,
    measures: Annotated[bool, typer.Option(help="SQL: measures as well")] = False,
    ignore_hidden: Annotated[bool, typer.Option(help="SQL: not the hidden fields")] = False,
    fail_fast: Annotated[bool, typer.Option(help="SQL: stop at an explore's first error")] = False,
    chunk_size: Annotated[int, typer.Option(help="SQL: fields per query", min=1)] = 500,
    concurrency: Annotated[int, typer.Option(help="queries at once", min=1)] = 10,
    timeout: Annotated[float, typer.Option(help="seconds per query", min=0.1)] = 60.0,
    written_for: Annotated[
        str,
        typer.Option(metavar="DIALECT", help="SQL: transpile the project's SQL from bigquery, snowflake, …"),
    ] = "",
    content: Annotated[
        str, typer.Option(metavar="DIR", help="folder of exported dashboards and Looks, inside the project")
    ] = "",
    cache: Annotated[
        Path | None, typer.Option(help="keep parsed files here between runs", file_okay=False)
    ] = None,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="text, json, junit or sarif")
    ] = Output.TEXT,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress")] = False,
) -> None:
    """Find every problem of a LookML project; with connections, bind its SQL and run its data tests."""
    if strange := set(only or ()).difference(VALIDATORS):
        stop(f"there is no validator {min(strange)!r}; there are {', '.join(VALIDATORS)}")
    with ExitStack() as stack:
        try:
            request = Request(
                project=path,
                target=stack.enter_context(target_tree(path, target)) if target else None,
                constants=pairs(constant, "--constant"),
                user_attributes=pairs(user_attribute, "--user-attribute"),
                imports={name: Path(folder) for name, folder in pairs(imports, "--import").items()},
                cache=cache,
                selection=selection(select or (), exclude or ()),
                severity=severity,
                fail_fast=fail_fast,
                ignore_hidden=ignore_hidden,
                measures=measures,
                chunk_size=chunk_size,
                concurrency=concurrency,
                timeout_s=timeout,
                written_for=written_dialect(written_for) if written_for else None,
                content=content,
            )
        except (NoTarget, CannotConnect) as problem:
            stop(str(problem))
        urls = pairs(connections, "--connection")
        validation = Validation(request, lambda: _known(urls), _progress(output, quiet))
        chosen = _chosen(validation, only or (), bool(urls))
        reports = [_report(validation, v, output, quiet) for v in chosen]
    _print(reports, output)
    raise typer.Exit(max(EXIT[r["status"]] for r in reports))


def _chosen(validation: Validation, only: Sequence[str], has_connections: bool) -> list[str]:
    """The validators that have something to do, in the order of VALIDATORS."""
    if only:
        return [v for v in VALIDATORS if v in only]
    found = {"lookml"}
    found |= {"sql", "assert"} if has_connections else set()
    found |= {"style"} if any((validation.request.project / n).is_file() for n in NAMES) else set()
    known = library(validation.project, validation.request.content)
    found |= {"content"} if known.items or known.broken else set()
    return [v for v in VALIDATORS if v in found]


def _known(urls: dict[str, str]) -> dict[str, Connection]:
    return {name: connection(name, {"url": url}) for name, url in urls.items()}


def _progress(output: Output, quiet: bool) -> Callable[[str], None]:
    """Lines go to stdout for people, and beside a document that stdout carries to stderr."""
    stream = sys.stdout if output is Output.TEXT else sys.stderr

    def say(line: str) -> None:
        if not quiet:
            stream.write(printable(line) + "\n")
            stream.flush()

    return say


def _report(validation: Validation, validator: str, output: Output, quiet: bool) -> Json:
    report = validation.report(validator)
    if output is Output.TEXT:
        if quiet:  # else they were told as they came
            for row in rows(report):
                place = ":".join(str(part) for part in (row.file, row.line, row.column) if part)
                line = f"{place or row.explore}: {row.level}: {row.subject}: {row.message} [{row.rule}]"
                print(printable(line))
        print(verdict(report), flush=True)
    return report


def verdict(report: Json) -> str:
    """One line about a report."""
    counts = {k: v for k, v in report["summary"].items() if k != "seconds" and v not in (0, "")}
    seconds = f" in {report['summary'].get('seconds', 0):g} s"
    extra = ", ".join(f"{v}" if k == "note" else _counted(k, v) for k, v in counts.items())
    problem = f": {report['problem']}" if report["problem"] else ""
    against = ", only what is new" if report["incremental"] else ""
    count = report["error_count"]
    errors = f", {count} error{'' if count == 1 else 's'}" if count else ""
    return f"{TITLES[report['validator']]}: {report['status']}{errors}{problem} ({extra}{against}){seconds}".replace(
        " ()", ""
    )


def _counted(key: str, value: int) -> str:
    """`1 query`, `2 errors`: a summary's keys are plurals of things, or severities."""
    one = "query" if key == "queries" else key.removesuffix("s")
    many = f"{key}s" if key in ("error", "warning") else key
    return f"{value} {one if value == 1 else many}"


def _print(reports: Sequence[Json], output: Output) -> None:
    match output:
        case Output.JSON:
            print(json.dumps({r["validator"]: r for r in reports}, ensure_ascii=False, indent=2))
        case Output.JUNIT:
            print(junit(reports), end="")
        case Output.SARIF:
            print(sarif(reports, __version__))
        case Output.TEXT:
            pass


def pairs(items: Sequence[str] | None, option: str) -> dict[str, str]:
    """NAME=VALUE options as a mapping; stops at one that is not."""
    found = {}
    for item in items or ():
        name, sign, value = item.partition("=")
        if not sign or not name:
            stop(f"{option} {item!r} is not NAME=VALUE")
        found[name] = value
    return found


def stop(message: str, code: int = 2) -> NoReturn:
    """Says why it cannot go on, and ends."""
    sys.stderr.write(f"runyard lookml: {message}\n")
    raise typer.Exit(code)
