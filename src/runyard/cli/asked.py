"""What a command line of `runyard run` asks for: its options, read, with the files they name. Called by `run`
alone.

argparse by hand instead of typer: docs/decisions/0012. Secrets come from options, a file or the environment,
and are never shown.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runyard.model.errors import Invalid, Problem

DIALECTS = ("gitlab", "depot")
FILE_LIMIT_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True)
class Choice:
    """Which jobs: `names` with what they name as needs, `whole` with everything they wait for; neither: all.
    Of a matrix only the `legs` that have these values."""

    names: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()
    legs: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def all(self) -> frozenset[str]:
        """Every name that was given."""
        return self.names | self.whole


@dataclass(frozen=True)
class Asked:
    """One command line. `event` "" means a push (or what a named file would be started by); `payload` is laid
    over the event's own."""

    folder: Path = Path()
    file: str = ""
    dialect: str = ""
    choice: Choice = Choice()
    event: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    job_inputs: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    slots: int = 0  # as the settings say
    list: bool = False
    pick: bool = False
    output: str = "text"


def read(args: Sequence[str], name: str) -> Asked:
    """The command line, or Invalid; argparse itself ends the process for what it cannot read (exit code
    2)."""
    found = _parser(name).parse_args(args)
    variables, secrets = dict(_dotenv(found.var_file)), dict(_dotenv(found.secret_file))
    variables |= _pairs(found.var, "--var")
    secrets |= {key: _secret(key, value) for key, value in map(_maybe_pair, found.secret)}
    for key in (*variables, *secrets):
        if not _NAME.match(key):
            raise Invalid(f"{key[:80]!r} cannot be a variable's name: letters, digits and _ only.")
    return Asked(
        folder=found.folder,
        file=found.file,
        dialect=found.dialect,
        choice=Choice(frozenset((*found.jobs, *found.job)), frozenset(found.needs), _legs(found.matrix)),
        event=found.event,
        payload=_payload(found.event_file),
        inputs=_pairs(found.input, "--input"),
        job_inputs=_pairs(found.job_input, "--job-input"),
        variables=variables,
        secrets=secrets,
        slots=found.slots,
        list=found.list,
        pick=found.pick,
        output=found.output,
    )


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=name,
        description="Run this working copy's pipeline or workflows now, without a server. Exit 0 passed, 1 failed, 2 could not run.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("jobs", nargs="*", metavar="JOB", help="only these jobs and what they name as needs")
    add("-j", "--job", action="append", default=[], metavar="JOB", help="the same, as an option")
    add("--needs", action="append", default=[], metavar="JOB",
        help="this job and all that it waits for, earlier stages too; as often as needed")  # fmt: skip
    add(
        "-f", "--file", default="", help="the file to run, by path or name; default: what the event would run"
    )
    add("-C", "--folder", type=Path, default=Path(), help="the working copy")
    add("--dialect", choices=("", *DIALECTS), default="", metavar="|".join(DIALECTS),
        help="whose files, where there are both .gitlab-ci.yml and workflows")  # fmt: skip
    add("--event", default="", metavar="NAME",
        help="what happened: push (the default), workflow_dispatch, pull_request, schedule, …; for GitLab the pipeline's source")  # fmt: skip
    add("-e", "--event-file", type=Path, metavar="FILE", help="a JSON file that is laid over `github.event`")
    add(
        "--input",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of workflow_dispatch or spec:inputs",
    )
    add("--job-input", action="append", default=[], metavar="KEY=VALUE",
        help="of `inputs` of GitLab's jobs: for every job that has one of this name")  # fmt: skip
    add("--matrix", action="append", default=[], metavar="KEY=VALUE",
        help="only the matrix legs that have this value; as often as needed")  # fmt: skip
    add("--var", action="append", default=[], metavar="KEY=VALUE", help="for the jobs, and for `vars.KEY`")
    add("--var-file", type=Path, metavar="FILE", help="KEY=VALUE lines")
    add("-s", "--secret", action="append", default=[], metavar="KEY[=VALUE]",
        help="`secrets.KEY`, for GitLab a masked variable; without a value from the environment, or asked for")  # fmt: skip
    add("--secret-file", type=Path, metavar="FILE", help="KEY=VALUE lines")
    add("-i", "--pick", action="store_true", help="choose the jobs from a list")
    add("--slots", type=_count, default=0, metavar="N",
        help="jobs at once (1 to 1000; default: two more than processors)")  # fmt: skip
    add("-l", "--list", action="store_true", help="show the jobs, run nothing")
    add(
        "--output",
        choices=("text", "json"),
        default="text",
        help="text, or json for the result alone on stdout",
    )
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError("from 1 to 1000")
    return number


