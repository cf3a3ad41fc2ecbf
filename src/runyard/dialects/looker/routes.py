"""Every route of the Looker door as one table, mounted as a FastAPI application under /api/4.0 (and
/api/logout, as the Python SDK asks)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from itertools import groupby
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from runyard.dialects import Asgi
from runyard.dialects.looker import (
    routes_auth,
    routes_checks,
    routes_connections,
    routes_content,
    routes_git,
    routes_hooks,
    routes_lookml,
    routes_projects,
    routes_queries,
    routes_runs,
    routes_suites,
)
from runyard.dialects.looker.desk import SLASH, Line, Office, enter
from runyard.dialects.looker.errands import Errands
from runyard.dialects.looker.openapi import document
from runyard.dialects.looker.pages import Pages
from runyard.dialects.looker.reading import Reader
from runyard.dialects.looker.refusals import DOCS, answer, problem
from runyard.http.services import Services
from runyard.model.errors import RunyardError
from runyard.runner.sandbox.aside import Aside

PREFIX = "/api/4.0"


def table() -> list[Line]:
    """All lines. Fixed segments stand before named ones of the same place: `/runs/search` is no run id."""
    nouns = (
        routes_auth,
        routes_connections,
        routes_projects,
        routes_git,
        routes_lookml,
        routes_checks,
        routes_content,
        routes_queries,
        routes_suites,
        routes_hooks,
        routes_runs,
    )
    lines = [line for noun in nouns for line in noun.LINES]
    return sorted(lines, key=lambda line: (["{" in part for part in line.path.split("/")], line.path))


def mount(services: Services) -> Asgi:
    """The ASGI application."""
    office = Office(services, Reader(services.source), Errands(), Aside())
    api = FastAPI(
        title="Runyard: Looker API 4.0",
        version="4.0.26.12",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for path, same in groupby(table(), key=lambda line: line.path):
        by_method = {line.method: line for line in same}
        full = path if path.startswith("/api/") else PREFIX + path
        methods = sorted(by_method)
        api.add_api_route(full, _endpoint(office, by_method), methods=methods, response_model=None, name=path)
    api.router.routes.extend(Pages(services).routes())
    page = document(table(), PREFIX, api.version)
    api.openapi = lambda: page  # type: ignore[method-assign]
    api.add_exception_handler(RunyardError, _refused)
    api.add_exception_handler(HTTPException, _unrouted)
    return _Segments(api)


def _endpoint(office: Office, lines: dict[str, Line]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await enter(office, lines[request.method], request)

    return endpoint


async def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RunyardError):
        raise error
    return problem(error)


async def _unrouted(_request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        return answer({"message": "Method not allowed", "documentation_url": DOCS}, 405, error.headers)
    return answer({"message": "Not found", "documentation_url": DOCS}, 404)


class _Segments:
    """Collapses `//`, then decodes each segment by itself, so that an encoded slash stays inside its
    segment."""

    def __init__(self, app: Asgi) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            raw = scope.get("raw_path") or scope["path"].encode()
            text = re.sub(r"/{2,}", "/", raw.split(b"?", 1)[0].decode("latin-1"))
            parts = [unquote(p, errors="replace").replace("/", SLASH) for p in text.split("/")]
            path = "/".join(parts)
            scope = {**scope, "path": path.rstrip("/") if len(path) > 1 else path, "root_path": ""}
        await self.app(scope, receive, send)
