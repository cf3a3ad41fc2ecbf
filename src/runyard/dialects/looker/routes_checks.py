"""Checks of what the session sees, answered at once: LookML validation and data tests, in processes of their
own under limits.

Suites run the same validators in sandboxed jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from runyard.dialects.looker.connections import settings_named
from runyard.dialects.looker.desk import Ask, Line
from runyard.dialects.looker.refusals import empty
from runyard.dialects.looker.workspace import Work, work_on
from runyard.model.errors import Forbidden
from runyard.tasks.lookml.language.findings import Finding, hinted
from runyard.tasks.lookml.language.outline import unpacked_finding
from runyard.tasks.lookml.validators.asserts.tests import DataTest
from runyard.tasks.lookml.validators.asserts.tests import tests as data_tests

VALIDATION = "validation"


async def validate(ask: Ask) -> Response:
    """POST /projects/{id}/validate → ProjectValidation; the same commit is checked once, in a process of its
    own."""
    work = await work_on(ask, await ask.project())
    known = work.reading.memory.get(VALIDATION)
    if not isinstance(known, dict):
        started = time.monotonic()
        found = await ask.aside("validate", texts=await work.reading.text())
        known = {
            "errors": [_error(unpacked_finding(f), work) for f in found["findings"]],
            "project_digest": work.reading.sha,
            "models_not_validated": [],
            "computation_time": round(time.monotonic() - started, 3),
        }
        work.reading.memory[VALIDATION] = known
    return ask.answer(known)


async def cached_validation(ask: Ask) -> Response:
    """GET /projects/{id}/validate → ProjectValidationCache; 204 when nobody has validated this commit yet."""
    work = await work_on(ask, await ask.project())
    known = work.reading.memory.get(VALIDATION)
    return ask.answer({**known, "stale": False}) if isinstance(known, dict) else empty()


def _error(finding: Finding, work: Work) -> dict[str, Any]:
    """ProjectError; `file_path` begins with the project, as Looker's does."""
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "kind": str(getattr(finding, "kind", "") or "model_configuration"),
        "message": hinted(finding.message, finding.suggestion),
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
    """GET /projects/{id}/lookml_tests/run: the named tests on the models' own databases, now. Developers may,
    for it costs their database."""
    project = await ask.project()
    if ask.principal is None or not ask.principal.may_run(project):
        raise Forbidden("Developers of this project may run its data tests.")
    work = await work_on(ask, project)
    names = {m.connection for m in work.reading.models}
    given = {n: await settings_named(ask.services, n) for n in names if n}
    answered = await ask.aside(
        "tests",
        texts=await work.reading.text(),
        connections={n: s for n, s in given.items() if s is not None},
        model=ask.query.get("model", ""),
        test=ask.query.get("test", ""),
        file=ask.query.get("file_id", ""),
        now=datetime.fromtimestamp(ask.services.now() / 1000, UTC).replace(tzinfo=None).isoformat(),
    )
    return ask.answer([_verdict(test) for test in answered["tests"]])


def _verdict(test: Mapping[str, Any]) -> dict[str, Any]:
    """LookmlTestResult."""
    shared = {"model_id": test["model"], "explore": test["explore"]}
    messages = [f"{name}: {message}" if name else message for name, message in test["errors"]]
    messages += [test["problem"]] if test["problem"] else []
    warnings = [{**shared, "message": test["warning"], "severity": "warning"}] if test["warning"] else []
    return {
        "model_name": test["model"],
        "test_name": test["test"],
        "assertions_count": test["assertions"],
        "assertions_failed": len({name for name, _ in test["errors"] if name}),
        "errors": [{**shared, "message": m, "severity": "error"} for m in messages],
        "warnings": warnings,
        "success": not messages,
    }


_HERE = "/projects/{project_id}"
LINES = [
    Line("POST", _HERE + "/validate", validate),
    Line("GET", _HERE + "/validate", cached_validation),
    Line("GET", _HERE + "/lookml_tests", tests),
    Line("GET", _HERE + "/lookml_tests/run", run_tests),
]
