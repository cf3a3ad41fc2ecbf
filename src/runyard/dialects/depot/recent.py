"""Answers to what clients poll, kept for as long as nothing was written and one second at most. Wraps the whole door; made by routes.mount.

`depot ci status`, `--follow` and dashboards ask for the same status again and again, mostly while nothing has changed. An answer is used again only
for the same call, bytes, encodings and credentials, and only while the database has the version that was read before the answer was made
(`Database.version`), so nobody ever sees less than what was acknowledged to anyone. The second bounds what depends on the clock: expiring tokens.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from runyard.engine.ports import Clock, Database
from runyard.http.front import Asgi, Message, Receive, Scope, Send

POLLED = frozenset(f"/depot.ci.v1.CIService/{name}" for name in ("GetRunStatus", "GetRun", "GetWorkflow"))
LIFE_MS = 1000
MOST, MOST_BYTES, MOST_ASKED_BYTES = 256, 256 << 10, 1024
_TOLD = frozenset(
    {
        b"authorization", b"content-type", b"content-encoding", b"accept-encoding", b"connect-protocol-version", b"x-depot-org",
        b"connect-timeout-ms", b"grpc-timeout", b"grpc-accept-encoding", b"grpc-encoding",
    }
)  # fmt: skip
Key = tuple[bytes, ...]


@dataclass(slots=True)
class _Answer:
    """What was sent, as it was sent."""

    version: int
    until: int
    messages: list[Message] = field(default_factory=list)
    size: int = 0
    is_whole: bool = False

    def note(self, message: Message) -> None:
        """Remembers one ASGI message of a successful answer."""
        self.messages.append(message)
        self.size += len(message.get("body", b""))
        self.is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)

    @property
    def may_be_kept(self) -> bool:
        """Refusals are not, and neither is what is large or has trailers."""
        first = self.messages[0] if self.messages else {}
        return (
            self.is_whole
            and self.size <= MOST_BYTES
            and first.get("status") == 200
            and not first.get("trailers", False)
        )


class Recent:
    """The ASGI wrapper."""

    def __init__(self, app: Asgi, db: Database, now: Clock) -> None:
        self._app = app
        self._db = db
        self._now = now
        self._kept: OrderedDict[Key, _Answer] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything but small requests of the polled calls passes through."""
        version = self._db.version() if scope["path"] in POLLED and scope["method"] == "POST" else None
        if version is None:
            return await self._app(scope, receive, send)
        heard, body = await _heard(receive)
        if body is None:
            return await self._app(scope, _again(heard, receive), send)
        key, now = _key(scope, body), self._now()
        kept = self._kept.get(key)
        if kept is not None and kept.version == version and 0 <= kept.until - now <= LIFE_MS:
            for message in kept.messages:
                await send(message)
            return None
        answer = _Answer(version, now + LIFE_MS)

        async def noted(message: Message) -> None:
            answer.note(message)
            await send(message)

        await self._app(scope, _again(heard, receive), noted)
        if answer.may_be_kept:
            self._kept[key] = answer
            self._kept.move_to_end(key)
            if len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return None


async def _heard(receive: Receive) -> tuple[list[Message], bytes | None]:
    """(the messages of a request, its body); None when it is too large or does not end."""
    heard: list[Message] = []
    body = b""
    while len(body) <= MOST_ASKED_BYTES:
        message = await receive()
        heard.append(message)
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return heard, body if len(body) <= MOST_ASKED_BYTES else None
    return heard, None


def _again(heard: list[Message], receive: Receive) -> Receive:
    """`receive` with the messages that were looked at before."""
    left = deque(heard)

    async def next_message() -> Message:
        return left.popleft() if left else await receive()

    return next_message


def _key(scope: Scope, body: bytes) -> Key:
    told = [part for pair in scope["headers"] if pair[0].lower() in _TOLD for part in pair]
    return (scope["path"].encode(), body, *told)
