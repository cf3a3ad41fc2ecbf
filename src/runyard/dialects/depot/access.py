"""Who calls and what they may see: Depot's idea of authentication, and our errors as Connect's.

`Asker` runs before a request's body is read. Handlers get the Principal from `asker()`. Every RunyardError
becomes its Connect code, every other exception `internal` without a word about it (the log has it).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext

from runyard.dialects.depot import ids
from runyard.engine.ports import Tx
from runyard.http.auth import scheme_token
from runyard.http.services import Principal, Services
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
from runyard.model.work import Project, Run

log = logging.getLogger("runyard.depot")

CODES: dict[type[RunyardError], Code] = {
    NotFound: Code.NOT_FOUND,
    Unauthenticated: Code.UNAUTHENTICATED,
    Forbidden: Code.PERMISSION_DENIED,
    Invalid: Code.INVALID_ARGUMENT,
    Conflict: Code.FAILED_PRECONDITION,
    Gone: Code.NOT_FOUND,
    TooLarge: Code.RESOURCE_EXHAUSTED,
    Busy: Code.RESOURCE_EXHAUSTED,
    Unavailable: Code.UNAVAILABLE,
}

_asker: ContextVar[Principal] = ContextVar("depot_asker")


def asker() -> Principal:
    """Who sent the request at hand."""
    return _asker.get()


def wire(error: Exception) -> ConnectError:
    """An error as the vendor's clients read it."""
    if isinstance(error, ConnectError):
        return error
    if isinstance(error, RunyardError):
        code = next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)
        return ConnectError(code, error.message)
    log.error("request failed", exc_info=error)
    return ConnectError(Code.INTERNAL, "internal error")


@dataclass(frozen=True, slots=True)
class Asker:
    """Before the body: the token of `Authorization: Bearer …` names someone."""

    services: Services

    async def on_start(self, ctx: RequestContext[Any, Any]) -> None:
        """Unauthenticated without a valid token, whatever the body says."""
        token = scheme_token(ctx.request_headers.get("authorization", ""), "bearer")
        principal = await self.services.principal(token) if token else None
        if principal is None:
            raise ConnectError(Code.UNAUTHENTICATED, "invalid or missing API token")
        _asker.set(principal)

    async def on_end(self, token: None, ctx: RequestContext[Any, Any], error: Exception | None) -> None:
        """Nothing to do."""


class Translator:
    """After the body: errors in the vendor's codes, for unary calls and streams."""

    async def intercept_unary(
        self, call_next: Callable[[Any, Any], Awaitable[Any]], request: Any, ctx: Any
    ) -> Any:
        """One answer or one error."""
        try:
            return await call_next(request, ctx)
        except Exception as error:  # noqa: BLE001 - the rim: whatever it is, the client gets a code
            raise wire(error) from None

    async def intercept_server_stream(
        self, call_next: Callable[[Any, Any], AsyncIterator[Any]], request: Any, ctx: Any
    ) -> AsyncIterator[Any]:
        """Messages, then perhaps an error."""
        try:
            async for message in call_next(request, ctx):
                yield message
        except Exception as error:  # noqa: BLE001 - as above
            raise wire(error) from None

    intercept_bidi_stream = intercept_server_stream  # the same where both sides speak


def visible_project(tx: Tx, principal: Principal, project_id: int, what: str) -> Project:
    """The project of something, if this principal may see it; NotFound otherwise, as for things that are not
    there."""
    project = tx.get(Project, project_id)
    if project is None or not _knows(principal, project):
        raise NotFound(f"{what} not found")
    return project


def project_named(tx: Tx, principal: Principal, repo: str) -> Project:
    """`repo` is `group/name` or the project's number."""
    number = int(repo) if repo.isascii() and repo.isdigit() and len(repo) < 19 else None
    project = tx.get(Project, number) if number is not None else tx.project_by_path(repo) if repo else None
    if project is None or not _knows(principal, project):
        raise NotFound(f"repository '{repo[:200]}' not found")
    return project


def _knows(principal: Principal, project: Project) -> bool:
    """A job's token of `actions: write` alone sees runs, not the repository (GitHub)."""
    return principal.may_see(project) or principal.may_steer(project)


def visible_run(tx: Tx, principal: Principal, run_id: int) -> tuple[Run, Project]:
    """A run of this dialect and its project."""
    run = tx.get(Run, run_id)
    if run is None or run.dialect != "depot":
        raise NotFound("run not found")
    return run, visible_project(tx, principal, run.project_id, "run")


def run_id_of(text: str) -> int:
    """A run's number from its id."""
    return ids.hear(text, ids.Kind.RUN)[1]


def require_person(principal: Principal) -> None:
    """Job tokens read; they start, stop and retry nothing."""
    if principal.is_job:
        raise Forbidden("a job token may not do this")


def require_steerer(principal: Principal, project: Project) -> None:
    """Persons as `require_developer`; a job's token needs `actions: write` of its workflow."""
    if principal.is_job and not principal.may_steer(project):
        raise Forbidden("this job's token may not do this: give the job `permissions: {actions: write}`")
    if not principal.is_job:
        require_developer(principal, project)


def require_developer(principal: Principal, project: Project) -> None:
    """Who may see a project may not yet run something in it."""
    if not principal.may_run(project):
        raise Forbidden("only developers of this project may do this; ask a maintainer to make you one")
