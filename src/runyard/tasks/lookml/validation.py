"""One project and what it is validated against: the five validators, each giving its report. Used by
`program` and by the command line.

Projects, models and the target branch are read once, whichever validators run. Problems that stop a validator
become its report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from runyard.syntax.reports.told import counted
from runyard.tasks.lookml.connections import CannotConnect, Connection
from runyard.tasks.lookml.language.cache import Cache
from runyard.tasks.lookml.language.findings import Severity
from runyard.tasks.lookml.language.model import Model, models
from runyard.tasks.lookml.language.project import Project, load
from runyard.tasks.lookml.report import (
    Json,
    assert_report,
    content_report,
    failure,
    lookml_report,
    sql_report,
    style_report,
)
from runyard.tasks.lookml.rows import Row, excerpt
from runyard.tasks.lookml.sql.dialects import Dialect
from runyard.tasks.lookml.validators import checks, sqlcheck
from runyard.tasks.lookml.validators.asserts.run import AssertOptions, Verdict, run
from runyard.tasks.lookml.validators.asserts.tests import DataTest, tests
from runyard.tasks.lookml.validators.content import check as content
from runyard.tasks.lookml.validators.incremental import new_findings
from runyard.tasks.lookml.validators.selection import Selection
from runyard.tasks.lookml.validators.style import check as style
from runyard.tasks.lookml.validators.style import config

Say = Callable[[str], None]
NO_STYLE = "No style validator configuration provided"
"""Looker's own words for it."""
_MARKS = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip", "errored": "ERR "}


@dataclass(frozen=True)
class Request:
    """What to validate and how; every option of a suite. `target` is a folder with the target branch's tree,
    None for none.

    `written_for` is the dialect of the project's SQL; what a connection itself says of it counts less.
    """

    project: Path
    target: Path | None = None
    constants: Mapping[str, str] = field(default_factory=dict)
    user_attributes: Mapping[str, str] = field(default_factory=dict)
    imports: Mapping[str, Path] = field(default_factory=dict)
    target_imports: Mapping[str, Path] = field(default_factory=dict)
    cache: Path | None = None
    selection: Selection = field(default_factory=Selection)
    models: tuple[str, ...] = ()
    severity: Severity = Severity.WARNING
    fail_fast: bool = False
    ignore_hidden: bool = False
    measures: bool = False
    chunk_size: int = 500
    concurrency: int = 10
    timeout_s: float = 60.0
    written_for: Dialect | None = None
    include_folders: tuple[str, ...] = ()
    exclude_folders: tuple[str, ...] = ()
    exclude_personal: bool = False
    content: str = ""


