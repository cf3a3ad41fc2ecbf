"""Pages for people: a run's errors by explore, a LookML file at a commit, and one's API credentials. Mounted
under /-/looker, with the site's own frame.

Signed in by the site's cookie; every text of a repository or a database is escaped by the templates.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from runyard.dialects.looker import credentials, imports, results, shapes
from runyard.dialects.looker.compile import TITLES
from runyard.dialects.looker.links import PAGES, Links
from runyard.dialects.looker.naming import find_project
from runyard.dialects.looker.results import Fault, Found, RunFacts, Validated
from runyard.engine.ports import Tx
from runyard.http.problems import status_of
from runyard.http.services import Principal, Services
from runyard.http.session import same_origin, who
from runyard.model.access import Standing
from runyard.model.errors import Forbidden, Invalid, NotFound, RunyardError, TooLarge, Unauthenticated
from runyard.model.state import State
from runyard.model.work import Project, Run, User
from runyard.web import pages as site
from runyard.web.render import Templates
from runyard.web.routes import HEADERS

FOLDER = Path(__file__).parent / "templates"
SHOWN_LINES = 20_000
SHOWN_EXPLORES = 4
Page = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Marked:
    """One line of SQL; `caret` is the column that the database pointed at, 0 for none."""

    text: str
    caret: int = 0


def marked(error: Fault) -> list[Marked]:
    """The SQL of an error, line by line."""
    lines = error.sql.split("\n") if error.sql else []
    return [
        Marked(text, max(1, error.sql_column) if n == error.sql_line else 0)
        for n, text in enumerate(lines, 1)
    ]


@dataclass(frozen=True, slots=True)
class Group:
    """Findings of the same explores; none is what is wrong in views and files whatever uses them."""

    explores: tuple[str, ...]
    findings: list[Found]

    @property
    def title(self) -> str:
        """The explores, as far as a heading has room."""
        more = len(self.explores) - SHOWN_EXPLORES
        shown = ", ".join(self.explores[:SHOWN_EXPLORES])
        return f"{shown} and {more} more" if more > 0 else shown


def grouped(findings: list[Found]) -> list[Group]:
    """By the explores that they are found in, those first; each group in the report's order."""
    groups: dict[tuple[str, ...], list[Found]] = {}
    for one in findings:
        own = (f"{one.model}/{one.explore}",) if one.explore else ()
        groups.setdefault(tuple(sorted(one.explores)) or own, []).append(one)
    return [Group(explores, groups[explores]) for explores in sorted(groups, key=lambda e: (not e, e))]


