"""dbt artifacts: uploads of `target/`, the check after one, and the key report of a manifest. Called by
routes.

A pull request's upload makes (or finds) the run of its commit and gives it one diff per changed model once
production's manifest is known (`life.py`). Only manifest.json is read from the archive, under budgets
(contracts/reliability.md §5 C).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, BinaryIO
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import Response

from runyard.dialects.datafold import manifests, runs, uploads
from runyard.dialects.datafold.answers import Empty, ModelKey, Status
from runyard.dialects.datafold.desk import Desk, Id
from runyard.dialects.datafold.life import Life
from runyard.dialects.datafold.openapi import described
from runyard.dialects.datafold.refusals import SchemaRefused, answer, refused_field
from runyard.dialects.datafold.uploads import PRODUCTION, PULL_REQUEST
from runyard.http.bodies import decode_json, stream, whole
from runyard.model.errors import Invalid
from runyard.syntax import archives

MOST_UPLOAD_BYTES = 256 << 20
MOST_MANIFEST_BYTES = 64 << 20
MOST_UNPACKED_BYTES = 4 << 30
MOST_RATIO, RATIO_FROM_BYTES = 200, 10 << 20  # manifests shrink to a twentieth; a bomb to a thousandth


_FIELDS: dict[str, Any] = {
    "commit_sha": {"type": "string", "pattern": "^[0-9A-Za-z]{1,64}$"},
    "run_type": {"type": "string", "enum": [PRODUCTION, PULL_REQUEST]},
}
_UPLOAD = {
    "type": "object",
    "properties": {
        **_FIELDS,
        "run_id": {"type": "string", "maxLength": 200},
        "artifacts": {"type": "string", "contentMediaType": "application/zip"},
    },
    "required": ["artifacts", "commit_sha", "run_type"],
}
_CHECK = {
    "type": "object",
    "properties": {**_FIELDS, "branch": {"type": "string"}},
    "required": list(_FIELDS),
}


def router(desk: Desk) -> APIRouter:
    """All routes."""
    dbt = Dbt(desk)
    table = APIRouter()
    form = {"multipart/form-data": {"schema": _UPLOAD}}
    check = {"application/x-www-form-urlencoded": {"schema": _CHECK}}
    manifest = {"application/octet-stream": {"schema": {"type": "string"}}}
    for path, handler, facts in (
        (
            "/api/v1/dbt/submit_artifacts/{ci_config_id}",
            dbt.upload,
            described(Empty, media=form, errors=(403, 503)),
        ),
        ("/api/v1/dbt/post_upload_check_artifacts/{ci_config_id}", dbt.check, described(Status, media=check)),
        (
            "/api/internal/ci/{ci_config_id}/check_pks_in_dbt_manifest",
            dbt.keys,
            described(list[ModelKey], media=manifest),
        ),
    ):
        table.add_api_route(path, handler, methods=["POST"], **facts)
    return table


class Dbt:
    """The routes."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.services = desk.services
        self.life = Life(desk.services)

    async def upload(self, request: Request, ci_config_id: Id) -> Response:
        """Takes a zip of `target/` and starts what it allows."""
        person, owner = await self.desk.developer(request, ci_config_id)
        form = await _form(request)
        try:
            fields = {k: v for k, v in form.multi_items() if isinstance(v, str)}
            file = form.get("artifacts")
            if not isinstance(file, UploadFile):
                raise refused_field(("body", "artifacts"), "Field required", "missing")
            kind, sha, shared = _said(fields)
            digest = await asyncio.to_thread(_digest, file.file, runs.options(owner).primary_key_tag)
        finally:
            await form.close()
        now = self.services.now()
        await self.services.db.write(lambda tx: uploads.keep(tx, owner, kind, sha, shared, digest, now))
        if kind == PULL_REQUEST:
            await self.life.uploaded(owner, person.user, sha)
        else:
            await self.life.compare_waiting(owner)
        return answer({})

    async def check(self, request: Request, ci_config_id: Id) -> Response:
        """Whether an upload is there: `ok` or `missing`."""
        owner = await self.desk.config(request, ci_config_id)
        body = (await whole(request, 1 << 16)).decode("utf-8", "replace")
        try:
            fields = {k: v[-1] for k, v in parse_qs(body, max_num_fields=20).items()}
        except ValueError:
            raise refused_field(("body",), "at most 20 fields") from None
        kind, sha, _ = _said(fields)
        found = await self.services.db.read(lambda tx: uploads.shared_ids(tx, owner, kind, sha))
        return answer({"status": "ok" if found else "missing"})

    async def keys(self, request: Request, ci_config_id: Id) -> Response:
        """Which key each model of a manifest has, and why."""
        owner = await self.desk.config(request, ci_config_id)
        data = await whole(request, MOST_MANIFEST_BYTES)
        tag = runs.options(owner).primary_key_tag
        return answer(await asyncio.to_thread(lambda: manifests.key_report(_manifest(data), tag)))