def _maybe_pair(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    return key, value if equals else None


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    found = {}
    for key, value in map(_maybe_pair, texts):
        if value is None or not key:
            raise Invalid(f"{option} takes KEY=VALUE, not {key!r}.")
        found[key] = value
    return found


def _secret(key: str, value: str | None) -> str:
    if value is not None:
        return value
    if key in os.environ:
        return os.environ[key]
    if not sys.stdin.isatty():
        raise Invalid(f"--secret {key} has no value, and there is no {key} in the environment.")
    return getpass.getpass(f"{key}: ")


def _legs(texts: Sequence[str]) -> dict[str, frozenset[str]]:
    """Values by key; act's `key:value` is read too."""
    found: dict[str, frozenset[str]] = {}
    for text in texts:
        match = re.match(r"([^=:]+)[=:](.*)", text, re.DOTALL)
        if match is None:
            raise Invalid(f"--matrix takes KEY=VALUE, not {text!r}.")
        found[match[1]] = found.get(match[1], frozenset()) | {match[2]}
    return found


def _payload(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        found = json.loads(_text(file))
    except (ValueError, RecursionError) as error:
        line, column = getattr(error, "lineno", 0), getattr(error, "colno", 0)
        raise Invalid(problems=[Problem(f"This is not JSON: {error}", str(file), line, column)]) from None
    if not isinstance(found, dict):
        raise Invalid(problems=[Problem("An event is a JSON object", str(file), 1, 1)])
    return found


def _text(file: Path) -> str:
    try:
        with file.open("rb") as source:
            data = source.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}.") from None
    if len(data) > FILE_LIMIT_BYTES:
        raise Invalid(f"{file} has more than {FILE_LIMIT_BYTES} bytes.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid(f"{file} is not UTF-8.") from None


def _dotenv(file: Path | None) -> Iterator[tuple[str, str]]:
    """`KEY=VALUE` lines as act and docker-compose read them: `export`, comments, '…' as written, "…" with
    escapes and over several lines."""
    lines = iter(enumerate(_text(file).splitlines(), 1)) if file is not None else iter(())
    for number, line in lines:
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        key, equals, value = text.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or not _NAME.match(key):
            raise Invalid(problems=[Problem("Expected KEY=VALUE", str(file), number, 1)])
        quote = value[:1]
        if quote in ("'", '"') and quote:
            while not (end := _closed(value, quote)):
                following = next(lines, None)
                if following is None:
                    raise Invalid(problems=[Problem(f"The {quote} is not closed", str(file), number, 1)])
                value += "\n" + following[1]
            value = value[1:end]
            if quote == '"':
                value = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), value, flags=re.DOTALL)
        else:
            value = re.split(r"\s#", value, maxsplit=1)[0].rstrip()
        yield key, value


def _closed(value: str, quote: str) -> int:
    """Where the closing quote stands, or 0."""
    pattern = r"'[^']*'" if quote == "'" else r'"(?:[^"\\]|\\.)*"'
    match = re.match(pattern, value, re.DOTALL)
    return match.end() - 1 if match else 0
