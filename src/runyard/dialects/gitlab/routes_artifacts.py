"""Artifacts for people: by job, by ref and job name, one file of an archive; keep and delete.
contracts/gitlab.md §1.1.

What is served is a stranger's: always an attachment, never sniffed, sandboxed should a browser show it anyway
(reliability.md §5 C10, C11).
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Sequence, Set
from dataclasses import dataclass
from functools import partial

from starlette.responses import FileResponse, Response, StreamingResponse

from runyard.dialects.gitlab.archives import check_path, open_file
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.gathering import Bodies
from runyard.dialects.gitlab.refusals import answer_json, missing
from runyard.dialects.gitlab.words import CHILD
from runyard.engine import control
from runyard.engine.ports import ArtifactFilter, Page, RunFilter, Tx
from runyard.http.giving import attachment, in_thread
from runyard.http.services import Services
from runyard.model.access import Role
from runyard.model.errors import Conflict, Forbidden, NotFound
from runyard.model.state import OPEN, Outcome, State
from runyard.model.work import Artifact, Attempt, Job, Run

_ALL = Page(limit=10_000, descending=False)
BATCH = 1_000  # rows read or removed in one transaction
RUNS_SEARCHED = 100  # passed pipelines of a ref that are looked at for a job's archive
GUARD = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-cache",
}


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Handlers."""

    desk: Desk
    bodies: Bodies

    def lines(self) -> list[Line]:
        """The table."""
        job, both = "/projects/{id}/jobs/{job_id}/artifacts", ("GET", "HEAD")
        by_ref = "/projects/{id}/jobs/artifacts/{rest:path}"
        return [
            *(Line(m, job, Door.JOB_READER, self.whole, "Download a job's archive") for m in both),
            *(Line(m, f"{job}/{{path:path}}", Door.JOB_READER, self.file, "Download one file") for m in both),
            *(Line(m, by_ref, Door.JOB_READER, self.by_ref, "Download by ref and job name") for m in both),
            Line("POST", f"{job}/keep", Door.USER, self.keep, "Keep a job's artifacts"),
            Line("DELETE", job, Door.USER, self.delete, "Delete a job's artifacts", role=Role.MAINTAINER),
            Line(
                "DELETE",
                "/projects/{id}/artifacts",
                Door.USER,
                self.delete_all,
                "Delete a project's artifacts",
                role=Role.MAINTAINER,
            ),
        ]

    async def whole(self, entry: Entry) -> Response:
        """The archive; `file_type` asks for a report instead."""
        attempt = await self._readable(entry)
        wanted = entry.parameters.text("file_type") or "archive"
        return serve_blob(self.desk.services, await self._artifact(attempt.id, wanted))

    async def file(self, entry: Entry) -> Response:
        """One file of the archive."""
        path = check_path(entry.part("path"))
        attempt = await self._readable(entry)
        return await serve_file(self.desk.services, await self._artifact(attempt.id, "archive"), path)

    async def by_ref(self, entry: Entry) -> Response:
        """`<ref>/download?job=` or `<ref>/raw/<path>?job=`; python-gitlab leaves slashes of a ref
        unescaped."""
        rest, job = entry.part("rest"), entry.parameters.required("job")
        if rest.endswith("/download"):
            return serve_blob(
                self.desk.services, await self._newest(entry, rest.removesuffix("/download"), job)
            )
        ref, raw, path = rest.partition("/raw/")
        if not raw:
            raise NotFound
        check_path(path)
        return await serve_file(self.desk.services, await self._newest(entry, ref, job), path)

    async def keep(self, entry: Entry) -> Response:
        """They never expire."""
        _, _, attempt = await self.desk.attempt(entry)
        now = self.desk.services.now()
        try:
            await self.desk.services.db.write(lambda tx: control.keep(tx, attempt.id, now))
        except NotFound:
            raise NotFound("404 Not found") from None
        return answer_json(await self.bodies.job(entry.project, attempt.id))

    async def delete(self, entry: Entry) -> Response:
        """The artifacts go, the log stays."""
        _, _, attempt = await self.desk.attempt(entry)

        def act(tx: Tx) -> None:
            fresh = tx.get(Attempt, attempt.id)
            if fresh is not None and fresh.state in OPEN:
                raise Conflict("the job is still running")
            control.delete_artifacts(tx, attempt.id)

        await self.desk.services.db.write(act)
        return Response(status_code=204)

    async def delete_all(self, entry: Entry) -> Response:
        """Everything that is neither kept nor of a ref's latest pipelines, piece by piece: others write
        meanwhile."""
        db, project_id = self.desk.services.db, entry.project.id
        latest, settled, before = set[int](), set[str](), None
        while runs := await db.read(partial(_runs_before, project_id, before)):
            before = runs[-1].id
            latest |= _latest(runs, settled)
        after: int | None = 0
        while after is not None:
            after = await db.write(partial(_sweep, project_id, latest, after))
        return answer_json({"message": "202 Accepted"}, 202)

    async def _artifact(self, attempt_id: int, type: str) -> Artifact:
        filter = ArtifactFilter(attempt_id=attempt_id, type=type)
        found = await self.desk.services.db.read(lambda tx: tx.artifacts(filter, _ALL))
        now = self.desk.services.now()
        live = [row for row in found if not row.is_over(now)]
        if not live:
            raise NotFound("404 Not found")
        return live[0]

    async def _readable(self, entry: Entry) -> Attempt:
        """The job that the path names, once its `artifacts:access` lets the asker in."""
        _, job, attempt = await self.desk.attempt(entry)
        _check_access(entry, job)
        return attempt

    async def _newest(self, entry: Entry, ref: str, name: str) -> Artifact:
        def find(tx: Tx) -> Artifact | None:
            row = _newest_archive(tx, entry.project.id, ref, name)
            attempt = tx.get(Attempt, row.attempt_id) if row else None
            job = tx.get(Job, attempt.job_id) if attempt else None
            if job is not None:
                _check_access(entry, job)
            return row

        found = await self.desk.services.db.read(find)
        if found is None or found.is_over(self.desk.services.now()):
            raise NotFound("404 Not found")
        return found


