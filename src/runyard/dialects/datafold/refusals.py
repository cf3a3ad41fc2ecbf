"""Datafold's error bodies: FastAPI's `detail` list for what a schema refuses, RFC 7807 problem+json for
everything else (datafold.md §1).

Status: what the URL names and is not there is 404, what the payload names and is not there is 422.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from runyard.http.problems import headers_of, status_of
from runyard.model.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    RunyardError,
    Unauthenticated,
    Unavailable,
)

Loc = tuple[str | int, ...]

_TYPES: Mapping[type[RunyardError], tuple[str, str]] = {
    NotFound: ("/errors/not-found", "Not found"),
    Unauthenticated: ("/errors/unauthenticated", "Not authenticated"),
    Forbidden: ("/errors/forbidden", "No access"),
    Conflict: ("/errors/integrity", "Conflict"),
    Gone: ("/errors/gone", "Gone"),
    Unavailable: ("/errors/unavailable", "Not available"),
    Invalid: ("/errors/bad-request", "Bad request"),
}


class SchemaRefused(Invalid):
    """The body or a parameter does not fit the schema."""

    def __init__(self, details: Sequence[Mapping[str, Any]]) -> None:
        self.details = [dict(d) for d in details]
        super().__init__("; ".join(str(d.get("msg", "")) for d in details))


class UnknownReference(Invalid):
    """The payload names something that is not there."""


def refused_field(loc: Loc, message: str, kind: str = "value_error") -> SchemaRefused:
    """One field in FastAPI's shape."""
    return SchemaRefused([{"loc": list(loc), "msg": message, "type": kind}])


def problem(error: RunyardError, instance: str) -> Response:
    """The response for an error; `instance` is the request's path."""
    if isinstance(error, SchemaRefused):
        return answer({"detail": error.details}, 422)
    status = 422 if isinstance(error, UnknownReference) else status_of(error)
    kind, title = next(
        (_TYPES[cls] for cls in type(error).__mro__ if cls in _TYPES), ("/errors/refused", "Refused")
    )
    body = {
        "type": kind,
        "title": title,
        "status": status,
        "instance": instance[:500],
        "detail": error.message,
    }
    return answer(body, status, headers_of(error), "application/problem+json")


def answer(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None, media: str = "application/json"
) -> Response:
    """JSON."""
    return Response(msgspec.json.encode(body), status, dict(headers) if headers else None, media)