def _manifest(data: bytes) -> Any:
    """A manifest as JSON; what is none is refused by its place."""
    try:
        found = decode_json(data)
    except Invalid as error:
        raise SchemaRefused([{"loc": ["body"], "msg": error.message, "type": "json_invalid"}]) from None
    if not isinstance(found, dict) or not isinstance(found.get("nodes"), dict):
        raise refused_field(("body", "nodes"), "this is not a dbt manifest: it has no nodes", "missing")
    return found


def _said(fields: Mapping[str, str]) -> tuple[str, str, str]:
    """(run_type, commit_sha, run_id)."""
    kind, sha, shared = (fields.get(name, "") for name in ("run_type", "commit_sha", "run_id"))
    if kind not in (PRODUCTION, PULL_REQUEST):
        raise refused_field(("body", "run_type"), f"must be {PRODUCTION} or {PULL_REQUEST}", "enum")
    if not (sha.isascii() and sha.isalnum() and len(sha) <= 64):
        raise refused_field(("body", "commit_sha"), "must be a commit's sha")
    if len(shared) > 200 or not shared.isprintable():
        raise refused_field(("body", "run_id"), "must be at most 200 printable characters")
    return kind, sha, shared


async def _form(request: Request) -> FormData:
    """The multipart body; large parts go to temporary files."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        async for piece in stream(request, MOST_UPLOAD_BYTES):
            yield piece

    try:
        return await MultiPartParser(request.headers, pieces(), max_files=1, max_fields=20).parse()
    except (MultiPartException, KeyError) as error:
        raise refused_field(("body",), f"not a multipart form: {str(error)[:200]}") from None


def _digest(file: BinaryIO, tag: str) -> dict[str, Any]:
    """What is kept of the archive: the digest of its manifest.json, wherever `target/` begins in it."""
    try:
        entries = archives.directory(file, MOST_UNPACKED_BYTES)
        names = ("manifest.json", "./manifest.json", "target/manifest.json", "./target/manifest.json")
        entry = next(
            (e for name in names for e in entries if e.name == name and not e.is_folder and not e.is_link),
            None,
        )
        if entry is None:
            raise refused_field(("body", "artifacts"), "the archive has no manifest.json")
        bomb = entry.size_bytes > RATIO_FROM_BYTES and entry.size_bytes > MOST_RATIO * max(
            1, entry.packed_bytes
        )
        if entry.size_bytes > MOST_MANIFEST_BYTES or bomb:
            raise refused_field(
                ("body", "artifacts"), f"manifest.json may have at most {MOST_MANIFEST_BYTES} bytes"
            )
        data = b"".join(archives.read(file, entry))
    except archives.ArchiveError as error:
        raise refused_field(("body", "artifacts"), str(error)) from None
    return manifests.digest(_manifest(data), tag)
