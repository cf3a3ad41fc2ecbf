"""`/api/v1/data_sources…`: create, list, get, types, test, query, dataset_schema, guess_pk. The same rows as
Looker's connections; secrets never come back. Whatever looks into a database runs as a step in the sandbox
(`asking.py`). Called by routes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from runyard.dialects.datafold import asking, runs, sources
from runyard.dialects.datafold.answers import (
    DataSourceAnswer,
    DataSourceSummary,
    DataSourceType,
    KeyCandidates,
    QueryAnswer,
    TaskResult,
    TaskStarted,
    TestResult,
    TestStarted,
)
from runyard.dialects.datafold.desk import Desk, Id
from runyard.dialects.datafold.openapi import described
from runyard.dialects.datafold.refusals import answer
from runyard.dialects.datafold.results import moment
from runyard.dialects.datafold.shapes import DataSource, GuessPk, Query, SchemaOf
from runyard.dialects.datafold.words import say
from runyard.engine.ports import Tx
from runyard.model.errors import Invalid, NotFound
from runyard.model.state import State
from runyard.model.work import Attempt, Connection, Run

PATIENCE_S = 90.0


def router(desk: Desk) -> APIRouter:
    """All routes."""
    it = Sources(desk)
    table = APIRouter(prefix="/api/v1/data_sources")
    one = "/{data_source_id}"
    for path, handler, method, facts in (
        ("", it.create, "POST", described(DataSourceAnswer, body=DataSource, errors=(403, 409))),
        ("", it.listed, "GET", described(list[DataSourceAnswer])),
        ("/types", it.types, "GET", described(list[DataSourceType])),
        (one, it.get, "GET", described(DataSourceAnswer)),
        (one + "/summary", it.summary, "GET", described(DataSourceSummary)),
        (one + "/test", it.test, "POST", described(TestStarted, errors=(400, 503))),
        (one + "/test/{job_id}", it.tested, "GET", described(TestResult)),
        (one + "/query", it.query, "POST", described(QueryAnswer, body=Query, errors=(503,))),
        (one + "/dataset_schema", it.schema, "POST", described(TaskStarted, body=SchemaOf, errors=(503,))),
        (one + "/dataset_schema/{task_id}", it.schema_found, "GET", described(TaskResult)),
        (one + "/guess_pk", it.guess, "POST", described(KeyCandidates, body=GuessPk, errors=(503,))),
    ):
        table.add_api_route(path, handler, methods=[method], **facts)
    return table


class Sources:
    """The routes."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.services = desk.services

    async def create(self, request: Request) -> Response:
        """Makes a data source."""
        await self.desk.administrator(request)
        given = await self.desk.body(request, DataSource)
        row = sources.to_store(given, self.services.vault, self.services.now())
        return answer(sources.shape(await self.services.db.write(lambda tx: tx.add(row))))

    async def listed(self, request: Request) -> Response:
        """Lists data sources."""
        await self.desk.person(request)
        found = await self.services.db.read(lambda tx: tx.connections())
        return answer([sources.shape(c) for c in found if not sources.is_hidden(c)])

    async def types(self, request: Request) -> Response:
        """What may be created."""
        await self.desk.person(request)
        return answer(sources.types())

    async def get(self, request: Request, data_source_id: Id) -> Response:
        """Shows a data source."""
        await self.desk.person(request)
        return answer(sources.shape(await self._source(data_source_id)))

    async def summary(self, request: Request, data_source_id: Id) -> Response:
        """Shows a data source in short."""
        await self.desk.person(request)
        found = await self._source(data_source_id)
        return answer({"id": found.id, "name": found.name, "type": sources.kind_of(found)})

    async def test(self, request: Request, data_source_id: Id) -> Response:
        """Starts a test of the connection."""
        person = await self.desk.person(request)
        run = await asking.ask(self.services, person.user, await self._queried(data_source_id), "test")
        return answer({"job_id": run.id})

    async def tested(self, request: Request, data_source_id: Id, job_id: Id) -> Response:
        """How a test went."""
        await self.desk.person(request)
        attempt = await self._task(data_source_id, job_id, "test")
        found = await asking.answered(self.services, attempt) if attempt.state is State.DONE else None
        results = [] if found is None else _steps(found)
        if found is not None:
            await self._remember(data_source_id, attempt, results)
        status = "done" if found is not None else say(attempt.state, attempt.outcome, attempt.hold)
        return answer({"id": job_id, "status": status, "results": results})

    async def _remember(self, id: int, attempt: Attempt, results: list[dict[str, Any]]) -> None:
        """The newest test shows on the data source."""
        told = {"tested_at": moment(attempt.finished_at), "results": results}

        def save(tx: Tx) -> None:
            row = tx.get(Connection, id)
            about = dict((row.extra.get("datafold") if row else None) or {})
            if row is not None and str(about.get("last_test", {}).get("tested_at", "")) < str(
                told["tested_at"]
            ):
                tx.save(replace(row, extra={**row.extra, "datafold": {**about, "last_test": told}}))

        await self.services.db.write(save)

    async def query(self, request: Request, data_source_id: Id) -> Response:
        """Runs one SELECT: read-only, at most 10,000 rows, 60 seconds."""
        person = await self.desk.person(request)
        given = await self.desk.body(request, Query)
        source = await self._queried(data_source_id)
        asked = given.model_dump(exclude_none=True)
        run = await asking.ask(self.services, person.user, source, "query", **asked)
        found = await asking.wait(self.services, run, PATIENCE_S, person.user)
        if "error" in found:
            raise Invalid(str(found["error"]))
        return answer({"rows": found["rows"], "columns": found["columns"], "truncated": found["truncated"]})

    async def schema(self, request: Request, data_source_id: Id) -> Response:
        """Starts a look at a table's columns."""
        person = await self.desk.person(request)
        given = await self.desk.body(request, SchemaOf)
        source = await self._queried(data_source_id)
        run = await asking.ask(self.services, person.user, source, "schema", table=given.table)
        return answer({"task_id": run.id})

    async def schema_found(self, request: Request, data_source_id: Id, task_id: Id) -> Response:
        """A table's columns, or how far the look at them is."""
        await self.desk.person(request)
        attempt = await self._task(data_source_id, task_id, "schema")
        if attempt.state is not State.DONE:
            return answer({"status": say(attempt.state, attempt.outcome, attempt.hold), "result": None})
        found = await asking.answered(self.services, attempt)
        return answer({"status": "failed" if "error" in found else "done", "result": found})

    async def guess(self, request: Request, data_source_id: Id) -> Response:
        """Keys that a table's rows allow, best first."""
        person = await self.desk.person(request)
        given = await self.desk.body(request, GuessPk)
        source = await self._queried(data_source_id)
        run = await asking.ask(
            self.services, person.user, source, "keys", **given.model_dump(exclude_none=True)
        )
        found = await asking.wait(self.services, run, PATIENCE_S, person.user)
        return answer({"error": found["error"]} if "error" in found else {"candidates": found["candidates"]})

    async def _source(self, id: int) -> Connection:
        return await self.services.db.read(lambda tx: _find(tx, id))

    async def _queried(self, id: int) -> Connection:
        """A data source that questions can be put to: named by the URL, so that it is 404 when it is not
        there."""
        await self._source(id)
        return await self.services.db.read(lambda tx: sources.find(tx, id))

    async def _task(self, source_id: int, run_id: int, question: str) -> Attempt:
        """The attempt of a question of this kind to this data source."""

        def look(tx: Tx) -> None:
            _find(tx, source_id)
            run = tx.get(Run, run_id)
            told = runs.about(run) if run is not None and run.dialect == runs.DIALECT else {}
            if told.get("question") != question or told.get("data_source_id") != source_id:
                raise NotFound(f"Data source {source_id} has no task {run_id}.")

        await self.services.db.read(look)
        return await asking.attempt_of(self.services, run_id)


def _find(tx: Tx, id: int) -> Connection:
    found = tx.get(Connection, id)
    if found is None:
        raise NotFound(f"There is no data source {id}.")
    return found


def _steps(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The test's steps as the vendor names them; there is nothing that would write or keep a schema."""
    wrong = str(found.get("error") or "")
    ok = {"code": "ok", "message": "Can connect", "outcome": "success"}
    bad = {"code": "error", "message": wrong, "outcome": "error"}
    skipped = {"code": "skip", "message": "Nothing is written to a data source", "outcome": "skipped"}
    tables = {"code": "ok", "message": f"{found.get('tables') or 'no'} tables", "outcome": "success"}
    first = {"step": "connection", "status": "failed" if wrong else "done", "result": bad if wrong else ok}
    return (
        [first]
        if wrong
        else [
            first,
            {"step": "temp_schema", "status": "done", "result": skipped},
            {"step": "schema_download", "status": "done", "result": tables},
        ]
    )
