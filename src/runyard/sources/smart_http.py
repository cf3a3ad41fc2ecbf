"""git over HTTP: clone, fetch and push as one ASGI application. Mounted by app for every path that `serves`
says yes to.

It knows no users: `authorize` turns a request into an `Access` (or raises one of the nine errors);
`announced` hears what is to move before git does, `pushed` what has moved, after git has stored it and before
the client is told, so that a pipeline exists when `git push` returns. Bodies and answers stream; every
process has limits and ends with the connection.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from runyard.engine.ports import RefUpdate
from runyard.model.errors import (
    Busy,
    Forbidden,
    Invalid,
    NotFound,
    RunyardError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from runyard.sources.bodies import chunks_of
from runyard.sources.names import check_ref
from runyard.sources.pktline import FLUSH, PushReader, PushRequest, messages, packet, refusal
from runyard.sources.repositories import GitSource
from runyard.sources.streams import GitStream

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

UPLOAD_PACK = "git-upload-pack"
RECEIVE_PACK = "git-receive-pack"
REQUEST_LIMIT_BYTES = 64 << 20  # of wants and haves, inflated
REPORT_LIMIT_BYTES = 8 << 20
PROCESSES = 16
QUEUED = 200
_PATH = re.compile(r"/([^\x00-\x20]+?)(\.git)?/(info/refs|git-upload-pack|git-receive-pack)")
_PROTOCOL = re.compile(rb"version=[0-2](?::[a-z0-9=._-]{1,64}){0,4}")
_STATUS: dict[type[RunyardError], int] = {
    NotFound: 404, Unauthenticated: 401, Forbidden: 403, Invalid: 400, TooLarge: 413, Busy: 429, Unavailable: 503,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Access:
    """Leave to use one repository. `sees_runs`: refs/pipelines/* are shown (runners fetch them). `who` is the
    caller's own, handed to `pushed`; `push` is the name under which this push was announced, `before` where
    its refs pointed then. `refuses` says why a push may not do what it asks for ("" when it may);
    `keeps_history`: the refs whose history it may not rewrite."""

    project_id: int
    sees_runs: bool = False
    who: object = None
    push: str = ""
    before: Mapping[str, str] | None = None
    refuses: Callable[[RefUpdate], str] = lambda update: ""
    keeps_history: Callable[[str], bool] = lambda ref: False


Authorize = Callable[[Scope, str, str], Awaitable[Access]]
Announced = Callable[[Access, Mapping[str, str], Sequence[str]], Awaitable[Access]]
Pushed = Callable[[Access, Sequence[RefUpdate], Sequence[str]], Awaitable[Sequence[str]]]


def serves(path: str) -> bool:
    """Whether a request path belongs to git."""
    return path.endswith(("/info/refs", "/git-upload-pack", "/git-receive-pack")) and bool(
        _PATH.fullmatch(path)
    )


def basic_credentials(scope: Scope) -> tuple[str, str] | None:
    """(user, password) of a Basic header; None when there is none that can be read."""
    scheme, _, value = _header(scope, b"authorization").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, _, password = base64.b64decode(value.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user, password


class GitHttp:
    """The ASGI application."""

    def __init__(
        self,
        source: GitSource,
        authorize: Authorize,
        pushed: Pushed,
        announced: Announced | None = None,
        *,
        push_limit_bytes: int = 4 << 30,
    ) -> None:
        self._source = source
        self._authorize = authorize
        self._announced = announced
        self._pushed = pushed
        self._push_limit_bytes = push_limit_bytes
        self._locks: weakref.WeakValueDictionary[int, asyncio.Lock] = weakref.WeakValueDictionary()
        self._slots = asyncio.Semaphore(PROCESSES)
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; errors before the first byte become a short text with a status."""
        try:
            await self._serve(scope, receive, send)
        except RunyardError as error:
            await _refuse(send, error)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        match = _PATH.fullmatch(scope["path"])  # the server has decoded it, once
        if match is None:
            raise NotFound
        project, suffix, rest = match.groups()
        service = self._service(scope, rest)
        access = await self._authorize(scope, project, service)
        if not suffix and rest == "info/refs":
            query = scope.get("query_string", b"").decode("latin-1")
            await _redirect(send, f"{scope.get('root_path', '')}/{project}.git/info/refs?{query}")
            return
        async with _Slot(self):
            if rest == "info/refs":
                await self._advertise(scope, access, service, send)
            elif service == UPLOAD_PACK:
                await self._upload(scope, access, receive, send)
            else:
                await self._receive(scope, access, receive, send)

    def _service(self, scope: Scope, rest: str) -> str:
        if rest == "info/refs":
            if scope["method"] not in ("GET", "HEAD"):
                raise NotFound
            asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("service", [""])
            if asked not in ([UPLOAD_PACK], [RECEIVE_PACK]):
                raise Forbidden("only the smart protocol is served; please upgrade git")
            return str(asked[0])
        if scope["method"] != "POST":
            raise NotFound
        if _header(scope, b"content-type") != f"application/x-{rest}-request".encode():
            raise Invalid("the content type is not git's")
        return str(rest)

    async def _advertise(self, scope: Scope, access: Access, service: str, send: Send) -> None:
        version = _protocol(scope) if service == UPLOAD_PACK else ""
        stream = await self._start(service, access, ["--stateless-rpc", "--http-backend-info-refs"], version)
        async with stream:
            stream.close_input()
            # http-backend: with protocol 2 the answer begins with "version 2" itself, without a service line.
            start = (
                b"" if version.startswith("version=2") else packet(f"# service={service}\n".encode()) + FLUSH
            )
            chunks = stream.chunks()
            first = await anext(chunks, b"")
            if not first:  # git said why on its stderr only; an empty answer would read as "no access"
                raise Unavailable("git cannot open this repository on the server")
            await _begin(send, 200, f"application/x-{service}-advertisement")
            await send({"type": "http.response.body", "body": start + first, "more_body": True})
            await _pump_out(chunks, send)

    async def _upload(self, scope: Scope, access: Access, receive: Receive, send: Send) -> None:
        stream = await self._start(UPLOAD_PACK, access, ["--stateless-rpc"], _protocol(scope))
        async with stream:
            await stream.write_all(chunks_of(scope, receive, REQUEST_LIMIT_BYTES))
            await _begin(send, 200, "application/x-git-upload-pack-result")
            watch = asyncio.create_task(_until_gone(receive, stream))
            try:
                await _pump_out(stream.chunks(), send)
            finally:
                watch.cancel()

    async def _receive(self, scope: Scope, access: Access, receive: Receive, send: Send) -> None:
        body = chunks_of(scope, receive, self._push_limit_bytes)
        head, request = await _read_commands(body)
        bad = _bad_name(request) or next(filter(None, map(access.refuses, request.commands)), "")
        if bad:
            async for _ in body:  # the client writes its pack before it reads our answer
                pass
            await _whole(send, refusal(request, bad))
            return
        lock = self._locks.setdefault(access.project_id, asyncio.Lock())
        async with lock:
            refs = {command.ref: command.after for command in request.commands}
            if self._announced is not None:
                access = await self._announced(access, refs, request.options)
            before = access.before
            if before is None:
                before = await asyncio.to_thread(self._source.targets, access.project_id, list(refs))
            keeps = any(access.keeps_history(command.ref) for command in request.commands)
            settings = (
                ["receive.denyNonFastForwards=true"] if keeps else []
            )  # git has it for a whole push only
            stream = await self._start(RECEIVE_PACK, access, ["--stateless-rpc"], "", settings)
            async with stream:
                report, _ = await asyncio.gather(
                    stream.read_all(REPORT_LIMIT_BYTES), stream.write_all(_joined(head, body))
                )
            moved = await asyncio.to_thread(self._moved, access.project_id, before)
            said = await self._pushed(access, moved, request.options) if moved or access.push else ()
        lines = messages(said) if said and request.side_band else b""
        await _whole(send, lines + report)
        if moved:
            await asyncio.to_thread(self._source.tidy, access.project_id)

    def _moved(self, project_id: int, before: Mapping[str, str]) -> list[RefUpdate]:
        """Refs that really changed: what the client asked and what git did may differ (non-fast-forward,
        hidden, hooks)."""
        after = self._source.targets(project_id, list(before))
        moved = [RefUpdate(ref, old, after[ref]) for ref, old in before.items() if after[ref] != old]
        self._source.adopt_default_branch(project_id, [u.ref for u in moved])
        return moved

    async def _start(
        self, service: str, access: Access, options: list[str], version: str, more: Sequence[str] = ()
    ) -> GitStream:
        path = self._source.git_dir(access.project_id)
        if not (path / "HEAD").exists():
            raise NotFound
        settings = ["uploadpack.hideRefs=refs/pipelines"] if not access.sees_runs else []
        if service == RECEIVE_PACK:
            limit = f"receive.maxInputSize={self._push_limit_bytes}"
            settings = ["receive.hideRefs=refs/pipelines", limit, *more]
        command = [service.removeprefix("git-"), *options]
        if service == UPLOAD_PACK:
            command.append("--strict")
        return await GitStream.start(settings, [*command, str(path)], version)


class _Slot:
    """A place among the git processes; too long a queue is refused."""

    def __init__(self, http: GitHttp) -> None:
        self._http = http

    async def __aenter__(self) -> None:
        if self._http._waiting >= QUEUED:
            raise Busy("too many git requests at once", retry_after_s=5)
        self._http._waiting += 1
        try:
            await self._http._slots.acquire()
        finally:
            self._http._waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        self._http._slots.release()


async def _read_commands(body: AsyncIterator[bytes]) -> tuple[bytes, PushRequest]:
    reader, head = PushReader(), bytearray()
    async for chunk in body:
        head += chunk
        if reader.feed(chunk):
            break
    else:
        reader.end()
    return bytes(head), reader.request or PushRequest()


async def _joined(head: bytes, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for chunk in body:
        yield chunk


def _bad_name(request: PushRequest) -> str:
    for command in request.commands:
        try:
            check_ref(command.ref)
        except Invalid as error:
            return error.message
    return ""


async def _pump_out(chunks: AsyncIterator[bytes], send: Send) -> None:
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive, stream: GitStream) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.kill()


def _protocol(scope: Scope) -> str:
    value = _header(scope, b"git-protocol")
    return value.decode("ascii") if _PROTOCOL.fullmatch(value) else ""


def _header(scope: Scope, name: bytes) -> bytes:
    return next((bytes(value) for key, value in scope["headers"] if key.lower() == name), b"")


async def _begin(
    send: Send, status: int, content_type: str, extra: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    headers = [(b"content-type", content_type.encode()), (b"cache-control", b"no-cache"), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _whole(send: Send, body: bytes) -> None:
    await _begin(send, 200, "application/x-git-receive-pack-result")
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _redirect(send: Send, target: str) -> None:
    location = target.encode("latin-1", "ignore")
    if re.search(rb"[\x00-\x1f]", location):
        raise Invalid
    await _begin(send, 301, "text/plain", [(b"location", location)])
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _refuse(send: Send, error: RunyardError) -> None:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    extra = [(b"www-authenticate", b'Basic realm="Runyard", charset="UTF-8"')] if status == 401 else []
    if error.retry_after_s is not None:
        extra.append((b"retry-after", str(error.retry_after_s).encode()))
    await _begin(send, status, "text/plain; charset=utf-8", extra)
    await send({"type": "http.response.body", "body": f"{error.message}\n".encode(), "more_body": False})
