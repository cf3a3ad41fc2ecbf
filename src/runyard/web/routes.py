"""The pages: runs, one run, one job, sign-in, artifacts; live by server-sent events. `site(services)` is what
app mounts for every other path.

Addresses follow GitLab's (`/group/name/-/pipelines/1`, `/-/jobs/2`), so that every `web_url` an API gives
opens the right page.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from runyard.engine import control
from runyard.engine.ports import RunFilter, Tx
from runyard.engine.views import log_size
from runyard.http import devices
from runyard.http.bodies import form
from runyard.http.giving import attachment
from runyard.http.logs import log_bytes, opened
from runyard.http.problems import status_of
from runyard.http.services import Principal, Services
from runyard.http.session import COOKIE, SESSION_S, same_origin, sign_in, sign_out, who
from runyard.model.errors import Invalid, NotFound, RunyardError, Unauthenticated
from runyard.model.offer import JobInputs
from runyard.model.plan import Variable
from runyard.model.state import State
from runyard.model.work import Attempt, Run
from runyard.web import live, offered, pages
from runyard.web.files import Files
from runyard.web.markdown import render
from runyard.web.offered import Makers
from runyard.web.render import Templates
from runyard.web.starting import FORM_BYTES, Starting
from runyard.web.window import window

HERE = Path(__file__).parent
SMALL_FORM_BYTES = 16 * 1024
SUMMARY, SUMMARY_BYTES = "summary", 256 * 1024
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # no-referrer would make browsers send `Origin: null` with our own forms
    "Referrer-Policy": "same-origin",
}

Act = Callable[[Tx, int, int, int | None], object]


class Again(Protocol):
    """`control.play` or `control.retry`."""

    def __call__(
        self,
        tx: Tx,
        attempt_id: int,
        now: int,
        actor_id: int | None,
        variables: tuple[Variable, ...] | None,
        inputs: Mapping[str, Any],
    ) -> Attempt:
        """The attempt that runs now."""


class Site:
    """The handlers; one value per server."""

    def __init__(
        self, services: Services, dialects: list[str], makers: Makers, asks: Mapping[str, JobInputs]
    ) -> None:
        self.services = services
        self.templates = Templates(services, dialects)
        self.files = Files(services, self.templates)
        self.starting = Starting(services, self.templates, makers)
        self.asks = asks

    async def runs(self, request: Request) -> Response:
        """All runs, or one project's; of a branch or a commit where one is asked for."""
        person = await who(self.services, request)
        path = request.path_params.get("path", "")
        asked = {key: request.query_params.get(key, "") for key in ("state", "dialect", "ref", "sha")}
        page = min(_number(request.query_params.get("page", "0")), pages.LAST_PAGE)
        _check_within(path, asked)
        filter = RunFilter(
            dialect=asked["dialect"] or None,
            wanted=pages.FILTERS.get(asked["state"], ()),
            ref=asked["ref"] or None,
            sha_prefix=asked["sha"] or None,
        )

        def load(tx: Tx) -> dict[str, Any]:
            project = pages.find_project(tx, person, path) if path else None
            within = replace(filter, project_id=project.id if project else None)
            lines = pages.list_runs(tx, person, within, page)
            can = project is not None and bool(self.starting.makers) and pages.may_change(person, project)
            return {
                "project": project,
                "lines": lines[: pages.PAGE],
                "more": len(lines) > pages.PAGE and page < pages.LAST_PAGE,
                "can_start": can,
            }

        found = await self.services.db.read(load)

        def link(**changes: object) -> str:
            return "?" + urlencode({k: v for k, v in {**asked, **changes}.items() if v})

        more: dict[str, Any] = {"asked": asked, "page": page, "link": link, "live": "/-/events/runs"}
        return self.templates.page(request, "runs.html", person, **found, **more)

    async def run(self, request: Request) -> Response:
        """One run."""
        person = await who(self.services, request)
        path, run_id = request.path_params["path"], request.path_params["id"]
        it = await self.services.db.read(
            lambda tx: pages.run_page(tx, self.services.blobs, person, path, run_id, self.services.now())
        )
        said = self.templates.said(it.run.dialect, it.run.state, it.run.outcome, it.run.hold)
        more: dict[str, Any] = {
            "can": pages.may_change(person, it.project, it.run),
            "here": f"/{it.project.path}/-/pipelines/{it.run.id}",
        }
        events = f"/-/events/run/{it.run.id}" if it.run.state is not State.DONE else ""
        return self.templates.page(request, "run.html", person, it=it, said=said, live=events, **more)

    async def job(self, request: Request) -> Response:
        """One attempt with its log."""
        person = await who(self.services, request)
        path, number, now = request.path_params["path"], request.path_params["id"], self.services.now()
        it = await self.services.db.read(lambda tx: pages.job_page(tx, person, path, number, now))
        until, line = (_number(request.query_params.get(key, "")) for key in ("until", "line"))
        shown: dict[str, Any] = {"log": await window(self.services, it.attempt, until, line)}
        shown["summaries"] = await asyncio.to_thread(self._summaries, it)
        here = f"/{it.project.path}/-/jobs/{it.attempt.id}"
        said = self.templates.said(it.run.dialect, it.attempt.state, it.attempt.outcome, it.attempt.hold)
        events = f"/-/events/run/{it.run.id}" if it.attempt.state is not State.DONE else ""
        asks = self.asks.get(it.run.dialect)
        more: dict[str, Any] = {
            "can": pages.may_change(person, it.project, it.run),
            "asked": offered.job_fields(asks, it.job.plan, it.attempt),
            "variables": offered.job_lines(asks, it.job.plan, it.attempt),
            "here": here,
            "said": said,
            "live": events,
        }
        return self.templates.page(request, "job.html", person, it=it, **shown, **more)

    def _summaries(self, it: pages.JobPage) -> list[str]:
        """What the job says of itself, as HTML: its steps' summaries, then its artifacts of the type
        `summary`. Both are Markdown."""
        texts = [str(step.extra.get("summary") or "") for step in it.steps]
        for artifact in it.artifacts:
            if artifact.type == SUMMARY:
                kept = b"".join(
                    self.services.blobs.open(artifact.blob, 0, min(artifact.size_bytes, SUMMARY_BYTES))
                )
                texts.append(kept.decode("utf-8", "replace"))
        return [render(text[:SUMMARY_BYTES]) for text in texts if text.strip()]

    async def _attempt(self, request: Request) -> Attempt:
        person, path = await who(self.services, request), request.path_params["path"]
        number = request.path_params["id"]
        return (await self.services.db.read(lambda tx: pages.find_attempt(tx, person, path, number)))[3]

    async def raw(self, request: Request) -> Response:
        """The log as it is, never as a page."""
        attempt = await self._attempt(request)
        size = log_size(attempt)
        headers = {
            "Content-Disposition": f'inline; filename="job-{attempt.id}.log"',
            "Content-Length": str(size),
        }
        pieces = await opened(log_bytes(self.services, attempt.id, 0, size))
        return StreamingResponse(pieces, media_type="text/plain; charset=utf-8", headers=headers)

    async def log_events(self, request: Request) -> Response:
        """The log from `from` on, as rendered lines, until the job ends."""
        attempt = await self._attempt(request)
        start, lines = (_number(request.query_params.get(k, "")) for k in ("from", "lines"))
        return live.events(live.log_lines(self.services, attempt.id, start, lines))

    async def run_events(self, request: Request) -> Response:
        """Rings when the run changed."""
        person = await who(self.services, request)

        def seen(tx: Tx) -> Run | None:
            run = tx.get(Run, request.path_params["id"])
            return run if run and pages.sees_project(tx, person, run.project_id) else None

        run = await self.services.db.read(seen)
        if run is None:
            raise NotFound
        return live.events(live.changes(self.services, f"run:{run.id}", run.id))

    async def list_events(self, request: Request) -> Response:
        """Rings when any run changed."""
        return live.events(live.changes(self.services, "runs", None))

    async def artifact(self, request: Request) -> Response:
        """An artifact, always as a download: its content is a stranger's."""
        person = await who(self.services, request)
        path, artifact_id = request.path_params["path"], request.path_params["id"]
        now = self.services.now()
        found = await self.services.db.read(
            lambda tx: pages.find_artifact(tx, person, path, artifact_id, now)
        )
        headers = {
            "Content-Disposition": attachment(found.filename),
            "Content-Length": str(found.size_bytes),
        }
        opened = await asyncio.to_thread(self.services.blobs.open, found.blob)
        return StreamingResponse(opened, media_type="application/octet-stream", headers=headers)

    async def change(self, act: Act, is_run: bool, request: Request) -> Response:
        """A button: one engine verb, then back to the page it leads to."""
        person = await self._changer(request)
        path, row_id, now = request.path_params["path"], request.path_params["id"], self.services.now()

        def work(tx: Tx) -> object:
            project, run = (pages.find_run if is_run else pages.find_attempt)(tx, person, path, row_id)[:2]
            pages.check_change(person, project, run)
            return act(tx, row_id, now, person.user.id)

        done = await self.services.db.write(work)
        target = done.id if isinstance(done, Attempt | Run) else row_id
        noun = "pipelines" if is_run else "jobs"
        return RedirectResponse(f"/{path}/-/{noun}/{target}", 303)

    async def again(self, act: Again, request: Request) -> Response:
        """Starts or retries a job, with what its form says of its inputs and variables."""
        person = await self._changer(request)
        path, row_id, now = request.path_params["path"], request.path_params["id"], self.services.now()
        given = await form(request, FORM_BYTES)

        def work(tx: Tx) -> Attempt:
            project, run, job, attempt = pages.find_attempt(tx, person, path, row_id)
            pages.check_change(person, project, run)
            asks = self.asks.get(run.dialect)
            inputs = offered.job_inputs(asks, job.plan, given)
            variables = offered.job_variables(asks, job.plan, attempt, given)
            return act(tx, row_id, now, person.user.id, variables, inputs)

        done = await self.services.db.write(work)
        return RedirectResponse(f"/{path}/-/jobs/{done.id}", 303)

    async def _changer(self, request: Request) -> Principal:
        same_origin(request)
        person = await who(self.services, request)
        if person is None or person.is_job:
            raise Unauthenticated("Sign in to do this.")
        return person

    async def sign_in_form(self, request: Request) -> Response:
        """The form."""
        return self.templates.page(
            request, "sign_in.html", None, next=_local(request.query_params.get("next", "/"))
        )

    async def sign_in(self, request: Request) -> Response:
        """Takes the token, gives a session."""
        same_origin(request)
        given = await form(request, SMALL_FORM_BYTES)
        target = _local(given.get("next", "/"))
        session = await sign_in(self.services, given.get("token", ""))
        if session is None:
            return self.templates.page(request, "sign_in.html", None, status=401, failed=True, next=target)
        answer = RedirectResponse(target, 303)
        secure = self.services.server.url.startswith("https:")
        answer.set_cookie(COOKIE, session, max_age=SESSION_S, httponly=True, samesite="lax", secure=secure)
        return answer

    async def sign_out(self, request: Request) -> Response:
        """Ends the session."""
        same_origin(request)
        await sign_out(self.services, request)
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE)
        return answer

    async def device(self, request: Request) -> Response:
        """A program that wants to be let in: the question."""
        person = await who(self.services, request)
        if person is None:
            return RedirectResponse("/sign-in?" + urlencode({"next": request.url.path}), 303)
        id, now = request.path_params["wish"], self.services.now()
        wish = await self.services.db.read(lambda tx: devices.wish(tx, id, now))
        return self.templates.page(
            request, "login.html", person, id=id, program=wish.data["program"], answered=""
        )

    async def device_answer(self, request: Request) -> Response:
        """The person's word."""
        same_origin(request)
        person = await who(self.services, request)
        if person is None:
            raise Unauthenticated("Sign in to do this.")
        given = await form(request, SMALL_FORM_BYTES)
        said = "yes" if given.get("answer") == "yes" else "no"
        id, now, user_id = request.path_params["wish"], self.services.now(), person.user.id
        await self.services.db.write(lambda tx: devices.answer(tx, id, user_id, now, yes=said == "yes"))
        return self.templates.page(request, "login.html", person, answered=said)

    async def problem(self, request: Request, error: Exception) -> Response:
        """A refusal as a page."""
        if not isinstance(error, RunyardError):  # Starlette's type says Exception; it only ever hands us ours
            raise error
        person = await who(self.services, request)
        return self.templates.page(
            request,
            "problem.html",
            person,
            status=status_of(error),
            message=error.message,
        )