def _check_access(entry: Entry, job: Job) -> None:
    """GitLab: `artifacts:access` binds whoever fetches them as a person or with a person's rights; 403."""
    if not entry.who.may_fetch(entry.project, job.plan):
        raise Forbidden


def _newest_archive(tx: Tx, project_id: int, ref: str, job: str) -> Artifact | None:
    """The newest passed pipeline mostly has the job; when it has not, older ones are asked, as GitLab
    does."""
    found = tx.newest_archive(project_id, ref, job)
    if found is not None:
        return found
    passed = RunFilter(project_id=project_id, ref=ref, wanted=((State.DONE, Outcome.PASSED),))
    for run in tx.runs(passed, Page(limit=RUNS_SEARCHED)):
        named = {attempt.id for node, attempt in tx.graph(run.id) if node.name == job}
        for row in tx.artifacts(ArtifactFilter(run_id=run.id, type="archive"), _ALL) if named else ():
            if row.attempt_id in named:
                return row
    return None


def _runs_before(project_id: int, before: int | None, tx: Tx) -> list[Run]:
    return tx.runs(RunFilter(project_id=project_id), Page(limit=BATCH, after_id=before))


def _latest(runs: Sequence[Run], settled: set[str]) -> set[int]:
    """Of runs, newest first, those from a ref's newest passed one on (its children come after it): GitLab
    locks their artifacts."""
    found = set()
    for run in runs:
        if run.ref not in settled:
            found.add(run.id)
            if run.outcome is Outcome.PASSED and run.source != CHILD:
                settled.add(run.ref)
    return found


def _sweep(project_id: int, latest: Set[int], after: int, tx: Tx) -> int | None:
    """One piece; the id to go on from, None at the end."""
    rows = tx.artifacts(
        ArtifactFilter(project_id=project_id), Page(limit=BATCH, after_id=after, descending=False)
    )
    for row in rows:
        if row.expires_at is not None and row.run_id not in latest:
            tx.remove(Artifact, row.id)
    return rows[-1].id if len(rows) == BATCH else None


def serve_blob(services: Services, row: Artifact) -> Response:
    """The stored bytes. Where blobs are files the server sends the file itself."""
    headers = {**GUARD, "Content-Disposition": attachment(row.filename or "artifacts.zip")}
    kind = "application/zip" if row.format == "zip" else "application/octet-stream"
    path = services.blobs.local_path(row.blob)
    if path is not None:
        return FileResponse(path, headers=headers, media_type=kind)
    headers["Content-Length"] = str(row.size_bytes)
    return StreamingResponse(in_thread(services.blobs.open(row.blob)), headers=headers, media_type=kind)


async def serve_file(services: Services, row: Artifact, path: str) -> Response:
    """One file of an archive."""
    if row.format != "zip":
        raise missing("File")
    file = await asyncio.to_thread(services.blobs.seekable, row.blob)
    try:
        size, pieces = await asyncio.to_thread(open_file, file, path)
    except BaseException:
        file.close()
        raise
    name = path.rsplit("/", 1)[-1]
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {**GUARD, "Content-Disposition": attachment(name), "Content-Length": str(size)}

    async def body() -> AsyncIterator[bytes]:
        try:
            async for piece in in_thread(pieces):
                yield piece
        finally:
            file.close()

    return StreamingResponse(body(), headers=headers, media_type=kind)
