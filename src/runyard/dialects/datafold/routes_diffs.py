"""`/api/v1/datadiffs…`: create, list, get, cancel, patch, summary, summary_results; and
`/datadiffs/{id}/overview`, which clients print. Called by routes.

A diff asked for by the API is a run of one job in the project `datafold/data-diffs`, which is made when the
first one comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from runyard.dialects.datafold import asking, listing, pairs, progress, runs, sources
from runyard.dialects.datafold.answers import (
    ApiDataDiffFull,
    ApiDataDiffPage,
    ApiDataDiffSummary,
    ApiDataDiffWithProgressState,
    DiffStatus,
    Failed,
    Pending,
    Success,
)
from runyard.dialects.datafold.desk import Desk, Id
from runyard.dialects.datafold.openapi import described
from runyard.dialects.datafold.refusals import answer, refused_field
from runyard.dialects.datafold.results import (
    ENDED_AS,
    Diff,
    Reports,
    Stored,
    full,
    load,
    summary,
    summary_results,
)
from runyard.dialects.datafold.shapes import DataDiff, DiffPatch
from runyard.engine.control import cancel_job, erase
from runyard.engine.ports import Page, Tx
from runyard.http.services import Principal
from runyard.model.errors import Forbidden, NotFound
from runyard.model.state import State
from runyard.model.work import Connection, Project, Record, Run, User

MOST_LISTED = 5000


def router(desk: Desk, reports: Reports) -> APIRouter:
    """All routes of diffs."""
    diffs = Diffs(desk, reports)
    table = APIRouter()
    base = "/api/v1/datadiffs"
    one = base + "/{id}"
    for path, handler, method, facts in (
        (base, diffs.create, "POST", described(ApiDataDiffFull, body=DataDiff, errors=(403, 503))),
        (base, diffs.listed, "GET", described(ApiDataDiffPage)),
        (one, diffs.get, "GET", described(ApiDataDiffWithProgressState)),
        (one, diffs.patch, "PATCH", described(ApiDataDiffFull, body=DiffPatch, errors=(403,))),
        (one + "/cancel", diffs.cancel, "POST", described(DiffStatus, errors=(403,))),
        (one + "/summary", diffs.summary, "GET", described(ApiDataDiffSummary)),
        (one + "/summary_results", diffs.summary_results, "GET", described(Pending | Failed | Success)),
        ("/datadiffs/{id}/overview", diffs.overview, "GET", described(page=True)),
    ):
        table.add_api_route(path, handler, methods=[method], **facts)
    return table


class Diffs:
    """The routes."""

    def __init__(self, desk: Desk, reports: Reports) -> None:
        self.desk = desk
        self.services = desk.services
        self.reports = reports

    async def create(self, request: Request) -> Response:
        """Starts a diff; asynchronous, status 200."""
        person = await self.desk.person(request)
        given = await self.desk.body(request, DataDiff)
        if (given.file1 or given.file2) and not person.user.is_admin:
            raise Forbidden("Only administrators may have files of the server read.")

        def look(tx: Tx) -> tuple[Connection, Connection, Connection | None]:
            wish = given.materialization_destination_id
            written = sources.destination(tx, wish) if wish is not None else None
            return sources.find(tx, given.data_source1_id), sources.find(tx, given.data_source2_id), written

        job = pairs.from_api(given, *await self.services.db.read(look))
        run = await asking.start(self.services, asking.DIFFS, person.user, job)
        now = self.services.now()

        def note(tx: Tx) -> Stored:
            return load(tx, runs.note_diffs(tx, run, now)[0])

        return answer(full(await self.reports.of(await self.services.db.write(note))))

    async def listed(
        self,
        request: Request,
        page: Annotated[int, Query(ge=1, le=100_000)] = 1,
        page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
        sort_order: Literal["asc", "desc"] = "asc",
        order_by: Annotated[str, Query(json_schema_extra={"enum": sorted(listing.FIELDS)})] = "id",
        accessible_only: bool = False,
    ) -> Response:
        """Lists diffs; any listed field may be given as a filter, commas mean or."""
        person = await self.desk.person(request)
        if order_by not in listing.FIELDS:
            raise refused_field(("query", "order_by"), f"cannot order by {order_by[:60]!r}", "enum")
        filters = listing.wanted(request.query_params)
        down, start = sort_order == "desc", (page - 1) * page_size
        records = await self.services.db.read(lambda tx: _visible(tx, person, _candidates(tx, filters, down)))
        if not filters and order_by == "id":
            shown, count = await self._shown(records[start : start + page_size]), len(records)
        else:
            every = await self._shown(records, with_results=bool(listing.FOUND & {order_by, *filters}))
            if "user_name" in (order_by, *filters):
                every = await self._named(every)
            chosen = [diff for diff in every if listing.fits(diff, filters)]
            chosen.sort(key=lambda diff: listing.sort_key(diff, order_by), reverse=down)
            known, count = {r.id: r for r in records}, len(chosen)
            shown = await self._shown([known[diff["id"]] for diff in chosen[start : start + page_size]])
        pages = -(-count // page_size)
        return answer(
            {"count": count, "page": page, "page_size": page_size, "total_pages": pages, "results": shown}
        )

    async def _named(self, diffs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """With who started each, by the name shown and by the one of the login, which lists filter and order
        by but do not show."""

        def look(tx: Tx) -> dict[int, list[str]]:
            users = [tx.get(User, id) for id in {diff["user_id"] for diff in diffs} if id]
            return {
                user.id: [user.name or user.username, user.username] for user in users if user is not None
            }

        names = await self.services.db.read(look)
        return [{**diff, "user_name": names.get(diff["user_id"], [])} for diff in diffs]

    async def _shown(self, records: Sequence[Record], *, with_results: bool = True) -> list[dict[str, Any]]:
        def look(tx: Tx) -> list[Stored]:
            found = []
            for record in records:
                try:
                    found.append(load(tx, record))
                except NotFound:
                    continue  # its run was removed
            return found

        every = await self.services.db.read(look)
        return [full(await self.reports.of(one) if with_results else Diff(one, {})) for one in every]

    async def _diff(self, person: Principal, id: int) -> Diff:
        return await self.reports.of(
            await self.services.db.read(lambda tx: load(tx, _record(tx, person, id)))
        )

    async def get(self, request: Request, id: Id) -> Response:
        """Shows a diff with how far it is."""
        diff = await self._diff(await self.desk.person(request), id)
        return answer(full(diff) | {"diff_progress": await progress.of(self.services, diff.stored.attempt)})

    async def patch(self, request: Request, id: Id) -> Response:
        """Marks a diff as archived, or takes all that it found away for good."""
        person = await self.desk.person(request)
        given = (await self.desk.body(request, DiffPatch)).model_dump(exclude_none=True)
        now = self.services.now()
        status = (await self._diff(person, id)).status if given.get("purged") else ""

        def change(tx: Tx) -> None:
            record = _owned(tx, person, id)
            data = {**record.data, **given}
            data["purged"] = bool(data.get("purged") or record.data.get("purged"))  # for good
            if given.get("purged") and not record.data.get("purged"):
                erase(tx, load(tx, record).attempt.id, now, person.user.id or None)
                data[ENDED_AS] = status
            tx.save(replace(record, data=data, updated_at=now))

        await self.services.db.write(change)
        return answer(full(await self._diff(person, id)))

    async def cancel(self, request: Request, id: Id) -> Response:
        """Cancels; a finished diff stays as it is."""
        person = await self.desk.person(request)
        now = self.services.now()

        def stop(tx: Tx) -> None:
            stored = load(tx, _owned(tx, person, id))
            if stored.attempt.state is not State.DONE:
                cancel_job(tx, stored.job.id, now, person.user.id or None)

        await self.services.db.write(stop)
        return answer({"id": id, "status": (await self._diff(person, id)).status})

    async def summary(self, request: Request, id: Id) -> Response:
        """For people."""
        diff = await self._diff(await self.desk.person(request), id)
        names = {c.id: c.name for c in await self.services.db.read(lambda tx: tx.connections())}
        return answer(summary(diff, names))

    async def summary_results(self, request: Request, id: Id) -> Response:
        """For programs."""
        return answer(summary_results(await self._diff(await self.desk.person(request), id)))

    async def overview(self, request: Request, id: Id) -> Response:
        """The address that the vendor's client prints leads to the job's page, which asks who you are
        itself."""

        def look(tx: Tx) -> str:
            stored = load(tx, _named(tx, id))
            project = tx.get(Project, stored.run.project_id)
            return f"/{project.path}/-/jobs/{stored.attempt.id}" if project else "/"

        return RedirectResponse(await self.services.db.read(look), 302)


def _candidates(tx: Tx, filters: dict[str, Sequence[str]], down: bool) -> Sequence[Record]:
    """Records that may fit; those of named runs without a look at all others."""
    named = [
        text for text in filters.get("ci_run_id", ()) if text.isascii() and text.isdigit() and len(text) < 19
    ]
    if named:
        found = [run for run in (tx.get(Run, int(text)) for text in dict.fromkeys(named)) if run is not None]
        return [record for run in found for record in runs.records_of(tx, run)]
    return tx.records(runs.DIFF, None, None, Page(limit=MOST_LISTED, descending=down))


def _named(tx: Tx, id: int) -> Record:
    found = tx.get(Record, id)
    if found is None or found.kind != runs.DIFF:
        raise NotFound(f"There is no data diff {id}.")
    return found


def _record(tx: Tx, person: Principal, id: int) -> Record:
    """The diff that a URL names, for those who may see its repository."""
    found = _named(tx, id)
    if not _visible(tx, person, [found]):
        raise NotFound(f"There is no data diff {id}.")
    return found


def _owned(tx: Tx, person: Principal, id: int) -> Record:
    """The same for those who may stop it: who started it, and developers of its repository."""
    found = _record(tx, person, id)
    run, project = tx.get(Run, int(found.data["run_id"])), tx.get(Project, found.project_id or 0)
    if run is None or project is None:
        raise NotFound(f"The run of data diff {id} was removed.")
    if run.actor_id != person.user.id and not person.may_run(project):
        raise Forbidden("Only who started a diff and developers of its repository may change it.")
    return found


def _visible(tx: Tx, person: Principal, records: Sequence[Record]) -> list[Record]:
    projects = {i: tx.get(Project, i) for i in {record.project_id or 0 for record in records}}
    seen = {i for i, project in projects.items() if project is not None and person.may_see(project)}
    return [record for record in records if (record.project_id or 0) in seen]