@dataclass
class Validation:
    """The validators on one request. `connections` gives the databases when they are first needed; `say`
    hears lines of progress."""

    request: Request
    connections: Callable[[], Mapping[str, Connection]]
    say: Say = lambda _line: None

    def report(self, validator: str) -> Json:
        """One validator's report, with the seconds it took; never an exception for what projects or databases
        do."""
        started = time.monotonic()
        try:
            result = {
                "lookml": self._lookml,
                "style": self._style,
                "sql": self._sql,
                "assert": self._assert,
                "content": self._content,
            }[validator]()
        except (CannotConnect, config.BadConfig, RecursionError, MemoryError) as error:
            result = failure(validator, str(error) or type(error).__name__)
        result["summary"]["seconds"] = round(time.monotonic() - started, 3)
        return result

    @cached_property
    def project(self) -> Project:
        """The project, read."""
        return load(
            self.request.project, self.request.constants, self.request.imports, Cache(self.request.cache)
        )

    @cached_property
    def models(self) -> list[Model]:
        """Its models, or those that were asked for."""
        return self._chosen(self.project)

    @cached_property
    def before(self) -> Project | None:
        """The target branch's project."""
        folder = self.request.target
        if folder is not None and not folder.is_dir():
            raise CannotConnect(f'there is no folder "{folder}" with the target branch')
        if folder is None:
            return None
        # Both trees share the cache: what is equal on both sides is read and checked once.
        return load(folder, self.request.constants, self.request.target_imports, self.project.cache)

    @cached_property
    def models_before(self) -> list[Model] | None:
        """The target branch's models."""
        return self._chosen(self.before) if self.before is not None else None

    def _databases(self) -> Mapping[str, Connection]:
        """The connections, those to local databases with the dialect that the request says the project is
        written for."""
        given, written = self.connections(), self.request.written_for
        if written is None:
            return given
        return {n: c.written_for(written) if c.is_local else c for n, c in given.items()}

    def _chosen(self, project: Project) -> list[Model]:
        return [m for m in models(project) if not self.request.models or m.name in self.request.models]

    def _lookml(self) -> Json:
        findings = checks.validate(self.project)
        if self.before is not None:
            findings = new_findings(findings, checks.validate(self.before))
        size = {
            "files": len(self.project.trees),
            "models": len(self.models),
            "explores": sum(len(m.explores.roots) for m in self.models),
            "views": len({name for m in self.models for name in m.views.roots}),
        }
        for one in findings:
            self.say(str(one))
        return lookml_report(findings, self.request.severity, size, incremental=self.before is not None)

    def _style(self) -> Json:
        name = next((n for n in config.NAMES if n in self.project.others), "")
        data = self.project.text_of(name) if name else None
        if data is None:
            return failure("style", NO_STYLE)
        rules = config.read(data, name)
        findings = style.check(self.project, rules)
        if self.before is not None:
            findings = style.new_ones(findings, style.check(self.before, rules))
        for one in findings:
            self.say(f"{one.file}:{one.line}:{one.column}: {one.severity}: {one.message} [{one.code}]")
        summary = {"files": len(self.project.trees), "rules": len(rules.active())}
        return style_report(findings, summary, incremental=self.before is not None)

    def _sql(self) -> Json:
        asked = self.request
        connections = self._databases()
        options = sqlcheck.Options(
            asked.selection.selectors, asked.selection.exclusions, asked.fail_fast, asked.ignore_hidden, asked.measures, asked.chunk_size,
            asked.concurrency, asked.timeout_s, asked.user_attributes,
        )  # fmt: skip
        total = sum(1 for m in self.models for e in m.all_explores() if sqlcheck.selected(e, options))
        if not total:
            return failure("sql", "no explore is selected")
        self.say(f"{counted(len(self.models), 'model')}, {counted(total, 'explore')} to test")
        done = 0

        def say(tested: sqlcheck.TriedExplore) -> None:
            nonlocal done
            done += 1
            self._explore(f"[{done}/{total}] ", tested)

        tested = sqlcheck.validate(self.models, connections, options, say, self.models_before)
        return sql_report(tested, {"models": len(self.models)}, incremental=self.before is not None)

    def _explore(self, head: str, tested: sqlcheck.TriedExplore) -> None:
        counted = f"{tested.dimensions} dimensions, {tested.queries} queries"
        if tested.measures:
            counted = f"{tested.dimensions} dimensions, {tested.measures} measures, {tested.queries} queries"
        extra = tested.skip_reason or tested.problem or counted
        self.say(f"{head}{_MARKS[tested.status]} {tested.model}/{tested.explore}  ({extra})")
        for error in tested.errors:
            self._error(error.dimension or "explore", error.message, error.file, error.line)
            place = Row(
                "sql", "error", "", sql=error.sql, sql_line=error.sql_line, sql_column=error.sql_column
            )
            for line in excerpt(place, 1).splitlines():
                self.say(f"         {line}")

    def _error(self, subject: str, message: str, file: str, line: int) -> None:
        self.say(f"       {subject}: {message}")
        if file:
            self.say(f"         at {file}:{line}")

    def _assert(self) -> Json:
        asked = self.request
        found = tests(self.models)
        total = sum(asked.selection.lets(t.model.name, t.explore) for t in found)
        options = AssertOptions(
            datetime.now(UTC).replace(tzinfo=None),
            asked.selection,
            asked.concurrency,
            asked.timeout_s,
            asked.user_attributes,
        )
        done = 0

        def say(test: DataTest, verdict: Verdict) -> None:
            nonlocal done
            done += 1
            errors, success = verdict
            extra = (
                f"{success.rows} rows{', ' + success.warning if success.warning else ''}"
                if success
                else test.explore
            )
            self.say(
                f"[{done}/{total}] {'FAIL' if errors else 'ok  '} {test.model.name}/{test.explore} {test.name}  ({extra})"
            )
            for error in errors:
                self._error(error.assertion or "test", error.message, error.file, error.line)

        return assert_report(
            run(found, self._databases() if total else {}, options, say), {"models": len(self.models)}
        )

    def _content(self) -> Json:
        asked = self.request
        options = content.ContentOptions(
            asked.selection,
            asked.include_folders,
            asked.exclude_folders,
            asked.exclude_personal,
            asked.content,
        )
        tried = content.validate(self.project, self.models, options)
        if self.before is not None and self.models_before is not None:
            tried = content.new_ones(tried, content.validate(self.before, self.models_before, options))
        for one in tried:
            if one.errors:
                self.say(f"FAIL {one.model}/{one.explore}" if one.model or one.explore else "FAIL content")
            for error in one.errors:
                self._error(
                    f"{error.title} · {error.element}" if error.element else error.title,
                    error.message,
                    error.file,
                    error.line,
                )
        return content_report(tried, {"models": len(self.models)}, incremental=self.before is not None)


def selection(selectors: Sequence[str], exclusions: Sequence[str]) -> Selection:
    """A Selection; CannotConnect for a selector that is not `model/explore`."""
    for item in (*selectors, *exclusions):
        if item.count("/") != 1:
            raise CannotConnect(f'"{item}" is not model/explore')
    return Selection(tuple(selectors), tuple(exclusions))
