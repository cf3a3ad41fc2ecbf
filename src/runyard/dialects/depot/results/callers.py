"""Who asks: a running job, by the runtime token that its runner made (`runner.actions.reach`). And errors in
Twirp's shape. Called by `door`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from runyard.engine.ports import Tx
from runyard.http.auth import attempt_of, scheme_token
from runyard.http.services import Services
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
from runyard.model.work import Attempt

# Twirp's codes and their statuses (twitchtv/twirp, spec v7).
CODES: dict[type[RunyardError], tuple[str, int]] = {
    NotFound: ("not_found", 404),
    Gone: ("not_found", 404),
    Unauthenticated: ("unauthenticated", 401),
    Forbidden: ("permission_denied", 403),
    Invalid: ("invalid_argument", 400),
    Conflict: ("already_exists", 409),
    TooLarge: ("out_of_range", 400),
    Busy: ("resource_exhausted", 429),
    Unavailable: ("unavailable", 503),
}
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?\Z|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?\Z")
MOST_TOKEN_CHARS = 4096


@dataclass(frozen=True, slots=True)
class Caller:
    """A running job and the address by which it reaches this server."""

    attempt: Attempt
    token: str  # the job's own
    base: str


def code_of(error: RunyardError) -> tuple[str, int]:
    """Twirp's word and HTTP's number."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def job_token_of(runtime_token: str) -> str:
    """The job's token inside a runtime token: its last part is all that proves anything. A plain job token is
    its own."""
    return runtime_token.rpartition(".")[2] if len(runtime_token) <= MOST_TOKEN_CHARS else ""


async def caller(services: Services, request: Request) -> Caller:
    """Unauthenticated unless a job that runs now asks: tokens end with their job (reliability.md §5 C21)."""
    token = job_token_of(scheme_token(request.headers.get("authorization", ""), "bearer"))

    def find(tx: Tx) -> Attempt | None:
        return attempt_of(tx, token)

    attempt = await services.db.read(find) if 0 < len(token) <= 512 else None
    if attempt is None:
        raise Unauthenticated("this token belongs to no job that runs now")
    return Caller(attempt, token, base_of(services, request.headers.get("host", "")))


def base_of(services: Services, host: str) -> str:
    """The origin of links: as the job itself named this server, for inside its box other names may lead
    nowhere."""
    own = services.server.url
    if not _HOST.match(host) or own.partition("://")[2].partition("/")[0] == host:
        return own
    return f"http://{host}"


def refusal(error: RunyardError) -> tuple[int, dict[str, Any]]:
    """Status and body."""
    code, status = code_of(error)
    return status, {"code": code, "msg": error.message}
