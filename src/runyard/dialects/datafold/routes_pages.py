"""Pages for people: `/datadiffs/runs/{id}`, the report of a CI run with its confirm button. Sign-in, style
and script are the web pages' own.

What strangers wrote (table and column names, messages) reaches the page only through Jinja's escaping. Called
by routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from runyard.dialects.datafold import reporting, runs
from runyard.dialects.datafold.desk import Desk, Id
from runyard.dialects.datafold.openapi import described
from runyard.dialects.datafold.results import Reports
from runyard.dialects.datafold.routes_ci import gather
from runyard.engine.ports import ArtifactFilter, Page, Tx
from runyard.http.services import Principal
from runyard.http.session import same_origin, who
from runyard.model.errors import Forbidden, NotFound
from runyard.model.state import State
from runyard.model.work import Project, Run
from runyard.web.render import Templates

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MARKS = {
    "identical": "passed",
    "empty": "passed",
    "different": "warned",
    "missing-pks": "warned",
    "bad-pks": "warned",
    "error": "failed",
}
WORDS = {
    "identical": "identical",
    "empty": "both empty",
    "different": "different",
    "missing-pks": "rows missing",
    "bad-pks": "bad keys",
    "error": "not compared",
}

KINDS = (
    ("exclusive", "Keys only in"),
    ("null_keys", "Null keys in"),
    ("duplicate_keys", "Duplicate keys in"),
)
MOST_ROWS = 10  # of each kind and table; the file of rows has the others
MOST_CHARS = 200
MOST_COLUMNS = 20  # shown at once; the others unfold
MOST_CELLS = 8  # of a sample row


def router(desk: Desk, reports: Reports) -> APIRouter:
    """All pages."""
    pages = Pages(desk, reports)
    table = APIRouter()
    table.add_api_route("/datadiffs/runs/{run_id}", pages.run, methods=["GET"], **described(page=True))
    table.add_api_route(
        "/datadiffs/runs/{run_id}/confirm", pages.confirm, methods=["POST"], include_in_schema=False
    )
    table.add_api_route(
        "/datadiffs/runs/{run_id}/report.md", pages.markdown, methods=["GET"], include_in_schema=False
    )
    return table


def cell(value: str | None) -> str:
    """A value for people: nothing, an empty text and blanks look alike without a sign; long ones are cut."""
    if value is None:
        return "NULL"
    shown = value[:MOST_CHARS] + ("…" if len(value) > MOST_CHARS else "")
    return shown if shown and shown.strip() == shown else f"'{shown}'"


def keyed(sample: Mapping[str, Any]) -> str:
    """A sample's key, and how many rows have it if several do."""
    key = ", ".join(f"{name} {cell(value)}" for name, value in sample["key"].items())
    return f"{key} ({sample['rows']} rows)" if sample.get("rows", 1) > 1 else key


class Pages:
    """The pages."""

    def __init__(self, desk: Desk, reports: Reports) -> None:
        self.desk = desk
        self.services = desk.services
        self.reports = reports
        self.templates = Templates(desk.services, [], [Path(__file__).parent])

    async def run(self, request: Request, run_id: Id) -> Response:
        """A CI run: what was compared, what was found, what waits for a person."""
        try:
            person, run, project = await self._seen(request, run_id)
        except NotFound as error:
            return self._page(
                request, "problem.html", await who(self.services, request), 404, message=error.message
            )
        if person is None and project.visibility != "public":
            return RedirectResponse(f"/sign-in?next=/datadiffs/runs/{run_id}", 302)
        found = await gather(self.desk, self.reports, run)
        files = await self.services.db.read(
            lambda tx: tx.artifacts(ArtifactFilter(run_id=run.id, type="datadiff_rows"), Page(limit=2000))
        )
        may_run = person is not None and person.may_run(project)
        return self._page(
            request,
            "report.html",
            person,
            it=found,
            run=found["run"],
            state=run.state,
            outcome=run.outcome,
            project=project,
            can=may_run,
            may_cancel=may_run and run.state is not State.DONE,
            rows={a.attempt_id: a for a in files},
            marks=MARKS,
            words=WORDS,
            kinds=KINDS,
            most_rows=MOST_ROWS if person is not None else 0,  # a public page may still be of private data
            most_columns=MOST_COLUMNS,
            most_cells=MOST_CELLS,
            keyed=keyed,
            cell=cell,
            live=f"/-/events/run/{run.id}" if run.state is not State.DONE else "",
        )

    def _page(
        self, request: Request, name: str, person: Principal | None, status: int = 200, **facts: Any
    ) -> Response:
        answer = self.templates.page(request, name, person, status, **facts)
        answer.headers.update(HEADERS)
        return answer

    async def _seen(self, request: Request, run_id: int) -> tuple[Principal | None, Run, Project]:
        person = await who(self.services, request)

        def look(tx: Tx) -> tuple[Run, Project]:
            run = tx.get(Run, run_id)
            project = tx.get(Project, run.project_id) if run else None
            if run is None or project is None or "ci_config_id" not in runs.about(run):
                raise NotFound(f"There is no CI run {run_id}.")
            return run, project

        run, project = await self.services.db.read(look)
        if person is not None and not person.may_see(project):
            raise NotFound(f"There is no CI run {run_id}.")
        return person, run, project

    async def confirm(self, request: Request, run_id: Id) -> Response:
        """The button: starts the diffs that wait for a person."""
        same_origin(request)
        person, run, project = await self._seen(request, run_id)
        if person is None or not person.may_run(project):
            raise Forbidden("Sign in as a developer of this repository to do this.")
        now = self.services.now()
        await self.services.db.write(lambda tx: runs.confirm(tx, run.id, now, person.user.id or None))
        return RedirectResponse(f"/datadiffs/runs/{run.id}", 303)

    async def markdown(self, request: Request, run_id: Id) -> Response:
        """The comment, to copy."""
        person, run, project = await self._seen(request, run_id)
        if person is None and project.visibility != "public":
            raise NotFound(f"There is no CI run {run_id}.")
        found = await gather(self.desk, self.reports, run)
        text = reporting.markdown(found, self.services.server.url)
        return Response(text, media_type="text/plain; charset=utf-8", headers=HEADERS)
