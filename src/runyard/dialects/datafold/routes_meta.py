"""Small calls that every invocation of the vendor's client makes: who am I, and the client's own log. Called
by routes."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from runyard.dialects.datafold.answers import Empty, Organization
from runyard.dialects.datafold.desk import Desk
from runyard.dialects.datafold.openapi import described
from runyard.dialects.datafold.refusals import answer


def router(desk: Desk) -> APIRouter:
    """All routes."""
    table = APIRouter()

    @table.get("/api/v1/organization/meta", **described(Organization))
    async def organization(request: Request) -> Response:
        person = await desk.person(request)
        return answer({"org_id": 1, "org_name": "Runyard", "user_id": person.user.id})

    @table.post("/api/internal/sdk/log", **described(Empty, media={"application/json": {"schema": {}}}))
    async def client_log(request: Request) -> Response:
        await desk.person(request)
        await desk.json(
            request
        )  # read under the body budget and let go: a stranger's log is not ours to keep
        return answer({})

    return table
