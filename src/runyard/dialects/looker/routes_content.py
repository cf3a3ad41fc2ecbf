"""Dashboards and Looks against the models: GET /content_validation and /folders, over LookML dashboards and
what was exported into `content/`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response

from runyard.dialects.looker.desk import Ask, Line
from runyard.dialects.looker.reading import Reading
from runyard.dialects.looker.workspace import Work, all_work
from runyard.tasks.lookml.validators.content.check import (
    ContentError,
    ContentOptions,
    Library,
    TriedContent,
    hold,
    library,
)
from runyard.tasks.lookml.validators.content.items import LOOKML_FOLDER, Folder

Json = dict[str, Any]
PLACES = ("look", "dashboard", "dashboard_element", "dashboard_filter", "scheduled_plan", "alert")


async def _chosen(ask: Ask) -> AsyncIterator[Work]:
    """The projects that `project_names` names (all without it)."""
    wanted = {n for n in ask.query.get("project_names", "").split(",") if n}
    async for work in all_work(ask):
        if not wanted or wanted & {work.name, work.project.path, str(work.project.id)}:
            yield work


async def validate(ask: Ask) -> Response:
    """GET /content_validation → ContentValidation."""
    started = time.monotonic()
    folders = tuple(f for f in ask.query.get("space_ids", "").split(",") if f)
    broken: list[Json] = []
    counted = {"dashboard": 0, "look": 0}
    async for work in _chosen(ask):

        def look(reading: Reading) -> tuple[Library, list[TriedContent]]:
            known = library(reading.project)
            return known, hold(known, reading.models, ContentOptions(include_folders=folders))

        known, tried = await work.reading.ask(look)
        for item in known.items:
            counted[item.type] = counted.get(item.type, 0) + 1
        broken += _by_element(tried, work)
    return ask.answer(
        {
            "content_with_errors": broken,
            "computation_time": round(time.monotonic() - started, 3),
            "total_looks_validated": counted["look"],
            "total_dashboards_validated": counted["dashboard"],
            "total_explores_validated": 0,
        }
    )


def _by_element(tried: list[TriedContent], work: Work) -> list[Json]:
    """Errors grouped as Looker does: one entry per Look or tile."""
    found: dict[tuple[str, ...], Json] = {}
    for explore in tried:
        for error in explore.errors:
            key = (error.content_type, error.content_id, error.element_type, error.element, error.file)
            entry = found.setdefault(key, _entry(error, work))
            entry["errors"].append(
                {
                    "message": error.message,
                    "field_name": error.field or None,
                    "model_name": explore.model or None,
                    "explore_name": explore.explore or None,
                    "removable": False,
                }
            )
    return list(found.values())


def _entry(error: ContentError, work: Work) -> Json:
    """Every place is named, empty ones as null: spectacles looks at both kinds of tile."""
    kind = "look" if error.content_type == "look" else "dashboard"
    link = work.links.lookml(error.file, error.line)
    entry: Json = {"id": f"{kind}.{error.content_id}", **dict.fromkeys(PLACES)}
    entry[kind] = {
        "id": error.content_id,
        "title": error.title,
        "short_url": link,
        "folder": {"id": error.folder_id, "name": error.folder} if error.folder_id else None,
    }
    if kind == "dashboard":
        tile = error.element_type if error.element_type == "dashboard_filter" else "dashboard_element"
        entry[tile] = {"id": error.element, "title": error.element, "dashboard_id": error.content_id}
    return {**entry, "errors": []}


async def folders(ask: Ask) -> Response:
    """GET /folders: where content lies."""
    known: dict[str, Folder] = {LOOKML_FOLDER.id: LOOKML_FOLDER}
    async for work in all_work(ask):
        found = await work.reading.ask(lambda r: library(r.project))
        known |= found.folders
    return ask.answer([_folder(folder, known) for folder in known.values()])


def _folder(folder: Folder, known: dict[str, Folder]) -> Json:
    above, seen, is_below = folder.parent_id, {folder.id}, False
    while above in known and above not in seen:
        seen.add(above)
        is_below = is_below or known[above].is_personal
        above = known[above].parent_id
    return {
        "can": {"show": True},
        "id": folder.id,
        "name": folder.name,
        "parent_id": folder.parent_id or None,
        "is_personal": folder.is_personal,
        "is_personal_descendant": is_below,
        "is_embed": False,
    }


LINES = [
    Line("GET", "/content_validation", validate),
    Line("GET", "/folders", folders),
]
