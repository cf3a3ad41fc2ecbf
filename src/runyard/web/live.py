"""Server-sent events of the pages: "look again", and log lines as they grow. Ends when the client leaves or
the work does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.responses import StreamingResponse

from runyard.http.logs import log_bytes
from runyard.http.services import Services
from runyard.model.errors import Unavailable
from runyard.model.state import State
from runyard.model.work import Attempt, Run
from runyard.web.ansi import LogHtml
from runyard.web.format import size

PING_S = 15.0  # proxies drop a silent stream; the write also notices a client that left
STREAM_S = 3600.0  # a page left open reconnects by itself
QUIET_S = 0.15  # a burst of rings becomes one event


def events(source: AsyncIterator[str]) -> StreamingResponse:
    """An event stream that no proxy buffers."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Content-Encoding": "identity"}
    return StreamingResponse(_while_served(source), media_type="text/event-stream", headers=headers)


async def _while_served(source: AsyncIterator[str]) -> AsyncIterator[str]:
    """The stream ends with the server or its database; the page comes again by itself."""
    with suppress(Unavailable):
        async for piece in source:
            yield piece


def event(name: str, data: object = "") -> str:
    """One event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def changes(services: Services, topic: str, run_id: int | None) -> AsyncIterator[str]:
    """`changed` for every ring; `end` once the run is done."""
    seen = services.bell.version(topic)
    yield "retry: 2000\n\n"
    spent = 0.0
    while spent < STREAM_S:
        if run_id is not None:
            run = await services.db.read(lambda tx: tx.get(Run, run_id))
            if run is None or run.state is State.DONE:
                yield event("end")
                return
        now = await services.bell.changed(topic, seen, PING_S)
        spent += PING_S if now == seen else QUIET_S
        yield ": ping\n\n" if now == seen else event("changed")
        seen = now


async def log_lines(services: Services, attempt_id: int, start: int, line: int) -> AsyncIterator[str]:
    """`lines` with rendered HTML from byte `start` (a line's begin) on; `end` once all of a done job was
    sent."""
    topic, view, at = f"attempt:{attempt_id}", LogHtml(line=line), start
    yield "retry: 2000\n\n"
    while True:
        seen = services.bell.version(topic)
        attempt = await services.db.read(lambda tx: tx.get(Attempt, attempt_id))
        if attempt is None:
            return
        html: list[str] = []
        async for piece in log_bytes(services, attempt.id, at, attempt.log_bytes):
            at += len(piece)
            html += view.feed(piece)
            if len(html) >= 500:
                yield event("lines", {"html": "".join(html), "size": size(at)})
                html = []
        done = attempt.state is State.DONE
        html += view.rest() if done else ()
        if html:
            yield event("lines", {"html": "".join(html), "size": size(at)})
        if done:
            yield event("end")
            return
        if await services.bell.changed(topic, seen, PING_S) == seen:
            yield ": ping\n\n"
