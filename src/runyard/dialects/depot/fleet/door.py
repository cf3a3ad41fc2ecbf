"""RunnerService and PingService over Connect at /api/actions: registering, declaring, fetching, and hearing
how tasks go. `mount` is the door's.

A runner is registered with the server's registration token and then names itself in two headers. It takes
jobs whose `runs-on` labels are all its own, of every repository; it sees nothing but its own tasks.
"""

from __future__ import annotations

import hmac
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext

from runyard.dialects.depot.access import Translator
from runyard.dialects.depot.codecs import codecs
from runyard.dialects.depot.fleet import progress
from runyard.dialects.depot.fleet.tasks import Tasks
from runyard.dialects.depot.gen.ping.v1 import messages_pb as ping
from runyard.dialects.depot.gen.ping.v1.services_connect import PingService, PingServiceASGIApplication
from runyard.dialects.depot.gen.runner.v1 import messages_pb as pb
from runyard.dialects.depot.gen.runner.v1.services_connect import RunnerService, RunnerServiceASGIApplication
from runyard.engine.ports import Page, Tx
from runyard.http.auth import hash_token
from runyard.http.front import Asgi, Receive, Scope, Send
from runyard.http.services import Services
from runyard.model.errors import Forbidden, Invalid, NotFound
from runyard.model.work import Attempt, Runner

PREFIX = "/api/actions"
MAX_MESSAGE_BYTES = 16 << 20
MOST_LABELS, LABEL_CHARS = 100, 200
MOST_RUNNERS = 10_000
NOTED_EVERY_MS = 60_000
_Ctx = RequestContext[Any, Any]
_runner: ContextVar[Runner] = ContextVar("depot_fleet_runner")


@dataclass(frozen=True, slots=True)
class Caller:
    """Before the body: `x-runner-uuid` and `x-runner-token` name a runner; Register names nobody yet."""

    services: Services

    async def on_start(self, ctx: _Ctx) -> None:
        """Unauthenticated for every other call without them."""
        if ctx.method.name == "Register":
            return
        headers = ctx.request_headers
        token, given = headers.get("x-runner-token", ""), headers.get("x-runner-uuid", "")
        found = None
        if 0 < len(token) <= 512 and given:
            found = await self.services.db.read(lambda tx: tx.runner_by_hash(hash_token(token)))
        # A runner of another protocol has no uuid, and is none of ours.
        known = str(found.extra.get("uuid", "")) if found is not None else ""
        if found is None or not known or not hmac.compare_digest(known.encode(), given.encode()):
            raise ConnectError(Code.UNAUTHENTICATED, "unregistered runner")
        _runner.set(found)

    async def on_end(self, token: None, ctx: _Ctx, error: Exception | None) -> None:
        """Nothing to do."""


class Ping(PingService):
    """Whether somebody is here; anybody may ask."""

    async def ping(self, request: ping.PingRequest, ctx: _Ctx, /) -> ping.PingResponse:
        return ping.PingResponse(data=f"Hello, {request.data[:1000]}!")


