"""The program behind `python -m runyard.tasks.lookml lookml|sql`: validates a project, writes JSON, logs for people.

Exit code 0: clean, 1: findings, 2: could not. Connections come from the environment, RUNYARD_CONNECTIONS = {"name": {"dialect", …}},
never from the command line, where everyone on the machine could read a password.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runyard.tasks.lookml.databases import CannotConnect, Connection, connection
from runyard.tasks.lookml.language.findings import Severity
from runyard.tasks.lookml.language.model import models
from runyard.tasks.lookml.language.project import Project, load
from runyard.tasks.lookml.report import EXIT, Json, failure, lookml_report, sql_report, tested_lines
from runyard.tasks.lookml.summary import summary
from runyard.tasks.lookml.validators import checks, sqlcheck
from runyard.tasks.lookml.validators.sqlcheck import TriedExplore


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one validator; returns the exit code."""
    options = _arguments().parse_args(argv)
    started = time.monotonic()
    root = Path(options.project)
    if not root.is_dir():
        result = failure(options.validator, f'there is no project folder "{options.project}"')
    else:
        _log(f"LookML project {root.name or root}: reading")
        try:
            result = _lookml(root, options) if options.validator == "lookml" else _sql(root, options)
        except (CannotConnect, RecursionError, MemoryError) as error:
            result = failure(options.validator, str(error) or type(error).__name__)
    result["summary"]["seconds"] = round(time.monotonic() - started, 3)
    _finish(result, options.out)
    if options.summary:
        Path(options.summary).write_text(summary(result), encoding="utf-8")
    return EXIT[result["status"]]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runyard.tasks.lookml",
        description="Validates a LookML project without a Looker instance.",
    )
    parser.add_argument("validator", choices=["lookml", "sql"])
    parser.add_argument("--project", required=True, help="the project's folder")
    parser.add_argument("--out", help="file for the JSON result")
    parser.add_argument("--summary", help="file for the result as Markdown, for people")
    parser.add_argument(
        "--severity",
        choices=[s.value for s in Severity],
        default="warning",
        help="lookml: fail at this severity or worse",
    )
    parser.add_argument("--model", action="append", default=[], help="sql: only this model (repeatable)")
    parser.add_argument(
        "--explore", action="append", default=[], help="sql: only this explore of the models (repeatable)"
    )
    parser.add_argument("--select", action="append", default=[], metavar="MODEL/EXPLORE")
    parser.add_argument("--exclude", action="append", default=[], metavar="MODEL/EXPLORE")
    parser.add_argument("--fail-fast", action="store_true")
    parser.add_argument("--ignore-hidden", action="store_true")
    parser.add_argument("--chunk-size", type=int, default=500)
    parser.add_argument("--timeout", type=float, default=60.0, help="sql: seconds per query")
    parser.add_argument("--constant", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--user-attribute", action="append", default=[], metavar="NAME=VALUE")
    return parser


def _log(text: str) -> None:
    """One line of the human log; control characters of a stranger's names are shown, not obeyed."""
    clean = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    sys.stdout.write(clean + "\n")
    sys.stdout.flush()


def _pairs(items: Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (item.partition("=") for item in items)}


def _lookml(root: Path, options: argparse.Namespace) -> Json:
    project = load(root, _pairs(options.constant))
    _log(f"{len(project.trees)} LookML files, {len(project.model_paths())} models")
    findings = checks.validate(project)
    threshold = Severity(options.severity)
    for one in findings:
        _log(str(one))
    return lookml_report(findings, threshold, _size(project))


def _size(project: Project) -> dict[str, Any]:
    found = models(project)
    return {
        "files": len(project.trees),
        "models": len(found),
        "explores": sum(len(m.explores.roots) for m in found),
        "views": len(
            {n.value for t in project.trees.values() for n in t.all("view") if not n.value.startswith("+")}
        ),
    }


def _sql(root: Path, options: argparse.Namespace) -> Json:
    connections = from_environment(os.environ.get("RUNYARD_CONNECTIONS", ""))
    project = load(root, _pairs(options.constant))
    found = [m for m in models(project) if not options.model or m.name in options.model]
    choice = _options(options)
    total = sum(1 for m in found for e in m.all_explores() if sqlcheck.selected(e, choice))
    if not total:
        return failure("sql", "no explore is selected")
    _log(f"{len(found)} models, {total} explores to test")
    done = 0

    def say(tested: TriedExplore) -> None:
        nonlocal done
        done += 1
        first, *rest = tested_lines(tested)
        _log(f"[{done}/{total}] {first}")
        for line in rest:
            _log(line)

    return sql_report(sqlcheck.validate(found, connections, choice, say), {"models": len(found)})


def _options(options: argparse.Namespace) -> sqlcheck.Options:
    chosen = tuple(options.select) + tuple(f"*/{name}" for name in options.explore)
    for selector in (*chosen, *options.exclude):
        if selector.count("/") != 1:
            raise CannotConnect(f'"{selector}" is not model/explore')
    return sqlcheck.Options(
        selectors=chosen,
        exclusions=tuple(options.exclude),
        fail_fast=options.fail_fast,
        ignore_hidden=options.ignore_hidden,
        chunk_size=options.chunk_size,
        timeout_s=options.timeout,
        user_attributes=_pairs(options.user_attribute),
    )


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
            # Another model's connection may be of a kind we do not serve; it matters only to explores that use it.
            _log(f"note: {problem}")
    return made


def _finish(result: Json, out: str | None) -> None:
    counts = ", ".join(f"{k} {v}" for k, v in result["summary"].items())
    if result["problem"]:
        _log(f"could not validate: {result['problem']}")
    _log(f"{result['validator']} validator: {result['status']}, {result['error_count']} errors ({counts})")
    if out:
        Path(out).write_text(json.dumps(result, ensure_ascii=False, indent=1), encoding="utf-8")
