"""`depot.ci.v1.DepotComputeService`: terminals and commands in the sandbox of a running job (`depot ci ssh`,
`run --ssh`). Called by routes.

A sandbox's id is its attempt's under another name (`shapes.sandbox_id`). Whoever may run something in the
project may look into its jobs; the job's log says who did. A terminal that says and hears nothing for half an
hour is closed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from protobuf import Oneof

from runyard.dialects.depot import ids, shapes
from runyard.dialects.depot.access import asker, require_developer, require_person, visible_run
from runyard.dialects.depot.gen.depot.ci.v1 import api_pb as pb
from runyard.dialects.depot.gen.depot.ci.v1.api_connect import DepotComputeService
from runyard.engine.ports import Tx, Visit, Wanted
from runyard.http.services import Services
from runyard.http.visiting import ready
from runyard.model.errors import Conflict, Invalid, NotFound, Unavailable
from runyard.model.work import Attempt

IDLE_S = 1800.0
STANDS_S = 5.0  # how long a job that has just begun may take until it can be entered
LOOK_S = 0.5  # how often an end is looked for when no pipe tells of it
READ_BYTES = 64 << 10
MOST_ARGUMENTS_BYTES = 128 << 10
ROWS, COLUMNS = 24, 80
_Ctx = RequestContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Compute(DepotComputeService):
    """Three ways to a process beside a job."""

    services: Services

    async def open_pty_session(
        self, request: AsyncIterator[pb.OpenPtySessionRequest], ctx: _Ctx, /
    ) -> AsyncIterator[pb.OpenPtySessionResponse]:
        """The first message opens, the others are typed or resize; answers what is shown, at last the exit
        code."""
        first = await anext(request, None)
        init = first.message.value if first is not None and first.message else None
        if not isinstance(init, pb.PtySession):
            raise Invalid("the first message must be init")
        wanted = Wanted((), dict(init.env), init.cwd, init.rows or ROWS, init.cols or COLUMNS)
        visit = await self._open(init.sandbox_id, init.session_id, wanted)
        seen = _Seen()

        async def hear() -> None:
            async for message in request:
                seen.now()
                match message.message:
                    case Oneof(field="stdin", value=bytes() as data):
                        await _write(visit, data)
                    case Oneof(field="window_resize", value=pb.WindowResize() as window):
                        visit.resize(window.rows, window.cols)
                    case _:
                        raise Invalid("after init only stdin and window_resize may come")

        async for data in _attended(visit, seen, hear, [visit.stdout]):
            yield _shown(data[1])
        last: Oneof[Literal["exit_code"], int] = Oneof("exit_code", await _ended(visit))
        yield pb.OpenPtySessionResponse(message=last)

    async def remote_exec(
        self, request: pb.ExecuteCommandRequest, ctx: _Ctx, /
    ) -> AsyncIterator[pb.ExecuteCommandResponse]:
        """One command without an input."""
        visit = await self._command(request, stdin=False)
        async for answer in _outputs(visit, None, _timeout_s(request)):
            yield answer

    async def exec_pipe(
        self, request: AsyncIterator[pb.ExecuteCommandPipeRequest], ctx: _Ctx, /
    ) -> AsyncIterator[pb.ExecuteCommandResponse]:
        """One command, whose input the further messages are; its input ends with them."""
        first = await anext(request, None)
        init = first.message.value if first is not None and first.message else None
        if not isinstance(init, pb.ExecuteCommandRequest):
            raise Invalid("the first message must be init")
        visit = await self._command(init, stdin=True)

        async def hear() -> None:
            async for message in request:
                match message.message:
                    case Oneof(field="stdin", value=bytes() as data):
                        await _write(visit, data)
                    case _:
                        raise Invalid("after init only stdin may come")
            visit.shut_stdin()

        async for answer in _outputs(visit, hear, _timeout_s(init)):
            yield answer

    async def _command(self, request: pb.ExecuteCommandRequest, *, stdin: bool) -> Visit:
        argv = tuple(request.command.command_array) if request.command else ()
        if not argv or sum(len(text.encode()) for text in argv) > MOST_ARGUMENTS_BYTES:
            raise Invalid(f"command_array must have 1 to {MOST_ARGUMENTS_BYTES} bytes")
        return await self._open(request.sandbox_id, request.session_id, Wanted(argv, stdin=stdin))

    async def _open(self, sandbox: str, session: str, wanted: Wanted) -> Visit:
        who = asker()
        require_person(who)
        _, number = ids.hear(sandbox, ids.Kind.SANDBOX)

        def find(tx: Tx) -> Attempt:
            attempt = tx.get(Attempt, number)
            if attempt is None:
                raise NotFound("sandbox not found")
            _, project = visible_run(tx, who, attempt.run_id)
            require_developer(who, project)
            return attempt

        attempt = await self.services.db.read(find)
        if not shapes.sandbox_id(attempt):
            raise Conflict("the job has ended, and its sandbox with it")
        if session and session != shapes.session_id(attempt):
            raise NotFound("session not found")
        visits = self.services.visits
        if visits is None:
            raise Unavailable("this server runs no jobs itself")
        until = time.monotonic() + STANDS_S
        while True:
            try:
                return await asyncio.to_thread(visits.open, number, wanted, who.user.username)
            except Conflict:  # the job has just begun, or its runner has not been heard since
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(LOOK_S)


def _shown(data: bytes) -> pb.OpenPtySessionResponse:
    message: Oneof[Literal["stdout"], bytes] = Oneof("stdout", data)
    return pb.OpenPtySessionResponse(message=message)


def _said(data: bytes) -> pb.ExecuteCommandResponse:
    message: Oneof[Literal["stdout"], str] = Oneof("stdout", data.decode("utf-8", "replace"))
    return pb.ExecuteCommandResponse(message=message, stdout_raw=data)


def _complained(data: bytes) -> pb.ExecuteCommandResponse:
    message: Oneof[Literal["stderr"], str] = Oneof("stderr", data.decode("utf-8", "replace"))
    return pb.ExecuteCommandResponse(message=message, stderr_raw=data)


class _Seen:
    """When somebody last typed or saw something."""

    def __init__(self) -> None:
        self.now()

    def now(self) -> None:
        self.at = time.monotonic()


def _timeout_s(request: pb.ExecuteCommandRequest) -> float | None:
    given = request.command.timeout_ms if request.command else 0
    return given / 1000 if given > 0 else None


async def _outputs(
    visit: Visit, hear: Callable[[], Awaitable[None]] | None, timeout_s: float | None
) -> AsyncIterator[pb.ExecuteCommandResponse]:
    """Both outputs as they come, as text and as bytes, then the exit code; 124 when time was up, as
    timeout(1) says."""
    fds = [visit.stdout, *([visit.stderr] if visit.stderr is not None else [])]
    until = None if timeout_s is None else time.monotonic() + timeout_s
    late = False
    try:
        async for fd, data in _attended(visit, _Seen(), hear, fds, until):
            yield _said(data) if fd == visit.stdout else _complained(data)
    except TimeoutError:
        late = True
    last: Oneof[Literal["exit_code"], int] = Oneof("exit_code", 124 if late else await _ended(visit))
    yield pb.ExecuteCommandResponse(message=last)


async def _attended(
    visit: Visit,
    seen: _Seen,
    hear: Callable[[], Awaitable[None]] | None,
    fds: list[int],
    until: float | None = None,
) -> AsyncIterator[tuple[int, bytes]]:
    """(descriptor, bytes) until all are at their end, while `hear` feeds the other direction. Closes the
    visit when it is left early, when its client goes, when it is idle for too long. TimeoutError when `until`
    is past."""
    queue: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(64)
    readers = [asyncio.create_task(_read(fd, queue)) for fd in fds]
    hearer = asyncio.create_task(_heard(hear)) if hear else None
    left = len(fds)
    try:
        while left:
            try:
                fd, data = await asyncio.wait_for(queue.get(), LOOK_S)
            except TimeoutError:
                _check(seen, hearer, until)
                if visit.wait(0) is not None and queue.empty() and all(task.done() for task in readers):
                    break
                continue
            if data:
                seen.now()
                yield fd, data
            else:
                left -= 1
    except BaseException:
        visit.close()
        raise
    finally:
        for task in (*readers, *([hearer] if hearer else ())):
            task.cancel()
        for task in (*readers, *([hearer] if hearer else ())):
            with suppress(asyncio.CancelledError, Exception):
                await task


def _check(seen: _Seen, hearer: asyncio.Task[None] | None, until: float | None) -> None:
    if hearer is not None and hearer.done() and (error := hearer.exception()) is not None:
        raise error
    if until is not None and time.monotonic() > until:
        raise TimeoutError
    if until is None and time.monotonic() - seen.at > IDLE_S:
        raise ConnectError(Code.DEADLINE_EXCEEDED, f"closed: nothing happened for {IDLE_S / 60:g} minutes")


async def _heard(hear: Callable[[], Awaitable[None]]) -> None:
    await hear()


async def _ended(visit: Visit) -> int:
    """Its exit code; kills what does not end though its output has."""
    try:
        for _ in range(20):
            code = await asyncio.to_thread(visit.wait, LOOK_S)
            if code is not None:
                return code
        return 137
    finally:
        visit.close()


async def _read(fd: int, queue: asyncio.Queue[tuple[int, bytes]]) -> None:
    """Bytes of a descriptor, then empty ones at its end."""
    try:
        while True:
            await ready(fd)
            try:
                data = os.read(fd, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:  # a terminal without a process says EIO
                data = b""
            await queue.put((fd, data))
            if not data:
                return
    except OSError:
        await queue.put((fd, b""))


async def _write(visit: Visit, data: bytes) -> None:
    """All of it, or nothing more once nobody reads."""
    view = memoryview(data)
    while view and (fd := visit.stdin) is not None:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await ready(fd, write=True)
        except OSError:
            return
