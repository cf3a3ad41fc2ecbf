"""The Datafold door as one FastAPI application under /api/v1, /api/internal and /datadiffs. Mounted by app
through the Dialect value."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from runyard.dialects import Asgi
from runyard.dialects.datafold import (
    openapi,
    routes_ci,
    routes_configs,
    routes_dbt,
    routes_diffs,
    routes_meta,
    routes_pages,
    routes_sources,
)
from runyard.dialects.datafold.desk import Desk
from runyard.dialects.datafold.refusals import SchemaRefused, answer, problem
from runyard.dialects.datafold.results import Reports
from runyard.http.services import Services
from runyard.model.errors import RunyardError


def mount(services: Services) -> Asgi:
    """The ASGI application."""
    desk = Desk(services)
    api = FastAPI(
        title="Runyard: Datafold API",
        version="1",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    reports = Reports(services.blobs)
    for part in (routes_configs, routes_dbt, routes_sources, routes_meta):
        api.include_router(part.router(desk))
    for reader in (routes_ci, routes_diffs, routes_pages):
        api.include_router(reader.router(desk, reports))
    api.openapi = lambda: openapi.document(api)  # type: ignore[method-assign]
    api.add_exception_handler(RunyardError, _refused)
    api.add_exception_handler(RequestValidationError, _unfit)
    api.add_exception_handler(HTTPException, _unrouted)
    return api


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RunyardError):
        raise error
    return problem(error, request.url.path)


async def _unfit(request: Request, error: Exception) -> Response:
    """Path and query parameters that FastAPI checked itself."""
    if not isinstance(error, RequestValidationError):
        raise error
    details: list[dict[str, Any]] = [
        {"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()[:100]
    ]
    return problem(SchemaRefused(details), request.url.path)


async def _unrouted(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    words = {404: "/errors/not-found", 405: "/errors/method-not-allowed"}
    body = {
        "type": words.get(error.status_code, "/errors/refused"),
        "title": str(error.detail),
        "status": error.status_code,
        "instance": request.url.path[:500],
        "detail": "This call is not served here." if error.status_code == 404 else str(error.detail),
    }
    return answer(body, error.status_code, error.headers, "application/problem+json")
