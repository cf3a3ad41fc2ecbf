"""Logs for Depot's clients: pages, a live stream that ends with its attempt, and an export. Called by
routes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from protobuf import Oneof

from runyard.dialects.depot import ids, shapes
from runyard.dialects.depot.access import asker, visible_run
from runyard.dialects.depot.asking import job_in, latest_of
from runyard.dialects.depot.gen.depot.ci.v1 import ci_pb as pb
from runyard.dialects.depot.loglines import Cursor, Line, lines
from runyard.engine import views
from runyard.engine.ports import Tx
from runyard.http.services import Principal, Services
from runyard.model.errors import Invalid, NotFound
from runyard.model.state import State
from runyard.model.work import Attempt

PAGE_BYTES = 256 * 1024
HEARTBEAT_S = 10.0


@dataclass(frozen=True, slots=True)
class Piece:
    """What one look at a log gave."""

    attempt: Attempt
    lines: tuple[Line, ...]
    following: Cursor
    is_end: bool  # everything there is now was given


@dataclass(frozen=True, slots=True)
class Logs:
    """The log calls of CIService."""

    services: Services

    async def get(self, request: pb.GetJobAttemptLogsRequest) -> pb.GetJobAttemptLogsResponse:
        """One page; the client asks until there is no next token."""
        who = asker()
        _, number = ids.hear(request.attempt_id, ids.Kind.ATTEMPT)
        cursor = Cursor.of(request.page_token)
        piece = await self.services.db.read(lambda tx: self._piece(tx, who, number, cursor, final=True))
        return pb.GetJobAttemptLogsResponse(
            lines=[shapes.log_line(line) for line in piece.lines],
            next_page_token="" if piece.is_end else str(piece.following),
        )

    async def stream(
        self, request: pb.StreamJobAttemptLogsRequest
    ) -> AsyncIterator[pb.StreamJobAttemptLogsResponse]:
        """Lines as they come; ends only when the attempt is over and everything was sent."""
        who = asker()
        number = await self._attempt_id(who, request.attempt_id, request.job_id)
        cursor = Cursor.of(request.cursor)
        topic = f"attempt:{number}"
        while True:
            seen = self.services.bell.version(topic)
            here = cursor
            piece = await self.services.db.read(lambda tx: self._piece(tx, who, number, here, final=False))  # noqa: B023 - awaited at once
            word = shapes.status(piece.attempt)
            for line in piece.lines:
                yield pb.StreamJobAttemptLogsResponse(
                    line=shapes.log_line(line), next_cursor=str(line.next), attempt_status=word
                )
            cursor = piece.following
            if not piece.is_end:
                continue
            if piece.attempt.state is State.DONE:
                yield pb.StreamJobAttemptLogsResponse(next_cursor=str(cursor), attempt_status=word)
                return
            if await self.services.bell.changed(topic, seen, HEARTBEAT_S) == seen:
                yield pb.StreamJobAttemptLogsResponse(next_cursor=str(cursor), attempt_status=word)

    async def export(
        self, request: pb.ExportJobAttemptLogsRequest
    ) -> AsyncIterator[pb.ExportJobAttemptLogsResponse]:
        """A finite snapshot: what the file is, then its bytes."""
        who = asker()
        number = await self._attempt_id(who, request.attempt_id, request.job_id)
        as_json = request.format == pb.JobAttemptLogExportFormat.JSONL
        write: Callable[[Line], str] = _json_row if as_json else _text_row
        cursor = Cursor()
        named = False
        while True:
            here = cursor
            piece = await self.services.db.read(lambda tx: self._piece(tx, who, number, here, final=True))  # noqa: B023 - awaited at once
            if not named:
                named = True
                yield _announced(number, as_json)
            data = "".join(map(write, piece.lines)).encode()
            if data:
                yield _chunk(data)
            cursor = piece.following
            if piece.is_end:
                return

    async def _attempt_id(self, who: Principal, attempt: str, job: str) -> int:
        if bool(attempt) == bool(job):
            raise Invalid("exactly one of attempt_id and job_id is required")
        if attempt:
            return ids.hear(attempt, ids.Kind.ATTEMPT)[1]
        _, number = ids.hear(job, ids.Kind.JOB)

        def latest(tx: Tx) -> int:
            visible_run(tx, who, job_in(tx, number).run_id)
            return latest_of(tx, number).id

        return await self.services.db.read(latest)

    def _piece(self, tx: Tx, who: Principal, number: int, cursor: Cursor, *, final: bool) -> Piece:
        """Lines from the cursor; an unfinished last line is given when the attempt is over, or with
        `final`."""
        attempt = tx.get(Attempt, number)
        if attempt is None:
            raise NotFound("attempt not found")
        visible_run(tx, who, attempt.run_id)
        size = views.log_size(attempt)
        data = views.log_from(tx, self.services.blobs, attempt, cursor.offset, PAGE_BYTES)
        reached = cursor.offset + len(data) >= size
        whole = reached and (final or attempt.state is State.DONE)
        blobs = self.services.blobs
        times = views.log_times(tx, blobs, attempt, cursor.offset, len(data)) if data else ()
        found = tuple(lines(data, cursor, attempt, tx.steps(number), times, last=whole))
        following = found[-1].next if found else cursor
        return Piece(attempt, found, following, reached or not data)


def _announced(attempt_id: int, as_json: bool) -> pb.ExportJobAttemptLogsResponse:
    event: Oneof[Literal["metadata"], pb.JobAttemptLogExportMetadata]
    event = Oneof("metadata", _metadata(attempt_id, as_json))
    return pb.ExportJobAttemptLogsResponse(event=event)


def _chunk(data: bytes) -> pb.ExportJobAttemptLogsResponse:
    event: Oneof[Literal["chunk"], bytes] = Oneof("chunk", data)
    return pb.ExportJobAttemptLogsResponse(event=event)


def _metadata(attempt_id: int, as_json: bool) -> pb.JobAttemptLogExportMetadata:
    name = f"depot-ci-{ids.attempt(attempt_id)}"
    formats = pb.JobAttemptLogExportFormat
    if as_json:
        return pb.JobAttemptLogExportMetadata(
            filename=f"{name}.jsonl", content_type="application/x-ndjson; charset=utf-8", format=formats.JSONL
        )
    return pb.JobAttemptLogExportMetadata(
        filename=f"{name}.txt", content_type="text/plain; charset=utf-8", format=formats.TEXT
    )


def _rfc3339(at: int) -> str:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1000 * 1_000_000:09d}Z"


def _text_row(line: Line) -> str:
    return f"{_rfc3339(line.at)} {line.body}\n"


def _json_row(line: Line) -> str:
    row = {
        "type": "line",
        "timestamp": _rfc3339(line.at),
        "timestamp_ms": line.at,
        "stream": 0,
        "step_key": line.step_key,
        "line_number": line.number,
        "body": line.body,
    }
    return json.dumps(row, ensure_ascii=False) + "\n"
