"""`depot.cli.v1beta1.LoginService`: `depot login` from a terminal (contracts/depot.md §1.4). Called by
routes, without a token."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from connectrpc.request import RequestContext

from runyard.dialects.depot.gen.depot.cli.v1beta1 import login_pb as pb
from runyard.dialects.depot.gen.depot.cli.v1beta1.login_connect import LoginService
from runyard.http import devices
from runyard.http.services import Services
from runyard.model.errors import NotFound

LOOK_S = 5.0
_Ctx = RequestContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Login(LoginService):
    """The service."""

    services: Services

    async def start_login(self, request: pb.StartLoginRequest, ctx: _Ctx, /) -> pb.StartLoginResponse:
        """An id to wait with, and the page where a person approves."""
        id, now = self.services.new_token(""), self.services.now()
        await self.services.db.write(lambda tx: devices.ask(tx, id, "depot CLI", now))
        return pb.StartLoginResponse(id=id, approve_url=f"{self.services.server.url}/-/login/{id}")

    async def finish_login(
        self, request: pb.FinishLoginRequest, ctx: _Ctx, /
    ) -> AsyncIterator[pb.FinishLoginResponse]:
        """One message with the token once it is approved. NotFound when it was refused or nobody came in
        time."""
        services, id = self.services, request.id
        token, until = services.new_token("glpat-"), time.monotonic() + devices.LIFE_MS / 1000
        while time.monotonic() < until:
            seen = services.bell.version(devices.topic(id))
            if await services.db.write(lambda tx: devices.take(tx, id, token, services.now())):
                yield pb.FinishLoginResponse(token=token)
                return
            await services.bell.changed(devices.topic(id), seen, LOOK_S)
        raise NotFound("nobody approved this sign-in in time; start it again")
