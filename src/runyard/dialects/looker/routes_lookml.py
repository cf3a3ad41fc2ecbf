"""What LookML says, as the session sees it: manifest, models, explores with their fields, files. Reads only;
parsing is all it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.responses import Response

from runyard.dialects.looker.desk import Ask, Line
from runyard.dialects.looker.fields import explore_shape
from runyard.dialects.looker.imports import MANIFEST
from runyard.dialects.looker.reading import Reading
from runyard.dialects.looker.workspace import Work, all_work, with_model, work_on
from runyard.model.errors import NotFound
from runyard.tasks.lookml.language.model import Explore, Model
from runyard.tasks.lookml.language.tree import Node

TYPES = {
    "model": ".model.lkml",
    "view": ".view.lkml",
    "explore": ".explore.lkml",
    "dashboard": ".dashboard.lookml",
    "manifest": MANIFEST,
}


async def manifest(ask: Ask) -> Response:
    """GET /projects/{id}/manifest; 404 when there is none, which is how clients learn that."""
    work = await work_on(ask, await ask.project())
    tree = work.reading.project.trees.get(MANIFEST)
    if tree is None:
        raise NotFound("The project has no manifest.lkml.")
    return ask.answer(
        {
            "can": {"show": True},
            "name": tree.text("project_name") or work.name,
            "imports": list(_imports(tree)),
            "localization_settings": None,
        }
    )


def _imports(tree: Node) -> Iterator[dict[str, Any]]:
    for node in tree.all("local_dependency"):
        yield {"name": node.text("project"), "url": None, "ref": None, "is_remote": False}
    for node in tree.all("remote_dependency"):
        yield {
            "name": node.value,
            "url": node.text("url"),
            "ref": node.text("ref") or None,
            "is_remote": True,
        }


def _model(model: Model, work: Work) -> dict[str, Any]:
    label = model.parameter("label")
    return {
        "can": {"show": True, "index": True},
        "name": model.name,
        "label": label or model.name.replace("_", " ").title(),
        "project_name": work.name,
        "explores": [_nav(e) for e in model.all_explores()],
        "allowed_db_connection_names": [model.connection] if model.connection else [],
        "unlimited_db_connections": False,
        "has_content": bool(model.explores.roots),
    }


def _nav(explore: Explore) -> dict[str, Any]:
    node = explore.node
    return {
        "can": {"show": True},
        "name": explore.name,
        "label": node.text("label") or explore.name.replace("_", " ").title(),
        "description": node.text("description") or None,
        "hidden": node.is_yes("hidden"),
        "group_label": node.text("group_label") or None,
    }


async def list_models(ask: Ask) -> Response:
    """GET /lookml_models: the models of every project, each where this session stands in it."""
    limit, offset = ask.number("limit", 10_000, 0, 100_000), ask.number("offset", 0, 0, 1_000_000)
    found: list[dict[str, Any]] = []
    async for work in all_work(ask):
        found += await work.reading.ask(lambda r, w=work: [_model(m, w) for m in r.models])  # type: ignore[misc]
    return ask.answer(found[offset : offset + limit])


async def get_model(ask: Ask) -> Response:
    """GET /lookml_models/{name}."""
    work = await with_model(ask, ask.params["model_name"])
    wanted = work.reading.model(ask.params["model_name"])
    if wanted is None:
        raise NotFound
    return ask.answer(await work.reading.ask(lambda _: _model(wanted, work)))


async def get_explore(ask: Ask) -> Response:
    """GET /lookml_models/{model}/explores/{explore}: joins and every field that the explore lets through."""
    model, name = ask.params["model_name"], ask.params["explore_name"]
    work = await with_model(ask, model)

    def look(reading: Reading) -> dict[str, Any]:
        explore = reading.explore(model, name)
        if explore is None:
            raise NotFound(f"Model {model!r} has no explore {name[:100]!r}.")
        return explore_shape(explore, work.name, work.links)

    return ask.answer(await work.reading.ask(look))


async def files(ask: Ask) -> Response:
    """GET /projects/{id}/files: the LookML files."""
    work = await work_on(ask, await ask.project())
    paths = sorted({*work.reading.project.trees, *work.reading.project.others})
    return ask.answer([_file(p) for p in paths if not p.startswith("imported_projects/")])


async def file(ask: Ask) -> Response:
    """GET /projects/{id}/files/file?file_id=…"""
    wanted = ask.query.get("file_id", "")
    work = await work_on(ask, await ask.project())
    if wanted not in work.reading.project.trees and wanted not in work.reading.project.others:
        raise NotFound
    return ask.answer(_file(wanted))


def _file(path: str) -> dict[str, Any]:
    title = path.rpartition("/")[2]
    return {
        "can": {"show": True},
        "id": path,
        "path": path,
        "title": title,
        "type": next((t for t, ending in TYPES.items() if title.endswith(ending)), "other"),
        "extension": title.partition(".")[2],
        "mime_type": "text/plain",
        "editable": False,
        "git_status": None,
    }


LINES = [
    Line("GET", "/projects/{project_id}/manifest", manifest),
    Line("GET", "/projects/{project_id}/files", files),
    Line("GET", "/projects/{project_id}/files/file", file),
    Line("GET", "/lookml_models", list_models),
    Line("GET", "/lookml_models/{model_name}", get_model),
    Line("GET", "/lookml_models/{model_name}/explores/{explore_name}", get_explore),
]
