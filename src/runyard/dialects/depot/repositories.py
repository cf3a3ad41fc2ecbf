"""GitHub's call for a repository, which actions make to learn its default branch (checkout without `ref`,
github-script). Called by `dispatches`.

    GET /api/v3/repos/OWNER/NAME        {"id", "full_name", "default_branch", "private", …}
    GET /api/v3/repositories/ID         the same, by number (`github.repository_id`)

Facts: docs.github.com, "Get a repository".
"""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import Request

from runyard.dialects.depot import shapes
from runyard.dialects.depot.access import project_named
from runyard.dialects.depot.results.callers import base_of
from runyard.http.services import Principal, Services
from runyard.model.work import Project

_ONE = re.compile(r"/api/v3/(?:repos/(?P<path>[^/]+(?:/[^/]+)+)|repositories/(?P<number>[0-9]{1,18}))\Z")


async def answer(
    services: Services, who: Principal, request: Request
) -> tuple[int, Any, dict[str, str]] | None:
    """(status, body, headers); None for a path that is not one of these. NotFound for what the asker may not
    see."""
    found = _ONE.match(request.url.path) if request.method == "GET" else None
    if found is None:
        return None
    project = await services.db.read(lambda tx: project_named(tx, who, found["path"] or found["number"]))
    return 200, _shown(project, base_of(services, request.headers.get("host", ""))), {}


def _shown(project: Project, base: str) -> dict[str, Any]:
    owner, _, name = project.path.rpartition("/")
    page = f"{base}/{project.path}"
    return {
        "id": project.id,
        "name": name,
        "full_name": project.path,
        "owner": {"login": owner},
        "private": project.visibility != "public",
        "visibility": project.visibility,
        "default_branch": project.default_branch,
        "html_url": page,
        "clone_url": f"{page}.git",
        "url": f"{base}/api/v3/repos/{project.path}",
        "fork": False,
        "archived": False,
        "created_at": shapes.time(project.created_at),
    }
