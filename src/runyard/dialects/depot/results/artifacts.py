"""Twirp `github.actions.results.api.v1.ArtifactService`: the artifacts of the caller's own run
(contracts/actions.md §10.1). Called by `door`.

They are the artifacts of every other door: an upload ends as one row, and what the built-in steps or the API
left can be downloaded here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runyard.dialects.depot import ids
from runyard.dialects.depot.asking import DOWNLOAD_PATH
from runyard.dialects.depot.results import uploads
from runyard.dialects.depot.results.callers import Caller
from runyard.engine import dispatch
from runyard.engine.ports import ArtifactFilter, Page, Tx
from runyard.http.services import Services
from runyard.model.errors import Conflict, Forbidden, Invalid, NotFound
from runyard.model.work import Artifact, Attempt, Record

UPLOADING = "actions.artifact"
DOWNLOAD_S = 900
MAX_NAME = 256
NOT_IN_NAMES = frozenset('":<>|*?\r\n\\/')
_HASH = re.compile(r"sha256:[0-9a-f]{64}\Z")
_ALL = Page(limit=10_000, descending=False)
Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Artifacts:
    """One method each. `body` has snake_case names."""

    services: Services

    async def create_artifact(self, who: Caller, body: Body) -> Body:
        """A place to upload to. Conflict for a name that another job of the run has used."""
        name = _name(body)
        expires = _expiry(body.get("expires_at"), self.services.now(), self.services)
        mime = str(body.get("mime_type") or "")
        services, now = self.services, self.services.now()

        def create(tx: Tx) -> Record:
            _check_run(tx, who, body)
            _free(tx, who, name)
            upload = uploads.begin(tx, who.attempt, name, services.settings.artifact_limit_bytes, now)
            for old in tx.records(
                UPLOADING, who.attempt.project_id, f"{who.attempt.id}/{name}", Page(limit=1)
            ):
                tx.remove(Record, old.id)
            data = {"upload": upload.id, "expires_at": expires, "mime_type": mime[:200]}
            tx.add(Record(0, UPLOADING, who.attempt.project_id, f"{who.attempt.id}/{name}", data, now, now))
            return upload

        upload = await services.db.write(create)
        return {"ok": True, "signed_upload_url": uploads.link(services, who, upload)}

    async def finalize_artifact(self, who: Caller, body: Body) -> Body:
        """The row. What the client says of size and digest must be so."""
        name, size, digest = _name(body), _number(body.get("size")), str(body.get("hash") or "")
        if digest and not _HASH.match(digest):
            raise Invalid("hash must be sha256: and 64 hexadecimal digits")
        services, now = self.services, self.services.now()

        def finalize(tx: Tx) -> Artifact:
            begun = tx.records(UPLOADING, who.attempt.project_id, f"{who.attempt.id}/{name}", Page(limit=1))
            if not begun:
                raise NotFound(f"the artifact {name} was not created")
            _free(tx, who, name)  # of two that began at once the first to end has it
            upload = uploads.finished(tx, who.attempt, int(begun[0].data["upload"]))
            if size not in (None, int(upload.data["size_bytes"])):
                raise Invalid(f"{upload.data['size_bytes']} bytes were uploaded, not {size}")
            if digest and digest != f"sha256:{upload.data['sha256']}":
                raise Invalid("the uploaded bytes have another digest")
            plain = begun[0].data["mime_type"] not in ("", "application/zip")
            row = Artifact(
                0, who.attempt.id, who.attempt.run_id, who.attempt.project_id, name, "archive", "raw" if plain else "zip",
                name if plain else f"{name}.zip", int(upload.data["size_bytes"]), str(upload.data["sha256"]), str(upload.data["blob"]), now,
                begun[0].data["expires_at"],
            )  # fmt: skip
            stored = dispatch.artifact(tx, who.attempt.id, who.token, row, now)
            tx.remove(Record, begun[0].id)
            uploads.drop(tx, upload)
            return stored

        stored = await services.db.write(finalize)
        return {"ok": True, "artifact_id": str(stored.id)}

    async def list_artifacts(self, who: Caller, body: Body) -> Body:
        """Of the run, the newest of each name."""
        name, number = body.get("name_filter"), _number(body.get("id_filter"))

        def find(tx: Tx) -> list[Artifact]:
            _check_run(tx, who, body)
            return _of_run(tx, who.attempt)

        rows = await self.services.db.read(find)
        shown = [r for r in rows if name in (None, r.name) and number in (None, r.id)]
        return {"artifacts": [_shown(row) for row in shown]}

    async def get_signed_artifact_url(self, who: Caller, body: Body) -> Body:
        """Where its bytes are for a quarter of an hour."""
        name = _name(body)

        def find(tx: Tx) -> Artifact:
            return _existing(tx, who, body, name)

        row = await self.services.db.read(find)
        expires = self.services.now() + DOWNLOAD_S * 1000
        signature = self.services.sign(f"depot-artifact:{row.id}", expires)
        url = f"{who.base}{DOWNLOAD_PATH}{ids.artifact(row.id)}?expires={expires}&signature={signature}"
        return {"signed_url": url}

    async def delete_artifact(self, who: Caller, body: Body) -> Body:
        """Any of its run: upload-artifact's `overwrite` asks this first."""
        name = _name(body)

        def remove(tx: Tx) -> int:
            row = _existing(tx, who, body, name)
            tx.remove(Artifact, row.id)
            return row.id

        return {"ok": True, "artifact_id": str(await self.services.db.write(remove))}


