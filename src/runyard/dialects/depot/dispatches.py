"""GitHub's two calls that start workflows, as scripts and actions make them (`$GITHUB_API_URL`, GitHub
Enterprise's paths). Called by routes.

Depot's own API has DispatchWorkflow only. GitHub's calls that read stand in `run_artifacts` and
`repositories`.

    POST /api/v3/repos/OWNER/NAME/dispatches
        {"event_type", "client_payload"?} → 204
    POST /api/v3/repos/OWNER/NAME/actions/workflows/FILE/dispatches
        {"ref", "inputs"?} → 204

Errors have GitHub's shape, `{"message", "documentation_url"}`. Facts: docs.github.com, "Create a repository
dispatch event" and "Create a workflow dispatch event"; limits in contracts/actions.md §2.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from runyard.dialects.depot import happenings, repositories, run_artifacts
from runyard.dialects.depot.access import project_named
from runyard.http.auth import scheme_token
from runyard.http.bodies import decode_json, whole
from runyard.http.front import Receive, Scope, Send, plain
from runyard.http.problems import headers_of, status_of
from runyard.http.services import Principal, RunRequest, Services
from runyard.model.errors import Forbidden, Invalid, NotFound, RunyardError, Unauthenticated
from runyard.model.work import Project

PREFIX = "/api/v3/"
BODY_BYTES = 256 << 10
EVENT_TYPE_CHARS = 100
PAYLOAD_KEYS, PAYLOAD_CHARS = 10, 65_535
DOCUMENTATION = "https://docs.github.com/rest"
_REPOSITORY = re.compile(r"/api/v3/repos/(?P<repo>.+?)/dispatches\Z")
_WORKFLOW = re.compile(r"/api/v3/repos/(?P<repo>.+?)/actions/workflows/(?P<file>[^/]+)/dispatches\Z")
log = logging.getLogger("runyard.depot")


@dataclass(frozen=True, slots=True)
class Dispatches:
    """An ASGI application for everything under PREFIX."""

    services: Services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        headers: dict[str, str] = {}
        try:
            status, body, headers = await self._answer(Request(scope, receive))
        except RunyardError as error:
            status = 422 if isinstance(error, Invalid) else status_of(error)
            headers = headers_of(error)
            body = {"message": error.message, "documentation_url": DOCUMENTATION}
        except Exception:
            log.exception("request failed")
            status, body = 500, {"message": "Server Error", "documentation_url": DOCUMENTATION}
        if body is not None:
            await plain(send, status, body, headers)
        else:
            raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": b""})

    async def _answer(self, request: Request) -> run_artifacts.Answer:
        words = request.headers.get("authorization", "")
        token = scheme_token(words, "bearer") or scheme_token(words, "token")
        who = await self.services.principal(token) if token else None
        if who is None:
            raise Unauthenticated("Bad credentials")
        for answer in (run_artifacts.answer, repositories.answer):
            if (said := await answer(self.services, who, request)) is not None:
                return said
        path = request.url.path
        found = (_WORKFLOW.match(path) or _REPOSITORY.match(path)) if request.method == "POST" else None
        if found is None:
            raise NotFound(
                f"Not Found: {request.method} /{path.removeprefix(PREFIX)} is not among the calls of GitHub's API that this server has"
            )
        is_workflow = "file" in found.groupdict()
        project = await self._project(who, found["repo"], who.may_steer if is_workflow else who.may_push)
        body = decode_json(await whole(request, BODY_BYTES) or b"{}")
        if not isinstance(body, dict):
            raise Invalid("Invalid request. The body must be an object.")
        if is_workflow:
            await self._dispatch_workflow(who, project, found["file"], body)
        else:
            await self._dispatch_repository(who, project, body)
        return 204, None, {}

    async def _project(self, who: Principal, repo: str, may: Callable[[Project], bool]) -> Project:
        """A job's token needs `actions: write` to dispatch a workflow, `contents: write` to dispatch a
        repository's event (GitHub)."""
        project = await self.services.db.read(lambda tx: project_named(tx, who, repo))
        if who.is_job and may(project):
            return project
        if who.is_job:
            raise Forbidden("Resource not accessible by integration")
        if not who.may_run(project):
            raise Forbidden("Must have write access to the repository.")
        return project

    async def _dispatch_repository(self, who: Principal, project: Project, body: Mapping[str, Any]) -> None:
        """Every workflow of the default branch that wants this type. Nothing is started where none does: then
        too the answer is 204, as at GitHub."""
        kind, payload = body.get("event_type"), body.get("client_payload")
        payload = {} if payload is None else payload
        if not isinstance(kind, str) or not 0 < len(kind) <= EVENT_TYPE_CHARS:
            raise Invalid(
                f'Invalid request. "event_type" must be a text of 1 to {EVENT_TYPE_CHARS} characters.'
            )
        if not isinstance(payload, dict) or len(payload) > PAYLOAD_KEYS:
            raise Invalid(
                f'Invalid request. "client_payload" must be an object of at most {PAYLOAD_KEYS} properties.'
            )
        if len(json.dumps(payload, ensure_ascii=False)) > PAYLOAD_CHARS:
            raise Invalid(f'Invalid request. "client_payload" may have at most {PAYLOAD_CHARS} characters.')
        told = {"action": kind, "branch": project.default_branch, "client_payload": payload}
        options = {"event": "repository_dispatch", "action": kind, "payload": told}
        await happenings.fire(
            self.services, RunRequest(project, "depot", "repository_dispatch", who.user, options=options)
        )

    async def _dispatch_workflow(
        self, who: Principal, project: Project, file: str, body: Mapping[str, Any]
    ) -> None:
        ref, inputs = body.get("ref"), body.get("inputs")
        inputs = {} if inputs is None else inputs
        if not isinstance(ref, str) or not ref:
            raise Invalid('Invalid request. "ref" must be given.')
        if not isinstance(inputs, dict):
            raise Invalid('Invalid request. "inputs" must be an object.')
        options = {"event": "workflow_dispatch", "workflow": file}
        await self.services.start(
            RunRequest(
                project, "depot", "workflow_dispatch", who.user, ref=ref, inputs=inputs, options=options
            )
        )
