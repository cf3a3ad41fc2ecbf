"""dbt artifacts: uploads of `target/`, the check after one, and the key report of a manifest. Called by routes.

A pull request's upload makes (or finds) the run of its commit and gives it one diff per changed model once production's manifest is known: that of
the same `run_id` (low drift), else the newest. Only manifest.json is read from the archive, under budgets (contracts/reliability.md §5 C).
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

from runyard.dialects.datafold import manifests, pairs, runs, sources
from runyard.dialects.datafold.compile import NoFiles
from runyard.dialects.datafold.desk import Desk, Id
from runyard.dialects.datafold.refusals import answer, refused_field
from runyard.dialects.datafold.shapes import CiDiff
from runyard.engine.ports import Page, Tx
from runyard.http.bodies import decode_json, stream, whole
from runyard.http.services import Principal, RunRequest
from runyard.model.errors import NotFound
from runyard.model.work import Connection, Project, Record
from runyard.syntax import archives

PRODUCTION, PULL_REQUEST = "production", "pull_request"
MOST_UPLOAD_BYTES = 256 << 20
MOST_MANIFEST_BYTES = 64 << 20
MOST_UNPACKED_BYTES = 4 << 30
MOST_RATIO, RATIO_FROM_BYTES = 200, 10 << 20  # manifests shrink to a twentieth; a bomb to a thousandth


def router(desk: Desk) -> APIRouter:
    """All routes."""
    dbt = Dbt(desk)
    table = APIRouter()
    table.add_api_route("/api/v1/dbt/submit_artifacts/{ci_config_id}", dbt.upload, methods=["POST"])
    table.add_api_route("/api/v1/dbt/post_upload_check_artifacts/{ci_config_id}", dbt.check, methods=["POST"])
    table.add_api_route(
        "/api/internal/ci/{ci_config_id}/check_pks_in_dbt_manifest", dbt.keys, methods=["POST"]
    )
    return table


class Dbt:
    """The routes."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.services = desk.services

    async def upload(self, request: Request, ci_config_id: Id) -> Response:
        """Takes a zip of `target/` and starts what it allows."""
        person = await self.desk.person(request)
        owner = await self.services.db.read(lambda tx: runs.config(tx, ci_config_id))
        form = await _form(request)
        try:
            fields = {k: v for k, v in form.multi_items() if isinstance(v, str)}
            file = form.get("artifacts")
            if not isinstance(file, UploadFile):
                raise refused_field(("body", "artifacts"), "Field required", "missing")
            kind, sha, shared = _said(fields)
            digest = await asyncio.to_thread(_digest, file.file)
        finally:
            await form.close()
        now = self.services.now()
        await self.services.db.write(lambda tx: _keep(tx, owner, kind, sha, shared, digest, now))
        if kind == PULL_REQUEST:
            await self._compare(owner, person, sha, shared)
        else:
            await self._compare_waiting(owner, person, shared)
        return answer({})

    async def _compare_waiting(self, owner: Record, person: Principal, shared: str) -> None:
        """Production came later than the pull requests that need it."""

        def waiting(tx: Tx) -> list[tuple[str, str]]:
            found = []
            for run in runs.runs(tx, owner, open_only=True):
                if tx.graph(run.id):
                    continue
                for key in (f"{owner.id}:{run.sha}:{shared}", f"{owner.id}:{run.sha}:"):
                    if tx.records(_kind(PULL_REQUEST), owner.project_id, key, Page(limit=1)):
                        found.append((run.sha, key.split(":", 2)[2]))
            return found

        for sha, run_id in await self.services.db.read(waiting):
            await self._compare(owner, person, sha, run_id)

    async def _compare(self, owner: Record, person: Principal, sha: str, shared: str) -> None:
        """One pull request's manifest with production's, into the commit's run."""
        run_id = await self._run_of(owner, person, sha)

        def look(tx: Tx) -> tuple[Mapping[str, Any], Mapping[str, Any] | None, Connection]:
            proposed = tx.records(
                _kind(PULL_REQUEST), owner.project_id, f"{owner.id}:{sha}:{shared}", Page(limit=1)
            )
            source = sources.find(tx, int(owner.data["data_source_id"]))
            return proposed[0].data["nodes"], _production(tx, owner, shared), source

        proposed, production, connection = await self.services.db.read(look)
        if production is None:
            return  # the run waits until production's manifest comes
        slim = bool(owner.data.get("slim_diff"))
        wanted = [
            _pair(production[i], proposed[i]) for i in manifests.changed(production, proposed, slim=slim)
        ]
        jobs = pairs.from_ci(wanted, owner, connection)
        now, terms = self.services.now(), self.services.terms
        await self.services.db.write(lambda tx: runs.give(tx, run_id, jobs, now, terms))

    async def _run_of(self, owner: Record, person: Principal, sha: str) -> int:
        """The commit's open run, or a new one: an upload may come without any trigger."""

        def look(tx: Tx) -> tuple[int | None, Project, int]:
            project = tx.get(Project, owner.project_id or 0)
            if project is None:
                raise NotFound("The configuration's repository was removed.")
            run = next(runs.runs(tx, owner, sha=sha, open_only=True), None)
            return (run.id if run else None), project, runs.occurrence(tx, owner, "0", sha)

        known, project, nth = await self.services.db.read(look)
        if known is not None:
            return known
        told = {
            "ci_config_id": owner.id,
            "pr_num": 0,
            "pr_branch": "",
            "base_branch": "",
            "pr_sha": sha,
            "base_sha": "",
        }
        run = await self.services.start(
            RunRequest(
                project=project,
                dialect=runs.DIALECT,
                source="api",
                actor=person.user,
                ref=project.default_branch,
                sha=sha,
                options={"ci": told, "name": f"dbt {owner.data['name']}"},
                idempotency_key=f"datafold:{owner.id}:0:{sha}:{nth}",
                files=NoFiles(),
            )
        )
        return run.id

    async def check(self, request: Request, ci_config_id: Id) -> Response:
        """Whether an upload is there: `ok` or `missing`."""
        await self.desk.person(request)
        body = (await whole(request, 1 << 16)).decode("utf-8", "replace")
        fields = {k: v[-1] for k, v in parse_qs(body, max_num_fields=20).items()}
        kind, sha, _ = _said(fields)

        def look(tx: Tx) -> bool:
            owner = runs.config(tx, ci_config_id)
            prefix = f"{owner.id}:{sha}:"
            return any(
                r.key.startswith(prefix)
                for r in tx.records(_kind(kind), owner.project_id, None, Page(limit=200))
            )

        return answer({"status": "ok" if await self.services.db.read(look) else "missing"})

    async def keys(self, request: Request, ci_config_id: Id) -> Response:
        """Which key each model of a manifest has, and why."""
        await self.desk.person(request)
        await self.services.db.read(lambda tx: runs.config(tx, ci_config_id))
        data = await whole(request, MOST_MANIFEST_BYTES)
        return answer(await asyncio.to_thread(lambda: manifests.key_report(decode_json(data))))


