"""Artifacts between a runner and the server, and the steps that our own runner reports. contracts/gitlab.md
§2.1, §2.6.

An upload streams into a file, the file becomes a blob, and only then is there a row (blob first, row second).
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from starlette.responses import Response, StreamingResponse

from runyard.dialects.gitlab.config.reports import REPORTS
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.refusals import BadParameter, JobOver, answer_json, missing
from runyard.dialects.gitlab.routes_artifacts import serve_blob
from runyard.dialects.gitlab.uploads import SPOOL, Upload, receive_upload
from runyard.dialects.gitlab.words import say
from runyard.engine import dispatch
from runyard.engine.ports import ArtifactFilter, Page, Tx
from runyard.http.auth import attempt_of, ended_attempt_of, hash_token
from runyard.http.giving import in_thread
from runyard.model.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge
from runyard.model.state import Outcome, State
from runyard.model.usage import Sample
from runyard.model.work import Artifact, Attempt, Job, Step
from runyard.syntax import reports
from runyard.syntax.durations import DurationError, seconds

FORMATS = frozenset({"zip", "gzip", "raw"})
TYPES = {"archive": "zip", "metadata": "gzip"} | {kind: form for kind, (form, _) in REPORTS.items()}
TYPE_CHARACTERS = 64
LINK_S = 600
PIECE_BYTES = 256 << 10
EXTRA_BYTES = (
    2 << 20
)  # a summary of 1 MiB with annotations; a job holds its own token and could fill the database with steps
_ALL = Page(limit=10_000, descending=False)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Handlers. All are open doors with a job's token inside."""

    desk: Desk

    def lines(self) -> list[Line]:
        """The table."""
        artifacts = "/jobs/{job_id}/artifacts"
        return [
            Line("POST", artifacts, Door.OPEN, self.upload, "Upload a job's artifact", whole_body=False),
            Line(
                "POST",
                f"{artifacts}/authorize",
                Door.OPEN,
                self.authorize,
                "Ask whether an upload is welcome",
            ),
            Line("GET", artifacts, Door.OPEN, self.download, "Download a needed job's archive"),
            Line(
                "PUT", "/jobs/{job_id}/steps/{position}", Door.OPEN, self.step, "Note how a step goes (ours)"
            ),
            Line("PUT", "/jobs/{job_id}/usage", Door.OPEN, self.usage, "Keep what a job used (ours)"),
            Line(
                "GET",
                "/jobs/{job_id}/run_artifacts",
                Door.OPEN,
                self.run_artifacts,
                "What its run has left so far (ours)",
            ),
            Line(
                "GET",
                "/jobs/{job_id}/action",
                Door.OPEN,
                self.action,
                "The tree of an action's repository (ours)",
            ),
            Line("POST", "/jobs/{job_id}/give_back", Door.OPEN, self.give_back, "Give a job back (ours)"),
        ]

    async def upload(self, entry: Entry) -> Response:
        """One multipart part `file`; what it is stands in the query."""
        attempt, token = await running(self.desk, entry)
        services = self.desk.services
        spool = services.settings.data / SPOOL
        upload = await receive_upload(entry.request, services.settings.artifact_limit_bytes, spool)
        try:
            row = await self._row(entry, attempt, upload)
            told = await asyncio.to_thread(_take_in, row.type, upload.path)
            blob = await asyncio.to_thread(services.blobs.put_file, upload.path, upload.sha256)
            stored = replace(
                row, size_bytes=blob.size_bytes, sha256=blob.sha256, blob=blob.key, extra=told.extra
            )
            now = services.now()

            def note(tx: Tx) -> int:
                if entry.parameters.flag("replace"):
                    for old in tx.artifacts(ArtifactFilter(attempt_id=attempt.id, name=stored.name), _ALL):
                        tx.remove(Artifact, old.id)
                return dispatch.artifact(tx, attempt.id, token, stored, now, told.outputs).id

            number = await services.db.write(note)
        except Conflict as error:
            return answer_json({"message": f"400 Bad request - {error.message}"}, 400)
        finally:
            upload.path.unlink(missing_ok=True)
        return answer_json({"message": "201 Created", "id": number}, 201)

    async def _row(self, entry: Entry, attempt: Attempt, upload: Upload) -> Artifact:
        """What the upload says of itself. `artifact_name` is ours and may come with types that GitLab does
        not know; for its runner the type is the name."""
        given = {**upload.fields, **{k: v for k, v in entry.parameters.values.items() if isinstance(v, str)}}
        kind = given.get("artifact_type") or "archive"
        form = given.get("artifact_format") or ("zip" if kind == "archive" else "raw")
        if kind not in TYPES and "artifact_name" not in given:
            raise BadParameter("artifact_type does not have a valid value")
        if kind in TYPES and form != TYPES[kind]:
            raise Invalid("Invalid file format with specified file type")
        if form not in FORMATS or len(kind) > TYPE_CHARACTERS or not kind.replace("_", "").isalnum():
            raise Invalid("artifact_format or artifact_type does not have a valid value")
        name = given.get("artifact_name") or kind
        if len(name) > 255 or not name.isprintable():
            raise Invalid("artifact_name is invalid")
        now = self.desk.services.now()
        return Artifact(
            id=0, attempt_id=attempt.id, run_id=attempt.run_id, project_id=attempt.project_id, name=name, type=kind,
            format=form, filename=upload.filename or "artifacts.zip", size_bytes=0, sha256="", blob="",
            created_at=now, expires_at=self._expiry(given.get("expire_in"), now),
        )  # fmt: skip

    def _expiry(self, text: str | None, now: int) -> int | None:
        if not text:
            return dispatch.default_expiry(self.desk.services.terms, now)
        if text.strip().lower() == "never":
            return None
        try:
            return dispatch.default_expiry(self.desk.services.terms, now, seconds(text))
        except DurationError as error:
            raise Invalid(f"expire_in: {error}") from None

    async def authorize(self, entry: Entry) -> Response:
        """Workhorse asks this first; answered for runners behind proxies that do."""
        await running(self.desk, entry)
        return answer_json({})

    async def download(self, entry: Entry) -> Response:
        """With the token of a running job of the same project; `direct_download` may be sent on to the store.
        `artifact_id` is ours: any artifact of the run."""
        number, token = entry.id("job_id", "Job"), _token(entry)
        artifact_id = entry.parameters.number("artifact_id")

        def find(tx: Tx) -> Artifact | None:
            asking = attempt_of(tx, token)
            if asking is None:
                own = ended_attempt_of(tx, token)
                raise Forbidden if own is None else _over(own, token)
            target = tx.get(Attempt, number)
            if target is None or target.project_id != asking.project_id:
                return None
            rows = tx.artifacts(ArtifactFilter(attempt_id=number), _ALL)
            wanted = [r for r in rows if (r.id == artifact_id if artifact_id else r.type == "archive")]
            return wanted[0] if wanted else None

        row = await self.desk.services.db.read(find)
        if row is None or row.is_over(self.desk.services.now()):
            raise NotFound("404 Not found")
        if entry.parameters.flag("direct_download"):
            link = await asyncio.to_thread(self.desk.services.blobs.link, row.blob, LINK_S)
            if link is not None:
                return Response(status_code=302, headers={"Location": link, "Cache-Control": "no-store"})
        return serve_blob(self.desk.services, row)

    async def step(self, entry: Entry) -> Response:
        """Body: key, name, state, outcome, exit_code, started_at, finished_at, log_start, log_end, extra."""
        number, token = entry.id("job_id", "Job"), _token(entry)
        position = entry.part("position")
        if not position.isascii() or not position.isdigit() or len(position) > 5:
            raise missing("Step")
        row = _step(number, int(position), entry.parameters.values)
        services = self.desk.services
        now = services.now()

        def note(tx: Tx) -> dispatch.Reply:
            attempt = tx.get(Attempt, number)
            job = tx.get(Job, attempt.job_id) if attempt else None
            # An action may have something to run before and after all steps, each a row of its own.
            if job is not None and row.position >= 3 * len(job.plan.steps):
                raise missing("Step")
            return dispatch.steps(tx, number, token, [row], now, services.terms)

        reply = await services.db.write(note)
        status = 403 if reply.verdict is dispatch.Verdict.ABORT else 200
        attempt = reply.attempt
        return answer_json({}, status, {"Job-Status": say(attempt.state, attempt.outcome, attempt.hold)})

    async def usage(self, entry: Entry) -> Response:
        """Body: samples, each with at, cpu, memory_bytes, limit_bytes (model/usage.py)."""
        attempt, token = await running(self.desk, entry)
        try:
            samples = msgspec.convert(entry.parameters.values.get("samples"), list[Sample])
        except msgspec.ValidationError as error:
            raise Invalid(f"samples is invalid: {error}") from None
        reply = await self.desk.services.db.write(lambda tx: dispatch.usage(tx, attempt.id, token, samples))
        return answer_json({}, 403 if reply.verdict is dispatch.Verdict.ABORT else 200)

    async def run_artifacts(self, entry: Entry) -> Response:
        """Numbers, names and sizes; where bytes lie is the server's own business."""
        attempt, token = await running(self.desk, entry)
        found = await self.desk.services.db.read(lambda tx: dispatch.artifacts(tx, attempt.id, token))
        return answer_json([{**msgspec.to_builtins(one), "blob": ""} for one in found])

    async def action(self, entry: Entry) -> Response:
        """A zip of the tree at `ref` of `repository`; its commit is in X-Runyard-Commit. For running jobs
        only: the server fetches it elsewhere."""
        await running(self.desk, entry)
        actions = self.desk.services.actions
        if actions is None:
            raise NotFound("404 Not found")
        given = entry.parameters
        repository, ref = given.text("repository") or "", given.text("ref") or ""
        try:
            sha, file = await asyncio.to_thread(actions.tree, repository, ref)
        except NotFound as error:
            raise NotFound(f"404 {error.message}") from None  # the job's log says which one, and why
        size = os.fstat(file.fileno()).st_size
        headers = {"X-Runyard-Commit": sha, "Cache-Control": "no-store", "Content-Length": str(size)}
        return StreamingResponse(in_thread(_pieces(file)), media_type="application/zip", headers=headers)

    async def give_back(self, entry: Entry) -> Response:
        """The runner shuts down; the job goes to another without counting against its retries."""
        number, token = entry.id("job_id", "Job"), _token(entry)
        services = self.desk.services
        now = services.now()
        await services.db.write(lambda tx: dispatch.give_back(tx, number, token, now, services.terms))
        return answer_json({})


