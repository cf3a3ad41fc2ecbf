"""`/api/v1/ci/{id}/…`: trigger, submitted diffs, runs, and (ours) confirm, cancel and report of a run. Called
by routes.

Trigger and submit are safe to repeat: the same commit's open run is reused, the same pair is one job, and a
pull request without an open run is answered with `run_id: null`, which the vendor's client reports without
failing (contracts/datafold.md §2.2).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from runyard.dialects.datafold import pairs, reporting, runs, sources
from runyard.dialects.datafold.answers import ApiCiRun, RunReport, SubmitCiJob
from runyard.dialects.datafold.desk import Desk, Id
from runyard.dialects.datafold.life import Life
from runyard.dialects.datafold.openapi import described
from runyard.dialects.datafold.refusals import answer
from runyard.dialects.datafold.results import Reports, load
from runyard.dialects.datafold.shapes import CiDiff, PrDetails
from runyard.engine.control import cancel_run
from runyard.engine.ports import Tx
from runyard.model.errors import NotFound
from runyard.model.work import Connection, Record, Run

MOST_DIFFS = 2000


def router(desk: Desk, reports: Reports) -> APIRouter:
    """All CI routes; `trigger` before `{pr_num}`, which would swallow it."""
    ci = Ci(desk, reports)
    table = APIRouter(prefix="/api/v1/ci/{ci_config_id}")
    run = "/runs/{run_id}"
    for path, handler, method, facts in (
        ("/trigger", ci.trigger, "POST", described(SubmitCiJob, body=PrDetails, errors=(403, 503))),
        ("/runs", ci.runs, "GET", described(list[ApiCiRun])),
        (run, ci.run, "GET", described(ApiCiRun)),
        (run + "/report", ci.report, "GET", described(RunReport)),
        (run + "/confirm", ci.confirm, "POST", described(ApiCiRun, errors=(403,))),
        (run + "/cancel", ci.cancel, "POST", described(ApiCiRun, errors=(403,))),
        ("/{pr_num}", ci.submit, "POST", described(SubmitCiJob, body=CiDiff, many=True, errors=(403, 503))),
    ):
        table.add_api_route(path, handler, methods=[method], **facts)
    return table


class Ci:
    """The routes."""

    def __init__(self, desk: Desk, reports: Reports) -> None:
        self.desk = desk
        self.services = desk.services
        self.reports = reports
        self.life = Life(desk.services)

    async def trigger(self, request: Request, ci_config_id: Id) -> Response:
        """Starts the run of a pull request's commit; it waits for tables."""
        person, owner = await self.desk.developer(request, ci_config_id)
        pr = await self.desk.body(request, PrDetails)
        run = await self.life.trigger(owner, person.user, pr)
        id = run.id if run else None
        return answer({"ci_run_id": id, "run_id": id})

    async def submit(self, request: Request, ci_config_id: Id, pr_num: Id) -> Response:
        """Gives the open run of a pull request its tables."""
        _, owner = await self.desk.developer(request, ci_config_id)
        diffs = await self.desk.bodies(request, CiDiff, MOST_DIFFS)

        def look(tx: Tx) -> tuple[Connection, Run | None]:
            run = next(runs.runs(tx, owner, pr=str(pr_num), open_only=True), None)
            return sources.find(tx, runs.options(owner).data_source_id), run

        connection, run = await self.services.db.read(look)
        if run is None:
            return answer({"ci_run_id": None, "run_id": None})
        waiting = run
        jobs = pairs.from_submitted(diffs, runs.options(owner), connection, runs.about(waiting))
        now, terms = self.services.now(), self.services.terms
        given = await self.services.db.write(lambda tx: runs.give(tx, waiting.id, jobs, now, terms))
        id = waiting.id if given else None
        return answer({"ci_run_id": id, "run_id": id})

    async def runs(
        self,
        request: Request,
        ci_config_id: Id,
        pr_sha: Annotated[str | None, Query(max_length=100)] = None,
        pr_num: Annotated[str | None, Query(max_length=40)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
    ) -> Response:
        """Lists runs, newest first."""
        owner = await self.desk.config(request, ci_config_id)

        def look(tx: Tx) -> list[Run]:
            found = []
            for n, run in enumerate(runs.runs(tx, owner, sha=pr_sha or None, pr=pr_num or None)):
                if n >= offset:
                    found.append(run)
                if len(found) == limit:
                    break
            return found

        return answer([reporting.ci_run(run) for run in await self.services.db.read(look)])

    async def run(self, request: Request, ci_config_id: Id, run_id: Id) -> Response:
        """Shows one run (ours)."""
        owner = await self.desk.config(request, ci_config_id)
        return answer(reporting.ci_run(await self._run(owner, run_id)))

    async def _run(self, owner: Record, run_id: int) -> Run:
        return await self.services.db.read(lambda tx: runs.run_of(tx, owner, run_id))

    async def confirm(self, request: Request, ci_config_id: Id, run_id: Id) -> Response:
        """Starts the diffs of a run that has more of them than start by themselves (ours)."""
        person, owner = await self.desk.developer(request, ci_config_id)
        await self._run(owner, run_id)
        now = self.services.now()
        await self.services.db.write(lambda tx: runs.confirm(tx, run_id, now, person.user.id or None))
        return answer(reporting.ci_run(await self._run(owner, run_id)))

    async def cancel(self, request: Request, ci_config_id: Id, run_id: Id) -> Response:
        """Cancels a run; one that has ended stays as it is (ours)."""
        person, owner = await self.desk.developer(request, ci_config_id)
        await self._run(owner, run_id)
        now = self.services.now()
        await self.services.db.write(lambda tx: cancel_run(tx, run_id, now, person.user.id or None))
        return answer(reporting.ci_run(await self._run(owner, run_id)))

    async def report(
        self, request: Request, ci_config_id: Id, run_id: Id, format: Literal["json", "markdown"] = "json"
    ) -> Response:
        """Everything a run found, as JSON or as Markdown ready to post on the pull request (ours)."""
        run = await self._run(await self.desk.config(request, ci_config_id), run_id)
        found = await gather(self.desk, self.reports, run)
        if format == "markdown":
            return Response(reporting.markdown(found, self.services.server.url), media_type="text/markdown")
        return answer(found)


async def gather(desk: Desk, reports: Reports, run: Run) -> dict[str, Any]:
    """A run's report."""

    def look(tx: Tx) -> list[Any]:
        found = []
        for record in runs.records_of(tx, run):
            try:
                found.append(load(tx, record))
            except NotFound:
                continue
        return found

    stored = await desk.services.db.read(look)
    return reporting.report(run, [await reports.of(one) for one in stored])
