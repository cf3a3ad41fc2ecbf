"""GitLab's error bodies. `problem` turns any of the nine errors into its response; routes raise the leaves
below for exact wording.

Shapes are those of lib/api/helpers.rb (contracts/gitlab.md §1.0): `{"message": …}` from endpoints, `{"error":
…}` from the framework in front of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from runyard.http.problems import headers_of, status_of
from runyard.model.errors import (
    Busy,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    RunyardError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

TITLES: Mapping[type[RunyardError], str] = {
    NotFound: "404 Not Found",
    Unauthenticated: "401 Unauthorized",
    Forbidden: "403 Forbidden",
    Invalid: "400 Bad request",
    Conflict: "409 Conflict",
    Gone: "410 Gone",
    TooLarge: "413 Request Entity Too Large",
    Busy: "429 Too Many Requests",
    Unavailable: "503 Service Unavailable",
}


class BadParameter(Invalid):
    """A parameter is missing or has the wrong form; the framework's shape."""


class NoSuchPage(Invalid):
    """A way of paging that a list does not have: 405 in the framework's shape."""


class Outdated(Conflict):
    """412 Precondition Failed"""


class FieldErrors(Invalid):
    """A model's validation errors by field."""

    def __init__(self, field: str, messages: Sequence[str]) -> None:
        self.fields = {field: list(messages)}
        super().__init__("; ".join(messages))


class JobOver(Forbidden):
    """A runner's call for a job that is no longer its own; `Job-Status` says how it stands."""

    def __init__(self, status: str) -> None:
        self.status = status
        super().__init__("Job is not running")


OWN_STATUS: Mapping[type[RunyardError], int] = {NoSuchPage: 405, Outdated: 412}


def missing(thing: str) -> NotFound:
    """`404 <Thing> Not Found`."""
    return NotFound(f"404 {thing} Not Found")


def problem(error: RunyardError) -> Response:
    """The response for an error."""
    heard = {"Job-Status": error.status} if isinstance(error, JobOver) else {}
    status = next((code for kind, code in OWN_STATUS.items() if isinstance(error, kind)), None)
    status = status or status_of(error)
    return answer_json(body_of(error), status, {**headers_of(error), **heard})


def body_of(error: RunyardError) -> dict[str, Any]:
    """What GitLab would write."""
    match error:
        case BadParameter() | NoSuchPage():
            return {"error": error.message}
        case FieldErrors():
            return {"message": error.fields}
        case Outdated():
            return {"message": "412 Precondition Failed"}
        case NotFound():
            return {"message": error.message if error.message.startswith("404 ") else "404 Not found"}
    title = next(TITLES[kind] for kind in type(error).__mro__ if kind in TITLES)
    default = (type(error).__doc__ or "").strip()
    if error.message in ("", default) or isinstance(error, Unauthenticated | TooLarge | Busy):
        return {"message": title}
    return {"message": f"{title} - {error.message}"}


def answer_json(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON, encoded straight from values (performance.md: lists are hot)."""
    return Response(msgspec.json.encode(body), status, dict(headers) if headers else None, "application/json")