class Pages:
    """The handlers; one value per door."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.templates = Templates(services, [], [FOLDER])

    def routes(self) -> list[Route]:
        """What the door mounts beside its API."""

        def route(path: str, page: Page, method: str = "GET") -> Route:
            return Route(PAGES + path, partial(self._page, page), methods=[method], include_in_schema=False)

        return [
            route("/runs/{run_id}", self.run),
            route("/projects/{project_id}/files/{file:path}", self.file),
            route("/credentials", self.credentials),
            route("/credentials", self.make, "POST"),
            route("/credentials/{id}/delete", self.delete, "POST"),
        ]

    async def _page(self, page: Page, request: Request) -> Response:
        """The page, or the site's page of an error."""
        try:
            answer = await page(request)
        except RunyardError as error:
            person = await who(self.services, request)
            status = status_of(error)
            answer = self.templates.page(request, "problem.html", person, status, message=error.message)
        answer.headers.update(HEADERS)
        return answer

    async def run(self, request: Request) -> Response:
        """A run: its validators, their explores, and what is wrong with each."""
        person, wanted = await who(self.services, request), request.path_params["run_id"]

        def load(tx: Tx) -> tuple[Project, RunFacts]:
            run = (
                tx.get(Run, int(wanted))
                if wanted.isascii() and wanted.isdigit() and len(wanted) < 19
                else None
            )
            project = tx.get(Project, run.project_id) if run is not None else None
            if run is None or run.dialect != "looker" or project is None:
                raise NotFound("There is no such run.")
            site.find_project(tx, person, project.path)
            actor = tx.get(User, run.actor_id) if run.actor_id else None
            return project, results.facts(tx, run, actor.username if actor else "", project.path)

        project, known = await self.services.db.read(load)
        found = await asyncio.to_thread(results.validated, known, self.services.blobs)
        run = known.view.run
        jobs = {_validator_of(j.job.plan.extra, j.job.key): j.latest.id for j in known.view.jobs}
        return self.templates.page(
            request,
            "looker_run.html",
            person,
            run=run,
            project=project,
            actor=known.actor,
            trigger=shapes.trigger_type(known).replace("_", " "),
            extra=results.extra_of(run),
            outcome=_mark(results.run_status(run, found)),
            found=found,
            titles=TITLES,
            jobs=jobs,
            links=Links("", project.path, run.sha),
            marked=marked,
            grouped=grouped,
            badge=_mark,
            counted=_counted,
            live=f"/-/events/run/{run.id}" if run.state is not State.DONE else "",
        )

    async def file(self, request: Request) -> Response:
        """A file of the repository at a commit, each line with its number."""
        person, file = await who(self.services, request), request.path_params["file"]
        wanted, sha = request.path_params["project_id"], request.query_params.get("commit", "")
        project = await self.services.db.read(lambda tx: find_project(tx, wanted.replace("\x1f", "/")))
        if project is None or not _reads(person, project):
            raise NotFound("There is no such project, or you may not read it.")
        try:
            data = await asyncio.to_thread(self._bytes, project, sha, file)
        except TooLarge:
            data = b"This file is too large to be shown."
        except Invalid as error:
            raise NotFound(error.message) from None
        if data is None:
            raise NotFound("There is no such file in this commit.")
        line = request.query_params.get("line", "")
        lines = data.decode("utf-8", "replace").split("\n")[:SHOWN_LINES]
        facts = {"project": project, "file": file, "sha": sha, "lines": lines}
        return self.templates.page(
            request,
            "looker_file.html",
            person,
            **facts,
            at=int(line) if line.isdigit() and len(line) < 7 else 0,
        )

    def _bytes(self, project: Project, sha: str, file: str) -> bytes | None:
        return self.services.source.files(
            project.id, self.services.source.resolve(project.id, sha or project.default_branch)[0].sha
        ).read(file)

    async def credentials(self, request: Request) -> Response:
        """One's client ids; secrets are not shown again."""
        person = await self._someone(request)
        return await self._credentials(request, person)

    async def _credentials(
        self, request: Request, person: Principal, made: tuple[str, str] | None = None
    ) -> Response:
        found = await self.services.db.read(lambda tx: credentials.of_user(tx, person.user))
        return self.templates.page(request, "looker_credentials.html", person, found=found, made=made)

    async def make(self, request: Request) -> Response:
        """A fresh pair, shown once."""
        same_origin(request)
        person, now = await self._someone(request), self.services.now()
        client_id, secret = self.services.new_token(""), self.services.new_token("lks-")
        await self.services.db.write(lambda tx: credentials.add(tx, person.user, client_id, secret, now))
        return await self._credentials(request, person, (client_id, secret))

    async def delete(self, request: Request) -> Response:
        """Ends a pair of one's own."""
        same_origin(request)
        person, wanted, now = await self._someone(request), request.path_params["id"], self.services.now()
        await self.services.db.write(lambda tx: credentials.revoke(tx, person.user, wanted, now))
        return RedirectResponse(f"{PAGES}/credentials", 303)

    async def _someone(self, request: Request) -> Principal:
        person = await who(self.services, request)
        if person is None:
            raise Unauthenticated("Sign in to see your API credentials.")
        if person.is_job:
            raise Forbidden
        return person


def _validator_of(extra: Mapping[str, Any], key: str) -> str:
    return str((extra.get("looker") or {}).get("validator", key))


def _reads(person: Principal | None, project: Project) -> bool:
    if person is None:
        return project.visibility == "public"
    return imports.reads(person.standing or Standing(person.user), project)


def _mark(status: str) -> str:
    """The site's badge for Looker's word."""
    return {"cancelled": "canceled"}.get(status, status)


def _counted(found: Validated) -> int:
    """How many errors a validator tells."""
    if found.report is None:
        return 0
    return len(found.report.findings) + sum(len(t.errors) for t in found.report.tested)