async def running(desk: Desk, entry: Entry) -> tuple[Attempt, str]:
    """The leased attempt whose token this is; checked before the first byte of a body is read."""
    number, token = entry.id("job_id", "Job"), _token(entry)

    def find(tx: Tx) -> tuple[Attempt | None, Attempt | None]:
        return attempt_of(tx, token), tx.get(Attempt, number)

    asking, named = await desk.services.db.read(find)
    if asking is None or asking.id != number:
        raise Forbidden if named is None else _over(named, token)
    return asking, token if named else ""


def _token(entry: Entry) -> str:
    token = (
        entry.request.headers.get("job-token")
        or entry.parameters.text("token")
        or entry.parameters.text("job_token")
        or ""
    )
    if not token or len(token) > 512:
        raise Forbidden
    return token


def _over(attempt: Attempt, token: str) -> Forbidden:
    """Who holds a job's token hears how the job ended (contract §0: a runner sees `forbidden` only,
    otherwise)."""
    if not hmac.compare_digest(attempt.token_hash, hash_token(token)):
        return Forbidden()
    return JobOver(say(attempt.state, attempt.outcome, attempt.hold))


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _take_in(kind: str, path: Path) -> reports.Kept:
    try:
        return reports.take_in(kind, path)
    except ValueError as error:
        raise Invalid(str(error)) from None


def _step(attempt_id: int, position: int, said: Any) -> Step:
    def number(name: str) -> int | None:
        value = said.get(name)
        return (
            value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else None
        )

    extra = said.get("extra")
    if extra and len(json.dumps(extra, ensure_ascii=False)) > EXTRA_BYTES:
        raise TooLarge(f"What a step tells may have at most {EXTRA_BYTES} bytes.")
    try:
        outcome = said.get("outcome")
        return Step(
            attempt_id=attempt_id, position=position, key=str(said.get("key", ""))[:255], name=str(said.get("name", ""))[:255],
            state=State(said.get("state", "running")), outcome=Outcome(outcome) if outcome else None,
            exit_code=number("exit_code"), started_at=number("started_at"), finished_at=number("finished_at"),
            log_start=number("log_start"), log_end=number("log_end"), extra=extra if isinstance(extra, dict) else {},
        )  # fmt: skip
    except ValueError:
        raise Invalid("state or outcome is invalid") from None