def _unschedule(tx: Tx, attempt_id: int, now: int, _: int | None) -> Attempt:
    return control.unschedule(tx, attempt_id, now)


class _RowId(Convertor[int]):
    """An id that a database can hold: Python refuses to read 5,000 digits, databases those beyond 64 bits."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        """The number."""
        return int(value)

    def to_string(self, value: int) -> str:
        """The number again."""
        return str(value)


register_url_convertor("row", _RowId())


async def _icon(_: Request) -> Response:
    return FileResponse(HERE / "static" / "icon.svg", media_type="image/svg+xml")


def _check_within(path: str, asked: Mapping[str, str]) -> None:
    """Invalid for a question that only a walk through all history could answer: anybody may ask here."""
    if (asked["ref"] or asked["sha"]) and not path:
        raise Invalid("A branch or a commit is looked for in one project: /group/name?ref=main")
    if asked["sha"] and not re.fullmatch(r"[0-9a-f]{40,64}", asked["sha"]):
        raise Invalid("A commit is looked for by its whole id, 40 hexadecimal digits.")


def _number(text: str) -> int:
    """A number that a browser sent; 0 for anything else (`²` is a digit to Python, but no number)."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0


def _local(target: str) -> str:
    """Only paths of this site; `//host` would leave it."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) else "/"


class _Guarded:
    """Security headers on every page."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((k.lower().encode(), v.encode()) for k, v in HEADERS.items()),
                ]
            await send(message)

        await self.app(scope, receive, guarded)


