"""The one ASGI application on the one port: finds the door by path, guards it, and answers when nothing else
does.

Guards, for every door: the size of headers, a body that falls silent, a door that raised, a flood of bad
tokens, answers that a browser would sniff. A door gets the request untouched otherwise: `raw_path` decides (a
vendor may encode slashes), the prefix is not cut off, and no global state leaks.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from runyard.http.guesses import Guesses, is_refusal
from runyard.http.problems import headers_of, status_of
from runyard.model.errors import RunyardError
from runyard.sources.smart_http import serves

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS_LIMIT_BYTES = 32 * 1024
SILENT_BODY_S = 60.0
UNHEARD_BYTES = 64 << 10
DRAIN_BYTES = 64 << 20
DRAIN_S = 5.0
NOSNIFF = (b"x-content-type-options", b"nosniff")
GRPC_REFUSED = (b"grpc-status", b"16")
GRPC_TOO_MANY = [(b"grpc-status", b"8"), (b"grpc-message", b"too many invalid tokens from this address")]
TOO_MANY = {"message": "429 Too Many Requests: too many invalid tokens from this address"}

log = logging.getLogger("runyard.http")


@dataclass(frozen=True, slots=True)
class Door:
    """An application and the path prefixes that lead to it. Each guards its own body sizes (`http.bodies`),
    for only it knows which are uploads."""

    name: str
    prefixes: tuple[str, ...]
    app: Asgi


class Late:
    """A door's application, made when it is first asked or when there is time after the start: frameworks
    take longer to import than to serve."""

    def __init__(self, make: Callable[[], Asgi]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._app: Asgi | None = None

    def made(self) -> Asgi:
        """The application; only the first call takes long."""
        with self._lock:
            if self._app is None:
                self._app = self._make()
            return self._app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if app is None:
            app = await asyncio.to_thread(self.made)
        await app(scope, receive, send)


class Front:
    """Routes by the longest prefix; git paths (`….git/…`) go to the git door; everything else to the web."""

    def __init__(self, doors: Sequence[Door], git: Asgi, web: Asgi) -> None:
        self.table = sorted(((p, d) for d in doors for p in d.prefixes), key=lambda pair: -len(pair[0]))
        self.git = git
        self.web = web
        self.guesses = Guesses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        if scope["type"] != "http":
            return None
        if sum(len(k) + len(v) for k, v in scope["headers"]) > HEADERS_LIMIT_BYTES:
            return await plain(send, 431, {"message": "431 Request Header Fields Too Large"})
        guarded = self._guarded(scope, receive)
        answered = _Answered(guarded, send, scope, self.guesses)
        try:
            await self.door(scope["path"])(scope, guarded, answered)
        except RunyardError as error:
            await answered.fallback(status_of(error), error.message, headers_of(error))
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            log.exception("request failed", extra={"method": scope["method"], "path": scope["path"]})
            await answered.fallback(500, "500 Internal Server Error", {})

    def door(self, path: str) -> Asgi:
        """The application for a decoded path."""
        collapsed = "/" + path.lstrip("/") if path.startswith("//") else path
        for prefix, door in self.table:
            if collapsed.startswith(prefix):
                return door.app
        return self.git if serves(collapsed) else self.web

    def _guarded(self, scope: Scope, receive: Receive) -> Receive:
        """A body that stays silent for a minute is given up: a stalled upload must not hold a door open for
        ever."""

        async def guarded() -> Message:
            try:
                async with asyncio.timeout(SILENT_BODY_S if scope.get("runyard.body") is None else None):
                    message = await receive()
            except TimeoutError:
                return {"type": "http.disconnect"}
            if message["type"] == "http.request" and not message.get("more_body", False):
                scope["runyard.body"] = "complete"
            return message

        return guarded


class _Answered:
    """Remembers whether a response has begun, so that a failing door still answers once. Turns the refusal
    too many into 429."""

    def __init__(self, receive: Receive, send: Send, scope: Scope, guesses: Guesses) -> None:
        self.receive = receive
        self.send = send
        self.scope = scope
        self.guesses = guesses
        self.begun = False
        self.replaced = False

    async def __call__(self, message: Message) -> None:
        if self.replaced:
            return
        if message["type"] == "http.response.start":
            self.begun = True
            if message["status"] >= 400:
                await _drain(self.scope, self.receive)
            headers = list(message.get("headers") or ())
            if is_refusal(message["status"], self.scope["path"], headers) and not self._may_guess_on():
                self.replaced = True
                await plain(self.send, 429, TOO_MANY, {"Retry-After": "60"})
                return
            if not any(name.lower() == NOSNIFF[0] for name, _ in headers):
                message = {**message, "headers": [*headers, NOSNIFF]}
        elif _is_refused_late(message) and not self._may_guess_on():
            message = {**message, "headers": GRPC_TOO_MANY}
        await self.send(message)

    def _may_guess_on(self) -> bool:
        client = self.scope.get("client")
        return self.guesses.refused(str(client[0]) if client else "")

    async def fallback(self, status: int, text: str, headers: Mapping[str, str]) -> None:
        """Answers in the plainest shape every vendor's client survives: a JSON object with `message`."""
        if not self.begun:
            await plain(self, status, {"message": text}, headers)


def _is_refused_late(message: Message) -> bool:
    """Whether these are the trailers of a gRPC call whose token was not valid."""
    return message["type"] == "http.response.trailers" and GRPC_REFUSED in message["headers"]


async def _drain(scope: Scope, receive: Receive) -> None:
    """Hears the rest of a refused body, within bounds: many clients (Python's http.client) send all of it
    before they read, and a connection closed meanwhile takes the refusal with it. Who asked `Expect:
    100-continue` reads first."""
    headers = {name.lower(): value for name, value in scope["headers"]}
    length = headers.get(b"content-length", b"")
    large = int(length) > UNHEARD_BYTES if length.isdigit() else b"transfer-encoding" in headers
    if not large or b"expect" in headers or scope.get("http_version") == "2":
        return
    left = DRAIN_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while left > 0 and scope.get("runyard.body") != "complete":
                message = await receive()
                if message["type"] != "http.request":
                    return
                left -= len(message.get("body", b""))


async def plain(send: Send, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
    """A JSON answer without a framework."""
    data = json.dumps(body).encode()
    extra = [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()]
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": data})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
