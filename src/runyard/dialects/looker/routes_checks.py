"""Checks of what the session sees, answered at once: LookML validation and data tests. Suites run the same validators in sandboxed jobs."""

from __future__ import annotations

import time
from typing import Any

from starlette.responses import Response

from runyard.dialects.looker.desk import Ask, Line
from runyard.dialects.looker.reading import Reading
from runyard.dialects.looker.refusals import empty
from runyard.dialects.looker.workspace import Work, work_on
from runyard.tasks.lookml.language.findings import Finding

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


_HERE = "/projects/{project_id}"
LINES = [
    Line("POST", _HERE + "/validate", validate),
    Line("GET", _HERE + "/validate", cached_validation),
]