def sweep(tx: Tx, now: int) -> None:
    """Artifacts that were created and never finalized."""
    for row in tx.records(UPLOADING, None, None, Page(limit=100, descending=False)):
        if now - row.updated_at > uploads.KEEP_MS:
            tx.remove(Record, row.id)


def _of_run(tx: Tx, attempt: Attempt) -> list[Artifact]:
    """Archives, the newest of each name, by name's first appearance."""
    found: dict[str, Artifact] = {}
    for row in tx.artifacts(ArtifactFilter(run_id=attempt.run_id, type="archive"), _ALL):
        found[row.name] = row
    return list(found.values())


def _existing(tx: Tx, who: Caller, body: Body, name: str) -> Artifact:
    """The newest of this name in the caller's run, or NotFound."""
    _check_run(tx, who, body)
    for row in _of_run(tx, who.attempt):
        if row.name == name:
            return row
    raise NotFound(f"there is no artifact {name} in this run")


def _free(tx: Tx, who: Caller, name: str) -> None:
    """Conflict for a name that another job of the run has used."""
    if _named(tx, who.attempt, name):
        raise Conflict("an artifact with this name already exists on the workflow run")


def _named(tx: Tx, attempt: Attempt, name: str) -> bool:
    """Whether the name is taken in this run; an earlier try of the same job does not count, its artifact is
    replaced."""
    for row in tx.artifacts(ArtifactFilter(run_id=attempt.run_id, type="archive", name=name), _ALL):
        other = tx.get(Attempt, row.attempt_id)
        if other is None or other.id == attempt.id or other.job_id != attempt.job_id:
            return True
    return False


def _check_run(tx: Tx, who: Caller, body: Body) -> None:
    """Only the caller's own run; the other id names any job of it."""
    run = str(body.get("workflow_run_backend_id") or "")
    if run != str(who.attempt.run_id):
        raise Forbidden("this token is for another run")


def _name(body: Body) -> str:
    name = body.get("name")
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= MAX_NAME
        or not name.isprintable()
        or name in (".", "..")
    ):
        raise Invalid(f"an artifact's name has 1 to {MAX_NAME} printable characters")
    if set(name) & NOT_IN_NAMES:
        raise Invalid("an artifact's name may not hold any of \" : < > | * ? \\ / or a line break")
    return name


def _number(value: object) -> int | None:
    """Protobuf's JSON writes 64-bit numbers as text."""
    if value is None or value == "":
        return None
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Invalid("a number was expected")
    return int(text)


def _expiry(value: object, now: int, services: Services) -> int:
    if not value:
        return dispatch.default_expiry(services.terms, now)
    try:
        at = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        raise Invalid("expires_at must be a time as 2026-01-31T00:00:00Z") from None
    return max(now, int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000))


def _shown(row: Artifact) -> dict[str, Any]:
    made = (
        datetime.fromtimestamp(row.created_at / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
    return {
        "workflow_run_backend_id": str(row.run_id),
        "workflow_job_run_backend_id": str(row.attempt_id),
        "database_id": str(row.id),
        "name": row.name,
        "size": str(row.size_bytes),
        "created_at": made,
        "digest": f"sha256:{row.sha256}",
    }
