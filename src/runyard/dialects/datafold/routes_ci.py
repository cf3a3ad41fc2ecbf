"""`/api/v1/ci…`: configurations (ours), trigger, submitted diffs, runs. Called by routes.

Trigger and submit are safe to repeat: the same commit's open run is reused, the same pair is one job, and a pull request without an open run is
answered with `run_id: null`, which the vendor's client reports without failing (contracts/datafold.md §2.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from runyard.dialects.datafold import pairs, runs, sources
from runyard.dialects.datafold.compile import NoFiles
from runyard.dialects.datafold.desk import Desk, Id
from runyard.dialects.datafold.refusals import UnknownReference, answer
from runyard.dialects.datafold.results import moment
from runyard.dialects.datafold.shapes import CiConfig, CiDiff, PrDetails
from runyard.dialects.datafold.words import say
from runyard.engine.ports import Page, Tx
from runyard.http.services import RunRequest
from runyard.model.errors import NotFound
from runyard.model.work import Connection, Project, Record, Run

MOST_DIFFS = 2000


def router(desk: Desk) -> APIRouter:
    """All CI routes; `trigger` before `{pr_num}`, which would swallow it."""
    ci = Ci(desk)
    table = APIRouter(prefix="/api/v1/ci")
    table.add_api_route("", ci.create, methods=["POST"])
    table.add_api_route("", ci.listed, methods=["GET"])
    table.add_api_route("/{ci_config_id}", ci.get, methods=["GET"])
    table.add_api_route("/{ci_config_id}/trigger", ci.trigger, methods=["POST"])
    table.add_api_route("/{ci_config_id}/runs", ci.runs, methods=["GET"])
    table.add_api_route("/{ci_config_id}/{pr_num}", ci.submit, methods=["POST"])
    return table


class Ci:
    """The routes."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.services = desk.services

    async def create(self, request: Request) -> Response:
        """Makes a CI configuration (ours)."""
        await self.desk.administrator(request)
        given = await self.desk.body(request, CiConfig)
        now = self.services.now()

        def make(tx: Tx) -> Record:
            project = _project(tx, given.repository)
            sources.find(tx, given.data_source_id)
            data = given.model_dump() | {"repository": project.path}
            return tx.add(Record(0, runs.CONFIG, project.id, "", data, now, now))

        return answer(_config(await self.services.db.write(make)))

    async def listed(self, request: Request) -> Response:
        """Lists configurations (ours)."""
        await self.desk.person(request)
        page = Page(limit=1000, descending=False)
        found = await self.services.db.read(lambda tx: tx.records(runs.CONFIG, None, None, page))
        return answer([_config(record) for record in found])

    async def get(self, request: Request, ci_config_id: Id) -> Response:
        """Shows a configuration (ours)."""
        await self.desk.person(request)
        return answer(_config(await self.services.db.read(lambda tx: runs.config(tx, ci_config_id))))

    async def trigger(self, request: Request, ci_config_id: Id) -> Response:
        """Starts the run of a pull request's commit; it waits for tables."""
        person = await self.desk.person(request)
        pr = await self.desk.body(request, PrDetails)
        number = str(pr.pr_number)

        def look(tx: Tx) -> tuple[Record, Project, int]:
            owner = runs.config(tx, ci_config_id)
            project = tx.get(Project, owner.project_id or 0)
            if project is None:
                raise NotFound("The configuration's repository was removed.")
            return owner, project, runs.occurrence(tx, owner, number, pr.pr_sha)

        owner, project, nth = await self.services.db.read(look)
        told = {
            "ci_config_id": ci_config_id,
            "pr_num": pr.pr_number,
            "pr_branch": pr.pr_branch,
            "base_branch": pr.base_branch,
            "pr_sha": pr.pr_sha,
            "base_sha": pr.base_sha,
        }
        run = await self.services.start(
            RunRequest(
                project=project,
                dialect=runs.DIALECT,
                source="api",
                actor=person.user,
                ref=pr.pr_branch,
                sha=pr.pr_sha,
                before_sha=pr.base_sha,
                options={"ci": told, "name": f"#{number} {owner.data['name']}"},
                idempotency_key=f"datafold:{ci_config_id}:{number}:{pr.pr_sha}:{nth}",
                files=NoFiles(),
            )
        )
        now = self.services.now()
        await self.services.db.write(lambda tx: runs.cancel_older(tx, owner, run, number, now))
        return answer({"ci_run_id": run.id, "run_id": run.id})

    async def submit(self, request: Request, ci_config_id: Id, pr_num: Id) -> Response:
        """Gives the open run of a pull request its tables."""
        await self.desk.person(request)
        diffs = await self.desk.bodies(request, CiDiff, MOST_DIFFS)

        def look(tx: Tx) -> tuple[Record, Connection]:
            owner = runs.config(tx, ci_config_id)
            return owner, sources.find(tx, int(owner.data["data_source_id"]))

        owner, connection = await self.services.db.read(look)
        jobs = pairs.from_ci(diffs, owner, connection)
        now, terms = self.services.now(), self.services.terms
        run_id = await self.services.db.write(
            lambda tx: runs.submit(tx, owner, str(pr_num), jobs, now, terms)
        )
        return answer({"ci_run_id": run_id, "run_id": run_id})

    async def runs(
        self,
        request: Request,
        ci_config_id: Id,
        pr_sha: str | None = None,
        pr_num: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
    ) -> Response:
        """Lists runs, newest first."""
        await self.desk.person(request)
        now = self.services.now()

        def look(tx: Tx) -> list[Run]:
            owner = runs.config(tx, ci_config_id)
            found = []
            for n, run in enumerate(runs.runs(tx, owner, sha=pr_sha or None, pr=pr_num or None)):
                if n >= offset:
                    found.append(run)
                if len(found) == limit:
                    break
            return found

        listed = await self.services.db.read(look)
        if any(run.outcome is None for run in listed):
            owner = await self.services.db.read(lambda tx: runs.config(tx, ci_config_id))
            if _may_be_forgotten(listed, owner.data, now):
                await self.services.db.write(lambda tx: runs.conclude_forgotten(tx, owner, now))
                listed = await self.services.db.read(look)
        return answer([_run(run) for run in listed])


def _may_be_forgotten(listed: list[Run], data: Mapping[str, Any], now: int) -> bool:
    patience_ms = int(data.get("submit_timeout_s", 86400)) * 1000
    return any(run.outcome is None and run.created_at + patience_ms < now for run in listed)


def _project(tx: Tx, repository: str | int) -> Project:
    """By path, or by id (a number or its digits)."""
    text = str(repository)
    found = tx.project_by_path(text)
    if found is None and text.isascii() and text.isdigit() and len(text) < 19:
        found = tx.get(Project, int(text))
    if found is None:
        raise UnknownReference(f"There is no repository {text[:200]!r}.")
    return found


def _config(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        **record.data,
        "created_at": moment(record.created_at),
        "updated_at": moment(record.updated_at),
    }


def _run(run: Run) -> dict[str, Any]:
    """ApiCiRun: `pr_num` is text, or the vendor's client stops."""
    told = runs.about(run)
    return {
        "id": run.id,
        "base_branch": str(told.get("base_branch", "")),
        "base_sha": str(told.get("base_sha", "")),
        "pr_branch": str(told.get("pr_branch", "")),
        "pr_sha": str(told.get("pr_sha", "")),
        "pr_num": str(told.get("pr_num", "")),
        "source": "api",
        "status": say(run.state, run.outcome, run.hold),
    }
