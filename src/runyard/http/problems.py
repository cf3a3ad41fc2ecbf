"""Which HTTP status each of the nine errors has; the only place that says so. Dialects add the vendor's
body."""

from __future__ import annotations

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

STATUS: dict[type[RunyardError], int] = {
    NotFound: 404,
    Unauthenticated: 401,
    Forbidden: 403,
    Invalid: 400,
    Conflict: 409,
    Gone: 410,
    TooLarge: 413,
    Busy: 429,
    Unavailable: 503,
}


def status_of(error: RunyardError) -> int:
    """The HTTP status of an error; every leaf has one."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def headers_of(error: RunyardError) -> dict[str, str]:
    """Retry-After where the error says when."""
    if error.retry_after_s is None:
        return {"Retry-After": "1"} if isinstance(error, Busy | Unavailable) else {}
    return {"Retry-After": str(error.retry_after_s)}
