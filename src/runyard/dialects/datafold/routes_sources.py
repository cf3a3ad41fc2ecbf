"""`/api/v1/data_sources…`: create, list, get, types. The same rows as Looker's connections; secrets never come back. Called by routes."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from runyard.dialects.datafold import sources
from runyard.dialects.datafold.desk import Desk, Id
from runyard.dialects.datafold.refusals import answer
from runyard.dialects.datafold.shapes import DataSource
from runyard.engine.ports import Tx
from runyard.model.errors import NotFound
from runyard.model.work import Connection


def router(desk: Desk) -> APIRouter:
    """All routes."""
    services = desk.services
    table = APIRouter(prefix="/api/v1/data_sources")

    @table.post("")
    async def create(request: Request) -> Response:
        await desk.administrator(request)
        given = await desk.body(request, DataSource)
        row = sources.to_store(given, services.vault, services.now())
        return answer(sources.shape(await services.db.write(lambda tx: tx.add(row))))

    @table.get("")
    async def list_all(request: Request) -> Response:
        await desk.person(request)
        return answer([sources.shape(c) for c in await services.db.read(lambda tx: tx.connections())])

    @table.get("/types")
    async def types(request: Request) -> Response:
        await desk.person(request)
        return answer(sources.types())

    @table.get("/{data_source_id}")
    async def get(request: Request, data_source_id: Id) -> Response:
        await desk.person(request)
        return answer(sources.shape(await services.db.read(lambda tx: _find(tx, data_source_id))))

    @table.get("/{data_source_id}/summary")
    async def summary(request: Request, data_source_id: Id) -> Response:
        await desk.person(request)
        found = await services.db.read(lambda tx: _find(tx, data_source_id))
        return answer({"id": found.id, "name": found.name, "type": sources.kind_of(found)})

    return table


def _find(tx: Tx, id: int) -> Connection:
    found = tx.get(Connection, id)
    if found is None:
        raise NotFound(f"There is no data source {id}.")
    return found
