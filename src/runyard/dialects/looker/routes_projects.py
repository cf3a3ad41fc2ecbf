"""Projects as Looker shows them: what repositories there are and which branch is production. They are made by
push or the GitLab door."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from runyard.dialects.looker.desk import Ask, Line
from runyard.engine.ports import Page
from runyard.model.work import Project

MOST = Page(limit=1000, descending=False)


def _shape(row: Project, server_url: str) -> dict[str, Any]:
    return {
        "can": {"show": True},
        "id": row.path,
        "name": row.name or row.path,
        "uses_git": True,
        "git_remote_url": f"{server_url}/{row.path}.git",
        "git_production_branch_name": row.default_branch,
        "allow_warnings": True,
        "is_example": False,
    }


async def listed(ask: Ask) -> Response:
    """GET /projects."""
    rows = await ask.services.db.read(lambda tx: tx.projects("", MOST))
    who = ask.principal
    seen = [row for row in rows if who is not None and who.may_see(row)]
    return ask.answer([_shape(row, ask.services.server.url) for row in seen])


async def get(ask: Ask) -> Response:
    """GET /projects/{project_id}."""
    return ask.answer(_shape(await ask.project(), ask.services.server.url))


LINES = [Line("GET", "/projects", listed), Line("GET", "/projects/{project_id}", get)]
