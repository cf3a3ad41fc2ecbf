"""GitHub's calls for the artifacts of any run, as download-artifact makes them for another one (its inputs
`run-id` and `github-token`). Called by `dispatches`; Depot's own calls are in `asking`.

    GET    /api/v3/repos/OWNER/NAME/actions/runs/ID/artifacts?name=&per_page=&page=
        {"total_count", "artifacts": [{"id", "name", "size_in_bytes", …}]}
    GET    /api/v3/repos/OWNER/NAME/actions/artifacts/ID[/zip]
        the row; with /zip 302 to a link that needs no header
    DELETE /api/v3/repos/OWNER/NAME/actions/artifacts/ID
        204; a job's token needs `actions: write`

Facts: docs.github.com, "REST API endpoints for GitHub Actions artifacts". Runs and artifacts have this
server's numbers (`github.run_id`, `artifact-id`).
"""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import Request

from runyard.dialects.depot import ids, shapes
from runyard.dialects.depot.access import project_named
from runyard.dialects.depot.asking import DOWNLOAD_PATH, LINK_LIFE_S
from runyard.dialects.depot.results.callers import base_of
from runyard.engine.ports import ArtifactFilter, Page, Tx
from runyard.http.services import Principal, Services
from runyard.model.errors import Forbidden, NotFound
from runyard.model.work import Artifact, Attempt, Job, Project, Run

MOST_ROWS, PAGE_ROWS, MOST_PAGE_ROWS = 10_000, 30, 100
_RUN = re.compile(r"/api/v3/repos/(?P<repo>.+?)/actions/runs/(?P<number>[0-9]{1,18})/artifacts\Z")
_ONE = re.compile(r"/api/v3/repos/(?P<repo>.+?)/actions/artifacts/(?P<number>[0-9]{1,18})(?P<zip>/zip)?\Z")
Answer = tuple[int, Any, dict[str, str]]


async def answer(services: Services, who: Principal, request: Request) -> Answer | None:
    """(status, body, headers); None for a path that is not one of these."""
    listing, one = _RUN.match(request.url.path), _ONE.match(request.url.path)
    found = listing or one
    if found is None or request.method not in (("GET",) if listing else ("GET", "DELETE")):
        return None
    number = int(found["number"])
    base = base_of(services, request.headers.get("host", ""))
    if listing is not None:
        query = request.query_params
        size = min(_number(query.get("per_page"), PAGE_ROWS), MOST_PAGE_ROWS)
        rows, run = await services.db.read(
            lambda tx: _of_run(tx, who, found["repo"], number, query.get("name"))
        )
        first = (_number(query.get("page"), 1) - 1) * size
        shown = [
            _shown(row, run, f"{base}/api/v3/repos/{found['repo']}") for row in rows[first : first + size]
        ]
        return 200, {"total_count": len(rows), "artifacts": shown}, {}
    if request.method == "DELETE":
        await services.db.write(lambda tx: _delete(tx, who, found["repo"], number))
        return 204, None, {}
    row, run = await services.db.read(lambda tx: _one(tx, who, found["repo"], number))
    if not found["zip"]:
        return 200, _shown(row, run, f"{base}/api/v3/repos/{found['repo']}"), {}
    expires = services.now() + LINK_LIFE_S * 1000
    signature = services.sign(f"depot-artifact:{number}", expires)
    place = f"{base}{DOWNLOAD_PATH}{ids.artifact(number)}?expires={expires}&signature={signature}"
    return 302, None, {"location": place}


def _of_run(tx: Tx, who: Principal, repo: str, number: int, name: str | None) -> tuple[list[Artifact], Run]:
    """Newest first, as far as the asker may fetch them."""
    project, run = project_named(tx, who, repo), tx.get(Run, number)
    if run is None or run.project_id != project.id:
        raise NotFound("Not Found")
    rows = tx.artifacts(
        ArtifactFilter(run_id=run.id, type="archive", name=name or None), Page(limit=MOST_ROWS)
    )
    return [row for row in rows if _is_whole(row) and _may_fetch(tx, who, project, row)], run


def _one(tx: Tx, who: Principal, repo: str, number: int) -> tuple[Artifact, Run]:
    project, row = project_named(tx, who, repo), tx.get(Artifact, number)
    run = tx.get(Run, row.run_id) if row is not None else None
    if row is None or run is None or row.project_id != project.id or not _is_whole(row):
        raise NotFound("Not Found")
    if not _may_fetch(tx, who, project, row):
        raise NotFound("Not Found")
    return row, run


def _delete(tx: Tx, who: Principal, repo: str, number: int) -> None:
    row, _ = _one(tx, who, repo, number)
    if not who.may_steer(project_named(tx, who, repo)):
        message = (
            "Resource not accessible by integration"
            if who.is_job
            else "Must have write access to the repository."
        )
        raise Forbidden(message)
    tx.remove(Artifact, row.id)


def _is_whole(row: Artifact) -> bool:
    return row.type == "archive" and row.format == "zip"


def _may_fetch(tx: Tx, who: Principal, project: Project, row: Artifact) -> bool:
    attempt = tx.get(Attempt, row.attempt_id)
    job = tx.get(Job, attempt.job_id) if attempt is not None else None
    return job is not None and who.may_fetch(project, job.plan)


def _number(text: str | None, default: int) -> int:
    return max(1, int(text)) if text and text.isascii() and text.isdigit() and len(text) < 7 else default


def _shown(row: Artifact, run: Run, repo_url: str) -> dict[str, Any]:
    url = f"{repo_url}/actions/artifacts/{row.id}"
    return {
        "id": row.id,
        "node_id": ids.artifact(row.id),
        "name": row.name,
        "size_in_bytes": row.size_bytes,
        "url": url,
        "archive_download_url": f"{url}/zip",
        "expired": False,
        "created_at": shapes.time(row.created_at),
        "updated_at": shapes.time(row.created_at),
        "expires_at": shapes.time(row.expires_at) if row.expires_at is not None else None,
        "digest": f"sha256:{row.sha256}",
        "workflow_run": {
            "id": run.id,
            "repository_id": run.project_id,
            "head_branch": run.ref,
            "head_sha": run.sha,
        },
    }
