"""Looker's two error bodies: Error, and ValidationError with details by field. `problem` renders any of the
nine errors.

The Python SDK breaks on null members and on a detail without `documentation_url` (looker.md §2.3), so none is
ever null or missing; the address is our own, because the SDK fetches addresses of Looker's documentation host
without a time limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from runyard.http.problems import headers_of, status_of
from runyard.model.errors import Invalid, NotFound, RunyardError, Unauthenticated

DOCS = "https://runyard.invalid/docs/dialects/looker"
VALIDATION = 422


@dataclass(frozen=True, slots=True)
class Detail:
    """What is wrong with one field. Codes are Looker's: missing_field, invalid, already_exists."""

    field: str
    code: str
    message: str


class Unprocessable(Invalid):
    """Validation Failed"""

    def __init__(self, *details: Detail) -> None:
        self.details = details
        super().__init__("Validation Failed")


def missing_field(field: str) -> Unprocessable:
    """A required field is not there or blank."""
    return Unprocessable(Detail(field, "missing_field", f"{field} is required."))


def invalid(field: str, message: str) -> Unprocessable:
    """A field has a value that cannot be."""
    return Unprocessable(Detail(field, "invalid", message))


def problem(error: RunyardError) -> Response:
    """The response for an error."""
    status = VALIDATION if isinstance(error, Unprocessable) else status_of(error)
    return answer(body_of(error), status, headers_of(error))


def body_of(error: RunyardError) -> dict[str, Any]:
    """Error or ValidationError."""
    default = (type(error).__doc__ or "").strip()
    match error:
        case Unprocessable():
            details = [
                {"field": d.field, "code": d.code, "message": d.message, "documentation_url": DOCS}
                for d in error.details
            ]
            return {"message": error.message, "errors": details, "documentation_url": DOCS}
        case Unauthenticated():
            return {"message": "Requires authentication.", "documentation_url": DOCS}
        case NotFound() if error.message == default:
            return {"message": "Not found", "documentation_url": DOCS}
    return {"message": error.message, "documentation_url": DOCS}


def answer(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON."""
    return Response(msgspec.json.encode(body), status, dict(headers) if headers else None, "application/json")


def empty() -> Response:
    """204."""
    return Response(status_code=204)