class Runners(RunnerService):
    """`runner.v1.RunnerService`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._tasks = Tasks(services)

    async def register(self, request: pb.RegisterRequest, ctx: _Ctx, /) -> pb.RegisterResponse:
        """A new runner for the server's registration token."""
        services = self._services
        wanted = services.settings.registration_token
        if not wanted or not hmac.compare_digest(request.token.encode(), wanted.encode()):
            raise ConnectError(Code.UNAUTHENTICATED, "runner registration token not found")
        token, name = services.new_token("rnr-"), request.name.strip()[:200]
        if not name:
            raise Invalid("A runner has a name.")
        extra = {
            "uuid": str(uuid.uuid4()),
            "labels": _labels(request.labels or request.agent_labels),
            "ephemeral": request.ephemeral,
        }
        row = Runner(
            0, hash_token(token), name, stock=False, created_at=services.now(), info={"name": "act_runner", "version": request.version[:100]}, extra=extra
        )  # fmt: skip

        def add(tx: Tx) -> Runner:
            if tx.runners(Page(limit=1, offset=MOST_RUNNERS - 1)):
                raise Forbidden("there are too many runners; remove some first")
            return tx.add(row)

        return pb.RegisterResponse(runner=_shown(await services.db.write(add), token))

    async def declare(self, request: pb.DeclareRequest, ctx: _Ctx, /) -> pb.DeclareResponse:
        """What the runner is able to do, said at each of its starts."""
        row = _runner.get()
        services = self._services

        def note(tx: Tx) -> Runner:
            current = tx.get(Runner, row.id) or row
            changed = replace(
                current,
                contacted_at=services.now(),
                info={**current.info, "version": request.version[:100]},
                extra={**current.extra, "labels": _labels(request.labels)},
            )
            tx.save(changed)
            return changed

        return pb.DeclareResponse(runner=_shown(await services.db.write(note)))

    async def fetch_task(self, request: pb.FetchTaskRequest, ctx: _Ctx, /) -> pb.FetchTaskResponse:
        """One task at most. The version only tells the client that something may have changed; a claim is
        tried whatever it says, because it counts from the server's start."""
        row = _runner.get()
        version = self._services.bell.version("queue") + 1
        if self._services.now() - (row.contacted_at or 0) > NOTED_EVERY_MS:
            row = await self._services.db.write(lambda tx: self._contacted(tx, row.id))
        return pb.FetchTaskResponse(task=await self._tasks.next(row), tasks_version=version)

    def _contacted(self, tx: Tx, runner_id: int) -> Runner:
        """The row as it is now: it may have been paused since its token was looked up."""
        current = tx.get(Runner, runner_id)
        if current is None:
            raise ConnectError(Code.UNAUTHENTICATED, "unregistered runner")
        noted = replace(current, contacted_at=self._services.now())
        tx.save(noted)
        return noted

    async def update_task(self, request: pb.UpdateTaskRequest, ctx: _Ctx, /) -> pb.UpdateTaskResponse:
        """How a task goes; the answer may say that it is to stop."""
        row, services = _runner.get(), self._services
        task_id = request.state.id if request.state is not None else 0

        def take(tx: Tx) -> pb.UpdateTaskResponse:
            attempt = _own(tx, row, task_id)
            answer = progress.take_state(
                tx, attempt, self._tasks.token(row, task_id), request, services.now(), services.terms
            )
            if (
                row.extra.get("ephemeral")
                and answer.state is not None
                and answer.state.result is not pb.Result.UNSPECIFIED
            ):
                tx.save(replace(tx.get(Runner, row.id) or row, paused=True))
            return answer

        return await services.db.write(take)

    async def update_log(self, request: pb.UpdateLogRequest, ctx: _Ctx, /) -> pb.UpdateLogResponse:
        """Rows of a task's log."""
        row, services = _runner.get(), self._services

        def take(tx: Tx) -> int:
            attempt = _own(tx, row, request.task_id)
            token = self._tasks.token(row, request.task_id)
            return progress.take_rows(tx, attempt, token, request, services.now(), services.terms)

        return pb.UpdateLogResponse(ack_index=await services.db.write(take))


def _own(tx: Tx, runner: Runner, task_id: int) -> Attempt:
    attempt = tx.get(Attempt, task_id) if 0 < task_id < 1 << 63 else None
    if attempt is None or attempt.runner_id != runner.id:
        raise NotFound("task not found")
    return attempt


def _labels(given: Any) -> list[str]:
    """Names alone: what comes after a colon is how the runner itself runs them."""
    names = {
        str(label).partition(":")[0].strip().lower()[:LABEL_CHARS] for label in list(given)[:MOST_LABELS]
    }
    return sorted(names - {""})


def _shown(row: Runner, token: str = "") -> pb.Runner:
    return pb.Runner(
        id=row.id, uuid=str(row.extra.get("uuid", "")), token=token, name=row.description, version=str(row.info.get("version", "")),
        labels=list(row.extra.get("labels") or ()), status=pb.RunnerStatus.IDLE, ephemeral=bool(row.extra.get("ephemeral")),
    )  # fmt: skip


def mount(services: Services) -> Asgi:
    """The ASGI application for everything below /api/actions/."""
    limits: dict[str, Any] = {"read_max_bytes": MAX_MESSAGE_BYTES, "codecs": codecs()}
    runners = RunnerServiceASGIApplication(
        Runners(services), interceptors=(Caller(services), Translator()), **limits
    )
    pings = PingServiceASGIApplication(Ping(), interceptors=(Translator(),), **limits)

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(PREFIX)
        application = pings if path.startswith(f"{pings.path}/") else runners
        await application({**scope, "path": path, "root_path": ""}, receive, send)

    return door
