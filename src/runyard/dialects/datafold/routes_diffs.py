"""`/api/v1/datadiffs…`: create, list, get, cancel, patch, summary, summary_results; and `/datadiffs/{id}/overview`, which clients print. Called by routes.

A diff asked for by the API is a run of one job in the project `datafold/data-diffs`, which is made when the first one comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from runyard.dialects.datafold import pairs, runs, sources
from runyard.dialects.datafold.compile import NoFiles
from runyard.dialects.datafold.desk import Desk, Id
from runyard.dialects.datafold.refusals import answer, refused_field
from runyard.dialects.datafold.results import Diff, Reports, Stored, full, load, summary, summary_results
from runyard.dialects.datafold.shapes import DataDiff, DiffPatch
from runyard.engine.control import cancel_job
from runyard.engine.ports import Page, Tx
from runyard.http.services import RunRequest
from runyard.model.errors import Conflict, NotFound, Unavailable
from runyard.model.state import State
from runyard.model.trigger import ZERO_SHA
from runyard.model.work import Connection, Project, Record, User

HOME = "datafold/data-diffs"
MOST_LISTED = 5000
SORTABLE = frozenset(
    [
        "id",
        "data_source1_id",
        "data_source2_id",
        "table1",
        "table2",
        "pk_columns",
        "include_columns",
        "exclude_columns",
        "filter1",
        "filter2",
        "done",
        "created_at",
        "updated_at",
        "status",
        "source",
        "result",
        "archived",
        "purged",
        "kind",
        "tags",
        "ci_run_id",
        "pr_num",
        "pr_branch",
        "stats.match_ratio",
        "diff_stats_pks",
        "diff_stats_rows",
        "diff_stats_values",
        "user_id",
        "query1",
        "query2",
        "time_column",
    ]
)
_SHOWN_AS = {"pr_num": "ci_pr_num", "pr_branch": "ci_pr_branch"}
_STATS = {
    "stats.match_ratio": "match_ratio",
    "diff_stats_pks": "diff_pks",
    "diff_stats_rows": "diff_rows",
    "diff_stats_values": "diff_values",
}


def router(desk: Desk) -> APIRouter:
    """All routes of diffs."""
    diffs = Diffs(desk)
    table = APIRouter()
    base = "/api/v1/datadiffs"
    table.add_api_route(base, diffs.create, methods=["POST"])
    table.add_api_route(base, diffs.listed, methods=["GET"])
    table.add_api_route(base + "/{id}", diffs.get, methods=["GET"])
    table.add_api_route(base + "/{id}", diffs.patch, methods=["PATCH"])
    table.add_api_route(base + "/{id}/cancel", diffs.cancel, methods=["POST"])
    table.add_api_route(base + "/{id}/summary", diffs.summary, methods=["GET"])
    table.add_api_route(base + "/{id}/summary_results", diffs.summary_results, methods=["GET"])
    table.add_api_route("/datadiffs/{id}/overview", diffs.overview, methods=["GET"])
    return table


class Diffs:
    """The routes."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.services = desk.services
        self.reports = Reports(desk.services.blobs)

    async def create(self, request: Request) -> Response:
        """Starts a diff; asynchronous, status 200."""
        person = await self.desk.person(request)
        given = await self.desk.body(request, DataDiff)

        def look(tx: Tx) -> tuple[Connection, Connection]:
            return sources.find(tx, given.data_source1_id), sources.find(tx, given.data_source2_id)

        a, b = await self.services.db.read(look)
        job = pairs.from_api(given, a, b)
        run = await self.services.start(
            RunRequest(
                project=await self._home(person.user),
                dialect=runs.DIALECT,
                source="api",
                actor=person.user,
                ref="main",
                sha=ZERO_SHA,
                options={"jobs": (job,), "name": job.name},
                files=NoFiles(),
            )
        )
        now = self.services.now()

        def note(tx: Tx) -> Stored:
            return load(tx, runs.note_diffs(tx, run, now)[0])

        return answer(full(await self.reports.of(await self.services.db.write(note))))

    async def _home(self, actor: User) -> Project:
        """The project of diffs that belong to no pull request."""

        def make(tx: Tx) -> tuple[Project, bool]:
            known = tx.project_by_path(HOME)
            if known is not None:
                return known, False
            return tx.add(Project(0, HOME, "data-diffs", created_at=self.services.now())), True

        known = await self.services.db.read(lambda tx: tx.project_by_path(HOME))
        if known is not None:
            return known
        try:
            project, fresh = await self.services.db.write(make)
        except Conflict:
            raise Unavailable(retry_after_s=1) from None
        if fresh:
            self.services.source.create(project.id, project.default_branch)
        return project

    async def listed(
        self,
        request: Request,
        page: Annotated[int, Query(ge=1, le=100_000)] = 1,
        page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
        sort_order: Literal["asc", "desc"] = "asc",
        order_by: str = "id",
    ) -> Response:
        """Lists diffs; any shown field may be given as a filter, commas mean or."""
        await self.desk.person(request)
        if order_by not in SORTABLE:
            raise refused_field(("query", "order_by"), f"cannot order by {order_by[:60]!r}", "enum")
        wanted = {k: v.split(",") for k, v in request.query_params.items() if k in SORTABLE}
        window = Page(limit=MOST_LISTED, descending=sort_order == "desc")
        records = await self.services.db.read(lambda tx: tx.records(runs.DIFF, None, None, window))
        start = (page - 1) * page_size
        if not wanted and order_by == "id":
            shown = await self._shown(records[start : start + page_size])
            count = len(records)
        else:
            every = [d for d in await self._shown(records) if _fits(d, wanted)]
            every.sort(key=lambda d: _sort_key(d, order_by), reverse=sort_order == "desc")
            shown, count = every[start : start + page_size], len(every)
        pages = -(-count // page_size)
        return answer(
            {"count": count, "page": page, "page_size": page_size, "total_pages": pages, "results": shown}
        )

    async def _shown(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        def look(tx: Tx) -> list[Stored]:
            found = []
            for record in records:
                try:
                    found.append(load(tx, record))
                except NotFound:
                    continue  # its run was removed
            return found

        return [full(await self.reports.of(stored)) for stored in await self.services.db.read(look)]

    async def _diff(self, id: int) -> Diff:
        return await self.reports.of(await self.services.db.read(lambda tx: load(tx, _record(tx, id))))

    async def get(self, request: Request, id: Id) -> Response:
        """Shows a diff with how far it is."""
        await self.desk.person(request)
        diff = await self._diff(id)
        done = 1 if diff.stored.attempt.state is State.DONE else 0
        progress = {"version": "1", "completed_steps": done, "total_steps": 1}
        return answer(full(diff) | {"diff_progress": progress})

    async def patch(self, request: Request, id: Id) -> Response:
        """Marks a diff as archived or purged."""
        await self.desk.person(request)
        given = (await self.desk.body(request, DiffPatch)).model_dump(exclude_none=True)
        now = self.services.now()

        def change(tx: Tx) -> None:
            record = _record(tx, id)
            tx.save(replace(record, data={**record.data, **given}, updated_at=now))

        await self.services.db.write(change)
        return answer(full(await self._diff(id)))

    async def cancel(self, request: Request, id: Id) -> Response:
        """Cancels; a finished diff stays as it is."""
        person = await self.desk.person(request)
        now = self.services.now()

        def stop(tx: Tx) -> None:
            stored = load(tx, _record(tx, id))
            if stored.attempt.state is not State.DONE:
                cancel_job(tx, stored.job.id, now, person.user.id or None)

        await self.services.db.write(stop)
        diff = await self._diff(id)
        return answer({"id": id, "status": diff.status})

    async def summary(self, request: Request, id: Id) -> Response:
        """For people."""
        await self.desk.person(request)
        diff = await self._diff(id)
        names = {c.id: c.name for c in await self.services.db.read(lambda tx: tx.connections())}
        return answer(summary(diff, names))

    async def summary_results(self, request: Request, id: Id) -> Response:
        """For programs."""
        await self.desk.person(request)
        return answer(summary_results(await self._diff(id)))

    async def overview(self, request: Request, id: Id) -> Response:
        """The address that the vendor's client prints leads to the job's page, which asks who you are itself."""

        def look(tx: Tx) -> str:
            stored = load(tx, _record(tx, id))
            project = tx.get(Project, stored.run.project_id)
            return f"/{project.path}/-/jobs/{stored.attempt.id}" if project else "/"

        return RedirectResponse(await self.services.db.read(look), 302)


def _record(tx: Tx, id: int) -> Record:
    found = tx.get(Record, id)
    if found is None or found.kind != runs.DIFF:
        raise NotFound(f"There is no data diff {id}.")
    return found


def _value(diff: dict[str, Any], name: str) -> Any:
    if name in _STATS:
        return diff["diff_stats"].get(_STATS[name])
    return diff.get(_SHOWN_AS.get(name, name))


def _fits(diff: dict[str, Any], wanted: dict[str, list[str]]) -> bool:
    return all(_text(_value(diff, name)) in values for name, values in wanted.items())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ".".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def _sort_key(diff: dict[str, Any], name: str) -> tuple[int, float, str]:
    """Missing first, then numbers, then texts."""
    value = _value(diff, name)
    if value is None:
        return (0, 0.0, "")
    if isinstance(value, int | float):
        return (1, float(value), "")
    return (2, 0.0, _text(value))
