"""The program behind `python -m runyard.tasks.lookml VALIDATOR`: validates a project, writes JSON, Markdown
and JUnit XML, logs for people.

Exit code 0: clean, 1: findings, 2: could not. Connections come from the environment, RUNYARD_CONNECTIONS =
{"name": {"dialect", …}}, never from the command line, where everyone on the machine could read a password.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from runyard.tasks.lookml.connections import CannotConnect, Connection, connection, written_dialect
from runyard.tasks.lookml.junit import junit
from runyard.tasks.lookml.language.findings import Severity
from runyard.tasks.lookml.report import EXIT, VALIDATORS, Json, failure
from runyard.tasks.lookml.summary import summary
from runyard.tasks.lookml.validation import Request, Validation, selection


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one validator; returns the exit code."""
    options = _arguments().parse_args(argv)
    root = Path(options.project)
    result = failure(options.validator, f'there is no project folder "{options.project}"')
    if root.is_dir():
        _log(f"LookML project {root.resolve().name or root}: reading")
        try:
            result = Validation(_request(options), _connections, _log).report(options.validator)
        except CannotConnect as problem:
            result = failure(options.validator, str(problem))
    _finish(result, options)
    return EXIT[result["status"]]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runyard.tasks.lookml",
        description="Validates a LookML project without a Looker instance.",
    )
    add = parser.add_argument
    add("validator", choices=VALIDATORS)
    add("--project", required=True, help="the project's folder")
    add("--target", help="a folder with the target branch's tree: only what is new against it counts")
    add("--out", help="file for the JSON result")
    add("--summary", help="file for the result as Markdown, for people")
    add("--junit", help="file for the result as JUnit XML")
    add("--cache", help="folder for parsed files, by git blob; it may be lost at any time")
    add(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="an imported project's tree",
    )
    add("--target-import", dest="target_imports", action="append", default=[], metavar="NAME=DIR")
    add("--constant", action="append", default=[], metavar="NAME=VALUE", help="a manifest constant's value")
    add("--user-attribute", action="append", default=[], metavar="NAME=VALUE")
    add(
        "--select",
        action="append",
        default=[],
        metavar="MODEL/EXPLORE",
        help="only these explores; * for any",
    )
    add("--exclude", action="append", default=[], metavar="MODEL/EXPLORE")
    add("--model", action="append", default=[], help="only this model (repeatable)")
    add("--explore", action="append", default=[], help="only this explore of the models (repeatable)")
    add(
        "--severity",
        choices=[s.value for s in Severity],
        default="warning",
        help="lookml: fail at this or worse",
    )
    add("--fail-fast", action="store_true", help="sql: only the first error of an explore")
    add("--ignore-hidden", action="store_true", help="sql: not the hidden fields")
    add("--measures", action="store_true", help="sql: measures as well")
    add("--chunk-size", type=int, default=500, help="sql: fields per query")
    add("--concurrency", type=int, default=10, help="sql, assert: queries at once")
    add(
        "--written-for",
        default="",
        metavar="DIALECT",
        help="sql, assert: transpile the project's SQL from it",
    )
    add("--timeout", type=float, default=60.0, help="sql, assert: seconds per query")
    add("--content", default="", metavar="DIR", help="content: exported JSON, relative to the project")
    add("--include-folder", action="append", default=[], metavar="ID", help="content: only in these folders")
    add("--exclude-folder", action="append", default=[], metavar="ID", help="content: not in these folders")
    add("--exclude-personal", action="store_true", help="content: not in personal folders")
    return parser


def _request(options: argparse.Namespace) -> Request:
    chosen = [*options.select, *(f"*/{name}" for name in options.explore)]
    return Request(
        project=Path(options.project),
        target=Path(options.target) if options.target else None,
        constants=_pairs(options.constant),
        user_attributes=_pairs(options.user_attribute),
        imports={name: Path(folder) for name, folder in _pairs(options.imports).items()},
        target_imports={name: Path(folder) for name, folder in _pairs(options.target_imports).items()},
        cache=Path(options.cache) if options.cache else None,
        selection=selection(chosen, options.exclude),
        models=tuple(options.model),
        severity=Severity(options.severity),
        fail_fast=options.fail_fast,
        ignore_hidden=options.ignore_hidden,
        measures=options.measures,
        chunk_size=max(1, options.chunk_size),
        concurrency=max(1, options.concurrency),
        timeout_s=options.timeout,
        written_for=written_dialect(options.written_for) if options.written_for else None,
        include_folders=tuple(options.include_folder),
        exclude_folders=tuple(options.exclude_folder),
        exclude_personal=options.exclude_personal,
        content=options.content,
    )


def _log(text: str) -> None:
    """One line of the human log; control characters of a stranger's names are shown, not obeyed."""
    clean = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    sys.stdout.write(clean + "\n")
    sys.stdout.flush()


def _pairs(items: Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (item.partition("=") for item in items)}


def _connections() -> dict[str, Connection]:
    return from_environment(os.environ.get("RUNYARD_CONNECTIONS", ""))


def from_environment(text: str) -> dict[str, Connection]:
    """RUNYARD_CONNECTIONS as connections; CannotConnect when it is not such JSON."""
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise CannotConnect("RUNYARD_CONNECTIONS is not JSON") from None
    if not isinstance(found, dict) or not all(isinstance(v, dict) for v in found.values()):
        raise CannotConnect("RUNYARD_CONNECTIONS must be an object of objects")
    made = {}
    for name, settings in found.items():
        try:
            made[name] = connection(name, settings)
        except CannotConnect as problem:
            # Another model's connection may be of a kind we do not serve; it matters only to explores that
            # use it.
            _log(f"note: {problem}")
    return made


def _finish(result: Json, options: argparse.Namespace) -> None:
    counts = ", ".join(f"{k} {v}" for k, v in result["summary"].items())
    if result["problem"]:
        _log(f"could not validate: {result['problem']}")
    _log(f"{result['validator']} validator: {result['status']}, {result['error_count']} errors ({counts})")
    if options.out:
        # Lone surrogates of a stranger's text are escaped, not refused.
        text = json.dumps(result, ensure_ascii=False, indent=1)
        Path(options.out).write_text(text, encoding="utf-8", errors="backslashreplace")
    if options.summary:
        Path(options.summary).write_text(summary(result), encoding="utf-8", errors="backslashreplace")
    if options.junit:
        Path(options.junit).write_text(junit([result]), encoding="utf-8", errors="backslashreplace")