def site(
    services: Services,
    dialects: list[str],
    makers: Makers | None = None,
    asks: Mapping[str, JobInputs] | None = None,
) -> Starlette:
    """The ASGI application of the pages. `makers`: the dialects whose runs can be started by hand; `asks`:
    those whose jobs take inputs."""
    it = Site(services, dialects, makers or {}, asks or {})

    def post(path: str, act: Act, *, is_run: bool) -> Route:
        return Route(path, partial(it.change, act, is_run), methods=["POST"])

    run, job = "/{path:path}/-/pipelines/{id:row}", "/{path:path}/-/jobs/{id:row}"
    page: Callable[[str, Callable[[Request], Awaitable[Response]]], Route] = Route
    routes = [
        page("/", it.runs),
        Route("/favicon.ico", _icon),  # browsers ask for it beside a raw log
        Mount("/static", StaticFiles(directory=HERE / "static")),
        page("/sign-in", it.sign_in_form),
        Route("/sign-in", it.sign_in, methods=["POST"]),
        Route("/sign-out", it.sign_out, methods=["POST"]),
        page("/-/login/{wish}", it.device),
        Route("/-/login/{wish}", it.device_answer, methods=["POST"]),
        page("/-/events/runs", it.list_events),
        page("/-/events/run/{id:row}", it.run_events),
        page(run, it.run),
        post(run + "/cancel", control.cancel_run, is_run=True),
        post(run + "/retry", control.retry_run, is_run=True),
        page(job, it.job),
        page(job + "/raw", it.raw),
        page(job + "/log-events", it.log_events),
        post(job + "/cancel", control.cancel_attempt, is_run=False),
        Route(job + "/retry", partial(it.again, control.retry), methods=["POST"]),
        Route(job + "/play", partial(it.again, control.play), methods=["POST"]),
        post(job + "/unschedule", _unschedule, is_run=False),
        page("/{path:path}/-/artifacts/{id:row}", it.artifact),
        page("/{path:path}/-/artifacts/{id:row}/files", it.files.listing),
        page("/{path:path}/-/artifacts/{id:row}/files/{name:path}", it.files.file),
        page("/{path:path}/-/pipelines/new", it.starting.form),
        Route("/{path:path}/-/pipelines", it.starting.start, methods=["POST"]),
        page("/{path:path}/-/pipelines", it.runs),
        page("/{path:path}", it.runs),
    ]
    guards = [Middleware(_Guarded), Middleware(GZipMiddleware, minimum_size=2048)]
    return Starlette(routes=routes, middleware=guards, exception_handlers={RunyardError: it.problem})
