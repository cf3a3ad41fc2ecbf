"""Every route of the GitLab door as one table, mounted as a FastAPI application under /api/v4. Called by app through the Dialect value."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from runyard.dialects import Asgi
from runyard.dialects.gitlab.desk import Desk, Line
from runyard.dialects.gitlab.gathering import Bodies
from runyard.dialects.gitlab.openapi import document
from runyard.dialects.gitlab.paths import SegmentPaths
from runyard.dialects.gitlab.refusals import answer_json, problem
from runyard.dialects.gitlab.routes_artifacts import Artifacts
from runyard.dialects.gitlab.routes_fleet import Fleet
from runyard.dialects.gitlab.routes_identity import Discovery
from runyard.dialects.gitlab.routes_jobs import Jobs
from runyard.dialects.gitlab.routes_lint import Lint
from runyard.dialects.gitlab.routes_meta import Meta
from runyard.dialects.gitlab.routes_people import People
from runyard.dialects.gitlab.routes_pipelines import Pipelines
from runyard.dialects.gitlab.routes_projects import Projects
from runyard.dialects.gitlab.routes_repository import Repository
from runyard.dialects.gitlab.routes_runner import RunnerProtocol
from runyard.dialects.gitlab.routes_transfer import Transfer
from runyard.dialects.gitlab.routes_triggers import Triggers
from runyard.dialects.gitlab.routes_variables import Variables
from runyard.http.identity import Identity
from runyard.http.services import Services
from runyard.model.errors import RunyardError

PREFIX = "/api/v4"
log = logging.getLogger("runyard.gitlab")


def mount(services: Services) -> Asgi:
    """The ASGI application."""
    desk = Desk(services)
    api = FastAPI(
        title="Runyard: GitLab API v4", version=services.server.version, openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    lines = sorted(table(desk), key=lambda line: line.path)
    for path, same in groupby(lines, key=lambda line: line.path):
        by_method = {line.method: line for line in same}
        if (
            "GET" in by_method
        ):  # whoever may read may ask for the headers alone; the HTTP server sends no body
            by_method.setdefault("HEAD", by_method["GET"])
        # One route per path, so that a known path with a wrong method is a 405 that names the right ones.
        api.add_api_route(
            PREFIX + path, _endpoint(desk, by_method), methods=sorted(by_method), response_model=None, include_in_schema=False,
            name=path, summary=next(iter(by_method.values())).summary or path,
        )  # fmt: skip
    for path, handler in Discovery(services, Identity(services.vault)).routes().items():
        api.add_api_route(
            path, handler, methods=["GET", "HEAD"], response_model=None, include_in_schema=False
        )
    api.openapi = lambda: document(lines, PREFIX, services.server.version)  # type: ignore[method-assign]
    api.router.routes.sort(key=lambda route: _specificity(getattr(route, "path", "")))
    api.add_exception_handler(RunyardError, _refused)
    api.add_exception_handler(HTTPException, _unrouted)
    return SegmentPaths(api)


def table(desk: Desk) -> list[Line]:
    """All lines."""
    bodies = Bodies(desk.services)
    nouns: Sequence[Callable[[], list[Line]]] = [
        Jobs(desk, bodies).lines,
        Artifacts(desk, bodies).lines,
        Pipelines(desk, bodies).lines,
        Projects(desk).lines,
        Repository(desk, bodies).lines,
        Variables(desk).lines,
        Triggers(desk, bodies).lines,
        Lint(desk).lines,
        Meta(desk, bodies).lines,
        People(desk).lines,
        Fleet(desk, bodies).lines,
        RunnerProtocol(desk, Identity(desk.services.vault)).lines,
        Transfer(desk).lines,
    ]
    return [line for noun in nouns for line in noun()]


def _endpoint(desk: Desk, lines: dict[str, Line]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        line = lines[request.method]
        return await line.handler(await desk.enter(line, request))

    return endpoint


HOT = frozenset(
    {f"{PREFIX}/projects/{{id}}/jobs", f"{PREFIX}/projects/{{id}}/pipelines", f"{PREFIX}/jobs/request"}
)


def _specificity(path: str) -> tuple[int, ...]:
    """Fixed segments before named ones before the rest of a path: `jobs/artifacts/…` is no job id. What is asked most is tried first."""
    kinds = (2 if ":path}" in part else 1 if part.startswith("{") else 0 for part in path.split("/")[1:])
    return (path not in HOT, *kinds)


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RunyardError):
        raise error
    return problem(error)


async def _unrouted(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        return answer_json({"message": "405 Method Not Allowed"}, 405, error.headers)
    return answer_json({"error": "404 Not Found"}, 404)