def _kind(run_type: str) -> str:
    return f"{runs.UPLOAD}.{run_type}"


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


def _digest(file: BinaryIO) -> dict[str, Any]:
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
    return manifests.digest(decode_json(data))


def _keep(tx: Tx, owner: Record, kind: str, sha: str, shared: str, nodes: dict[str, Any], now: int) -> None:
    """Replaces an earlier upload of the same; the new row is the newest."""
    key = f"{owner.id}:{sha}:{shared}"
    for old in tx.records(_kind(kind), owner.project_id, key, Page(limit=1)):
        tx.remove(Record, old.id)
    data = {"ci_config_id": owner.id, "nodes": nodes}
    tx.add(Record(0, _kind(kind), owner.project_id, key, data, now, now))


def _production(tx: Tx, owner: Record, shared: str) -> Mapping[str, Any] | None:
    """Production's nodes: of the same low-drift run, else the newest upload of the configuration."""
    last: int | None = None
    while True:
        page = tx.records(_kind(PRODUCTION), owner.project_id, None, Page(limit=20, after_id=last))
        for record in page:
            mine, _, run_id = record.key.split(":", 2)
            if mine == str(owner.id) and (not shared or run_id == shared):
                nodes: Mapping[str, Any] = record.data["nodes"]
                return nodes
        if len(page) < 20:
            return None
        last = page[-1].id


def _pair(production: Mapping[str, Any], proposed: Mapping[str, Any]) -> CiDiff:
    options = proposed["options"]
    return CiDiff(
        prod=_dotted(production["table"]),
        pr=_dotted(proposed["table"]),
        pk=proposed["key"] or None,
        include_columns=options["include_columns"],
        exclude_columns=options["exclude_columns"],
        filter=options["filter"] or None,
    )


def _dotted(table: list[str]) -> str:
    return ".".join(
        '"' + part.replace('"', '""') + '"' if "." in part or '"' in part else part for part in table
    )
