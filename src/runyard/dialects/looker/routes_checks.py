"""Checks of what the session sees, answered at once: LookML validation and data tests. Suites run the same validators in sandboxed jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from runyard.dialects.looker.connections import settings_named
from runyard.dialects.looker.desk import Ask, Line
from runyard.dialects.looker.reading import Reading
from runyard.dialects.looker.refusals import empty
from runyard.dialects.looker.workspace import Work, work_on
from runyard.model.errors import Forbidden
from runyard.tasks.lookml.connections import CannotConnect, Connection, connection
from runyard.tasks.lookml.language.findings import Finding
from runyard.tasks.lookml.validators.asserts.run import AssertOptions, TestError, TestSuccess
from runyard.tasks.lookml.validators.asserts.run import run as run_data_tests
from runyard.tasks.lookml.validators.asserts.tests import DataTest
from runyard.tasks.lookml.validators.asserts.tests import tests as data_tests

VALIDATION = "validation"


async def validate(ask: Ask) -> Response:
    """POST /projects/{id}/validate → ProjectValidation."""
    work = await work_on(ask, await ask.project())
    return ask.answer(await work.reading.ask(lambda r: _validation(r, work)))


def _validation(reading: Reading, work: Work) -> dict[str, Any]:
    """What the validator finds; the same commit is checked once."""
    from runyard.tasks.lookml.validators.checks import validate as check

    known = reading.memory.get(VALIDATION)
    if not isinstance(known, dict):
        started = time.monotonic()
        errors = [_error(f, work) for f in check(reading.project)]
        known = {
            "errors": errors,
            "project_digest": reading.sha,
            "models_not_validated": [],
            "computation_time": round(time.monotonic() - started, 3),
        }
        reading.memory[VALIDATION] = known
    return known


async def cached_validation(ask: Ask) -> Response:
    """GET /projects/{id}/validate → ProjectValidationCache; 204 when nobody has validated this commit yet."""
    work = await work_on(ask, await ask.project())
    known = work.reading.memory.get(VALIDATION)
    return ask.answer({**known, "stale": False}) if isinstance(known, dict) else empty()


def _error(finding: Finding, work: Work) -> dict[str, Any]:
    """ProjectError; `file_path` begins with the project, as Looker's does."""
    hint = f" Did you mean {finding.suggestion}?" if finding.suggestion else ""
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "kind": str(getattr(finding, "kind", "") or "model_configuration"),
        "message": finding.message + hint,
        "sanitized_message": finding.code,
        "field_name": finding.field or None,
        "file_path": f"{work.name}/{finding.file}" if finding.file else None,
        "line_number": finding.line or None,
        "model_id": finding.model or None,
        "explore": finding.explore or None,
        "help_url": None,
        "params": {},
    }


async def tests(ask: Ask) -> Response:
    """GET /projects/{id}/lookml_tests: the data tests that models include."""
    work = await work_on(ask, await ask.project())
    found = await work.reading.ask(lambda r: [_test(t, work) for t in data_tests(r.models)])
    file = ask.query.get("file_id", "")
    return ask.answer([t for t in found if not file or t["file"] == f"{work.name}/{file}"])


def _test(test: DataTest, work: Work) -> dict[str, Any]:
    asked = {"fields": ",".join(field for _, field in test.columns)}
    asked |= {f"f[{field}]": value for field, value in test.filters}
    if test.sorts:
        asked["sorts"] = ",".join(f"{field} desc" if down else field for field, down in test.sorts)
    if test.limit is not None:
        asked["limit"] = str(test.limit)
    return {
        "model_name": test.model.name,
        "name": test.name,
        "explore_name": test.explore,
        "query_url_params": urlencode(asked),
        "file": f"{work.name}/{test.file}",
        "line": test.line,
    }


async def run_tests(ask: Ask) -> Response:
    """GET /projects/{id}/lookml_tests/run: the named tests on the models' own databases, now. Developers may, for it costs their database."""
    project = await ask.project()
    if ask.principal is None or not ask.principal.may_run(project):
        raise Forbidden("Developers of this project may run its data tests.")
    work = await work_on(ask, project)
    file, model, name = (ask.query.get(key, "") for key in ("file_id", "model", "test"))
    names = {m.connection for m in work.reading.models}
    given = {n: await settings_named(ask.services, n) for n in names if n}
    now = datetime.fromtimestamp(ask.services.now() / 1000, UTC).replace(tzinfo=None)

    def run(reading: Reading) -> list[dict[str, Any]]:
        wanted = [
            t
            for t in data_tests(reading.models)
            if (not model or t.model.name == model)
            and (not name or t.name == name)
            and (not file or t.file == file)
        ]
        return _verdicts(wanted, _usable(given), AssertOptions(now=now, concurrency=2))

    return ask.answer(await work.reading.ask(run))


def _usable(given: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Connection]:
    """Connections that can be used; a test on another one says what is missing."""
    found = {}
    for name, settings in given.items():
        if settings is not None:
            with suppress(CannotConnect):
                found[name] = connection(name, settings)
    return found


def _verdicts(
    wanted: list[DataTest], connections: Mapping[str, Connection], options: AssertOptions
) -> list[dict[str, Any]]:
    """LookmlTestResult of each test, in order."""
    found: dict[tuple[str, str], tuple[list[TestError], TestSuccess | None]] = {}

    def say(test: DataTest, verdict: tuple[list[TestError], TestSuccess | None]) -> None:
        found[test.model.name, test.name] = verdict

    tried = run_data_tests(wanted, connections, options, say)
    problems = {(t.model, t.explore): t.problem for t in tried if t.problem}
    results = []
    for test in wanted:
        errors, success = found.get((test.model.name, test.name), ([], None))
        problem = problems.get((test.model.name, test.explore), "")
        messages = [f"{e.assertion}: {e.message}" if e.assertion else e.message for e in errors]
        messages += [problem] if problem else []
        shared = {"model_id": test.model.name, "explore": test.explore}
        results.append(
            {
                "model_name": test.model.name,
                "test_name": test.name,
                "assertions_count": len(test.assertions),
                "assertions_failed": len({e.assertion for e in errors if e.assertion}),
                "errors": [{**shared, "message": m, "severity": "error"} for m in messages],
                "warnings": [{**shared, "message": success.warning, "severity": "warning"}]
                if success and success.warning
                else [],
                "success": not messages,
            }
        )
    return results


_HERE = "/projects/{project_id}"
LINES = [
    Line("POST", _HERE + "/validate", validate),
    Line("GET", _HERE + "/validate", cached_validation),
    Line("GET", _HERE + "/lookml_tests", tests),
    Line("GET", _HERE + "/lookml_tests/run", run_tests),
]
